// Package redact takes out of reports what third parties have no business with: account names and whatever else a client
// typed (a password in place of a name, too), this host's names and addresses, who banned by hand, and mail addresses.
//
// It does not look for secrets, since none can be told from other text. It keeps what is known to hold none: of a log line,
// the words of the filter's own pattern that took it, numbers and the attacker's address. A line that no pattern takes
// is left out. It never changes what it is given; the copies share only what is left as it is.
//
// Start reading at Redactor.Report.
package redact

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/filter"
	"bailiff/policy/state"
)

// What stands in place of what was taken out. Filters of receivers may rely on these texts.
const (
	User = "<user>" // an account name
	Host = "<host>" // a name or an address of this host, and any host name in a line
	Mail = "<mail>" // a mail address in a registry's text
	Text = "<text>" // anything else that a client or a library wrote
)

// Redactor knows what is this host's own. It is read-only: any number of goroutines may use it.
type Redactor struct {
	own     own
	filters func(service string) *filter.Filter
}

// New makes a Redactor. own lists the host's names and addresses. filters returns the filter of a Report.Service, nil where
// there is none: lines of such reports are left out. A nil function stands for the filters that come with the program.
func New(own []string, filters func(service string) *filter.Filter) *Redactor {
	if filters == nil {
		filters = func(service string) *filter.Filter {
			f, err := filter.LoadBuiltin(service)
			if err != nil {
				return nil
			}
			return f
		}
	}
	return &Redactor{newOwn(own), filters}
}

// Item returns a copy of an item that may leave.
func (r *Redactor) Item(item *report.Item) *report.Item {
	c := *item
	c.Reports = make([]*report.Report, len(item.Reports))
	for i, rep := range item.Reports {
		c.Reports[i] = r.Report(rep)
	}
	return &c
}

// Report returns a copy of a report that may leave. Cursors are not in it (they hold the host's boot and machine ids), and
// times are UTC. The registries' abuse contacts stay: they are addressees.
func (r *Redactor) Report(rep *report.Report) *report.Report {
	c := *rep
	c.Cursor, c.By, c.Host = "", "", Host
	c.Time, c.First, c.Since, c.Until = utc(rep.Time), utc(rep.First), utc(rep.Since), utc(rep.Until)
	if !slices.Contains([]string{state.Failures, state.Slow, state.Account, state.Network}, rep.Reason) {
		c.Reason = "" // somebody's own words
	}
	f := r.filters(rep.Service)
	c.Lines, c.Context = r.lines(f, rep.Lines), r.lines(f, rep.Context)
	c.Withheld = rep.Withheld + len(rep.Lines) - len(c.Lines)
	if rep.Whois != nil {
		w := *rep.Whois
		w.Name, w.Holder, w.Text, w.Failed = r.Text(w.Name), r.Text(w.Holder), r.Text(w.Text), r.Text(w.Failed)
		c.Whois = &w
	}
	return &c
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

func (r *Redactor) lines(f *filter.Filter, lines []report.Line) []report.Line {
	if f == nil {
		return nil
	}
	var kept []report.Line
	for i := range lines {
		l := &lines[i]
		msg, ok := r.Message(f, l.Pattern, l.Message)
		if !ok {
			continue
		}
		c := report.Line{Time: utc(l.Time), Hostname: Host, PID: l.PID, Unit: r.unit(l.Unit), Message: msg, Pattern: l.Pattern, Source: l.Source, Port: l.Port}
		if plain(l.Identifier) {
			c.Identifier = r.Text(l.Identifier)
		}
		if r.own.hasAddr(l.Source) {
			c.Source = netip.Addr{}
		}
		kept = append(kept, c)
	}
	return kept
}

// unit leaves out the instance: that of sshd@.service names both ends of the connection.
func (r *Redactor) unit(s string) string {
	name, rest, ok := strings.Cut(s, "@")
	if !ok {
		return r.Text(s)
	}
	if dot := strings.LastIndexByte(rest, '.'); dot >= 0 {
		return r.Text(name) + "@" + rest[dot:]
	}
	return r.Text(name) + "@"
}

// plain says whether s looks like the name of a program.
func plain(s string) bool {
	return len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./@") == ""
}

// methods are words that may stay although a client chose them: names of login methods of SSH (RFC 4252, 4256, 4462) and
// SASL, which tell what was attacked.
var methods = []string{
	"password", "publickey", "none", "hostbased", "keyboard-interactive", "keyboard-interactive/pam", "gssapi-with-mic",
	"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM", "GSSAPI", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER",
}

// sources are the names of PAM modules and password databases.
var sources = []string{
	"unix", "sss", "krb5", "winbind", "ldap", "systemd_home", "faillock",
	"pam", "passwd", "passwd-file", "shadow", "sql", "lua", "oauth2", "static", "imap", "bsdauth",
}

// Message returns what of a line its pattern vouches for: the pattern's own words, numbers and ports, the names of PAM
// modules, password databases and login methods, and the attacker's address in its usual spelling. It reports false if no
// pattern of the name takes the line.
func (r *Redactor) Message(f *filter.Filter, pattern string, msg []byte) ([]byte, bool) {
	pieces, ok := f.Dissect(pattern, msg)
	if !ok {
		return nil, false
	}
	b := make([]byte, 0, len(msg))
	for _, p := range pieces {
		switch p.Field {
		case "", "num", "count", "port":
			b = append(b, p.Text...)
		case "addr":
			if a, ok := parseAddr(string(p.Text)); ok && !r.own.hasAddr(a) {
				b = a.AppendTo(b)
			} else {
				b = append(b, Host...)
			}
		case "user":
			b = append(b, User...)
		case "host", "ip":
			b = append(b, Host...)
		default:
			if (p.Field == "word" || p.Field == "token") && slices.Contains(methods, string(p.Text)) || p.Field == "source" && slices.Contains(sources, string(p.Text)) {
				b = append(b, p.Text...)
				continue
			}
			if len(p.Text) > 0 && !bytes.HasSuffix(b, []byte(Text)) {
				b = append(b, Text...)
			}
		}
	}
	return b, true
}

// Text takes the host's own names and addresses and all mail addresses out of a text that no client wrote.
func (r *Redactor) Text(s string) string { return r.own.clean(s) }
