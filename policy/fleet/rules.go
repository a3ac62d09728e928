package fleet

import (
	"errors"
	"math"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/bucket"
)

// Rules say what this host accepts from others.
type Rules struct {
	Hosts      map[string]string // accepted hosts; the value is the host's group, which has one vote however many hosts it has
	Roster     bool              // accepted are the hosts of the fleet's roster (SetRoster) in place of Hosts
	Jails      []string          // accepted jails; empty: all
	Votes      int               // number of groups that must ban a prefix; at least 1
	MinPrefix4 int               // shortest accepted prefix of IPv4; 0: 32
	MinPrefix6 int               // and of IPv6; 0: 64
	Longest    time.Duration     // a ban ends here at most this long after it began; 0: 28 days
	MaxBans    int               // kept of one host; 0: 10,000
	Rate       int               // bans of one host a minute; 0: 100
	Together   Together          // whether failures on many hosts are counted together

	hub []netip.Addr // Roster.Hub
}

// Scope is the name of the firewall's set that holds the bans of other hosts.
const Scope = "fleet"

// Errors of news that is refused.
var (
	ErrHost    = errors.New("the host is not accepted")
	ErrJail    = errors.New("the jail is not accepted")
	ErrPrefix  = errors.New("the prefix cannot be banned")
	ErrWide    = errors.New("the prefix is too wide")
	ErrHub     = errors.New("the prefix contains an address of the fleet's hub or of a name server")
	ErrTime    = errors.New("the times make no sense, or the host's clock is ahead by hours")
	ErrOver    = errors.New("the ban is over")
	ErrTooMany = errors.New("the host has too many bans")
	ErrTooFast = errors.New("the host bans too fast")
	ErrText    = errors.New("the reason or the jail is not a short line of printable ASCII")
	ErrOld     = errors.New("the summary of failures is not later than the last one")
)

// MaxAhead is how far a host's clock may be ahead. News from further ahead is refused, since it could be kept for a long time.
const MaxAhead = 2 * time.Hour

// MaxReason is how many bytes the reason of a ban may have.
const MaxReason = 64

const (
	maxJail = 32 // bytes
	// maxNames is how many different jails are known, of all hosts together.
	maxNames = 4096
	// farFuture, the year 4253, is when a ban ends that never ends.
	farFuture = 1 << 56
	// noticed is how far ahead a clock must be to be reported.
	noticed = 2 * time.Minute
)

// Some reports whether any host may be accepted.
func (r *Rules) Some() bool { return r.Roster || len(r.Hosts) > 0 }

// Defaults returns rules that accept no host.
func Defaults() Rules { return Rules{}.withDefaults() }

func (r Rules) withDefaults() Rules {
	or := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	or(&r.Votes, 1)
	or(&r.MinPrefix4, 32)
	or(&r.MinPrefix6, 64)
	or(&r.MaxBans, 10_000)
	or(&r.Rate, 100)
	if r.Longest <= 0 {
		r.Longest = 28 * 24 * time.Hour
	}
	r.Together = r.Together.withDefaults()
	return r
}

// refuses returns why the rules do not accept a piece of news, whatever the time.
func (r *Rules) refuses(n *News) error {
	if _, ok := r.Hosts[n.Host]; !ok {
		return ErrHost
	}
	if !isText(n.Reason, MaxReason) || n.Failures < 0 {
		return ErrText
	}
	if err := r.refusesJail(n.Jail); err != nil {
		return err
	}
	return r.refusesPrefix(n.Prefix)
}

// refusesJail returns why nothing of a jail is accepted.
func (r *Rules) refusesJail(jail string) error {
	switch {
	case !isText(jail, maxJail) || jail == "":
		return ErrText
	case len(r.Jails) > 0 && !slices.Contains(r.Jails, jail):
		return ErrJail
	}
	return nil
}

// refusesPrefix returns why a prefix cannot be banned.
func (r *Rules) refusesPrefix(p netip.Prefix) error {
	a := p.Addr()
	if !p.IsValid() || p != p.Masked() || a.Is4In6() || a.Zone() != "" {
		return ErrPrefix
	}
	least := r.MinPrefix6
	if a.Is4() {
		least = r.MinPrefix4
	}
	if p.Bits() < least {
		return ErrWide
	}
	for _, n := range never {
		if n.Overlaps(p) {
			return ErrPrefix
		}
	}
	if slices.ContainsFunc(r.hub, p.Contains) {
		return ErrHub
	}
	return nil
}

// never lists networks whose packets no host may drop, or from which no packets come: loopback, unspecified, link-local and multicast.
// Private addresses can be banned: fleets have them.
var never = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/3"), netip.MustParsePrefix("::/96"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// isText reports whether s is a line of printable ASCII of at most this many bytes.
func isText(s string, most int) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) <= most
}

// end returns when a ban ends here. A clock that is ahead does not make it later.
func (r *Rules) end(n *News, now int64) int64 {
	return min(n.Until, min(n.Since, now)+r.Longest.Microseconds())
}

// check returns the number of the news's host, or why the news is refused.
func (b *Bans) check(n *News, now int64) (uint16, error) {
	err := b.rules.refuses(n)
	if n.Until > farFuture {
		n.Until = Forever
	}
	switch {
	case err != nil:
	case n.Since <= 0 || n.Until <= n.Since || n.Since > now+MaxAhead.Microseconds():
		err = ErrTime
	case len(b.jails) >= maxNames && b.jailNo[n.Jail] == 0:
		err = ErrTooMany
	}
	if errors.Is(err, ErrHost) {
		return 0, err
	}
	h, none := b.hostNumber(n.Host, now)
	if none != nil {
		return 0, none
	}
	if err != nil {
		return h, b.refused(h, err)
	}
	b.hosts[h].Ahead = 0
	if ahead := time.Duration(n.Since-now) * time.Microsecond; ahead > noticed {
		b.hosts[h].Ahead = ahead
	}
	return h, nil
}

// hostNumber returns the number of an accepted host; a new one gets the next number.
func (b *Bans) hostNumber(name string, now int64) (uint16, error) {
	h, ok := b.hostNo[name]
	if !ok {
		if len(b.hosts) >= math.MaxUint16 {
			return 0, ErrTooMany
		}
		h = uint16(len(b.hosts))
		b.hosts = append(b.hosts, host{name: name})
		b.hostNo[name] = h
	}
	return h, nil
}

// refused counts refused news of a host and returns the reason.
func (b *Bans) refused(h uint16, err error) error {
	x := &b.hosts[h]
	if x.Refused == nil {
		x.Refused = make(map[string]uint64)
	}
	x.Refused[err.Error()]++
	return err
}

// room returns an error if a host may not have another ban now.
func (b *Bans) room(h uint16, now int64, live bool) error {
	x := &b.hosts[h]
	if x.bans >= b.rules.MaxBans {
		return b.refused(h, ErrTooMany)
	}
	if live && x.rate.Take(bucket.PerMinute(b.rules.Rate), time.UnixMicro(now)) > 0 {
		return b.refused(h, ErrTooFast)
	}
	return nil
}
