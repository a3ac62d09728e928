package client

import (
	"bytes"
	"testing"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/units/control"
)

// The text of `bailiff allow why` for each kind of entry. Texts from files and lists are untrusted.
func TestAllowEntry(t *testing.T) {
	soon, past := time.Now().Add(90*time.Minute+time.Second), time.Date(2025, 12, 31, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		e    control.AllowEntry
		want string
	}{
		{control.AllowEntry{Prefix: "127.0.0.0/8", Origin: "self", Source: "self", Comment: "loopback"}, "  127.0.0.0/8 by self: loopback\n"},
		{control.AllowEntry{Prefix: "192.0.2.0/24", Origin: "/etc/bailiff/bailiff.yaml:3", Source: "config"}, "  192.0.2.0/24 by /etc/bailiff/bailiff.yaml:3, forever\n"},
		{control.AllowEntry{Prefix: "192.0.2.1", Origin: "runtime", Source: "runtime", Until: &soon, Comment: "a\x1b[31mb"}, "  192.0.2.1 by runtime, until " + text.Time(soon) + " (1h30m left): a\\x1b[31mb\n"},
		{control.AllowEntry{Prefix: "192.0.2.1", Origin: "/etc/bailiff/allow.d/a.list:7", Source: "file", Until: &past, Expired: true, Comment: "audit"}, "  192.0.2.1 by /etc/bailiff/allow.d/a.list:7, expired since 2025-12-31 00:00:00: audit\n"},
		{control.AllowEntry{Prefix: "192.0.2.1", Origin: "/var/lib/bailiff-allow/x.list:7", Source: "list", List: "x", URLs: []string{"https://example.org/4", "https://example.org/6"}},
			"  192.0.2.1 by /var/lib/bailiff-allow/x.list:7, forever\n    published list x https://example.org/4 https://example.org/6\n"},
		{control.AllowEntry{Prefix: "192.0.2.1", Origin: "operator", Source: "operator", Comment: "ssh session of …", Session: &control.AllowSession{User: "alice", Why: "group sudo", PID: 7, TTY: "pts/0", ID: "c1", Since: past}},
			"  192.0.2.1 by operator, until the session ends and a while after: alice (group sudo) is logged in over ssh since 2025-12-31 00:00:00 (" + text.Duration(time.Since(past)) + "), pid 7, pts/0, session c1\n"},
		{control.AllowEntry{Prefix: "192.0.2.1", Origin: "operator", Source: "operator", Until: &soon, Comment: "ssh session of root (root), ended"},
			"  192.0.2.1 by operator, until " + text.Time(soon) + " (1h30m left): ssh session of root (root), ended\n"},
	} {
		var out bytes.Buffer
		printAllowEntry(&cli.Env{Out: &out}, &tt.e)
		if out.String() != tt.want {
			t.Errorf("%+v\ngot  %swant %s", tt.e, &out, tt.want)
		}
	}
}
