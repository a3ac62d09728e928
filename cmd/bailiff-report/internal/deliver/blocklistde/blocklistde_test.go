package blocklistde

import (
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/delivertest"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
	"bailiff/units/e2e/peers"
)

func conf(url string) *config.Destination {
	return &config.Destination{Name: "bl", Type: config.TypeBlocklist, Method: "http", Server: "bailiff@mail.example.org", URL: url + peers.BlocklistPath, TimeLimit: 30 * time.Second, Lines: 100}
}

func start(t *testing.T) (*peers.Peers, deliver.Destination) {
	t.Helper()
	p, url := delivertest.Peers(t)
	d := conf(url)
	dest, err := New(d, delivertest.Env(t, d.CredentialName(), delivertest.Key))
	if err != nil {
		t.Fatal(err)
	}
	return p, dest
}

func outcome(t *testing.T, d deliver.Destination, item *report.Item) string {
	t.Helper()
	got := delivertest.Outcome(d.Deliver(t.Context(), item))
	if strings.Contains(got, delivertest.Key) {
		t.Errorf("the key stands in %q", got)
	}
	return got
}

func TestHTTP(t *testing.T) {
	p, d := start(t)
	if got := outcome(t, d, delivertest.Item(delivertest.Report("198.51.100.7"))); got != "ok: taken" {
		t.Error(got)
	}
	silent, dovecot := delivertest.Report("198.51.100.8"), delivertest.Report("2001:db8:1:2::9")
	silent.Lines = nil
	dovecot.Jail, dovecot.Service = "dovecot", "dovecot"
	if got := outcome(t, d, delivertest.Item(silent)); !strings.HasPrefix(got, "refused: blocklist.de is not told: there are no log lines") {
		t.Error(got)
	}
	if got := outcome(t, d, delivertest.Item(dovecot)); got != "ok: taken" {
		t.Error(got)
	}
	all := p.Entries()
	for _, e := range all {
		if len(e.Faults) > 0 {
			t.Errorf("%q", e.Faults)
		}
	}
	if len(all) != 2 || all[1].Form["ip"][0] != "2001:db8:1:2::9" || all[1].Form["service"][0] != "imap" || strings.Count(all[0].Form["logs"][0], "\n") != 5 {
		t.Errorf("%+v", all)
	}
}

func TestFailures(t *testing.T) {
	p, d := start(t)
	for _, c := range []struct{ mode, want string }{
		{peers.Error, "retry 0s: blocklist.de answered 500 (internal server error)"},
		{peers.Unavailable, "retry 2s: blocklist.de answered 503 (service unavailable): back soon"},
		{peers.Cut, "retry 0s: 127.0.0.1:"},
		{peers.CutEarly, "retry 0s: 127.0.0.1:"},
		{peers.Huge, "retry 0s: blocklist.de sent an answer that is not of its interface: xxx"},
		{peers.Garbage, "retry 0s: blocklist.de sent an answer that is not of its interface: ?{]"},
		{peers.Redirect, "retry 0s: blocklist.de answered 302 (found)"},
		{peers.WrongKey, "held: blocklist.de refuses: server: API-Key stimmt nicht mit dem Server ueberein."},
		{peers.Refuse, "refused: blocklist.de refuses: service: Service is unknown.; name the service of the jail in report.destinations.bl.services"},
		{peers.Quota, "quota 1h0m0s: blocklist.de answered 429 (too many requests): slow down"},
	} {
		if err := p.SetMode(peers.Blocklist, c.mode, 1); err != nil {
			t.Fatal(err)
		}
		if got := outcome(t, d, delivertest.Item(delivertest.Report("198.51.100.7"))); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s, want %s", c.mode, got, c.want)
		}
	}
}

func TestHangs(t *testing.T) {
	p, url := delivertest.Peers(t)
	d := conf(url)
	d.TimeLimit = 50 * time.Millisecond
	dest, err := New(d, delivertest.Env(t, d.CredentialName(), delivertest.Key))
	if err != nil {
		t.Fatal(err)
	}
	p.SetMode(peers.Blocklist, peers.Hang, 1)
	if got := outcome(t, dest, delivertest.Item(delivertest.Report("198.51.100.7"))); !strings.HasSuffix(got, "no answer within 50ms") {
		t.Error(got)
	}
}

func TestRender(t *testing.T) {
	p, d := start(t)
	b, err := d.Render(delivertest.Item(delivertest.Report("198.51.100.7")))
	if s := string(b); err != nil || strings.Contains(s, delivertest.Key) || !strings.Contains(s, "\n\napikey=****&format=json&ip=198.51.100.7&logs=") || len(p.Entries()) > 0 {
		t.Errorf("%s, %v", b, err)
	}
}

func TestSetUpWrongly(t *testing.T) {
	_, url := delivertest.Peers(t)
	d := conf(url)
	dest, err := New(d, delivertest.Env(t, "another", "x"))
	if err != nil {
		t.Fatal(err)
	}
	if got := outcome(t, dest, delivertest.Item(delivertest.Report("198.51.100.7"))); !strings.HasPrefix(got, "held: credential bailiff_bl: file does not exist") {
		t.Error(got)
	}
	d.URL = "http://www.blocklist.de/en/httpreports.html"
	if _, err := New(d, delivertest.Env(t, "", "")); err == nil {
		t.Error("the key may travel unencrypted")
	}
	d.Method, d.To = "mail", nil
	if _, err := New(d, delivertest.Env(t, "", "")); err == nil {
		t.Error("mails to nobody")
	}
}
