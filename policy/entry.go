package policy

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
)

// Entry takes one journal entry through the policy and returns what it led to. ref is kept as evidence if the entry counts.
//
// The way of a line:
//
//	match      does a jail trust the entry's source, and does one of its patterns fit the message?
//	attribute  which login attempts does the line report that no other line has reported?
//	weigh      does the attempt count against its address, and how much? (judge.go, with the steps that follow)
//	detectors  which prefixes now have too many attempts?
//	decide     what is banned, for how long, and to which ports?
func (g *Engine) Entry(e *filter.Entry, ref jail.Ref) *Outcome {
	g.out.reset()
	g.settle(e.Realtime)
	for _, j := range g.listeners(e) {
		if !g.match(j, e) || j.matcher.Filter.WrittenTwice && j.writtenBefore(e) {
			continue
		}
		lines := g.attribute(j, e, ref)
		for i := range lines {
			attempts := g.newAttempts(&lines[i])
			for i := range attempts {
				g.judge(&attempts[i])
			}
		}
	}
	return &g.out
}

func (o *Outcome) reset() {
	o.Hits, o.Failures, o.Logins, o.Bans = 0, o.Failures[:0], o.Logins[:0], o.Bans[:0]
}

// runningJail is an enabled jail.
type runningJail struct {
	conf     config.Jail
	matcher  *filter.Matcher
	counter  *jail.Counter
	scope    string // of its bans, as state.Ban has it
	number   uint16 // in Engine.names
	failures uint64
	last     int64 // time of the last failure
	refused  Refused

	unmatched uint64 // trusted entries that fit no pattern
	written   []line // the latest lines, if the daemon may write each line twice
}

// line is a line written by a process.
type line struct {
	pid  uint32
	text uint64 // hash
	at   int64
}

const (
	writtenLines = 64                       // number of latest lines kept for each jail
	writtenApart = int64(time.Second / 1e3) // longest time between the two lines of a pair, in microseconds
)

// writtenBefore reports whether a line is the second of a pair: equal to one that the same process wrote a moment ago. A third equal line
// counts again, so at least half of identical attempts count.
func (j *runningJail) writtenBefore(e *filter.Entry) bool {
	text := jail.Hash(e.Message, uint64(e.PID))
	for i := range j.written {
		if w := &j.written[i]; w.pid == e.PID && w.text == text && e.Realtime >= w.at && e.Realtime-w.at < writtenApart {
			j.written = slices.Delete(j.written, i, i+1)
			return true
		}
	}
	if len(j.written) == writtenLines {
		j.written = slices.Delete(j.written, 0, 1)
	}
	j.written = append(j.written, line{e.PID, text, e.Realtime})
	return false
}

// attempt is one failed login attempt, or several reported by one line, with its jail, address and connection.
type attempt struct {
	jail.Attempt
	jail *runningJail
	addr netip.Addr
	conn jail.ConnKey
}

// listenerIndex finds the jails that may take an entry: by the name of its unit or slice, anyContainer or noUnit.
type listenerIndex struct {
	jails map[string][]*runningJail
	found []*runningJail // reused
}

const (
	noUnit       = ""
	anyContainer = "a container" // not the name of a unit, which has no blanks
)

func newListenerIndex(jails []*runningJail) listenerIndex {
	x := listenerIndex{jails: make(map[string][]*runningJail)}
	for _, j := range jails {
		t := j.matcher.Trust()
		names := t.Names()
		for _, u := range t.UserUnits {
			names = append(names, u.Manager())
		}
		if len(t.Containers) > 0 {
			names = append(names, anyContainer)
		}
		if len(t.Identifiers) > 0 {
			names = append(names, noUnit)
		}
		for _, n := range names {
			x.jails[n] = merged(x.jails[n], []*runningJail{j})
		}
	}
	return x
}

// merged returns a with those jails of b that it does not contain.
func merged(a, b []*runningJail) []*runningJail {
	for _, j := range b {
		if !slices.Contains(a, j) {
			a = append(a, j)
		}
	}
	return a
}

// listeners returns the jails that may take an entry, each once. The list is valid until the next call.
func (x *listenerIndex) listeners(e *filter.Entry) []*runningJail {
	unit, slice := x.jails[string(e.Unit)], []*runningJail(nil)
	if len(e.Unit) > 0 {
		slice = x.jails[string(e.Slice)]
	}
	if len(slice) == 0 && e.Relay != filter.Vouched {
		return unit
	}
	x.found = merged(append(x.found[:0], unit...), slice)
	if e.Relay == filter.Vouched && len(e.Unit) > 0 {
		x.found = merged(x.found, x.jails[anyContainer])
	}
	return x.found
}

// Refused counts entries that match one of a jail's patterns but are not evidence: they come from a watched unit, but not from a source
// that the jail trusts.
type Refused struct {
	Entries uint64
	Why     filter.Refusal // of the last one
	Last    int64          // when it was written, microseconds since 1970
}

// match reports whether a jail's filter trusts the source of an entry and one of its patterns fits the message. If so, Engine.hit holds the
// match.
func (g *Engine) match(j *runningJail, e *filter.Entry) bool {
	if j.matcher.Trusts(e) {
		ok := j.matcher.MatchTrusted(e, &g.hit)
		if !ok && !g.rereading {
			j.unmatched++
		}
		return ok
	}
	if len(e.Unit) > 0 && !g.rereading {
		if why, ok := j.matcher.Refuses(e); ok {
			j.refused = Refused{j.refused.Entries + 1, why, e.Realtime}
		}
	}
	return false
}

// connections hold what is known of open connections from their lines so far.
type connections struct {
	conns   *jail.Connections
	pending *jail.Pending
}

func newConnections(seed uint64) connections {
	return connections{jail.NewConnections(seed), jail.NewPending()}
}

// attribute interprets a line that matched a pattern (Engine.hit): it records logins and connections, and returns the failed attempts that
// the line reports. That is at most one, plus one if an earlier line of the connection was waiting for its address.
func (g *Engine) attribute(j *runningJail, e *filter.Entry, ref jail.Ref) []attempt {
	h, at := &g.hit, e.Realtime
	g.out.Hits++
	conn := g.conns.Key(j.number, e.Boot, e.PID, h.ID)
	addr := h.Addr
	if !addr.IsValid() {
		addr, _ = g.conns.Known(conn)
	}
	switch h.Kind {
	case filter.Success:
		if addr.IsValid() {
			g.login(j, conn, addr, h, at)
		}
		return nil
	case filter.Void:
		g.void(j, conn, addr, h, at)
		return nil
	case filter.Delivery:
		if addr.IsValid() {
			g.out.Logins = append(g.out.Logins, Login{Time: at, Jail: j.conf.Name, Addr: addr, Delivery: true})
		}
		return nil
	case filter.Context:
		g.conns.Join(conn, addr, at)
	}
	if !addr.IsValid() {
		if h.Kind == filter.Failure {
			g.conns.Wait(conn, g.attemptOf(h, at, ref))
		}
		return nil
	}
	g.lines = g.lines[:0]
	if waiting, ok := g.conns.TakeWaiting(conn); ok {
		g.lines = append(g.lines, attempt{waiting, j, addr, conn})
	}
	if h.Kind == filter.Failure {
		g.lines = append(g.lines, attempt{g.attemptOf(h, at, ref), j, addr, conn})
	}
	return g.lines
}

// attemptOf returns the attempt that a line reports.
func (g *Engine) attemptOf(h *filter.Hit, at int64, ref jail.Ref) jail.Attempt {
	p := h.Pattern
	return jail.Attempt{
		At: at, Ref: ref, Pattern: p.Name, Port: h.Port, Attempts: max(1, h.Repeat),
		User: jail.Hash(h.User, g.seed), Name: h.User[:min(len(h.User), jail.MaxName)], Unknown: h.InvalidUser,
		Weight: max(1, p.Weight), MaxRetry: p.MaxRetry, After: p.AfterFailure, Distinct: p.Distinct,
		Stage: p.Stage, Source: uint32(jail.Hash(h.Source, g.seed)), Alone: len(h.ID) == 0,
		Provisional: p.Provisional || p.ProvisionalWithoutUser && len(h.User) == 0,
	}
}

// newAttempts returns the failed attempts that no earlier line has reported. An attempt that may still succeed becomes pending: a later
// line, or the passing of time, makes it count.
func (g *Engine) newAttempts(a *attempt) []attempt {
	if !g.news(a) {
		return nil
	}
	if a.Attempts = g.conns.Count(a.conn, a.addr, &a.Attempt); a.Attempts == 0 {
		return nil
	}
	g.found = g.found[:0]
	if a.Provisional {
		if a.User == 0 {
			g.borrowName(a)
		}
		for _, p := range g.pending.Add(jail.PendingAttempt{Attempt: a.Attempt, Addr: a.addr, Conn: a.conn, Jail: a.jail.number}) {
			if settled, ok := g.settled(&p); ok {
				g.found = append(g.found, settled)
			}
		}
		return g.found
	}
	// The line reports the outcome of attempts: remove their pending steps.
	for _, p := range g.pending.Take(a.addr, a.conn, a.User, a.Attempts) {
		if a.User == 0 {
			a.User, a.Name = p.User, p.Name
		}
		if p.User == a.User || p.User == 0 {
			a.Unknown = a.Unknown || p.Unknown
			continue
		}
		p.Attempts = min(p.Attempts, a.Attempts) // on another account
		a.Attempts -= p.Attempts
		g.found = append(g.found, attempt{p.Attempt, a.jail, a.addr, a.conn})
	}
	if a.Attempts > 0 {
		g.found = append(g.found, *a)
	}
	return g.found
}

// news reports whether a line of a failed attempt may count. A line that may have a harmless cause (After) counts only after another
// failure. A line of a Distinct pattern that names an account which does not exist, or which is in use, does not count if the address has
// failed on that account before: if a password was tried, another line of the connection counts. It does count if the address keeps cycling
// through several nonexistent names, as an attacker with a list does.
func (g *Engine) news(a *attempt) bool {
	c := a.jail.counter
	switch {
	case a.After && a.Stage != 0:
		return g.conns.Failed(a.conn)
	case a.After:
		return c.Has(c.Key(a.addr), a.At)
	case a.Distinct && (a.Unknown || g.logins.Within(anywhere.Hash(g.seed^a.User), a.At, g.accountsConf.TrustLoginsFor)):
		k, user := c.Key(a.addr), short(a.User)
		return a.User == 0 || !c.HasAccount(k, user, a.At) || a.Unknown && c.InTurn(k, user, a.At)
	}
	return true
}

// borrowTime is how much earlier a daemon's password database may log an attempt than the daemon itself: Dovecot before Postfix.
const borrowTime = 5 * time.Second

// borrowName names the account of an attempt that has none, if another jail has just seen attempts from its address on a single account,
// and that account is a known device's. Postfix up to 3.5 logs no name, but Dovecot, which checks the password for it, does.
func (g *Engine) borrowName(a *attempt) {
	p, ok := g.pending.Named(a.addr, a.jail.number, a.At, borrowTime)
	if ok && g.logins.Device(a.jail.counter.Key(a.addr).Hash(g.seed^p.User), a.At, g.accountsConf.TrustLoginsFor) {
		a.User, a.Name = p.User, p.Name
	}
}

// settled returns a pending attempt that counts as failed, because no line reported its outcome. ok is false if its jail is gone.
func (g *Engine) settled(p *jail.PendingAttempt) (a attempt, ok bool) {
	g.conns.Settled(p.Conn, p.Addr, p.Attempts)
	j := g.byName[g.names[p.Jail]]
	return attempt{p.Attempt, j, p.Addr, p.Conn}, j != nil
}

// settle counts the pending attempts that have waited long enough.
func (g *Engine) settle(now int64) {
	for p, ok := g.pending.Next(now); ok; p, ok = g.pending.Next(now) {
		if a, ok := g.settled(&p); ok {
			g.judge(&a)
		}
	}
}

// Settle counts the attempts whose outcome no line reported within jail.Hold. now is the time up to which the journal has been read.
func (g *Engine) Settle(now int64) *Outcome {
	g.out.reset()
	g.settle(now)
	return &g.out
}

// Finish counts all pending attempts, because no more entries follow.
func (g *Engine) Finish() *Outcome { return g.Settle(math.MaxInt64 / 2) }
