package fleet

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/allow"
)

// Roster is a fleet's own list of its hosts. The caller has verified that an operator signed it.
type Roster struct {
	Fleet  string            // name
	Serial uint64            // greater with each change
	Hosts  map[string]string // with their groups
	Allow  []Allowed         // MaxAllowed at most
	Hub    []netip.Addr      // of the hub's and this host's name servers, which no host of the fleet bans: MaxHub at most; not saved
}

// Allowed is a prefix that the fleet's operators never want to be banned, on any host.
type Allowed struct {
	Prefix  netip.Prefix
	Until   int64  // Forever: no end
	By      string // operator
	Comment string
}

// Limits on what operators can allow. More entries and wider networks must be in each host's configuration.
const (
	MaxAllowed   = 1000
	MaxComment   = 100 // bytes
	leastAllowed = 16  // bits of IPv4
	leastAllow6  = 32  // and of IPv6
)

// Check returns why operators cannot allow this.
func (a *Allowed) Check() error {
	least := leastAllow6
	if a.Prefix.Addr().Is4() {
		least = leastAllowed
	}
	switch {
	case !a.Prefix.IsValid() || a.Prefix != a.Prefix.Masked() || a.Prefix.Addr().Is4In6() || a.Prefix.Addr().Zone() != "":
		return fmt.Errorf("%v cannot be allowed: not a prefix", a.Prefix)
	case a.Prefix.Bits() < least:
		return fmt.Errorf("%v cannot be allowed for a fleet: it is wider than /%d", a.Prefix, least)
	case a.Until <= 0 || !ValidHost(a.By) || !isText(a.Comment, MaxComment):
		return fmt.Errorf("%v cannot be allowed: its end, its operator or its comment is not as expected (printable ASCII, %d bytes)", a.Prefix, MaxComment)
	}
	return nil
}

// MaxHosts is how many hosts a fleet may have.
const MaxHosts = 10_000

// MaxHub is how many addresses the hub of a fleet may have, with the name servers: each of its servers some.
const MaxHub = 1024

// ErrOldRoster means that a roster is older than one that came before it.
var ErrOldRoster = errors.New("the roster is older than the one in use")

// SetRoster takes a roster and returns what it changes for any prefix. Its hosts count if Rules.Roster is set. One that is older
// than the last one of the same fleet is refused, so that nobody can bring a removed host back by sending an old one again. (See Configure.)
func (b *Bans) SetRoster(r Roster, now int64) ([]Change, error) {
	if !ValidHost(r.Fleet) || len(r.Hosts) > MaxHosts || len(r.Allow) > MaxAllowed || len(r.Hub) > MaxHub {
		return nil, fmt.Errorf("a roster of fleet %q with %d hosts, %d allowed prefixes and %d addresses of the hub is not accepted", r.Fleet, len(r.Hosts), len(r.Allow), len(r.Hub))
	}
	for i := range r.Allow {
		if err := r.Allow[i].Check(); err != nil {
			return nil, err
		}
	}
	for name, group := range r.Hosts {
		if !ValidHost(name) || !ValidHost(group) {
			return nil, fmt.Errorf("host %q with group %q is not accepted: names are 1 to 64 letters, digits, - and _", name, group)
		}
	}
	if r.Fleet == b.roster.Fleet && r.Serial < b.roster.Serial {
		return nil, fmt.Errorf("%w: serial number %d, then %d", ErrOldRoster, b.roster.Serial, r.Serial)
	}
	if r.Fleet == b.roster.Fleet && r.Serial == b.roster.Serial && maps.Equal(r.Hosts, b.roster.Hosts) && slices.Equal(r.Allow, b.roster.Allow) && slices.Equal(r.Hub, b.roster.Hub) {
		return nil, nil
	}
	r.Hosts, r.Allow, r.Hub = maps.Clone(r.Hosts), slices.Clone(r.Allow), slices.Clone(r.Hub)
	b.roster = r
	return b.Configure(b.rules, b.allowed, now), nil
}

// Roster returns the fleet's own list of its hosts, whether it is in use or not.
func (b *Bans) Roster() *Roster { return &b.roster }

// Entries returns the fleet operators' allow list.
func (r *Roster) Entries() (l []allow.Entry) {
	for _, a := range r.Allow {
		e := allow.Entry{Prefix: a.Prefix, Origin: allow.OriginFleet, Comment: "operator " + a.By + " of fleet " + r.Fleet}
		if a.Comment != "" {
			e.Comment += ": " + a.Comment
		}
		if a.Until != Forever {
			e.Until = time.UnixMicro(a.Until)
		}
		l = append(l, e)
	}
	return l
}

// Group returns the group of an accepted host, "" if the host is not accepted.
func (b *Bans) Group(host string) string { return b.rules.Hosts[host] }

// resolve returns the rules with the accepted hosts and the hub's addresses, and with defaults for unset values.
func (b *Bans) resolve(r Rules) Rules {
	r.hub = b.roster.Hub
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
