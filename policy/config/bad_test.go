package config

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/policy/diag"
)

var update = flag.Bool("update", false, "write testdata/bad, the sample and the tables of the manual anew; look at the difference")

// printed writes errors as the commands do, without the file's name.
func printed(err error, file string) string {
	var b strings.Builder
	for _, e := range diag.Errors(err) {
		b.WriteString("#! " + strings.TrimPrefix(e.Error(), file+":") + "\n")
		if e.Hint != "" {
			b.WriteString("#! hint: " + e.Hint + "\n")
		}
	}
	return b.String()
}

// Each file of testdata/bad has one fault and ends with the exact text that an operator gets.
func TestBad(t *testing.T) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	if len(files) < 80 {
		t.Fatalf("testdata/bad has %d files", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			body, want := data, ""
			if i := bytes.Index(data, []byte("#! ")); i >= 0 {
				body, want = data[:i], string(data[i:])
			}
			c, err := Parse(file, data)
			if err == nil || c != nil {
				t.Fatalf("configuration %v, error %v", c, err)
			}
			got := printed(err, file)
			if *update {
				if err := os.WriteFile(file, append(body, got...), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}
