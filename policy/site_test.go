package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/policy/config"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// site feeds an engine with lines of plain services, with the built-in values but for networks.
type site struct {
	t    testing.TB
	c    *config.Config
	g    *Engine
	now  int64
	seen []event

	failures []Failure // of all
}

func newSite(t testing.TB, change func(*config.Config)) *site {
	t.Helper()
	c := plainConfig(t, "alpha", "beta", ":gamma")
	c.Networks.Net4, c.Networks.Net6 = 10, config.Net6{Bits64: 10, Bits56: 10, Bits48: 40}
	if change != nil {
		change(c)
	}
	return &site{t: t, c: c, g: newEngine(t, c), now: start}
}

// say judges a line such as "alpha failed bob 203.0.113.7", ten seconds after the previous one or after the delay in
// front of it, as in "+1h alpha failed …" (or -1h: read late). #7 is the process id, /x the source, and a number the
// attempts that the line sums up.
func (s *site) say(line string) []Ban {
	s.t.Helper()
	e := s.event(line)
	s.seen = append(s.seen, e)
	o := s.g.Entry(e.entry(len(s.seen)-1), jail.Ref(len(s.seen)-1))
	if o.Hits != 1 {
		s.t.Fatalf("%q is no line", line)
	}
	s.failures = append(s.failures, o.Failures...)
	return slices.Clone(o.Bans)
}

// settle lets time pass.
func (s *site) settle(at int64) []Ban {
	s.now = at
	o := s.g.Settle(at)
	s.failures = append(s.failures, o.Failures...)
	return slices.Clone(o.Bans)
}

func (s *site) event(line string) event {
	s.t.Helper()
	f := strings.Fields(line)
	step := 10 * time.Second
	if f[0][0] == '+' || f[0][0] == '-' {
		var err error
		if step, err = time.ParseDuration(f[0]); err != nil {
			s.t.Fatal(err)
		}
		f = f[1:]
	}
	s.now += us(step)
	e := event{at: s.now, jail: f[0], what: f[1]}
	for _, w := range f[2:] {
		switch n, err := strconv.Atoi(strings.TrimPrefix(w, "#")); {
		case err == nil && w[0] == '#':
			e.pid = uint32(n)
		case err == nil:
			e.n = n
		case strings.ContainsAny(w, ".:"):
			e.addr = netip.MustParseAddr(w)
		case strings.HasPrefix(w, "/"):
			e.source = w[1:]
		default:
			e.user = w
		}
	}
	return e
}

// restart replaces the engine by one with its saved state.
func (s *site) restart() {
	s.t.Helper()
	loaded, err := state.Decode(s.g.Snapshot(nil))
	if err != nil {
		s.t.Fatal(err)
	}
	old := s.g.Allow()
	if s.g, err = New(s.c, loaded); err != nil || s.g.RestoreError() != nil {
		s.t.Fatal(err, s.g.RestoreError())
	}
	s.g.SetAllow(old, s.now, nil)
	s.g.Reread(true)
	for i, e := range s.seen {
		if near(s.now, e.at, s.g.Window()) {
			s.g.Entry(e.entry(i), jail.Ref(i))
			s.g.Expire(s.now, e.at) // the daemon's tick meanwhile
		}
	}
	s.g.Reread(false)
}

func names(bans []Ban) (l []string) {
	for _, b := range bans {
		l = append(l, fmt.Sprintf("%s %s %s %d", b.Jail, b.Prefix, b.Reason, b.Failures))
	}
	slices.Sort(l)
	return l
}

// attempts sums up what the engine has counted.
func (s *site) attempts() (counted, excused int) {
	for _, f := range s.failures {
		if f.Excused {
			excused += f.Attempts
		} else {
			counted += f.Attempts
		}
	}
	return counted, excused
}
