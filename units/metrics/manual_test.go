package metrics

import (
	"cmp"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of bailiffd(8)")

// TestManualTable: the table of bailiffd(8) is made from Families. go test ./units/metrics -run ManualTable -update writes it.
func TestManualTable(t *testing.T) {
	const page = "../man/bailiffd.8.scd"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("|[ *Metric*\n:[ *Labels*\n:< *Meaning*\n")
	for _, f := range Families {
		labels := cmp.Or(strings.Join(f.Labels, ", "), "-")
		b.WriteString("|  " + f.Name + "\n:  " + labels + "\n")
		line := ": " // continued lines are indented by three
		for _, word := range strings.Fields(string(f.Type) + ": " + f.Help) {
			if len(line)+1+len(word) > 100 {
				b.WriteString(line + "\n")
				line = "  "
			}
			line += " " + word
		}
		b.WriteString(line + "\n")
	}
	before, rest, _ := strings.Cut(string(text), "; begin metrics\n")
	_, after, ok := strings.Cut(rest, "; end metrics\n")
	want := before + "; begin metrics\n\n" + b.String() + "\n; end metrics\n" + after
	switch {
	case !ok:
		t.Fatalf("%s has no table of metrics", page)
	case want == string(text):
	case !*update:
		t.Errorf("%s: the table of metrics is not that of Families (go test ./units/metrics -run ManualTable -update writes it)", page)
	default:
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
