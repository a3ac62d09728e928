package journal_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"bailiff/journal"
	"bailiff/journal/journaltest"
)

// TestNewValue: between two steps of a reader, the first entry of a service that is watched is written, and after it one of a service
// that the file knows. Neither is missed, although the file had no index of the first one's service when the reader last looked.
func TestNewValue(t *testing.T) {
	journaltest.Need(t)
	dir := t.TempDir()
	in, _ := journaltest.Start(t, filepath.Join(dir, "system.journal"))
	n := 0
	write := func(services ...string) {
		t.Helper()
		var b []byte
		for _, s := range services {
			n++
			b = fmt.Appendf(b, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=6f71f3b14a344ab39a3db4af958d55cd\nSERVICE=%s\nMESSAGE=%d\n\n",
				1_700_000_000_000_000+n, n, s, n)
		}
		if _, err := in.Write(b); err != nil {
			t.Fatal(err)
		}
		// Another reader tells when they are there.
		all, err := journal.Open(journal.Dir(dir), journal.Options{Fields: []string{"MESSAGE"}})
		if err != nil {
			t.Fatal(err)
		}
		defer all.Close()
		for got, end := 0, time.Now().Add(30*time.Second); got < n; {
			for all.Next() {
				got++
			}
			if time.Now().After(end) {
				t.Fatalf("%d of %d entries are written", got, n)
			}
			if err := all.Wait(t.Context(), 100*time.Millisecond); err != nil && t.Context().Err() != nil {
				t.Fatal(err)
			}
		}
	}
	for _, services := range [][]string{{"a"}, {"a", "b", "c", "d"}} {
		var ms journal.Matches
		for _, s := range services {
			ms = append(ms, journal.Group{{Field: "SERVICE", Value: s}})
		}
		t.Run(fmt.Sprint(services), func(t *testing.T) {
			write("a")
			from := n
			r, err := journal.Open(journal.Dir(dir), journal.Options{Fields: []string{"MESSAGE"}, Matches: ms})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			r.SeekRealtime(uint64(1_700_000_000_000_000 + from))
			if !r.Next() || string(r.Entry().Field(0)) != fmt.Sprint(from) {
				t.Fatalf("the first entry is not %d", from)
			}
			if len(services) == 1 {
				return
			}
			write("b", "a", "x", "c", "d", "a")
			for _, want := range []int{from + 1, from + 2, from + 4, from + 5, from + 6} {
				if !r.Next() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					_ = r.Wait(ctx, time.Minute)
					cancel()
					if !r.Next() {
						t.Fatalf("entry %d does not come", want)
					}
				}
				if m := string(r.Entry().Field(0)); m != fmt.Sprint(want) {
					t.Fatalf("entry %s comes where %d is due", m, want)
				}
			}
		})
	}
}
