package report

import (
	"net/netip"
	"slices"
	"strings"

	"bailiff/cmd/internal/redact"
	"bailiff/policy/filter"
	"bailiff/policy/state"
)

// Redactor removes from reports what third parties must not see: what redact.Redactor removes, and the administrator of a manual ban. A
// line that no pattern matches is left out. It returns copies and does not change its input. It is safe for concurrent use.
type Redactor struct {
	*redact.Redactor
	filters func(service string) *filter.Filter
}

// NewRedactor returns a Redactor. own lists the host's names and addresses. filters returns the filter of a Report.Service; nil if there is
// none: the lines of such reports are left out. A nil function stands for the built-in filters.
func NewRedactor(own []string, filters func(service string) *filter.Filter) *Redactor {
	if filters == nil {
		filters = func(service string) *filter.Filter {
			f, err := filter.LoadBuiltin(service)
			if err != nil {
				return nil
			}
			return f
		}
	}
	return &Redactor{redact.New(own), filters}
}

// Item returns a redacted copy of an item.
func (r *Redactor) Item(item *Item) *Item {
	c := *item
	c.Reports = make([]*Report, len(item.Reports))
	for i, rep := range item.Reports {
		c.Reports[i] = r.Report(rep)
	}
	return &c
}

// Report returns a redacted copy of a report, without cursors, which contain the host's boot and machine ids, and with times in UTC. The
// registries' abuse contacts stay: they are recipients.
func (r *Redactor) Report(rep *Report) *Report {
	c := *rep
	c.Cursor, c.By, c.Host = "", "", redact.Host
	c.Time, c.First, c.Since, c.Until = rep.Time.UTC(), rep.First.UTC(), rep.Since.UTC(), rep.Until.UTC()
	if !slices.Contains([]string{state.Failures, state.Slow, state.Account, state.Network}, rep.Reason) {
		c.Reason = "" // written by a user
	}
	f := r.filters(rep.Service)
	c.Lines, c.Context = r.lines(f, rep.Lines), r.lines(f, rep.Context)
	c.Withheld = rep.Withheld + len(rep.Lines) - len(c.Lines)
	c.Text = r.Text(rep.Text)
	if rep.Whois != nil {
		w := *rep.Whois
		w.Name, w.Holder, w.Text, w.Failed = r.Text(w.Name), r.Text(w.Holder), r.Text(w.Text), r.Text(w.Failed)
		c.Whois = &w
	}
	return &c
}

func (r *Redactor) lines(f *filter.Filter, lines []Line) []Line {
	if f == nil {
		return nil
	}
	var kept []Line
	for i := range lines {
		l := &lines[i]
		msg, ok := r.Message(f, l.Pattern, l.Message)
		if !ok {
			continue
		}
		c := Line{Time: l.Time.UTC(), Hostname: redact.Host, PID: l.PID, Unit: r.Unit(l.Unit), Message: msg, Pattern: l.Pattern, Source: l.Source, Port: l.Port}
		if plain(l.Identifier) {
			c.Identifier = r.Text(l.Identifier)
		}
		if r.IsOwn(l.Source) {
			c.Source = netip.Addr{}
		}
		kept = append(kept, c)
	}
	return kept
}

// plain reports whether s can be the name of a program.
func plain(s string) bool {
	return len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./@") == ""
}
