package replay

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy"
	"bailiff/policy/jail"
)

// suspects finds bans that may have hit the innocent: of addresses from which somebody logged in, or that delivered mail,
// within suspectSpan before or after the ban.
type suspects struct {
	seen  map[netip.Addr][]login // in order of time
	count int                    // of logins kept
	bans  []keptBan
	lines func(cursors []string) []string // messages of entries
}

// login is a login or an accepted mail. Only the first within suspectStep is kept of each address.
type login struct {
	at       int64
	delivery bool
}

// keptBan is what is remembered of a ban.
type keptBan struct {
	prefix  netip.Prefix
	jail    string
	reason  string
	since   int64
	cursors []string
}

const (
	suspectSpan  = 7 * 24 * time.Hour
	suspectStep  = time.Hour
	maxLogins    = 1 << 20 // kept, some 50 MB; a server with more knows its customers by other means
	suspectLines = 10      // lines of evidence shown of a ban, the newest
)

// logins notes the logins and deliveries of an outcome.
func (s *suspects) logins(out *policy.Outcome) {
	for i := range out.Logins {
		l := &out.Logins[i]
		known := s.seen[l.Addr]
		if n := len(known); n > 0 && known[n-1].delivery == l.Delivery && l.Time-known[n-1].at < suspectStep.Microseconds() {
			continue
		}
		if s.count < maxLogins {
			if s.seen == nil {
				s.seen = map[netip.Addr][]login{}
			}
			s.seen[l.Addr] = append(known, login{l.Time, l.Delivery})
			s.count++
		}
	}
}

// ban notes a ban.
func (s *suspects) ban(b *policy.Ban, cursor func(jail.Ref) string) {
	k := keptBan{prefix: b.Prefix, jail: b.Jail, reason: b.Reason, since: b.Since, cursors: []string{}}
	for _, f := range b.Evidence[max(0, len(b.Evidence)-suspectLines):] {
		k.cursors = append(k.cursors, cursor(f.Ref))
	}
	s.bans = append(s.bans, k)
}

// find returns the bans of addresses that look harmless.
func (s *suspects) find() (found []suspectLine) {
	addrs := make([]netip.Addr, 0, len(s.seen)) // sorted, for prefixes that hold many
	for a := range s.seen {
		addrs = append(addrs, a)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	for i := range s.bans {
		b := &s.bans[i]
		var logins []login
		from, _ := slices.BinarySearchFunc(addrs, b.prefix.Addr(), netip.Addr.Compare)
		for _, a := range addrs[from:] {
			if !b.prefix.Contains(a) {
				break
			}
			logins = append(logins, s.seen[a]...)
		}
		slices.SortFunc(logins, func(a, b login) int { return cmp.Compare(a.at, b.at) })
		x := suspectLine{Kind: "suspect", Time: text.RFC3339(b.since), Jail: b.jail, Prefix: b.prefix, Reason: b.reason, Cursors: b.cursors, Lines: []string{}}
		for _, l := range logins {
			if d := l.at - b.since; max(d, -d) > suspectSpan.Microseconds() {
				continue
			}
			if l.delivery {
				x.Deliveries++
			} else {
				x.Logins++
			}
			t := text.RFC3339(l.at)
			if l.at <= b.since {
				x.Before = &t
			} else if x.After == nil {
				x.After = &t
			}
		}
		if x.Logins+x.Deliveries > 0 {
			x.Lines = append(x.Lines, s.lines(b.cursors)...)
			found = append(found, x)
		}
	}
	return found
}

// printSuspects prints the suspected innocents with the lines that led to their bans, and their share of all bans.
func (r *replay) printSuspects() error {
	found := r.suspects.find()
	r.sum.Suspects = len(found)
	if r.JSON {
		for i := range found {
			if err := cli.WriteJSON(r.Out, &found[i]); err != nil {
				return err
			}
		}
		return nil
	}
	all := len(r.suspects.bans)
	if all == 0 {
		return nil
	}
	r.Printf("\nsuspected innocents: %d of %s", len(found), text.Count(all, "ban"))
	if len(found) == 0 {
		r.Printf(" (nobody logged in or delivered mail from a banned address within %s)\n", text.Duration(suspectSpan))
		return nil
	}
	r.Printf(", %.1f %%\n", 100*float64(len(found))/float64(all))
	for i := range found {
		r.printSuspect(&found[i])
	}
	r.Printf("hint: bailiff allow --comment TEXT ADDRESS keeps an address from being banned; jails: {NAME: {observe: true}} decides without blocking\n\n")
	return nil
}

func (r *replay) printSuspect(x *suspectLine) {
	var what []string
	if x.Logins > 0 {
		what = append(what, "logins in "+text.Count(x.Logins, "hour"))
	}
	if x.Deliveries > 0 {
		what = append(what, "mail accepted in "+text.Count(x.Deliveries, "hour"))
	}
	r.Printf("  %s  %s  %s: %s", localTime(x.Time), x.Jail, x.Prefix, strings.Join(what, ", "))
	if x.Before != nil {
		r.Printf("; last before the ban %s", localTime(*x.Before))
	}
	if x.After != nil {
		r.Printf("; first after it %s", localTime(*x.After))
	}
	r.Printf("\n")
	for _, l := range x.Lines {
		r.Printf("    %s\n", text.Clean(l))
	}
}

// localTime is a time of a JSON line as people read it.
func localTime(rfc string) string {
	t, err := time.Parse(time.RFC3339, rfc)
	if err != nil {
		return rfc
	}
	return text.Time(t)
}
