package policy

import (
	"time"

	"bailiff/policy/filter"
	"bailiff/policy/jail"
)

// connections hold what the lines of connections that go on have told so far.
type connections struct {
	conns   *jail.Connections
	pending *jail.Pending
}

func newConnections(seed uint64) connections {
	return connections{jail.NewConnections(seed), jail.NewPending()}
}

// attribute says what a line that a pattern took (Engine.hit) means: it notes logins and what belongs to a connection, and
// returns the failed attempts that the line tells of. That is one at most, and one more if an earlier line of the connection
// waited for this one to tell the address.
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
	case filter.Failure:
	default:
		return nil
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

// attemptOf is the attempt that a line tells of.
func (g *Engine) attemptOf(h *filter.Hit, at int64, ref jail.Ref) jail.Attempt {
	p := h.Pattern
	return jail.Attempt{
		At: at, Ref: ref, Pattern: p.Name, Port: h.Port, Attempts: max(1, h.Repeat),
		User: jail.Hash(h.User, g.seed), Name: h.User[:min(len(h.User), jail.MaxName)], Unknown: h.InvalidUser,
		Weight: max(1, p.Weight), MaxRetry: p.MaxRetry, After: p.AfterFailure,
		Stage: p.Stage, Source: uint32(jail.Hash(h.Source, g.seed)), Alone: len(h.ID) == 0,
		Provisional: p.Provisional || p.ProvisionalWithoutUser && len(h.User) == 0,
	}
}

// newAttempts returns the failed attempts that are new by a line. An attempt that may still succeed becomes pending: a later
// line, or the passing of time, makes it count.
func (g *Engine) newAttempts(a *attempt) []attempt {
	if a.After && !a.jail.counter.Has(a.addr, a.At) {
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
	// The line tells how attempts ended; take out their steps that were still pending.
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

// borrowTime is how long the database that a daemon asks writes before the daemon does: Dovecot, of Postfix's clients.
const borrowTime = 5 * time.Second

// borrowName gives an attempt that names no account the name that another jail has just heard from its address, if it heard one
// name only, and that of a known device: Postfix up to 3.5 names nobody, but Dovecot, which it asks, does.
func (g *Engine) borrowName(a *attempt) {
	p, ok := g.pending.Named(a.addr, a.jail.number, a.At, borrowTime)
	if ok && g.logins.Device(a.jail.prefix(a.addr).Hash(g.seed^p.User), a.At, g.accountsConf.TrustLoginsFor) {
		a.User, a.Name = p.User, p.Name
	}
}

// settled is a pending attempt that counts as failed, since no line told of its outcome. ok is false if its jail is gone.
func (g *Engine) settled(p *jail.PendingAttempt) (a attempt, ok bool) {
	g.conns.Settled(p.Conn, p.Addr, p.Attempts)
	j := g.byName[g.names[p.Jail]]
	return attempt{p.Attempt, j, p.Addr, p.Conn}, j != nil
}

// settle counts the pending attempts whose time is over.
func (g *Engine) settle(now int64) {
	for p, ok := g.pending.Next(now); ok; p, ok = g.pending.Next(now) {
		if a, ok := g.settled(&p); ok {
			g.judge(&a)
		}
	}
}

// Settle counts the attempts whose outcome no line told within jail.Hold. now is up to when the journal has been read.
func (g *Engine) Settle(now int64) *Outcome {
	g.out.reset()
	g.settle(now)
	return &g.out
}

// Finish counts every attempt that is pending: nothing follows.
func (g *Engine) Finish() *Outcome {
	g.out.reset()
	for p, ok := g.pending.First(); ok; p, ok = g.pending.First() {
		if a, ok := g.settled(&p); ok {
			g.judge(&a)
		}
	}
	return &g.out
}
