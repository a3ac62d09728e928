// Package delivertest has what the tests of destinations share: a report with everything in it, and an environment that speaks to
// peers (units/e2e/peers) on this host.
package delivertest

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/httpclient"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
	"bailiff/units/e2e/peers"
)

// Key is a secret that must never be seen but by the service.
const Key = "hunter2-is-the-key"

// Report is a ban of the address for five failures at sshd.
func Report(addr string) *report.Report {
	a, now := netip.MustParseAddr(addr), time.Now().Truncate(time.Second)
	prefix, _ := a.Prefix(min(a.BitLen(), 64))
	if a.Is4() {
		prefix = netip.PrefixFrom(a, 32)
	}
	r := &report.Report{
		ID: "00112233445566778899aabbccddeeff", Cursor: "s=1;i=2;b=3", Time: now, Prefix: prefix, Address: a, Jail: "sshd", Service: "sshd",
		First: now.Add(-2 * time.Minute), Since: now, Until: now.Add(time.Hour), Failures: 5, Count: 1, Reason: "failures", Ports: []uint16{22}, Host: "mail.example.org",
	}
	for i := range 5 {
		r.Lines = append(r.Lines, report.Line{
			Time: r.First.Add(time.Duration(i) * 20 * time.Second), Hostname: "mail", Identifier: "sshd-session", PID: uint32(100 + i), Unit: "ssh.service",
			Message: fmt.Appendf(nil, "Failed password for bob from %s port %d ssh2", a, 40110+i), Cursor: fmt.Sprintf("s=1;i=%d", i),
			Pattern: "failed", Source: a, Port: uint16(40110 + i), Account: []byte("bob"),
		})
	}
	return r
}

// Item is one report, or a digest of several.
func Item(reports ...*report.Report) *report.Item {
	return &report.Item{Key: "00112233445566778899aabbccddeeff.abuse-1", Reports: reports, Digest: len(reports) > 1, Attempt: 1}
}

// Peers plays the services, and returns where.
func Peers(t testing.TB) (*peers.Peers, string) {
	t.Helper()
	p := &peers.Peers{Key: Key, Server: "bailiff@mail.example.org", Secret: []byte("0123456789abcdef0123456789abcdef")}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return p, s.URL
}

// Env is a process with one credential.
func Env(t testing.TB, name, secret string) deliver.Env {
	c := httpclient.NewClient()
	t.Cleanup(c.CloseIdleConnections)
	return deliver.Env{
		Config: &config.Report{Host: "mail.example.org"}, Host: "mail.example.org", Client: c, Now: time.Now, Agent: "bailiff/test", State: t.TempDir(),
		Secret: func(n string) ([]byte, error) {
			if n != name {
				return nil, fmt.Errorf("credential %s: %w", n, fs.ErrNotExist)
			}
			return []byte(secret), nil
		},
	}
}

// Outcome puts a delivery's end in words.
func Outcome(r report.Receipt, err error) string {
	var retry *report.Retry
	var no *report.Refused
	switch {
	case errors.As(err, &retry) && retry.Quota:
		return fmt.Sprintf("quota %v: %v", retry.After, err)
	case errors.As(err, &no) && no.All:
		return "held: " + err.Error()
	case errors.As(err, &no):
		return "refused: " + err.Error()
	case errors.As(err, &retry):
		return fmt.Sprintf("retry %v: %v", retry.After, err)
	case err != nil:
		return "retry 0s: " + err.Error()
	case r.Duplicate:
		return "duplicate: " + r.Answer
	}
	return "ok: " + r.Answer
}
