package config

import (
	"reflect"
	"testing"
	"time"
)

// Destinations from several files are merged over the defaults of their types, and are the same when rendered and read again.
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
    phone: {type: webhook, form: ntfy, url: "https://ntfy.sh/x", only: new, quiet: 22:00-07:00, gather: none}
    team: {type: webhook, form: matrix, url: "https://matrix.example.org", channel: "!a:example.org", events: [unbans], digest: daily}
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
			URL: "http://127.0.0.1:8080/x?y=z", Headers: map[string]string{"X-Team": "mail: \"ops\""}, Form: "bailiff", Events: []string{"bans"}, Only: "all", Gather: 30 * time.Second},
		"phone": {Type: TypeWebhook, Enabled: true, Digest: "off", RetryFor: 3 * 24 * time.Hour, Manual: true, Networks: true, TimeLimit: time.Minute,
			URL: "https://ntfy.sh/x", Form: "ntfy", Events: []string{"bans", "problems"}, Only: "new", Quiet: Quiet{22 * 60, 7 * 60}},
		"team": {Type: TypeWebhook, Enabled: true, Digest: "daily", RetryFor: 3 * 24 * time.Hour, Manual: true, Networks: true, TimeLimit: time.Minute,
			URL: "https://matrix.example.org", Channel: "!a:example.org", Form: "matrix", Events: []string{"unbans"}, Only: "all", Gather: 30 * time.Second},
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

// Nothing is reported unless a file says so.
func TestNoReports(t *testing.T) {
	if d := Default().Report.Destinations; d != nil {
		t.Errorf("%+v", d)
	}
}

// TestQuiet: a time of the day may reach beyond midnight.
func TestQuiet(t *testing.T) {
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 11, day, hour, minute, 30, 0, time.UTC) }
	night, lunch := Quiet{22 * 60, 7 * 60}, Quiet{12 * 60, 13*60 + 30}
	for _, c := range []struct {
		q        Quiet
		now, end time.Time
	}{
		{night, at(3, 21, 59), time.Time{}},
		{night, at(3, 22, 0), time.Date(2026, 11, 4, 7, 0, 0, 0, time.UTC)},
		{night, at(3, 0, 0), time.Date(2026, 11, 3, 7, 0, 0, 0, time.UTC)},
		{night, at(3, 6, 59), time.Date(2026, 11, 3, 7, 0, 0, 0, time.UTC)},
		{night, at(3, 7, 0), time.Time{}},
		{lunch, at(3, 12, 0), time.Date(2026, 11, 3, 13, 30, 0, 0, time.UTC)},
		{lunch, at(3, 11, 59), time.Time{}},
		{lunch, at(3, 13, 30), time.Time{}},
		{Quiet{}, at(3, 0, 0), time.Time{}},
	} {
		if end := c.q.Until(c.now); !end.Equal(c.end) {
			t.Errorf("%s at %s: until %s, want %s", c.q, c.now, end, c.end)
		}
	}
}
