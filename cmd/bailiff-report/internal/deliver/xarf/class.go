package xarf

import (
	"bytes"
	"strings"

	"bailiff/cmd/bailiff-report/internal/report"
)

// What a jail's evidence shows, as X-ARF has it.
const (
	LoginAttack = "login_attack"       // category connection: passwords are tried
	VulnScan    = "vulnerability_scan" // category connection: a web server is searched for holes
)

// class is what a filter's lines show. A filter with neither a type nor patterns is not reported: what it sees may be
// forged (UDP), or is no attack that X-ARF has a word for.
type class struct {
	kind    string
	service string
	port    uint16   // of the service by IANA's list, where the report names none; 0: none is known
	some    []string // only lines of patterns that hold one of these words show it
}

var (
	http = class{kind: LoginAttack, service: "http"}
	scan = class{kind: VulnScan, service: "http"}
	ftp  = class{kind: LoginAttack, service: "ftp", port: 21}
	imap = class{kind: LoginAttack, service: "imap", port: 143}
	// Mail servers refuse mail for many reasons; a login is tried in some lines alone.
	smtp = class{kind: LoginAttack, service: "smtp", port: 25, some: []string{"sasl", "auth", "pam"}}
)

// classes are those of the filters that come with the program.
var classes = map[string]class{
	"sshd":               {kind: LoginAttack, service: "ssh", port: 22},
	"dropbear":           {kind: LoginAttack, service: "ssh", port: 22},
	"postfix":            smtp,
	"exim":               smtp,
	"courier-smtp":       smtp,
	"opensmtpd":          smtp,
	"sendmail-auth":      {kind: LoginAttack, service: "smtp", port: 25},
	"saslauthd":          {kind: LoginAttack, service: "sasl"},
	"dovecot":            imap,
	"cyrus-imap":         imap,
	"courier-auth":       imap,
	"sieve":              {kind: LoginAttack, service: "sieve", port: 4190},
	"proftpd":            ftp,
	"pure-ftpd":          ftp,
	"vsftpd":             ftp,
	"mysqld-auth":        {kind: LoginAttack, service: "mysql", port: 3306},
	"mariadb-auth":       {kind: LoginAttack, service: "mysql", port: 3306},
	"slapd":              {kind: LoginAttack, service: "ldap", port: 389},
	"xrdp":               {kind: LoginAttack, service: "rdp", port: 3389},
	"murmur":             {kind: LoginAttack, service: "mumble", port: 64738},
	"znc":                {kind: LoginAttack, service: "irc"},
	"pam-generic":        {kind: LoginAttack, service: "login"},
	"apache-auth":        http,
	"nginx-http-auth":    http,
	"haproxy-http-auth":  http,
	"traefik-auth":       http,
	"cockpit":            http,
	"gitlab":             http,
	"grafana":            http,
	"monit":              http,
	"proxmox":            http,
	"roundcube":          http,
	"vaultwarden":        http,
	"webmin":             http,
	"apache-badbots":     scan,
	"apache-botsearch":   scan,
	"apache-modsecurity": scan,
	"apache-nohome":      scan,
	"apache-noscript":    scan,
	"apache-overflows":   scan,
	"apache-shellshock":  scan,
	"nginx-bad-request":  scan,
	"nginx-botsearch":    scan,
	"nginx-forbidden":    scan,
	// UDP, where the sender may be anybody; floods; and clients that are refused, but no more.
	"asterisk":        {},
	"named-refused":   {},
	"nsd":             {},
	"openvpn":         {},
	"nginx-limit-req": {},
	"sendmail-reject": {},
	"squid":           {},
}

// classOf says what a report's lines show, and which of them do. A filter of the administrator's own shows a login attack
// where its lines name accounts.
func classOf(r *report.Report) (c class, lines []report.Line) {
	c, known := classes[r.Service]
	if !known {
		c = class{kind: LoginAttack, service: word(r.Service)}
	}
	for i := range r.Lines {
		l := &r.Lines[i]
		switch {
		case l.Source.IsValid() && l.Source.Unmap() != r.Address.Unmap(): // of a network that is banned as a whole
			continue
		case !known && len(l.Account) == 0 && !bytes.Contains(l.Message, []byte("<user>")): // what redaction leaves of one
			continue
		case c.some != nil && !holds(l.Pattern, c.some):
			continue
		}
		lines = append(lines, *l)
	}
	return c, lines
}

func holds(pattern string, words []string) bool {
	for _, w := range words {
		if strings.Contains(pattern, w) {
			return true
		}
	}
	return false
}

// word makes a service's name of a filter's.
func word(s string) string {
	if s == "" || len(s) > 50 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return "login"
	}
	return s
}
