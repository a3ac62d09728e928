package webhook

import (
	"encoding/json"
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

func start(t *testing.T, secret string, limit time.Duration) (*peers.Peers, deliver.Destination) {
	t.Helper()
	p, url := delivertest.Peers(t)
	d := &config.Destination{Name: "hook", Type: config.TypeWebhook, URL: url + peers.HookPath, TimeLimit: limit, Lines: 100, Headers: map[string]string{"X-Team": "mail"}}
	env := delivertest.Env(t, d.CredentialName(), secret)
	if secret == "" {
		env = delivertest.Env(t, "another", "x")
	}
	dest, err := New(d, env)
	if err != nil {
		t.Fatal(err)
	}
	return p, dest
}

const secret = "0123456789abcdef0123456789abcdef"

func outcome(t *testing.T, d deliver.Destination, item *report.Item) string {
	t.Helper()
	got := delivertest.Outcome(d.Deliver(t.Context(), item))
	if strings.Contains(got, secret) {
		t.Errorf("the secret stands in %q", got)
	}
	return got
}

func TestDeliver(t *testing.T) {
	p, d := start(t, secret+"\n", time.Minute)
	one := delivertest.Item(delivertest.Report("198.51.100.7"))
	digest := delivertest.Item(delivertest.Report("198.51.100.7"), delivertest.Report("2001:db8::9"))
	for _, item := range []*report.Item{one, one, digest} {
		if got := outcome(t, d, item); got != "ok: 202, ok" {
			t.Error(got)
		}
	}
	all := p.Entries()
	for _, e := range all {
		if len(e.Faults) > 0 {
			t.Errorf("%q", e.Faults)
		}
	}
	if len(all) != 3 || all[0].ID != all[1].ID || string(all[0].Body) != string(all[1].Body) || all[2].Taken[1] != "2001:db8::9" {
		t.Fatalf("%+v", all)
	}
	var got Payload
	if err := json.Unmarshal(all[0].Body, &got); err != nil || len(got.Data.Reports[0].Lines) != 5 || got.Data.Reports[0].Lines[4].Account != "bob" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestFailures(t *testing.T) {
	p, d := start(t, secret, time.Minute)
	for _, c := range []struct{ mode, want string }{
		{peers.Error, "retry 0s: 127.0.0.1:PORT answered 500 (internal server error)"},
		{peers.Unavailable, "retry 2s: 127.0.0.1:PORT answered 503 (service unavailable): back soon"},
		{peers.Cut, "retry 0s: 127.0.0.1:PORT: EOF"},
		{peers.CutEarly, "retry 0s: 127.0.0.1:PORT: "},
		{peers.Huge, "ok: 200, xxxx"},
		{peers.Garbage, "ok: 200, ?{] [31m"},
		{peers.Redirect, "retry 0s: 127.0.0.1:PORT answered 302 (found)"},
		{peers.WrongKey, "held: 127.0.0.1:PORT answered 401 (unauthorized): signature mismatch"},
		{peers.Gone, "held: 127.0.0.1:PORT answered 410 (gone): nobody wants"},
		{peers.Refuse, "refused: 127.0.0.1:PORT answered 400 (bad request): no"},
		{peers.Quota, "quota 1h0m0s: 127.0.0.1:PORT answered 429 (too many requests): slow down"},
	} {
		if err := p.SetMode(peers.Hook, c.mode, 1); err != nil {
			t.Fatal(err)
		}
		got := outcome(t, d, delivertest.Item(delivertest.Report("198.51.100.7")))
		if len(got) > 600 {
			t.Errorf("%s: %d bytes", c.mode, len(got))
		}
		var port int
		if _, after, ok := strings.Cut(got, "127.0.0.1:"); ok {
			fmt.Sscanf(after, "%d", &port)
		}
		if got = strings.Replace(got, fmt.Sprintf("127.0.0.1:%d", port), "127.0.0.1:PORT", 1); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s, want %s", c.mode, got, c.want)
		}
	}
}

func TestHangs(t *testing.T) {
	p, d := start(t, secret, 50*time.Millisecond)
	p.SetMode(peers.Hook, peers.Hang, 1)
	if got := outcome(t, d, delivertest.Item(delivertest.Report("198.51.100.7"))); !strings.HasSuffix(got, "no answer within 50ms") {
		t.Error(got)
	}
}

func TestSetUpWrongly(t *testing.T) {
	for s, want := range map[string]string{
		"":                          "held: credential bailiff_hook: file does not exist",
		"short":                     "held: credential bailiff_hook: line 1: secret has less than 16 bytes",
		"another secret altogether": "held: 127.0.0.1:",
	} {
		_, d := start(t, s, time.Minute)
		if got := outcome(t, d, delivertest.Item(delivertest.Report("198.51.100.7"))); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %s", s, got)
		}
	}
	if _, err := New(&config.Destination{URL: "http://chat.example.org/hook"}, deliver.Env{}); err == nil {
		t.Error("a report may travel unencrypted")
	}
}

func TestRender(t *testing.T) {
	p, d := start(t, secret, time.Minute)
	b, err := d.Render(delivertest.Item(delivertest.Report("198.51.100.7")))
	if s := string(b); err != nil || strings.Contains(s, secret) || !strings.Contains(s, "\nX-Team: mail\nwebhook-id: 00112233445566778899aabbccddeeff_abuse-1\nwebhook-signature: v1,****\nwebhook-timestamp: ") || !strings.Contains(s, `{"type":"ban","version":1,`) {
		t.Errorf("%s, %v", b, err)
	}
	if len(p.Entries()) > 0 {
		t.Error("it was sent")
	}
}
