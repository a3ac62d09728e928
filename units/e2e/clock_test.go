package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"bailiff/units/e2e/host"
)

// TestProveClock sets the clock of a host back and forth while addresses attack, and kills bailiffd and bailiff-report meanwhile. The
// host is a virtual machine, which has a clock of its own. Whichever way the clock goes:
//
//   - An attempt counts as long as it would otherwise: find_time is time that passes. Five attempts with a step between them are five,
//     and four are four.
//   - A ban ends at the announced time by the new clock, but not within ten minutes after a step forward. The bans here last two days,
//     so none ends.
//   - Nothing is read, announced or reported twice, even if its time is in the future.
func TestProveClock(t *testing.T) {
	if *clockSteps == 0 {
		t.Skip("takes a virtual machine and a quarter of an hour: run `make prove` or `make prove-clock`")
	}
	suites, tree, load := wanted(t, "trixie")
	if err := host.MachinePossible(); err != nil {
		t.Skip(err)
	}
	root, err := host.MachineRoot(t.Context(), suites[0], os.Stderr, "postfix")
	if err != nil {
		t.Fatal(err)
	}
	h, err := host.BootMachine(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{Host: h, suite: suites[0], slow: true}
	v.equip(t, tree, load)
	p := &clockProof{proof: proof{victim: v, backend: "ipset", wave: 10, rate: 5, rand: rand.New(rand.NewPCG(*proveSeed, 0))}}
	p.prove(t)
}

type clockProof struct {
	proof
	ahead time.Duration // the machine's clock is ahead of ours by this
}

// everything makes journalctl read all boots, since no entries can be selected by time here.
const everything = "--boot=all"

func (p *clockProof) prove(t *testing.T) {
	p.setUp(t, `postconf -e myhostname=mail.example.test 'mydestination=$myhostname, localhost, example.test' mynetworks=127.0.0.0/8 \
		inet_interfaces=loopback-only alias_maps= alias_database= disable_dns_lookups=yes; systemctl restart postfix`)
	begin := time.Now()
	p.underAttack(t, p.steps)
	p.check(t, everything, "steps of the clock")

	// The battery is empty: the host boots with the clock an hour behind, is attacked, and gets the time.
	p.SetRTC(p.ahead - time.Hour)
	p.reboot(t)
	p.ahead -= time.Hour
	p.underAttack(t, func(t *testing.T) {
		for _, what := range []string{"daemon", "+1h", "daemon"} {
			time.Sleep(p.pause())
			p.happens(t, what)
		}
	})
	p.check(t, everything, "boot with a wrong clock")
	p.result(t, begin)
}

func (p *clockProof) pause() time.Duration {
	return time.Duration(p.rand.IntN(6000)) * time.Millisecond
}

// steps sets the clock: an hour forward and back, an hour back and forward, and then at random by up to two hours. Between two steps
// other things may happen.
func (p *clockProof) steps(t *testing.T) {
	for i := range *clockSteps {
		step := time.Duration(p.rand.Int64N(int64(4*time.Hour))) - 2*time.Hour
		if first := []time.Duration{time.Hour, -time.Hour, -time.Hour, time.Hour}; i < len(first) {
			step = first[i]
		} else if p.rand.IntN(2) == 0 {
			step = time.Hour
			if p.ahead > 0 {
				step = -step
			}
		}
		time.Sleep(p.pause())
		p.happens(t, step.String())
		for _, what := range []string{"daemon", "reporter", "journald", "rotate", "firewall"} {
			if p.rand.IntN(5) < map[string]int{"daemon": 4, "reporter": 2}[what]+1 {
				time.Sleep(p.pause() / 2)
				p.happens(t, what)
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	p.active(t)
}

// happens does something to the host: a duration moves its clock by that, anything else is passed to disturb.
func (p *clockProof) happens(t *testing.T, what string) {
	t.Helper()
	by, err := time.ParseDuration(what)
	if err != nil {
		p.disturb(t, what)
		return
	}
	by = by.Round(time.Second)
	p.sh(t, fmt.Sprintf(`date -s "@$(($(date +%%s) + %d))"`, int(by.Seconds())))
	p.ahead += by
	p.done["step"]++
	t.Logf("%s the clock is set by %s", time.Now().UTC().Format("15:04:05.000"), by)
}
