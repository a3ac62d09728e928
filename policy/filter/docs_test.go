package filter

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

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
