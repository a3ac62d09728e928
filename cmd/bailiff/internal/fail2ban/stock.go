package fail2ban

import (
	"cmp"
	"slices"
	"strings"

	"bailiff/policy/filter"
)

// stock lists the filters that fail2ban ships or has shipped. A filter without a built-in counterpart is translated like an
// administrator's own.
var stock = strings.Fields(`
3proxy apache-auth apache-badbots apache-botsearch apache-common apache-fakegooglebot apache-modsecurity apache-nohome apache-noscript
apache-overflows apache-pass apache-shellshock assp asterisk bitwarden botsearch-common centreon common counter-strike courier-auth courier-smtp
courierlogin couriersmtp cyrus-imap dante directadmin domino-smtp dovecot dropbear drupal-auth ejabberd-auth exim exim-common exim-spam freeswitch
froxlor-auth gitlab grafana groupoffice gssftpd guacamole haproxy-http-auth horde kerio lighttpd-auth mongodb-auth monit monitorix mssql-auth murmur
mysqld-auth nagios named-refused nginx-bad-request nginx-botsearch nginx-error-common nginx-forbidden nginx-http-auth nginx-limit-req nsd openhab
openvpn openwebmail oracleims pam-generic perdition php-url-fopen phpmyadmin-syslog portsentry postfix postfix-rbl postfix-sasl proftpd proxmox
pure-ftpd qmail recidive roundcube-auth routeros-auth sasl scanlogd screensharingd selinux-common selinux-ssh sendmail-auth sendmail-reject sieve
slapd softethervpn sogo-auth solid-pop3d squid squirrelmail ssh sshd sshd-aggressive sshd-ddos stunnel suhosin tine20 traefik-auth uwimap-auth
vaultwarden vsftpd webmin-auth wuftpd xinetd-fail xrdp znc-adminlog zoneminder
`)

// elsewhere names the built-in filter for the lines of a stock filter, and the mode that corresponds to it, where these are not
// the filter of the same name and its default mode.
var elsewhere = map[string]string{
	"courier-smtp": "courier-smtp:normal", "couriersmtp": "courier-smtp:normal", "courierlogin": "courier-auth", "exim-spam": "exim:spam",
	"postfix-rbl": "postfix:rbl", "postfix-sasl": "postfix:auth", "sasl": "postfix:auth", "roundcube-auth": "roundcube", "ssh": "sshd",
	"sshd-aggressive": "sshd:aggressive", "sshd-ddos": "sshd:ddos", "webmin-auth": "webmin", "znc-adminlog": "znc",
}

// Builtin returns the built-in filter that replaces fail2ban's filter of this name, and the mode that the name asks for,
// "" for the default one. ok is false if there is no such filter.
func Builtin(name string) (builtin, mode string, ok bool) {
	builtin, mode, _ = strings.Cut(cmp.Or(elsewhere[name], name), ":")
	if !slices.Contains(stock, name) || !slices.Contains(filter.Builtin(), builtin) {
		return "", "", false
	}
	return builtin, mode, true
}

// split names the built-in filters that count lines of a stock filter besides the one that replaces it.
var split = map[string][]string{"mysqld-auth": {"mariadb-auth"}}

// sameLines returns the built-in jails that are on by default and count lines that a stock filter counts in this mode. A mode
// that the filter's name asks for stands for itself: the old sshd-ddos had no failed logins.
func sameLines(filterName, mode string) []string {
	builtin, implied, ok := Builtin(filterName)
	if !ok {
		return nil
	}
	f, err := filter.LoadBuiltin(builtin)
	if err != nil || f.Off || implied != "" && implied != f.Modes[0] || implied == "" && !countsDefault(f, mode) {
		return nil
	}
	return append([]string{builtin}, split[filterName]...)
}

// countsDefault reports whether a mode of a filter, if it has it, counts all that the default mode counts.
func countsDefault(f *filter.Filter, mode string) bool {
	m, err := f.Mode(mode)
	if err != nil {
		return true // replaced by the default, see importer.mode
	}
	d, err := f.Mode("")
	return err == nil && !slices.ContainsFunc(d.Patterns(), func(p *filter.Pattern) bool { return p.Kind == filter.Failure && !slices.Contains(m.Patterns(), p) })
}

// services are the usual units for stock filters that have neither a journalmatch nor a built-in counterpart.
var services = map[string][]string{
	"bitwarden": {"bitwarden.service"}, "drupal-auth": {"apache2.service", "httpd.service", "php-fpm.service"},
	"froxlor-auth": {"apache2.service", "nginx.service", "php-fpm.service"}, "gssftpd": {"gssftpd.service", "krb5-ftpd.service"}, "monitorix": {"monitorix.service"},
	"nagios": {"nagios-nrpe-server.service", "nrpe.service"}, "perdition": {"perdition.service"}, "phpmyadmin-syslog": {"apache2.service", "httpd.service", "php-fpm.service"},
	"qmail": {"qmail.service"}, "scanlogd": {"scanlogd.service"}, "solid-pop3d": {"solid-pop3d.service"}, "softethervpn": {"softether-vpnserver.service", "vpnserver.service"},
	"uwimap-auth": {"inetd.service", "xinetd.service"}, "wuftpd": {"wu-ftpd.service"}, "xinetd-fail": {"xinetd.service"}, "lighttpd-auth": {"lighttpd.service"},
	"zoneminder": {"apache2.service", "httpd.service"}, "portsentry": {"portsentry.service"}, "stunnel": {"stunnel.service", "stunnel4.service"},
	"ejabberd-auth": {"ejabberd.service"}, "freeswitch": {"freeswitch.service"}, "3proxy": {"3proxy.service"}, "mongodb-auth": {"mongod.service"},
	"mssql-auth": {"mssql-server.service"},
}
