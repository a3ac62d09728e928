package xarf

import (
	"bytes"
	"strings"

	"bailiff/cmd/bailiff-report/internal/report"
)

// Types of X-ARF.
const (
	LoginAttack = "login_attack"       // category connection: passwords are tried
	VulnScan    = "vulnerability_scan" // category connection: a web server is searched for vulnerabilities
)

// class is what a filter's lines show. A filter without a kind is not reported: what it sees may be forged (UDP), or X-ARF has no type
// for it.
type class struct {
	kind    string
	service string
	port    uint16   // IANA's port of the service, for reports without one; 0: unknown
	some    []string // if not nil, only lines of patterns that contain one of these words count
}

var (
	http = class{kind: LoginAttack, service: "http"}
	scan = class{kind: VulnScan, service: "http"}
	ftp  = class{kind: LoginAttack, service: "ftp", port: 21}
	imap = class{kind: LoginAttack, service: "imap", port: 143}
	// Mail servers refuse mail for many reasons; only some lines are about logins.
	smtp = class{kind: LoginAttack, service: "smtp", port: 25, some: []string{"sasl", "auth", "pam"}}
)

// classes are the classes of the built-in filters.
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
	// UDP, whose sender can be forged; floods; and clients that were only refused.
	"asterisk":        {},
	"named-refused":   {},
	"nsd":             {},
	"openvpn":         {},
	"nginx-limit-req": {},
	"sendmail-reject": {},
	"squid":           {},
}

// classOf returns what a report's lines show, and the lines that do. Lines of other filters show a login attack if they name an
// account.
func classOf(r *report.Report) (c class, lines []report.Line) {
	c, known := classes[r.Service]
	if !known {
		c = class{kind: LoginAttack, service: word(r.Service)}
	}
	for i := range r.Lines {
		l := &r.Lines[i]
		switch {
		case l.Source.IsValid() && l.Source.Unmap() != r.Address.Unmap(): // another address of a banned network
			continue
		case !known && len(l.Account) == 0 && !bytes.Contains(l.Message, []byte("<user>")): // redacted account
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

// word makes the name of a service from the name of a filter.
func word(s string) string {
	if s == "" || len(s) > 50 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return "login"
	}
	return s
}
