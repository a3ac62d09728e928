package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/policy/allow"
	"bailiff/policy/filter"
	"bailiff/policy/fleet"
	"bailiff/policy/jail"
	"bailiff/units/control"
)

// TestClockSteps: a clock that is set between two entries is noticed; sleep, a boot and slewing are not mistaken for that.
func TestClockSteps(t *testing.T) {
	boot, other := journal.ID128{1}, journal.ID128{2}
	const hour, second = int64(3600e6), int64(1e6)
	at := func(boot journal.ID128, realtime, monotonic int64) journal.Cursor {
		return journal.Cursor{BootID: boot, Realtime: uint64(realtime), Monotonic: uint64(monotonic), Set: journal.HasAll}
	}
	start := int64(1_700_000_000_000_000)
	for _, c := range []struct {
		name         string
		last         journal.Cursor // read before the daemon's start
		asleep       time.Duration  // since boot at the start and at the first entry
		later        time.Duration  // the same at the second entry
		one, two     journal.Cursor
		step1, step2 int64 // the step found before each entry
	}{
		{"nothing", at(boot, start, 0), 0, 0, at(boot, start+second, second), at(boot, start+3*hour, 3*hour), 0, 0},
		{"forward", at(boot, start, 0), 0, 0, at(boot, start+second, second), at(boot, start+2*second+hour, 2*second), 0, hour},
		{"back", at(boot, start, 0), 0, 0, at(boot, start+second, second), at(boot, start+2*second-hour, 2*second), 0, -hour},
		{"while the daemon was not running", at(boot, start, 0), 0, 0, at(boot, start+second+hour, second), at(boot, start+2*second+hour, 2*second), hour, 0},
		{"there and back", at(boot, start, 0), 0, 0, at(boot, start+second+hour, second), at(boot, start+2*second, 2*second), hour, -hour},
		{"slewed", at(boot, start, 0), 0, 0, at(boot, start+second+900_000, second), at(boot, start+2*second+1_800_000, 2*second), 0, 0},
		{"first start", journal.Cursor{}, 0, 0, at(boot, start+second, second), at(boot, start+2*second-hour, 2*second), 0, -hour},
		{"new boot", at(other, start, 50*hour), 0, 0, at(boot, start-hour, second), at(boot, start, 2*second), 0, hour - second},
		{"old entries of an earlier boot", at(other, start, 50*hour), 0, 0, at(other, start+second, 50*hour+second), at(boot, start+2*second, second), 0, 0},
		{"sleep", at(boot, start, 0), 0, 8 * time.Hour, at(boot, start+second, second), at(boot, start+8*hour, 2*second), 0, 0},
		{"sleep before the start", at(boot, start, 0), 8 * time.Hour, 8 * time.Hour, at(boot, start+8*hour, second), at(boot, start+9*hour, 2*second), 0, hour - second},
	} {
		var s clockSteps
		s.start(boot, c.last, c.asleep)
		s.sleep(c.asleep)
		if by := s.entry(&c.one); by != c.step1 {
			t.Errorf("%s: %d µs before the first entry, want %d", c.name, by, c.step1)
		}
		s.sleep(c.later)
		if by := s.entry(&c.two); by != c.step2 {
			t.Errorf("%s: %d µs before the second entry, want %d", c.name, by, c.step2)
		}
	}

	// Time continues from the clock of the last entry until the next entry shows the step.
	var s clockSteps
	s.start(boot, at(boot, start, 0), 0)
	for _, by := range []time.Duration{0, time.Hour, -time.Hour} {
		now := time.UnixMicro(start + 5*second).Add(by)
		if got := s.unstepped(now, 5*time.Second); got.UnixMicro() != start+5*second {
			t.Errorf("the clock set by %s: %s, want %s", by, got, time.UnixMicro(start+5*second))
		}
	}
	s.start(boot, at(other, start, 0), 0)
	if now := time.UnixMicro(start + 5*second); !s.unstepped(now, time.Second).Equal(now) {
		t.Error("an entry of an earlier boot decides what time it is")
	}
}

// TestClockIsSet: the clock is set back or forward while addresses attack and the daemon is killed. Each attempt counts once, each ban
// is made and announced once, and four attempts lead to no ban.
func TestClockIsSet(t *testing.T) {
	for name, ago := range map[string][2]time.Duration{"back": {-time.Hour, 0}, "forward": {time.Hour, 0}, "back, far": {-100 * time.Hour, 0}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.echo, b.steady = true, true
			b.start()
			// The first start does not look for entries as old as those to come, so it must be over.
			b.fail("203.0.113.9", 1)
			b.untilStatus("an entry", func(s *control.Status) bool { return s.Journal.Entries == 1 })
			b.ago.Store(int64(ago[0]))
			b.fail("203.0.113.1", 5)
			b.fail("203.0.113.2", 2)
			b.fail("203.0.113.3", 2)
			b.awaitBan("203.0.113.1/32")
			// This saves the position, with the time of the clock before it is set.
			b.did(b.client.Ban(context.Background(), control.BanRequest{Prefixes: []string{"198.51.100.1"}}))
			b.fail("203.0.113.4", 5) // announced, but not saved
			b.announced("203.0.113.4/32")
			b.ago.Store(int64(ago[1]))
			b.fail("203.0.113.2", 1)
			b.fail("203.0.113.5", 5) // the same, after the clock was set
			b.announced("203.0.113.5/32")
			b.kill()
			b.fail("203.0.113.2", 1)
			b.fail("203.0.113.3", 2)
			b.start()
			b.fail("203.0.113.2", 1)
			if x := b.awaitBan("203.0.113.2/32"); x.Failures != 5 {
				t.Errorf("ban for %d attempts, want 5", x.Failures)
			}
			b.announced("203.0.113.2/32")
			b.until("four attempts", func(ctx context.Context) bool {
				w, err := b.client.Why(ctx, "203.0.113.3")
				return err == nil && w.State == "counted" && len(w.Counted) > 0 && w.Counted[0].Attempts == 4
			})
			b.settle()
			announced := map[string]int{}
			for _, m := range b.all() {
				if m["MESSAGE_ID"] == audit.KindBan.ID() {
					announced[m[audit.FieldPrefix]]++
				}
				if m["MESSAGE_ID"] == audit.KindJournalProblem.ID() {
					t.Error(m["MESSAGE"])
				}
			}
			want := map[string]int{"203.0.113.1/32": 1, "203.0.113.2/32": 1, "203.0.113.4/32": 1, "203.0.113.5/32": 1, "198.51.100.1/32": 1}
			if fmt.Sprint(announced) != fmt.Sprint(want) {
				t.Errorf("announced %v, want %v", announced, want)
			}
		})
	}
}

// restored is a daemon after its start that runs no goroutines.
func restored(t *testing.T) *daemon {
	dir := t.TempDir()
	conf := filepath.Join(dir, "bailiff.yaml")
	if err := os.WriteFile(conf, []byte("jails: {sshd: {}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := newDaemon(options{config: conf, state: dir, journal: dir, backend: "dryrun", audit: filepath.Join(dir, "none")})
	if err != nil {
		t.Fatal(err)
	}
	d.aud = audit.Open(audit.Options{Socket: d.opt.audit, Stderr: os.Stderr})
	d.firewall.aud, d.problems.aud = d.aud, d.aud
	d.firewall.host = hostFacts{lacks: map[string]string{}}
	d.audit = newAuditQueue(d.aud, d.source)
	be, _, err := d.restore(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.firewall.worker = newFirewallWorker(be, nil, nil, d.firewall.events)
	t.Cleanup(func() {
		be.Close()
		d.others.saveNow() // waits for a write in the background
	})
	return d
}

// TestBanAfterStep: a ban that is decided right after the clock went a year forward, from entries of before, is in effect and held by
// the firewall, as older bans are. Without a step the same entries are a year old, and the ban is over.
func TestBanAfterStep(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, stepped := range []bool{true, false} {
		d := restored(t)
		now := time.Now()
		if stepped {
			d.clock.wall = now.Add(-year).Round(0) // as if it had been read a moment ago
		}
		b := &batch{behind: true}
		for i := range 5 {
			at := now.Add(-year - time.Minute).Add(time.Duration(i) * time.Second)
			b.entries = append(b.entries, filter.Entry{
				Message: fmt.Appendf(nil, "Failed password for root from 203.0.113.1 port %d ssh2", 1024+i), Unit: []byte("ssh.service"),
				Slice: []byte("system.slice"), Identifier: []byte("sshd"), WholeMessage: true, PID: uint32(1000 + i), Realtime: at.UnixMicro(),
			})
			b.cursors = append(b.cursors, journal.Cursor{Realtime: uint64(at.UnixMicro()), Set: journal.HasAll})
			b.refs = append(b.refs, jail.NoRef)
		}
		d.entries(b)
		attacker := netip.MustParsePrefix("203.0.113.1/32")
		if _, ok := d.state.Get(attacker, "sshd"); ok != stepped {
			t.Errorf("stepped %v: ban in effect %v", stepped, ok)
		}
		queued := slices.ContainsFunc(d.firewall.worker.pending.changes, func(c change) bool {
			return c.ban.Prefix == attacker && c.ban.Until.After(now.Add(clockWait-time.Minute))
		})
		if queued != stepped {
			t.Errorf("stepped %v: ban on its way to the firewall %v: %+v", stepped, queued, d.firewall.worker.pending.changes)
		}
		if ended := d.eng.Expire(d.checkClock(time.Now()).UnixMicro(), 0); len(ended) > 0 {
			t.Errorf("stepped %v: ended by the step: %v", stepped, ended)
		}
	}
}

// TestFleetBanAfterStep: a ban of another host does not end because the clock went a year forward. If the clock is then set back, the ban is
// still known.
func TestFleetBanAfterStep(t *testing.T) {
	const year = 365 * 24 * time.Hour
	d := restored(t)
	now := time.Now()
	right := now.Add(-year)
	d.clock.wall = right.Round(0) // as if it had been read a moment ago
	d.conf.Fleet.Hosts = map[string]string{"web1": "a"}
	d.others.bans = fleet.New(d.conf.Fleet, nil)
	attacker := netip.MustParsePrefix("203.0.113.1/32")
	n := fleet.News{Host: "web1", Prefix: attacker, Jail: "sshd", Since: right.Add(-time.Minute).UnixMicro(), Until: right.Add(time.Hour).UnixMicro()}
	if _, _, err := d.others.bans.Apply(n, right.UnixMicro(), true); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		d.tick(now)
		held := slices.ContainsFunc(d.firewall.worker.pending.full, func(b firewall.Ban) bool {
			return b.Prefix == attacker && b.Until.After(now.Add(clockWait-time.Minute))
		})
		if !held || d.others.bans.Len() != 1 {
			t.Errorf("wanted %v of %d bans", d.firewall.worker.pending.full, d.others.bans.Len())
		}
	}
	d.state.Allow(allow.Entry{Prefix: attacker})
	d.firewall.worker.pending = pending{}
	if d.refreshAllow(now); !d.firewall.worker.pending.hasFull || len(d.firewall.worker.pending.full) != 0 {
		t.Errorf("allowed, but wanted %v", d.firewall.worker.pending.full)
	}
	d.state.Disallow(attacker)
	d.refreshAllow(now)
	if d.clock.check(right.Add(time.Second), sinceBoot()); d.clock.holding() || !d.others.bans.Effect(attacker, right.UnixMicro()).Banned {
		t.Error("after the clock was set back, the ban is gone")
	}
	d.clock.check(now, sinceBoot())
	d.clock.check(now.Add(clockWait), sinceBoot()+clockWait) // it has stayed there
	if d.others.tick(now.Add(clockWait), d.clock.holding()); d.others.bans.Len() != 0 || len(d.firewall.wanted()) != 0 {
		t.Errorf("%d bans are known, wanted %v", d.others.bans.Len(), d.firewall.wanted())
	}
}

// TestPardonAfterStep: a pardon given after the clock was set, before an entry shows that, forgives earlier failures and no later ones.
func TestPardonAfterStep(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		d := restored(t)
		now, mono := time.Now(), monotonic()
		boot := journal.ID128{1}
		before := journal.Cursor{BootID: boot, Realtime: uint64(now.Add(-step).UnixMicro()), Monotonic: uint64(mono.Microseconds()), Set: journal.HasAll}
		d.steps.start(boot, before, 0)
		d.steps.asleep = sinceBoot() - mono
		attacker := netip.MustParsePrefix("203.0.113.1/32")
		d.pardon(attacker, now)
		after := before
		after.Realtime, after.Monotonic = uint64(now.Add(time.Second).UnixMicro()), before.Monotonic+1e6
		if at := d.steps.timeOf(&after); at.Sub(now.Add(time.Second-step)).Abs() > time.Second {
			t.Errorf("step %s: an entry after it is of %s", step, at)
		}
		d.eng.ClockSet(d.steps.entry(&after))
		for since, want := range map[time.Duration]bool{-time.Minute: true, time.Minute: false} {
			if got := d.state.Pardoned(attacker.Addr(), now.Add(since).UnixMicro(), (24 * time.Hour).Microseconds()); got != want {
				t.Errorf("step %s: what happened %s after the pardon is pardoned: %v, want %v", step, since, got, want)
			}
		}
	}
}
