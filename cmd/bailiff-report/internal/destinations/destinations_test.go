package destinations

import (
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/delivertest"
	"bailiff/policy/config"
	"bailiff/units/e2e/peers"
)

// If a destination is to be redacted, it gets only redacted text, by delivery and preview; otherwise it gets everything.
func TestRedact(t *testing.T) {
	p, url := delivertest.Peers(t)
	for _, d := range []config.Destination{
		{Name: "webhook", Type: config.TypeWebhook, URL: url + peers.HookPath},
		{Name: "abuseipdb", Type: config.TypeAbuseIPDB, URL: url + peers.AbuseIPDBPath},
		{Name: "blocklist.de", Type: config.TypeBlocklist, Method: "http", Server: p.Server, URL: url + peers.BlocklistPath},
	} {
		for _, d.Redact = range []bool{true, false} {
			d.TimeLimit, d.Lines = time.Minute, 100
			key := delivertest.Key
			if d.Type == config.TypeWebhook {
				key = string(p.Secret)
			}
			env := delivertest.Env(t, d.CredentialName(), key)
			env.Own = []string{"mail.example.org", "mail"}
			env.Filter = filters(config.Default().Jails)
			dst, err := New(&d, env)
			if err != nil {
				t.Fatal(err)
			}
			item := delivertest.Item(delivertest.Report("198.51.100.7"))
			shown, err := dst.Render(item)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := dst.Deliver(t.Context(), item); err != nil {
				t.Fatal(err)
			}
			e := p.Entries()[len(p.Entries())-1]
			for _, s := range []string{string(shown), strings.Join(append(e.Form["comment"], e.Form["logs"]...), "") + string(e.Body)} {
				if bob := strings.Contains(s, "bob"); bob == d.Redact || !strings.Contains(s, "Failed") {
					t.Errorf("%s, redact %v: %s", d.Name, d.Redact, s)
				}
				if d.Redact && (strings.Contains(s, `"mail"`) || strings.Contains(s, "Z mail ") || d.Type == config.TypeWebhook && strings.Contains(s, "mail.example.org")) {
					t.Errorf("%s names the host: %s", d.Name, s)
				}
			}
		}
	}
}

// A destination that leaves a trace in the journal also does so when redacted.
func TestTraced(t *testing.T) {
	item := delivertest.Item(delivertest.Report("198.51.100.7"))
	for _, redact := range []bool{true, false} {
		for kind, want := range map[string]bool{config.TypeWebhook: false, config.TypeBlocklist: true, config.TypeMail: true} {
			d := &config.Destination{Name: "x", Type: kind, URL: "https://example.org", Method: "mail", To: []string{"root"}, Redact: redact, Lines: 10}
			dst, err := New(d, delivertest.Env(t, "", ""))
			if err != nil {
				t.Fatal(err)
			}
			if d, ok := dst.(deliver.Traced); ok != want || ok && !strings.HasPrefix(d.Trace(item), "bailiff.00112233445566778899aabbccddeeff.abuse-1@") {
				t.Errorf("%s, redact %v: traced %v", kind, redact, ok)
			}
		}
	}
}
