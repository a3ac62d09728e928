// Package redact removes from log lines and other texts what only this host's administrators may see: account names and anything
// else that a client typed (such as a password in place of a name), this host's names and addresses, and mail addresses.
//
// It does not search for secrets, since they look like other text. It keeps only what contains none: of a log line, the words of the
// filter's pattern that matched it, numbers, and the attacker's address. A line that no pattern matches has to be left out.
package redact

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"bailiff/policy/filter"
)

// Replacements. Filters of receivers may rely on them.
const (
	User = "<user>" // an account name
	Host = "<host>" // a name or an address of this host, or any host name in a line
	Mail = "<mail>" // a mail address in a registry's text
	Text = "<text>" // any other text of a client or a library
)

// Redactor redacts texts. It is safe for concurrent use.
type Redactor struct{ own identity }

// New returns a Redactor. own lists the host's names and addresses.
func New(own []string) *Redactor { return &Redactor{newIdentity(own)} }

// IsOwn reports whether an address is one of this host.
func (r *Redactor) IsOwn(a netip.Addr) bool { return r.own.hasAddr(a) }

// Unit removes the instance: that of sshd@.service contains both ends of the connection.
func (r *Redactor) Unit(s string) string {
	name, rest, ok := strings.Cut(s, "@")
	if !ok {
		return r.Text(s)
	}
	if dot := strings.LastIndexByte(rest, '.'); dot >= 0 {
		return r.Text(name) + "@" + rest[dot:]
	}
	return r.Text(name) + "@"
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
