package daemon

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/journal/audit"
)

// clockJump is by how much the clock must move forward, beyond the time that has passed, for bans not to end by it at once.
// clockWait is how long they then stay: a host whose battery is empty learns the time from the network within minutes.
const (
	clockJump = time.Hour
	clockWait = 10 * time.Minute
)

// clockGuard keeps a clock that is wrong for a while from ending all bans. It compares the clock with the time since boot.
type clockGuard struct {
	wall   time.Time
	boot   time.Duration
	until  time.Duration // since boot: bans do not end before; 0: the clock holds
	before time.Time     // the clock before it jumped: what was over then is over
}

func sinceBoot() time.Duration {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return time.Duration(t.Nano())
}

// start begins. saved is when the state was last written: soon after boot, a clock far beyond that may be wrong.
func (g *clockGuard) start(now time.Time, boot time.Duration, saved time.Time) (jump time.Duration) {
	g.wall, g.boot = now.Round(0), boot
	if jump = now.Sub(saved); saved.IsZero() || boot >= clockWait || jump <= clockJump {
		return 0
	}
	g.until, g.before = clockWait, saved
	return jump
}

// look notices a jump, which is negative when the clock was set back.
func (g *clockGuard) look(now time.Time, boot time.Duration) (jump time.Duration) {
	now = now.Round(0) // without Go's monotonic reading, which would hide the jump
	jump = now.Sub(g.wall) - (boot - g.boot)
	last := g.wall
	g.wall, g.boot = now, boot
	switch {
	case jump > clockJump && g.until == 0:
		g.until, g.before = boot+clockWait, last
	case jump > clockJump:
		g.until = boot + clockWait
	case jump < -clockJump:
		g.until = 0
	case g.until != 0 && boot >= g.until:
		g.until, jump = 0, 0
	default:
		jump = 0
	}
	return jump
}

// held says whether bans do not end by the clock now.
func (g *clockGuard) held() bool { return g.until != 0 }

// end is until when, by the clock as it is, the firewall is to hold a ban that ends at a moment.
func (g *clockGuard) end(until time.Time) time.Time {
	if held := g.wall.Add(g.until - g.boot); g.held() && !until.IsZero() && until.Before(held) {
		return held
	}
	return until
}

// lookAtClock returns the time by which bans end.
func (d *daemon) lookAtClock(now time.Time) time.Time {
	was := d.clock.held()
	jump := d.clock.look(now, sinceBoot())
	if jump > 0 {
		d.tellJump(jump)
	}
	if jump != 0 || was && !d.clock.held() {
		d.firewall.reconcile(d.wanted()) // the kernel's timeouts are reckoned by the clock
	}
	if d.clock.held() {
		return d.clock.before
	}
	return now
}

func (d *daemon) tellJump(jump time.Duration) {
	d.aud.Log(audit.Notice, fmt.Sprintf("the clock is %s ahead of what it was: in case that is wrong, no ban ends within the next %s", jump.Round(time.Second), clockWait))
}
