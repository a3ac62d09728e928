package policy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// A state file of an earlier version has no counts: the windows are filled from the journal.
func TestOldState(t *testing.T) {
	s := newSite(t, nil)
	for range 4 {
		s.say("alpha failed bob 203.0.113.7")
	}
	loaded, err := state.Decode(s.g.State().AppendSnapshot(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if s.g, err = New(s.c, loaded); err != nil {
		t.Fatal(err)
	}
	s.g.Reread(true)
	for i, e := range s.seen {
		s.g.Entry(e.entry(i), jail.Ref(i))
	}
	if loaded, err = state.Decode(s.g.Snapshot(nil)); err != nil || loaded.TakeCounts() != nil {
		t.Error("half of what was counted is saved", err)
	}
	s.g.Reread(false)
	if b := s.say("alpha failed bob 203.0.113.7"); len(b) != 1 || b[0].Failures != 5 {
		t.Errorf("%+v", b)
	}
}

// Saved counts, however damaged, are restored as a whole or not at all.
func TestDamagedCounts(t *testing.T) {
	s := newSite(t, nil)
	r := rand.New(rand.NewPCG(5, 6))
	for _, e := range stream(r, 400, 5, []string{"alpha", "beta"}, 0) {
		s.g.Entry(e.entry(1), 1)
	}
	loaded, err := state.Decode(s.g.Snapshot(nil))
	if err != nil {
		t.Fatal(err)
	}
	counts := loaded.TakeCounts()
	refused := 0
	for i := range 900 {
		bad := slices.Clone(counts)
		switch i % 3 {
		case 0:
			bad = bad[:r.IntN(len(bad))]
		case 1:
			bad[r.IntN(len(bad))] ^= byte(1 << r.IntN(8))
		default:
			k := r.IntN(len(bad) - 8)
			binary.LittleEndian.PutUint64(bad[k:], r.Uint64())
		}
		if len(bad) == 0 {
			continue
		}
		loaded, err := state.Decode(state.New().AppendSnapshot(nil, func(b []byte) []byte { return append(b, bad...) }))
		if err != nil {
			t.Fatal(err)
		}
		g, err := New(s.c, loaded)
		if err != nil {
			t.Fatal(err)
		}
		if g.RestoreError() != nil {
			refused++
			if n, _, _ := g.Tracked(); n != 0 || *g.budget != *jail.NewBudget(g.budget.Limit()) {
				t.Fatalf("refused (%v), but %d are tracked, %+v in the budget", g.RestoreError(), n, *g.budget)
			}
		}
		for k, e := range stream(rand.New(rand.NewPCG(uint64(i), 1)), 20, 5, []string{"alpha", "beta"}, 0) {
			g.Entry(e.entry(k), jail.Ref(k))
		}
		g.Counted(netip.MustParseAddr("198.51.100.1"), start)
		g.Expire(start, start)
	}
	if refused < 300 {
		t.Errorf("%d of 900 damaged ones are refused", refused)
	}
	// Undamaged counts are restored as they were saved.
	loaded, err = state.Decode(s.g.Snapshot(nil))
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(s.c, loaded)
	if err != nil || g.RestoreError() != nil {
		t.Fatal(err, g.RestoreError())
	}
	if a, b := s.g.Snapshot(nil), g.Snapshot(nil); !bytes.Equal(a, b) {
		t.Errorf("%d bytes are saved, %d after they were read", len(a), len(b))
	}
}

// TestRestart compares an engine that is never stopped with one that is, at any moment: while attempts are pending, after
// they have timed out, with late lines, clocks that jump by days, connections that are joined by address and go on for
// hours, and windows longer or shorter than those. From the same entries after the cursor both reach the same failures,
// bans and, in the end, counts.
func TestRestart(t *testing.T) {
	rounds, restarts, waiting := 40, 0, 0
	if testing.Short() {
		rounds = 8
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(uint64(round), 23))
		c := modelConfig(t, r)
		c.Jails = append(c.Jails, plainConfig(t, ":delta").Jails...)
		none := allow.NewList(nil)
		events := stream(r, 1200, 2+r.IntN(4), []string{"alpha", "beta", "gamma", "delta", "delta"}, 90*sec)
		for i := range events {
			if r.IntN(100) == 0 { // the clock is wrong for some lines, or from here on
				by := r.Int64N(40*86400*sec) - 20*86400*sec
				for k := i; k < min(len(events), i+1+r.IntN(20)); k++ {
					events[k].at += by
				}
			}
			if r.IntN(10) == 0 {
				events[i].what = "tick"
				events[i].at += r.Int64N(60 * sec)
			}
			if events[i].jail == "delta" {
				events[i].pid = 1 + r.Uint32N(5) // processes that serve many
			}
		}
		g := newEngine(t, c)
		g.SetAllow(none, start, nil)
		first := g.Snapshot(nil)
		var want [][]string
		for i := range events {
			want = append(want, tell(i, do(g, i, &events[i])))
		}
		known := func() (l []string) {
			seen := map[netip.Addr]bool{}
			for i := range events {
				if a := events[i].addr; !seen[a] {
					seen[a] = true
					for _, c := range g.Counted(a, events[len(events)-1].at) {
						for k := range c.Failures {
							c.Failures[k].Ref = 0
						}
						l = append(l, fmt.Sprintf("%+v", c))
					}
				}
			}
			for b := range g.State().All() {
				l = append(l, fmt.Sprintf("%+v", b))
			}
			for b := range g.Observed().All() {
				l = append(l, fmt.Sprintf("%+v", b))
			}
			slices.Sort(l)
			return l
		}
		end := known()

		g = restart(t, c, none, first, nil, 0)
		for i := range events {
			if r.IntN(12) == 0 {
				restarts++
				waiting += g.pending.Len()
				snap := g.Snapshot(nil)
				if g = restart(t, c, none, snap, events, i); !bytes.Equal(snap, g.Snapshot(nil)) {
					t.Fatalf("round %d: what is saved after entry %d is not what was read", round, i)
				}
			}
			if got := tell(i, do(g, i, &events[i])); !slices.Equal(got, want[i]) {
				t.Fatalf("round %d, entry %d, %+v:\n got %q\nwant %q", round, i, events[i], got, want[i])
			}
		}
		if got := known(); !slices.Equal(end, got) {
			t.Errorf("round %d ends with\n%q, want\n%q", round, got, end)
		}
	}
	if restarts < 50*rounds || 2*waiting < 25*rounds {
		t.Errorf("%d restarts with %d pending attempts are too few", restarts, waiting)
	}
}

// Evidence keeps its lines over a stop, including those of pending attempts and of lines that waited for an address.
func TestRestartKeepsLines(t *testing.T) {
	s := newSite(t, nil)
	s.say("+1s alpha failed a 203.0.113.7")
	s.say("+1s alpha step #7 /x bob 203.0.113.7")
	s.say("+1s alpha step #8 /x eve 203.0.113.7")
	s.say("+1s alpha lone #9 root")
	s.restart()
	s.say("+1s alpha join #9 203.0.113.7")
	s.restart()
	if b := s.settle(s.now + 60*sec); len(b) != 0 {
		t.Fatalf("%+v", b)
	}
	s.restart()
	b := s.say("alpha failed bob 203.0.113.7")
	if len(b) != 1 || len(b[0].Evidence) != 5 {
		t.Fatalf("%+v", b)
	}
	for _, f := range b[0].Evidence {
		if f.Ref == jail.NoRef || s.seen[f.Ref].at != f.At {
			t.Errorf("%+v", f)
		}
	}
}

// While the journal is reread, which takes a while where one jail has a long find_time, the counts of the others do not expire.
func TestRereadingExpiresNothing(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Jails[1].FindTime = 48 * time.Hour })
	s.say("beta failed z 192.0.2.1")
	s.now += us(40 * time.Hour)
	for i := range 9 { // parts of a /56, and addresses that attack one account
		for range 4 {
			s.say(fmt.Sprintf("+1s alpha unknown u%d 2001:db8:0:%x::1", i, i))
		}
		s.say(fmt.Sprintf("+1s alpha failed root 198.51.100.%d", i))
	}
	for range 4 {
		s.say("+1s alpha failed bob 203.0.113.7")
	}
	s.g.Expire(s.now, s.now)
	before := s.g.Snapshot(nil)
	s.restart()
	if !bytes.Equal(before, s.g.Snapshot(nil)) {
		t.Error("what is counted changed")
	}
	if b := names(s.say("alpha failed bob 203.0.113.7")); !slices.Equal(b, []string{"alpha 203.0.113.7/32 failures 5"}) {
		t.Errorf("%q", b)
	}
	if c := s.g.Counted(netip.MustParseAddr("198.51.100.1"), s.now); len(c) != 2 {
		t.Errorf("%+v", c)
	}
}
