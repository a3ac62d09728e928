package cli

import (
	"os"
	"testing"
)

// TestTerminal: neither a file nor /dev/null is a terminal.
func TestTerminal(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{file, null} {
		if Terminal(f) {
			t.Errorf("%s is not a terminal", f.Name())
		}
		f.Close()
	}
}
