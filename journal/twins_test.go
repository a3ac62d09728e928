package journal_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"bailiff/journal"
	"bailiff/journal/journaltest"
)

// TestTwins reads pairs of entries that are equal to the microsecond; a rotation put the second of each into the next file. It
// is not a copy of the first: its sequence number follows.
func TestTwins(t *testing.T) {
	journaltest.Need(t)
	const pairs = 600 // journald rotates after 250 field names
	dir := t.TempDir()
	var b []byte
	for i := range pairs {
		for range 2 {
			b = rotating(b, i, 1)
		}
	}
	cmd := journaltest.Remote(filepath.Join(dir, "system.journal"), journaltest.Layout{})
	cmd.Stdin = bytes.NewReader(b)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r, err := journal.Open(journal.Dir(dir), journal.Options{Fields: []string{"MESSAGE"}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := 0
	for ; r.Next(); n++ {
		if m := string(r.Entry().Field(0)); m != fmt.Sprint(n/2) {
			t.Fatalf("entry %s comes where %d is due", m, n/2)
		}
	}
	if n != 2*pairs || r.Files() < 2 {
		t.Errorf("%d entries of %d files, want %d of several", n, r.Files(), 2*pairs)
	}
}
