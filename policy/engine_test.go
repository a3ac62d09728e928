package policy

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

const sec = int64(1_000_000)

var start = time.Date(2026, 11, 22, 19, 17, 0, 0, time.UTC).UnixMicro()

// host feeds an engine with sshd's lines.
type host struct {
	t   *testing.T
	g   *Engine
	now int64
	n   int
}

func newHost(t *testing.T) *host {
	t.Helper()
	g, err := New(config.Default(), state.New())
	if err != nil {
		t.Fatal(err)
	}
	return &host{t: t, g: g, now: start}
}

// line is an entry of sshd's, a second after the previous one.
func (h *host) line(pid uint32, format string, args ...any) *Outcome {
	h.now += sec
	h.n++
	return h.g.Entry(&filter.Entry{Message: []byte(fmt.Sprintf(format, args...)), Unit: []byte("ssh.service"), Slice: []byte("system.slice"), Identifier: []byte("sshd"), UID: 0, PID: pid, Realtime: h.now}, jail.Ref(h.n))
}

func (h *host) fail(addr string) *Outcome {
	return h.line(uint32(h.n+1), "Failed password for root from %s port 4711 ssh2", addr)
}

// ban makes an address fail until it is banned.
func (h *host) ban(addr string) Ban {
	h.t.Helper()
	for range 20 {
		if o := h.fail(addr); len(o.Bans) == 1 {
			return o.Bans[0]
		}
	}
	h.t.Fatalf("%s is not banned", addr)
	return Ban{}
}

func TestBan(t *testing.T) {
	h := newHost(t)
	for i := range 4 {
		o := h.fail("203.0.113.7")
		if len(o.Failures) != 1 || o.Failures[0].Count != i+1 || o.Failures[0].Port != 4711 || len(o.Bans) != 0 {
			t.Fatalf("failure %d: %+v", i, o)
		}
	}
	o := h.fail("203.0.113.7")
	if len(o.Bans) != 1 {
		t.Fatalf("%+v", o)
	}
	b := o.Bans[0]
	if b.Prefix.String() != "203.0.113.7/32" || b.Jail != "sshd" || b.Since != h.now || b.Until != h.now+172_800*sec || b.Failures != 5 || b.Count != 1 || len(b.Evidence) != 5 || b.Wide {
		t.Errorf("%+v", b)
	}
	// Failures on a connection that was still open are not new.
	if o := h.fail("203.0.113.7"); o.Hits != 1 || len(o.Failures) != 0 {
		t.Errorf("%+v", o)
	}
	// After its end the next one lasts twice as long.
	h.now = b.Until
	if over := h.g.Expire(h.now, h.now); len(over) != 1 || over[0] != b.Ban {
		t.Errorf("%+v", over)
	}
	if b := h.ban("203.0.113.7"); b.Count != 2 || b.Until-b.Since != 2*172_800*sec {
		t.Errorf("%+v", b)
	}
}

// Only entries that journald attributes to sshd count.
func TestTrust(t *testing.T) {
	h := newHost(t)
	for _, e := range []filter.Entry{
		{Unit: []byte("session-1.scope"), Identifier: []byte("sshd"), UID: 1000, PID: 1},
		{Unit: []byte("ssh.service"), Identifier: []byte("sshd"), UID: 1000, PID: 1},
		{Unit: []byte("user@1000.service"), Identifier: []byte("sshd"), UID: 1000, PID: 1},
		{Identifier: []byte("sshd"), UID: 1000, PID: 1},
		{Identifier: []byte("sshd"), UID: -1, PID: 1},
		{Identifier: []byte("cron"), UID: 0, PID: 1},
	} {
		e.Message, e.Realtime = []byte("Failed password for root from 203.0.113.66 port 22 ssh2"), h.now
		if o := h.g.Entry(&e, 1); o.Hits != 0 {
			t.Errorf("%+v is evidence", e)
		}
	}
	for _, e := range []filter.Entry{
		{Unit: []byte("ssh.service"), Identifier: []byte("sshd"), UID: 0, PID: 1},
		{Unit: []byte("sshd.service"), Identifier: []byte("sshd-session"), UID: 0, PID: 2},
		{Unit: []byte("sshd@4-192.0.2.1:22-203.0.113.66:4711.service"), Slice: []byte("system-sshd.slice"), Identifier: []byte("sshd"), UID: 0, PID: 3},
		{Identifier: []byte("sshd"), UID: 0, PID: 4}, // exited before journald looked
	} {
		e.Message, e.Realtime = []byte("Failed password for root from 203.0.113.66 port 22 ssh2"), h.now
		if o := h.g.Entry(&e, 1); len(o.Failures) != 1 {
			t.Errorf("%+v is no evidence", e)
		}
	}
}

func TestAllow(t *testing.T) {
	h := newHost(t)
	banned := h.ban("2001:db8::7")
	other := h.ban("203.0.113.8")
	lifted := h.g.SetAllow(allow.NewList([]allow.Entry{{Prefix: netip.MustParsePrefix("2001:db8::77/128")}, {Prefix: netip.MustParsePrefix("198.51.100.0/24")}}), h.now, nil)
	if len(lifted) != 1 || lifted[0] != banned.Ban {
		t.Errorf("lifted: %+v", lifted)
	}
	if _, ok := h.g.State().Get(other.Prefix, "sshd"); !ok {
		t.Error("lifted more than asked for")
	}
	for range 10 {
		if o := h.fail("198.51.100.4"); len(o.Failures) != 0 {
			t.Fatalf("counted: %+v", o)
		}
		if o := h.fail("2001:db8::77"); len(o.Failures) != 0 {
			t.Fatalf("counted: %+v", o)
		}
	}
	if h.g.Allowed != 20 {
		t.Errorf("%d", h.g.Allowed)
	}
	// A neighbour within the /64 of an allowed address is banned by itself.
	if b := h.ban("2001:db8::8"); b.Prefix.String() != "2001:db8::8/128" {
		t.Errorf("%+v", b)
	}
}

// A success clears that user's failures, no more.
func TestSuccess(t *testing.T) {
	h := newHost(t)
	for range 4 {
		h.line(100, "Failed password for bob from 203.0.113.7 port 1 ssh2")
	}
	h.line(101, "Accepted password for mallory from 203.0.113.7 port 2 ssh2")
	if c := h.g.Counted(netip.MustParseAddr("203.0.113.7"), h.now); len(c) != 1 || len(c[0].Failures) != 4 || c[0].Have != 4 || c[0].Need != 5 {
		t.Errorf("another user's login helped: %+v", c)
	}
	h.line(102, "Accepted password for bob from 203.0.113.7 port 3 ssh2")
	if c := h.g.Counted(netip.MustParseAddr("203.0.113.7"), h.now); len(c) != 0 {
		t.Errorf("bob's mistakes stay: %+v", c)
	}
}

// The address of a failure may come in a later line of its connection.
func TestWaits(t *testing.T) {
	h := newHost(t)
	o := h.line(200, "User root from client.example.net not allowed because not listed in AllowUsers")
	if o.Hits != 1 || len(o.Failures) != 0 {
		t.Fatalf("%+v", o)
	}
	first := h.now
	o = h.line(200, "Failed password for invalid user root from 203.0.113.7 port 4711 ssh2")
	if len(o.Failures) != 1 || o.Failures[0].Time != first || o.Failures[0].Addr.String() != "203.0.113.7" {
		t.Errorf("one attempt: %+v", o)
	}
}

func TestPardon(t *testing.T) {
	h := newHost(t)
	for range 4 {
		h.fail("203.0.113.7")
	}
	h.g.Pardon(netip.MustParsePrefix("203.0.113.7/32"), h.now)
	if o := h.fail("203.0.113.7"); o.Failures[0].Count != 1 {
		t.Errorf("%+v", o)
	}
	// Read again after a restart: what was forgiven stays forgiven.
	h.now = start
	if o := h.fail("203.0.113.7"); len(o.Failures) != 0 {
		t.Errorf("%+v", o)
	}
}

// TestRebuild: the daemon may restart from its state file at any point of a stream, and reads the window before the
// cursor again. It then makes the same decisions as without the restart, each once.
func TestRebuild(t *testing.T) {
	type step struct {
		at   int64
		addr string
	}
	var stream []step
	now := start
	for i := range 60 {
		now += int64(i%7) * 9 * sec
		stream = append(stream, step{now, fmt.Sprintf("203.0.113.%d", i*i%5)})
	}
	feed := func(g *Engine, i int) []Ban {
		s := stream[i]
		o := g.Entry(&filter.Entry{Message: []byte("Failed password for root from " + s.addr + " port 22 ssh2"), Unit: []byte("ssh.service"), UID: 0, PID: uint32(i + 1), Realtime: s.at}, jail.Ref(i))
		return append([]Ban(nil), o.Bans...)
	}
	conf := config.Default()
	for i := range conf.Jails {
		conf.Jails[i].BanTime = 2 * time.Minute // shorter than the window
	}
	conf.Escalate.Factor = 1
	g, err := New(conf, state.New())
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range stream {
		for _, b := range feed(g, i) {
			want = append(want, fmt.Sprint(i, b.ID(), b.Failures))
		}
	}
	if len(want) < 5 {
		t.Fatalf("too few bans to compare: %q", want)
	}
	for cut := range stream {
		for _, lost := range []int{0, 1, 5} { // entries since the state was saved: a crash
			g, err := New(conf, state.New())
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]bool{}
			var snap []byte
			saved := max(0, cut-lost)
			for i := range cut {
				if i == saved {
					snap = g.Snapshot(nil)
				}
				g.Expire(stream[i].at, stream[i].at)
				for _, b := range feed(g, i) {
					got[fmt.Sprint(i, b.ID(), b.Failures)] = true
				}
			}
			if snap == nil {
				snap = g.Snapshot(nil)
			}
			loaded, err := state.Decode(snap)
			if err != nil {
				t.Fatal(err)
			}
			if g, err = New(conf, loaded); err != nil {
				t.Fatal(err)
			}
			g.Reread(true)
			for i := range saved {
				if bans := feed(g, i); stream[saved].at-stream[i].at <= g.Window().Microseconds() && len(bans) > 0 {
					t.Fatalf("cut %d: decided what lies before the cursor: %+v", cut, bans)
				}
			}
			g.Reread(false)
			for i := saved; i < len(stream); i++ {
				for _, b := range feed(g, i) {
					got[fmt.Sprint(i, b.ID(), b.Failures)] = true
				}
			}
			if len(got) != len(want) {
				t.Errorf("cut %d, %d lost: %d bans, want %d\n%v\n%v", cut, lost, len(got), len(want), got, want)
				return
			}
			for _, w := range want {
				if !got[w] {
					t.Errorf("cut %d, %d lost: ban %s is missing in %v", cut, lost, w, got)
				}
			}
		}
	}
}

// TestExpireBehind: the daemon was down for a day and reads what it missed, while its clock goes on ticking.
func TestExpireBehind(t *testing.T) {
	h := newHost(t)
	for i := range 5 {
		if o := h.line(7, "Failed password for root from 203.0.113.7 port 4711 ssh2"); len(o.Bans) != i/4 {
			t.Fatalf("failure %d: %+v", i, o)
		}
		pid := uint32(100 + i)
		if o := h.line(pid, "Invalid user x from 203.0.113.%d port 4711", 8+i); len(o.Failures) != 1 {
			t.Fatalf("an attempt: %+v", o.Failures)
		}
		h.g.Expire(h.now+86400*sec, h.now)
		if o := h.line(pid, "Failed password for invalid user x from 203.0.113.%d port 4711 ssh2", 8+i); len(o.Failures) != 0 {
			t.Fatalf("one attempt counts twice: %+v", o.Failures)
		}
		h.g.Expire(h.now+86400*sec, 0)
	}
	tracked, _, _ := h.g.Tracked()
	if h.g.Expire(h.now+86400*sec, h.now+86400*sec); tracked == 0 {
		t.Error("nothing was tracked")
	}
	if tracked, _, _ = h.g.Tracked(); tracked != 0 {
		t.Errorf("%d are tracked a day later", tracked)
	}
}

func TestConfigureKeepsCounts(t *testing.T) {
	h := newHost(t)
	for range 3 {
		h.fail("203.0.113.7")
	}
	c := config.Default()
	for i := range c.Jails {
		c.Jails[i].MaxRetry = 4
		c.Jails[i].Enabled = c.Jails[i].Name == "sshd"
	}
	if err := h.g.Configure(c); err != nil {
		t.Fatal(err)
	}
	if len(h.g.Jails()) != 1 {
		t.Errorf("%d jails", len(h.g.Jails()))
	}
	if o := h.fail("203.0.113.7"); len(o.Bans) != 1 {
		t.Errorf("%+v", o)
	}
}
