package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"bailiff/units/configdir"
)

// units are the unit files of this folder.
var units = func() []string {
	var l []string
	for _, kind := range []string{"*.service", "*.socket", "*.timer"} {
		names, err := filepath.Glob(kind)
		if err != nil || len(names) == 0 {
			panic(kind)
		}
		l = append(l, names...)
	}
	return l
}()

// tool returns the path of one of systemd's programs. Without it the test is skipped, except in CI.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is needed: %v", name, err)
		}
		t.Skipf("%s is not installed: %v", name, err)
	}
	return path
}

func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(tool(t, name), args...).CombinedOutput()
	return string(out), err
}

// copied copies the units into one folder, with programs that exist on every machine, for systemd-analyze.
func copied(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	is, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range units {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text := regexp.MustCompile(`(?m)^(Exec\w+=)\S+`).ReplaceAllString(string(b), "${1}"+is)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestVerify(t *testing.T) {
	dir := copied(t)
	args := []string{"verify", "--man=no"}
	for _, name := range units {
		args = append(args, filepath.Join(dir, name))
	}
	out, err := run(t, "systemd-analyze", args...)
	if err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// TestExposure checks the score. The remaining 1.1 are the host's network and users (bans act on the one, callers are identified by the
// other), CAP_NET_ADMIN, the two address families, and the journal's group.
func TestExposure(t *testing.T) {
	out, err := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=13", filepath.Join(copied(t), "bailiff.service"))
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// TestFetchExposure: what remains is the host's network, which the services are for.
func TestFetchExposure(t *testing.T) {
	for _, unit := range []string{"bailiff-allow-refresh.service", "bailiff-lists-refresh.service"} {
		out, err := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=11", filepath.Join(copied(t), unit))
		if err != nil {
			t.Errorf("systemd-analyze security %s: %v\n%s", unit, err, out)
		}
	}
}

// TestReportExposure: what remains are the host's network and users, the journal's group, and a queue in /var/lib.
func TestReportExposure(t *testing.T) {
	out, err := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", filepath.Join(copied(t), "bailiff-report.service"))
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// TestFleetExposure: what remains are the host's network and users, and the list of hosts in /var/lib.
func TestFleetExposure(t *testing.T) {
	out, err := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=13", filepath.Join(copied(t), "bailiff-fleet.service"))
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// TestHubExposure: what remains is the host's network.
func TestHubExposure(t *testing.T) {
	out, err := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=11", filepath.Join(copied(t), "bailiff-hub.service"))
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// TestHelperExposure: what remains are the host's network, CAP_NET_ADMIN and netlink, which the helper is for.
func TestHelperExposure(t *testing.T) {
	out, err := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=12", filepath.Join(copied(t), "bailiff-netlink.service"))
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// TestWebExposure: what remains are the groups, unix sockets, the read-only clock device of ProtectClock=, and no RootDirectory=.
func TestWebExposure(t *testing.T) {
	out, err := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=3", filepath.Join(copied(t), "bailiff-web.service"))
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// TestConfinedExposure: with firewalld-only.conf, only what its last comment lists remains.
func TestConfinedExposure(t *testing.T) {
	dir := copied(t)
	b, err := os.ReadFile("firewalld-only.conf")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "bailiff.service.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bailiff.service.d", "firewalld-only.conf"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(dir, "bailiff.service")
	if out, err := run(t, "systemd-analyze", "verify", "--man=no", unit); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	if out, err := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=5", unit); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// TestMailSystems: systemd accepts each mail system's settings as a drop-in for bailiff-report's unit, and they cost little; configurations
// among them are valid.
func TestMailSystems(t *testing.T) {
	files, err := filepath.Glob("mail/*")
	if err != nil || len(files) < 4 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".yaml") {
			if _, err := new(configdir.Loader).LoadFile(file); err != nil {
				t.Error(err)
			}
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dir := copied(t)
		unit := filepath.Join(dir, "bailiff-report.service")
		if err := os.MkdirAll(unit+".d", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(unit+".d", "10-mail.conf"), text, 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := run(t, "systemd-analyze", "verify", "--man=no", unit, filepath.Join(dir, "bailiff-report.socket")); err != nil || strings.TrimSpace(out) != "" {
			t.Errorf("%s: systemd-analyze verify: %v\n%s", file, err, out)
		}
		if out, err := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", unit); err != nil {
			t.Errorf("%s: systemd-analyze security: %v\n%s", file, err, out)
		}
	}
}

// TestProgramExposure: what remains are users, which identify callers, and executable memory for interpreters that compile.
func TestProgramExposure(t *testing.T) {
	out, err := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=6", filepath.Join(copied(t), "bailiff-report-exec@.service"))
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// TestMetricsExposure: what remains are users and the folder that it writes to.
func TestMetricsExposure(t *testing.T) {
	out, err := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=6", filepath.Join(copied(t), "bailiff-metrics.service"))
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// TestExposureCanFail makes sure that the threshold has an effect.
func TestExposureCanFail(t *testing.T) {
	if out, err := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=5", filepath.Join(copied(t), "bailiff.service")); err == nil {
		t.Errorf("exposure below 0.5 for a service in the host's network?\n%s", out)
	}
}

func TestSysusers(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := filepath.Abs("sysusers.conf")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, "systemd-sysusers", "--root="+root, file); err != nil {
		t.Fatalf("systemd-sysusers: %v\n%s", err, out)
	}
	for name, want := range map[string]string{
		"passwd": `(?m)^bailiff:x:\d+:\d+:[^:]+:/var/lib/bailiff:\S*nologin\nbailiff-fetch:x:\d+:\d+:[^:]+:/var/lib/bailiff-allow:\S*nologin\nbailiff-lists:x:\d+:\d+:[^:]+:/var/lib/bailiff-lists:\S*nologin\nbailiff-report:x:\d+:\d+:[^:]+:/var/lib/bailiff-report:\S*nologin\nbailiff-fleet:x:\d+:\d+:[^:]+:/var/lib/bailiff-fleet:\S*nologin\nbailiff-web:x:\d+:\d+:[^:]+:/:\S*nologin$`,
		"group":  `(?m)^bailiff:x:\d+:\nbailiff-fetch:x:\d+:$`,
	} {
		b, err := os.ReadFile(filepath.Join(root, "etc", name))
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(want).Match(b) {
			t.Errorf("%s: no line like %s in\n%s", name, want, b)
		}
	}
}

// TestBootIsGiven: programs that continue reading the journal learn the boot's id from their unit, since /proc is hidden from them.
func TestBootIsGiven(t *testing.T) {
	for _, name := range []string{"bailiff.service", "bailiff-report.service"} {
		if b, err := os.ReadFile(name); err != nil || !strings.Contains(string(b), "\nEnvironment=BAILIFF_BOOT_ID=%b\n") {
			t.Errorf("%s: no BAILIFF_BOOT_ID, %v", name, err)
		}
	}
}

// TestCallersAreKnown: programs that ask the kernel who their callers are share the host's users. In a user namespace with
// PrivateUsers=, every caller but root and the program's own user would be user 65534.
func TestCallersAreKnown(t *testing.T) {
	mail, err := filepath.Glob("mail/*.conf")
	if err != nil || len(mail) == 0 {
		t.Fatalf("%q, %v", mail, err)
	}
	for _, name := range append(mail, "bailiff.service", "firewalld-only.conf", "bailiff-report.service", "bailiff-report-exec@.service") {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if m := regexp.MustCompile(`(?m)^PrivateUsers=.*`).Find(b); m != nil {
			t.Errorf("%s: %s", name, m)
		}
	}
}

// TestEveryKeyHasAReason: every group of settings in [Service] has a comment above it.
func TestEveryKeyHasAReason(t *testing.T) {
	for _, name := range units {
		if strings.HasSuffix(name, ".service") {
			t.Run(name, func(t *testing.T) { reasons(t, name, 8) })
		}
	}
	t.Run("firewalld-only.conf", func(t *testing.T) { reasons(t, "firewalld-only.conf", 4) })
}

func reasons(t *testing.T, name string, least int) {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	_, service, _ := strings.Cut(string(b), "[Service]\n")
	service, _, _ = strings.Cut(service, "[Install]")
	groups := strings.Split(strings.TrimSpace(service), "\n\n")
	for _, g := range groups[1:] { // the first is what runs, and how
		if !strings.HasPrefix(g, "# ") {
			t.Errorf("a group without a reason:\n%s", g)
		}
	}
	if len(groups) < least {
		t.Errorf("%d groups only: is the file still read rightly?", len(groups))
	}
}
