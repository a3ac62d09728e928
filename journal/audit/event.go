package audit

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Fields of audit entries. Their meaning is part of the interface: scripts, bailiff-report and `bailiff why` read them.
const (
	FieldAddress  = "BAILIFF_ADDRESS"   // address or prefix, as one looks for it: bare for a single address; may come several times
	FieldPrefix   = "BAILIFF_PREFIX"    // always a prefix, 192.0.2.7/32
	FieldJail     = "BAILIFF_JAIL"      //
	FieldBanID    = "BAILIFF_BAN_ID"    // the same for one ban in all entries about it
	FieldFirst    = "BAILIFF_FIRST"     // time of the first failure that counted, RFC 3339
	FieldSince    = "BAILIFF_SINCE"     // time of the entry that was one too many, RFC 3339
	FieldUntil    = "BAILIFF_UNTIL"     // RFC 3339, or "forever"
	FieldFailures = "BAILIFF_FAILURES"  // attempts to log in that led to it
	FieldCount    = "BAILIFF_BAN_COUNT" // 1 for the first ban of the prefix, 2 for the second, …
	FieldScope    = "BAILIFF_SCOPE"     // the ports that are closed; absent: all traffic
	FieldEvidence = "BAILIFF_EVIDENCE"  // journal cursors, one a line, oldest first
	FieldBackend  = "BAILIFF_BACKEND"   // firewall backend
	FieldList     = "BAILIFF_LIST"      // name of a published allow list
	FieldReason   = "BAILIFF_REASON"    // failures, slow, account or network; what was given with a ban by hand
	FieldBy       = "BAILIFF_BY"        // user who asked for it; absent for what the daemon decided
	FieldRestored = "BAILIFF_RESTORED"  // "1": not a new decision, do not report it again
	FieldWide     = "BAILIFF_WIDE"      // "1": a neighbourhood, because many of its addresses attacked at once
	FieldLifted   = "BAILIFF_LIFTED"    // bans that an allow entry lifted

	// FieldUnreported is "1" on a ban that was made while nobody wanted reports: it is not reported once somebody does.
	FieldUnreported = "BAILIFF_UNREPORTED"

	// Of bailiff-report's entries. Where an entry is about several reports, FieldBanID and FieldAddress come several times.
	FieldDestination = "BAILIFF_DESTINATION" // where a report went
	FieldItem        = "BAILIFF_ITEM"        // name of what was delivered in one go, the same in every attempt: report.Item's Key
	FieldReceipt     = "BAILIFF_RECEIPT"     // what the destination answered
	FieldError       = "BAILIFF_ERROR"       // why it did not take it
)

// Forever is how an end that never comes is written.
const Forever = "forever"

// What one entry may hold at most. Beyond it the newest are kept: they are the ones that led to the ban.
const (
	maxEvidence  = 1024 // cursors; 160 KiB
	maxAddresses = 64   // journald keeps 1,024 fields an entry
	maxText      = 1024 // bytes of a reason given by hand
)

// timeFormat is RFC 3339 with the journal's own microseconds.
const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

// reasons are what the daemon bans for beside the usual, in words.
var reasons = map[string]string{
	"slow":    "slowly",
	"account": "on an account that many addresses attack",
}

// BanEvent is a ban, the extension of one, or what a jail that only observes would have banned. No user name is part of it: a mistyped one may be a password.
type BanEvent struct {
	Prefix    netip.Prefix // masked
	Addresses []netip.Addr // of the failures, where Prefix is wider than one address
	Jail      string
	ID        string
	First     time.Time // of the failures that counted; zero: not known
	Since     time.Time
	Until     time.Time // zero: for ever
	Failures  int
	Count     int      // 1 for the first ban of the prefix, 2 for the second, …
	Scope     string   // the ports that are closed, as state.Ban has them; "": all traffic
	Evidence  []string // journal cursors, oldest first
	Backend   string
	Reason    string // failures, slow, account or network; of a ban by hand what was given
	By        string // user name, of a ban by hand
	Restored  bool
	Wide      bool

	Unreported bool
}

// Entry is the event as a journal entry of kind KindBan, KindExtend or KindObserved.
func (e BanEvent) Entry(k Kind) Entry {
	f := prefixFields(e.Prefix, e.Addresses)
	f = append(f, Field{FieldJail, e.Jail}, Field{FieldBanID, e.ID})
	f = appendTime(f, FieldFirst, e.First)
	f = append(f, Field{FieldSince, formatTime(e.Since)}, Field{FieldUntil, formatUntil(e.Until)},
		Field{FieldFailures, strconv.Itoa(e.Failures)}, Field{FieldCount, strconv.Itoa(e.Count)})
	if n := len(e.Evidence); n > 0 {
		f = append(f, Field{FieldEvidence, strings.Join(e.Evidence[max(0, n-maxEvidence):], "\n")})
	}
	f = appendText(f, FieldScope, e.Scope)
	f = appendText(f, FieldBackend, e.Backend)
	f = appendText(f, FieldReason, e.Reason)
	f = appendText(f, FieldBy, e.By)
	f = appendFlag(f, FieldRestored, e.Restored)
	f = appendFlag(f, FieldWide, e.Wide)
	f = appendFlag(f, FieldUnreported, e.Unreported)
	return Event(k, e.message(k), f...)
}

// message is what a person reads: ban 192.0.2.7 (sshd): 5 failures in 3m10s, until 2026-11-24 19:17:00 UTC (48h, 1st time)
func (e *BanEvent) message(k Kind) string {
	var b strings.Builder
	word := k.String()
	if k == KindObserved {
		word = "would ban"
	}
	fmt.Fprintf(&b, "%s %s", word, Address(e.Prefix))
	if e.Jail != "" {
		fmt.Fprintf(&b, " (%s)", oneLine(e.Jail))
	}
	sep := ": "
	part := func(format string, args ...any) {
		b.WriteString(sep)
		fmt.Fprintf(&b, format, args...)
		sep = ", "
	}
	if e.Failures > 0 {
		s := "s"
		if e.Failures == 1 {
			s = ""
		}
		in := ""
		if d := e.Since.Sub(e.First); !e.First.IsZero() && d >= 0 && e.Failures > 1 {
			in = " in " + Duration(d)
		}
		if e.Wide && e.Reason == "network" {
			part("%d parts of it attacked%s", e.Failures, in)
		} else {
			part("%d attempt%s%s", e.Failures, s, in)
		}
	}
	if e.Wide && e.Reason != "network" {
		part("many addresses at once")
	}
	if e.By != "" {
		part("by %s", oneLine(e.By))
	}
	switch {
	case e.By == "" && e.Reason == "failures" || e.Reason == "network" && e.Wide: // said already
	case e.By == "" && reasons[e.Reason] != "":
		part("%s", reasons[e.Reason])
	case e.Reason != "":
		part("%s", oneLine(cut(e.Reason)))
	}
	if e.Restored {
		part("restored")
	}
	if e.Scope != "" {
		part("ports %s", strings.ReplaceAll(oneLine(e.Scope), ";", ","))
	}
	var notes []string
	if e.Until.IsZero() {
		part(Forever)
	} else {
		part("until %s", e.Until.UTC().Format("2006-01-02 15:04:05 MST"))
		notes = append(notes, Duration(e.Until.Sub(e.Since)))
	}
	if e.Count > 0 {
		notes = append(notes, ordinal(e.Count)+" time")
	}
	if len(notes) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(notes, ", "))
	}
	return b.String()
}

// UnbanEvent is the end of a ban.
type UnbanEvent struct {
	Prefix netip.Prefix
	Jail   string
	ID     string
	Since  time.Time // of the ban; zero: not known
	Until  time.Time // as it was; zero: for ever
	Reason string    // "expired", "allowed", or what an operator said
	By     string
}

// Entry is the event as a journal entry.
func (e UnbanEvent) Entry() Entry {
	f := prefixFields(e.Prefix, nil)
	f = append(f, Field{FieldJail, e.Jail}, Field{FieldBanID, e.ID})
	f = appendTime(f, FieldSince, e.Since)
	f = append(f, Field{FieldUntil, formatUntil(e.Until)})
	f = appendText(f, FieldReason, e.Reason)
	f = appendText(f, FieldBy, e.By)
	var b strings.Builder
	fmt.Fprintf(&b, "unban %s", Address(e.Prefix))
	if e.Jail != "" {
		fmt.Fprintf(&b, " (%s)", oneLine(e.Jail))
	}
	sep := ": "
	if e.By != "" {
		fmt.Fprintf(&b, "%sby %s", sep, oneLine(e.By))
		sep = ", "
	}
	if e.Reason != "" {
		b.WriteString(sep + oneLine(cut(e.Reason)))
	}
	return Event(KindUnban, b.String(), f...)
}

// AllowEvent is an allow entry put in or taken away at run time.
type AllowEvent struct {
	Prefix  netip.Prefix
	Until   time.Time // zero: for ever
	Comment string
	By      string
	Lifted  int // bans that it ended
}

// Entry is the event as a journal entry of kind KindAllow or KindDisallow.
func (e AllowEvent) Entry(k Kind) Entry {
	f := prefixFields(e.Prefix, nil)
	msg := fmt.Sprintf("%s %s", k, Address(e.Prefix))
	if e.By != "" {
		msg += " by " + oneLine(e.By)
	}
	if k == KindAllow {
		f = append(f, Field{FieldUntil, formatUntil(e.Until)}, Field{FieldLifted, strconv.Itoa(e.Lifted)})
		if e.Until.IsZero() {
			msg += ", " + Forever
		} else {
			msg += ", until " + e.Until.UTC().Format("2006-01-02 15:04:05 MST")
		}
		if e.Lifted > 0 {
			msg += fmt.Sprintf(", bans lifted: %d", e.Lifted)
		}
	}
	f = appendText(f, FieldReason, e.Comment)
	f = appendText(f, FieldBy, e.By)
	return Event(k, msg, f...)
}

// ParseBan reads an entry of kind KindBan, KindExtend or KindObserved back. get returns the (first) value of a field, "" when absent.
// Addresses are not read back. Whether the entry is ours is for the caller to know, by _SYSTEMD_UNIT.
func ParseBan(get func(field string) string) (BanEvent, error) {
	p := parser{get: get}
	e := BanEvent{
		Prefix: p.prefix(), Jail: p.must(FieldJail), ID: p.must(FieldBanID),
		First: p.time(FieldFirst, false), Since: p.time(FieldSince, true), Until: p.until(),
		Failures: p.number(FieldFailures), Count: p.number(FieldCount), Scope: get(FieldScope), Backend: get(FieldBackend),
		Reason: get(FieldReason), By: get(FieldBy), Restored: get(FieldRestored) == "1", Wide: get(FieldWide) == "1",
		Unreported: get(FieldUnreported) == "1",
	}
	if s := get(FieldEvidence); s != "" {
		if strings.Count(s, "\n") >= maxEvidence {
			p.fail(FieldEvidence, "more cursors than a ban has")
		} else {
			e.Evidence = strings.Split(s, "\n")
		}
	}
	if !e.Until.IsZero() && e.Until.Before(e.Since) {
		p.fail(FieldUntil, "before "+FieldSince)
	}
	return e, p.err
}

// ParseUnban reads an entry of kind KindUnban back.
func ParseUnban(get func(field string) string) (UnbanEvent, error) {
	p := parser{get: get}
	e := UnbanEvent{
		Prefix: p.prefix(), Jail: p.must(FieldJail), ID: p.must(FieldBanID),
		Since: p.time(FieldSince, false), Until: p.until(), Reason: get(FieldReason), By: get(FieldBy),
	}
	return e, p.err
}

// ParseAllow reads an entry of kind KindAllow back; of one of kind KindDisallow only Prefix, Comment and By are set.
func ParseAllow(get func(field string) string) (AllowEvent, error) {
	p := parser{get: get}
	e := AllowEvent{Prefix: p.prefix(), Comment: get(FieldReason), By: get(FieldBy)}
	if get(FieldUntil) != "" {
		e.Until, e.Lifted = p.until(), p.number(FieldLifted)
	}
	return e, p.err
}

// parser keeps the first error.
type parser struct {
	get func(string) string
	err error
}

func (p *parser) fail(field, why string) {
	if p.err == nil {
		p.err = fmt.Errorf("audit entry: %s: %s", field, why)
	}
}

func (p *parser) must(field string) string {
	s := p.get(field)
	if s == "" {
		p.fail(field, "missing")
	}
	return s
}

func (p *parser) prefix() netip.Prefix {
	s := p.must(FieldPrefix)
	x, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		p.fail(FieldPrefix, strconv.Quote(cut(s))+" is not a prefix")
	case x != x.Masked():
		p.fail(FieldPrefix, strconv.Quote(s)+" has bits behind its length")
	case x.Addr().Is4In6():
		p.fail(FieldPrefix, strconv.Quote(s)+" is an IPv4 address in IPv6 clothes")
	}
	return x
}

func (p *parser) time(field string, must bool) time.Time {
	s := p.get(field)
	if s == "" && !must {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, p.must(field))
	if err != nil {
		p.fail(field, strconv.Quote(cut(s))+" is not a time")
	}
	return t
}

func (p *parser) until() time.Time {
	if p.get(FieldUntil) == Forever {
		return time.Time{}
	}
	return p.time(FieldUntil, true)
}

func (p *parser) number(field string) int {
	s := p.must(field)
	n, err := strconv.Atoi(s)
	if err == nil && n < 0 {
		err = errors.New("negative")
	}
	if err != nil {
		p.fail(field, strconv.Quote(cut(s))+" is not a count")
	}
	return n
}

// Address is how a prefix is looked for: the bare address where it holds just one.
func Address(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func prefixFields(p netip.Prefix, addrs []netip.Addr) []Field {
	f := []Field{{FieldAddress, Address(p)}}
	if !p.IsSingleIP() {
		seen := make(map[netip.Addr]bool)
		for i := len(addrs) - 1; i >= 0 && len(seen) < maxAddresses; i-- {
			if a := addrs[i].WithZone("").Unmap(); !seen[a] {
				seen[a] = true
				f = append(f, Field{FieldAddress, a.String()})
			}
		}
	}
	return append(f, Field{FieldPrefix, p.String()})
}

func appendTime(f []Field, name string, t time.Time) []Field {
	if t.IsZero() {
		return f
	}
	return append(f, Field{name, formatTime(t)})
}

func appendText(f []Field, name, s string) []Field {
	if s == "" {
		return f
	}
	return append(f, Field{name, cut(s)})
}

func appendFlag(f []Field, name string, on bool) []Field {
	if !on {
		return f
	}
	return append(f, Field{name, "1"})
}

func formatTime(t time.Time) string { return t.UTC().Format(timeFormat) }

func formatUntil(t time.Time) string {
	if t.IsZero() {
		return Forever
	}
	return formatTime(t)
}

// cut shortens a text given by hand, at a character's border.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// Duration writes a duration for people: the two largest units of d, h, m and s, days from three on.
func Duration(d time.Duration) string {
	if d < 0 {
		return "-" + Duration(-d)
	}
	if d < time.Second {
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	}
	s := int64(d / time.Second)
	days, hours := s/86400, s/3600%24
	if days < 3 {
		days, hours = 0, s/3600
	}
	var out []string
	for _, u := range []struct {
		n    int64
		name string
	}{{days, "d"}, {hours, "h"}, {s / 60 % 60, "m"}, {s % 60, "s"}} {
		if u.n > 0 {
			out = append(out, strconv.FormatInt(u.n, 10)+u.name)
		} else if len(out) > 0 {
			break
		}
		if len(out) == 2 {
			break
		}
	}
	return strings.Join(out, "")
}

func ordinal(n int) string {
	suffix := "th"
	if n/10%10 != 1 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}
