package policy

import (
	"net/netip"
	"time"

	"bailiff/policy/filter"
	"bailiff/policy/jail"
)

// judge judges an entry, and says whether the jail's filter trusts whoever wrote it.
func (g *Engine) judge(c *cell, e *filter.Entry, ref jail.Ref) (trusted bool) {
	if !c.matcher.Trusts(e) {
		return false
	}
	if c.matcher.MatchTrusted(e, &g.hit) {
		g.known(c, e, ref)
	}
	return true
}

// known says what an entry that a pattern took, Engine.hit, means to a jail, and which attempts it tells of.
func (g *Engine) known(c *cell, e *filter.Entry, ref jail.Ref) {
	h := &g.hit
	g.out.Hits++
	at := e.Realtime
	conn := g.conns.Key(c.number, e.Boot, e.PID, h.ID)
	addr := h.Addr
	if !addr.IsValid() {
		addr, _ = g.conns.Known(conn)
	}
	switch h.Kind {
	case filter.Success:
		if addr.IsValid() {
			g.success(c, conn, addr, h, at)
		}
		return
	case filter.Void:
		g.void(c, conn, addr, h, at)
		return
	case filter.Delivery:
		if addr.IsValid() {
			g.out.Logins = append(g.out.Logins, Login{Time: at, Jail: c.conf.Name, Addr: addr, Delivery: true})
		}
		return
	case filter.Context:
		g.conns.Join(conn, addr, at)
	case filter.Failure:
	default:
		return
	}
	if !addr.IsValid() {
		if h.Kind == filter.Failure {
			g.conns.Wait(conn, g.attemptOf(h, at, ref))
		}
		return
	}
	if g.conns.Waits() {
		if a, ok := g.conns.Claim(conn); ok {
			g.attempt(c, conn, addr, &a)
		}
	}
	if h.Kind == filter.Failure {
		a := g.attemptOf(h, at, ref)
		g.attempt(c, conn, addr, &a)
	}
}

func (g *Engine) attemptOf(h *filter.Hit, at int64, ref jail.Ref) jail.Attempt {
	p := h.Pattern
	a := jail.Attempt{
		At: at, Ref: ref, Pattern: p.Name, User: jail.Hash(h.User, g.seed), Port: h.Port, Attempts: max(1, h.Repeat),
		Weight: max(1, p.Weight), MaxRetry: p.MaxRetry, Unknown: h.InvalidUser, Stage: p.Stage, Source: uint32(jail.Hash(h.Source, g.seed)),
		Provisional: p.Provisional || p.ProvisionalWithoutUser && len(h.User) == 0, After: p.AfterFailure, Alone: len(h.ID) == 0,
	}
	a.Name = h.User[:min(len(h.User), jail.MaxName)]
	return a
}

// attempt takes a line about a failed attempt. It counts the attempts that are new by it; those that may still succeed wait.
func (g *Engine) attempt(c *cell, conn jail.ConnKey, addr netip.Addr, a *jail.Attempt) {
	if a.After && !c.counter.Has(addr, a.At) {
		return
	}
	a.Attempts = g.conns.Count(conn, addr, a)
	if a.Attempts == 0 {
		return
	}
	if a.Provisional {
		if a.User == 0 {
			g.borrowName(c, addr, a)
		}
		for _, p := range g.pending.Add(jail.PendingAttempt{Attempt: *a, Addr: addr, Conn: conn, Jail: c.number}) {
			g.count(&p)
		}
		return
	}
	// The daemon's word on how attempts ended that steps of them were pending of.
	for _, p := range g.pending.Take(addr, conn, a.User, a.Attempts) {
		switch {
		case a.User == 0:
			a.User, a.Name = p.User, p.Name
			fallthrough
		case p.User == a.User, p.User == 0:
			a.Unknown = a.Unknown || p.Unknown
		default: // on another account
			p.Attempts = min(p.Attempts, a.Attempts)
			a.Attempts -= p.Attempts
			g.failure(c, addr, &p.Attempt)
		}
	}
	if a.Attempts > 0 {
		g.failure(c, addr, a)
	}
}

// borrowTime is how long the database that a daemon asks writes before the daemon does: Dovecot, of Postfix's clients.
const borrowTime = 5 * time.Second

// borrowName gives an attempt that names no account the name that another jail has just heard of its address, if that is all that
// it heard and belongs to a device that is known there: Postfix up to 3.5 names nobody, but Dovecot does, which it asks.
func (g *Engine) borrowName(c *cell, addr netip.Addr, a *jail.Attempt) {
	p, ok := g.pending.Named(addr, c.number, a.At, borrowTime)
	if ok && g.logins.Device(jail.Mix(p.User, g.narrow(c, addr), g.seed), a.At, g.attacked.TrustLoginsFor) {
		a.User, a.Name = p.User, p.Name
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
	for {
		p, ok := g.pending.First()
		if !ok {
			return &g.out
		}
		g.count(&p)
	}
}

func (g *Engine) settle(now int64) {
	for {
		p, ok := g.pending.Next(now)
		if !ok {
			return
		}
		g.count(&p)
	}
}

func (g *Engine) count(p *jail.PendingAttempt) {
	g.conns.Settled(p.Conn, p.Addr, p.Attempts)
	if c := g.byName[g.names[p.Jail]]; c != nil {
		g.failure(c, p.Addr, &p.Attempt)
	}
}

// mechanisms is how many attempts that name no account a login takes back: a client tries its mechanisms in turn. An attacker
// with an account of his own has no more for each login.
const mechanisms = 3

// forgive drops the pending attempts that a line says were none: those of its own connection, and those on the same account
// from the same address. It says whether the connection is one of a single login, and not all that come from an address.
func (g *Engine) forgive(conn jail.ConnKey, addr netip.Addr, h *filter.Hit) (own bool) {
	user := jail.Hash(h.User, g.seed)
	own = conn != 0 && len(h.ID) == 0
	nameless := 0
	g.pending.Drop(addr, func(p *jail.PendingAttempt) bool {
		if p.User == 0 && p.Conn == conn {
			nameless += p.Attempts
			return nameless <= mechanisms
		}
		return user != 0 && p.User == user || p.Conn == conn && own
	})
	return own
}

// void drops the pending attempts that a line says were none. What the daemon writes about them in the end is none, either.
// Where none is pending, the attempt is one that was counted just before, or one that nothing has been written about yet.
func (g *Engine) void(c *cell, conn jail.ConnKey, addr netip.Addr, h *filter.Hit, at int64) {
	own := conn != 0 && len(h.ID) == 0
	_, waits := g.conns.Claim(conn)
	user, dropped := jail.Hash(h.User, g.seed), false
	g.pending.Drop(addr, func(p *jail.PendingAttempt) bool {
		if user != 0 && p.User == user || p.Conn == conn && (own || p.User == 0) {
			g.conns.Settled(p.Conn, p.Addr, p.Attempts)
			dropped = true
			return true
		}
		return false
	})
	if (own || waits) && !dropped && !(g.conns.Failed(conn) && g.takeBack(c, addr, user, at)) {
		g.conns.Void(conn, at)
	}
}

// takeBack takes an attempt back that was counted just before a line said that it was none: sshd tells that a password failed
// before it tells that the account is closed.
func (g *Engine) takeBack(c *cell, addr netip.Addr, user uint64, at int64) bool {
	if user == 0 || !addr.IsValid() || g.rebuild && g.restored || !c.counter.TakeBack(addr, short(user), at) {
		return false
	}
	g.accounts.TakeBack(account(user, c.conf.Observe), g.narrow(c, addr), at)
	return true
}

// success takes back what a login disproves: the failed steps of its own connection, and what the same account from the
// same prefix had against it, in every jail. It takes back nothing else, since attackers have accounts, too.
func (g *Engine) success(c *cell, conn jail.ConnKey, addr netip.Addr, h *filter.Hit, at int64) {
	user := jail.Hash(h.User, g.seed)
	g.out.Logins = append(g.out.Logins, Login{Time: at, Jail: c.conf.Name, Addr: addr, User: h.User})
	if own := g.forgive(conn, addr, h); own {
		g.conns.Close(conn)
	}
	if g.rebuild && g.restored {
		return
	}
	clear := true
	var done netip.Prefix
	for _, c := range g.jails {
		c.counter.Success(addr, short(user))
		clear = clear && !c.counter.Has(addr, at)
		if narrow := g.narrow(c, addr); user != 0 && narrow != done { // most jails count by the same length
			g.accounts.Success(account(user, false), narrow)
			g.accounts.Success(account(user, true), narrow)
			if g.logins.Add(jail.Mix(user, narrow, g.seed), at) {
				g.logins.AddPerson(narrow, g.seed, at)
			}
			done = narrow
		}
	}
	if user != 0 {
		g.logins.Add(jail.Mix(user, anywhere, g.seed), at)
	}
	narrow := g.narrow(c, addr)
	for _, n := range g.nets {
		if !n.Holds(addr) {
			continue
		}
		g.logins.Add(jail.Mix(anyAccount, n.Of(addr), g.seed), at)
		if clear && n.V6() && n.Bits() < narrow.Bits() {
			n.Remove(narrow)
		}
	}
}
