package blocklist

import (
	"strings"

	"bailiff/cmd/bailiff-report/internal/report"
)

// Services of blocklist.de, from the table of its DNS lists.
const (
	asterisk  = "asterisk"
	badbot    = "badbot"
	ftp       = "ftp"
	imap      = "imap"
	logins    = "bruteforcelogin" // of web applications
	mailAbuse = "mail"
	mysql     = "mysql"
	pop3      = "pop3"
	rfi       = "rfi-attack"
	sasl      = "sasl"
	ssh       = "ssh"
	webmin    = "webmin"
)

// known are the services of the built-in filters. The others have none there.
var known = map[string]string{
	"apache-auth": logins, "apache-badbots": badbot, "apache-botsearch": badbot, "apache-modsecurity": badbot, "apache-nohome": badbot,
	"apache-noscript": badbot, "apache-overflows": badbot, "apache-shellshock": rfi, "asterisk": asterisk, "cockpit": logins,
	"courier-auth": imap, "courier-smtp": mailAbuse, "cyrus-imap": imap, "dovecot": imap, "dropbear": ssh, "exim": mailAbuse, "gitlab": logins,
	"grafana": logins, "haproxy-http-auth": logins, "mariadb-auth": mysql, "monit": logins, "mysqld-auth": mysql, "nginx-bad-request": badbot,
	"nginx-botsearch": badbot, "nginx-forbidden": badbot, "nginx-http-auth": logins, "nginx-limit-req": badbot, "opensmtpd": mailAbuse,
	"postfix": mailAbuse, "proftpd": ftp, "proxmox": logins, "pure-ftpd": ftp, "roundcube": logins, "saslauthd": sasl, "sendmail-auth": sasl,
	"sendmail-reject": mailAbuse, "sieve": imap, "sshd": ssh, "traefik-auth": logins, "vaultwarden": logins, "vsftpd": ftp, "webmin": webmin,
}

// serviceOf returns blocklist.de's name of a jail's service: as configured for the jail or its filter, or that of a built-in filter.
// Mail servers have several services there; the lines say which one. It returns false if there is no name.
func serviceOf(jail, filter string, lines []report.Line, own map[string]string) (string, bool) {
	if s := own[jail]; s != "" {
		return s, true
	}
	if s := own[filter]; s != "" {
		return s, true
	}
	s, ok := known[filter]
	switch {
	case s == mailAbuse && every(lines, func(l *report.Line) bool {
		return strings.HasPrefix(l.Pattern, "sasl") || strings.HasPrefix(l.Pattern, "auth")
	}):
		s = sasl
	case s == imap && every(lines, func(l *report.Line) bool {
		return strings.Contains(l.Identifier, "pop3") || strings.HasPrefix(string(l.Message), "pop3")
	}):
		s = pop3
	}
	return s, ok
}

func every(lines []report.Line, is func(*report.Line) bool) bool {
	for i := range lines {
		if !is(&lines[i]) {
			return false
		}
	}
	return len(lines) > 0
}
