package policy

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// plain is a filter whose lines say nothing but what counts. join is how its lines are joined.
func plain(t testing.TB, name, join string) *filter.Filter {
	t.Helper()
	f, err := filter.Parse(name+".yaml", []byte(`
name: `+name+`
description: a service of tests
trust: {units: [`+name+`.service], uid: 0}
correlate_by: `+join+`
modes: {normal: []}
patterns:
  - {name: failed, text: 'failed <user:word> from <addr>'}
  - {name: unknown, text: 'unknown <user:word> from <addr>', invalid_user: true}
  - {name: heavy, text: 'heavy <user:word> from <addr>', weight: 3}
  - {name: exploit, text: 'exploit from <addr>', max_retry: 1}
  - {name: twice, text: 'twice from <addr>', max_retry: 2}
  - {name: lone, text: 'lone <user:word>', stage: 1, provisional: true}
  - {name: step, text: 'step <source> <user:word> from <addr>', stage: 2, provisional: true}
  - {name: nobody, text: 'nobody <source> <user:word> from <addr>', stage: 2, provisional: true, invalid_user: true}
  - {name: some, text: 'some <source> from <addr>', stage: 2, provisional: true}
  - {name: final, text: 'final <count:num> <user:word> from <addr>', stage: 3}
  - {name: end, text: 'end <count:num> from <addr>', stage: 4}
  - {name: join, kind: context, text: 'join <addr>'}
  - {name: void, kind: void, text: 'void <user:word> from <addr>'}
  - {name: login, kind: success, text: 'login <user:word> from <addr>'}
  - {name: mail, kind: delivery, text: 'mail from <addr>'}
tests:
  - {line: 'failed bob from 192.0.2.1', address: 192.0.2.1}
  - {line: 'unknown bob from 192.0.2.1', address: 192.0.2.1}
  - {line: 'heavy bob from 192.0.2.1', address: 192.0.2.1}
  - {line: 'exploit from 192.0.2.1', address: 192.0.2.1}
  - {line: 'twice from 192.0.2.1', address: 192.0.2.1}
  - {line: 'lone bob'}
  - {line: 'step a bob from 192.0.2.1', address: 192.0.2.1}
  - {line: 'nobody a bob from 192.0.2.1', address: 192.0.2.1}
  - {line: 'some a from 192.0.2.1', address: 192.0.2.1}
  - {line: 'final 1 bob from 192.0.2.1', address: 192.0.2.1}
  - {line: 'end 1 from 192.0.2.1', address: 192.0.2.1}
  - {line: 'join 192.0.2.1', kind: context, address: 192.0.2.1}
  - {line: 'void bob from 192.0.2.1', kind: void, address: 192.0.2.1}
  - {line: 'login bob from 192.0.2.1', kind: success, address: 192.0.2.1}
  - {line: 'mail from 192.0.2.1', kind: delivery, address: 192.0.2.1}
`))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// plainConfig has jails of such filters and the built-in values. A name that begins with a colon is that of a jail whose lines
// are joined by address.
func plainConfig(t testing.TB, jails ...string) *config.Config {
	c := config.Default()
	d := c.Defaults
	c.Jails = nil
	for _, name := range jails {
		join := "process"
		if name[0] == ':' {
			name, join = name[1:], "address"
		}
		c.Jails = append(c.Jails, config.Jail{
			Name: name, Enabled: true, Filter: plain(t, name, join), Mode: "normal",
			Thresholds: config.Thresholds{FindTime: d.FindTime, MaxRetry: d.MaxRetry, BanTime: d.BanTime, Prefix4: d.Prefix4, Prefix6: d.Prefix6, Slow: d.Slow, Weights: d.Weights},
		})
	}
	return c
}

// newEngine makes an engine that tells all users of the tests apart: a counter keeps 16 bits of a name's hash.
func newEngine(t testing.TB, c *config.Config) *Engine {
	t.Helper()
	for {
		g, err := New(c, state.New())
		if err != nil {
			t.Fatal(err)
		}
		users := []string{"bob", "bbo", "bobb", "eve", "root", "other", "info", "admin"}
		for i := range 26 {
			users = append(users, string(rune('a'+i)), fmt.Sprint("u", i))
		}
		seen := map[uint16]bool{}
		for _, u := range users {
			seen[short(jail.Hash([]byte(u), g.seed))] = true
		}
		if len(seen) == len(users) {
			return g
		}
	}
}

// event is a line of such a service, or, with what "tick", the passing of time.
type event struct {
	at     int64
	jail   string
	what   string // the pattern
	source string
	user   string
	n      int // attempts that the line sums up
	addr   netip.Addr
	pid    uint32 // 0: one of its own
}

func (e *event) text() string {
	switch e.what {
	case "exploit", "twice", "mail":
		return fmt.Sprintf("%s from %s", e.what, e.addr)
	case "lone":
		return "lone " + e.user
	case "step", "nobody":
		return fmt.Sprintf("%s %s %s from %s", e.what, e.source, e.user, e.addr)
	case "some":
		return fmt.Sprintf("some %s from %s", e.source, e.addr)
	case "final":
		return fmt.Sprintf("final %d %s from %s", e.n, e.user, e.addr)
	case "end":
		return fmt.Sprintf("end %d from %s", e.n, e.addr)
	case "join":
		return fmt.Sprintf("join %s", e.addr)
	}
	return fmt.Sprintf("%s %s from %s", e.what, e.user, e.addr)
}

func (e *event) entry(n int) *filter.Entry {
	pid := e.pid
	if pid == 0 {
		pid = uint32(n + 1)
	}
	return &filter.Entry{Message: []byte(e.text()), Unit: []byte(e.jail + ".service"), PID: pid, Realtime: e.at}
}

// model is the simplest possible engine: it keeps everything and looks at all of it each time. It has no tables, no hashes,
// no buckets of users, no bounds and nothing that expires or is saved.
type model struct {
	c     *config.Config
	allow *allow.List

	conns   map[string]*modelConn
	pending []*modelAttempt

	fails    []*modelFail
	accounts map[string][]*modelPlace
	parts    []modelPart
	logins   map[string]int64 // by account and prefix: the login read last
	persons  map[string]int   // by day and prefix: accounts that logged in
	bursts   map[string]*modelBurst
	bans     []*modelBan
	times    map[string]*state.History // by prefix, and whether observed

	out []string // outcomes of the entry
	at  int      // number of the entry

	several int // prefixes that have failed at several services
}

type modelBurst struct {
	at    int64
	lines int
}

type modelConn struct {
	addr       netip.Addr
	lines      map[string]int
	seen, done int
	waits      *modelAttempt
}

type modelAttempt struct {
	event
	attempts int
	stage    int
	conn     string
	before   int // attempts of the connection that failed before
	taken    bool
}

type modelFail struct {
	at       int64
	jail     string
	prefix   netip.Prefix
	user     string
	unknown  bool
	attempts int
	weight   int
	further  bool // on an account: beyond two attempts of one connection
	old      bool // dropped from the normal window by a later one
	gone     bool // and from the slow one
}

type modelPlace struct {
	id    netip.Prefix
	last  int64
	fails []modelFail
}

type modelPart struct {
	at        int64
	net, part netip.Prefix
	observed  bool
	user      string // the only one, and of that part only; "": it counts in any case
}

type modelBan struct {
	state.Ban
	observed bool
}

func us(d time.Duration) int64 { return d.Microseconds() }

func near(a, b int64, d time.Duration) bool { return a-b < us(d) && b-a < us(d) }

func (m *model) jail(name string) *config.Jail {
	return &m.c.Jails[slices.IndexFunc(m.c.Jails, func(j config.Jail) bool { return j.Name == name })]
}

func (m *model) prefix(j *config.Jail, a netip.Addr) netip.Prefix {
	bits := j.Prefix6
	if a.Is4() {
		bits = j.Prefix4
	}
	p, _ := a.Prefix(bits)
	return p
}

// entry judges a line, and returns the outcomes.
func (m *model) entry(i int, e event) []string {
	m.out, m.at = nil, i
	for len(m.pending) > 0 && (m.pending[0].taken || !near(e.at, m.pending[0].at, jail.Hold)) {
		p := m.pending[0]
		m.pending = m.pending[1:]
		if !p.taken {
			m.settled(p)
			m.failure(&p.event, p.attempts, 0)
		}
	}
	if e.what == "tick" {
		return m.sorted()
	}
	k := fmt.Sprint(e.jail, e.pid)
	if m.conns[k] == nil {
		m.conns[k] = &modelConn{lines: map[string]int{}}
	}
	c := m.conns[k]
	addr := e.addr
	if e.what == "lone" {
		addr = c.addr
	}
	a := &modelAttempt{event: e, attempts: max(1, e.n), conn: k}
	a.addr, a.user = addr, e.who()
	a.stage = map[string]int{"lone": 1, "step": 2, "nobody": 2, "some": 2, "final": 3, "end": 4}[e.what]
	switch e.what {
	case "login":
		nameless := 0
		for _, p := range m.pending {
			if p.taken || p.addr != addr || p.conn != k && p.user != e.user {
				continue
			}
			if p.who() == "" {
				if nameless += p.attempts; nameless > 3 {
					continue
				}
			}
			p.taken = true
		}
		m.conns[k] = &modelConn{lines: map[string]int{}}
		m.success(e)
	case "void":
		dropped := false
		for _, p := range m.pending {
			if !p.taken && p.addr == addr && (p.conn == k || p.user == e.user) {
				p.taken, dropped = true, true
				m.settled(p)
			}
		}
		c.waits = nil
		if !dropped && !(c.done > 0 && m.takeBack(e)) {
			c.done++
			c.seen = max(c.seen, c.done)
		}
	case "mail":
	case "join":
		c.addr = addr
		fallthrough
	default:
		if !addr.IsValid() {
			if c.waits != nil {
				c.waits.attempts += a.attempts
			} else {
				c.waits = a
			}
			break
		}
		if w := c.waits; w != nil {
			c.waits = nil
			w.addr = addr
			m.attempt(c, w)
		}
		if e.what != "join" {
			m.attempt(c, a)
		}
	}
	return m.sorted()
}

// takeBack takes back what was counted just before.
func (m *model) takeBack(e event) bool {
	j := m.jail(e.jail)
	p := m.prefix(j, e.addr)
	for i := len(m.fails) - 1; i >= 0; i-- {
		x := m.fails[i]
		if x.jail != j.Name || x.prefix != p || x.user != e.user || x.attempts != 1 || x.old || !near(e.at, x.at, 2*time.Second) {
			continue
		}
		m.fails = slices.Delete(m.fails, i, i+1)
		key := e.user
		if j.Observe {
			key = "observed " + key
		}
		for _, x := range m.accounts[key] {
			if x.id != placeOf(p) {
				continue
			}
			for n := len(x.fails) - 1; n >= 0; n-- {
				if x.fails[n].prefix == p && near(e.at, x.fails[n].at, 2*time.Second) {
					x.fails = slices.Delete(x.fails, n, n+1)
					break
				}
			}
		}
		m.accounts[key] = slices.DeleteFunc(m.accounts[key], func(x *modelPlace) bool { return x.id == placeOf(p) && len(x.fails) == 0 })
		return true
	}
	return false
}

func (m *model) sorted() []string {
	slices.Sort(m.out)
	return m.out
}

func (m *model) settled(p *modelAttempt) {
	if c := m.conns[p.conn]; c.addr == p.addr {
		c.done = min(c.seen, c.done+p.attempts)
	}
}

// attempt counts the attempts that no other line of the connection has reported.
func (m *model) attempt(c *modelConn, a *modelAttempt) {
	provisional := a.stage == 1 || a.stage == 2
	if a.stage > 0 {
		c.addr = a.addr
		name := fmt.Sprint(a.stage, a.source)
		c.lines[name] += a.attempts
		lines := c.lines[name]
		if a.attempts = lines - c.done; provisional {
			a.attempts = lines - max(c.seen, c.done)
		} else {
			a.before = c.done
			c.done = max(c.done, lines)
		}
		c.seen = max(c.seen, c.done, lines)
		if a.attempts <= 0 {
			return
		}
	}
	if provisional {
		m.pending = append(m.pending, a)
		return
	}
	left := a.attempts
	for _, fits := range []func(p *modelAttempt) bool{
		func(p *modelAttempt) bool { return p.who() == a.who() },
		func(p *modelAttempt) bool { return p.who() == "" },
		func(p *modelAttempt) bool { return true },
	} {
		for _, p := range m.pending {
			if p.taken || p.conn != a.conn || p.addr != a.addr || left == 0 || !fits(p) {
				continue
			}
			n := min(left, p.attempts)
			left -= n
			if p.attempts -= n; p.attempts == 0 {
				p.taken = true
			}
			if a.who() == "" {
				a.user, a.what = p.user, map[bool]string{true: "final", false: "end"}[p.who() != ""]
			}
			switch {
			case p.who() == "" || p.who() == a.who():
				if p.what == "nobody" {
					a.what = "nobody"
				}
			default:
				a.attempts -= n
				m.failure(&p.event, n, 0)
			}
		}
	}
	if a.attempts > 0 {
		m.failure(&a.event, a.attempts, a.before)
	}
}

// who is the account that a line names.
func (e *event) who() string {
	switch e.what {
	case "exploit", "twice", "some", "end":
		return ""
	}
	return e.user
}

func (m *model) login(key string, at int64, long time.Duration) bool {
	x, ok := m.logins[key]
	return ok && near(at, x, long)
}

func (m *model) success(e event) {
	first := false // of the day
	for i := range m.c.Jails {
		j := &m.c.Jails[i]
		p := m.prefix(j, e.addr)
		m.fails = slices.DeleteFunc(m.fails, func(f *modelFail) bool { return f.jail == j.Name && f.prefix == p && f.user == e.user })
		if id := fmt.Sprint(e.user, p); i == slices.IndexFunc(m.c.Jails, func(o config.Jail) bool { return m.prefix(&o, e.addr) == p }) {
			if at, ok := m.logins[id]; !ok || at/us(24*time.Hour) != e.at/us(24*time.Hour) {
				m.persons[fmt.Sprint(e.at/us(24*time.Hour), p)]++
				first = true
			}
			m.logins[id] = e.at
		}
		for _, key := range []string{e.user, "observed " + e.user} {
			for _, x := range m.accounts[key] {
				x.fails = slices.DeleteFunc(x.fails, func(f modelFail) bool { return f.prefix == p })
			}
			m.accounts[key] = slices.DeleteFunc(m.accounts[key], func(x *modelPlace) bool { return x.id == placeOf(p) && len(x.fails) == 0 })
		}
	}
	// The latest failures, on an account that does not exist, were a misspelt name.
	own := func(f *modelFail) bool {
		return f.jail == e.jail && f.prefix == m.prefix(m.jail(e.jail), e.addr) && !f.gone
	}
	for i := len(m.fails) - 1; i >= 0; i-- {
		if last := m.fails[i]; own(last) {
			misspelt := func(f *modelFail) bool {
				return own(f) && f.unknown && f.user == last.user && !f.old && near(e.at, f.at, 2*time.Minute)
			}
			attempts := 0
			for _, f := range m.fails {
				if misspelt(f) {
					attempts += f.attempts
				}
			}
			if last.unknown && last.user != "" && !last.old && (first || attempts == 1) {
				m.fails = slices.DeleteFunc(m.fails, misspelt)
			}
			break
		}
	}
	m.logins[e.user+" anywhere"] = e.at
	clear := !slices.ContainsFunc(m.fails, func(f *modelFail) bool {
		j := m.jail(f.jail)
		width := us(j.Slow.FindTime) / 8
		d := e.at/width - f.at/width
		return f.prefix == m.prefix(j, e.addr) && !f.gone && (!f.old && near(e.at, f.at, j.FindTime) || d > -8 && d < 8)
	})
	for _, s := range m.sizes(e.addr) {
		net, _ := e.addr.Prefix(s.bits)
		m.logins["somebody "+net.String()] = e.at
		if narrow := m.prefix(m.jail(e.jail), e.addr); clear && e.addr.Is6() && s.bits < narrow.Bits() {
			m.parts = slices.DeleteFunc(m.parts, func(x modelPart) bool { return x.net == net && x.part == partOf(s.bits, narrow) })
		}
	}
}

func placeOf(p netip.Prefix) netip.Prefix {
	if p.Addr().Is6() && p.Bits() > 48 {
		p, _ = p.Addr().Prefix(48)
	}
	return p
}

// partOf returns the prefix that counts as one attacker in a network: in an IPv6 network wider than a /64, at least a /64.
func partOf(bits int, p netip.Prefix) netip.Prefix {
	if p.Addr().Is6() && bits < 64 && p.Bits() > 64 {
		p, _ = p.Addr().Prefix(64)
	}
	return p
}

type modelSize struct{ bits, need int }

func (m *model) sizes(a netip.Addr) []modelSize {
	n := &m.c.Networks
	if a.Is4() {
		return []modelSize{{24, n.Net4}}
	}
	return []modelSize{{64, n.Net6.Bits64}, {56, n.Net6.Bits56}, {48, n.Net6.Bits48}}
}

// held reports whether a ban covers an address in a jail.
func (m *model) held(j *config.Jail, addr netip.Addr, at int64) bool {
	return slices.ContainsFunc(m.bans, func(b *modelBan) bool {
		return b.Prefix.Contains(addr) && b.Since < at && at < b.Until && (!b.observed || j.Observe) &&
			(b.Jail == j.Name || state.Covers(b.Scope, config.ScopeText(j.Ports)))
	})
}

func (m *model) underAttack(key string, at int64) bool {
	return m.distinct(key, at) >= m.c.Accounts.Addresses
}

func (m *model) distinct(key string, at int64) (n int) {
	for _, x := range m.accounts[key] {
		if near(at, x.last, m.c.Accounts.FindTime) {
			n++
		}
	}
	return n
}

// people returns how many accounts logged in from a prefix today or yesterday, whichever is more.
func (m *model) people(p netip.Prefix, at int64) int {
	day := at / us(24*time.Hour)
	return max(m.persons[fmt.Sprint(day, p)], m.persons[fmt.Sprint(day-1, p)])
}

// failure counts failed attempts in every window.
func (m *model) failure(e *event, attempts, before int) {
	j, at := m.jail(e.jail), e.at
	if _, ok := m.allow.Contains(e.addr, at); ok || m.held(j, e.addr, at) {
		return
	}
	p, user := m.prefix(j, e.addr), e.who()
	limited := map[string]int{"exploit": 1, "twice": 2}[e.what]
	key := user
	if j.Observe {
		key = "observed " + user
	}
	device := fmt.Sprint(user, p)
	others := slices.ContainsFunc(m.fails, func(f *modelFail) bool {
		width := us(j.Slow.FindTime) / 8
		d := at/width - f.at/width
		return f.jail == j.Name && f.prefix == p && f.user != user && !f.gone && (!f.old && near(at, f.at, j.FindTime) || d > -8 && d < 8)
	})
	if limited == 0 && user != "" && (e.what == "unknown" || e.what == "nobody") && !others {
		if b := m.bursts[device]; b != nil && near(at, b.at, time.Second) && b.lines < 5 {
			b.lines++
			m.tell("excused %s %s %s %d at %d", j.Name, e.addr, user, attempts, at)
			return
		}
		m.bursts[device] = &modelBurst{at, 1}
	}
	if user != "" && m.login(device, at, 4*m.c.Accounts.TrustLoginsFor) {
		m.tell("excused %s %s %s %d at %d", j.Name, e.addr, user, attempts, at)
		return
	}
	known := user != "" && m.login(user+" anywhere", at, m.c.Accounts.TrustLoginsFor) && !m.underAttack(key, at)

	f := &modelFail{at: at, jail: j.Name, prefix: p, user: user, unknown: e.what == "unknown" || e.what == "nobody", attempts: attempts, further: before == 2}
	weight := attempts
	switch {
	case e.what == "heavy":
		weight *= 3
	case limited > 0:
		weight = (j.MaxRetry + limited - 1) / limited
	}
	width := us(j.Slow.FindTime) / 8
	sum, long, slow := 0, 0, 0 // weights in the normal window, attempts in the slow one, and in either
	normal := 0
	window, day := map[string]int{}, map[string]bool{user: true}
	unknown := map[string]bool{}
	for i := len(m.fails) - 1; i >= 0; i-- {
		x := m.fails[i]
		if x.jail != j.Name || x.prefix != p || x.gone {
			continue
		}
		d := at/width - x.at/width
		in, inSlow := !x.old && near(at, x.at, j.FindTime), d > -8 && d < 8
		if !in && x.at < at {
			x.old, x.gone = true, d >= 8
		}
		if in {
			sum += x.weight
			normal += x.attempts
			if x.user != "" {
				if _, ok := window[x.user]; !ok {
					unknown[x.user] = x.unknown // as the latest line says
				}
				window[x.user] += x.attempts
			}
		}
		if inSlow {
			long += x.attempts
			day[x.user] = true
		}
		if in || inSlow {
			slow += x.attempts
		}
	}
	delete(day, "")
	names := 0
	for _, u := range unknown {
		if u {
			names++
		}
	}
	switch before := window[user]; {
	case user == "":
	case !f.unknown:
		if len(window) > 0 && before == 0 {
			weight += j.Weights.NewAccount
		}
	case j.Weights.InvalidUser > 1 && weight == attempts:
		if names == len(window) && (names < 2 || names == 2 && before > 0) {
			// Attempts 1 to 5 weigh one together, each further one 1.
			weigh := func(n int) int { return min(n, max(1, n-4)) }
			weight = weigh(before+attempts) - weigh(before)
		} else if before == 0 && names >= 3 {
			weight *= j.Weights.InvalidUser
		}
	}
	f.weight = weight
	sum, long, normal, slow = sum+weight, long+attempts+max(0, len(day)-1), normal+attempts, slow+attempts
	m.fails = append(m.fails, f)
	m.tell("failure %s %s %s %d at %d count %d", j.Name, e.addr, user, attempts, at, sum)
	banned := false
	take := func(jail string) {
		m.fails = slices.DeleteFunc(m.fails, func(f *modelFail) bool { return f.jail == jail && f.prefix == p })
	}
	people := m.people(p, at)
	if limited != 0 {
		people = 0
	}
	crowded := func(limit int) int { return limit + min(max(people-2, 0), 2*limit) }
	trip, most := j.MaxRetry, crowded(j.Slow.MaxRetry)
	if user != "" && window[user]+attempts < trip {
		trip = crowded(trip)
	}
	if len(day) <= min(1+people/5, 5) && (f.unknown || known || people > 2) {
		most = max(most, 15*j.Slow.MaxRetry)
	}
	switch {
	case sum >= trip:
		take(j.Name)
		banned = m.ban(j, p, e.addr, state.Failures, at, normal)
	case long >= most:
		take(j.Name)
		banned = m.ban(j, p, e.addr, state.Slow, at, slow)
	}
	if !banned && user != "" && limited == 0 && !known && sum >= 2 && people == 0 {
		banned = m.services(j, e, p)
	}
	if n, by := m.account(key, p, f); n > 0 && !banned {
		if banned = m.ban(m.jail(by), p, e.addr, state.Account, at, n); banned {
			take(by)
		}
	}
	if banned || e.addr.Is6() {
		account := key
		if banned || f.unknown || user == "" {
			account = ""
		}
		m.networks(j, e.addr, p, at, account)
	}
}

// services bans a prefix that has failed at least twice at each of three services, and, say, ten times in total. Failures at two
// services within five seconds are one attempt.
func (m *model) services(j *config.Jail, e *event, p netip.Prefix) bool {
	var all []*modelFail
	seen, n, limit := 0, 0, 0
	for i := range m.c.Jails {
		o := &m.c.Jails[i]
		var l []*modelFail
		guesses := 0
		for _, f := range m.fails {
			if o.Observe == j.Observe && f.jail == o.Name && f.prefix == p && m.prefix(o, e.addr) == p && !f.gone && !f.old && near(e.at, f.at, o.FindTime) && f.user != "" && f.weight > 0 {
				l, guesses = append(l, f), guesses+f.attempts
			}
		}
		if guesses >= 2 {
			all, seen, limit = append(all, l...), seen+1, max(limit, 2*o.MaxRetry)
		}
	}
	slices.SortStableFunc(all, func(a, b *modelFail) int { return cmp.Compare(a.at, b.at) })
	var last *modelFail
	for _, f := range all {
		if last == nil || f.jail == last.jail || f.at-last.at >= 5*sec {
			n, last = n+f.attempts, f
		}
	}
	if seen < 3 || n < limit {
		return false
	}
	m.fails = slices.DeleteFunc(m.fails, func(f *modelFail) bool {
		return slices.ContainsFunc(all, func(x *modelFail) bool { return x.jail == f.jail && x.prefix == f.prefix })
	})
	m.several++
	return m.ban(j, p, e.addr, state.Failures, e.at, n)
}

// account counts a failure on an account. If its prefix is to be banned, it returns how many attempts there were, and the jail of the last
// one. What another jail has just seen is the same attempt.
func (m *model) account(key string, p netip.Prefix, f *modelFail) (n int, by string) {
	a := &m.c.Accounts
	if f.user == "" {
		return 0, ""
	}
	id := placeOf(p)
	m.accounts[key] = slices.DeleteFunc(m.accounts[key], func(x *modelPlace) bool {
		return x.id != id && !near(f.at, x.last, a.FindTime) && x.last < f.at
	})
	i := slices.IndexFunc(m.accounts[key], func(x *modelPlace) bool { return x.id == id })
	if i < 0 {
		i = len(m.accounts[key])
		m.accounts[key] = append(m.accounts[key], &modelPlace{id: id})
	}
	x := m.accounts[key][i]
	x.last = f.at
	x.fails = append(x.fails, *f)
	x.fails = x.fails[max(0, len(x.fails)-4*max(3, a.MaxRetry)):]
	if !m.underAttack(key, f.at) {
		return 0, ""
	}
	count := 0
	var last *modelFail
	for i := range x.fails {
		o := &x.fails[i]
		if o.prefix != p || !near(f.at, o.at, a.FindTime) || last != nil && o.jail != last.jail && near(o.at, last.at, 5*time.Second) {
			continue
		}
		if !o.further {
			count += o.attempts
		}
		n, by, last = n+o.attempts, o.jail, o
	}
	if count < max(3, a.MaxRetry) {
		return 0, ""
	}
	x.fails = slices.DeleteFunc(x.fails, func(o modelFail) bool { return o.prefix == p })
	return n, by
}

func (m *model) networks(j *config.Jail, addr netip.Addr, narrow netip.Prefix, at int64, user string) {
	n := &m.c.Networks
	for _, s := range m.sizes(addr) {
		if s.need == 0 || s.bits >= narrow.Bits() {
			continue
		}
		net, _ := addr.Prefix(s.bits)
		mine := func(x modelPart) bool { return x.net == net && x.observed == j.Observe }
		own := modelPart{at, net, partOf(s.bits, narrow), j.Observe, user}
		for i := range m.parts {
			if x := &m.parts[i]; mine(*x) && (near(at, x.at, n.FindTime) || x.at >= at) {
				if x.part == own.part {
					if x.user != user {
						own.user = ""
					}
				} else if x.user == user {
					x.user, own.user = "", ""
				}
			}
		}
		m.parts = slices.DeleteFunc(m.parts, func(x modelPart) bool {
			return mine(x) && (x.part == partOf(s.bits, narrow) || !near(at, x.at, n.FindTime) && x.at < at)
		})
		m.parts = append(m.parts, own)
		all, with, count := 0, 0, 0 // with lone ones, and without
		for _, x := range m.parts {
			if mine(x) {
				all++
				if near(at, x.at, n.FindTime) {
					with++
					if x.user == "" {
						count++
					}
				}
			}
		}
		most := max(64, s.need)
		if all > most { // the network was spared, so only the latest are kept
			k := slices.IndexFunc(m.parts, mine)
			if near(at, m.parts[k].at, n.FindTime) {
				if with--; m.parts[k].user == "" {
					count--
				}
			}
			m.parts = slices.Delete(m.parts, k, k+1)
		}
		if count < s.need && with >= most {
			count = with
		}
		if count < s.need || m.allow.Overlaps(net, at) || m.login("somebody "+net.String(), at, n.TrustLoginsFor) {
			continue
		}
		m.parts = slices.DeleteFunc(m.parts, mine)
		m.ban(j, net, addr, state.Network, at, count)
	}
}

func (m *model) ban(j *config.Jail, p netip.Prefix, addr netip.Addr, reason string, at int64, attempts int) bool {
	if m.allow.Overlaps(p, at) {
		p = netip.PrefixFrom(addr, addr.BitLen())
	}
	scope := config.ScopeText(j.Ports)
	var extend *modelBan
	l := slices.Clone(m.bans)
	slices.SortStableFunc(l, func(a, b *modelBan) int {
		return cmp.Or(a.Prefix.Bits()-b.Prefix.Bits(), strings.Compare(a.Jail, b.Jail))
	})
	for _, b := range l {
		same := b.Since >= at && (b.Jail == j.Name || state.Covers(b.Scope, scope)) || near(at, b.Since, j.FindTime)
		if b.observed != j.Observe || b.Until <= at || !b.Prefix.Contains(addr) || b.Prefix.Bits() > p.Bits() || !same {
			continue
		}
		if state.Covers(b.Scope, scope) {
			return false
		}
		if b.Prefix == p && extend == nil {
			extend = b
		}
	}
	if extend != nil {
		extend.Scope = state.JoinScopes(extend.Scope, scope)
		m.told(extend, true)
		return true
	}
	b := &modelBan{state.Ban{Prefix: p, Jail: j.Name, Since: at, Failures: attempts, Reason: reason, Count: 1, Scope: scope}, j.Observe}
	key := fmt.Sprint(p, j.Observe)
	if h := m.times[key]; h != nil && at-h.Last <= us(m.c.Escalate.Forget) {
		b.Count = h.Count + 1
	}
	long := time.Duration(float64(j.BanTime) * math.Pow(m.c.Escalate.Factor, float64(b.Count-1)))
	most := max(m.c.Escalate.Max, j.BanTime)
	long = min(long, most)
	if s := randomExtra(&b.Ban, m.c.Escalate.RandomExtra); long+s <= most {
		long += s
	} else {
		long = max(j.BanTime, most-s)
	}
	b.Until = at + us(long)
	m.times[key] = &state.History{Prefix: p, Count: b.Count, Last: b.Until}
	m.bans = slices.DeleteFunc(m.bans, func(o *modelBan) bool { return o.Prefix == p && o.Jail == j.Name && o.observed == j.Observe })
	m.bans = append(m.bans, b)
	m.told(b, false)
	return true
}

func (m *model) tell(format string, args ...any) {
	m.out = append(m.out, fmt.Sprintf("%d ", m.at)+fmt.Sprintf(format, args...))
}

func (m *model) told(b *modelBan, extended bool) {
	m.out = append(m.out, tellBan(m.at, &Ban{Ban: b.Ban, Observed: b.observed, Extended: extended}))
}

func tellBan(i int, b *Ban) string {
	return fmt.Sprintf("%d ban %s %s %s %d %s count %d until %d scope %q extended %v observed %v", i, b.Jail, b.Prefix, b.Reason, b.Failures, b.ID(), b.Count, b.Until-b.Since, b.Scope, b.Extended, b.Observed)
}

// tell records an outcome of an entry.
func tell(i int, o *Outcome) (l []string) {
	for _, f := range o.Failures {
		if f.Excused {
			l = append(l, fmt.Sprintf("%d excused %s %s %s %d at %d", i, f.Jail, f.Addr, f.User, f.Attempts, f.Time))
		} else {
			l = append(l, fmt.Sprintf("%d failure %s %s %s %d at %d count %d", i, f.Jail, f.Addr, f.User, f.Attempts, f.Time, f.Count))
		}
	}
	for k := range o.Bans {
		l = append(l, tellBan(i, &o.Bans[k]))
	}
	slices.Sort(l)
	return l
}

// stream makes lines of connections of a few users from addresses that lie close together, over some days. Some lines are
// read late, by up to late.
func stream(r *rand.Rand, n, users int, jails []string, late int64) []event {
	var l []event
	at := start
	nets := []string{"198.51.100.", "203.0.113.", "2001:db8:0:", "2001:db8:0:1", "2001:db8:7:"}
	for pid := uint32(1); len(l) < n; pid++ {
		switch r.IntN(60) {
		case 0:
			at += r.Int64N(3 * 3600 * sec)
		default:
			at += r.Int64N(90 * sec)
		}
		e := event{at: at, jail: jails[r.IntN(len(jails))], user: string(rune('a' + r.IntN(users))), pid: pid}
		if net := nets[r.IntN(len(nets))]; strings.HasPrefix(net, "2001") {
			e.addr = netip.MustParseAddr(fmt.Sprintf("%s%x::%x", net, r.IntN(7), 1+r.IntN(2)))
		} else {
			e.addr = netip.MustParseAddr(net + fmt.Sprint(r.IntN(8)))
		}
		say := func(what string) {
			e.what = what
			l = append(l, e)
			e.at += 1 + r.Int64N([]int64{2 * sec, 10 * sec, 33 * sec}[r.IntN(3)])
		}
		switch k := r.IntN(100); {
		case k < 8: // some guesses at each of several services, at an account and from an address without logins
			e.addr, e.user = netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(200))}), "y"
			for _, e.jail = range jails {
				for range 2 + r.IntN(3) {
					e.pid += 3_000_000
					say("failed")
				}
			}
		case k < 30:
			say("failed")
		case k < 40: // two daemons see the same attempt, such as Postfix and Dovecot
			say("failed")
			e.pid, e.jail = pid+1_000_000, jails[r.IntN(len(jails))]
			say("failed")
		case k < 46: // now and then over several connections
			for n := []int{1, 1, 1, 1, 7}[r.IntN(5)]; n > 0; n-- {
				was := e.at
				say("unknown")
				e.at = was + r.Int64N(sec)
				e.pid += 2_000_000
			}
		case k < 47:
			say("heavy")
		case k < 48:
			say("exploit")
		case k < 49:
			say("twice")
		case k < 55:
			say("login")
		case k < 57:
			say("mail")
		case k < 70: // an attempt in steps, with lines of each source, in any order and now and then with another name
			e.source = "x"
			say([]string{"step", "nobody", "some"}[r.IntN(3)])
			if r.IntN(2) == 0 {
				e.source = "y"
				say("step")
			}
			if e.source = ""; r.IntN(6) == 0 {
				e.user = "f"
			}
			switch e.n = 1 + r.IntN(2); r.IntN(8) {
			case 0: // nothing follows
			case 1:
				say("void")
				say("final")
			case 2:
				e.n = 0
				say("login")
			case 3:
				e.n, e.pid, e.jail = 0, pid+1_000_000, jails[r.IntN(len(jails))]
				say("login")
			case 4:
				say("end")
			default:
				say("final")
			}
		case k < 80: // several at once
			var lines []event
			for range 1 + r.IntN(3) {
				for _, what := range []string{"step", "step", "final", "end"}[r.IntN(2) : 3+r.IntN(2)] {
					x := e
					if x.what, x.n = what, 1; what == "step" {
						x.n, x.source = 0, string(rune('x'+r.IntN(2)))
					}
					lines = append(lines, x)
				}
			}
			r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
			for i := range lines {
				lines[i].at = e.at + int64(i)*r.Int64N(8*sec)
			}
			l = append(l, lines...)
		case k < 90: // the address comes later
			for range 1 + r.IntN(2) {
				say("lone")
			}
			switch r.IntN(4) {
			case 0:
				say("join")
				if r.IntN(2) == 0 {
					say("lone")
				}
			case 1:
				say("void")
			default:
				e.n = 1 + r.IntN(2)
				say("final")
			}
		case k < 93:
			e.n = 2 + r.IntN(3)
			say("final")
		default:
			say("tick")
		}
	}
	slices.SortStableFunc(l, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	for i := range l {
		if late > 0 && r.IntN(8) == 0 && l[i].what != "tick" {
			l[i].at -= r.Int64N(late)
		}
	}
	return l
}

func modelConfig(t *testing.T, r *rand.Rand) *config.Config {
	c := plainConfig(t, "alpha", "beta", "gamma", "epsilon")
	c.Escalate = config.Escalate{Factor: 1.5, Max: 2 * time.Hour, Forget: 6 * time.Hour, RandomExtra: time.Minute}
	c.Accounts = config.Accounts{Addresses: 3 + r.IntN(8), FindTime: time.Hour, MaxRetry: 1 + r.IntN(4), TrustLoginsFor: 30 * time.Minute}
	c.Networks = config.Networks{FindTime: 3 * time.Hour, TrustLoginsFor: time.Duration(1+r.IntN(20)) * time.Minute, Net4: 3 + r.IntN(3), Net6: config.Net6{Bits64: 2, Bits56: 3 + r.IntN(3), Bits48: 4 + r.IntN(4)}}
	if r.IntN(3) == 0 {
		c.Networks = config.Networks{FindTime: time.Hour, TrustLoginsFor: time.Hour}
	}
	c.Jails[2].Observe = true
	busy, alike, ports := r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(3)
	for i := range c.Jails {
		j := &c.Jails[i]
		j.FindTime = time.Duration(5+r.IntN(10)) * time.Minute
		if j.MaxRetry = 3 + r.IntN(5); i > 0 && alike {
			j.MaxRetry = c.Jails[0].MaxRetry
		} else if busy { // so that attackers of one account are not banned before
			j.MaxRetry += 20
		}
		j.BanTime = time.Duration(1+r.IntN(30)) * time.Minute // often shorter than the windows
		j.Slow = config.Slow{FindTime: time.Duration(1+r.IntN(5)) * time.Hour, MaxRetry: j.MaxRetry + 1 + r.IntN(10)}
		j.Weights = config.Weights{InvalidUser: 1 + r.IntN(3), NewAccount: r.IntN(3)}
		if r.IntN(3) == 0 {
			j.Prefix6 = 128
		}
		if r.IntN(3) < ports {
			j.Ports = []config.Port{{Proto: "tcp", From: uint16(22 + r.IntN(2)), To: 23}}
		}
	}
	return c
}

// do lets an engine judge an event.
func do(g *Engine, i int, e *event) *Outcome {
	if e.what == "tick" {
		return g.Settle(e.at)
	}
	return g.Entry(e.entry(i), jail.Ref(i))
}

// restart starts an engine from a snapshot, and reads the entries of the window before the cursor again.
func restart(t *testing.T, c *config.Config, allowed *allow.List, snap []byte, events []event, saved int) *Engine {
	t.Helper()
	loaded, err := state.Decode(slices.Clone(snap))
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(c, loaded)
	if err != nil || g.RestoreError() != nil {
		t.Fatal(err, g.RestoreError())
	}
	g.SetAllow(allowed, start, nil)
	g.Reread(true)
	for k := range saved {
		if events[k].what != "tick" && events[saved-1].at-events[k].at < g.Window().Microseconds() {
			if o := g.Entry(events[k].entry(k), jail.Ref(k)); len(o.Bans)+len(o.Failures) > 0 {
				t.Fatalf("decided what lies before the cursor: %+v", o)
			}
		}
	}
	g.Reread(false)
	return g
}

// TestModel compares the engine, entry by entry, with the model over random streams with late entries. The engine is
// restarted at random places: sometimes from its latest state, sometimes, as after a crash, from the state of some entries
// before.
func TestModel(t *testing.T) {
	rounds, kinds, several := 90, map[string]int{}, 0
	if testing.Short() {
		rounds = 15
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(uint64(round), 11))
		c := modelConfig(t, r)
		allowed := allow.NewList([]allow.Entry{{Prefix: netip.MustParsePrefix("203.0.113.5/32")}, {Prefix: netip.MustParsePrefix("2001:db8:7:1::1/128")}})
		jails := [][]string{{"alpha", "beta", "gamma", "epsilon"}, {"alpha", "beta", "epsilon"}, {"gamma", "gamma", "gamma", "alpha"}}[round%3]
		events := stream(r, 1500, 2+r.IntN(5), jails, []int64{0, 20 * sec, 60 * sec}[r.IntN(3)])
		m := &model{c: c, allow: allowed, conns: map[string]*modelConn{}, accounts: map[string][]*modelPlace{}, logins: map[string]int64{}, persons: map[string]int{}, bursts: map[string]*modelBurst{}, times: map[string]*state.History{}}
		var want [][]string
		for i, e := range events {
			want = append(want, slices.Clone(m.entry(i, e)))
		}
		several += m.several
		for _, stops := range []int{0, 12} {
			g := newEngine(t, c)
			g.SetAllow(allowed, start, nil)
			saved, snap := 0, g.Snapshot(nil)
			for i := 0; i < len(events); i++ {
				if stops > 0 && i > 0 && r.IntN(len(events)/stops) == 0 {
					if r.IntN(2) == 0 {
						saved, snap = i, g.Snapshot(nil) // an orderly stop
					}
					g = restart(t, c, allowed, snap, events, saved)
					if i = saved; i == len(events) {
						break
					}
				}
				e := &events[i]
				if r.IntN(5) == 0 {
					// The clock is ahead of what is read by up to a day.
					g.Expire(e.at+r.Int64N(24*3600*sec), e.at-60*sec)
				}
				o := do(g, i, e)
				if got := tell(i, o); !slices.Equal(got, want[i]) {
					for k := max(0, i-200); k <= i; k++ {
						if x := &events[k]; x.addr == e.addr || slices.ContainsFunc(append(slices.Clone(got), want[i]...), func(s string) bool {
							return strings.Contains(s, " "+x.addr.String()+" ") || strings.Contains(s, " "+x.addr.String()+"/")
						}) {
							t.Logf("%d %s %d %s %s %d", k, x.jail, x.pid, time.UnixMicro(x.at).UTC().Format("15:04:05.000"), x.text(), x.n)
							t.Log(want[k])
						}
					}
					t.Fatalf("round %d, %d stops, entry %d, %+v:\n got %q\nwant %q\n%+v", round, stops, i, e, got, want[i], c)
				}
				for k := range o.Bans {
					b := &o.Bans[k]
					kinds[fmt.Sprintf("%s, extended %v, observed %v", b.Reason, b.Extended, b.Observed)]++
					sum := 0
					for _, f := range b.Evidence {
						sum += f.Attempts
						if f.Ref == jail.NoRef {
							kinds["lines that are not known any more"]++
						} else if x := &events[f.Ref]; f.Pattern != "" && (x.at != f.At || !f.Unknown && f.Pattern != x.what) || x.what != "lone" && !b.Prefix.Contains(x.addr) {
							t.Fatalf("round %d: evidence %+v of %s is not %+v", round, f, tellBan(i, b), x)
						}
					}
					if sum != b.Failures && !b.Extended {
						t.Fatalf("round %d: evidence of %d attempts for %s", round, sum, tellBan(i, b))
					}
					if r.IntN(10) == 0 && !b.Observed {
						g.ExpireBan(b.Ban)
					}
				}
				for _, f := range o.Failures {
					kinds[fmt.Sprintf("failures, excused %v", f.Excused)]++
				}
				if r.IntN(30) == 0 {
					saved, snap = i+1, g.Snapshot(nil)
				}
			}
		}
	}
	if testing.Short() { // too few to compare
		return
	}
	for _, k := range []string{state.Failures, state.Slow, state.Account, state.Network} {
		for _, observed := range []bool{false, true} {
			if s := fmt.Sprintf("%s, extended false, observed %v", k, observed); kinds[s] < 30 {
				t.Errorf("%d bans for %s are too few to compare", kinds[s], s)
			}
		}
	}
	if several < 15 {
		t.Errorf("%d bans for failures at several services are too few to compare", several)
	}
	extended := 0
	for k, n := range kinds {
		if strings.Contains(k, "extended true") {
			extended += n
		}
	}
	if extended == 0 || kinds["failures, excused true"] < 300 {
		t.Errorf("%d bans that were extended, and %d failures that were excused, are too few to compare", extended, kinds["failures, excused true"])
	}
	for k, n := range kinds {
		t.Log(n, k)
	}
}
