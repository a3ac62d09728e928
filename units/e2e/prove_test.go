package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/units/control"
)

// `make prove` and `make prove-clock` set these.
var (
	daemonKills   = flag.Int("prove.daemon", 0, "TestProve: kill bailiffd this often, at random moments; 0 leaves the test out")
	reporterKills = flag.Int("prove.reporter", 0, "TestProve: kill bailiff-report this often, at random moments")
	clockSteps    = flag.Int("prove.clock", 0, "TestProveClock: set the clock this often, at random moments; 0 leaves the test out")
	fleetTime     = flag.Duration("prove.fleet", 0, "TestProveFleet: how long faults happen at random; 0 leaves the test out")
	proveSeed     = flag.Uint64("prove.seed", 1, "TestProve: seed of the random moments")
)

const (
	guiltyAt = 20000 // number of the first address that fails five times
	innocent = 70000 // number of the first that fails four times
)

// TestProve kills the daemon and the reporter at random moments, hundreds of times, while two hundred addresses at a time attack, and in
// between does to the host what happens to hosts. In the end every attempt was counted once, every ban made once and in force, every report
// delivered once, and no address banned that failed less often than a ban requires.
//
// The clock stays as it is, since hosts share it with the machine: see TestProveClock.
func TestProve(t *testing.T) {
	if *daemonKills == 0 {
		t.Skip("takes an hour: run `make prove`")
	}
	suites, tree, load := wanted(t)
	for _, suite := range suites {
		for _, backend := range []string{"ipset", "firewalld"} {
			t.Run(suite+"/"+backend, func(t *testing.T) {
				t.Parallel()
				v := boot(t, suite, tree, load, append(slices.Clone(mailHosts[0].packages), firewalldHost...)...)
				p := &proof{victim: v, backend: backend, wave: 100, rate: 25, rand: rand.New(rand.NewPCG(*proveSeed, uint64(len(backend))))}
				p.prove(t)
			})
		}
	}
}

// A proof is one host with the record of what was done to it.
type proof struct {
	*victim
	backend string
	wave    int // addresses that fail five times, and as many that fail four times, at once
	rate    int // lines a second, of each kind
	rand    *rand.Rand
	waves   int // waves begun so far
	done    map[string]int
}

func (p *proof) prove(t *testing.T) {
	p.setUp(t, postfixSetup)
	since, begin := p.now(t), time.Now()

	p.underAttack(t, p.kills)
	p.check(t, since, "kills")
	p.underAttack(t, p.fullDisk)
	p.check(t, since, "full disk")
	p.reboot(t)
	p.memory(t)
	p.check(t, since, "reboot")
	p.result(t, begin)
}

// reboot boots the host again. All bans must be in effect after that.
func (p *proof) reboot(t *testing.T) {
	t.Helper()
	before := p.bansInForce(t)
	if err := p.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.done["reboot"]++
	p.active(t)
	if after := p.bansInForce(t); after != before {
		t.Errorf("%d bans in force before the reboot, %d after", before, after)
	}
}

func (p *proof) result(t *testing.T, begin time.Time) {
	t.Logf("%s, %s: %.0f s; %v; %d addresses that failed five times, as many that failed four times",
		p.suite, p.backend, time.Since(begin).Seconds(), p.done, p.waves*p.wave)
}

// setUp makes the host report by mail, through postfix, and starts bailiff.
func (p *proof) setUp(t *testing.T, mail string) {
	p.reporterLog(t)
	p.sh(t, mail)
	p.sendsBy(t, "postfix")
	p.hurried(t)
	p.put(t, "50-report.yaml", `
report:
  host: mail.example.test
  sender: bailiff@mail.example.test
  lookup: {rdap: false, whois: false, contacts: none}
  destinations:
    admin: {type: mail, to: root}
`)
	p.put(t, "20-firewall.yaml", "firewall: {backend: "+p.backend+"}\n")
	// Restarts follow at once, so that a thousand kills fit into half an hour; between them the daemon is at work.
	p.sh(t, `for u in bailiff bailiff-report; do mkdir -p /etc/systemd/system/$u.service.d
		printf '[Service]\nRestartSec=50ms\n' >/etc/systemd/system/$u.service.d/95-prove.conf; done
		systemctl daemon-reload; firewall=`+p.backend+`
		if test $firewall = firewalld; then firewall-cmd -q --permanent --set-default-zone=trusted || firewall-cmd -q --set-default-zone=trusted
		elif systemctl -q is-enabled firewalld.service 2>/dev/null; then systemctl disable -q --now firewalld.service; fi
		for i in 1 2 3 4 5 6; do logger filler; journalctl -q --rotate; done
		systemctl enable -q --now bailiff.service`)
	p.active(t)
	p.done = map[string]int{}
}

// underAttack runs what happens to the host while wave after wave attacks, and lets the last wave end.
func (p *proof) underAttack(t *testing.T, what func(*testing.T)) {
	t.Helper()
	over := make(chan struct{})
	var attack sync.WaitGroup
	attack.Add(1)
	go func() {
		defer attack.Done()
		for {
			select {
			case <-over:
				return
			default:
			}
			n := p.waves
			p.waves++
			var both sync.WaitGroup
			for _, g := range []struct{ base, lines int }{{guiltyAt, 5}, {innocent, 4}} {
				both.Add(1)
				go func() {
					defer both.Done()
					if out, err := p.load(t, fmt.Sprintf("-addresses %d -lines %d -rate %d -base %d", p.wave, p.wave*g.lines, p.rate, g.base+n*p.wave)); err != nil {
						t.Errorf("load: %v %s", err, out)
					}
				}()
			}
			both.Wait()
		}
	}()
	what(t)
	close(over)
	attack.Wait()
}

// kills ends the daemon and the reporter at random moments, also while they start, and disturbs the others now and then.
func (p *proof) kills(t *testing.T) {
	var all []string
	for range *daemonKills {
		all = append(all, "daemon")
	}
	for range *reporterKills {
		all = append(all, "reporter")
	}
	for i := range (*daemonKills + 19) / 20 {
		all = append(all, []string{"journald", "rotate", "vacuum", "firewall"}[i%4])
	}
	p.rand.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
	for _, what := range all {
		time.Sleep(time.Duration(p.rand.IntN(1500)) * time.Millisecond)
		p.disturb(t, what)
		if t.Failed() {
			t.FailNow()
		}
	}
	p.active(t)
}

// disturb does one of the things below to the host.
func (p *proof) disturb(t *testing.T, what string) {
	t.Helper()
	if unit := map[string]string{"daemon": "bailiff", "reporter": "bailiff-report"}[what]; unit != "" {
		// What does not run yet cannot be killed; while it starts it can.
		eventually(t, func() error {
			if pid := p.sh(t, `systemctl show -P MainPID `+unit+`.service`); pid == "0\n" {
				return fmt.Errorf("%s.service does not run", unit)
			}
			return nil
		})
	}
	p.sh(t, map[string]string{
		"daemon":   `systemctl kill -s KILL bailiff.service`,
		"reporter": `systemctl kill -s KILL bailiff-report.service`,
		"journald": `systemctl restart systemd-journald.service`,
		"rotate":   `journalctl -q --rotate`,
		"vacuum":   `journalctl -q --rotate; journalctl -q --vacuum-files=40`,
		"firewall": map[string]string{"ipset": `nft flush ruleset`, "firewalld": `systemctl restart firewalld.service`}[p.backend],
	}[what])
	t.Logf("%s %s", time.Now().UTC().Format("15:04:05.000"), what)
	p.done[what]++
}

// fullDisk takes the space from the daemon's state and from the reporter's queue for a while, and kills both meanwhile.
func (p *proof) fullDisk(t *testing.T) {
	for _, unit := range []string{"bailiff", "bailiff-report"} {
		dir := "/var/lib/" + unit
		p.sh(t, `systemctl stop `+unit+`.service `+unit+`.socket; cp -a `+dir+` /root/state; mount -t tmpfs -o size=64m tmpfs `+dir+`
			cp -a /root/state/. `+dir+`/; systemctl start `+unit+`.socket; systemctl start `+unit+`.service`)
		for range 3 {
			p.sh(t, `dd if=/dev/zero of=`+dir+`/filler bs=4k 2>/dev/null || :`)
			time.Sleep(time.Duration(500+p.rand.IntN(3000)) * time.Millisecond)
			if p.rand.IntN(2) == 0 {
				p.sh(t, `systemctl kill -s KILL `+unit+`.service`)
				time.Sleep(time.Duration(500+p.rand.IntN(1000)) * time.Millisecond)
			}
			p.sh(t, `rm `+dir+`/filler`)
			p.done["full disk"]++
			time.Sleep(time.Duration(500+p.rand.IntN(3000)) * time.Millisecond)
		}
		p.sh(t, `systemctl stop `+unit+`.service `+unit+`.socket; rm -r /root/state; cp -a `+dir+` /root/state; umount `+dir+`
			find `+dir+` -mindepth 1 -delete; cp -a /root/state/. `+dir+`/; rm -r /root/state; systemctl reset-failed; systemctl start `+unit+`.socket; systemctl start `+unit+`.service`)
	}
}

// memory lets the daemon alone under two attacks of equal size: the second takes no more memory than its bans need.
func (p *proof) memory(t *testing.T) {
	t.Helper()
	var anon [3]int
	for i := range anon {
		p.underAttack(t, func(*testing.T) {}) // one wave
		p.settled(t)
		out := p.sh(t, `awk '/^RssAnon:/ { print $2 }' /proc/$(systemctl show -P MainPID bailiff.service)/status`)
		anon[i], _ = strconv.Atoi(strings.TrimSpace(out))
	}
	t.Logf("%s, %s: anonymous memory after each of three waves: %v kB", p.suite, p.backend, anon)
	if anon[0] == 0 || anon[2] > anon[0]+8<<10 {
		t.Errorf("memory grows with attacks: %v kB", anon)
	}
}

func (p *proof) bansInForce(t *testing.T) int {
	t.Helper()
	p.settled(t)
	return ask[control.Status](p.victim, t, "status").Bans
}

// check compares what the journal, the kernel, the daemon and root's mailbox say with what was attempted.
func (p *proof) check(t *testing.T, since, after string) {
	t.Helper()
	p.active(t)
	p.settled(t)
	wrong := 0
	fault := func(format string, args ...any) {
		if wrong++; wrong <= 10 {
			t.Errorf("after "+after+": "+format, args...)
		}
	}
	bans, ids := map[string]int{}, map[string]bool{}
	for _, e := range p.entries(t, since, "_SYSTEMD_UNIT=bailiff.service", "MESSAGE_ID="+idBan) {
		a, id := e["BAILIFF_ADDRESS"], e["BAILIFF_BAN_ID"]
		if e["BAILIFF_RESTORED"] != "" {
			fault("the ban of %s was lost and restored", a)
		}
		bans[a]++
		if ids[id] {
			fault("ban %s of %s is told twice", id, a)
		}
		ids[id] = true
		if e["BAILIFF_FAILURES"] != "5" {
			fault("the ban of %s is for %s attempts, want 5", a, e["BAILIFF_FAILURES"])
		}
	}
	var guilty, free []netip.Addr
	for i := range p.waves * p.wave {
		guilty, free = append(guilty, sourceN(guiltyAt+i)), append(free, sourceN(innocent+i))
	}
	for i := range guilty {
		if n := bans[guilty[i].String()]; n != 1 {
			fault("%s failed five times: %d bans; %+v", guilty[i], n, p.why(t, guilty[i]).Counted)
		}
		if n := bans[free[i].String()]; n != 0 {
			fault("%s failed four times: %d bans", free[i], n)
		}
	}
	// Packets tell whether a ban is in force, whatever the firewall.
	var mu sync.Mutex
	p.inParallel(len(guilty), func(i int) {
		if _, err := p.Dial(guilty[i], 22, 300*time.Millisecond); !timedOut(err) {
			mu.Lock()
			fault("%s is banned and reaches sshd: %v", guilty[i], err)
			mu.Unlock()
		}
		if err := p.letIn(free[i], 22); err != nil {
			mu.Lock()
			fault("%s is not banned: %v", free[i], err)
			mu.Unlock()
		}
	})
	// The failures of the last waves still count, four for each address: one more attempt leads to a ban.
	for _, a := range free[max(0, len(free)-p.wave):] {
		for _, c := range p.why(t, a).Counted {
			if c.Window == "normal" && c.Attempts != 4 {
				fault("%s failed four times, %d are counted", a, c.Attempts)
			}
		}
	}
	if wrong > 0 {
		t.Fatalf("after %s: %d faults; seed %d", after, wrong, *proveSeed)
	}
	p.reportedOnce(t, guilty, after)
}

// reportedOnce waits until each ban has led to one mail, and no more.
func (p *proof) reportedOnce(t *testing.T, guilty []netip.Addr, after string) {
	t.Helper()
	mails := map[string]int{}
	eventually(t, func() error {
		clear(mails)
		for line := range strings.Lines(p.sh(t, `grep -ih '^X-Bailiff-Address:' /var/mail/root || :`)) {
			_, a, _ := strings.Cut(strings.TrimSpace(line), ": ")
			mails[a]++
		}
		for i, a := range guilty {
			if mails[a.String()] == 0 {
				time.Sleep(time.Second)
				return fmt.Errorf("after %s: no mail about %s, number %d of %d; mails about %d", after, a, i, len(guilty), len(mails))
			}
		}
		return nil
	})
	p.nothingWaits(t)
	for a, n := range mails {
		if n != 1 {
			t.Errorf("after %s: %d mails about %s", after, n, a)
		}
	}
}
