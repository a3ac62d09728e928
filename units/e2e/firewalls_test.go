package e2e

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"bailiff/units/control"
)

// A banner is a program that bans, with one of its firewalls.
type banner struct {
	name, firewall string
	start          func(*testing.T) // with no bans and an empty journal
	stop           func(*testing.T)
	again          string             // ends it with its bans kept for the next start, and starts it
	hold           func(n int) string // a script that has it ban n addresses from holdBase on, beforehand
	held           string             // prints how many addresses are banned in the firewall
	trials, many   int                // bans measured one by one; bans all at once
}

// Addresses, by their number with the load generator.
const (
	holdBase  = 100_000 // banned beforehand
	trialBase = 110_000 // one by one
	manyBase  = 0       // all at once
	existing  = 1000
)

// TestFirewalls prints, in one table, how soon and how fast bailiff and fail2ban ban through each firewall on one host, measured by an
// attacker's packets.
func TestFirewalls(t *testing.T) {
	if os.Getenv("BAILIFF_BENCH") == "" {
		t.Skip("a comparison with fail2ban: run `make bench`, or set BAILIFF_BENCH and BAILIFF_E2E")
	}
	suites, tree, load := wanted(t)
	v := boot(t, suites[0], tree, load, "firewalld", "polkitd", "netbase", "fail2ban", "python3-systemd", "iptables")
	v.sh(t, `systemctl stop fail2ban.service; systemctl disable -q fail2ban.service; systemctl start firewalld.service
		firewall-cmd -q --permanent --add-port=`+strconv.Itoa(probePort)+`/udp; firewall-cmd -q --reload`)
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\tentry → first packet blocked at %d bans: median\t99th\tbans a second\tof so many\tback after a restart\n", existing)
	for _, b := range []banner{
		v.bailiff("firewalld", 10_000), v.fail2ban("firewallcmd-ipset", "all"),
		v.bailiff("ipset", 100_000), v.fail2ban("iptables-ipset", "all"),
		v.bailiff("nftables", 100_000), v.fail2ban("nftables", "tcp,udp"),
	} {
		t.Run(b.name+" "+b.firewall, func(t *testing.T) {
			lat := v.first(t, b)
			rate, back := v.flooded(t, b)
			fmt.Fprintf(w, "%s, %s\t%.1f ms\t%.1f ms\t%.0f\t%d\t%.2f s\n", b.name, b.firewall, quantile(lat, 50), quantile(lat, 99), rate, b.many, back.Seconds())
		})
	}
	w.Flush()
	t.Logf("%s:\n%s", v.suite, out.String())
	t.Run("reload", v.reloadMany)
}

// afresh removes earlier entries from the journal, so that they are no evidence.
const afresh = `journalctl -q --rotate; journalctl -q --vacuum-time=1s; `

func (v *victim) bailiff(backend string, many int) banner {
	return banner{
		name: "bailiff", firewall: backend, trials: 100, many: many,
		start: func(t *testing.T) {
			// The rules are removed when it stops, so that each start restores all of them.
			v.put(t, "50-firewall.yaml", "firewall: {backend: "+backend+", keep_on_stop: false}\n")
			v.sh(t, afresh+`rm -f /var/lib/bailiff/state; systemctl start bailiff.service`)
			eventually(t, func() error {
				if s := ask[control.Status](v, t, "status"); !s.Firewall.OK {
					return fmt.Errorf("firewall: %+v", s.Firewall)
				}
				return nil
			})
		},
		stop:  func(t *testing.T) { v.sh(t, `systemctl stop bailiff.service bailiff.socket`) },
		again: `systemctl stop bailiff.service bailiff.socket; date +%s%N; systemctl start --no-block bailiff.service`,
		hold: func(n int) string {
			return fmt.Sprintf(`for i in $(seq 0 %d); do echo 198.$((18+(%d+i)/65536)).$(((%d+i)/256%%256)).$(((%d+i)%%256)); done | xargs bailiff ban --for 1d >/dev/null`, n-1, holdBase, holdBase, holdBase)
		},
		held: map[string]string{
			"firewalld": `for s in $(firewall-cmd --get-ipsets); do case $s in bailiff4*) firewall-cmd --ipset=$s --get-entries;; esac; done | grep -c '^198\.'`,
			"ipset":     `for s in $(ipset list -n | grep '^bailiff4'); do ipset list -t "$s"; done | awk '/^Number of entries: / { n += $NF } END { print n }'`,
			"nftables":  `nft list table inet bailiff | grep -o '198\.1[89]\.[0-9.]*' | wc -l`,
		}[backend],
	}
}

func (v *victim) fail2ban(action, protocol string) banner {
	held := `ipset list f2b-sshd | grep -c '^198\.'`
	if action == "nftables" {
		held = `nft list set inet f2b-table addr-set-sshd | grep -o '198\.1[89]\.[0-9.]*' | wc -l`
	}
	return banner{
		name: "fail2ban", firewall: action, trials: 30, many: 1000, held: held,
		start: func(t *testing.T) {
			how := "type=allports"
			if action == "firewallcmd-ipset" {
				how = "actiontype=<allports>"
			}
			if err := v.WriteFile("/etc/fail2ban/jail.local", []byte(`[DEFAULT]
backend = systemd
banaction = `+action+`[`+how+`]
protocol = `+protocol+`
maxretry = 5
bantime = 1d
[sshd]
enabled = true
journalmatch = _SYSTEMD_UNIT=ssh.service + _COMM=sshd
`), 0o644); err != nil {
				t.Fatal(err)
			}
			v.sh(t, afresh+`rm -f /var/lib/fail2ban/fail2ban.sqlite3; systemctl start fail2ban.service`)
			eventually(t, func() error {
				_, err := v.Run(t.Context(), "fail2ban-client", "status", "sshd")
				return err
			})
		},
		stop:  func(t *testing.T) { v.sh(t, `systemctl stop fail2ban.service`) },
		again: `systemctl stop fail2ban.service; date +%s%N; systemctl start --no-block fail2ban.service`,
		hold: func(n int) string {
			return fmt.Sprintf(`for i in $(seq 0 %d); do echo 198.$((18+(%d+i)/65536)).$(((%d+i)/256%%256)).$(((%d+i)%%256)); done | xargs fail2ban-client set sshd banip >/dev/null`, n-1, holdBase, holdBase, holdBase)
		},
	}
}

// turn is what the load generator reports about an address.
type turn struct {
	addr        netip.Addr
	begin, last time.Time
}

// turns has the load generator use one address after another, and calls watch with each address that it reports.
func (v *victim) turns(t *testing.T, args string, watch func(netip.Addr)) (l []turn) {
	t.Helper()
	cmd := v.Command(t.Context(), "sh", "-c", `echo $$ >/sys/fs/cgroup/system.slice/ssh.service/cgroup.procs; exec `+loadPath+` `+args)
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		var word, addr string
		var ns int64
		if _, err := fmt.Sscan(lines.Text(), &word, &addr, &ns); err != nil {
			t.Fatalf("load: %v in %q", err, lines.Text())
		}
		a := netip.MustParseAddr(addr)
		switch word {
		case "begin":
			watch(a)
			l = append(l, turn{addr: a, begin: time.Unix(0, ns)})
		case "last":
			l[len(l)-1].last = time.Unix(0, ns)
		}
	}
	if err := cmd.Wait(); err != nil || len(l) == 0 {
		t.Fatalf("load: %v, %d addresses told", err, len(l))
	}
	return l
}

// first measures how long after its last line an address is kept out, with many bans already in effect, at twenty lines a second. It
// returns milliseconds, sorted.
func (v *victim) first(t *testing.T, b banner) (ms []float64) {
	t.Helper()
	b.start(t)
	defer b.stop(t)
	v.sh(t, b.hold(existing))
	v.holds(t, b, existing)
	p := v.prober(t, time.Millisecond)
	defer p.close()
	turns := v.turns(t, fmt.Sprintf("-turns %d -failures 5 -rate 20 -base %d", b.trials, trialBase), func(a netip.Addr) { p.watch(a) })
	for _, x := range turns[1:] { // the first one comes after a quiet time
		var at time.Time
		eventually(t, func() error {
			var through, ok bool
			if at, through, ok = p.blocked(x.addr); !ok || !through {
				return fmt.Errorf("%s: kept out %v, came through before %v", x.addr, ok, through)
			}
			return nil
		})
		ms = append(ms, float64(at.Sub(x.last).Microseconds())/1e3)
	}
	slices.Sort(ms)
	return ms
}

// flooded lets many addresses attack, one after the other, as fast as journald takes their lines. It measures the time until the last of
// them is kept out, and then the time from the program's next start until all are kept out again.
func (v *victim) flooded(t *testing.T, b banner) (rate float64, back time.Duration) {
	t.Helper()
	b.start(t)
	defer b.stop(t)
	p := v.prober(t, 2*time.Millisecond)
	defer p.close()
	begin, end, all := v.flood(t, p, b.many, manyBase)
	t.Logf("%s, %s: %d bans: all in force %.2f s after the first line", b.name, b.firewall, b.many, end.Sub(begin).Seconds())
	v.holds(t, b, b.many)
	p.leave()
	p.watch(all...)
	out := v.sh(t, b.again)
	from, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		t.Fatalf("%s: %q", b.again, out)
	}
	again := p.all(t, 3*time.Minute, true, all)
	v.holds(t, b, b.many)
	t.Logf("%s, %s: %d bans from lines as fast as they come: all in force %.2f s after the first line; after a restart %.2f s", b.name, b.firewall, b.many,
		end.Sub(begin).Seconds(), again.Sub(time.Unix(0, from)).Seconds())
	return float64(b.many) / end.Sub(begin).Seconds(), again.Sub(time.Unix(0, from))
}

// samples is how many of the addresses of a flood are watched.
const samples = 16

// flood bans n addresses. It returns when the first line was written, when the last watched address was kept out, and the watched
// addresses.
func (v *victim) flood(t *testing.T, p *prober, n, base int) (begin, end time.Time, all []netip.Addr) {
	t.Helper()
	for _, x := range v.turns(t, fmt.Sprintf("-turns %d -failures 5 -base %d -tell %d", n, base, n/samples), func(a netip.Addr) { p.watch(a) }) {
		if begin.IsZero() {
			begin = x.begin
		}
		all = append(all, x.addr)
	}
	return begin, p.all(t, 10*time.Minute, false, all), all
}

// all waits until the addresses are kept out, and returns when the last of them was. If opened is set, each must have come through before.
func (p *prober) all(t *testing.T, limit time.Duration, opened bool, addrs []netip.Addr) (end time.Time) {
	t.Helper()
	within(t, limit, func() error {
		end = time.Time{}
		for _, a := range addrs {
			at, through, ok := p.blocked(a)
			if !ok || opened && !through {
				return fmt.Errorf("%s: kept out %v, came through before %v", a, ok, through)
			}
			if at.After(end) {
				end = at
			}
		}
		return nil
	})
	return end
}

// holds waits until the firewall has want bans.
func (v *victim) holds(t *testing.T, b banner, want int) {
	t.Helper()
	eventually(t, func() error {
		out, err := v.Sh(t.Context(), b.held)
		if n, _ := strconv.Atoi(strings.TrimSpace(out)); err != nil || n != want {
			return fmt.Errorf("%s, %s: %q bans in the firewall, want %d: %v", b.name, b.firewall, out, want, err)
		}
		return nil
	})
}

// reloadMany prints how long the bans are gone when firewalld is reloaded, which empties its sets.
func (v *victim) reloadMany(t *testing.T) {
	b := v.bailiff("firewalld", 50_000)
	b.start(t)
	defer b.stop(t)
	p := v.prober(t, 2*time.Millisecond)
	defer p.close()
	n := 0
	for _, want := range []int{existing, b.many} {
		begin, end, some := v.flood(t, p, want-n, manyBase+n)
		n = want
		v.holds(t, b, n)
		t.Logf("%s, firewalld: %d bans in force %.1f s after the first line", v.suite, n, end.Sub(begin).Seconds())
		var took, back []float64
		for range 5 {
			p.watch(some...)
			start := time.Now()
			v.sh(t, `firewall-cmd --reload`)
			told := time.Now()
			took = append(took, told.Sub(start).Seconds())
			back = append(back, p.all(t, 3*time.Minute, true, some).Sub(told).Seconds())
			v.holds(t, b, n)
		}
		slices.Sort(took)
		slices.Sort(back)
		t.Logf("%s: firewalld reloaded with %d bans, %d times: that takes %.2f s; all bans are in effect again after another %.3f s, at most %.3f s",
			v.suite, n, len(back), quantile(took, 50), quantile(back, 50), back[len(back)-1])
	}
}
