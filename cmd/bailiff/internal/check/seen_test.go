package check

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"bailiff/journal"
	"bailiff/journal/journaltest"
	"bailiff/policy/filter"
)

// TestLastTrusted finds the newest entry of a service in a real journal, and none of a service that wrote none.
func TestLastTrusted(t *testing.T) {
	journaltest.Need(t)
	dir := t.TempDir()
	gen := journaltest.Gen{Entries: 3_000}
	journaltest.Write(t, filepath.Join(dir, "system.journal"), journaltest.Layouts()[0], gen)
	var ms []*filter.Matcher
	for _, name := range []string{"sshd", "vsftpd"} {
		f, err := filter.LoadBuiltin(name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := f.Mode("")
		if err != nil {
			t.Fatal(err)
		}
		ms = append(ms, m)
	}
	last, err := lastTrusted(t.Context(), journal.Dir(dir), ms)
	if err != nil || len(last) != 1 || last[0] == 0 {
		t.Fatalf("%v, %v", last, err)
	}
	end := time.Unix(1_700_000_000, 0).Add(3 * time.Second) // a millisecond between entries
	if at := time.UnixMicro(int64(last[0])); at.Before(end.Add(-time.Second)) || at.After(end.Add(time.Second)) {
		t.Errorf("the last entry of sshd is of %s, the journal's of about %s", at, end)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if last, err := lastTrusted(gone, journal.Dir(dir), ms); err != nil || len(last) != 0 {
		t.Errorf("after a cancellation: %v, %v", last, err)
	}
}
