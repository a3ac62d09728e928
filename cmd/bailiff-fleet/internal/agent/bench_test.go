package agent

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/policy/fleet"
	"bailiff/policy/state"
)

// TestManyBans prints how long ten hosts take to share 100,000 bans, and a new one to get them.
func TestManyBans(t *testing.T) {
	if os.Getenv("BAILIFF_BENCH") == "" {
		t.Skip("figures: set BAILIFF_BENCH")
	}
	const hosts, each = 10, 10_000
	var names []string
	for i := range hosts + 1 {
		names = append(names, fmt.Sprintf("h%d", i))
	}
	h := newHub(t, names...)
	begin := time.Now()
	now := time.Now().UTC().Truncate(time.Microsecond).Add(-time.Hour)
	until := now.Add(48 * time.Hour)
	for i, name := range names[1:] {
		var l []*nats.Msg
		for n := range each {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(n >> 8), byte(n)}), 32)
			l = append(l, h.message(name, &fleet.News{Host: name, Prefix: p, Jail: "sshd", Since: now.UnixMicro(), Until: until.UnixMicro(), Failures: 5, Reason: state.Failures}))
		}
		h.publish(name, l...)
	}
	t.Logf("%d bans of %d hosts are in the hub after %.1f s", hosts*each, hosts, time.Since(begin).Seconds())
	for range 5 {
		d := newDaemon(t, rules(names[1:]...))
		cpu := used(t)
		begin = time.Now()
		_, stop := h.run(names[0], d)
		eventually(t, func() error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if n := d.others.Len(); n < hosts*each {
				return fmt.Errorf("%d of %d", n, hosts*each)
			}
			return nil
		})
		t.Logf("a new host has %d bans after %.2f s; its agent and a daemon without a firewall used %.2f s of CPU", hosts*each, time.Since(begin).Seconds(), (used(t) - cpu).Seconds())
		stop()
	}
}

// used is the CPU time of this process.
func used(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
