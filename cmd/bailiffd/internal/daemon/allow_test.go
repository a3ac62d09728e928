package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/policy/allow"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/operator"
	"bailiff/policy/state"
	"bailiff/units/control"
	"bailiff/units/logind"
	"bailiff/units/operators"
	"bailiff/units/published"
)

// say writes a line of sshd's process with this pid.
func (b *bench) say(pid int, message string) {
	b.t.Helper()
	was := b.pid
	b.pid = pid - 1000 // as entry counts
	x := b.entry(nil, message)
	b.pid = was
	if _, err := b.in.Write(x); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) how(addr string) *control.AllowWhy {
	b.t.Helper()
	w, err := b.client.AllowWhy(context.Background(), addr)
	if err != nil {
		b.t.Fatal(err)
	}
	return w
}

// settled waits until everything written has been judged.
func (b *bench) settled() {
	b.t.Helper()
	b.pid++
	a := fmt.Sprintf("198.19.0.%d", b.pid%250+1)
	b.fail(a, 1)
	b.until("marker "+a, func(ctx context.Context) bool {
		w, err := b.client.Why(ctx, a)
		return err == nil && w.State == "counted"
	})
}

// TestOperatorIsProtected: an address with a session of root is not banned, whatever fails from it meanwhile, and an earlier ban is lifted.
func TestOperatorIsProtected(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.start()
	b.fail("198.51.100.9", 5)
	b.awaitBan("198.51.100.9/32")
	b.say(70001, "Accepted publickey for root from 198.51.100.9 port 40000 ssh2: ED25519 SHA256:Zm9v")
	b.say(70002, "Accepted password for nobody-of-note from 198.51.100.10 port 40001 ssh2")
	if m := b.told(audit.KindUnban); m[audit.FieldPrefix] != "198.51.100.9/32" || !strings.HasPrefix(m[audit.FieldReason], "allowed by operator: ssh session of root (root) since ") {
		t.Errorf("audit entry: %v", m)
	}
	b.fail("198.51.100.9", 8)
	b.fail("198.51.100.10", 5)
	b.awaitBan("198.51.100.10/32")
	if _, ok := b.banned(context.Background())["198.51.100.9/32"]; ok {
		t.Error("an operator was locked out")
	}
	w := b.how("198.51.100.9")
	if !w.Allowed || len(w.Entries) != 1 || w.Entries[0].Source != "operator" || w.Entries[0].Until != nil {
		t.Fatalf("%+v", w)
	}
	if s := w.Entries[0].Session; s == nil || s.User != "root" || s.Why != "root" || s.PID != 70001 || time.Since(s.Since) > time.Minute {
		t.Errorf("session %+v", s)
	}
	// The allowance ends with the session, after the grace period.
	b.say(70001, "pam_unix(sshd:session): session closed for user root")
	b.until("the session's end", func(context.Context) bool { return b.how("198.51.100.9").Entries[0].Until != nil })
	if e := b.how("198.51.100.9").Entries[0]; time.Until(*e.Until) > 10*time.Minute || time.Until(*e.Until) < 9*time.Minute || e.Session != nil {
		t.Errorf("%+v", e)
	}
	// Without grace, and then without the option at all.
	b.reload("allow: {operators: {grace: none}}\n")
	b.say(70003, "Accepted publickey for root from 198.51.100.11 port 40000 ssh2: ED25519 SHA256:Zm9v")
	b.until("a session", func(context.Context) bool { return b.how("198.51.100.11").Allowed })
	b.fail("198.51.100.11", 5)
	b.settled()
	b.say(70003, "pam_unix(sshd:session): session closed for user root")
	b.until("its end", func(context.Context) bool { return !b.how("198.51.100.11").Allowed })
	b.fail("198.51.100.11", 5)
	b.awaitBan("198.51.100.11/32")
	b.reload("allow: {operators: {enabled: no}}\n")
	b.say(70004, "Accepted publickey for root from 198.51.100.12 port 40000 ssh2: ED25519 SHA256:Zm9v")
	b.fail("198.51.100.12", 5)
	b.awaitBan("198.51.100.12/32")
}

// TestOperatorAfterRestart: sessions and grace from long before the daemon's start are known without logind. A forged line about a login does
// not count then either.
func TestOperatorAfterRestart(t *testing.T) {
	for _, first := range []bool{false, true} {
		b := newBench(t)
		say := func(ago time.Duration, pid int, message string) {
			b.ago.Store(int64(ago))
			b.say(pid, message)
		}
		before := fmt.Sprintf("first start %v", first)
		say(40*time.Hour, 70000, "Accepted publickey for root from 198.51.100.8 port 40000 ssh2: ED25519 SHA256:Zm9v")
		say(25*time.Minute, 70001, "Accepted publickey for root from 198.51.100.9 port 40000 ssh2: ED25519 SHA256:Zm9v")
		say(24*time.Minute, 70002, "Accepted publickey for root from 198.51.100.10 port 40000 ssh2: ED25519 SHA256:Zm9v")
		say(23*time.Minute, 70003, "Accepted publickey for root from 198.51.100.12 port 40000 ssh2: ED25519 SHA256:Zm9v")
		b.ago.Store(int64(22 * time.Minute))
		forged := bytes.Replace(b.entry(nil, "Accepted publickey for root from 198.51.100.11 port 40000 ssh2: ED25519 SHA256:Zm9v"), []byte("_UID=0\n"), []byte("_UID=1000\n"), 1)
		b.write(bytes.Replace(forged, []byte("_SYSTEMD_UNIT=ssh.service\n"), []byte("_SYSTEMD_UNIT=user@1000.service\n"), 1))
		say(20*time.Minute, 70002, "pam_unix(sshd:session): session closed for user root")
		b.ago.Store(0)
		if !first {
			b.start()
			b.settled()
			b.stop()
		}
		b.configure("allow: {operators: {grace: 12h}}\njails: {sshd: {}}\n")
		b.start()
		b.say(70003, "pam_unix(sshd:session): session closed for user root")
		for i := range 5 {
			b.fail(fmt.Sprint("198.51.100.", 8+i), 5)
		}
		b.awaitBan("198.51.100.8/32") // a session without an end counts for a day
		b.awaitBan("198.51.100.11/32")
		b.settled()
		for addr, how := range map[string]string{"198.51.100.9": "logged in", "198.51.100.10": "logged out 20 minutes ago", "198.51.100.12": "logged out now"} {
			if _, ok := b.banned(t.Context())[addr+"/32"]; ok {
				t.Errorf("%s: an operator who has %s is banned", before, how)
			}
		}
		if n := len(b.banned(t.Context())); n != 2 {
			t.Errorf("%s: %d bans", before, n)
		}
		b.stop()

		// A reload that begins to follow operators finds their sessions, too.
		b.configure("allow: {operators: {enabled: no}}\njails: {sshd: {}}\n")
		b.start()
		b.reload("jails: {sshd: {}}\n")
		if w := b.how("198.51.100.9"); !w.Allowed {
			t.Errorf("%s: after the reload: %+v", before, w)
		}
		b.stop()
	}
}

// TestOperatorGoneBeforeRestart: a start lifts no ban of an address from which an operator logged out before it was banned, however far back
// it reads the journal, and even if the state is lost. It lifts those of operators who are logged in, but became operators only now.
func TestOperatorGoneBeforeRestart(t *testing.T) {
	const conf = "jails: {sshd: {find_time: 12h}}\n"
	for _, lost := range []bool{false, true} {
		b := newBench(t)
		b.echo = true
		b.configure(conf)
		say := func(ago time.Duration, pid int, message string) {
			b.ago.Store(int64(ago))
			b.say(pid, message)
			b.ago.Store(0)
		}
		in := func(ago time.Duration, pid int, addr string) {
			say(ago, pid, fmt.Sprintf("Accepted publickey for root from %s port 40000 ssh2: ED25519 SHA256:Zm9v", addr))
		}
		out := func(ago time.Duration, pid int) {
			say(ago, pid, "pam_unix(sshd:session): session closed for user root")
		}
		in(20*time.Hour, 70001, "198.51.100.1") // before the entries that a start reads again
		in(19*time.Hour, 70005, "198.51.100.5") // logged in all the time
		out(5*time.Hour, 70001)
		in(4*time.Hour, 70002, "198.51.100.2")
		in(3*time.Hour, 70003, "198.51.100.3")
		out(2*time.Hour, 70002)
		in(90*time.Minute, 70004, "198.51.100.4") // any login has the list of allowed addresses built again
		out(time.Hour, 70003)
		out(time.Hour, 70004)
		b.start()
		b.settled()
		b.did(b.client.Ban(t.Context(), control.BanRequest{Prefixes: []string{"198.51.100.3"}}))
		b.fail("198.51.100.1", 5)
		b.fail("198.51.100.2", 5)
		b.fail("198.51.100.5", 5)
		all := []string{"198.51.100.1/32", "198.51.100.2/32", "198.51.100.3/32"}
		for _, p := range all {
			b.awaitBan(p)
		}
		b.settled()
		b.stop()
		if lost {
			if err := os.Remove(filepath.Join(b.state, stateName)); err != nil {
				t.Fatal(err)
			}
		}
		b.start()
		b.settled()
		if n := len(b.banned(t.Context())); n != len(all) {
			t.Errorf("state lost %v: %d bans after the restart: %v", lost, n, b.banned(t.Context()))
		}
		for range len(b.entries) {
			if m := <-b.entries; m["MESSAGE_ID"] == audit.KindUnban.ID() {
				t.Errorf("state lost %v: lifted: %v", lost, m)
			}
		}
		if !b.how("198.51.100.5").Allowed || b.how("198.51.100.1").Allowed {
			t.Errorf("state lost %v: %+v, %+v", lost, b.how("198.51.100.5"), b.how("198.51.100.1"))
		}
		b.stop()

		// Who was no operator yet when they were banned is not locked out.
		b.configure("allow: {operators: {enabled: no}}\n" + conf)
		b.start()
		b.fail("198.51.100.5", 5)
		b.awaitBan("198.51.100.5/32")
		b.stop()
		b.configure(conf)
		b.start()
		if m := b.told(audit.KindUnban); m[audit.FieldPrefix] != "198.51.100.5/32" {
			t.Errorf("state lost %v: %v", lost, m)
		}
		b.stop()
	}
}

// TestFirstAnswer: no entry is judged before logind had its chance to say who has been logged in for longer than a day.
func TestFirstAnswer(t *testing.T) {
	d := restored(t)
	now := time.Now()
	tracker, err := operators.New(d.conf.Allow.Operators)
	if err != nil {
		t.Fatal(err)
	}
	d.ops = &operatorWatch{
		Tracker: tracker, sessions: make(chan []operator.Session), logind: logind.New(func(string, int64) bool { return true }), stop: func() {}, awaited: now.Add(time.Hour),
	}
	d.reader = &reader{out: make(chan *batch), free: make(chan *batch, 1)}
	b := &batch{behind: true}
	for i := range 10 {
		b.entries = append(b.entries, filter.Entry{
			Message: fmt.Appendf(nil, "Failed password for someone from 198.51.100.%d port %d ssh2", 1+i/5, 1024+i), Unit: []byte("ssh.service"),
			Slice: []byte("system.slice"), Identifier: []byte("sshd"), WholeMessage: true, PID: uint32(1000 + i), Realtime: now.UnixMicro() + int64(i),
		})
		b.cursors = append(b.cursors, journal.Cursor{Realtime: uint64(now.UnixMicro()) + uint64(i), Set: journal.HasAll})
		b.refs = append(b.refs, jail.NoRef)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { d.loop(ctx, nil); close(ended) }()
	defer func() { cancel(); <-ended }()
	judged := make(chan struct{})
	go func() { d.reader.out <- b; <-d.reader.free; close(judged) }()
	for range 100 { // the loop would take the batch with one of these
		d.calls <- func() {}
	}
	d.ops.sessions <- []operator.Session{{PID: 2, User: "root", Since: now.Add(-72 * time.Hour).UnixMicro(), Addr: netip.MustParseAddr("198.51.100.1")}}
	select {
	case <-judged:
	case <-time.After(time.Minute):
		t.Fatal("nothing is judged")
	}
	d.calls <- func() {
		if d.counts.made != 1 || d.counts.unbans != nil {
			t.Errorf("%d bans, %v lifted", d.counts.made, d.counts.unbans)
		}
	}
	d.calls <- func() {}
}

// TestManySessions: a start that reads many entries to find operators' sessions asks systemd for more time, and ends when the daemon is to stop.
func TestManySessions(t *testing.T) {
	b := newBench(t)
	b.start()
	b.fail("198.51.100.1", 600)
	b.settled()
	b.stop()
	name := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d := restored(t)
	t.Setenv("NOTIFY_SOCKET", name)
	d.opt.journal = b.dir
	d.source = d.opt.source()
	t.Cleanup(d.leaveOperators)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	now := time.Now()
	if err := d.followOperators(stopped, now, uint64(now.UnixMicro())); !errors.Is(err, context.Canceled) || d.ops != nil {
		t.Errorf("stopped: %v, %v", err, d.ops)
	}
	if err := d.followOperators(t.Context(), now, uint64(now.UnixMicro())); err != nil || d.ops == nil {
		t.Errorf("%v, %v", err, d.ops)
	}
	buf := make([]byte, 1000)
	c.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := c.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "EXTEND_TIMEOUT_USEC=") {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

// TestLogindLifts: who is logged in according to logind lifts a ban before everything is judged, or if the journal cannot be read.
func TestLogindLifts(t *testing.T) {
	d := restored(t)
	now := time.Now()
	if err := d.followOperators(t.Context(), now, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.leaveOperators)
	d.state.Add(state.Ban{Prefix: netip.MustParsePrefix("198.51.100.2/32"), Jail: "sshd", Since: now.UnixMicro(), Scope: d.eng.Scope("sshd")})
	d.operatorSessions([]operator.Session{{PID: 2, ID: "7", User: "root", Since: now.UnixMicro(), Addr: netip.MustParseAddr("198.51.100.2")}})
	if d.state.Len() != 0 {
		t.Error("the ban of an operator who is logged in stays")
	}
}

// TestGraceOfLateEntries: entries that are read hours late, while ticks come, are judged by who was logged in when they were written.
func TestGraceOfLateEntries(t *testing.T) {
	d := restored(t)
	now := time.Now()
	d.followOperators(t.Context(), now, 0)
	t.Cleanup(d.leaveOperators)
	say := func(ago time.Duration, pid int, message string) {
		at := now.Add(-ago).UnixMicro()
		d.entries(&batch{behind: true, refs: []jail.Ref{jail.NoRef}, cursors: []journal.Cursor{{Realtime: uint64(at), Set: journal.HasAll}}, entries: []filter.Entry{{
			Message: []byte(message), Unit: []byte("ssh.service"), Slice: []byte("system.slice"), Identifier: []byte("sshd"), WholeMessage: true, PID: uint32(pid), Realtime: at,
		}}})
		d.tick(now)
	}
	say(30*time.Hour, 1, "Accepted publickey for root from 198.51.100.1 port 40000 ssh2: ED25519 SHA256:Zm9v")
	say(29*time.Hour, 2, "Accepted publickey for root from 198.51.100.2 port 40000 ssh2: ED25519 SHA256:Zm9v")
	say(28*time.Hour, 1, "pam_unix(sshd:session): session closed for user root")
	for i := range 15 {
		say(28*time.Hour-time.Duration(i+1)*time.Second, 10+i, fmt.Sprintf("Failed password for someone from 198.51.100.%d port %d ssh2", 1+i/5, 1024+i))
	}
	if n := d.state.Len(); n != 1 || d.eng.Allowed != 10 {
		t.Errorf("%d bans instead of one, of the third address; %d failures of operators' addresses, not 10", n, d.eng.Allowed)
	}
}

// A refreshed list is in use within seconds, without a reload, unless it exceeds what the configuration permits. Then the previous
// list stays in use, and status says so.
func TestPublishedLists(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dir := t.TempDir()
	b.args = []string{"--lists", dir}
	b.configure("allow: {lists: {office: {url: 'https://office.example.org/ips', min_prefix: {ipv4: 24}}}}\n")
	b.start()
	problem := func(want string) {
		t.Helper()
		b.untilStatus("problem "+want, func(s *control.Status) bool { return strings.Contains(s.Problems.String(), want) })
	}
	problem("allow list office: never fetched: systemctl enable --now bailiff-allow-refresh.timer")
	b.fail("198.51.100.9", 5)
	b.awaitBan("198.51.100.9/32")

	store := published.Store{Dir: dir}
	p := allow.NewPublished("office")
	p.URLs = []string{"https://office.example.org/ips"}
	now := time.Now()
	put := func(refused string, prefixes ...string) {
		t.Helper()
		var entries []allow.Entry
		for _, x := range prefixes {
			entries = append(entries, allow.Entry{Prefix: netip.MustParsePrefix(x), Comment: "site"})
		}
		st := published.State{Checked: now, Good: now, Fetched: now, Count: len(entries), Refused: refused}
		if err := store.Write(&p, entries, st); err != nil {
			t.Fatal(err)
		}
	}
	put("", "198.51.100.0/28", "2001:db8:9::/48")
	if m := b.told(audit.KindAllowList); m[audit.FieldList] != "office" {
		t.Errorf("audit entry: %v", m)
	}
	if m := b.told(audit.KindUnban); m[audit.FieldReason] != "allowed by "+store.File("office")+":6: site" {
		t.Errorf("audit entry: %v", m)
	}
	e := b.how("198.51.100.9").Entries[0]
	if e.Source != "list" || e.List != "office" || len(e.URLs) != 1 || e.URLs[0] != p.URLs[0] || e.Origin != store.File("office")+":6" {
		t.Errorf("%+v", e)
	}
	if s := b.status(); len(s.Problems) != 0 {
		t.Error(s.Problems)
	}

	if s := b.status(); len(s.Lists) != 1 || s.Lists[0].Name != "office" || s.Lists[0].Entries != 2 || s.Lists[0].Fetched == nil || !s.Lists[0].Fetched.Equal(now) {
		t.Errorf("%+v", s.Lists)
	}

	// Wider than configured: the list is not used, whoever has written it, and the previous one stays in use.
	put("", "198.51.100.0/23")
	if m := b.told(audit.KindAllowListRefused); !strings.Contains(m["MESSAGE"], "has 198.51.100.0/23 in line 6, which is wider than /24; keeping the previous list (2 entries)") {
		t.Errorf("audit entry: %v", m)
	}
	problem("which is wider than /24; keeping the previous list (2 entries)")
	if !b.how("198.51.100.9").Allowed {
		t.Error("the last good list is gone")
	}
	// What the refresh itself rejected is reported, too.
	put("https://office.example.org/ips: is empty\nforged", "198.51.100.9/32")
	if m := b.told(audit.KindAllowListRefused); !strings.Contains(m["MESSAGE"], "new version rejected: https://office.example.org/ips: is empty forged; keeping the previous list (1 entry)") {
		t.Errorf("audit entry: %v", m)
	}
	// A link is not followed.
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("203.0.113.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(store.File("office")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, store.File("office")); err != nil {
		t.Fatal(err)
	}
	b.told(audit.KindAllowListRefused)
	if b.how("203.0.113.1").Allowed || !b.how("198.51.100.9").Allowed {
		t.Error("a link was followed")
	}
}

// Entries expire by themselves, also over a restart, and are shown as expired as long as their file has them.
func TestAllowExpires(t *testing.T) {
	b := newBench(t)
	b.configure("allow: {addresses: ['192.0.2.1 until 2025-12-31', 192.0.2.2]}\n")
	b.start()
	ctx := context.Background()
	b.did(b.client.Allow(ctx, control.AllowRequest{Prefix: "192.0.2.3", Duration: "1h", Comment: "a while"}))
	w := b.how("192.0.2.1")
	if w.Allowed || len(w.Entries) != 0 || len(w.Expired) != 1 || w.Expired[0].Source != "config" || !w.Expired[0].Expired {
		t.Errorf("%+v", w)
	}
	if w := b.how("192.0.2.0/24"); w.Allowed || len(w.Entries) != 2 {
		t.Errorf("a network, parts of which are allowed: %+v", w)
	}
	b.stop()
	b.start()
	if w := b.how("192.0.2.3"); !w.Allowed || w.Entries[0].Until == nil || w.Entries[0].Comment != "a while" || w.Entries[0].Source != "runtime" {
		t.Errorf("after a restart: %+v", w)
	}
	b.did(b.client.Allow(ctx, control.AllowRequest{Prefix: "192.0.2.3", Duration: "1s", Comment: "a while"}))
	b.until("the end of an entry", func(context.Context) bool { return !b.how("192.0.2.3").Allowed })
	b.fail("192.0.2.3", 5)
	b.awaitBan("192.0.2.3/32")
}
