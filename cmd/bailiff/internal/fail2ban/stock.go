package fail2ban

import (
	"slices"

	"bailiff/policy/filter"
)

// stock lists the filters that fail2ban ships or has shipped, each with the built-in filters for the same lines, the best
// first, and the mode that corresponds to the name. A filter without a built-in counterpart is translated like an
// administrator's own.
var stock = map[string]struct {
	ours []string
	mode string
}{
	"3proxy": {}, "apache-auth": {ours: []string{"apache-auth", "apache"}}, "apache-badbots": {}, "apache-botsearch": {ours: []string{"apache-botsearch"}},
	"apache-fakegooglebot": {}, "apache-modsecurity": {ours: []string{"apache-modsecurity"}}, "apache-nohome": {ours: []string{"apache-nohome"}},
	"apache-noscript": {ours: []string{"apache-noscript"}}, "apache-overflows": {ours: []string{"apache-overflows"}}, "apache-pass": {},
	"apache-shellshock": {ours: []string{"apache-shellshock"}}, "assp": {}, "asterisk": {ours: []string{"asterisk"}}, "bitwarden": {}, "centreon": {}, "counter-strike": {},
	"courier-auth": {ours: []string{"courier-auth", "courier"}}, "courier-smtp": {ours: []string{"courier-smtp", "courier"}, mode: "normal"},
	"couriersmtp": {ours: []string{"courier-smtp", "courier"}, mode: "normal"}, "courierlogin": {ours: []string{"courier-auth", "courier"}},
	"cyrus-imap": {ours: []string{"cyrus-imap"}}, "dante": {}, "directadmin": {}, "domino-smtp": {}, "dovecot": {ours: []string{"dovecot"}},
	"dropbear": {ours: []string{"dropbear"}}, "drupal-auth": {}, "ejabberd-auth": {}, "exim": {ours: []string{"exim"}}, "exim-spam": {ours: []string{"exim"}, mode: "spam"},
	"freeswitch": {}, "froxlor-auth": {}, "gitlab": {ours: []string{"gitlab"}}, "grafana": {ours: []string{"grafana"}}, "groupoffice": {}, "gssftpd": {}, "guacamole": {},
	"haproxy-http-auth": {ours: []string{"haproxy-http-auth", "haproxy"}}, "horde": {}, "kerio": {}, "lighttpd-auth": {ours: []string{"lighttpd-auth", "lighttpd"}}, "mongodb-auth": {},
	"monit": {ours: []string{"monit"}}, "monitorix": {}, "mssql-auth": {}, "murmur": {ours: []string{"murmur"}},
	"mysqld-auth": {ours: []string{"mysqld-auth", "mysqld", "mariadb"}}, "nagios": {ours: []string{"nagios", "nrpe"}},
	"named-refused": {ours: []string{"named-refused", "named"}}, "nginx-bad-request": {}, "nginx-botsearch": {ours: []string{"nginx-botsearch"}},
	"nginx-forbidden": {ours: []string{"nginx-forbidden"}}, "nginx-http-auth": {ours: []string{"nginx-http-auth", "nginx"}}, "nginx-limit-req": {ours: []string{"nginx-limit-req"}},
	"nsd": {ours: []string{"nsd"}}, "openhab": {}, "openvpn": {ours: []string{"openvpn"}}, "openwebmail": {}, "oracleims": {}, "pam-generic": {ours: []string{"pam-generic"}},
	"perdition": {ours: []string{"perdition"}}, "php-url-fopen": {}, "phpmyadmin-syslog": {ours: []string{"phpmyadmin-syslog", "phpmyadmin"}}, "portsentry": {},
	"postfix": {ours: []string{"postfix"}}, "postfix-sasl": {ours: []string{"postfix"}, mode: "auth"}, "postfix-rbl": {ours: []string{"postfix"}, mode: "rbl"},
	"sasl": {ours: []string{"postfix"}, mode: "auth"}, "proftpd": {ours: []string{"proftpd"}}, "proxmox": {ours: []string{"proxmox"}}, "pure-ftpd": {ours: []string{"pure-ftpd"}},
	"qmail": {}, "recidive": {}, "roundcube-auth": {ours: []string{"roundcube-auth", "roundcube"}}, "routeros-auth": {}, "scanlogd": {}, "screensharingd": {}, "selinux-ssh": {},
	"sendmail-auth": {ours: []string{"sendmail-auth"}}, "sendmail-reject": {ours: []string{"sendmail-reject"}}, "sieve": {ours: []string{"sieve", "managesieve"}},
	"slapd": {ours: []string{"slapd"}}, "softethervpn": {}, "sogo-auth": {}, "solid-pop3d": {}, "squid": {ours: []string{"squid"}}, "squirrelmail": {},
	"sshd": {ours: []string{"sshd"}}, "ssh": {ours: []string{"sshd"}}, "sshd-ddos": {ours: []string{"sshd"}, mode: "ddos"}, "sshd-aggressive": {ours: []string{"sshd"}, mode: "aggressive"},
	"stunnel": {}, "suhosin": {}, "tine20": {}, "traefik-auth": {ours: []string{"traefik-auth", "traefik"}}, "uwimap-auth": {}, "vaultwarden": {ours: []string{"vaultwarden"}},
	"vsftpd": {ours: []string{"vsftpd"}}, "webmin-auth": {ours: []string{"webmin-auth", "webmin"}}, "wuftpd": {}, "xinetd-fail": {}, "xrdp": {ours: []string{"xrdp"}},
	"znc-adminlog": {ours: []string{"znc-adminlog", "znc"}}, "zoneminder": {},
	// included by others
	"common": {}, "apache-common": {}, "botsearch-common": {}, "exim-common": {}, "nginx-error-common": {}, "selinux-common": {},
}

// Builtin returns the built-in filter that replaces fail2ban's filter of this name, and the mode that the name asks for,
// "" for the default one. ok is false if there is no such filter.
func Builtin(name string) (builtin, mode string, ok bool) {
	s, ok := stock[name]
	if !ok {
		return "", "", false
	}
	for _, n := range append(slices.Clone(s.ours), name) {
		if slices.Contains(filter.Builtin(), n) {
			return n, s.mode, true
		}
	}
	return "", "", false
}

// services are the usual units for stock filters that have no journalmatch.
var services = map[string][]string{
	"bitwarden": {"bitwarden.service"}, "courier-auth": {"courier-imap.service", "courier-pop.service", "courier-authdaemon.service"}, "courier-smtp": {"courier-mta.service", "courier.service"},
	"cyrus-imap": {"cyrus-imapd.service"}, "drupal-auth": {"apache2.service", "httpd.service", "php-fpm.service"}, "froxlor-auth": {"apache2.service", "nginx.service", "php-fpm.service"},
	"gssftpd": {"gssftpd.service", "krb5-ftpd.service"}, "haproxy-http-auth": {"haproxy.service"}, "monit": {"monit.service"}, "monitorix": {"monitorix.service"},
	"mysqld-auth": {"mysql.service", "mysqld.service", "mariadb.service"}, "nagios": {"nagios-nrpe-server.service", "nrpe.service"}, "named-refused": {"named.service", "bind9.service"},
	"nsd": {"nsd.service"}, "perdition": {"perdition.service"}, "phpmyadmin-syslog": {"apache2.service", "httpd.service", "php-fpm.service"}, "qmail": {"qmail.service"},
	"scanlogd": {"scanlogd.service"}, "sieve": {"dovecot.service", "cyrus-imapd.service"}, "slapd": {"slapd.service"}, "solid-pop3d": {"solid-pop3d.service"},
	"softethervpn": {"softether-vpnserver.service", "vpnserver.service"}, "uwimap-auth": {"inetd.service", "xinetd.service"}, "webmin-auth": {"webmin.service"}, "wuftpd": {"wu-ftpd.service"},
	"xinetd-fail": {"xinetd.service"}, "apache": {"apache2.service", "httpd.service"}, "nginx": {"nginx.service"}, "lighttpd-auth": {"lighttpd.service"}, "zoneminder": {"apache2.service", "httpd.service"},
	"squid": {"squid.service"}, "portsentry": {"portsentry.service"}, "stunnel": {"stunnel.service", "stunnel4.service"}, "ejabberd-auth": {"ejabberd.service"}, "freeswitch": {"freeswitch.service"},
	"proftpd": {"proftpd.service"}, "vsftpd": {"vsftpd.service"}, "dropbear": {"dropbear.service"}, "3proxy": {"3proxy.service"}, "grafana": {"grafana-server.service"}, "mongodb-auth": {"mongod.service"},
	"mssql-auth": {"mssql-server.service"}, "murmur": {"mumble-server.service", "murmurd.service"}, "traefik-auth": {"traefik.service"}, "znc-adminlog": {"znc.service"},
}
