package policy

import (
	"net/netip"

	"bailiff/policy/filter"
	"bailiff/policy/jail"
)

// mechanisms is how many attempts without an account name a login takes back: a client tries its mechanisms in turn. An attacker who has an
// account cannot clear more than this with each login.
const mechanisms = 3

// login takes back what a successful login disproves: the failed steps of its own connection, and the failures on the same account from the
// same prefix, in every jail. It takes back nothing else, since attackers have accounts, too.
func (g *Engine) login(j *runningJail, conn jail.ConnKey, addr netip.Addr, h *filter.Hit, at int64) {
	user := jail.Hash(h.User, g.seed)
	g.out.Logins = append(g.out.Logins, Login{Time: at, Jail: j.conf.Name, Addr: addr})
	alone := conn != 0 && len(h.ID) == 0 // the connection is that of one login
	nameless := 0
	g.pending.Drop(addr, func(p *jail.PendingAttempt) bool {
		if p.User == 0 && p.Conn == conn {
			nameless += p.Attempts
			return nameless <= mechanisms
		}
		return user != 0 && p.User == user || p.Conn == conn && alone
	})
	if alone {
		g.conns.Close(conn)
	}
	if g.rereading && g.restored {
		return
	}
	g.loggedIn(j, addr, user, at)
}

// void drops the pending attempts that a line says were not failures. What the daemon writes about them later does not count either. If
// none is pending, the attempt was counted just before, or no line has reported it yet.
func (g *Engine) void(j *runningJail, conn jail.ConnKey, addr netip.Addr, h *filter.Hit, at int64) {
	alone := conn != 0 && len(h.ID) == 0
	_, waited := g.conns.TakeWaiting(conn)
	user, dropped := jail.Hash(h.User, g.seed), false
	g.pending.Drop(addr, func(p *jail.PendingAttempt) bool {
		if user != 0 && p.User == user || p.Conn == conn && (alone || p.User == 0) {
			g.conns.Settled(p.Conn, p.Addr, p.Attempts)
			dropped = true
			return true
		}
		return false
	})
	if (alone || waited) && !dropped && !(g.conns.Failed(conn) && g.takeBack(j, addr, user, at)) {
		g.conns.Void(conn, at)
	}
}

// takeBack takes back an attempt that was counted just before a line said that it was not a failure: sshd writes that a password
// failed before it writes that the account has expired.
func (g *Engine) takeBack(j *runningJail, addr netip.Addr, user uint64, at int64) bool {
	if user == 0 || !addr.IsValid() || g.rereading && g.restored {
		return false
	}
	own := j.counter.Key(addr)
	if !j.counter.TakeBack(own, short(user), at) {
		return false
	}
	g.accounts.TakeBack(accountKey(user, j.conf.Observe), own, at)
	return true
}
