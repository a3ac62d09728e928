package manager

import (
	"slices"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"bailiff/units/bustest"
)

// unit1 answers as a unit's object does.
type unit1 map[string]dbus.Variant

func (u unit1) GetAll(string) (map[string]dbus.Variant, *dbus.Error) { return u, nil }

func (m *manager1) ListUnitsByPatterns(_, patterns []string) (out []row, _ *dbus.Error) {
	if slices.Equal(patterns, []string{"ssh@*.service"}) {
		for _, n := range []string{"ssh@2.service", "ssh@1.service"} {
			out = append(out, row{Name: n, Load: "loaded", Active: "active", Path: "/x", JobPath: "/"})
		}
	}
	return out, nil
}

func TestDescribe(t *testing.T) {
	dir := t.TempDir()
	address, stop := bustest.Start(t, dir)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
	serveWith(t, address, map[dbus.ObjectPath]unit1{
		"/org/freedesktop/systemd1/unit/ssh_2eservice": {
			"ActiveState": dbus.MakeVariant("active"), "LogLevelMax": dbus.MakeVariant(int32(4)), "StandardOutput": dbus.MakeVariant("journal"),
			"ExecMainStartTimestamp": dbus.MakeVariant(uint64(1700000000000000)), "Environment": dbus.MakeVariant([]string{"A=b"}), "TriggeredBy": dbus.MakeVariant([]string{"x.timer", "ssh.socket"}),
			"ExecStart": dbus.MakeVariant([]struct {
				Path string
				Argv []string
				Skip bool
			}{{"/usr/sbin/sshd", []string{"/usr/sbin/sshd", "-D", "$SSHD_OPTS"}, false}}),
			"DropInPaths": dbus.MakeVariant([]string{"/etc/x.conf"}), "NeedDaemonReload": dbus.MakeVariant(true),
		},
		"/org/freedesktop/systemd1/unit/ssh_401_2eservice":       {"ActiveState": dbus.MakeVariant("active"), "LogLevelMax": dbus.MakeVariant(int32(-1)), "ControlGroup": dbus.MakeVariant("/system.slice/x")},
		"/org/freedesktop/systemd1/unit/postfix_40_2d_2eservice": {"ActiveState": dbus.MakeVariant("failed")},
	})
	list, err := Describe(t.Context(), []string{"sshd.service", "ssh.service", "postfix@-.service", "dovecot.service", "system-ssh.slice", "none.service"})
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	if s := list[0]; s.Unit != "postfix@-.service" || s.Running || s.Socket || s.Template || s.LogLevelMax != -1 {
		t.Errorf("%+v", s)
	}
	if s := list[1]; s.Unit != "ssh.service" || !s.Running || !s.Socket || s.LogLevelMax != 4 || s.Output != "journal" || !s.Started.Equal(time.Unix(1700000000, 0)) ||
		s.Command != "/usr/sbin/sshd -D $SSHD_OPTS\n" || !slices.Equal(s.Environment, []string{"A=b"}) || !slices.Equal(s.Dropins, []string{"/etc/x.conf"}) || !s.NeedsReload {
		t.Errorf("%+v", s)
	}
	if s := list[2]; s.Unit != "ssh@.service" || !s.Template || !s.Running || !s.Socket || !slices.Equal(s.Instances, []string{"ssh@1.service", "ssh@2.service"}) || s.ControlGroup != "/system.slice/x" {
		t.Errorf("%+v", s)
	}
	stop()
	if _, err := Describe(t.Context(), []string{"ssh.service"}); err == nil {
		t.Error("without a bus: no error")
	}
}
