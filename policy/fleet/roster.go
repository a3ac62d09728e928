package fleet

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Roster is a fleet's own list of its hosts. That an operator has signed it has been proven before.
type Roster struct {
	Fleet  string            // name
	Serial uint64            // greater with each change
	Hosts  map[string]string // with their groups
}

// MaxHosts is how many hosts a fleet may have.
const MaxHosts = 10_000

// ErrOldRoster means that a roster is older than one that came before it.
var ErrOldRoster = errors.New("the roster is older than the one in use")

// SetRoster takes a roster and returns what it changes for any prefix: nothing unless Rules.Roster is set. One that is older
// than the last one of the same fleet is refused, so that nobody can bring a removed host back by sending an old one again.
func (b *Bans) SetRoster(r Roster, now int64) ([]Change, error) {
	if !ValidHost(r.Fleet) || len(r.Hosts) > MaxHosts {
		return nil, fmt.Errorf("a roster of fleet %q with %d hosts is not accepted", r.Fleet, len(r.Hosts))
	}
	for name, group := range r.Hosts {
		if !ValidHost(name) || !ValidHost(group) {
			return nil, fmt.Errorf("host %q with group %q is not accepted: names are 1 to 64 letters, digits, - and _", name, group)
		}
	}
	if r.Fleet == b.roster.Fleet && r.Serial < b.roster.Serial {
		return nil, fmt.Errorf("%w: serial number %d, then %d", ErrOldRoster, b.roster.Serial, r.Serial)
	}
	if r.Fleet == b.roster.Fleet && r.Serial == b.roster.Serial && maps.Equal(r.Hosts, b.roster.Hosts) {
		return nil, nil
	}
	r.Hosts = maps.Clone(r.Hosts)
	b.roster = r
	return b.Configure(b.rules, b.allowed, now), nil
}

// Roster returns the fleet's own list of its hosts, whether it is in use or not.
func (b *Bans) Roster() Roster { return b.roster }

// Group returns the group of an accepted host, "" if the host is not accepted.
func (b *Bans) Group(host string) string { return b.rules.Hosts[host] }

// resolve returns the rules with the hosts that are accepted, and with a value for everything that was left open.
func (b *Bans) resolve(r Rules) Rules {
	if r.Roster {
		r.Hosts = b.roster.Hosts
	}
	return r.withDefaults()
}

// rosterHost is a line of a saved roster.
type rosterHost struct{ name, group string }

// lines returns the roster's hosts in a fixed order.
func (r *Roster) lines() (l []rosterHost) {
	for _, name := range slices.Sorted(maps.Keys(r.Hosts)) {
		l = append(l, rosterHost{name, r.Hosts[name]})
	}
	return l
}
