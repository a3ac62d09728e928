package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/units/control"
	"bailiff/units/e2e/host"
)

// mailHosts are the mail systems that are attacked, each on a host of its own: Debian has one at a time. setup makes it a
// server that anybody may speak to, with accounts bob and mallory of the host.
var mailHosts = []struct {
	name     string
	packages []string
	setup    string
	checks   []mailCheck
}{
	// rpm and pacman are for TestPackage, which so needs no root of its own.
	{"postfix", []string{"postfix", "dovecot-imapd", "dovecot-pop3d", "rpm", "pacman-package-manager"}, postfixSetup, []mailCheck{
		{"sasl-alone", "postfix", curlAUTH}, // before dovecot's jail is on: it sees the same attempts sooner
		{"sasl", "dovecot", curlAUTH},       // postfix asks it for the password, and its lines come first
		{"imap", "dovecot", func(v *victim, t *testing.T, from, to netip.Addr) error {
			return v.curl(t, from, "imap://"+bracketed(to)+"/", "--user", "bob:letmein")
		}},
		{"pop3", "dovecot", func(v *victim, t *testing.T, from, to netip.Addr) error {
			return v.curl(t, from, "pop3://"+bracketed(to)+"/", "--user", "mallory:letmein")
		}},
		{"relay", "postfix", curlRelay},
	}},
	{"sendmail", []string{"sendmail-bin", "sendmail-cf", "sasl2-bin", "libsasl2-modules", "m4", "make"}, sendmailSetup, []mailCheck{
		{"auth", "sendmail-auth", curlAUTH},
		{"relay", "sendmail-reject", curlRelay},
	}},
}

// A mailCheck is one attack, by a real client, and the jail that shall end it.
type mailCheck struct {
	name, jail string
	try        func(v *victim, t *testing.T, from, to netip.Addr) error // one attempt, which must fail
}

func curlAUTH(v *victim, t *testing.T, from, to netip.Addr) error {
	return v.curl(t, from, "smtp://"+bracketed(to)+"/client.example.net", "--user", "bob:letmein", "--login-options", "AUTH=PLAIN")
}

func curlRelay(v *victim, t *testing.T, from, to netip.Addr) error {
	return v.curl(t, from, "smtp://"+bracketed(to)+"/client.example.net", "--mail-from", "a@example.net", "--mail-rcpt", "victim@example.org", "--upload-file", "/etc/hostname")
}

const postfixSetup = `
postconf -e myhostname=mail.example.test 'mydestination=$myhostname, localhost, example.test' mynetworks=127.0.0.0/8 \
	inet_interfaces=all inet_protocols=all alias_maps= alias_database= local_recipient_maps=proxy:unix:passwd.byname disable_dns_lookups=yes \
	smtpd_sasl_auth_enable=yes smtpd_sasl_type=dovecot smtpd_sasl_path=private/auth smtpd_tls_security_level=none \
	smtpd_relay_restrictions=permit_mynetworks,permit_sasl_authenticated,reject_unauth_destination
case $(dovecot --version) in
2.3*) plain='disable_plaintext_auth = no';;
*) plain='auth_allow_cleartext = yes';;
esac
cat >/etc/dovecot/conf.d/99-e2e.conf <<D
$plain
ssl = no
auth_mechanisms = plain login
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
}
D
systemctl restart dovecot.service postfix.service
`

// sendmail's macros quote with ` and ', here written ´ and '.
var sendmailSetup = strings.ReplaceAll(`
cat >/etc/mail/sendmail.mc <<'M'
divert(0)dnl
include(´/usr/share/sendmail/cf/m4/cf.m4')dnl
OSTYPE(´debian')dnl
DOMAIN(´debian-mta')dnl
FEATURE(´no_default_msa')dnl
DAEMON_OPTIONS(´Family=inet, Name=MTA-v4, Port=smtp')dnl
DAEMON_OPTIONS(´Family=inet6, Name=MTA-v6, Port=smtp')dnl
define(´confAUTH_MECHANISMS', ´PLAIN LOGIN')dnl
TRUST_AUTH_MECH(´PLAIN LOGIN')dnl
MAILER_DEFINITIONS
MAILER(´local')dnl
MAILER(´smtp')dnl
M
mkdir -p /etc/sasl2 /usr/lib/sasl2
printf 'pwcheck_method: saslauthd\nmech_list: PLAIN LOGIN\n' | tee /etc/sasl2/Sendmail.conf >/usr/lib/sasl2/Sendmail.conf
sed -i '/^START=/d' /etc/default/saslauthd && echo START=yes >>/etc/default/saslauthd
echo 1 >/proc/sys/net/ipv6/bindv6only # or the IPv6 socket takes IPv4's port
cd /etc/mail
m4 sendmail.mc >sendmail.cf
systemctl restart saslauthd.service sendmail.service
`, "´", "`")

// TestMail attacks real mail systems with real clients: SMTP AUTH, IMAP, POP3 and relaying, over IPv4 and IPv6.
func TestMail(t *testing.T) {
	suites, tree, load := wanted(t, "bookworm", "trixie", "forky")
	for _, suite := range suites {
		for m := range mailHosts {
			t.Run(suite+"/"+mailHosts[m].name, func(t *testing.T) {
				t.Parallel()
				attackMail(t, suite, m, tree, load)
			})
		}
	}
}

func attackMail(t *testing.T, suite string, m int, tree, load string) {
	sys := mailHosts[m]
	v := boot(t, suite, tree, load, sys.packages...)
	v.sh(t, sys.setup)
	v.put(t, "20-rejects.yaml", "jails:\n  postfix: {mode: more}\n  sendmail-reject: {}\n") // no evidence unless named
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := v.Run(context.Background(), "journalctl", "-b", "-o", "short-precise", "-n", "200")
			t.Logf("the host's journal:\n%s", log)
		}
	})
	v.sh(t, `systemctl enable -q --now bailiff.service`)
	v.active(t)
	for i, c := range sys.checks {
		if alone := strings.HasSuffix(c.name, "-alone"); alone {
			v.put(t, "10-alone.yaml", "jails:\n  dovecot: {enabled: false}\n")
			v.sh(t, `systemctl reload bailiff.service`)
		} else if i > 0 && strings.HasSuffix(sys.checks[i-1].name, "-alone") {
			v.sh(t, `rm /etc/bailiff/bailiff.d/10-alone.yaml; systemctl reload bailiff.service`)
		}
		for _, from := range []netip.Addr{
			netip.AddrFrom4([4]byte{198, 51, 100, byte(100 + i)}), netip.MustParseAddr(fmt.Sprintf("2001:db8:100:%d::1", i)),
		} {
			t.Run(fmt.Sprintf("%s-%d", c.name, from.BitLen()), func(t *testing.T) { v.guessed(t, c, from) })
		}
	}
	if sys.name == "postfix" {
		t.Run("good", v.goodMail)
		t.Run("forged", v.forgedMail)
	}
}

// guessed attacks until the attacker is banned by the expected jail.
func (v *victim) guessed(t *testing.T, c mailCheck, from netip.Addr) {
	to := host.Victim4
	if from.Is6() {
		to = host.Victim6
	}
	var wg sync.WaitGroup
	for range 5 {
		if c.jail == "dovecot" { // at once they would look like a mail program with one mistyped password
			wg.Wait()
		}
		wg.Add(1) // PAM makes each of them wait
		go func() {
			defer wg.Done()
			if c.try(v, t, from, to) == nil {
				t.Errorf("%s: an attempt that must fail went through", from)
			}
		}()
	}
	wg.Wait()
	v.bansInKernel(t, from)
	// Two jails may see the same attempts (postfix asks dovecot for the password), and the faster one bans. A replay of one jail alone
	// shows what it saw.
	seen := 0
	for line := range strings.Lines(v.sh(t, `bailiff replay --json --failures --jail `+c.jail)) {
		var f struct{ Kind, Address string }
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("replay: %v in %q", err, line)
		}
		if f.Kind == "failure" && f.Address == from.String() {
			seen++
		}
	}
	if seen != 5 {
		t.Errorf("jail %s counts %d failures of %s, want the 5 attempts", c.jail, seen, from)
	}
	if err := v.keptOut(from, 25); err != nil {
		t.Error(err)
	}
}

// curl is a client of SMTP, IMAP and POP3 in the attacker's network.
func (v *victim) curl(t *testing.T, from netip.Addr, url string, args ...string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	_, err := v.Attack(ctx, nil, append([]string{"curl", "-sS", "--max-time", "120", "--interface", from.String(), url}, args...)...)
	return err
}

func bracketed(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// A client with the right password, and mail to a local user, are none of our business.
func (v *victim) goodMail(t *testing.T) {
	for range 6 {
		if err := v.curl(t, friend4, "imap://"+host.Victim4.String()+"/", "--user", "bob:correct-horse"); err != nil {
			t.Fatalf("a good login: %v", err)
		}
		if err := v.curl(t, friend4, "smtp://"+host.Victim4.String()+"/friend.example.net", "--user", "bob:correct-horse", "--mail-from", "a@example.net", "--mail-rcpt", "bob@example.test", "--upload-file", "/etc/hostname"); err != nil {
			t.Fatalf("a good mail: %v", err)
		}
	}
	v.settled(t)
	if w := v.why(t, friend4); w.State != "unknown" || v.inKernel(t, friend4) {
		t.Errorf("why %s, who did nothing wrong: %+v", friend4, w)
	}
}

// A user's ~/.forward pipe runs inside postfix's unit, and journald records that unit. What it writes there as postfix, smtpd, dovecot or
// sshd is no evidence, because journald records the user, too.
func (v *victim) forgedMail(t *testing.T) {
	lines := []string{
		"warning: unknown[" + framed.String() + "]: SASL LOGIN authentication failed: (reason unavailable), sasl_username=bob",
		"NOQUEUE: reject: RCPT from unknown[" + framed.String() + "]: 554 5.7.1 <v@example.org>: Relay access denied; from=<a@example.net> to=<v@example.org> proto=ESMTP helo=<x>",
		"Failed password for root from " + framed.String() + " port 22 ssh2",
		"imap-login: Disconnected: Connection closed (auth failed, 5 attempts in 8 secs): user=<bob>, method=PLAIN, rip=" + framed.String() + ", lip=192.0.2.1, session=<ofaWfd5g7c7GM2Q1>",
	}
	script := "#!/bin/sh\ncat >/dev/null\nfor tag in postfix/smtpd sshd dovecot; do\n"
	for _, l := range lines {
		script += "logger -t $tag '" + l + "'\n"
	}
	script += "done\n"
	v.place(t, "/home/mallory/forge", script, 0o755)
	v.sh(t, `echo '"|/home/mallory/forge"' >/home/mallory/.forward; chown mallory: /home/mallory/.forward /home/mallory/forge; cp /usr/bin/logger /home/mallory/sshd`)
	const mails = 6
	for range mails {
		v.sh(t, `echo hello | sendmail -i mallory@example.test`)
	}
	want := mails * 3 * len(lines)
	eventually(t, func() error {
		es := v.entries(t, "-b", "-g", strings.ReplaceAll(framed.String(), ".", `\.`), "_UID="+strings.TrimSpace(v.sh(t, `id -u mallory`)))
		inUnit := 0
		for _, e := range es {
			if strings.HasPrefix(e["_SYSTEMD_UNIT"], "postfix") {
				inUnit++
			}
		}
		if len(es) != want || inUnit == 0 {
			return fmt.Errorf("%d forged lines in the journal, %d of them in postfix's unit; want %d, and some", len(es), inUnit, want)
		}
		return nil
	})
	v.settled(t)
	if w := v.why(t, framed); w.State != "unknown" || v.inKernel(t, framed) {
		t.Errorf("why %s, whom a .forward pipe accuses: %+v", framed, w)
	}
	var s control.Status = ask[control.Status](v, t, "status")
	if len(s.Problems) > 0 {
		t.Errorf("problems: %q", s.Problems)
	}
}
