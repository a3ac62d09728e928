package policy

import (
	"net/netip"

	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/prefix"
)

// Entry takes one journal entry through the policy and returns what it led to. ref is kept as evidence if the entry counts.
//
// The way of a line, with the file of each step:
//
//	match      match.go      does a jail trust the entry's source, and does one of its patterns fit the message?
//	attribute  attribute.go  which attempts to log in does the line tell of that no other line has told of?
//	weigh      weigh.go      does the attempt count against its address, and how much?
//	detectors  detectors.go  which prefixes have too many attempts by now?
//	decide     decide.go     what is banned, for how long, and to which ports?
func (g *Engine) Entry(e *filter.Entry, ref jail.Ref) *Outcome {
	g.out.reset()
	g.settle(e.Realtime)
	for _, j := range g.listeners(e) {
		if !g.match(j, e) {
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

// judge takes one failed attempt through the last three steps. Attempts whose outcome no line told come here, too, once their
// time is over.
func (g *Engine) judge(a *attempt) {
	f, counts := g.weigh(a)
	if !counts {
		return
	}
	banned := g.decide(&f, g.addressWindows(&f))
	banned = g.decide(&f, g.attackedAccount(&f, banned)) || banned
	g.decide(&f, g.attackingNetworks(&f, banned))
}

// attempt is one failed attempt to log in, or several that one line tells of, with what it belongs to.
type attempt struct {
	jail.Attempt
	jail *runningJail
	addr netip.Addr
	conn jail.ConnKey
}

// failure is an attempt that counts, as the detectors see it.
type failure struct {
	*attempt
	prefix      prefix.Key   // that the jail counts the address by
	account     uint64       // that accounts know the user by
	record      jail.Failure // what is kept of it
	recentLogin bool         // somebody logged in to the account lately, and it is not under attack
}

// verdict is a detector's word that a prefix attacks.
type verdict struct {
	jail     *runningJail // that bans
	prefix   netip.Prefix
	reason   string         // one of state's
	evidence []jail.Failure // oldest first
	parts    []netip.Prefix // of a network: those that attacked
	wide     bool           // the prefix is wider than its jail counts by
}
