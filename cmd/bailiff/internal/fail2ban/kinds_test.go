package fail2ban

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"bailiff/policy/filter"
)

// base stands in for fail2ban's own files in these tests.
var base = map[string]string{
	"jail.conf": `[DEFAULT]
bantime = 10m
findtime = 10m
maxretry = 5
backend = auto
enabled = false
port = 0:65535
protocol = tcp
filter = %(__name__)s[mode=%(mode)s]
mode = normal
banaction = iptables-multiport
action_ = %(banaction)s[port="%(port)s", protocol="%(protocol)s", chain="%(chain)s"]
action = %(action_)s
chain = <known/chain>
[sshd]
port = ssh
[postfix]
mode = more
port = smtp
[dovecot]
port = imap
[nginx-http-auth]
port = http
`,
	"filter.d/common.conf":             ownTree["filter.d/common.conf"],
	"filter.d/sshd.conf":               "[INCLUDES]\nbefore = common.conf\n[Definition]\n_daemon = sshd\n__suff = (?: port \\d+)?\\s*\n__pam = pam_[a-z]+\nfailregex = ^%(__prefix_line)sFailed .* from <HOST>$\njournalmatch = _SYSTEMD_UNIT=sshd.service + _COMM=sshd\n# Fail2Ban\n",
	"filter.d/postfix.conf":            "[Definition]\nfailregex = ^x <HOST>$\n# Fail2Ban\n",
	"filter.d/dovecot.conf":            "[Definition]\nfailregex = ^x <HOST>$\n# Fail2Ban\n",
	"filter.d/nginx-http-auth.conf":    "[Definition]\nfailregex = ^x <HOST>$\n# Fail2Ban\n",
	"filter.d/mysqld-auth.conf":        "[Definition]\nfailregex = ^x <HOST>$\n# Fail2Ban\n",
	"filter.d/courier-auth.conf":       "[Definition]\nfailregex = ^x <HOST>$\n# Fail2Ban\n",
	"action.d/iptables-multiport.conf": "[Definition]\nactionban = true\n[Init]\nport = ssh\nprotocol = tcp\nchain = INPUT\n",
	"action.d/firewallcmd-new.conf":    "[Definition]\nactionban = true\n[Init]\nport = ssh\nprotocol = tcp\nchain = INPUT\n",
	"action.d/route.conf":              "[Definition]\nactionban = ip route add unreachable <ip>\n",
	"action.d/sendmail.conf":           "[Definition]\nactionban = true\n[Init]\ndest = root\nsender = f2b\n",
}

// TestKinds: what an administrator's files are turned into. report is what the report must (+) or must not (-) say, written what the files
// must or must not hold.
func TestKinds(t *testing.T) {
	type line struct{ filter, text, address string }
	for name, c := range map[string]struct {
		files           map[string]string
		report, written []string
		lines           []line
	}{
		"an own filter under a built-in's name": {
			files: map[string]string{
				"jail.local":            "[postfix]\nenabled = true\nfilter = mine\nmaxretry = 9\njournalmatch =\nlogpath = /var/log/mail.log\n",
				"filter.d/mine.conf":    "[Definition]\nfailregex = \\[<HOST>\\]: SASL .* failed\n  ^odd client <HOST>$\n",
				"filter.d/another.conf": "[Definition]\nfailregex = x\n",
			},
			written: []string{`+(?m)^  postfix:\n    enabled: true\n    mode: more\n`, `+(?m)^  postfix-local:\n    enabled: true\n    filter: mine\n`, `+max_retry: 9`},
			report:  []string{`+lost .*SASL .* failed: free text may stand on both sides`, `-assumed`},
			lines:   []line{{"mine", "odd client 192.0.2.7", "192.0.2.7"}},
		},
		"an own filter that includes the stock one": {
			files: map[string]string{
				"jail.local":           "[guard]\nenabled = true\nmaxretry = 2\nfilter = strict\n",
				"filter.d/strict.conf": "[INCLUDES]\nbefore = sshd.conf\n[Definition]\nfailregex = %(known/failregex)s\n  ^%(__prefix_line)sBad thing <HOST><__suff>$\n",
			},
			written: []string{`+(?m)^  guard:\n    enabled: true\n    filter: sshd\n    max_retry: 2\n`, `+filter: strict`, `-Failed`, `+(?m)^  sshd:\n    enabled: false # jail guard uses this filter`, `+/usr/sbin/sshd`},
			lines:   []line{{"strict", "Bad thing 192.0.2.7 port 22", "192.0.2.7"}, {"strict", "Failed x from 192.0.2.7", ""}},
		},
		"a jail without a filter": {
			files:   map[string]string{"jail.local": "[hand]\nenabled = true\nfilter =\nport = ssh\nbantime = 1h\nignoreip = 192.0.2.9\n"},
			written: []string{`-hand:`, `+192\.0\.2\.9`},
			report:  []string{`+jail hand as : it has no filter`, `+lost \[hand\] filter.*bans made by hand.*bailiff ban`, `+lost \[hand\] bantime .*not carried over`, `-lost \[hand\] ignoreip`},
		},
		"a second instance": {
			files:   map[string]string{"jail.local": "[sshd-two]\nenabled = true\nfilter = sshd\njournalmatch = _SYSTEMD_UNIT=sshd-two.service + _COMM=sshd\n"},
			written: []string{`+units: \["sshd-two\.service"\]`, `-(?m)^  sshd:`},
		},
		"a built-in's own unit": {
			files:   map[string]string{"jail.local": "[sshd]\nenabled = true\nfilter = sshd[journalmatch=\"_SYSTEMD_UNIT=ssh.service\"]\n"},
			written: []string{`-units:`}, report: []string{`-lost`},
		},
		"a container": {
			files:   map[string]string{"jail.local": "[web]\nenabled = true\n", "filter.d/web.conf": "[Definition]\njournalmatch = CONTAINER_NAME=web-1\nfailregex = ^no <HOST>$\n"},
			written: []string{`+containers: \["web-1"\]`, `-units`, `-uid`},
		},
		"a container for a filter of whole messages": {
			files:   map[string]string{"jail.local": "[nginx-http-auth]\nenabled = true\njournalmatch = CONTAINER_TAG=web\n"},
			written: []string{`+nginx-http-auth:\n    enabled: true`, `-containers`}, report: []string{`+lost .*takes whole messages only`},
		},
		"all containers": {
			files:   map[string]string{"jail.local": "[web]\nenabled = true\n", "filter.d/web.conf": "[Definition]\njournalmatch = _SYSTEMD_UNIT=docker.service\nfailregex = ^no <HOST>$\n"},
			written: []string{`-web`}, report: []string{`+docker\.service writes the lines of all containers`},
		},
		"a user's unit, with its owner": {
			files:   map[string]string{"jail.local": "[app]\nenabled = true\n", "filter.d/app.conf": "[Definition]\njournalmatch = _SYSTEMD_USER_UNIT=app.service _UID=1002\nfailregex = ^no <HOST>$\n"},
			written: []string{`+user_units: \["1002/app\.service"\]`},
		},
		"a user's unit, with its owner's journal": {
			files:   map[string]string{"jail.local": "[app]\nenabled = true\nbackend = systemd[journalfiles=\"/var/log/journal/*/user-1003.journal\"]\n", "filter.d/app.conf": "[Definition]\njournalmatch = _SYSTEMD_USER_UNIT=app.service\nfailregex = ^no <HOST>$\n"},
			written: []string{`+user_units: \["1003/app\.service"\]`},
		},
		"a user's unit of anybody": {
			files:   map[string]string{"jail.local": "[app]\nenabled = true\n", "filter.d/app.conf": "[Definition]\njournalmatch = _SYSTEMD_USER_UNIT=app.service\nfailregex = ^no <HOST>$\n"},
			written: []string{`-app`}, report: []string{`+lost .*the owner of the unit is not named`, `-assumed`},
		},
		"a name of a process": {
			files:   map[string]string{"jail.local": "[app]\nenabled = true\n", "filter.d/app.conf": "[Definition]\njournalmatch = SYSLOG_IDENTIFIER=app\nfailregex = ^no <HOST>$\n"},
			written: []string{`-app`}, report: []string{`+any process can have this name`, `-assumed`},
		},
		"no unit at all": {
			files:   map[string]string{"jail.local": "[app]\nenabled = true\nlogpath = /srv/app.log\n", "filter.d/app.conf": "[Definition]\nfailregex = ^no <HOST>$\n"},
			written: []string{`-app`}, report: []string{`+does not say which unit`, `+not /srv/app\.log`, `-assumed`},
		},
		"a service of a person's": {
			files:   map[string]string{"jail.local": "[app]\nenabled = true\n", "filter.d/app.conf": "[Definition]\njournalmatch = _SYSTEMD_UNIT=app.service\nfailregex = ^no <HOST>$\n"},
			written: []string{`+units: \["app\.service"\]`, `+uid: any`},
		},
		"a banaction that bailiff does not have": {
			files:   map[string]string{"jail.local": "[DEFAULT]\nbanaction = route\n[sshd]\nenabled = true\n"},
			written: []string{`+(?m)^  sshd:\n    enabled: true`}, report: []string{`+changed \[DEFAULT\] banaction .*in place of the action route`, `-jail\.conf.*route`},
		},
		"a banaction that nobody has": {
			files:   map[string]string{"jail.local": "[DEFAULT]\nbanaction = nosuch\n[sshd]\nenabled = true\n"},
			written: []string{`+(?m)^  sshd:\n    enabled: true`}, report: []string{`+lost \[DEFAULT\] banaction .*no action\.d/nosuch\.conf`},
		},
		"a jail that only mails": {
			files:   map[string]string{"jail.local": "[sshd]\nenabled = true\naction = sendmail[dest=root]\n"},
			written: []string{`+(?m)^  sshd:\n    enabled: true\n    observe: true`}, report: []string{`+changed \[sshd\] action .*banned nobody`},
		},
		"a chain that firewalld does not reach": {
			files:   map[string]string{"jail.local": "[DEFAULT]\nbanaction = firewallcmd-new\nchain = FORWARD\n[sshd]\nenabled = true\n"},
			written: []string{`+backend: firewalld`}, report: []string{`+lost \[DEFAULT\] chain .*stay open to banned addresses`},
		},
		"a chain that is reached": {
			files:  map[string]string{"jail.local": "[DEFAULT]\nchain = DOCKER-USER\n[sshd]\nenabled = true\n"},
			report: []string{`+changed \[DEFAULT\] chain .*published container ports`},
		},
		"a placeholder of the filter's": {
			files:   map[string]string{"jail.local": "[sshd]\nenabled = true\nfailregex = ^<__pam>: no <HOST><__suff>$\n  ^never <__nosuch> <HOST>$\n"},
			written: []string{`-<__`},
			report:  []string{`+lost .*<__nosuch>, which is nowhere defined`},
			lines:   []line{{"sshd-local", "pam_unix: no 192.0.2.7 port 22", "192.0.2.7"}},
		},
		"a value that goes on": {
			files:   map[string]string{"jail.local": "[sshd]\nenabled = True\n  maxretry = 3\n[dovecot]\nenabled = yes # the mails\n[postfix]\nenabled = ture\n"},
			written: []string{`+(?m)^  sshd:\n    enabled: true`, `+(?m)^  dovecot:\n    enabled: true`, `-(?m)^  postfix`},
			report:  []string{`+changed \[sshd\] enabled .*left the jail off`, `+changed \[dovecot\] enabled`, `+lost \[postfix\] enabled .*neither true nor false`},
		},
		"a jail without a file": {
			files:   map[string]string{"jail.local": "[ssh]\nenabled = true\n[sshd]\nenabled = true\n"},
			written: []string{`-(?m)^  ssh:`}, report: []string{`+no filter\.d/ssh\.conf.*our jail sshd is on by default`},
		},
		"two jails of one filter": {
			files: map[string]string{
				"jail.local":      "[a]\nenabled = true\nfilter = w\njournalmatch = _SYSTEMD_UNIT=a.service\n[b]\nenabled = true\nfilter = w\njournalmatch = _SYSTEMD_UNIT=b.service\n",
				"filter.d/w.conf": "[Definition]\nfailregex = ^no <HOST>$\n",
			},
			written: []string{`+a\.service`, `+b\.service`},
		},
		"a date that fail2ban takes out": {
			files: map[string]string{
				"jail.local":        "[app]\nenabled = true\n",
				"filter.d/app.conf": "[Definition]\njournalmatch = _SYSTEMD_UNIT=app.service\nfailregex = ^ \\[error\\] \\d+: no from <HOST>$\n  ^<HOST> - \\S+ \\[\\] refused$\n",
			},
			lines: []line{{"app", "2026/11/02 10:11:12 [error] 12: no from 192.0.2.7", "192.0.2.7"}, {"app", "192.0.2.8 - bob [02/Nov/2026:10:11:12 +0000] refused", "192.0.2.8"}},
		},
		"a service that others run in, too": {
			files: map[string]string{
				"jail.local":          "[cloud]\nenabled = true\nmaxretry = 1\n",
				"filter.d/cloud.conf": "[Definition]\njournalmatch = _SYSTEMD_UNIT=php8.2-fpm.service\nfailregex = ^.*no such user from <HOST>.*$\n",
			},
			written: []string{`-roundcube`},
		},
		"a limit for a few lines of a service": {
			files: map[string]string{
				"jail.local":              "[sshd-root]\nenabled = true\nmaxretry = 1\n",
				"filter.d/sshd-root.conf": "[Definition]\njournalmatch = _SYSTEMD_UNIT=ssh.service\nfailregex = ^Failed password for root from <HOST>\n",
			},
			written: []string{`-filter: sshd\n    max_retry: 1`, `-(?m)^  sshd:\n    enabled: false`},
		},
		"thresholds of translated filters": {
			files: map[string]string{
				"jail.local":             "[shop-404]\nenabled = true\nfindtime = 60\nmaxretry = 15\n[sshd]\nenabled = true\nfailregex = ^odd thing from <HOST>$\n[dovecot]\nenabled = true\n",
				"filter.d/shop-404.conf": "[Definition]\njournalmatch = _SYSTEMD_UNIT=shop.service\nfailregex = ^not found for <HOST>$\n",
			},
			written: []string{
				`+(?m)^  shop-404:\n    enabled: true\n    find_time: 1m\n    max_retry: 15\n    slow: \{max_retry: off\}\n`,
				`+(?m)^  sshd-local:\n    enabled: true\n    slow: \{max_retry: off\}\n`,
				`+(?m)^  sshd:\n    enabled: true\n    ports`, `+(?m)^  dovecot:\n    enabled: true\n    ports`,
			},
			report: []string{`+\(shop-404, sshd-local\) count within find_time only`},
		},
		"jails of built-in filters' default modes that are off": {
			files: map[string]string{"jail.local": "[postfix-sasl]\nenabled = false\n[webmin-auth]\nenabled = false\n[znc-adminlog]\nenabled = false\n[dovecot]\nenabled = false\n[sshd-ddos]\nenabled = false\n[roundcube-auth]\nenabled = false\n"},
			written: []string{
				`+(?m)^  postfix:\n    enabled: false\n`, `+(?m)^  webmin:\n    enabled: false\n`, `+(?m)^  znc:\n    enabled: false\n`, `+(?m)^  dovecot:\n    enabled: false\n`,
				`-(?m)^  sshd:`, `-(?m)^  roundcube:`,
			},
			report: []string{
				`+carried \[postfix-sasl\] enabled`, `+carried \[webmin-auth\] enabled`, `+carried \[znc-adminlog\] enabled`, `+carried \[dovecot\] enabled`,
				`+not_needed \[sshd-ddos\] enabled`, `+not_needed \[roundcube-auth\] enabled`,
			},
		},
		"a jail that is off twice": {
			files:   map[string]string{"jail.local": "[postfix-sasl]\nenabled = false\n[postfix]\nenabled = false\n"},
			written: []string{`+(?m)^  postfix:\n    enabled: false\n`}, report: []string{`+carried \[postfix-sasl\] enabled`, `+carried \[postfix\] enabled`},
		},
		"a default mode that is off, and the built-in jail on": {
			files:   map[string]string{"jail.local": "[postfix-sasl]\nenabled = false\n[postfix]\nenabled = true\n"},
			written: []string{`+(?m)^  postfix:\n    enabled: true\n    mode: more\n`}, report: []string{`+not_needed \[postfix-sasl\] enabled`},
		},
		"a default mode that is off, and another one on": {
			files:   map[string]string{"jail.local": "[postfix-sasl]\nenabled = false\n[lists]\nenabled = true\nfilter = postfix[mode=rbl]\n"},
			written: []string{`+(?m)^  lists:\n    enabled: true\n    filter: postfix\n    mode: rbl\n`, `+(?m)^  postfix:\n    enabled: false\n`},
			report:  []string{`+carried \[postfix-sasl\] enabled`},
		},
		"a jail that is off, by its filter": {
			files:   map[string]string{"jail.local": "[imap]\nenabled = false\nfilter = dovecot\n[ftp]\nenabled = false\nfilter = vsftpd[mode=normal]\n[rbl]\nenabled = false\nfilter = postfix[mode=rbl]\n[ssh-all]\nenabled = false\nfilter = sshd[mode=aggressive]\n"},
			written: []string{`+(?m)^  dovecot:\n    enabled: false\n`, `+(?m)^  vsftpd:\n    enabled: false\n`, `+(?m)^  sshd:\n    enabled: false\n`, `-(?m)^  postfix:`},
			report:  []string{`+carried \[imap\] enabled`, `+carried \[ftp\] enabled`, `+carried \[ssh-all\] enabled`, `+not_needed \[rbl\] enabled`},
		},
		"a jail that is off, and its filter used by another": {
			files: map[string]string{"jail.local": "[imap]\nenabled = false\nfilter = dovecot\n[dovecot]\nenabled = true\n" +
				"[ssh-old]\nenabled = false\nfilter = sshd\n[ssh-new]\nenabled = true\nfilter = sshd\n"},
			written: []string{`+(?m)^  dovecot:\n    enabled: true\n`, `+(?m)^  ssh-new:\n    enabled: true\n`, `+(?m)^  sshd:\n    enabled: false`},
			report:  []string{`+not_needed \[imap\] enabled`},
		},
		"a jail that is off, and two built-in ones that replace it": {
			files:   map[string]string{"jail.local": "[mysqld-auth]\nenabled = false\n"},
			written: []string{`+(?m)^  mysqld-auth:\n    enabled: false\n`, `+(?m)^  mariadb-auth:\n    enabled: false\n`},
		},
		"two built-in jails, and another jail for both": {
			files:   map[string]string{"jail.local": "[mysqld-auth]\nenabled = false\n[db]\nenabled = true\nfilter = mysqld-auth\n"},
			written: []string{`+(?m)^  db:\n    enabled: true\n    filter: mysqld-auth\n`, `+(?m)^  mysqld-auth:\n    enabled: false\n`, `-mariadb-auth`},
		},
		"a jail that is off by default": {
			files:   map[string]string{"jail.local": "[courier-auth]\nenabled = true\n[dovecot]\nenabled = true\n"},
			written: []string{`+(?m)^  courier-auth:\n    enabled: true\n`},
			report:  []string{`+filter courier-auth has no jail by default.*bailiff filter show courier-auth`, `-filter dovecot has no jail`},
		},
		"a wider mode under another name": {
			files:   map[string]string{"jail.local": "[ssh-all]\nenabled = true\nfilter = sshd[mode=aggressive]\nmaxretry = 9\n"},
			written: []string{`+(?m)^  ssh-all:\n    enabled: true\n    filter: sshd\n    mode: aggressive\n`, `+(?m)^  sshd:\n    enabled: false`},
		},
		"actions that block all ports": {
			files: map[string]string{
				"jail.local": `[sshd]
enabled = true
banaction = ufw
[dovecot]
enabled = true
banaction = shorewall
[postfix]
enabled = true
banaction = apf
[nginx-http-auth]
enabled = true
action = firewallcmd-ipset[port="%(port)s", actiontype="<allports>"]
[mixed]
enabled = true
filter = dovecot
port = imap
action = %(action_)s
  iptables-xt_recent-echo[name=mixed]
[sets]
enabled = true
filter = dovecot
port = imap
banaction = shorewall-ipset-proto6
`,
				"action.d/ufw.conf":                     "[Definition]\nactionban = true\n[Init]\nblocktype = reject\napplication =\n",
				"action.d/shorewall.conf":               "[Definition]\nactionban = true\n",
				"action.d/shorewall-ipset-proto6.conf":  "[Definition]\nactionban = true\n",
				"action.d/apf.conf":                     "[Definition]\nactionban = true\n",
				"action.d/iptables-xt_recent-echo.conf": "[Definition]\nactionban = true\n[Init]\nport = ssh\n",
				"action.d/firewallcmd-ipset.conf":       "[Definition]\nactionban = true\n[Init]\nport = ssh\nprotocol = tcp\nactiontype = <multiport>\nallports = -p <protocol>\nmultiport = -p <protocol> -m multiport --dports <port>\n",
			},
			written: []string{`-ports:`}, report: []string{`+not_needed \[sshd\] port .*blocks all ports`, `+not_needed \[dovecot\] port .*blocks all ports`},
		},
		"actions that block some ports": {
			files: map[string]string{
				"jail.local":                      "[sshd]\nenabled = true\nbanaction = firewallcmd-ipset\n[dovecot]\nenabled = true\naction = ufw[application=Dovecot, port=\"%(port)s\"]\n",
				"action.d/ufw.conf":               "[Definition]\nactionban = true\n[Init]\nblocktype = reject\napplication =\n",
				"action.d/firewallcmd-ipset.conf": "[Definition]\nactionban = true\n[Init]\nport = ssh\nprotocol = tcp\nactiontype = <multiport>\nallports = -p <protocol>\nmultiport = -p <protocol> -m multiport --dports <port>\n",
			},
			written: []string{`+ports: \[ssh\]`, `+ports: \[imap\]`},
		},
		"an own file with a stock name": {
			files: map[string]string{
				"jail.local":                "[vaultwarden]\nenabled = true\n",
				"filter.d/vaultwarden.conf": "[Definition]\njournalmatch = _SYSTEMD_UNIT=vaultwarden.service\nfailregex = ^odd login <HOST>$\n",
			},
			lines: []line{{"vaultwarden-local", "odd login 192.0.2.7", "192.0.2.7"}},
		},
		"reports without a sender": {
			files: map[string]string{
				"jail.local":                 "[DEFAULT]\nsender =\n[sshd]\nenabled = true\naction = iptables-multiport\n  blocklist_de[email=\"%(sender)s\", service=ssh, apikey=k]\n",
				"action.d/blocklist_de.conf": "[Definition]\nactionban = curl\n[Init]\nemail =\n",
			},
			written: []string{`+(?m)^  sshd:\n    enabled: true`}, report: []string{`+lost .*mail address is missing`},
		},
		"an expression over two lines": {
			files:  map[string]string{"jail.local": "[app]\nenabled = true\n", "filter.d/app.conf": "[Definition]\njournalmatch = _SYSTEMD_UNIT=app.service\nfailregex = ^first\\n^second <HOST>$\n"},
			report: []string{`+lost .*spans several lines`},
		},
		"a list that adds to the general one": {
			files:   map[string]string{"jail.local": "[DEFAULT]\nignoreip = 192.0.2.0/24\n[sshd]\nenabled = true\nignoreip = %(ignoreip)s 198.51.100.33\n"},
			written: []string{`+192\.0\.2\.0/24`},
		},
		"own expressions beside a filter with a long name": {
			files:   map[string]string{"jail.local": "[nginx-http-auth]\nenabled = true\nport = http\nfailregex = ^own thing <HOST>$\n"},
			written: []string{`+(?s)nginx-http-local:\n.*ports: \[.*http`},
		},
		"comments behind values": {
			files:   map[string]string{"jail.local": "[sshd]\nenabled = true\nbantime = 3600 # one hour\nmaxretry = 4 # four\n"},
			written: []string{`+ban_time: 1h`, `+max_retry: 4`}, report: []string{`+changed \[sshd\] maxretry .*line of its own`},
		},
		"a log that only whole messages may come from": {
			files:  map[string]string{"jail.local": "[nginx-http-auth]\nenabled = true\nlogpath = /var/log/nginx/error.log\n"},
			report: []string{`+not /var/log/nginx/error\.log .*takes no lines of standard output`, `-standard output, or syslog`},
		},
	} {
		dir := t.TempDir()
		lay(t, dir, base)
		lay(t, dir, c.files)
		r, err := Import(dir)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		conf := load(t, r)
		var report, written strings.Builder
		for _, j := range r.Report.Jails {
			fmt.Fprintf(&report, "jail %s as %s: %s\n", j.Name, j.As, j.Why)
		}
		for _, s := range r.Report.Settings {
			fmt.Fprintf(&report, "%s [%s] %s %s: %s %s (%s)\n", s.Outcome, s.Section, s.Option, strings.TrimPrefix(s.File, dir), s.Why, s.Hint, s.Value)
		}
		for _, n := range r.Report.Notes {
			report.WriteString(n + "\n")
		}
		for _, f := range r.Files {
			written.Write(f.Data)
		}
		check := func(what, text string, wants []string) {
			for _, w := range wants {
				if regexp.MustCompile(w[1:]).MatchString(text) != (w[0] == '+') {
					t.Errorf("%s: the %s: %s\n%s", name, what, w, text)
				}
			}
		}
		check("report", report.String(), c.report)
		check("files", written.String(), c.written)
		for _, l := range c.lines {
			got := ""
			for i := range conf.Jails {
				if f := conf.Jails[i].Filter; f != nil && f.Name == l.filter {
					m, err := f.Mode("")
					if err != nil {
						t.Fatal(err)
					}
					var h filter.Hit
					if m.MatchMessage([]byte(l.text), &h) {
						got = h.Addr.String()
					}
				}
			}
			if got != l.address {
				t.Errorf("%s: %s: %q: address %q, want %q\n%s", name, l.filter, l.text, got, l.address, written.String())
			}
		}
	}
}
