package journaltest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Every layout is a file that journalctl itself reads back, each value as it was given.
func TestWrite(t *testing.T) {
	Need(t)
	g := Gen{Entries: 500, Boots: 2, Odd: true}
	var text bytes.Buffer
	if n, err := g.WriteTo(&text); err != nil || n != int64(text.Len()) {
		t.Fatal(n, err)
	}
	want := bytes.Count(text.Bytes(), []byte("\n__REALTIME_TIMESTAMP=")) + 1
	var first []byte
	for _, l := range Layouts() {
		t.Run(l.String(), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.journal")
			files := Write(t, path, l, g)
			if len(files) != 1 {
				t.Fatal(files)
			}
			if l.Compressor != "" { // that there is something to compress in this data is shown by hand
				by := filepath.Join(t.TempDir(), "b.journal")
				Write(t, by, Layout{Regular: l.Regular, Jenkins: l.Jenkins, Plain: true}, g)
				if n, err := Recompress(by, l.Compressor); n == 0 || err != nil {
					t.Fatal(n, err)
				}
				b, err := os.ReadFile(path)
				if err != nil || b[offIncompatible]&flags[l.Compressor].file == 0 {
					t.Fatalf("flags %#x, %v", b[offIncompatible], err)
				}
			}
			out, err := exec.Command("journalctl", "--file", path, "--quiet", "-o", "export",
				"--output-fields=MESSAGE,TWICE,_PID").Output()
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(out, []byte("__CURSOR=")); n != want {
				t.Errorf("journalctl sees %d entries, want %d", n, want)
			}
			out = dropIDs(out)
			if first == nil {
				first = out
			} else if !bytes.Equal(out, first) {
				t.Error("journalctl reads other values than from the first layout")
			}
		})
	}
}

// dropIDs leaves out what differs from file to file: the sequence number's id, in the cursor and, with newer
// journalctl, by itself, and the hash in the cursor.
func dropIDs(b []byte) []byte {
	var out []byte
	for line := range bytes.Lines(b) {
		if !bytes.HasPrefix(line, []byte("__CURSOR=")) && !bytes.HasPrefix(line, []byte("__SEQNUM_ID=")) {
			out = append(out, line...)
		}
	}
	return out
}
