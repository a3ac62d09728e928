package policy

import (
	"net/netip"

	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// Outcome is what one entry, or the passing of time, led to. It is valid until the next call of Entry or Settle.
type Outcome struct {
	Hits     int // jails in which the line matched a pattern
	Failures []Failure
	Logins   []Login
	Bans     []Ban
}

// Failure is a failed attempt that counts against an address or was excused.
type Failure struct {
	Time     int64 // microseconds since 1970
	Jail     string
	Pattern  string
	Addr     netip.Addr
	Prefix   netip.Prefix // what is counted
	Port     uint16
	User     []byte // as logged, cut to jail.MaxName bytes: an attacker's text; borrowed from the entry
	Attempts int    // how many attempts it stands for: more than one for "message repeated N times"
	Count    int    // sum of the weights in the prefix's window now
	Known    bool   // somebody, from anywhere, logged in to the account lately
	Excused  bool   // not counted: a device has an old password, another connection has just tried the same, or the pattern counts only once
	Ref      jail.Ref
}

// Login is a successful login, or a mail that was accepted (Delivery).
type Login struct {
	Time     int64
	Jail     string
	Addr     netip.Addr
	Delivery bool
}

// Ban is the decision to block Prefix.
type Ban struct {
	state.Ban
	Addr     netip.Addr // whose failure led to the ban
	Evidence []jail.Failure
	Wide     bool           // Prefix is wider than its jail counts by: a network, or the table of prefixes was full
	Parts    []netip.Prefix // for a network: the parts that attacked, as far as known
	Extended bool           // an existing ban blocks more ports now: another jail saw the same attack
	Observed bool           // the jail only observes: nothing is blocked
}

// Addresses returns the addresses of Parts, without Addr.
func (b *Ban) Addresses() (l []netip.Addr) {
	for _, p := range b.Parts {
		if a := p.Addr(); a != b.Addr {
			l = append(l, a)
		}
	}
	return l
}
