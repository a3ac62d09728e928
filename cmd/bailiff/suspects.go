package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/policy"
	"bailiff/policy/config"
)

// suspects finds bans that may have hit the innocent: of addresses from which somebody logged in, or that delivered mail,
// within suspectSpan before or after.
type suspects struct {
	seen    map[netip.Addr][]seenLogin // in the order of time
	entries int
	bans    []suspectBan
	lines   func(cursors []string) []string // messages of entries
}

// seenLogin is a login or an accepted mail. Of those of an address within suspectStep only the first is kept.
type seenLogin struct {
	at       int64
	jail     string
	delivery bool
}

// suspectBan is what is kept of a ban.
type suspectBan struct {
	prefix  netip.Prefix
	jail    string
	reason  string
	since   int64
	cursors []string
}

const (
	suspectSpan  = 7 * 24 * time.Hour
	suspectStep  = time.Hour
	maxSuspects  = 1 << 20 // logins that are kept; a server with more has other means
	suspectLines = 10      // lines shown of a ban, the newest
)

// replaySuspect is a line of `bailiff replay --json`; its keys are documented in bailiff(1) and stay.
type replaySuspect struct {
	Kind       string       `json:"kind"` // "suspect"
	Time       string       `json:"time"` // of the ban
	Jail       string       `json:"jail"`
	Prefix     netip.Prefix `json:"prefix"`
	Reason     string       `json:"reason"`
	Logins     int          `json:"logins"`     // hours with logins from there within seven days before or after
	Deliveries int          `json:"deliveries"` // hours with mails accepted from there
	Before     *string      `json:"before"`     // the last login or mail before the ban; null: none
	After      *string      `json:"after"`      // the first one after it
	Cursors    []string     `json:"evidence"`
	Lines      []string     `json:"lines"`
}

func (s *suspects) outcome(out *policy.Outcome) {
	for i := range out.Logins {
		l := &out.Logins[i]
		known := s.seen[l.Addr]
		if n := len(known); n > 0 && known[n-1].delivery == l.Delivery && l.Time-known[n-1].at < suspectStep.Microseconds() {
			continue
		}
		if s.entries < maxSuspects {
			if s.seen == nil {
				s.seen = map[netip.Addr][]seenLogin{}
			}
			s.seen[l.Addr] = append(known, seenLogin{l.Time, l.Jail, l.Delivery})
			s.entries++
		}
	}
}

func (s *suspects) ban(b *policy.Ban, cursor func(i int) string) {
	x := suspectBan{prefix: b.Prefix, jail: b.Jail, reason: b.Reason, since: b.Since}
	for i := max(0, len(b.Evidence)-suspectLines); i < len(b.Evidence); i++ {
		x.cursors = append(x.cursors, cursor(i))
	}
	s.bans = append(s.bans, x)
}

// find returns the bans of addresses that look harmless.
func (s *suspects) find() (found []replaySuspect) {
	var wide []netip.Addr // all that logged in, for prefixes that hold many
	for i := range s.bans {
		b := &s.bans[i]
		var logins []seenLogin
		if b.prefix.IsSingleIP() {
			logins = s.seen[b.prefix.Addr()]
		} else {
			if wide == nil {
				for a := range s.seen {
					wide = append(wide, a)
				}
				slices.SortFunc(wide, netip.Addr.Compare)
			}
			from, _ := slices.BinarySearchFunc(wide, b.prefix.Addr(), netip.Addr.Compare)
			for _, a := range wide[from:] {
				if !b.prefix.Contains(a) {
					break
				}
				logins = append(logins, s.seen[a]...)
			}
			slices.SortFunc(logins, func(a, b seenLogin) int { return cmp.Compare(a.at, b.at) })
		}
		x := replaySuspect{Kind: "suspect", Time: rfc(b.since), Jail: b.jail, Prefix: b.prefix, Reason: b.reason, Cursors: orEmpty(b.cursors)}
		for _, l := range logins {
			if d := l.at - b.since; d > suspectSpan.Microseconds() || -d > suspectSpan.Microseconds() {
				continue
			}
			if l.delivery {
				x.Deliveries++
			} else {
				x.Logins++
			}
			t := rfc(l.at)
			if l.at <= b.since {
				x.Before = &t
			} else if x.After == nil {
				x.After = &t
			}
		}
		if x.Logins+x.Deliveries > 0 {
			x.Lines = orEmpty(s.lines(b.cursors))
			found = append(found, x)
		}
	}
	return found
}

// suspected prints the bans that look wrong, each with its lines, and their share.
func (r *replay) suspected() error {
	found := r.suspects.find()
	r.sum.Suspects = len(found)
	if r.json {
		for i := range found {
			if err := r.enc.Encode(&found[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if len(r.suspects.bans) == 0 {
		return nil
	}
	fmt.Fprintf(r.out, "\nsuspected innocents: %d of %s", len(found), plural(len(r.suspects.bans), "ban"))
	if len(found) == 0 {
		fmt.Fprintf(r.out, " (nobody logged in or delivered mail from a banned address within %s)\n", config.FormatDuration(suspectSpan))
		return nil
	}
	fmt.Fprintf(r.out, ", %.1f %%\n", 100*float64(len(found))/float64(len(r.suspects.bans)))
	for _, x := range found {
		var what []string
		if x.Logins > 0 {
			what = append(what, "logins in "+plural(x.Logins, "hour"))
		}
		if x.Deliveries > 0 {
			what = append(what, "mail accepted in "+plural(x.Deliveries, "hour"))
		}
		fmt.Fprintf(r.out, "  %s  %s  %s: %s", x.Time, x.Jail, x.Prefix, strings.Join(what, ", "))
		if x.Before != nil {
			fmt.Fprintf(r.out, "; last before the ban %s", *x.Before)
		}
		if x.After != nil {
			fmt.Fprintf(r.out, "; first after it %s", *x.After)
		}
		fmt.Fprintln(r.out)
		for _, l := range x.Lines {
			fmt.Fprintf(r.out, "    %s\n", clean(l))
		}
	}
	fmt.Fprint(r.out, "hint: bailiff allow --comment … ADDRESS keeps an address from being banned; jails: {NAME: {observe: true}} decides without blocking\n\n")
	return nil
}
