package manager

import (
	"context"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"bailiff/units/bustest"
)

// manager1 answers as systemd 252 does on Debian 12: ListUnitsByNames returns one row for each valid name, with the primary name, and
// with LoadState not-found if there is no such unit.
type manager1 struct{ calls atomic.Int32 }

type row struct {
	Name, Description, Load, Active, Sub, Following string
	Path                                            dbus.ObjectPath
	JobID                                           uint32
	JobType                                         string
	JobPath                                         dbus.ObjectPath
}

func (m *manager1) ListUnitsByNames(names []string) ([]row, *dbus.Error) {
	m.calls.Add(1)
	var out []row
	for _, n := range names {
		r := row{Name: n, Load: "not-found", Active: "inactive", Path: "/x", JobPath: "/"}
		switch n {
		case "ssh.service", "sshd.service":
			r.Name, r.Load, r.Active = "ssh.service", "loaded", "active"
		case "postfix@-.service":
			r.Load = "loaded"
		case "dovecot.service":
			r.Load = "masked"
		case "ssh.socket":
			r.Load, r.Active = "loaded", "active"
		case "stopping.service":
			r.Load, r.Active, r.JobID, r.JobType = "loaded", "deactivating", 7, "stop"
		case "restarting.service":
			r.Load, r.Active, r.JobID, r.JobType = "loaded", "deactivating", 7, "restart"
		case "starting.service":
			r.Load, r.Active, r.JobID, r.JobType = "loaded", "inactive", 7, "start"
		case "slow.service":
			select {} // until the caller's time limit
		}
		out = append(out, r)
	}
	return out, nil
}

func (m *manager1) ListUnitFilesByPatterns(states, patterns []string) ([]struct{ Path, State string }, *dbus.Error) {
	m.calls.Add(1)
	var out []struct{ Path, State string }
	for _, p := range patterns {
		switch p {
		case "ssh@.service":
			out = append(out, struct{ Path, State string }{"/lib/systemd/system/ssh@.service", "static"})
		case "nftables.service":
			out = append(out, struct{ Path, State string }{"/lib/systemd/system/nftables.service", "enabled"})
		case "ipset.service":
			out = append(out, struct{ Path, State string }{"/lib/systemd/system/ipset.service", "disabled"})
		case "a-b@.service":
			out = append(out, struct{ Path, State string }{"/etc/systemd/system/a-b@.service", "masked"})
		}
	}
	return out, nil
}

func serve(t *testing.T, address string) *manager1 { return serveWith(t, address, nil) }

// serveWith is serve with objects of units.
func serveWith(t *testing.T, address string, units map[dbus.ObjectPath]unit1) *manager1 {
	t.Helper()
	c, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	m := &manager1{}
	if err := c.Export(m, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"); err != nil {
		t.Fatal(err)
	}
	for path, u := range units {
		if err := c.Export(u, path, "org.freedesktop.DBus.Properties"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.RequestName("org.freedesktop.systemd1", 0); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestUsed: a unit is used if it is active or enabled.
func TestUsed(t *testing.T) {
	dir := t.TempDir()
	address, stop := bustest.Start(t, dir)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
	serve(t, address)
	for name, want := range map[string]bool{"ssh.service": true, "nftables.service": true, "ipset.service": false, "none.service": false} {
		if used, err := Used(t.Context(), name); err != nil || used != want {
			t.Errorf("%s: %t, %v; want %t", name, used, err, want)
		}
	}
	stop()
	if _, err := Used(t.Context(), "ssh.service"); err == nil {
		t.Error("without a bus: no error")
	}
	address, _ = bustest.Start(t, dir)
	serve(t, address)
	if used, err := Used(t.Context(), "ssh.service"); err != nil || !used {
		t.Errorf("after a restart of the bus: %t, %v", used, err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	address, stop := bustest.Start(t, dir)
	m := serve(t, address)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
	f := NewFinder()
	names := []string{"ssh.service", "sshd.service", "postfix.service", "postfix@-.service", "dovecot.service", "system-ssh.slice", "system-sshd.slice",
		`system-a\x2db.slice`, "no name.service", "sshd@.service", "x"}
	want := map[string]string{"ssh.service": "ssh.service", "sshd.service": "ssh.service", "postfix@-.service": "postfix@-.service", "system-ssh.slice": "ssh@.service"}
	for range 3 {
		got, err := f.Find(context.Background(), names)
		if err != nil || !maps.Equal(got, want) {
			t.Fatalf("got %v, %v; want %v", got, err, want)
		}
	}
	if n := m.calls.Load(); n != 2 {
		t.Errorf("systemd was asked %d times, want twice", n)
	}

	// The bus comes back after a restart: the next call finds the new one.
	stop()
	clear(f.cache)
	if _, err := f.Find(context.Background(), names); err == nil {
		t.Error("without a bus: no error")
	}
	address, _ = bustest.Start(t, dir)
	serve(t, address)
	if got, err := f.Find(context.Background(), names); err != nil || !maps.Equal(got, want) {
		t.Errorf("after a restart: %v, %v", got, err)
	}

	// A systemd that does not answer delays nobody.
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := f.Find(ctx, []string{"slow.service"}); err == nil {
		t.Error("no answer: no error")
	}
}

func TestWithoutBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "nobody"))
	f := NewFinder()
	if got, err := f.Find(context.Background(), []string{"ssh.service"}); err == nil || got != nil {
		t.Errorf("%v, %v", got, err)
	}
	if state, err := Stopped(t.Context(), "ssh.service"); err == nil || state != "" {
		t.Errorf("%v, %v", state, err)
	}
}

func TestTemplate(t *testing.T) {
	for slice, want := range map[string]string{
		"system-sshd.slice": "sshd@.service", `system-a\x2db.slice`: "a-b@.service", "system.slice": "", "system-.slice": "", "user-1000.slice": "",
		"system-a-b.slice": "", "ssh.service": "", `system-a\x2.slice`: `a\x2@.service`,
	} {
		if got := template(slice); got != want {
			t.Errorf("%s: %q, want %q", slice, got, want)
		}
	}
}

// TestSilentBus: a bus that accepts the connection and then says nothing delays nobody beyond the deadline.
func TestSilentBus(t *testing.T) {
	path := filepath.Join(t.TempDir(), "silent")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+path)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Used(ctx, "ssh.service"); err == nil {
		t.Error("no error")
	}
}

// TestActive: aliases are reported under their primary names.
func TestActive(t *testing.T) {
	address, _ := bustest.Start(t, t.TempDir())
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
	serve(t, address)
	if l, err := Active(t.Context(), "sshd.service", "none.service"); err != nil || !slices.Equal(l, []string{"ssh.service"}) {
		t.Errorf("active: %q, %v", l, err)
	}
	for name, want := range map[string]string{"ssh.service": "", "postfix@-.service": "inactive", "none.service": "", "stopping.service": "inactive", "restarting.service": "", "starting.service": ""} {
		if state, err := Stopped(t.Context(), name); err != nil || state != want {
			t.Errorf("%s: %q, %v; want %q", name, state, err, want)
		}
	}
}
