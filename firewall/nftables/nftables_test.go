package nftables

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/firewalltest"
)

// TestCapabilities runs the backend with the privileges of the service.
func TestCapabilities(t *testing.T) { firewalltest.Bare(t, bare) }

func bare(t *testing.T) {
	for _, block := range []string{"drop", "reject"} {
		b, err := New(Options{Scopes: firewalltest.Scopes, Block: block})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Reconcile(t.Context(), bansFrom(20_000)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(b.Add(t.Context(), bansFrom(30_000)), b.Verify(t.Context())); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := b.Watch(ctx, func() {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Watch: %v", err)
		}
		stop()
		if err := b.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestContained: in an unprivileged container a transaction holds a few thousand elements only. Many bans are still added,
// changed and removed, also by a Reconcile.
func TestContained(t *testing.T) {
	contained(t, func(t *testing.T) {
		const many = 20_000
		b := newBackend(t, Options{})
		b.room = 212_992 // net.core.wmem_max of most kernels; this one's may be larger
		all := bansFrom(3 * many)
		for _, c := range []struct {
			name  string
			do    func() error
			holds int
		}{
			{"many at the start", func() error {
				ch, err := b.Reconcile(t.Context(), all[:many])
				if ch.Added != many || ch.Removed+len(ch.Repaired) > 0 || !ch.Initial {
					t.Errorf("%+v", ch)
				}
				return err
			}, many},
			{"more", func() error { return b.Add(t.Context(), all[many:]) }, 3 * many},
			{"others", func() error {
				ch, err := b.Reconcile(t.Context(), all[2*many:])
				if ch.Added > 0 || ch.Removed != 2*many || len(ch.Repaired) > 0 {
					t.Errorf("%+v", ch)
				}
				return err
			}, many},
			{"other ends", func() error {
				for i := range all {
					all[i].Until = all[i].Until.Add(time.Hour)
				}
				ch, err := b.Reconcile(t.Context(), all[2*many:])
				if ch.Added+ch.Removed > 0 || ch.Refreshed != many {
					t.Errorf("%+v", ch)
				}
				return err
			}, many},
			{"repaired", func() error {
				firewalltest.Run(t, "nft", "flush", "chain", "inet", "bailiff", "prerouting")
				ch, err := b.Reconcile(t.Context(), all[2*many:])
				if len(ch.Repaired) != 1 {
					t.Errorf("%+v", ch)
				}
				return err
			}, many},
			{"none", func() error {
				keys := make([]firewall.Key, 0, many)
				for _, ban := range all[2*many:] {
					keys = append(keys, ban.Key())
				}
				return b.Remove(t.Context(), keys)
			}, 0},
		} {
			if err := errors.Join(c.do(), b.Verify(t.Context())); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if l, err := b.List(t.Context()); err != nil || len(l) != c.holds {
				t.Errorf("%s: %d bans, %v; want %d", c.name, len(l), err, c.holds)
			}
		}
	})
}

// Changes by others elsewhere in nftables cost one check and raise no alarm; our own changes cost none.
func TestGeneration(t *testing.T) {
	b := newBackend(t, Options{})
	t.Cleanup(func() {
		if err := b.Cleanup(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if _, err := b.Reconcile(t.Context(), bansFrom(10)); err != nil {
		t.Fatal(err)
	}
	if b.gen == 0 {
		t.Error("after a reconcile somebody else may have changed something")
	}
	if err := b.Add(t.Context(), bansFrom(20)); err != nil {
		t.Fatal(err)
	}
	if b.gen == 0 {
		t.Error("after an addition somebody else may have changed something")
	}
	firewalltest.Run(t, "nft", "add table inet neighbour; delete table inet neighbour")
	before := b.gen
	if err := b.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	if b.gen == before || b.gen == 0 {
		t.Errorf("generation %d, and %d after somebody else's transaction", before, b.gen)
	}
	firewalltest.Run(t, "nft", "add element inet bailiff v4-32 { 192.0.2.200 }")
	if err := b.Add(t.Context(), bansFrom(21)); err != nil {
		t.Fatal(err)
	}
	if err := b.Verify(t.Context()); err == nil {
		t.Error("a foreign element between two of our transactions went unnoticed")
	}
}

// FuzzElements: whatever a message holds, parsing it ends within its bytes.
func FuzzElements(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 24, 0, 3, 128, 20, 0, 1, 128, 12, 0, 1, 128, 8, 0, 1, 0, 192, 0, 2, 7})
	f.Fuzz(func(t *testing.T, data []byte) {
		parseElements(data, func(addr []byte, left uint32) {
			if len(addr) > len(data) {
				t.Errorf("an address of %d bytes in %d", len(addr), len(data))
			}
		})
	})
}

const containedEnv = "BAILIFF_TEST_CONTAINED" // set in the child that is root of a user namespace of its own

// contained runs f as root of a user and network namespace of its own, as in an unprivileged container: it runs the calling
// test, by its name, in a copy of the test program.
func contained(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if os.Getenv(containedEnv) != "" {
		f(t)
		return
	}
	firewalltest.NeedNetns(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), containedEnv+"=1")
	self := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET, UidMappings: self, GidMappings: self}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
}
