package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// mailSystems are the mail systems besides Postfix that bailiff-report sends with. Each has its own idea of who may send.
var mailSystems = []struct {
	name     string
	packages []string
	setup    string // the host's
	config   string // of bailiff, beside what bailiff report setup does
	arrived  string // prints the mails that bob got, or that wait for him
	more     func(*victim, *testing.T)
}{
	{"opensmtpd", []string{"opensmtpd", "msmtp", "ca-certificates", "proftpd-core", "apache2"}, `systemctl restart opensmtpd.service`, "", `cat /home/bob/Maildir/new/* 2>/dev/null || :`, func(v *victim, t *testing.T) {
		v.proftpdLogs(t)
		v.apacheLogs(t)
	}},
	// A program that only speaks SMTP, and needs nothing of the sandbox. The server is the one above.
	{"msmtp", []string{"opensmtpd", "msmtp", "ca-certificates", "proftpd-core", "apache2"}, `systemctl restart opensmtpd.service`,
		"report: {sendmail: {path: /usr/bin/msmtp, args: [--host=127.0.0.1, --port=25, --tls=off, --auth=off, -f, SENDER, --]}}\n", `cat /home/bob/Maildir/new/* 2>/dev/null || :`, nil},
	{"exim", []string{"exim4-daemon-light", "nginx-light", "vsftpd", "mariadb-server"}, `systemctl restart exim4.service`, "", `cat /var/mail/bob 2>/dev/null || :`, (*victim).servicesLog},
	{"sendmail", mailHosts[1].packages, sendmailSetup, "", `cat /var/mail/bob /var/spool/mqueue/* 2>/dev/null || :`, nil},
}

// TestSendmail: a mail of a ban goes out through each mail system, from bailiff-report's sandbox, as `bailiff report setup`
// and the manual page say.
func TestSendmail(t *testing.T) {
	suites, tree, load := wanted(t)
	for _, suite := range suites {
		for _, m := range mailSystems {
			t.Run(suite+"/"+m.name, func(t *testing.T) {
				t.Parallel()
				v := boot(t, suite, tree, load, m.packages...)
				v.reporterLog(t)
				v.sh(t, m.setup)
				v.put(t, "50-report.yaml", "report:\n  host: victim.example.test\n  sender: root@victim.example.test\n  lookup: {rdap: no, whois: no}\n  destinations:\n    admin: {type: mail, to: bob@localhost}\n")
				if m.config != "" {
					v.put(t, "60-mail.yaml", m.config)
					v.sh(t, `systemd-tmpfiles --create /usr/lib/tmpfiles.d/bailiff.conf`)
				} else {
					v.sendsBy(t, m.name)
				}
				v.sh(t, `bailiff check && systemctl daemon-reload && systemctl enable -q --now bailiff.service`)
				v.active(t)
				from := sourceN(42)
				v.fails(t, from, 5)
				v.bansInKernel(t, from)
				eventually(t, func() error {
					if out := v.sh(t, m.arrived); !strings.Contains(out, from.String()) || strings.Count(out, "Auto-Submitted:") != 1 {
						return fmt.Errorf("bob has %q", out)
					}
					return nil
				})
				if m.more != nil {
					t.Run("logs", func(t *testing.T) { m.more(v, t) })
				}
			})
		}
	}
}
