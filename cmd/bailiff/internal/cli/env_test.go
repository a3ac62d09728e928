package cli

import (
	"bytes"
	"os"
	"testing"
	"time"
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

// TestProgress: the line shows on a terminal only, not at once, and leaves no trace.
func TestProgress(t *testing.T) {
	for _, tty := range []bool{false, true} {
		var out bytes.Buffer
		p := (&Env{Err: &out, ErrTTY: tty}).Progress()
		p.Show("too early")
		p.last = p.last.Add(-time.Second)
		p.Show("%d entries", 7)
		p.Show("too early")
		p.Clear()
		p.Clear()
		if want := map[bool]string{false: "", true: "\r7 entries\x1b[K\r\x1b[K"}[tty]; out.String() != want {
			t.Errorf("terminal %v: %q, want %q", tty, out.String(), want)
		}
	}
}
