package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/journal/audit"
	"bailiff/units/control"
)

// space is a network namespace that lasts as long as the test.
type space struct {
	t   *testing.T
	net string
}

func newSpace(t *testing.T) *space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a network namespace of its own")
	}
	for _, p := range []string{"nft", "ipset", "nsenter"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("needs the program %s", p)
		}
	}
	cmd := exec.Command("sh", "-c", "echo ready; exec cat") // cat ends with its input
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	s := &space{t, fmt.Sprintf("--net=/proc/%d/ns/net", cmd.Process.Pid)}
	s.run("ip", "link", "set", "lo", "up")
	return s
}

// try runs a program in it and returns its output, stdout before stderr, and its exit status.
func (s *space) try(args ...string) (string, int) {
	s.t.Helper()
	cmd := exec.Command("nsenter", append([]string{s.net}, args...)...)
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return out.String() + said.String(), cmd.ProcessState.ExitCode()
}

func (s *space) run(args ...string) string {
	s.t.Helper()
	out, status := s.try(args...)
	if status != 0 {
		s.t.Fatalf("%q: %d: %s", args, status, out)
	}
	return out
}

// dump is all rules and sets that there are.
func (s *space) dump() string { return s.run("nft", "list", "ruleset") + s.run("ipset", "save") }

// TestFirewallCommand runs `bailiff firewall` with each kernel backend: status, verify and repair after changes by others, and
// remove, after which the kernel holds exactly what it held before.
func TestFirewallCommand(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "bailiff")
	if out, err := exec.Command("go", "build", "-o", dir, "bailiff/cmd/bailiff", "bailiff/cmd/bailiffd").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, c := range []struct {
		backend, set string
		swap         []string // an entry goes and another comes, so that the number stays
		foreign      []string // takes the place of ours: the daemon leaves it alone
	}{
		{"ipset", "bailiff4", []string{"ipset del bailiff4 192.0.2.7; ipset add bailiff4 192.0.2.66"}, []string{"nft add chain ip bailiff mine"}},
		{"nftables", "v4-32", nil, []string{"nft add chain inet bailiff mine"}},
	} {
		t.Run(c.backend, func(t *testing.T) {
			s := newSpace(t)
			s.run("nft", "table inet neighbour { set s { type ipv4_addr; elements = { 192.0.2.1 } }; chain input { type filter hook input priority 0; ip saddr @s accept; }; }")
			s.run("ipset", "create", "neighbour", "hash:ip")
			s.run("ipset", "add", "neighbour", "192.0.2.2")
			empty := s.dump()

			b := newBench(t)
			b.before = []string{"nsenter", s.net}
			b.args = []string{"--firewall", c.backend}
			b.configure("jails: {sshd: {ports: [ssh]}}\n")
			b.start()
			t.Cleanup(b.kill)
			ctx := context.Background()
			b.did(b.client.Ban(ctx, control.BanRequest{Prefixes: []string{"192.0.2.7", "2001:db8::/64"}}))
			b.did(b.client.Ban(ctx, control.BanRequest{Prefixes: []string{"192.0.2.8"}, Duration: "forever", Jail: "sshd"}))
			bailiff := func(args ...string) (string, int) {
				t.Helper()
				return s.try(append([]string{bin, "firewall"}, args...)...)
			}
			verify := func() (f control.Firewall) {
				t.Helper()
				out, status := bailiff("verify", "--json", "--socket", b.socket)
				if err := json.Unmarshal([]byte(out), &f); err != nil || (status == 0) != f.Intact {
					t.Fatalf("verify: %d: %v: %s", status, err, out)
				}
				return f
			}
			text := func(want string, status int, args ...string) {
				t.Helper()
				if out, is := bailiff(append(args, "--socket", b.socket)...); is != status || !strings.Contains(out, want) {
					t.Errorf("%q: %d:\n%s\nwant %d, with %q", args, is, out, status, want)
				}
			}
			b.until("the firewall holds what it should", func(context.Context) bool { return verify().Intact })
			f := verify()
			if f.Bans != 3 || f.Backend != c.backend || !f.OK || f.Stopped == nil {
				t.Errorf("verify: %+v", f)
			}
			text("no differences", 0, "verify")
			text(c.set+" ", 0, "status")
			text("PACKETS", 0)

			// A reload that needs other sets does not count as a repair.
			b.reload("jails: {sshd: {ports: [ssh]}, dovecot: {enabled: true, ports: [imap]}}\n")
			b.until("the firewall has the new sets", func(context.Context) bool { return verify().Intact })
			if s := b.status(); s.Firewall.Repaired != 0 {
				t.Errorf("after a reload: %+v", s)
			}
			b.told(audit.KindReload)

			// Missing rules are restored without being asked.
			s.run("nft", "delete", "table", strings.Fields(c.foreign[0])[3], "bailiff")
			b.told(audit.KindFirewallRepaired)
			b.until("rules are back", func(context.Context) bool { return verify().Intact })

			if c.swap != nil { // only a check of each entry notices
				s.run("sh", "-ec", c.swap[0])
				f := verify()
				if f.Intact {
					t.Fatal("a foreign entry in the place of ours went unnoticed")
				}
				text("set "+c.set+": 1 missing: 192.0.2.7/32\nset "+c.set+": 1 unexpected: 192.0.2.66/32\nhint: bailiff firewall repair removes the differences", 1, "verify")
				text("1 missing, 1 unexpected, 0 with another end", 0, "status")
				text("1 ban restored, 1 removed, end of 0 corrected", 0, "repair")
				m := b.told(audit.KindFirewallRepaired)
				if m["BAILIFF_BY"] != "root" || !strings.Contains(m["MESSAGE"], "firewall repaired by root: the sets did not hold what they should (1 ban added, 1 removed)") {
					t.Errorf("audit entry: %q", m)
				}
			}
			if f := verify(); !f.Intact {
				t.Errorf("after the repair: %+v", f)
			}
			text("there was nothing to repair", 0, "repair")
			if m := b.told(audit.KindFirewallRepaired); !strings.Contains(m["MESSAGE"], "nothing was wrong") {
				t.Errorf("audit entry: %q", m)
			}

			// What is not ours stays until an operator forces its removal.
			s.run("sh", "-ec", c.foreign[0])
			text("is not ours: holds chain mine", 1, "verify")
			text("bailiff firewall repair --force removes it", 1, "repair")
			var e *control.Error
			if _, err := b.client.RepairFirewall(ctx, false); !errors.As(err, &e) || e.Status != http.StatusConflict {
				t.Errorf("repair: %v", err)
			}
			if !strings.Contains(s.dump(), "chain mine") {
				t.Error("the foreign chain is gone without force")
			}
			text("removed by force: table", 0, "repair", "--force")
			if m := b.told(audit.KindFirewallRepaired); !strings.Contains(m["MESSAGE"], "bailiff") {
				t.Errorf("audit entry: %q", m)
			}
			b.until("rules are back", func(context.Context) bool { return verify().Intact })

			// Removal is refused while the daemon runs; then it removes everything, and a second time nothing.
			if out, status := bailiff("remove"); status != 1 || !strings.Contains(out, "the daemon is running (process ") || !strings.Contains(out, "hint: systemctl stop bailiff.socket bailiff.service") {
				t.Errorf("remove beside the daemon: %d: %s", status, out)
			}
			b.stop()
			if s.dump() == empty {
				t.Fatal("the bans did not stay")
			}
			out, status := bailiff("remove", "--json")
			var r struct {
				Removed, Left []struct{ Backend, Name, Why string }
			}
			if err := json.Unmarshal([]byte(out), &r); err != nil || status != 0 || len(r.Left) > 0 || len(r.Removed) < 2 {
				t.Errorf("remove: %d: %s", status, out)
			}
			if is := s.dump(); is != empty {
				t.Errorf("remove left\n%s\nwhere there was\n%s", is, empty)
			}
			if out, status := bailiff("remove"); status != 0 || !strings.Contains(out, "no firewall holds anything of bailiff's") {
				t.Errorf("remove once more: %d: %s", status, out)
			}
			s.run("nft", "add", "table", strings.Fields(c.foreign[0])[3], "bailiff")
			s.run("sh", "-ec", c.foreign[0])
			if out, status := bailiff("remove"); status != 1 || !strings.Contains(out, "left: "+c.backend+": ") || !strings.Contains(out, "holds chain mine; --force removes it") {
				t.Errorf("remove what is foreign: %d: %s", status, out)
			}
			if out, status := bailiff("remove", "--force"); status != 0 || !strings.Contains(out, "removed: "+c.backend+": ") || s.dump() != empty {
				t.Errorf("remove by force: %d: %s", status, out)
			}
		})
	}
}

// TestInspectMany measures how long inspecting many bans occupies the firewall and the owner of the state.
func TestInspectMany(t *testing.T) {
	many := 20_000
	if os.Getenv("BAILIFF_BENCH") != "" { // adding them takes a while
		many = 100_000
	}
	for _, backend := range []string{"ipset", "nftables"} {
		t.Run(backend, func(t *testing.T) {
			s := newSpace(t)
			b := newBench(t)
			go func() {
				for range b.entries { // the audit trail goes nowhere
				}
			}()
			b.before, b.args = []string{"nsenter", s.net}, []string{"--firewall", backend}
			b.start()
			ctx := context.Background()
			for n := 0; n < many; {
				var req control.BanRequest
				for ; len(req.Prefixes) < 3000 && n < many; n++ {
					req.Prefixes = append(req.Prefixes, fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255))
				}
				b.did(b.client.Ban(ctx, req))
			}
			var longest time.Duration
			for range 3 {
				done := make(chan *control.Firewall)
				go func() {
					f, err := b.client.Firewall(ctx)
					if err != nil {
						t.Error(err)
					}
					done <- f
				}()
				for f := (*control.Firewall)(nil); f == nil; {
					begin := time.Now()
					b.did(b.client.AllowWhy(ctx, "192.0.2.7"))
					longest = max(longest, time.Since(begin))
					select {
					case f = <-done:
						if !f.Intact || f.Bans != many {
							t.Fatalf("%d bans, intact: %v; %+v", f.Bans, f.Intact, f.Sets)
						}
						t.Logf("the firewall was looked at for %.0f ms", f.Seconds*1e3)
					default:
					}
				}
			}
			t.Logf("other calls took %v at most meanwhile", longest.Round(time.Millisecond))
		})
	}
}
