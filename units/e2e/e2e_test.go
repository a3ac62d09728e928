package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/units/control"
	"bailiff/units/e2e/host"
)

// TestHost runs every check on each release that BAILIFF_E2E names. The checks of one host build on each other.
func TestHost(t *testing.T) {
	suites, tree, load := wanted(t, host.Suites...)
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			v := boot(t, suite, tree, load)
			bench := os.Getenv("BAILIFF_BENCH") != ""
			for _, c := range []struct {
				name  string
				run   func(*victim, *testing.T)
				bench bool
			}{
				{"starts", (*victim).starts, false},
				{"sandbox", (*victim).sandbox, false},
				{"attack4", (*victim).attack4, false},
				{"attack6", (*victim).attack6, false},
				{"audit", (*victim).audit, false},
				{"good", (*victim).good, false},
				{"allow", (*victim).allow, false},
				{"operators", (*victim).operators, false},
				{"lists", (*victim).lists, false},
				{"blocklists", (*victim).blockLists, false},
				{"forged", (*victim).forged, false},
				{"executables", (*victim).executables, false},
				{"unitless", (*victim).unitless, false},
				{"penalties", (*victim).penalties, false},
				{"control", (*victim).control, false},
				{"mended", (*victim).mended, false},
				{"byhand", (*victim).byhand, false},
				{"turmoil", (*victim).turmoil, false},
				{"sprayed", (*victim).sprayed, false},
				{"misconfigured", (*victim).misconfigured, false},
				{"nftables", (*victim).nftables, false},
				{"reboot", (*victim).reboot, false},
				{"idle", (*victim).idle, true},
				{"latency", (*victim).latency, true},
				{"crowd", (*victim).crowd, true},
				{"keys", (*victim).memberKeys, false},
				{"folders", (*victim).folders, false},
				{"uninstall", (*victim).stays, false},
			} {
				if c.bench && !bench {
					continue
				}
				if !t.Run(c.name, func(t *testing.T) { c.run(v, t) }) && c.name == "starts" {
					return // nothing else can be tried
				}
			}
		})
	}
}

// usual are the releases that every test is for; some are for more.
var usual = []string{"bookworm", "trixie"}

// wanted returns the requested releases, of the usual ones or those given, and builds what is installed on them: see install. It skips the
// test if none is requested. Tests run in parallel, each on hosts of its own, unless they measure something.
func wanted(t *testing.T, of ...string) (suites []string, tree, load string) {
	t.Helper()
	suites, err := host.Wanted()
	if errors.Is(err, host.ErrNotWanted) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	if of == nil {
		of = usual
	}
	suites = slices.DeleteFunc(suites, func(s string) bool { return !slices.Contains(of, s) })
	if len(suites) == 0 {
		t.Skipf("is for %q", of)
	}
	if os.Getenv("BAILIFF_BENCH") == "" {
		t.Parallel()
	}
	tree, err = install()
	if err != nil {
		t.Fatal(err)
	}
	return suites, tree, buildLoad(t)
}

// install builds the tree to install with `make install`, once for all tests.
var install = sync.OnceValues(func() (tree string, err error) {
	top, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	tree = filepath.Join(scratch, "tree")
	cmd := exec.Command("make", "-C", top, "--no-print-directory", "install", "DESTDIR="+tree)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make install: %w\n%s", err, out)
	}
	return tree, nil
})

var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "bailiff-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(scratch)
	os.Exit(status)
}

func buildLoad(t *testing.T) string {
	t.Helper()
	load := filepath.Join(scratch, "load")
	onceLoad.Do(func() { command(t, "go", "build", "-trimpath", "-o", load, "./load") })
	return load
}

var onceLoad sync.Once

// command runs a command without cgo. What it builds should be built with -trimpath: then the standard library is that of make build,
// which is compiled already.
func command(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
}

// A victim is a host with bailiff on it.
type victim struct {
	*host.Host
	suite string
	slow  bool // its processor is emulated, so everything takes longer
}

// patience is limit, or more on a slow host.
func (v *victim) patience(limit time.Duration) time.Duration {
	if v.slow {
		return 6 * limit
	}
	return limit
}

// boot returns a host with what is in tree, if anything, and with the load generator. extra are packages beyond the usual.
func boot(t *testing.T, suite, tree, load string, extra ...string) *victim {
	t.Helper()
	takeTurn(t)
	root, err := host.Root(t.Context(), suite, os.Stderr, extra...)
	if err != nil {
		t.Fatal(err)
	}
	h, err := host.Boot(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{Host: h, suite: suite}
	v.equip(t, tree, load)
	return v
}

// equip installs what is in tree, if anything, and the load generator on a host that was just booted. The host is stopped when the
// test ends.
func (v *victim) equip(t *testing.T, tree, load string) {
	t.Helper()
	h := v.Host
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := h.Run(context.Background(), "journalctl", "-o", "short-precise", "-u", "bailiff.service", "-u", "bailiff.socket", "-n", "300")
			t.Logf("the daemon's own journal:\n%s", log)
		}
		h.Stop()
	})
	bin, err := os.ReadFile(load)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.WriteFile(loadPath, bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if tree != "" {
		if err := h.Install(t.Context(), tree); err != nil {
			t.Fatal(err)
		}
		v.sh(t, `systemd-sysusers; journalctl --update-catalog; systemctl daemon-reload; systemctl try-restart polkit.service || :`) // most hosts here have none
	}
}

// loadPath is where sshd has one of its programs when it was built from source: the filter counts what it writes.
const loadPath = "/usr/local/libexec/sshd-session"

// sh runs a script on the host and must succeed.
func (v *victim) sh(t testing.TB, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), v.patience(3*time.Minute))
	defer cancel()
	out, err := v.Sh(ctx, script)
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// place puts a file on the host.
func (v *victim) place(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := v.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// ask runs bailiff with --json and reads its answer.
func ask[T any](v *victim, t testing.TB, args ...string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), v.patience(3*time.Minute))
	defer cancel()
	out, err := v.Run(ctx, append([]string{"bailiff", args[0], "--json"}, args[1:]...)...)
	if err != nil && !(args[0] == "status" && strings.HasPrefix(out, "{")) { // with problems it has an exit status of its own
		t.Fatalf("bailiff %q: %v\n%s", args, err, out)
	}
	var answer T
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("bailiff %q: %v in %.200q", args, err, out)
	}
	return answer
}

// entries reads journal entries. A field that an entry has several times becomes a list in JSON: its values are joined by
// spaces here.
func (v *victim) entries(t testing.TB, args ...string) []map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), v.patience(3*time.Minute))
	defer cancel()
	out, err := v.Run(ctx, append([]string{"journalctl", "--quiet", "--all", "-o", "json"}, args...)...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 && out == "" {
		return nil // what -g looked for is not there
	} else if err != nil {
		t.Fatalf("journalctl %q: %v", args, err)
	}
	var es []map[string]string
	for line := range strings.Lines(out) {
		var raw map[string]any
		if err := json.Unmarshal([]byte(line), &raw); err != nil {
			t.Fatalf("journalctl %q: %v in %.200q", args, err, line)
		}
		e := map[string]string{}
		for k, val := range raw {
			switch val := val.(type) {
			case string:
				e[k] = val
			case []any:
				var parts []string
				for _, p := range val {
					parts = append(parts, fmt.Sprint(p))
				}
				e[k] = strings.Join(parts, " ")
			}
		}
		es = append(es, e)
	}
	return es
}

// eventually asks until there is no error, and fails the test with the last error after three minutes: a busy machine may be slow.
func eventually(t testing.TB, ask func() error) {
	t.Helper()
	within(t, 3*time.Minute, ask)
}

func within(t testing.TB, limit time.Duration, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s still: %v", limit, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// fails makes n failed logins from an address, all at once; their outcome is sshd's business, and bailiff's.
func (v *victim) fails(t testing.TB, from netip.Addr, n int) { v.failsAs(t, "bob", from, n) }

// failsAs is fails on an account.
func (v *victim) failsAs(t testing.TB, user string, from netip.Addr, n int) {
	var wg sync.WaitGroup
	for range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if v.SSH(t.Context(), from, user, "letmein", 1) == nil {
				t.Errorf("%s was let in with a wrong password", from)
			}
		}()
	}
	wg.Wait()
}

// inKernel asks the kernel, not the daemon: some set of ours holds the address.
func (v *victim) inKernel(t testing.TB, a netip.Addr) bool {
	t.Helper()
	family := "4"
	if a.Is6() {
		family = "6"
	}
	return v.sh(t, `for s in $(ipset list -n | grep '^bailiff`+family+`'); do
		if ipset -q test "$s" `+a.String()+`; then echo yes; exit; fi; done; echo no`) == "yes\n"
}

// bansInKernel waits for an address to be in a set.
func (v *victim) bansInKernel(t testing.TB, a netip.Addr) {
	t.Helper()
	eventually(t, func() error {
		if v.inKernel(t, a) {
			return nil
		}
		return fmt.Errorf("%s is in no set of the kernel", a)
	})
}

// why is the daemon's own word on an address.
func (v *victim) why(t testing.TB, a netip.Addr) control.Why {
	t.Helper()
	return ask[control.Why](v, t, "why", a.String())
}

// settled waits until the daemon has read everything that is in the journal now: it writes a failure of its own, from
// an address used for nothing else, and waits until that is counted.
func (v *victim) settled(t testing.TB) {
	t.Helper()
	markers.Lock()
	markers.n++
	a := netip.AddrFrom4([4]byte{198, 19, byte(200 + markers.n/250), byte(1 + markers.n%250)})
	markers.Unlock()
	v.orphaned(t, `logger -t sshd 'Failed password for root from `+a.String()+` port 22 ssh2'`)
	eventually(t, func() error {
		if w := v.why(t, a); w.State != "counted" {
			return fmt.Errorf("marker %s is %q, not counted", a, w.State)
		}
		return nil
	})
}

// orphaned runs a script whose processes are gone before journald looks them up: journald is stopped meanwhile, and the lines wait in its
// socket.
func (v *victim) orphaned(t testing.TB, script string) {
	t.Helper()
	v.sh(t, `j=$(systemctl show -P MainPID systemd-journald.service); trap 'kill -CONT $j' EXIT; kill -STOP $j; `+script)
	v.sh(t, `journalctl --sync`)
}

var markers struct {
	sync.Mutex
	n int
}

// active waits until the daemon says that it is ready.
func (v *victim) active(t testing.TB) {
	t.Helper()
	eventually(t, func() error {
		out, err := v.Run(t.Context(), "systemctl", "is-active", "bailiff.service")
		if err != nil {
			return fmt.Errorf("bailiff.service is %s", strings.TrimSpace(out))
		}
		return nil
	})
}
