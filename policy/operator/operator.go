// Package operator knows who is logged in over ssh and may mend this host: root, and members of configured groups. While
// such a session is open, and for a while after, its address is not to be banned, so that nobody locks himself out.
//
// It is pure: sessions come in as journal entries (what sshd itself writes, by the fields that journald vouches for) or as
// a list of logind's, accounts as the text of /etc/passwd and /etc/group, time as a number. It never looks up a host name,
// and takes no name for an operator's that is not in these files, save root.
//
// Start reading at Tracker: sessions go in by Entry and Logind, what is allowed comes out by Entries, and Due and Stale say
// when to ask for it.
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

// Session is an open login over ssh.
type Session struct {
	PID   uint32     // of the sshd process that leads it: logind's Leader, _PID of sshd's "Accepted …"
	Addr  netip.Addr // from where; invalid when that is not known: with UseDNS sshd tells logind a name, which nobody resolves
	User  string
	UID   int64  // -1: not known
	TTY   string // often not known: sshd opens the session before the terminal
	ID    string // logind's; "" for one that only the journal tells of
	Since int64  // microseconds since 1970
	Why   string // makes its user an operator: "root", "group sudo"
}

// Options are the settings of a Tracker.
type Options struct {
	Grace  time.Duration                                      // how long an address stays allowed when its last session has ended
	Member func(user string, uid int64) (why string, ok bool) // whether an account is an operator's; see Accounts
}

// Bounds. Operators are few; the bounds keep a host whose root is logged in to by a thousand machines an hour from having
// an allow list of them all. Beyond, the oldest go.
const (
	maxOpen   = 256
	maxEnded  = 256
	maxBoots  = 1024
	maxUnseen = 24 * time.Hour // of a session that only the journal tells of: its end may have been lost
)

// Tracker holds the sessions of operators. One goroutine uses it.
//
// Both sources add up: an address is allowed while either knows of an open session. logind knows the sessions that were
// open before the daemon was started, and knows surely when one ends; the journal is there where logind is not (or where
// sshd gives it a name in place of an address), and in a replay. A session whose end logind has told is over for both.
type Tracker struct {
	opt     Options
	sshd    *filter.Matcher
	hit     filter.Hit
	journal map[process]Session
	logind  map[uint32]Session
	ended   map[netip.Addr]ended
	boot    [16]byte
	boots   map[[16]byte]bool
	is      map[netip.Addr]int64 // until when an address is allowed, 0 while a session is open
	shown   map[netip.Addr]int64 // the same as Entries told it last
	stale   bool                 // they differ
}

// process names a process over reboots.
type process struct {
	boot [16]byte
	pid  uint32
}

// ended is the last session of an address.
type ended struct {
	Session
	at, until int64
}

// New makes a Tracker that has seen nothing. sshd says which journal entries are sshd's own, and reads its lines.
func New(sshd *filter.Matcher, o Options) *Tracker {
	return &Tracker{
		opt: o, sshd: sshd, journal: make(map[process]Session), logind: make(map[uint32]Session), ended: make(map[netip.Addr]ended),
		boots: make(map[[16]byte]bool), is: make(map[netip.Addr]int64), shown: make(map[netip.Addr]int64),
	}
}

// Matcher says which entries Entry wants to see.
func (t *Tracker) Matcher() *filter.Matcher { return t.sshd }

// Configure changes the settings. Sessions of users who are no operators any more are forgotten.
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

// Entry takes note of a journal entry: sshd's "Accepted … for USER from ADDRESS", and PAM's end of the session, which the
// same process writes.
func (t *Tracker) Entry(e *filter.Entry) {
	in := bytes.HasPrefix(e.Message, accepted)
	if !in && !bytes.HasPrefix(e.Message, closed) || e.PID == 0 || !t.sshd.Trusts(e) {
		return
	}
	t.booted(e)
	p := process{e.Boot, e.PID}
	if old, ok := t.journal[p]; ok {
		delete(t.journal, p)
		t.end(old, e.Realtime)
	}
	if in && t.sshd.MatchMessage(e.Message, &t.hit) && t.hit.Kind == filter.Success && t.hit.Addr.IsValid() {
		user := string(t.hit.User)
		if why, ok := t.opt.Member(user, -1); ok {
			t.journal[p] = Session{PID: e.PID, Addr: t.hit.Addr, User: user, UID: -1, Since: e.Realtime, Why: why}
			trim(t, t.journal, e.Realtime)
		}
	}
	t.settle(e.Realtime)
}

// booted ends what was open in another boot when an entry of a new one comes.
func (t *Tracker) booted(e *filter.Entry) {
	if e.Boot == t.boot || t.boots[e.Boot] {
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

// Logind takes all ssh sessions that logind has open at a moment (microseconds since 1970). Those of users who are no
// operators may be among them.
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

// Open says whether logind has told of an operator's session that is open: then it should be asked from time to time,
// since it does not tell when a session ends whose processes live on.
func (t *Tracker) Open() bool { return len(t.logind) > 0 }

// Expire forgets what is over at a moment (microseconds since 1970).
func (t *Tracker) Expire(now int64) {
	for p, s := range t.journal {
		if over := s.Since + maxUnseen.Microseconds(); over <= now {
			if _, known := t.logind[p.pid]; !known {
				delete(t.journal, p)
				t.end(s, over)
			}
		}
	}
	maps.DeleteFunc(t.ended, func(_ netip.Addr, e ended) bool { return e.until <= now })
	t.settle(now)
}

// trim drops the oldest sessions of a source that has too many.
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

// end begins the grace of a session's address.
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

// settle makes up what is to be allowed.
func (t *Tracker) settle(now int64) {
	t.is = make(map[netip.Addr]int64)
	for a, e := range t.ended {
		if e.until > now {
			t.is[a] = e.until
		}
	}
	for _, s := range t.Sessions() {
		t.is[s.Addr] = 0
	}
	t.stale = !maps.Equal(t.is, t.shown)
}

// Stale says whether Entries are others than when they were asked last. There is time for that: machines that log in all
// the time should not have a long allow list made anew each time.
func (t *Tracker) Stale() bool { return t.stale }

// Due says whether what Entries told last is wrong at a moment (microseconds since 1970): an address is to be allowed that
// was not, or the other way. Then Entries must be asked before a failure of that moment is judged.
func (t *Tracker) Due(at int64) bool {
	if !t.stale {
		return false
	}
	holds := func(until int64, ok bool) bool { return ok && (until == 0 || until > at) }
	for a, until := range t.is {
		was, ok := t.shown[a]
		if holds(until, true) != holds(was, ok) {
			return true
		}
	}
	for a, was := range t.shown {
		if _, ok := t.is[a]; !ok && holds(was, true) {
			return true
		}
	}
	return false
}

// Sessions returns the open sessions whose address is known, the oldest first. What both sources know stands there once,
// as logind tells it.
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

// Entries returns what is to be allowed: the address of each open session until it ends, and those of sessions that have
// ended for as long as Options.Grace.
func (t *Tracker) Entries() []allow.Entry {
	t.shown, t.stale = t.is, false
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

// String tells a session in words.
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
