package client

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff/internal/cli/clitest"
	"bailiff/journal/journaltest"
	"bailiff/units/control"
)

// asked answers why; this test calls nothing else.
type asked struct {
	control.Daemon
	why control.Why
}

func (a *asked) Why(context.Context, netip.Prefix) (*control.Why, error) { w := a.why; return &w, nil }

func whySocket(t *testing.T, w control.Why) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root and members of group bailiff may ask a control server, and this test is not run by root")
	}
	socket := filepath.Join(t.TempDir(), "control")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := control.NewServer(&asked{why: w}, control.Options{})
	go s.Serve(ln)
	t.Cleanup(func() { s.Shutdown(context.Background()) })
	return socket
}

// TestWhyCounted: the window, the pattern and its filter, and how many failures are missing for a ban.
func TestWhyCounted(t *testing.T) {
	at := time.Date(2026, 11, 22, 19, 17, 0, 0, time.Local)
	line := control.Line{Time: at, Identifier: "sshd", PID: 7, Message: "Failed \x1b[31mpassword", Cursor: "c", Pattern: "failed", Weight: 2}
	w := control.Why{Address: "192.0.2.7", State: "counted", Counted: []control.WhyCount{
		{Jail: "ssh", Filter: "sshd", Window: "normal", Length: 600, Prefix: "192.0.2.7/32", Failures: 1, Attempts: 1, Count: 2, MaxRetry: 5, Missing: 3, Until: at, Evidence: []control.Line{line}},
		{Jail: "sshd", Filter: "sshd", Window: "slow", Length: 86400, Prefix: "192.0.2.7/32", Failures: 1, Attempts: 11, Count: 12, MaxRetry: 20, Missing: 8, Until: at,
			Evidence: []control.Line{{Cursor: "s=1;i=2", Time: at, Missing: "no longer in the journal", Pattern: "failed", Weight: 1}}},
		{Jail: "sshd", Window: "account", Length: 3600, Prefix: "192.0.2.7/32", Failures: 2, Attempts: 2, Count: 2, MaxRetry: 3, Missing: 1, Addresses: 7, Needed: 10, Until: at},
		{Jail: "sshd", Window: "account", Length: 3600, Prefix: "192.0.2.7/32", Failures: 2, Attempts: 2, Count: 2, MaxRetry: 3, Missing: 1, Addresses: 12, Needed: 10, Until: at},
		{Window: "network", Length: 3600, Prefix: "192.0.2.0/24", Failures: 4, Attempts: 4, Count: 4, MaxRetry: 5, Missing: 1, Until: at},
	}}
	out, said, status := clitest.Run(t, Why(), "why", "192.0.2.7", "--socket", whySocket(t, w))
	for _, want := range []string{
		"192.0.2.7 has failures on record, but is not banned\n",
		"  192.0.2.7/32 jail ssh (filter sshd): 1 attempt within 10m (weight 2), limit 5\n  the oldest counts until 2026-11-22 19:17:00\n    2026-11-22 19:17:00 sshd[7]: Failed \\x1b[31mpassword  [failed, weight 2]\n",
		"  192.0.2.7/32 jail sshd: 11 attempts within 1d (slow window) (weight 12), limit 20\n",
		"  of older ones only the number is kept\n    2026-11-22 19:17:00 (no longer in the journal: s=1;i=2)  [failed]\n",
		"on an account that 7 addresses failed on within 1h: 2 attempts; not under attack (limit 10 addresses)\n",
		"on an account that 12 addresses failed on within 1h: 2 attempts; under attack, limit 3: the next failure leads to a ban\n",
		"  192.0.2.0/24 network: 4 parts of it attacked within 1h, limit 5: the next failure leads to a ban\n",
	} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("%d: %q is not in\n%s%s", status, want, out, said)
		}
	}
}

func TestWhyBannedByMore(t *testing.T) {
	ban := control.Ban{ID: "1", Prefix: "192.0.2.0/24", Jail: "sshd", Since: time.Now()}
	for address, want := range map[string]string{"192.0.2.7": "192.0.2.7 is banned, as part of 192.0.2.0/24\n", "192.0.2.0/24": "192.0.2.0/24 is banned\n"} {
		out, _, _ := clitest.Run(t, Why(), "why", address, "--socket", whySocket(t, control.Why{Address: address, State: "banned", Bans: []control.WhyBan{{Ban: ban}}}))
		if !strings.HasPrefix(out, want) {
			t.Errorf("%s, want %s", out, want)
		}
	}
}

// TestWhyUnknown: for an address without failures, what the journal has, and why it does not count.
func TestWhyUnknown(t *testing.T) {
	journaltest.Need(t)
	dir := t.TempDir()
	boot := journaltest.Gen{}.Boot(0)
	var x []byte
	for i, m := range []struct{ uid, text string }{
		{"0", "Accepted password for bob from 192.0.2.7 port 4000 ssh2"},
		{"0", "Connection from 192.0.2.77 port 4000 on 192.0.2.1 port 22"},
		{"0", "something else of 192.0.2.7, which no pattern takes"},
		{"1000", "Failed password for root from 192.0.2.7 port 4001 ssh2"},
		{"0", "Failed password for 192.0.2.7 from 198.51.100.1 port 4001 ssh2"},
	} {
		at := time.Now().Add(time.Duration(i-10) * time.Minute).UnixMicro()
		for _, f := range [][2]string{
			{"__REALTIME_TIMESTAMP", fmt.Sprint(at)}, {"__MONOTONIC_TIMESTAMP", fmt.Sprint(1e9 + i)}, {"_BOOT_ID", boot}, {"_MACHINE_ID", boot},
			{"_SYSTEMD_UNIT", "ssh.service"}, {"_UID", m.uid}, {"_PID", fmt.Sprint(1000 + i)}, {"SYSLOG_IDENTIFIER", "sshd"}, {"MESSAGE", m.text},
		} {
			x = journaltest.Field(x, f[0], []byte(f[1]))
		}
		x = append(x, '\n')
	}
	journaltest.Write(t, filepath.Join(dir, "a.journal"), journaltest.Layout{}, bytes.NewReader(x))
	socket := whySocket(t, control.Why{Address: "192.0.2.7", State: "unknown"})
	out, said, status := clitest.Run(t, Why(), "why", "192.0.2.7", "--socket", socket, "--file", dir)
	for _, want := range []string{
		"192.0.2.7: no failures on record\n",
		"  named by 4 of 5 entries of watched services in the last 1d; none counts:\n",
		"Accepted password for bob from 192.0.2.7 port 4000 ssh2\n      jail sshd, pattern accepted: a successful login\n",
		"which no pattern takes\n      no pattern matches it\n",
		"not trusted, it came from ssh.service, but by _UID=1000",
		"pattern failed: a failure of 198.51.100.1\n",
	} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("%d: %q is not in\n%s%s", status, want, out, said)
		}
	}
	if out, _, _ := clitest.Run(t, Why(), "why", "192.0.2.7", "--socket", socket, "--file", dir, "--json"); !strings.Contains(out, `"state":"unknown"`) || !strings.Contains(out, `"journal":{"since":`) || !strings.Contains(out, `"looked":5,"entries":4,"latest":[{"time":`) {
		t.Error(out)
	}
	if out, _, _ := clitest.Run(t, Why(), "why", "203.0.113.1", "--socket", whySocket(t, control.Why{Address: "203.0.113.1", State: "unknown"}), "--file", dir); !strings.Contains(out, "no mention of it in 5 entries") {
		t.Error(out)
	}
}
