package notice

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/journal/audit"
	"bailiff/policy/diag"
)

// Severity of a message.
type severity int

const (
	info severity = iota
	warning
	critical
)

// message is what happened, in words.
type message struct {
	key      string // of the item
	host     string
	title    string // one line
	lines    []string
	severity severity
	time     time.Time // of the newest event
	item     *report.Item
}

// text is all of the message but its title.
func (m *message) text() string { return strings.Join(m.lines, "\n") }

// Limits of a message: that of the narrowest service, Discord's 2,000 characters, holds all of it.
const (
	maxNamed = 10  // bans that are named
	maxLine  = 300 // bytes
)

// compose puts an item into words: problems first, then bans and unbans.
func compose(item *report.Item, host string) *message {
	m := &message{key: item.Key, host: safetext.Line(host, 100), item: item, time: item.Reports[len(item.Reports)-1].Time}
	var events, changes []*report.Report
	for _, r := range item.Reports {
		if r.Event == report.Problem || r.Event == report.Recovery {
			events = append(events, r)
		} else {
			changes = append(changes, r)
		}
	}
	var parts []string
	for _, r := range events {
		name := safetext.Line(r.Problem, 50)
		if r.Event == report.Recovery {
			parts = append(parts, "solved: "+name)
		} else {
			parts = append(parts, "problem: "+name)
			m.severity = max(m.severity, severityOf(r))
		}
		m.lines = append(m.lines, safetext.Line(r.Text, maxLine))
	}
	counts := item.Counts
	if counts == nil {
		counts = countOf(changes)
	}
	if total(counts) == 1 && len(changes) == 1 {
		parts = append(parts, one(changes[0]))
		m.lines = append(m.lines, details(changes[0]))
	} else {
		parts = append(parts, many(counts)...)
		named := changes[max(0, len(changes)-maxNamed):] // the newest
		for _, r := range named {
			m.lines = append(m.lines, one(r)+": "+details(r))
		}
		if n := total(counts) - len(named); n > 0 && len(named) > 0 {
			m.lines = append(m.lines, fmt.Sprintf("and %d more", n))
		}
	}
	m.title = m.host + ": " + safetext.Line(strings.Join(parts, ", "), maxLine)
	if item.Test {
		m.title = "test: " + m.title
	}
	return m
}

// severityOf a problem: without a firewall, no attacker is blocked; everything else can wait for the morning.
func severityOf(r *report.Report) severity {
	if r.Problem == "firewall" {
		return critical
	}
	return warning
}

func countOf(l []*report.Report) (counts []report.Count) {
	for _, r := range l {
		i := slices.IndexFunc(counts, func(c report.Count) bool { return c.Event == r.Event && c.Jail == r.Jail })
		if i < 0 {
			i, counts = len(counts), append(counts, report.Count{Event: r.Event, Jail: r.Jail})
		}
		counts[i].N++
	}
	return counts
}

func total(counts []report.Count) (n int) {
	for _, c := range counts {
		n += c.N
	}
	return n
}

// maxJails is how many jails a title names.
const maxJails = 4

// many is a summary: "37 bans (sshd 30, postfix 7)".
func many(counts []report.Count) (parts []string) {
	for _, kind := range []struct{ event, noun string }{{report.Ban, "ban"}, {report.Unban, "unban"}} {
		var jails []report.Count
		for _, c := range counts {
			if c.Event == kind.event {
				jails = append(jails, c)
			}
		}
		if len(jails) == 0 {
			continue
		}
		slices.SortFunc(jails, func(a, b report.Count) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Jail, b.Jail)) })
		var names []string
		for _, c := range jails[:min(len(jails), maxJails)] {
			names = append(names, fmt.Sprintf("%s %d", c.Jail, c.N))
		}
		if n := len(jails) - maxJails; n > 0 {
			names = append(names, fmt.Sprintf("%d more", n))
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", diag.Count(total(jails), kind.noun), strings.Join(names, ", ")))
	}
	return parts
}

// one is a ban or an unban: "banned 203.0.113.7 (sshd)".
func one(r *report.Report) string {
	what := "banned"
	switch {
	case r.Event == report.Unban:
		what = "unbanned"
	case r.Extended:
		what = "extended the ban of"
	}
	return fmt.Sprintf("%s %s (%s)", what, audit.Address(r.Prefix), safetext.Line(r.Jail, 50))
}

// details of a ban or an unban.
func details(r *report.Report) string {
	if r.Event == report.Unban {
		return safetext.Line(r.Text, maxLine)
	}
	var parts []string
	switch {
	case r.By != "":
		parts = append(parts, "by "+safetext.Line(r.By, 50))
		if r.Reason != "" {
			parts = append(parts, safetext.Line(r.Reason, 100))
		}
	case r.Wide:
		parts = append(parts, fmt.Sprintf("%d parts of the network attacked", r.Failures))
	default:
		parts = append(parts, fmt.Sprintf("%d attempts", r.Failures))
	}
	if r.Until.IsZero() {
		parts = append(parts, "forever")
	} else {
		parts = append(parts, "for "+audit.Duration(r.Until.Sub(r.Since)))
	}
	if r.Count > 1 {
		parts = append(parts, fmt.Sprintf("ban number %d", r.Count))
	}
	return strings.Join(parts, ", ")
}
