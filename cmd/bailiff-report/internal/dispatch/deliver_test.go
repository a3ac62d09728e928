package dispatch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/journaltest"
	"bailiff/policy/config"
	"bailiff/units/control"
)

// reports makes a configuration.
func reports(destinations string) string {
	return "report: {retry_for: 1h, lookup: {time_limit: 1s}, destinations: {" + destinations + "}}\njails: {sshd: {}, postfix: {}}\n"
}

const prog = "type: exec, command: [/bin/true]"

func (b *bench) statusLine() (s string) {
	b.t.Helper()
	b.inside(func(d *Dispatcher) { s = d.statusLine() })
	return s
}

func (b *bench) got(name, id string) func() bool {
	return func() bool { return b.items(name)[id+"."+name] > 0 }
}

// list returns the waiting deliveries.
func (b *bench) list() map[string]control.QueuedReport {
	b.t.Helper()
	l, err := b.ask().Reports(context.Background(), "", 100)
	if err != nil {
		b.t.Fatal(err)
	}
	m := map[string]control.QueuedReport{}
	for _, r := range l.Reports {
		m[r.ID+"."+r.Destination] = r
	}
	return m
}

func TestRetries(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+"}, other: {"+prog+"}, slow: {"+prog+"}"))
	b.script("one", `echo 451 try later; exit 75`)
	b.script("other", take)
	b.script("slow", `exec sleep 30`)
	b.start()
	id, id2 := b.ban("198.51.100.1"), b.ban("198.51.100.2")
	// A destination that fails and one that hangs delay no other.
	b.told(audit.KindReported, "report to other, ban of 198.51.100.1")
	b.told(audit.KindReported, "report to other, ban of 198.51.100.2")
	b.told(audit.KindLog, "reports to one fail and are tried again: exit status 75: 451 try later")
	if r := b.list()[id+".one"]; r.Attempts < 1 || !strings.Contains(r.Error, "451") {
		t.Errorf("waiting: %+v", r)
	}
	s := b.statusLine()
	if !strings.Contains(s, "2 waiting for one, last error: exit status 75: 451 try later") || !strings.Contains(s, "2 delivered") {
		t.Errorf("status: %s", s)
	}
	b.script("one", take)
	b.until("one", b.got("one", id))
	b.until("one", b.got("one", id2))
	b.told(audit.KindReportsResumed, "reports to one go out again")
	// A drop does not affect a delivery under way.
	r, err := b.ask().Drop(context.Background(), control.Peer{User: "root"}, control.ReportsRequest{Destination: "slow"})
	if err != nil || r.Reports != 1 {
		t.Errorf("drop: %+v, %v", r, err)
	}
	m := b.told(audit.KindReportDropped, "dropped by root")
	if m[audit.FieldDestination] != "slow" || m[audit.FieldBanID] != id2 {
		t.Errorf("audit entry: %v", m)
	}
	b.kill() // rather than waiting for the program
}

func TestRefusedAndHeld(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+"}, held: {"+prog+"}, gone: {"+prog+"}, spent: {"+prog+"}"))
	b.script("one", `read item; case $(cat) in *198.51.100.1*) echo 550 no such user; exit 65;; *198.51.100.2*) echo "item $2" >>"$1";; esac`)
	b.script("held", `echo the key is not known; exit 78`)
	b.script("gone", `echo 451; exit 75`)
	b.script("spent", `if [ -e "$1.full" ]; then rm "$1.full"; echo 429; exit 76; fi; `+take)
	os.WriteFile(filepath.Join(b.dir, "out", "spent.full"), nil, 0o644)
	b.start()
	id, id2 := b.ban("198.51.100.1"), b.ban("198.51.100.2")
	m := b.told(audit.KindReportDropped, "refused: exit status 65: 550 no such user")
	if m[audit.FieldBanID] != id || m[audit.FieldDestination] != "one" {
		t.Errorf("audit entry: %v", m)
	}
	b.until("the next", b.got("one", id2))
	b.told(audit.KindReportsHeld, "reports to held wait: exit status 78: the key is not known")
	b.until("what the quota held up", b.got("spent", id2))
	if r := b.list()[id+".held"]; r.State != "held" || r.Attempts != 0 {
		t.Errorf("waiting: %+v", r)
	}
	// It stays so over a restart, and is freed by a change of the configuration.
	b.stop()
	b.script("held", take)
	b.start()
	b.until("reading", func() (ok bool) { b.inside(func(d *Dispatcher) { ok = d.caughtUp }); return ok })
	if r := b.list()[id+".held"]; r.State != "held" {
		t.Errorf("after a restart: %+v", r)
	}
	b.configure(reports("one: {" + prog + "}, held: {type: exec, command: [/bin/false]}, spent: {" + prog + "}"))
	b.entry(map[string]string{"MESSAGE_ID": audit.KindReload.ID(), "MESSAGE": "reloaded"})
	b.told(audit.KindReportsResumed, "reports to held go out again")
	b.until("what was held", b.got("held", id))
	b.until("what was held", b.got("held", id2))
	// Reports to a destination that is no longer configured wait, and can be dropped.
	if r := b.list()[id+".gone"]; r.State != "not configured" {
		t.Errorf("waiting: %+v", r)
	}
	if r, err := b.ask().Drop(context.Background(), control.Peer{User: "root"}, control.ReportsRequest{Destination: "gone"}); err != nil || r.Reports != 2 {
		t.Errorf("drop: %+v, %v", r, err)
	}
	// A configuration with an error leaves the old one in force.
	b.configure("report: {destinations: {one: {type: nonsense}}}\n")
	b.entry(map[string]string{"MESSAGE_ID": audit.KindReload.ID(), "MESSAGE": "reloaded"})
	b.told(audit.KindReloadRefused, "nonsense")
	id = b.ban("198.51.100.2")
	b.until("the old configuration", b.got("one", id))
}

func TestBrokenDestination(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+"}, bad: {type: mail, to: [root], template: /missing}"))
	b.script("one", take)
	b.script("bad", take)
	b.start()
	id := b.ban("198.51.100.1")
	b.until("the one that works", b.got("one", id))
	b.told(audit.KindReportsHeld, "/missing is not there")
	b.configure(reports("one: {" + prog + "}, bad: {type: mail, to: [root]}"))
	if err := b.d.Reload(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.until("the one that was mended", b.got("bad", id))
}

func TestGiveUp(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+", retry_for: 2s}"))
	b.script("one", `exit 75`)
	b.start()
	begin := time.Now()
	id := b.ban("198.51.100.1")
	m := b.told(audit.KindReportDropped, "given up after 2s: exit status 75")
	if d := time.Since(begin); m[audit.FieldBanID] != id || d < 2*time.Second {
		t.Errorf("after %v: %v", d, m)
	}
	if l := b.list(); len(l) != 0 {
		t.Errorf("still waiting: %v", l)
	}
}

func TestWhatIsReported(t *testing.T) {
	b := newBench(t, reports("all: {"+prog+", manual: true, networks: true, prolonged: true}, few: {"+prog+", manual: false, networks: false, prolonged: false, jails: [sshd], min_failures: 5, window: 10m}, day: {"+prog+", digest: daily}"))
	for _, n := range []string{"all", "few", "day"} {
		b.script(n, take)
	}
	b.start()
	set := func(f func(*audit.BanEvent)) func(*audit.BanEvent) { return f }
	first := b.ban("198.51.100.1")
	hand := b.ban("198.51.100.2", set(func(e *audit.BanEvent) { e.By, e.Reason, e.Failures = "root", "by hand", 0 }))
	wide := b.ban("198.51.100.0", set(func(e *audit.BanEvent) { e.Prefix, e.Wide = netip.MustParsePrefix("198.51.100.0/24"), true }))
	other := b.ban("198.51.100.3", set(func(e *audit.BanEvent) { e.Jail = "postfix" }))
	little := b.ban("198.51.100.4", set(func(e *audit.BanEvent) { e.Failures = 4 }))
	within := b.ban("198.51.100.1")
	ev := audit.BanEvent{Prefix: netip.MustParsePrefix("198.51.100.5/32"), Jail: "sshd", ID: "00000000000000ee", Since: time.Now(), Until: time.Now().Add(time.Hour), Failures: 5, Count: 2}
	b.event(ev, audit.KindExtend)
	last := b.ban("198.51.100.6")
	b.told(audit.KindReported, "report to all, ban of 198.51.100.6")
	b.told(audit.KindReported, "report to few, ban of 198.51.100.6")
	b.until("all that is reported", func() bool { return len(b.items("all")) >= 8 }) // several are delivered at once
	all, few := b.items("all"), b.items("few")
	for id, want := range map[string]bool{first: true, hand: false, wide: false, other: false, little: false, within: false, last: true} {
		if all[id+".all"] != 1 || (few[id+".few"] == 1) != want {
			t.Errorf("%s: %d, %d times, want 1, %v", id, all[id+".all"], few[id+".few"], want)
		}
	}
	n := 0
	for key := range all {
		if strings.HasPrefix(key, "00000000000000ee-") && strings.HasSuffix(key, ".all") {
			n++
		}
	}
	if n != 1 || len(all) != 8 || len(few) != 2 {
		t.Errorf("all %v, few %v", all, few)
	}
	// The window holds over a restart.
	b.stop()
	b.start()
	within, last = b.ban("198.51.100.1"), b.ban("198.51.100.7")
	b.until("the last", b.got("few", last))
	if b.items("few")[within+".few"] != 0 {
		t.Error("the window is forgotten by a restart")
	}
	// A digest comes when its day is over, in one item.
	if out := b.out("day"); out != "" {
		t.Errorf("too early: %s", out)
	}
	gathered := 0
	b.inside(func(d *Dispatcher) {
		for _, it := range d.q.dests["day"].collecting {
			it.since -= day.Microseconds()
			gathered++
		}
	})
	b.told(audit.KindReported, fmt.Sprintf("report to day, %d bans", gathered))
	if items := b.items("day"); len(items) != 1 || strings.Count(b.out("day"), "report ") != gathered {
		t.Errorf("%d in the digest: %s", gathered, b.out("day"))
	}
}

func TestQuotaWaits(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+", quota: 2}"))
	b.script("one", take)
	b.start()
	for i := range 4 {
		b.ban(fmt.Sprintf("198.51.100.%d", i+1))
	}
	b.until("two", func() bool { return len(b.items("one")) == 2 })
	b.until("two that wait", func() bool { return len(b.list()) == 2 })
	b.stop()
	b.start() // it does not start over
	s, err := b.ask().Status(context.Background())
	if err != nil || s.Destinations[0].Sent != 2 || s.Destinations[0].Quota != 2 || s.Waiting != 2 {
		t.Errorf("status: %+v, %v", s, err)
	}
	b.inside(func(d *Dispatcher) {
		sent := d.q.dests["one"].sent
		for k, n := range maps.Clone(sent) { // a day later
			delete(sent, k)
			sent[k-241] = n
		}
	})
	b.until("the others", func() bool { return len(b.items("one")) == 4 })
}

// TestWhoisForCallers: lookups are also made for people, who cannot use up the registries' quota.
func TestWhoisForCallers(t *testing.T) {
	b := newBench(t, reports("plain: {"+prog+"}"))
	b.script("plain", take)
	asked := 0
	b.whois = func(_ context.Context, a netip.Addr) *report.Whois {
		asked++
		return &report.Whois{Holder: "holder of " + a.String()}
	}
	b.start()
	begin := time.Now()
	for i := range 1000 {
		w, err := b.d.Whois(t.Context(), netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
		if err == nil {
			if want := fmt.Sprintf("holder of 198.51.100.%d", byte(i)); w.Holder != want {
				t.Errorf("%+v, want %s", w, want)
			}
			continue
		}
		var e *control.Error
		if !errors.As(err, &e) || e.Status != http.StatusTooManyRequests || !strings.Contains(e.Hint, "try again in") {
			t.Fatal(err)
		}
	}
	if most := lookupLimit.Size + 1 + int(time.Since(begin)/lookupLimit.Every); asked < lookupLimit.Size || asked > most {
		t.Errorf("%d lookups, want %d to %d", asked, lookupLimit.Size, most)
	}
}

func TestWhois(t *testing.T) {
	b := newBench(t, reports("mail: {type: mail, to: [root], include: [whois, lines, context]}, plain: {"+prog+"}"))
	b.script("mail", take)
	b.script("plain", take)
	asked := make(chan netip.Addr, 10)
	b.whois = func(ctx context.Context, a netip.Addr) *report.Whois {
		asked <- a
		if a == netip.MustParseAddr("198.51.100.2") {
			<-ctx.Done() // it is as slow as it may be
			return &report.Whois{Failed: "no answer in time"}
		}
		return &report.Whois{Holder: "Example Org"}
	}
	b.start()
	b.entry(map[string]string{"_UID": "0", "_SYSTEMD_UNIT": "ssh.service", "SYSLOG_IDENTIFIER": "sshd", "_TRANSPORT": "syslog", "MESSAGE": "Connection from 198.51.100.10 port 1"})
	b.entry(map[string]string{"_UID": "0", "_SYSTEMD_UNIT": "ssh.service", "SYSLOG_IDENTIFIER": "sshd", "_TRANSPORT": "syslog", "MESSAGE": "Connection from 198.51.100.1 port 1"})
	cursors := b.failures("198.51.100.1", 2)
	begin := time.Now()
	id2, id := b.ban("198.51.100.2"), b.ban("198.51.100.1", func(e *audit.BanEvent) { e.Evidence = cursors })
	b.until("who needs no whois", b.got("plain", id2))
	b.until("with whois", b.got("mail", id))
	b.until("without whois", b.got("mail", id2))
	if d := time.Since(begin); d < time.Second {
		t.Errorf("without an answer after %v, with a limit of 1 s", d)
	}
	out := b.out("mail")
	if strings.Index(out, "whois Example Org") > strings.Index(out, "whois no answer in time") {
		t.Error("a look-up without an answer delays other reports")
	}
	if !strings.Contains(out, "whois Example Org\n") || !strings.Contains(out, "whois no answer in time\n") {
		t.Errorf("mail:\n%s\nplain:\n%s", out, b.out("plain"))
	}
	if strings.Count(out, "context Failed password") != 2 || strings.Count(out, "context Connection from 198.51.100.1 port 1\n") != 1 || strings.Contains(out, "198.51.100.10") {
		t.Errorf("context: %s", out)
	}
	if len(asked) != 2 {
		t.Errorf("asked %d times", len(asked))
	}
}

func TestVacuumed(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+"}"))
	b.script("one", take)
	b.start()
	id := b.ban("198.51.100.1")
	b.until("the first", b.got("one", id))
	b.stop()
	q, err := openQueue(filepath.Join(b.dir, "queue"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	pos := q.pos
	pos.Cursor = pos.Cursor[:strings.Index(pos.Cursor, ";x=")] + ";x=1"
	pos.Cursor = "s=000000000000000000000000000000aa" + pos.Cursor[strings.Index(pos.Cursor, ";"):]
	q.write(kindPosition, recPosition{Pos: pos}, nil)
	if err := errors.Join(q.commit(), q.close()); err != nil {
		t.Fatal(err)
	}
	id = b.ban("198.51.100.2")
	b.start()
	b.told(audit.KindJournalProblem, "is no longer in the journal")
	b.until("what came since", b.got("one", id))
	if len(b.items("one")) != 2 {
		t.Errorf("delivered: %v", b.items("one"))
	}
}

// TestEndsWithoutDestinations: it runs while there is a destination or something waits, and ends otherwise.
func TestEndsWithoutDestinations(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+"}"))
	b.script("one", `exit 75`)
	o := b.options()
	o.Linger = time.Millisecond
	b.run(o)
	id := b.ban("198.51.100.1")
	b.until("the report", func() bool { return len(b.list()) == 1 })
	b.configure("jails: {sshd: {}}\n")
	if err := b.d.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := b.list()[id+".one"]; r.State != "not configured" && r.State != "delivering" {
		t.Errorf("waiting: %+v", r)
	}
	b.until("an end of the attempt", func() bool {
		if _, err := b.ask().Drop(t.Context(), control.Peer{User: "root"}, control.ReportsRequest{All: true}); err != nil {
			return true // it has ended
		}
		l, err := b.ask().Reports(t.Context(), "", 10)
		return err != nil || l.Total == 0
	})
	if err := <-b.ended; err != nil {
		t.Error(err)
	}
	b.d = nil
	b.run(o) // as on a request: it starts, and ends again
	if err := <-b.ended; err != nil {
		t.Error(err)
	}
	b.d = nil
	b.configure(reports("one: {" + prog + "}"))
	b.script("one", take)
	b.start()
	id = b.ban("198.51.100.2")
	b.until("the report", b.got("one", id))
}

func TestControl(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+"}, two: {type: mail, to: [root]}"))
	b.script("one", `echo 451 not now; exit 75`)
	b.script("two", take)
	b.start()
	id := b.ban("198.51.100.1")
	b.told(audit.KindReported, "report to two")
	b.until("an attempt", func() bool { return b.list()[id+".one"].Attempts > 0 })
	a, ctx := b.ask(), context.Background()
	root := control.Peer{User: "root"}
	for _, by := range []string{id, "198.51.100.1"} {
		s, err := a.Report(ctx, by, "")
		if err != nil || s.Report.ID != id || len(s.Deliveries) != 1 || !strings.HasPrefix(s.Deliveries[0].Preview, "item "+id+".one\nreport "+id) {
			t.Errorf("show %s: %+v, %v", by, s, err)
		}
	}
	if _, err := a.Report(ctx, "198.51.100.9", ""); err == nil {
		t.Error("shows what is not there")
	}
	if _, err := a.Retry(ctx, root, control.ReportsRequest{Destination: "three"}); err == nil || !strings.Contains(err.Error(), `no destination "three"`) {
		t.Errorf("retry: %v", err)
	}
	if r, err := a.Test(ctx, root, control.TestRequest{Destination: "two"}); err != nil || r.Answer != "taken" || !strings.Contains(b.out("two"), "192.0.2.1") {
		t.Errorf("test: %+v, %v, %s", r, err, b.out("two"))
	}
	if r, err := a.Test(ctx, root, control.TestRequest{Destination: "one"}); err == nil || !strings.Contains(err.Error(), "451 not now") {
		t.Errorf("test: %+v, %v", r, err)
	}
	b.script("one", take)
	if r, err := a.Retry(ctx, root, control.ReportsRequest{ID: "198.51.100.1"}); err != nil || r.Reports != 1 {
		t.Errorf("retry: %+v, %v", r, err)
	}
	b.told(audit.KindReported, "report to one")
	s, err := a.Status(ctx)
	if err != nil || s.Waiting != 0 || !s.CaughtUp || len(s.Destinations) != 2 || s.Destinations[0].Sent != 1 || s.Destinations[0].LastOK == nil || len(s.Problems) != 0 {
		t.Errorf("status: %+v, %v", s, err)
	}
}

// TestFullDisk: bans wait in the journal while there is no room, and none is lost.
func TestFullDisk(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+"}"))
	b.script("one", take)
	mountSmall(t, filepath.Join(b.dir, "queue"), 2<<20)
	ballast := filepath.Join(b.dir, "queue", "ballast")
	b.start()
	id := b.ban("198.51.100.1")
	b.until("the first", b.got("one", id))
	if err := os.WriteFile(ballast, make([]byte, 1500<<10), 0o600); err == nil {
		t.Log("the disk is nearly full")
	}
	n := 1
	full := func() (ok bool) { b.inside(func(d *Dispatcher) { ok = d.noRoom != "" }); return ok }
	b.until("a full disk", func() bool {
		if n < 250 {
			n++
			id = b.ban(fmt.Sprintf("198.51.100.%d", n))
		}
		return full()
	})
	b.told(audit.KindReportQueue, "no room for the queue")
	if s := b.statusLine(); !strings.Contains(s, "QUEUE FULL") {
		t.Errorf("status: %s", s)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	b.stop() // rather than waiting for the pause to end
	b.start()
	b.until("the last", b.got("one", id))
	b.until("all", func() bool { return len(b.items("one")) == n })
}

// TestRoomAgain: when the queue can be written again, status says so at once, although no ban comes.
func TestRoomAgain(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+"}"))
	at := clock{time.Now()}
	o := b.options()
	o.Now = at.now
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.q.close()
	turn := func() string {
		t.Helper()
		if _, err := d.turn(); err != nil {
			t.Fatal(err)
		}
		return d.statusLine()
	}
	for i := range 5 {
		add(t, d.q, fmt.Sprint(i), 1000, "gone") // so that nothing is gained by a compaction
	}
	turn()
	d.q.log.limit = d.q.log.end
	d.writePosition(position{Realtime: 1})
	if s := turn(); !strings.Contains(s, "QUEUE FULL") {
		t.Fatalf("status: %s", s)
	}
	b.told(audit.KindReportQueue, "no room for the queue")
	d.q.log.limit = maxFile
	at.t = at.t.Add(fullPause)
	if s := turn(); strings.Contains(s, "QUEUE FULL") || len(d.report().Problems) > 0 {
		t.Errorf("status: %s; %v", s, d.report().Problems)
	}
	b.told(audit.KindReportQueue, "the queue has room again")
}

func TestPauses(t *testing.T) {
	o := Options{Pauses: Pauses{30 * time.Second, time.Hour}}
	for attempts, want := range map[int]time.Duration{0: 30 * time.Second, 1: 30 * time.Second, 2: time.Minute, 5: 8 * time.Minute, 8: time.Hour, 1000: time.Hour} {
		for range 100 {
			if d := o.pause(attempts); d < want*3/4 || d > want*5/4 {
				t.Fatalf("after %d attempts %v, want about %v", attempts, d, want)
			}
		}
	}
	// A clock that was set makes no pause longer than it was, and no age negative.
	now := time.Now()
	for _, c := range []struct{ next, since, left, age time.Duration }{
		{10 * time.Second, -time.Hour, 10 * time.Second, time.Hour},
		{-10 * time.Second, -time.Hour, 0, time.Hour},
		{1000 * time.Hour, time.Hour, time.Minute, 0},
	} {
		it := delivery{next: now.Add(c.next).UnixMicro(), since: now.Add(c.since).UnixMicro(), pause: time.Minute.Microseconds()}
		it.restore(now)
		if left, age := it.notBefore.Sub(now).Round(time.Millisecond), now.Sub(it.created).Round(time.Millisecond); left != c.left || age != c.age {
			t.Errorf("%+v: left %v, age %v", c, left, age)
		}
	}
}

// TestDamagedQueue: what a damaged queue no longer holds is rebuilt from the journal, which also shows what was delivered.
func TestDamagedQueue(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+"}, two: {"+prog+"}"))
	b.script("one", take)
	b.script("two", `exit 75`)
	b.start()
	var ids []string
	for i := range 20 {
		ids = append(ids, b.ban(fmt.Sprintf("198.51.100.%d", i+1)))
	}
	for i := range 20 {
		b.told(audit.KindReported, fmt.Sprintf("report to one, ban of 198.51.100.%d (", i+1))
	}
	b.stop()
	for _, id := range ids { // the entries that journald would have
		b.entry(map[string]string{"MESSAGE_ID": audit.KindReported.ID(), "_UID": fmt.Sprint(reportUID), "_SYSTEMD_UNIT": Unit, "SYSLOG_IDENTIFIER": Identifier,
			"MESSAGE": "report", audit.FieldDestination: "one", audit.FieldItem: id + ".one", audit.FieldBanID: id})
	}
	path := filepath.Join(b.dir, "queue", "queue")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(data) / 8; i < len(data)*7/8; i++ {
		data[i] ^= 0x55
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	b.script("two", take)
	b.until("the journal", func() bool { // the last entry can be read
		j, err := journal.Open(journal.Dir(b.journal), journal.Options{Matches: journal.Matches{{{Field: audit.FieldItem, Value: ids[19] + ".one"}}}})
		if err != nil {
			return false
		}
		defer j.Close()
		return j.Next()
	})
	b.start()
	b.told(audit.KindReportQueue, "the queue was damaged")
	for i := range 20 {
		b.told(audit.KindReported, fmt.Sprintf("report to two, ban of 198.51.100.%d (", i+1))
	}
	b.until("rest", func() bool { return len(b.list()) == 0 })
	for _, id := range ids {
		if one, two := b.items("one")[id+".one"], b.items("two")[id+".two"]; one != 1 || two != 1 {
			t.Errorf("%s: delivered %d and %d times", id, one, two)
		}
	}
}

// copied passes on audit entries, and keeps those about deliveries.
type copied struct {
	*audit.Writer
	mu   sync.Mutex
	sent []audit.Entry
}

func (c *copied) Send(e audit.Entry) {
	if e.Kind == audit.KindReported {
		c.mu.Lock()
		c.sent = append(c.sent, e)
		c.mu.Unlock()
	}
	c.Writer.Send(e)
}

// TestDamagedDigest: after damage, the journal shows every report that was part of a digest: those of large digests, of prolonged bans and of
// unbans, too.
func TestDamagedDigest(t *testing.T) {
	b := newBench(t, reports("mail: {"+prog+", digest: hourly, prolonged: true}, phone: {"+ntfy+", digest: hourly, events: [bans, unbans], prolonged: true}"))
	for _, name := range []string{"mail", "phone"} {
		b.script(name, take)
	}
	var ahead atomic.Int64
	trail := &copied{Writer: b.trail}
	o := b.options()
	o.Audit, o.Now = trail, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	waiting := func(mail, phone int) {
		t.Helper()
		b.until(fmt.Sprintf("%d and %d reports wait", mail, phone), func() (ok bool) {
			b.inside(func(d *Dispatcher) {
				ok = len(d.q.destination("mail").all) == mail && len(d.q.destination("phone").all) == phone
			})
			return ok
		})
	}
	b.run(o)
	const n = 100
	var ids []string
	for i := range n {
		ids = append(ids, b.ban(fmt.Sprintf("198.51.100.%d", i+1)))
	}
	now := time.Now()
	b.event(audit.BanEvent{Prefix: netip.MustParsePrefix("198.51.100.9/32"), Jail: "sshd", ID: ids[8], First: now, Since: now, Until: now.Add(time.Hour), Failures: 9, Count: 1, Reason: "failures"}, audit.KindExtend)
	b.entry(map[string]string{"MESSAGE_ID": audit.KindUnban.ID(), "MESSAGE": "unban", audit.FieldPrefix: "198.51.100.10/32", audit.FieldJail: "sshd", audit.FieldBanID: ids[9],
		audit.FieldUntil: audit.Forever, audit.FieldReason: "lifted by hand"})
	waiting(n+1, n+2)
	ahead.Store(int64(time.Hour))
	b.inside(func(*Dispatcher) {}) // it looks at the clock
	b.told(audit.KindReported, "report to mail, 101 bans")
	b.told(audit.KindReported, "report to phone, 102 bans")
	waiting(0, 0)
	b.stop()
	for _, e := range trail.sent { // as journald would write them
		b.write.Lock()
		b.n++
		out := fmt.Appendf(nil, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%s\n", time.Now().UnixMicro(), 1_000_000+b.n, b.boot)
		for _, f := range append(e.Fields, audit.Field{Name: "MESSAGE_ID", Value: e.Kind.ID()}, audit.Field{Name: "MESSAGE", Value: e.Message},
			audit.Field{Name: "_UID", Value: fmt.Sprint(reportUID)}, audit.Field{Name: "_SYSTEMD_UNIT", Value: Unit}) {
			out = journaltest.Field(out, f.Name, []byte(f.Value))
		}
		if _, err := b.in.Write(append(out, '\n')); err != nil {
			t.Fatal(err)
		}
		b.write.Unlock()
	}
	b.readable("report to mail, 101 bans", 1)
	b.readable("report to phone, 102 bans", 1)
	path := filepath.Join(b.dir, "queue", "queue")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(data) / 8; i < len(data)*7/8; i++ {
		data[i] ^= 0x55
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	b.run(o)
	b.told(audit.KindReportQueue, "the queue was damaged")
	b.until("the journal is read", func() (ok bool) {
		b.inside(func(d *Dispatcher) { ok = d.caughtUp })
		return ok
	})
	b.inside(func(d *Dispatcher) {
		for _, name := range []string{"mail", "phone"} {
			for key := range d.q.destination(name).all {
				t.Errorf("%s: would be sent again", key)
			}
		}
	})
}

// TestOutcomes: an entry about a prolonged ban or an unban says nothing about the report of the ban itself. Digests of earlier versions named
// bans only.
func TestOutcomes(t *testing.T) {
	b := newBench(t, reports(""))
	for item, id := range map[string]string{"a1.one": "a1", "a2-00ff.one": "a2", "a3-unban.one": "a3", "digest-a4-1.one": "a4"} {
		b.entry(map[string]string{"MESSAGE_ID": audit.KindReported.ID(), "_UID": fmt.Sprint(reportUID), "_SYSTEMD_UNIT": Unit,
			"MESSAGE": "report to one", audit.FieldDestination: "one", audit.FieldItem: item, audit.FieldBanID: id})
	}
	b.readable("report to one", 4)
	b.start()
	known, err := b.d.outcomes(time.Now().Add(-time.Hour))
	keys := strings.ReplaceAll(strings.Join(slices.Sorted(maps.Keys(known)), " "), doneKey("one", ""), "")
	if want := "a1.one a2-00ff.one a3-unban.one a4.one digest-a4-1.one"; err != nil || keys != want {
		t.Errorf("%v: %s, want %s", err, keys, want)
	}
}

// TestBehind: a destination for which the queue has no more room delays no other, and gets all its reports, once, when it works again.
func TestBehind(t *testing.T) {
	b := newBench(t, reports("full: {"+prog+"}, other: {"+prog+"}"))
	b.script("full", `exit 75`)
	b.script("other", take)
	o := b.options()
	o.MaxCount = 5
	b.run(o)
	const n = 40
	for i := range n {
		b.ban(fmt.Sprintf("198.51.100.%d", i+1))
	}
	b.until("the other", func() bool { return len(b.items("other")) == n })
	m := b.told(audit.KindReportQueue, "5 reports wait for full: newer bans wait in the journal")
	if m[audit.FieldDestination] != "full" {
		t.Errorf("audit entry: %v", m)
	}
	b.until("the status", func() bool { // the other was behind, too, until a moment ago
		s, err := b.ask().Status(t.Context())
		if err != nil || !s.Destinations[0].Behind || s.Destinations[0].Waiting != 5 {
			t.Fatalf("%+v, %v", s, err)
		}
		return !s.Destinations[1].Behind
	})
	b.stop()
	b.run(o) // it is remembered
	b.script("full", take)
	b.until("all", func() bool { return len(b.items("full")) == n })
	b.until("an end", func() bool {
		s, err := b.ask().Status(t.Context())
		return err == nil && s.Waiting == 0 && !s.Destinations[0].Behind
	})
	for _, name := range []string{"full", "other"} {
		for key, k := range b.items(name) {
			if k != 1 {
				t.Errorf("%s was delivered %d times", key, k)
			}
		}
	}
}

// TestKeyMissing: a destination without its key is held from the start, not only once there is something to deliver.
func TestKeyMissing(t *testing.T) {
	b := newBench(t, reports("abuseipdb: {}"))
	o := b.options()
	have := false
	o.Env = func(c *config.Config) (deliver.Env, error) {
		return deliver.Env{Config: &c.Report, Secret: func(name string) ([]byte, error) {
			if !have {
				return nil, errors.New("credential " + name + ": there is none")
			}
			return []byte("key"), nil
		}}, nil
	}
	b.script("abuseipdb", take)
	b.run(o)
	s, err := b.ask().Status(t.Context())
	if err != nil || len(s.Destinations) != 1 || !strings.Contains(s.Destinations[0].Held, "credential bailiff_abuseipdb: there is none") {
		t.Errorf("status: %+v, %v", s, err)
	}
	b.told(audit.KindReportsHeld, "there is none")
	if _, err := b.ask().Test(t.Context(), control.Peer{User: "root"}, control.TestRequest{Destination: "abuseipdb"}); err == nil || !strings.Contains(err.Error(), "there is none") {
		t.Errorf("test: %v", err)
	}
	id := b.ban("198.51.100.1")
	b.until("the report", func() bool { return b.list()[id+".abuseipdb"].State == "held" })
	have = true
	if _, err := b.ask().Retry(t.Context(), control.Peer{User: "root"}, control.ReportsRequest{All: true}); err != nil {
		t.Fatal(err)
	}
	b.until("what was held", b.got("abuseipdb", id))
}

// deaf is a destination that ignores its context.
type deaf struct {
	program
	hangs, goOn chan struct{}
}

func (d *deaf) Deliver(context.Context, *report.Item) (report.Receipt, error) {
	close(d.hangs)
	<-d.goOn
	return report.Receipt{}, nil
}

// TestStops: a delivery that hangs is cut off when the process stops, and one that ignores that is left behind.
func TestStops(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+"}"))
	b.script("one", `exec sleep 1000`)
	b.start()
	id := b.ban("198.51.100.1")
	b.until("a delivery", func() bool { return b.list()[id+".one"].State == "delivering" })
	s, err := b.ask().Status(t.Context())
	if err != nil || s.Destinations[0].Delivering == nil {
		t.Errorf("status: %+v, %v", s, err)
	}
	b.stop()
	o := b.options()
	d := &deaf{program{b.dir, "one"}, make(chan struct{}), make(chan struct{})}
	defer close(d.goOn)
	o.New = func(*config.Destination, deliver.Env) (deliver.Destination, error) { return d, nil }
	b.run(o)
	<-d.hangs
	b.cancel()
	if err := <-b.ended; err == nil || !strings.Contains(err.Error(), "did not end") {
		t.Errorf("run: %v", err)
	}
	b.script("one", take)
	b.start()
	b.until("the report", b.got("one", id))
}

// TestDropAll: when many reports are dropped at once, each has its entry, although journald accepts none for a while.
func TestDropAll(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+"}"))
	path := filepath.Join(b.dir, "slow")
	journald := journaltest.Journald(t, path)
	trail := audit.Open(audit.Options{Socket: path, Identifier: Identifier})
	const n = 12_000 // more than the writer holds
	q := openTest(t, filepath.Join(b.dir, "queue"))
	for i := range n {
		add(t, q, fmt.Sprintf("%016x", i), 1, "gone")
	}
	if err := q.commit(); err != nil {
		t.Fatal(err)
	}
	o := b.options()
	o.Audit = trail
	b.run(o)
	dropped := make(chan error, 1)
	go func() {
		r, err := b.ask().Drop(context.Background(), control.Peer{User: "root"}, control.ReportsRequest{All: true})
		if err == nil && r.Reports != n {
			err = fmt.Errorf("%d were dropped", r.Reports)
		}
		dropped <- err
	}()
	b.until("a writer that is busy", trail.Busy)
	if s, err := b.ask().Status(t.Context()); err != nil || s.Waiting == 0 {
		t.Errorf("status meanwhile: %+v, %v", s, err)
	}
	buf := make([]byte, 1<<20)
	seen := map[string]bool{}
	for len(seen) < n {
		journald.SetReadDeadline(time.Now().Add(time.Minute))
		k, err := journald.Read(buf)
		if err != nil {
			t.Fatalf("after %d entries: %v; %+v", len(seen), err, trail.Stats())
		}
		if _, id, ok := strings.Cut(string(buf[:k]), audit.FieldBanID+"="); ok && strings.Contains(string(buf[:k]), "dropped by root") {
			id, _, _ = strings.Cut(id, "\n")
			seen[id] = true
		}
	}
	if err := <-dropped; err != nil || trail.Stats().Lost != 0 {
		t.Errorf("%v, %d lost", err, trail.Stats().Lost)
	}
	b.stop()
	trail.Close(context.Background())
}
