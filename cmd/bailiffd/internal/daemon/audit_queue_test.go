package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/journaltest"
)

// TestStormKeepsRecords: while journald is stopped, more bans with 100 cursors each are made than the audit writer holds. Each gets its
// entry once journald runs again.
func TestStormKeepsRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	journald := journaltest.Journald(t, path)
	aud := audit.Open(audit.Options{Socket: path})
	s := newAuditQueue(aud, journal.Dir(t.TempDir()))
	go s.run()
	const n = 1500
	for i := range n {
		s.put(auditRecord{kind: audit.KindBan, ban: &audit.BanEvent{ID: fmt.Sprintf("ban-%d-", i), Prefix: netip.MustParsePrefix("192.0.2.1/32"), Jail: "sshd",
			Evidence: slices.Repeat([]string{strings.Repeat("c", 130)}, 100)}})
	}
	for end := time.Now().Add(time.Minute); aud.Stats().Waiting < 200; { // as many as the writer takes: journald does not read
		if time.Now().After(end) {
			t.Fatalf("in vain: a writer that is full: %+v", aud.Stats())
		}
		time.Sleep(time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	journald.SetReadDeadline(time.Now().Add(time.Minute))
	for i := range n {
		k, err := journald.Read(buf)
		if err != nil {
			t.Fatalf("record %d: %v; lost %d", i, err, aud.Stats().Lost)
		}
		if !strings.Contains(string(buf[:k]), fmt.Sprintf("ban-%d-", i)) {
			t.Fatalf("record %d is %.300s", i, buf[:k])
		}
	}
	s.finish(context.Background())
	if err := aud.Close(context.Background()); err != nil || aud.Stats().Lost != 0 {
		t.Errorf("%v, lost %d", err, aud.Stats().Lost)
	}
}

// TestFlush: all earlier records are in the journal when flush returns, and flush ends with its context.
func TestFlush(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	aud := audit.Open(audit.Options{Socket: path}) // nobody listens yet
	s := newAuditQueue(aud, journal.Dir(t.TempDir()))
	go s.run()
	for range 3 {
		s.put(auditRecord{kind: audit.KindBan, ban: &audit.BanEvent{ID: "x", Prefix: netip.MustParsePrefix("192.0.2.1/32"), Jail: "sshd"}})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if s.flush(ctx) == nil || aud.Stats().Sent != 0 {
		t.Errorf("flush without a journald: %+v", aud.Stats())
	}
	journaltest.Journald(t, path)
	if err := s.flush(context.Background()); err != nil || aud.Stats().Sent != 3 {
		t.Errorf("flush: %v, %+v", err, aud.Stats())
	}
	s.finish(context.Background())
	if err := aud.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
