package abuseipdb

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/delivertest"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
	"bailiff/units/e2e/peers"
)

func start(t *testing.T) (*peers.Peers, deliver.Destination, *config.Destination) {
	t.Helper()
	p, url := delivertest.Peers(t)
	d := &config.Destination{Name: "abuseipdb", Type: config.TypeAbuseIPDB, URL: url + peers.AbuseIPDBPath, TimeLimit: 30 * time.Second, Lines: 20}
	dest, err := New(d, delivertest.Env(t, d.CredentialName(), delivertest.Key+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return p, dest, d
}

func outcome(t *testing.T, d deliver.Destination, item *report.Item) string {
	t.Helper()
	got := delivertest.Outcome(d.Deliver(t.Context(), item))
	if strings.Contains(got, delivertest.Key) {
		t.Errorf("the key stands in %q", got)
	}
	return got
}

// faultless fails the test for anything that AbuseIPDB would have objected to.
func faultless(t *testing.T, p *peers.Peers) []peers.Entry {
	t.Helper()
	all := p.Entries()
	for _, e := range all {
		if len(e.Faults) > 0 {
			t.Errorf("%s: %q", e.Path, e.Faults)
		}
	}
	return all
}

func TestReports(t *testing.T) {
	p, d, _ := start(t)
	for _, addr := range []string{"198.51.100.7", "2001:db8:1:2::9"} {
		item := delivertest.Item(delivertest.Report(addr))
		if got := outcome(t, d, item); got != "ok: taken, confidence of abuse 52" {
			t.Error(got)
		}
		if got := outcome(t, d, item); got != "duplicate: reported less than 15 minutes ago" {
			t.Error(got)
		}
	}
	e := faultless(t, p)
	if len(e) != 4 || e[2].Form["ip"][0] != "2001:db8:1:2::9" || e[0].Form["categories"][0] != "18,22" || strings.Contains(e[0].Form["comment"][0], "mail") {
		t.Errorf("%+v", e)
	}
	item := delivertest.Item(delivertest.Report("198.51.100.9"))
	item.Test = true
	if got := outcome(t, d, item); !strings.HasPrefix(got, "duplicate: ") || p.Entries()[4].Form["ip"][0] != "127.0.0.2" {
		t.Error(got)
	}
}

func TestFailures(t *testing.T) {
	p, d, _ := start(t)
	for _, c := range []struct{ mode, want string }{
		{peers.Error, "retry 0s: AbuseIPDB answered 500 (internal server error)"},
		{peers.Unavailable, "retry 2s: AbuseIPDB answered 503"},
		{peers.Cut, "retry 0s: 127.0.0.1:"},
		{peers.CutEarly, "retry 0s: 127.0.0.1:"},
		{peers.Huge, "retry 0s: AbuseIPDB sent an answer that is not of its API: xxx"},
		{peers.Garbage, "retry 0s: AbuseIPDB sent an answer that is not of its API: ?{]"},
		{peers.Redirect, "retry 0s: AbuseIPDB answered 302 (found)"},
		{peers.WrongKey, "held: AbuseIPDB answered 401 (unauthorized): Authentication failed."},
		{peers.Payment, "held: AbuseIPDB asks for payment"},
		{peers.Refuse, "refused: AbuseIPDB answered 422 (unprocessable content): The ip must be"},
		{peers.Quota, "quota 1h0m0s: AbuseIPDB answered 429 (too many requests): Daily rate limit of 1000"},
		{peers.Duplicate, "duplicate: "},
	} {
		for _, n := range []int{1, 25} {
			if n > 1 && (c.mode == peers.Duplicate || c.mode == peers.Refuse) {
				continue
			}
			if err := p.SetMode(peers.AbuseIPDB, c.mode, 1); err != nil {
				t.Fatal(err)
			}
			if got := outcome(t, d, many(n)); !strings.HasPrefix(got, c.want) {
				t.Errorf("%s, %d: %s, want %s", c.mode, n, got, c.want)
			}
		}
	}
	faultless(t, p)
}

func TestHangs(t *testing.T) {
	p, url := delivertest.Peers(t)
	d := &config.Destination{Name: "abuseipdb", Type: config.TypeAbuseIPDB, URL: url + peers.AbuseIPDBPath + "/", TimeLimit: 50 * time.Millisecond, Lines: 20}
	dest, err := New(d, delivertest.Env(t, d.CredentialName(), delivertest.Key))
	if err != nil {
		t.Fatal(err)
	}
	p.SetMode(peers.AbuseIPDB, peers.Hang, 1)
	if got := outcome(t, dest, many(1)); !strings.HasPrefix(got, "retry 0s: 127.0.0.1:") || !strings.HasSuffix(got, "no answer within 50ms") {
		t.Error(got)
	}
}

func many(n int) *report.Item {
	var all []*report.Report
	for i := range n {
		all = append(all, delivertest.Report(fmt.Sprintf("198.51.%d.%d", 100+i/250, 1+i%250)))
	}
	return delivertest.Item(all...)
}

func TestDigests(t *testing.T) {
	p, d, _ := start(t)
	few := many(3)
	few.Reports[1].Service, few.Reports[1].Jail = "nsd", "nsd"
	if got := outcome(t, d, few); !strings.HasPrefix(got, "ok: 2 taken, 0 already known; 1 left out: AbuseIPDB is not told: nsd uses UDP") {
		t.Error(got)
	}
	if got := outcome(t, d, many(1000)); got != "ok: 998 of 1000 taken, 2 already known" {
		t.Error(got)
	}
	if got := outcome(t, d, many(1000)); got != "duplicate: 0 of 1000 taken, 1000 already known" {
		t.Error(got)
	}
	if e := faultless(t, p); len(e) != 4 || len(e[2].Rows) != 1001 {
		t.Errorf("%d requests", len(e))
	}
	few = many(2)
	few.Reports[0].Jail, few.Reports[1].Jail, few.Reports[0].Service, few.Reports[1].Service = "x", "x", "x", "x"
	if got := outcome(t, d, few); !strings.HasPrefix(got, "refused: AbuseIPDB is not told: attacks on x have no known categories") {
		t.Error(got)
	}
}

func TestRender(t *testing.T) {
	p, d, _ := start(t)
	for _, item := range []*report.Item{many(1), many(30)} {
		b, err := d.Render(item)
		if err != nil || !strings.Contains(string(b), "\nKey: ****\n") || strings.Contains(string(b), delivertest.Key) || !strings.Contains(string(b), "198.51.100.1") {
			t.Errorf("%s, %v", b, err)
		}
	}
	if n := len(p.Entries()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestSetUpWrongly(t *testing.T) {
	p, _, d := start(t)
	for secret, want := range map[string]string{
		"":              "held: credential bailiff_abuseipdb: is empty",
		"two words":     "held: credential bailiff_abuseipdb: is not a key",
		"k\nInjected: ": "held: credential bailiff_abuseipdb: is not a key",
		"wrong":         "held: AbuseIPDB answered 401",
	} {
		dest, err := New(d, delivertest.Env(t, d.CredentialName(), secret))
		if err != nil {
			t.Fatal(err)
		}
		if got := outcome(t, dest, many(1)); !strings.HasPrefix(got, want) || len(secret) > 5 && strings.Contains(got, secret) {
			t.Errorf("%q: %s", secret, got)
		}
	}
	dest, err := New(d, delivertest.Env(t, "another", "x"))
	if err != nil {
		t.Fatal(err)
	}
	if got := outcome(t, dest, many(1)); !strings.HasPrefix(got, "held: credential bailiff_abuseipdb: file does not exist") {
		t.Error(got)
	}
	for _, url := range []string{"http://example.org", "ftp://127.0.0.1", "x"} {
		d.URL = url
		if _, err := New(d, delivertest.Env(t, "", "")); err == nil {
			t.Errorf("%s was taken", url)
		}
	}
	if n := len(p.Entries()); n != 1 {
		t.Errorf("%d requests", n)
	}
}
