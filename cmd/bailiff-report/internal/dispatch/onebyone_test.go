package dispatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/journal/audit"
)

// TestOneByOne: blocklist.de takes one address at a time. What is collected for a digest is delivered one report at a time, so that one that
// fails does not repeat the others; so are the reports of a digest that an earlier version has composed.
func TestOneByOne(t *testing.T) {
	b := newBench(t, reports("blocklist.de: {digest: daily}"))
	q, err := openQueue(filepath.Join(b.dir, "queue"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixMicro()
	want := map[string]bool{}
	for i, state := range []state{waiting, delivering} { // the second will be uncertain
		digest := recDelivery{Dest: "blocklist.de", Key: fmt.Sprintf("digest-%d.blocklist.de", i), State: state, Digest: true, Since: now, Time: now, Started: now}
		for n := range 3 {
			a := netip.AddrFrom4([4]byte{198, 51, byte(i), byte(n + 1)})
			key := fmt.Sprintf("old-%d-%d", i, n)
			body, err := json.Marshal(report.Report{ID: key, Address: a})
			if err != nil {
				t.Fatal(err)
			}
			q.write(kindReport, facts{Key: key, ID: key, Address: a, Jail: "sshd", Time: now, Since: now}, body)
			digest.Reports = append(digest.Reports, key)
			want[a.String()] = true
		}
		q.write(kindDelivery, digest, nil)
	}
	if err := errors.Join(q.commit(), q.close()); err != nil {
		t.Fatal(err)
	}
	b.script("blocklist.de", `text=$(cat); case $text in *198.51.0.2*|*198.51.100.2*) if ! [ -e "$1.again" ]; then echo >"$1.again"; exit 75; fi;; esac; printf '%s\nend\n' "$text" >>"$1"; echo taken`)
	b.start()
	b.until("the end of the journal", func() (ok bool) { b.inside(func(d *Dispatcher) { ok = d.caughtUp }); return ok })
	for n := range 3 {
		a := fmt.Sprintf("198.51.100.%d", n+1)
		b.ban(a)
		want[a] = true
	}
	b.until("reports that are collected", func() (ok bool) {
		b.inside(func(d *Dispatcher) { ok = len(d.q.dests["blocklist.de"].collecting) == 3 })
		return ok
	})
	b.inside(func(d *Dispatcher) {
		for _, it := range d.q.dests["blocklist.de"].collecting {
			it.since -= day.Microseconds()
		}
	})
	for a := range want {
		b.told(audit.KindReported, "report to blocklist.de, ban of "+a+" ")
	}
	b.until("nothing waits", func() bool { return len(b.list()) == 0 })
	got := map[string]bool{}
	for _, item := range strings.Split(strings.TrimSpace(b.out("blocklist.de")), "\nend\n") {
		lines := strings.Split(strings.TrimSuffix(item, "\nend"), "\n")
		if len(lines) != 2 {
			t.Errorf("an item of %q", lines)
			continue
		}
		a := strings.Fields(lines[1])[2]
		if got[a] {
			t.Errorf("%s was reported again", a)
		}
		got[a] = true
	}
	if len(got) != len(want) {
		t.Errorf("reported %v, want %v", got, want)
	}
}
