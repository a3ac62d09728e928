package config

import (
	"reflect"
	"testing"
	"time"
)

// What files say of destinations is laid over the defaults of their types, over several files, and comes back when it is
// rendered and read again.
func TestReport(t *testing.T) {
	c := build(t, `
report:
  host: mail.example.org
  sender: bailiff@mail.example.org
  retry_for: 3d
  lookup: {time_limit: 5s, contacts: none, whois: no, whois_server: "[2001:db8::1]:4343"}
  sendmail: {path: /usr/bin/msmtp, args: [--, --], smtp: "::1"}
  destinations:
    admin: {type: mail, to: [root, ops@example.org], layout: fail2ban, digest: no, window: 1h}
    abuseipdb: {jails: sshd, categories: {sshd: [18, 22], postfix: 11}}
    blocklist.de: {method: http, server: me@example.org, services: {exim: mail}}
    xarf: {org: Example GmbH, format: "0.2"}
    chat: {type: webhook, url: "http://127.0.0.1:8080/x?y=z", headers: {X-Team: "mail: \"ops\""}}
    tell: {type: exec, command: [/usr/local/bin/tell, "a b", a, a]}
`, "report: {destinations: {admin: {window: none, include: []}, abuseipdb: {enabled: no, quota: off}}}\n")
	r := c.Report
	want := map[string]Destination{
		"admin": {Type: TypeMail, Enabled: true, Manual: true, Networks: true, Digest: "off", RetryFor: 3 * 24 * time.Hour, To: []string{"root", "ops@example.org"},
			Layout: "fail2ban", Lines: 1000, TimeLimit: time.Minute},
		"abuseipdb": {Type: TypeAbuseIPDB, Jails: []string{"sshd"}, Window: 15 * time.Minute, Digest: "off", RetryFor: 3 * 24 * time.Hour, Redact: true, Lines: 20,
			TimeLimit: time.Minute, Categories: map[string][]int{"sshd": {18, 22}, "postfix": {11}}},
		"blocklist.de": {Type: TypeBlocklist, Enabled: true, Digest: "off", RetryFor: 3 * 24 * time.Hour, Redact: true, Lines: 100, TimeLimit: time.Minute,
			Method: "http", To: []string{"fail2ban@blocklist.de"}, Server: "me@example.org", Services: map[string]string{"exim": "mail"}},
		"xarf": {Type: TypeXARF, Enabled: true, Digest: "daily", Window: 24 * time.Hour, RetryFor: 3 * 24 * time.Hour, Redact: true, Lines: 100, TimeLimit: time.Minute,
			Format: "0.2", Org: "Example GmbH", PerContact: 10},
		"chat": {Type: TypeWebhook, Enabled: true, Digest: "off", RetryFor: 3 * 24 * time.Hour, Redact: true, Manual: true, Networks: true, Prolonged: true, Lines: 100, TimeLimit: time.Minute,
			URL: "http://127.0.0.1:8080/x?y=z", Headers: map[string]string{"X-Team": "mail: \"ops\""}},
		"tell": {Type: TypeExec, Enabled: true, Digest: "off", RetryFor: 3 * 24 * time.Hour, Manual: true, Networks: true, Prolonged: true, Lines: 100, TimeLimit: time.Minute,
			Command: []string{"/usr/local/bin/tell", "a b", "a", "a"}},
	}
	if len(r.Destinations) != len(want) {
		t.Errorf("%d destinations", len(r.Destinations))
	}
	for _, got := range r.Destinations {
		w := want[got.Name]
		w.Name = got.Name
		if !reflect.DeepEqual(got, w) {
			t.Errorf("%s:\n%+v\nwant\n%+v", got.Name, got, w)
		}
	}
	if r.Sendmail.SMTP != "[::1]:25" {
		t.Errorf("smtp %q", r.Sendmail.SMTP)
	}
	again, err := Parse("again", c.Render())
	if err != nil {
		t.Fatalf("%v in\n%s", err, c.Render())
	}
	if !reflect.DeepEqual(again.Report, r) {
		t.Errorf("read again:\n%+v\nwant\n%+v", again.Report, r)
	}
}

// Nobody is told anything unless a file says so.
func TestNoReports(t *testing.T) {
	if d := Default().Report.Destinations; d != nil {
		t.Errorf("%+v", d)
	}
}
