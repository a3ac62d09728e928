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
	"unicode/utf8"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/cli/clitest"
	"bailiff/units/control"
)

// typical is the status of a mail server with 28 jails.
func typical() *control.Status {
	at := time.Date(2026, 11, 28, 13, 37, 24, 0, time.UTC)
	s := &control.Status{
		Version: "1.0.0", PID: 812, Started: at, Memory: 21 << 20, Bans: 12, BansTotal: 34, Tracked: 1, TrackedMax: 200000, Allowed: 1,
		Journal:  control.JournalStatus{Time: at, Entries: 1, Lag: 0.1},
		Firewall: control.FirewallStatus{Backend: "nftables", Why: "auto: nothing else is here", OK: true, Checked: at, Repaired: 1, Stopped: []control.Stopped{{Set: "v4-32", Packets: 1, Bytes: 60}}},
		Spread:   control.SpreadStatus{Attacked: 1, Networks: 2},
	}
	for _, name := range []string{"sshd", "postfix", "dovecot", "nginx-http-auth"} {
		s.Jails = append(s.Jails, control.JailStatus{Name: name, Mode: "aggressive", Units: []string{name + ".service", "system-" + name + ".slice"}, Failures: 1234567, Bans: 3, Last: &at})
	}
	for i := range 24 {
		s.Jails = append(s.Jails, control.JailStatus{Name: fmt.Sprintf("idle-%d", i), Mode: "normal"})
	}
	return s
}

// TestMain makes times independent of the machine.
func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

// TestStatusFits: what matters fits a terminal of 80 columns and 24 lines; jails without a unit are hidden.
func TestStatusFits(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	for name, change := range map[string]func(*control.Status){
		"working": func(*control.Status) {},
		"problem": func(s *control.Status) {
			s.Problems = control.Problems{{Source: "journal", Text: "the journal cannot be read", Since: s.Started}}
		},
		"catching up": func(s *control.Status) { s.Journal.Lag = 3 * 24 * 3600 },
	} {
		var out bytes.Buffer
		e := &cli.Env{Ctx: t.Context(), Out: &out, Err: &out, OutTTY: true}
		s := typical()
		change(s)
		printSummary(e, s)
		printJails(e, s, false)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) > 22 { // the line about reports and an empty one come between
			t.Errorf("%s: %d lines", name, len(lines))
		}
		for _, l := range lines {
			if utf8.RuneCountInString(l) > 80 {
				t.Errorf("%s: wider than 80 columns: %s", name, l)
			}
		}
		text := out.String()
		for _, want := range map[string][]string{
			"working":     {"bailiff 1.0.0: working, running since 2026-11-28 13:37:24 (pid 812, 21.0 MiB)\n", "  bans      12 in effect, 34 made since start\n", "13:37:24, repaired once\n", "1 packet from banned", "1 prefix with failures", "1 failure of allowed", "24 more jails with nothing to watch"},
			"problem":     {"1 problem,", "! the journal cannot be read (since 2026-11-28 13:37:24)"},
			"catching up": {"1 entry read, the last from 2026-11-28 13:37:24; catching up, 3d\n            behind\n"},
		}[name] {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", name, want, text)
			}
		}
		if strings.Contains(text, "idle-1") {
			t.Errorf("%s: an idle jail is shown", name)
		}
	}
}

// banned is a daemon that has banned one network by sshd and one address by postfix.
type banned struct{ control.Daemon }

func (banned) Bans(_ context.Context, q control.BanQuery, _ netip.Prefix) (*control.BanList, error) {
	l := &control.BanList{}
	for _, b := range []control.Ban{{Prefix: "198.51.100.0/24", Jail: "sshd"}, {Prefix: "192.0.2.9/32", Jail: "postfix"}} {
		if p := asPrefix(q.Prefix); asPrefix(b.Prefix).Overlaps(p) {
			l.Bans = append(l.Bans, b)
		}
	}
	return l, nil
}

func (banned) Unban(_ context.Context, _ control.Peer, _ netip.Prefix, _ string) (*control.Removed, error) {
	return &control.Removed{}, nil
}

// serve answers on a control socket.
func serve(t *testing.T, d control.Daemon) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "control")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := control.NewServer(d, control.Options{})
	go s.Serve(ln)
	t.Cleanup(func() { s.Shutdown(context.Background()) })
	return socket
}

// behind is a daemon that has caught up with the journal at the third question.
type behind struct {
	control.Daemon
	asked int
}

func (b *behind) Status(context.Context) (*control.Status, error) {
	b.asked++
	return &control.Status{Journal: control.JournalStatus{Entries: uint64(1000 * b.asked), Lag: float64(3600 * max(0, 3-b.asked))}}, nil
}

// TestCatchUp: on a terminal, status waits a moment for a daemon that is far behind, and shows how it catches up.
func TestCatchUp(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root and members of group bailiff may ask a control server, and this test is not run by root")
	}
	for _, tty := range []bool{true, false} {
		var stderr bytes.Buffer
		d := &behind{}
		e := &cli.Env{Ctx: t.Context(), Err: &stderr, ErrTTY: tty, Socket: serve(t, d)}
		s, err := dial(e).Status(t.Context())
		if err == nil {
			s, err = watchCatchUp(e, s)
		}
		if err != nil || tty != (s.Journal.Lag == 0) || tty != strings.Contains(stderr.String(), "2000 entries read, 1h behind") {
			t.Errorf("terminal %v: %+v, %v, %q", tty, s, err, stderr.String())
		}
	}
}

// TestUnbanExplains: lifting a ban that does not exist shows which ban covers the address.
func TestUnbanExplains(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may ask a control server to change anything, and this test is not run by root")
	}
	socket := serve(t, banned{})
	for typed, want := range map[string]string{
		"198.51.100.7":          "198.51.100.7 is not banned by itself, but as part of 198.51.100.0/24 (jail sshd)\nhint: bailiff unban 198.51.100.0/24 lifts that ban",
		"203.0.113.1":           "203.0.113.1 is not banned\n",
		"198.51.0.0/16":         "198.51.0.0/16 is not banned as a whole; 1 ban inside it: bailiff bans 198.51.0.0/16\n",
		"192.0.2.9 --jail sshd": "192.0.2.9 is not banned by jail sshd, but by postfix\n",
		"all":                   `unban: "all" is neither an address nor a prefix`,
	} {
		out, stderr, status := clitest.Run(t, Unban(), append([]string{"unban", "--socket", socket}, strings.Fields(typed)...)...)
		if status == 0 || !strings.Contains(stderr, want) || typed != "all" && out != "0 bans lifted\n" {
			t.Errorf("%s: status %d\n%s%s\nwant %s", typed, status, out, stderr, want)
		}
	}
}
