package mail

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/journal/audit"
	"bailiff/policy/config"
)

// View is what a template sees. All texts are made safe (package safetext); only Whois.Text has several lines.
type View struct {
	Host   string // this host
	Agent  string // bailiff/VERSION
	Time   time.Time
	Test   bool // by `bailiff report test`: nobody was banned
	Digest bool
	Whois  bool // parts that the destination includes
	Lines  bool
	Most   int // the destination's limit of lines
	Bans   []Ban
	Total  int // number of bans; Bans has the newest of them, up to maxBans
}

// Ban is one ban in a View.
type Ban struct {
	ID       string
	Address  string
	Prefix   string // what is banned: the address, or a network
	Network  bool   // Prefix is more than one address (an IPv6 /64 counts as one)
	Jail     string
	Service  string
	Time     time.Time
	First    time.Time // zero: not known
	Since    time.Time
	Until    time.Time // zero: forever
	Forever  bool
	Duration string // 1h, 7d; "": forever
	Failures int
	Count    int
	Ports    string // 22, 2222
	Reason   string
	By       string
	Manual   bool // by hand
	Wide     bool
	Extended bool
	Whois    Whois
	Lines    []Line
	Context  []Line
	Cut      int // lines left out of Lines and Context, since they are too many or too long
	Missing  int // lines no longer in the journal
	Withheld int // lines that redaction removed
}

// Whois is the answer of the registries. Either Text or Failed is set.
type Whois struct {
	Network string
	Name    string
	Holder  string
	Country string
	Abuse   []string
	Text    string
	Source  string
	Failed  string
}

// Line is one log line.
type Line struct {
	Time    time.Time
	Host    string
	Program string // sshd[4711]
	Unit    string
	Message string // as in the journal, or with codes (safetext.Escape)
	Coded   bool   // Message has codes; its bytes are in the attachment
	Address string // read by the filter; "": none
}

// Limits of one mail. Postfix accepts 10,240,000 bytes. A byte of a log line may take four as a code and more than one in the
// attachment; a byte that is not ASCII takes three in quoted-printable.
const (
	maxLines = 512 << 10
	maxWhois = 512 << 10
	maxBans  = 1000
)

// maxMessage is how many bytes of one line are shown. No daemon writes longer ones.
const maxMessage = 32 << 10

// newView makes the View of an item. It also returns the lines that are shown with codes.
func newView(item *report.Item, d *config.Destination, e *Envelope) (*View, []report.Line) {
	has := func(part string) bool { return slices.Contains(d.Include, part) }
	v := &View{
		Host: line(e.Host), Agent: line(e.Agent), Time: e.Time, Test: item.Test, Digest: item.Digest,
		Whois: has(config.IncludeWhois), Lines: has(config.IncludeLines), Most: d.Lines, Total: len(item.Reports),
	}
	budget, texts := maxLines, maxWhois
	var coded []report.Line
	for _, r := range item.Reports[max(0, len(item.Reports)-maxBans):] {
		b := newBan(r, e.Time.Location())
		b.Failures = max(0, b.Failures)
		if r.Host != "" {
			v.Host = line(r.Host)
		}
		lines := func(all []report.Line) []Line {
			l, left, raw := newLines(all, d.Lines, &budget, e.Time.Location())
			b.Cut += left
			for _, c := range raw { // the context often contains lines of the evidence
				if !slices.ContainsFunc(coded, func(x report.Line) bool { return x.Cursor == c.Cursor && c.Cursor != "" }) {
					coded = append(coded, c)
				}
			}
			return l
		}
		if has(config.IncludeLines) {
			b.Lines = lines(r.Lines)
		}
		if has(config.IncludeContext) {
			b.Context = lines(r.Context)
		}
		if has(config.IncludeWhois) {
			b.Whois = newWhois(r.Whois)
			if texts -= len(b.Whois.Text); texts < 0 {
				b.Whois.Text = ""
			}
		}
		v.Bans = append(v.Bans, b)
	}
	return v, coded
}

// line makes a foreign text one line.
func line(s string) string { return safetext.Line(s, 500) }

func newBan(r *report.Report, zone *time.Location) Ban {
	b := Ban{
		ID: line(r.ID), Address: r.Address.String(), Jail: line(r.Jail), Service: line(r.Service),
		Time: r.Time.In(zone), First: r.First.In(zone), Since: r.Since.In(zone), Until: r.Until.In(zone), Forever: r.Until.IsZero(),
		Failures: r.Failures, Count: r.Count, Reason: line(r.Reason), By: line(r.By), Manual: r.By != "" || r.Jail == "manual",
		Wide: r.Wide, Extended: r.Extended, Missing: r.Missing, Withheld: r.Withheld,
	}
	b.Prefix, b.Network = audit.Address(r.Prefix), !r.Prefix.IsSingleIP() && (r.Prefix.Addr().Is4() || r.Prefix.Bits() < 64)
	if !b.Forever {
		b.Duration = config.FormatDuration(r.Until.Sub(r.Since))
	}
	var ports []string
	for _, p := range r.Ports {
		ports = append(ports, fmt.Sprint(p))
	}
	b.Ports = strings.Join(ports, ", ")
	return b
}

func newWhois(w *report.Whois) Whois {
	switch {
	case w == nil:
		return Whois{Failed: "not asked"}
	case w.Failed != "":
		return Whois{Failed: line(w.Failed)}
	}
	v := Whois{Name: line(w.Name), Holder: line(w.Holder), Country: line(w.Country), Text: strings.TrimRight(safetext.Block(w.Text), "\n"), Source: line(w.Source)}
	if w.Network.IsValid() {
		v.Network = w.Network.String()
	}
	for _, a := range w.Abuse {
		v.Abuse = append(v.Abuse, line(a))
	}
	if v.Text == "" && v.Network == "" && v.Holder == "" && v.Name == "" && len(v.Abuse) == 0 {
		v.Failed = "the answer was empty"
	}
	return v
}

// newLines takes the newest lines, up to limit and to the bytes of the budget. It returns how many were left out, and those that are
// shown with codes.
func newLines(all []report.Line, limit int, budget *int, zone *time.Location) (l []Line, left int, coded []report.Line) {
	from := max(0, len(all)-limit)
	for at := len(all); at > from; at-- {
		if *budget -= len(all[at-1].Message) + 100; *budget < 0 {
			*budget, from = 0, at
			break
		}
	}
	for _, r := range all[from:] {
		text, same := safetext.Escape(r.Message, maxMessage)
		if !same {
			coded = append(coded, r)
		}
		v := Line{Time: r.Time.In(zone), Host: line(r.Hostname), Program: line(r.Identifier), Unit: line(r.Unit), Message: text, Coded: !same}
		if r.PID != 0 {
			v.Program += fmt.Sprintf("[%d]", r.PID)
		}
		if r.Source.IsValid() {
			v.Address = r.Source.String()
		}
		l = append(l, v)
	}
	return l, from, coded
}
