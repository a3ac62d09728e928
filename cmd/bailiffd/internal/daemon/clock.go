package daemon

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/journal/audit"
)

const (
	// clockJump is how far the clock must jump forward, beyond the elapsed time, before bans are kept.
	clockJump = time.Minute

	// clockOff is the same for a start soon after boot, when the host may have been switched off for a while.
	clockOff = time.Hour

	// clockWait is how long bans are then kept. A host with an empty battery gets the time from the network within minutes.
	clockWait = 10 * time.Minute
)

// clockGuard prevents a clock that is wrong for a while from ending all bans. It compares the clock with the time since boot.
type clockGuard struct {
	wall   time.Time
	boot   time.Duration
	until  time.Duration // since boot: no ban ends before that; 0: the clock is trusted
	before time.Time     // the clock before the jump: bans over by then still end
}

// sinceBoot is the time since boot, including the time that the host was asleep.
func sinceBoot() time.Duration { return readClock(unix.CLOCK_BOOTTIME) }

// monotonic is the time since boot without the time that the host was asleep. journald stamps entries with it.
func monotonic() time.Duration { return readClock(unix.CLOCK_MONOTONIC) }

func readClock(id int32) time.Duration {
	var t unix.Timespec
	unix.ClockGettime(id, &t)
	return time.Duration(t.Nano())
}

// start takes the first reading. saved is when the state was last written: soon after boot, a clock far ahead of it may be wrong. It
// returns by how much, or 0.
func (g *clockGuard) start(now time.Time, boot time.Duration, saved time.Time) (jump time.Duration) {
	g.wall, g.boot = now.Round(0), boot
	if jump = now.Sub(saved); saved.IsZero() || boot >= clockWait || jump <= clockOff {
		return 0
	}
	g.until, g.before = clockWait, saved
	return jump
}

// check returns by how much the clock has jumped since the last call: a negative duration if it was set back, 0 if it is as it
// should be.
func (g *clockGuard) check(now time.Time, boot time.Duration) (jump time.Duration) {
	now = now.Round(0) // drops Go's monotonic reading, which would hide the jump
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

// holding reports whether bans are kept although they are over according to the clock.
func (g *clockGuard) holding() bool { return g.until != 0 }

// over returns the time by which bans end: before the jump, while bans are kept.
func (g *clockGuard) over(now time.Time) time.Time {
	if g.holding() {
		return g.before
	}
	return now
}

// end returns when, by the present clock, the firewall should remove a ban that ends at until.
func (g *clockGuard) end(until time.Time) time.Time {
	if held := g.wall.Add(g.until - g.boot); g.holding() && !until.IsZero() && until.Before(held) {
		return held
	}
	return until
}

// checkClock returns the time by which bans end.
func (d *daemon) checkClock(now time.Time) time.Time {
	held := d.clock.holding()
	jump := d.clock.check(now, sinceBoot())
	if jump > 0 {
		d.reportJump(jump)
	}
	if jump != 0 || held && !d.clock.holding() {
		d.firewall.reconcile() // the kernel's timeouts are computed from the clock
	}
	return d.clock.over(now)
}

func (d *daemon) reportJump(jump time.Duration) {
	d.aud.Log(audit.Notice, fmt.Sprintf("the clock has jumped ahead by %s: in case it is wrong, no ban ends within the next %s", jump.Round(time.Second), clockWait))
}
