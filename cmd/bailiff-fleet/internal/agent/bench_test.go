package agent

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/policy/fleet"
	"bailiff/policy/state"
	"bailiff/units/hub"
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
		var all []fleet.News
		for n := range each {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(n >> 8), byte(n)}), 32)
			all = append(all, fleet.News{Host: name, Prefix: p, Jail: "sshd", Since: now.UnixMicro(), Until: until.UnixMicro(), Failures: 5, Reason: state.Failures})
			l = append(l, h.message(name, &all[n]))
		}
		for i := 0; len(all) > 0; i++ { // as its publisher does
			m, n, err := fleet.SignPage(name, i, all, h.members[name].Key.Private())
			if err != nil {
				t.Fatal(err)
			}
			l, all = append(l, h.signed(m)), all[n:]
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

// TestThousandMembers prints how soon 1,000 other members have a ban, at 10 bans a second. One member is an agent with a daemon; the others
// are plain connections, and one in ten checks signatures: hub and all members share this machine.
func TestThousandMembers(t *testing.T) {
	if os.Getenv("BAILIFF_BENCH") == "" {
		t.Skip("figures: set BAILIFF_BENCH")
	}
	members, bans := 1000, 300
	if s := os.Getenv("BAILIFF_MEMBERS"); s != "" {
		fmt.Sscan(s, &members)
	}
	names := []string{"a"}
	for i := range members {
		names = append(names, fmt.Sprintf("m%d", i))
	}
	h := newHub(t, names...)
	d := newDaemon(t, rules())
	a, _ := h.run("a", d)
	keys := func(host string) []ed25519.PublicKey { return a.roster.Load().keys[host] }
	type got struct {
		addr string
		at   time.Time
	}
	arrived := make(chan got, members*bans)
	begin := time.Now()
	for i, name := range names[1:] {
		nc := h.client(name)
		if _, err := nc.Subscribe(republished+">", func(m *nats.Msg) {
			if i%10 > 0 {
				prefix := strings.ReplaceAll(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], "_", ".")
				addr, _, _ := strings.Cut(prefix, "/")
				arrived <- got{addr, time.Now()}
				return
			}
			signature, _ := base64.StdEncoding.DecodeString(header(m.Header, hub.SignatureHeader))
			n, err := fleet.Open(&fleet.Message{Subject: strings.TrimPrefix(m.Subject, republished), Payload: m.Data, Signature: signature}, keys)
			if err != nil {
				t.Error(err)
				return
			}
			arrived <- got{n.Prefix.Addr().String(), time.Now()}
		}); err != nil {
			t.Fatal(err)
		}
		if err := nc.FlushTimeout(time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d members are connected after %.1f s", members, time.Since(begin).Seconds())
	cpu, hubCPU := used(t), h.used()
	begin = time.Now()
	made := map[string]time.Time{}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := range bans {
		addr := fmt.Sprintf("192.0.%d.%d", i/250, i%250)
		made[addr] = time.Now()
		d.ban(addr, time.Hour)
		<-tick.C
	}
	var ms []float64
	busy, hubBusy := used(t)-cpu, h.used()-hubCPU
	took := time.Since(begin)
	for more := true; more && len(ms) < members*bans; {
		select {
		case g := <-arrived:
			ms = append(ms, float64(g.at.Sub(made[g.addr]).Microseconds())/1e3)
		case <-time.After(15 * time.Second):
			more = false // a member lost its connection for a while; an agent would catch up
		}
	}
	slices.Sort(ms)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rss, _ := strings.Cut(string(status), "VmRSS:")
	rss, _, _ = strings.Cut(rss, "\n")
	t.Logf("%d bans, 10 a second, at %d members, %d of %d arrived at once: median %.1f ms, 99th %.1f ms, all from %.1f to %.1f ms; the members used %.0f %% of a processor, the hub %.0f %% and%s", bans, members, len(ms), members*bans,
		ms[len(ms)/2], ms[len(ms)*99/100], ms[0], ms[len(ms)-1], 100*busy.Seconds()/took.Seconds(), 100*hubBusy.Seconds()/took.Seconds(), rss)
}

// used is the CPU time of the hub.
func (h *testHub) used() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.cmd.Process.Pid))
	if err != nil {
		h.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}
