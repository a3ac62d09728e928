// Package redact removes from reports what third parties must not see: account names and anything else that a client typed (such as a
// password in place of a name), this host's names and addresses, the administrator of a manual ban, and mail addresses.
//
// It does not search for secrets, since they look like other text. It keeps only what contains none: of a log line, the words of the
// filter's pattern that matched it, numbers, and the attacker's address. A line that no pattern matches is left out. It returns copies
// and does not change its input.
//
// Start reading at Redactor.Report.
package redact

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/filter"
	"bailiff/policy/state"
)

// Replacements. Filters of receivers may rely on them.
const (
	User = "<user>" // an account name
	Host = "<host>" // a name or an address of this host, or any host name in a line
	Mail = "<mail>" // a mail address in a registry's text
	Text = "<text>" // any other text of a client or a library
)

// Redactor redacts reports. It is safe for concurrent use.
type Redactor struct {
	own     identity
	filters func(service string) *filter.Filter
}

// New returns a Redactor. own lists the host's names and addresses. filters returns the filter of a Report.Service; nil if there is
// none: the lines of such reports are left out. A nil function stands for the built-in filters.
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
	return &Redactor{newIdentity(own), filters}
}

// Item returns a redacted copy of an item.
func (r *Redactor) Item(item *report.Item) *report.Item {
	c := *item
	c.Reports = make([]*report.Report, len(item.Reports))
	for i, rep := range item.Reports {
		c.Reports[i] = r.Report(rep)
	}
	return &c
}

// Report returns a redacted copy of a report, without cursors, which contain the host's boot and machine ids, and with times in UTC. The
// registries' abuse contacts stay: they are recipients.
func (r *Redactor) Report(rep *report.Report) *report.Report {
	c := *rep
	c.Cursor, c.By, c.Host = "", "", Host
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
		c := report.Line{Time: l.Time.UTC(), Hostname: Host, PID: l.PID, Unit: r.unit(l.Unit), Message: msg, Pattern: l.Pattern, Source: l.Source, Port: l.Port}
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

// unit removes the instance: that of sshd@.service contains both ends of the connection.
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

// plain reports whether s can be the name of a program.
func plain(s string) bool {
	return len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./@") == ""
}

// methods are words that stay although a client chose them, since they show what was attacked: login methods of SSH (RFC 4252, 4256,
// 4462) and SASL.
var methods = []string{
	"password", "publickey", "none", "hostbased", "keyboard-interactive", "keyboard-interactive/pam", "gssapi-with-mic",
	"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM", "GSSAPI", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER",
}

// sources are names of PAM modules and password databases.
var sources = []string{
	"unix", "sss", "krb5", "winbind", "ldap", "systemd_home", "faillock",
	"pam", "passwd", "passwd-file", "shadow", "sql", "lua", "oauth2", "static", "imap", "bsdauth",
}

// Message returns the safe parts of a line: the words of its pattern, numbers and ports, the names of PAM modules, password databases
// and login methods, and the attacker's address in its usual form. It returns false if the pattern does not match the line.
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

// Text removes the host's names and addresses and all mail addresses from a text that was not written by a client.
func (r *Redactor) Text(s string) string { return r.own.clean(s) }
