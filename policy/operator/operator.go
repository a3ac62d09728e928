// Package operator tracks the ssh sessions of operators: root, and members of configured groups. While such a session is
// open, and for a while after, its address is not banned, so that operators cannot lock themselves out.
//
// It does no I/O: sessions come as journal entries of sshd or as logind's list, accounts as the text of /etc/passwd and /etc/group, time as
// a number. It looks up no host name. Apart from root, only accounts in these files can be operators'.
//
// Start reading at Tracker: Entry and Logind take sessions, Entries returns what is allowed, Due and Stale say when to call
// it.
package operator

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/filter"
)

// Origin is the origin of the entries that a Tracker makes.
const Origin = "operator"

// Filter is the filter whose entries say who logs in.
const Filter = "sshd"

// Session is an open login over ssh.
type Session struct {
	PID   uint32     // of its sshd process: Leader in logind, _PID of "Accepted …" in the journal
	Addr  netip.Addr // of the client; invalid if unknown: with UseDNS, sshd gives logind a host name, which is not resolved
	User  string
	UID   int64  // -1: unknown
	TTY   string // often unknown: sshd opens the session before the terminal
	ID    string // logind's; "" if only the journal shows the session
	Since int64  // microseconds since 1970
	Why   string // why its user is an operator: "root", "group sudo"
}

// Options are the settings of a Tracker.
type Options struct {
	Grace  time.Duration                                      // how long an address stays allowed after its last session
	Member func(user string, uid int64) (why string, ok bool) // see Accounts.Member
}

// Bounds; beyond them, the oldest sessions are forgotten. Operators are few, but on some hosts a thousand machines an hour
// log in as root.
const (
	maxOpen  = 256
	maxEnded = 256
	maxBoots = 1024
)

// MaxUnseen is how long a session counts that only the journal shows: its end may have been missed.
const MaxUnseen = 24 * time.Hour

// Tracker holds the sessions of operators. One goroutine uses it.
//
// An address is allowed while either source has an open session of it. logind also knows sessions from before the daemon's
// start, and when each ends. The journal helps on hosts without logind, where sshd gives logind a name instead of an
// address, and in a replay. A session that ended according to logind has ended for both.
type Tracker struct {
	opt     Options
	sshd    *filter.Matcher
	hit     filter.Hit
	journal map[process]Session
	logind  map[uint32]Session
	ended   map[netip.Addr]ended
	boot    [16]byte
	boots   map[[16]byte]bool
	allowed map[netip.Addr]int64 // until when (µs since 1970); 0: while a session is open
	given   map[netip.Addr]int64 // allowed, as of the last call of Entries
	stale   bool                 // they differ
}

// process identifies a process across reboots.
type process struct {
	boot [16]byte
	pid  uint32
}

// ended is the last session of an address, with its end and the end of its grace.
type ended struct {
	Session
	at, until int64
}

// New returns a Tracker without sessions. sshd matches the entries of sshd.
func New(sshd *filter.Matcher, o Options) *Tracker {
	return &Tracker{
		opt: o, sshd: sshd, journal: make(map[process]Session), logind: make(map[uint32]Session), ended: make(map[netip.Addr]ended),
		boots: make(map[[16]byte]bool), allowed: make(map[netip.Addr]int64), given: make(map[netip.Addr]int64),
	}
}

// Matcher selects the entries that Entry needs.
func (t *Tracker) Matcher() *filter.Matcher { return t.sshd }

// Configure changes the settings and forgets the sessions of users who are no longer operators.
func (t *Tracker) Configure(o Options, now int64) {
	t.opt = o
	keep := func(s Session) bool { _, ok := o.Member(s.User, s.UID); return ok }
	maps.DeleteFunc(t.journal, func(_ process, s Session) bool { return !keep(s) })
	maps.DeleteFunc(t.logind, func(_ uint32, s Session) bool { return !keep(s) })
	maps.DeleteFunc(t.ended, func(_ netip.Addr, e ended) bool { return !keep(e.Session) })
	t.settle(now)
}

var (
	accepted = []byte("Accepted ")
	closed   = []byte("pam_unix(sshd:session): session closed for user ")
)

// Entry takes an entry of sshd: "Accepted … for USER from ADDRESS" begins a session, PAM's "session closed" from the same
// process ends it, and any entry of a later boot ends those of earlier ones. Others are ignored.
func (t *Tracker) Entry(e *filter.Entry) {
	in := bytes.HasPrefix(e.Message, accepted)
	session := (in || bytes.HasPrefix(e.Message, closed)) && e.PID != 0
	if !session && t.knows(e.Boot) || !t.sshd.Trusts(e) {
		return
	}
	t.booted(e)
	p := process{e.Boot, e.PID}
	if old, ok := t.journal[p]; ok && session {
		delete(t.journal, p)
		t.end(old, e.Realtime)
	}
	if in && session && t.sshd.MatchMessage(e.Message, &t.hit) && t.hit.Kind == filter.Success && t.hit.Addr.IsValid() {
		user := string(t.hit.User)
		if why, ok := t.opt.Member(user, -1); ok {
			t.journal[p] = Session{PID: e.PID, Addr: t.hit.Addr, User: user, UID: -1, Since: e.Realtime, Why: why}
			trim(t, t.journal, e.Realtime)
		}
	}
	t.settle(e.Realtime)
}

// knows reports whether there was an entry of a boot.
func (t *Tracker) knows(boot [16]byte) bool { return boot == t.boot || t.boots[boot] }

// booted ends the sessions of earlier boots at the first entry of a new one.
func (t *Tracker) booted(e *filter.Entry) {
	if t.knows(e.Boot) {
		return
	}
	if len(t.boots) >= maxBoots {
		clear(t.boots)
	}
	t.boots[e.Boot], t.boot = true, e.Boot
	for p, s := range t.journal {
		if p.boot != e.Boot {
			delete(t.journal, p)
			t.end(s, e.Realtime)
		}
	}
}

// Logind takes the list of all open ssh sessions, as logind has it now (microseconds since 1970). It may contain sessions
// of others than operators.
func (t *Tracker) Logind(open []Session, now int64) {
	pids := make(map[uint32]bool, len(open))
	for _, s := range open {
		pids[s.PID] = true
		if why, ok := t.opt.Member(s.User, s.UID); ok {
			s.Why = why
			t.logind[s.PID] = s
		}
	}
	trim(t, t.logind, now)
	for pid, s := range t.logind {
		if pids[pid] {
			continue
		}
		delete(t.logind, pid)
		t.end(s, now)
		for p, j := range t.journal {
			if p.pid == pid && j.Since <= now {
				delete(t.journal, p)
				t.end(j, now)
			}
		}
	}
	t.settle(now)
}

// Open reports whether an operator's session is open according to logind. While one is, logind should be asked from time to
// time: it sends no signal for a session that ends while processes of it remain.
func (t *Tracker) Open() bool { return len(t.logind) > 0 }

// Expire removes what has ended by now (microseconds since 1970).
func (t *Tracker) Expire(now int64) {
	for p, s := range t.journal {
		if over := s.Since + MaxUnseen.Microseconds(); over <= now {
			if _, known := t.logind[p.pid]; !known {
				delete(t.journal, p)
				t.end(s, over)
			}
		}
	}
	maps.DeleteFunc(t.ended, func(_ netip.Addr, e ended) bool { return e.until <= now })
	t.settle(now)
}

// trim removes the oldest sessions of a source with too many.
func trim[K comparable](t *Tracker, m map[K]Session, now int64) {
	for len(m) > maxOpen {
		var oldest K
		first := true
		for k, s := range m {
			if first || s.Since < m[oldest].Since {
				oldest, first = k, false
			}
		}
		s := m[oldest]
		delete(m, oldest)
		t.end(s, now)
	}
}

// end ends a session: the grace of its address begins.
func (t *Tracker) end(s Session, at int64) {
	if !s.Addr.IsValid() {
		return
	}
	if old, ok := t.ended[s.Addr]; ok && old.at >= at {
		return
	}
	if len(t.ended) >= maxEnded {
		var oldest netip.Addr
		for a, e := range t.ended {
			if !oldest.IsValid() || e.until < t.ended[oldest].until {
				oldest = a
			}
		}
		delete(t.ended, oldest)
	}
	t.ended[s.Addr] = ended{s, at, at + t.opt.Grace.Microseconds()}
}

// settle computes which addresses are allowed.
func (t *Tracker) settle(now int64) {
	t.allowed = make(map[netip.Addr]int64)
	for a, e := range t.ended {
		if e.until > now {
			t.allowed[a] = e.until
		}
	}
	for _, s := range t.Sessions() {
		t.allowed[s.Addr] = 0
	}
	t.stale = !maps.Equal(t.allowed, t.given)
}

// Stale reports whether Entries would return something different from its last result. The allow list need not be rebuilt at once, unless
// Due says so: it may be long, and on some hosts machines log in all the time.
func (t *Tracker) Stale() bool { return t.stale }

// Due reports whether at a time (microseconds since 1970) an address is allowed that was not when Entries was last called,
// or the reverse. Then Entries must be called before a failure of that time is judged.
func (t *Tracker) Due(at int64) bool {
	if !t.stale {
		return false
	}
	holds := func(until int64, ok bool) bool { return ok && (until == 0 || until > at) }
	for a, until := range t.allowed {
		was, ok := t.given[a]
		if holds(until, true) != holds(was, ok) {
			return true
		}
	}
	for a, was := range t.given {
		if _, ok := t.allowed[a]; !ok && holds(was, true) {
			return true
		}
	}
	return false
}

// Sessions returns the open sessions whose address is known, oldest first. A session in both sources is returned once, with
// logind's data.
func (t *Tracker) Sessions() []Session {
	l := make([]Session, 0, len(t.logind)+len(t.journal))
	for _, s := range t.logind {
		if s.Addr.IsValid() {
			l = append(l, s)
		}
	}
	for p, s := range t.journal {
		if known := t.logind[p.pid]; !known.Addr.IsValid() {
			if known.PID != 0 {
				s.UID, s.TTY, s.ID = known.UID, known.TTY, known.ID
			}
			l = append(l, s)
		}
	}
	slices.SortFunc(l, func(a, b Session) int { return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.PID, b.PID)) })
	return l
}

// Entries returns what is allowed: the addresses of open sessions, without an end, and those of sessions that ended within
// Options.Grace.
func (t *Tracker) Entries() []allow.Entry {
	t.given, t.stale = t.allowed, false
	var l []allow.Entry
	open := make(map[netip.Addr]bool)
	for _, s := range t.Sessions() {
		if !open[s.Addr] {
			open[s.Addr] = true
			l = append(l, allow.Entry{Prefix: netip.PrefixFrom(s.Addr, s.Addr.BitLen()), Origin: Origin, Comment: s.String()})
		}
	}
	for a, e := range t.ended {
		if !open[a] {
			l = append(l, allow.Entry{
				Prefix: netip.PrefixFrom(a, a.BitLen()), Origin: Origin, Until: time.UnixMicro(e.until).UTC(),
				Comment: e.String() + ", ended " + stamp(e.at),
			})
		}
	}
	return l
}

// String describes a session for people.
func (s Session) String() string {
	text := fmt.Sprintf("ssh session of %s (%s) since %s, pid %d", s.User, s.Why, stamp(s.Since), s.PID)
	if s.TTY != "" {
		text += ", " + s.TTY
	}
	if s.ID != "" {
		text += ", session " + s.ID
	}
	return text
}

func stamp(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339) }
