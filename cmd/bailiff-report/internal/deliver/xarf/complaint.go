package xarf

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/message"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/policy/config"
)

// formatV02 is X-ARF 0.2; the other format is XARF 4.
const formatV02 = "0.2"

// complaint says what an address did to one service. It becomes one mail.
type complaint struct {
	Key     string // permanent: the item's, with a suffix if the item has several complaints
	Address netip.Addr
	Type    string // LoginAttack or VulnScan
	Service string // ssh, smtp, …
	Ports   []uint16
	First   time.Time
	Last    time.Time
	Count   int           // attempts
	Lines   []report.Line // evidence, oldest first; at least one
	Source  uint16        // the attacker's port of the last attempt; 0: unknown
	Abuse   []string      // abuse contacts in the reports
	Test    bool
}

// skipped is a report without a complaint.
type skipped struct {
	Address netip.Addr
	Jail    string
	Why     string
}

func (s skipped) String() string {
	return fmt.Sprintf("%s (%s): %s", s.Address, safetext.Line(s.Jail, 200), s.Why)
}

// complaints sorts the reports of an item by address and service. A complaint has at most limit lines, the newest.
func complaints(item *report.Item, format string, limit int) (all []*complaint, left []skipped) {
	type key struct {
		addr    netip.Addr
		service string
		kind    string
	}
	found := make(map[key]*complaint)
	for _, r := range item.Reports {
		a, lines := evidenceOf(r)
		why := ""
		switch {
		case a.XARF == "":
			why = "what this filter sees may be forged, or X-ARF has no type for it"
		case format == formatV02 && a.XARF != report.LoginAttack:
			why = "X-ARF 0.2 has no type but login attacks"
		case len(lines) == 0 && len(r.Lines) > 0:
			why = "no line of the evidence shows an attack that X-ARF has a type for"
		case len(lines) == 0:
			why = "no line of the evidence is left"
		case !r.Address.IsValid():
			why = "the address is unknown"
		}
		if why != "" {
			left = append(left, skipped{r.Address, r.Jail, why})
			continue
		}
		k := key{r.Address.Unmap(), a.Service, a.XARF}
		x := found[k]
		if x == nil {
			x = &complaint{Address: k.addr, Type: a.XARF, Service: a.Service, First: lines[0].Time, Test: item.Test}
			found[k] = x
			all = append(all, x)
		}
		x.add(r, a, lines)
	}
	for _, x := range all {
		x.Key = item.Key
		if len(found) > 1 {
			sum := sha256.Sum256([]byte(x.Address.String() + " " + x.Service + " " + x.Type))
			x.Key += "-" + hex.EncodeToString(sum[:4])
		}
		x.finish(limit)
	}
	return all, left
}

// loginPatterns are words in the names of the patterns that show a login at a mail server.
var loginPatterns = []string{"sasl", "auth", "pam"}

// evidenceOf returns what kind of attack a report is about, and the lines that show it. Lines of filters that are not built in show a
// login attack if they name an account.
func evidenceOf(r *report.Report) (a report.Attack, lines []report.Line) {
	a, known := report.Attacks[r.Service]
	if !known {
		a = report.Attack{XARF: report.LoginAttack, Service: word(r.Service)}
	}
	for i := range r.Lines {
		l := &r.Lines[i]
		switch {
		case l.Source.IsValid() && l.Source.Unmap() != r.Address.Unmap(): // another address of a banned network
			continue
		case !known && len(l.Account) == 0 && !bytes.Contains(l.Message, []byte("<user>")): // redacted account
			continue
		case a.Mixed && !isLogin(l.Pattern):
			continue
		}
		lines = append(lines, *l)
	}
	return a, lines
}

func isLogin(pattern string) bool {
	return slices.ContainsFunc(loginPatterns, func(w string) bool { return strings.Contains(pattern, w) })
}

// word makes the name of a service from the name of a filter.
func word(s string) string {
	if s == "" || len(s) > 50 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return "login"
	}
	return s
}

func (x *complaint) add(r *report.Report, a report.Attack, lines []report.Line) {
	if !r.First.IsZero() && !a.Mixed && r.First.Before(x.First) {
		x.First = r.First
	}
	// If only some lines show the attack, these are counted; otherwise the report's failures, since a line may stand for several.
	if !a.Mixed {
		x.Count += max(r.Failures, len(lines))
	} else {
		x.Count += len(lines)
	}
	x.Lines = append(x.Lines, lines...)
	for _, p := range r.Ports {
		if p != 0 && !slices.Contains(x.Ports, p) {
			x.Ports = append(x.Ports, p)
		}
	}
	if r.Whois != nil {
		for _, a := range r.Whois.Abuse {
			if config.ValidAddress(a) && !slices.ContainsFunc(x.Abuse, func(b string) bool { return strings.EqualFold(a, b) }) {
				x.Abuse = append(x.Abuse, a)
			}
		}
	}
}

func (x *complaint) finish(limit int) {
	slices.SortStableFunc(x.Lines, func(a, b report.Line) int { return a.Time.Compare(b.Time) })
	seen := make(map[string]bool)
	x.Lines = slices.DeleteFunc(x.Lines, func(l report.Line) bool { // a ban and its extension have lines in common
		twice := l.Cursor != "" && seen[l.Cursor]
		seen[l.Cursor] = true
		return twice
	})
	if t := x.Lines[0].Time; t.Before(x.First) {
		x.First = t
	}
	x.Last = x.Lines[len(x.Lines)-1].Time
	for i := range x.Lines {
		if p := x.Lines[i].Port; p != 0 {
			x.Source = p
		}
	}
	x.Lines = x.Lines[len(x.Lines)-min(len(x.Lines), max(limit, 1)):]
	slices.Sort(x.Ports)
}

// Sender is the reporter.
type Sender struct {
	Host    string // of Message-IDs
	From    string // address that the mail comes from
	Org     string
	Contact string // address for answers, which the report names
	Agent   string
}

// NewSender returns the reporter of a destination. Errors are about its configuration.
func NewSender(d *config.Destination, host, from, agent string) (*Sender, error) {
	s := &Sender{Host: host, From: message.Address(from, host), Org: d.Org, Contact: cmp.Or(d.Contact, message.Address(from, host)), Agent: agent}
	if !config.ValidAddress(s.Contact) {
		return nil, fmt.Errorf("report.destinations.%s.contact: %q is not an address for answers", d.Name, s.Contact)
	}
	if s.Org == "" {
		return nil, fmt.Errorf("report.destinations.%s.org: the reporter's name is missing", d.Name)
	}
	return s, nil
}

// Message makes the mail of a complaint.
func (s *Sender) Message(x *complaint, format string, to []string, now time.Time) (*message.Message, error) {
	m := &message.Message{
		ID: message.ID(x.Key, s.Host), Name: s.Org, From: s.From, To: to, Host: s.Host, Date: now, Agent: s.Agent,
		Subject: fmt.Sprintf("abuse report about %s - %s", x.Address, x.Last.UTC().Format(time.RFC1123Z)),
	}
	if !strings.EqualFold(s.Contact, s.From) {
		m.Header = append(m.Header, [2]string{"Reply-To", s.Contact})
	}
	if x.Test {
		m.Header = append(m.Header, [2]string{"X-Bailiff-Test", "yes"})
	}
	log := []byte(x.log())
	letter := message.Part{Type: "text/plain", Body: []byte(s.letter(x, format))}
	if format == formatV02 {
		m.Header = append(m.Header, [2]string{"X-XARF", "PLAIN"})
		m.Parts = []message.Part{letter,
			{Type: `text/plain; name="report.txt"`, Name: "report.txt", Body: s.yaml(x, m.ID)},
			{Type: `text/plain; name="logfile.log"`, Name: "logfile.log", Body: log}}
		return m, nil
	}
	data, err := s.json(x, log)
	if err != nil {
		return nil, err
	}
	m.Kind = "multipart/report; report-type=feedback-report"
	m.Parts = []message.Part{letter,
		{Type: "message/feedback-report", Body: fmt.Appendf(nil, "Feedback-Type: xarf\nUser-Agent: %s\nVersion: 1\n", safetext.Line(s.Agent, 100))},
		{Type: `application/json; name="xarf.json"`, Name: "xarf.json", Body: data}}
	return m, nil
}

// maxMessage is how many bytes of one log line are shown.
const maxMessage = 1000

// log is the lines as in a log file, in UTC.
func (x *complaint) log() string {
	var b strings.Builder
	for i := range x.Lines {
		l := &x.Lines[i]
		fmt.Fprintf(&b, "%s %s", l.Time.UTC().Format("2006-01-02T15:04:05Z"), cmp.Or(safetext.Line(l.Identifier, 200), x.Service))
		if l.PID != 0 {
			fmt.Fprintf(&b, "[%d]", l.PID)
		}
		text, _ := safetext.Escape(l.Message, maxMessage)
		b.WriteString(": " + text + "\n")
	}
	return b.String()
}

// what describes the attack.
func (x *complaint) what() string {
	kind := "attempts to log in"
	if x.Type == report.VulnScan {
		kind = "requests that search for holes"
	}
	return fmt.Sprintf("%d %s (%s) between %s and %s", x.Count, kind, x.Service, x.First.UTC().Format(stamp), x.Last.UTC().Format(stamp))
}

const stamp = "2006-01-02 15:04:05 UTC"

func (s *Sender) letter(x *complaint, format string) string {
	var b strings.Builder
	if x.Test {
		b.WriteString("This is a test. Nothing in it happened.\n\n")
	}
	fmt.Fprintf(&b, "Dear Sir or Madam,\n\nthe address %s, which according to the registries is in your network, attacks a host of ours:\n%s.\n\n", x.Address, x.what())
	fmt.Fprintf(&b, "Please look into it. All times are UTC.\n\n")
	if format == formatV02 {
		b.WriteString("This mail is an X-ARF 0.2 report: report.txt is for your program, logfile.log holds the log lines.\n")
	} else {
		fmt.Fprintf(&b, "This mail is an XARF 4 report (https://xarf.org): xarf.json is for your program, and holds the log lines, too:\n\n%s\n", x.log())
	}
	fmt.Fprintf(&b, "Your address was found in the registry of your network (RDAP, whois) or in the DNS zone of abuse\ncontacts. If you are not the right one to ask, please have it corrected there. Answers reach a person\nat %s.\n\n%s\n", s.Contact, safetext.Line(s.Org, 200))
	return b.String()
}
