package filter

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestGuide: the filter that write-a-filter.md builds is good, and the forgery that it describes is found.
func TestGuide(t *testing.T) {
	page, err := os.ReadFile("../../units/doc/write-a-filter.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```yaml\n")
	example, _, _ = strings.Cut(example, "```\n")
	_, forgery, _ := strings.Cut(string(page), "    - {line: ")
	forgery, _, _ = strings.Cut(forgery, "\n")
	example += "  - {line: " + forgery + "\n"
	if _, err := Parse("gated.yaml", []byte(example)); err != nil {
		t.Error(err)
	}
	_, err = Parse("gated.yaml", []byte(strings.Replace(example, "wrong password'\n", "<text>'\n", 1)))
	if err == nil || !strings.HasPrefix(err.Error(), "gated.yaml:9:11: patterns.wrong-password.text: has text of the client's on both sides of <addr>") {
		t.Errorf("free text on both sides: %v", err)
	}
}

// TestManualPage: bailiff.filter(5) knows every key and every class, and its example is a good filter.
func TestManualPage(t *testing.T) {
	read := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	page := read("../../units/man/bailiff.filter.5.scd")
	for name := range fields {
		if !strings.Contains(page, "*"+name+"*") {
			t.Errorf("no class %s", name)
		}
	}
	keys := 0
	for _, call := range regexp.MustCompile(`l\.keys\(.*\)`).FindAllString(read("load.go")+read("trust_load.go")+read("selftest.go"), -1) {
		for _, key := range regexp.MustCompile(`"(\w+)"`).FindAllStringSubmatch(call, -1) {
			keys++
			if !regexp.MustCompile(`\*` + key[1] + `[*:]`).MatchString(page) {
				t.Errorf("no key %s", key[1])
			}
		}
	}
	if keys < 35 {
		t.Errorf("only %d keys were found in the source", keys)
	}
	for name := range sharedFragments() {
		if !strings.Contains(page, "*"+name+"*") {
			t.Errorf("no fragment %s", name)
		}
	}
	parts := strings.Split(page, "```\n")
	if len(parts) != 3 {
		t.Fatalf("%d examples", len(parts)/2)
	}
	if _, err := Parse("example.yaml", []byte(parts[1])); err != nil {
		t.Error(err)
	}
}

// TestLogger: without --size, logger splits long lines. Notes that name it as the way of a log to the journal name the option, too.
func TestLogger(t *testing.T) {
	named := 0
	for _, name := range Builtin() {
		f, err := LoadBuiltin(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range regexp.MustCompile(`/usr/bin/logger[^"]*`).FindAllString(f.Notes, -1) {
			if named++; !strings.Contains(command, "--size 200000") {
				t.Errorf("%s: %q", name, command)
			}
		}
	}
	if named == 0 {
		t.Error("no notes name logger")
	}
}
