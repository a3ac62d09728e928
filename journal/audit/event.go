package audit

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"bailiff/policy/diag"
)

// Fields of audit entries. Their meaning is part of the interface: scripts, bailiff-report and `bailiff why` read them.
const (
	FieldAddress  = "BAILIFF_ADDRESS" // address or prefix as people search for it: a single address has no length; may occur several times
	FieldPrefix   = "BAILIFF_PREFIX"  // always a prefix, 192.0.2.7/32
	FieldJail     = "BAILIFF_JAIL"
	FieldBanID    = "BAILIFF_BAN_ID"    // the same in all entries about one ban
	FieldFirst    = "BAILIFF_FIRST"     // time of the first failure that counted, RFC 3339
	FieldSince    = "BAILIFF_SINCE"     // time of the entry that led to the ban, RFC 3339
	FieldUntil    = "BAILIFF_UNTIL"     // RFC 3339, or "forever"
	FieldFailures = "BAILIFF_FAILURES"  // failed attempts that led to the ban
	FieldCount    = "BAILIFF_BAN_COUNT" // 1 for the first ban of the prefix, 2 for the second, …
	FieldScope    = "BAILIFF_SCOPE"     // the ports closed; absent: all traffic
	FieldEvidence = "BAILIFF_EVIDENCE"  // journal cursors, one per line, oldest first
	FieldBackend  = "BAILIFF_BACKEND"   // firewall backend
	FieldList     = "BAILIFF_LIST"      // name of a published allow list
	FieldReason   = "BAILIFF_REASON"    // failures, slow, account or network; for a ban by hand the reason given
	FieldBy       = "BAILIFF_BY"        // user who asked for it; absent for decisions of the daemon
	FieldRestored = "BAILIFF_RESTORED"  // "1": not a new decision, do not report it again
	FieldWide     = "BAILIFF_WIDE"      // "1": the ban of a whole network, because many of its addresses attacked at once
	FieldLifted   = "BAILIFF_LIFTED"    // bans that an allow entry lifted
	FieldProblem  = "BAILIFF_PROBLEM"   // what has a problem, or no longer has one: firewall, journal, configuration, …

	// FieldUnreported is "1" on a ban made while reports were disabled: it is not reported when they are enabled.
	FieldUnreported = "BAILIFF_UNREPORTED"

	// Fields of bailiff-report's entries. If an entry is about several reports, FieldBanID and FieldAddress occur several times.
	FieldDestination = "BAILIFF_DESTINATION" // where a report went
	FieldItem        = "BAILIFF_ITEM"        // key of the reports delivered together, the same in every attempt
	FieldReports     = "BAILIFF_REPORTS"     // of a digest: keys of its reports, one per line
	FieldReceipt     = "BAILIFF_RECEIPT"     // the destination's answer
	FieldError       = "BAILIFF_ERROR"       // why the destination did not accept it
)

// Forever is the value of FieldUntil for a ban that never ends.
const Forever = "forever"

// Limits of one entry. The newest cursors and addresses are kept: they led to the ban.
const (
	maxEvidence  = 1024 // cursors: what limits.max_evidence permits (policy/config)
	maxAddresses = 64   // journald keeps 1,024 fields per entry
	maxText      = 1024 // bytes of an operator's reason
)

// MaxValue is the size of FieldEvidence at most, in bytes, for journal.Options. A cursor has up to 145, and a newline.
const MaxValue = maxEvidence * 146

// timeFormat is RFC 3339 with the journal's resolution, microseconds.
const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

// reasons are the texts for the less common reasons.
var reasons = map[string]string{
	"slow":    "slowly",
	"account": "on an account that many addresses attack",
}

// BanEvent is a ban, the extension of a ban, or what a jail that only observes would have banned. It contains no user name: a mistyped one may
// be a password.
type BanEvent struct {
	Prefix    netip.Prefix // masked
	Addresses []netip.Addr // of the failures, if Prefix is wider than one address
	Jail      string
	ID        string
	First     time.Time // of the failures that counted; zero: unknown
	Since     time.Time
	Until     time.Time // zero: forever
	Failures  int
	Count     int      // 1 for the first ban of the prefix, 2 for the second, …
	Scope     string   // the ports closed, as in state.Ban; "": all traffic
	Evidence  []string // journal cursors, oldest first
	Backend   string
	Reason    string // failures, slow, account or network; for a ban by hand the reason given
	By        string // user name, for a manual ban
	Restored  bool
	Wide      bool

	Unreported bool
}

// Entry returns the event as an entry of kind KindBan, KindExtend or KindObserved.
func (e BanEvent) Entry(k Kind) Entry {
	f := prefixFields(e.Prefix, e.Addresses)
	f = append(f, Field{FieldJail, e.Jail}, Field{FieldBanID, e.ID})
	f = appendText(f, FieldFirst, formatTime(e.First))
	f = append(f, Field{FieldSince, formatTime(e.Since)}, Field{FieldUntil, formatUntil(e.Until)},
		Field{FieldFailures, strconv.Itoa(e.Failures)}, Field{FieldCount, strconv.Itoa(e.Count)})
	if n := len(e.Evidence); n > 0 {
		f = append(f, Field{FieldEvidence, strings.Join(e.Evidence[max(0, n-maxEvidence):], "\n")})
	}
	f = appendText(f, FieldScope, e.Scope)
	f = appendText(f, FieldBackend, e.Backend)
	f = appendText(f, FieldReason, e.Reason)
	f = appendText(f, FieldBy, e.By)
	f = appendText(f, FieldRestored, flag(e.Restored))
	f = appendText(f, FieldWide, flag(e.Wide))
	f = appendText(f, FieldUnreported, flag(e.Unreported))
	return Event(k, e.message(k), f...)
}

// message is the text for people: ban 192.0.2.7 (sshd): 5 attempts in 3m10s, until 2026-11-24 19:17:00 UTC (48h, 1st time)
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
		in := ""
		if d := e.Since.Sub(e.First); !e.First.IsZero() && d >= 0 && e.Failures > 1 {
			in = " in " + Duration(d)
		}
		if e.Wide && e.Reason == "network" {
			part("%d parts of it attacked%s", e.Failures, in)
		} else {
			part("%s%s", diag.Count(e.Failures, "attempt"), in)
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
	Since  time.Time // of the ban; zero: unknown
	Until  time.Time // zero: forever
	Reason string    // "expired", "allowed", or the reason an operator gave
	By     string
}

// Entry returns the event as an entry of kind KindUnban.
func (e UnbanEvent) Entry() Entry {
	f := prefixFields(e.Prefix, nil)
	f = append(f, Field{FieldJail, e.Jail}, Field{FieldBanID, e.ID})
	f = appendText(f, FieldSince, formatTime(e.Since))
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

// AllowEvent is an allow entry added or removed at run time.
type AllowEvent struct {
	Prefix  netip.Prefix
	Until   time.Time // zero: forever
	Comment string
	By      string
	Lifted  int // bans that it ended
}

// Entry returns the event as an entry of kind KindAllow or KindDisallow.
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

// Address returns the text by which people search for a prefix: without the length if it holds only one address.
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

func appendText(f []Field, name, s string) []Field {
	if s == "" {
		return f
	}
	return append(f, Field{name, cut(s)})
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return ""
}

// formatTime is "" for the zero time.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeFormat)
}

func formatUntil(t time.Time) string {
	return cmp.Or(formatTime(t), Forever)
}

// cut truncates an operator's text at a character boundary.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// Duration formats a duration for people, with the two largest of the units d, h, m and s; days are used from three days on.
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
