package replay

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy"
	"bailiff/policy/diag"
	"bailiff/policy/jail"
)

// suspects finds bans that may have hit the innocent: of addresses from which somebody logged in, or that delivered mail,
// within suspectSpan before or after the ban.
type suspects struct {
	seen  map[netip.Addr][]login // in order of time
	count int                    // of logins kept
	bans  []suspectLine
	lines func(cursors []string) []string // messages of entries
}

// login is a login or an accepted mail. Only the first within suspectStep is kept of each address.
type login struct {
	at       int64
	delivery bool
}

const (
	suspectSpan  = 7 * 24 * time.Hour
	suspectStep  = time.Hour
	maxLogins    = 1 << 20 // kept, some 50 MB; a server with more knows its customers by other means
	suspectLines = 10      // lines of evidence shown of a ban, the newest
)

func (s *suspects) logins(out *policy.Outcome) {
	for i := range out.Logins {
		l := &out.Logins[i]
		known := s.seen[l.Addr]
		if n := len(known); n > 0 && known[n-1].delivery == l.Delivery && l.Time-known[n-1].at < suspectStep.Microseconds() {
			continue
		}
		if s.count < maxLogins {
			s.seen[l.Addr] = append(known, login{l.Time, l.Delivery})
			s.count++
		}
	}
}

func (s *suspects) ban(b *policy.Ban, cursor func(jail.Ref) string) {
	x := suspectLine{Kind: "suspect", Time: text.RFC3339(b.Since), Jail: b.Jail, Prefix: b.Prefix, Reason: b.Reason, Cursors: []string{}, Lines: []string{}, since: b.Since}
	for _, f := range b.Evidence[max(0, len(b.Evidence)-suspectLines):] {
		x.Cursors = append(x.Cursors, cursor(f.Ref))
	}
	s.bans = append(s.bans, x)
}

// find returns the bans of addresses that look harmless.
func (s *suspects) find() (found []suspectLine) {
	addrs := slices.SortedFunc(maps.Keys(s.seen), netip.Addr.Compare) // for prefixes that hold many
	for _, x := range s.bans {
		var logins []*login
		from, _ := slices.BinarySearchFunc(addrs, x.Prefix.Addr(), netip.Addr.Compare)
		for _, a := range addrs[from:] {
			if !x.Prefix.Contains(a) {
				break
			}
			for i := range s.seen[a] {
				logins = append(logins, &s.seen[a][i])
			}
		}
		slices.SortFunc(logins, func(a, b *login) int { return cmp.Compare(a.at, b.at) })
		for _, l := range logins {
			if d := l.at - x.since; max(d, -d) > suspectSpan.Microseconds() {
				continue
			}
			if l.delivery {
				x.Deliveries++
			} else {
				x.Logins++
			}
			t := text.RFC3339(l.at)
			if l.at <= x.since {
				x.Before, x.before = &t, l.at
			} else if x.After == nil {
				x.After, x.after = &t, l.at
			}
		}
		if x.Logins+x.Deliveries > 0 {
			x.Lines = append(x.Lines, s.lines(x.Cursors)...)
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
	r.Printf("\nsuspected innocents: %d of %s", len(found), diag.Count(all, "ban"))
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
		what = append(what, "logins in "+diag.Count(x.Logins, "hour"))
	}
	if x.Deliveries > 0 {
		what = append(what, "mail accepted in "+diag.Count(x.Deliveries, "hour"))
	}
	r.Printf("  %s  %s  %s: %s", text.Micro(x.since), x.Jail, x.Prefix, strings.Join(what, ", "))
	if x.Before != nil {
		r.Printf("; last before the ban %s", text.Micro(x.before))
	}
	if x.After != nil {
		r.Printf("; first after it %s", text.Micro(x.after))
	}
	r.Printf("\n")
	for _, l := range x.Lines {
		r.Printf("    %s\n", text.Clean(l))
	}
}
