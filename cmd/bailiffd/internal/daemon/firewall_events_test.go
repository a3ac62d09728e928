package daemon

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/journal/audit"
	"bailiff/journal/journaltest"
	"bailiff/units/control"
)

// TestFirewallFailureIsAnnounced: if bans are not in effect, the audit trail says so once, however the failure was found and however often
// repairs fail, and again if it returns.
func TestFirewallFailureIsAnnounced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	journald := journaltest.Journald(t, path)
	aud := audit.Open(audit.Options{Socket: path})
	d := &daemon{aud: aud}
	f := &d.firewall
	d.problems.aud = aud
	f.aud, f.problems, f.chosen, f.status = aud, &d.problems, "ipset", control.FirewallStatus{Backend: "ipset"}
	says := func(what string, e firewallEvent) {
		e.backend, e.checked = "ipset", time.Now()
		f.handle(e)
		if e.err == nil { // as updateProblems does
			d.problems.end("firewall")
		}
		aud.Event(audit.KindError, "mark")
		buf := make([]byte, 1<<16)
		var got []string
		for {
			n, err := journald.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			text := string(buf[:n])
			if strings.Contains(text, "MESSAGE=mark\n") {
				break
			}
			for kind, name := range map[string]string{audit.KindFirewallError.ID(): "failure", audit.KindRecovered.ID(): "end"} {
				if strings.Contains(text, kind) {
					got = append(got, name)
				}
			}
		}
		if s := strings.Join(got, " "); s != what {
			t.Errorf("entries %q, want %q, of %+v", s, what, e)
		}
	}
	none, foreign := &firewall.Change{}, errors.New("set bailiff4: exists, but is not ours")
	says("", firewallEvent{change: &firewall.Change{Initial: true}})
	// A check finds that somebody flushed the rules; the next reconcile repairs that.
	says("", firewallEvent{err: foreign, needFull: false})
	says("", firewallEvent{change: none})
	// A check finds it, a batch that fails, and what cannot be repaired.
	for range 2 {
		says("", firewallEvent{err: foreign})
		says("failure", firewallEvent{err: foreign, change: none})
		says("", firewallEvent{err: foreign, change: none})
		says("", firewallEvent{err: foreign})
		says("", firewallEvent{err: errors.New("something else"), change: none})
		says("end", firewallEvent{change: none})
	}
	// A reconcile is the first to fail.
	says("failure", firewallEvent{err: foreign, change: none})
	if err := aud.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
