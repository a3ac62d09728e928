package daemon

import (
	"time"

	"bailiff/journal"
)

// leastStep is the smallest difference between the clock and the elapsed time that counts as a step of the clock. journald reads its two
// clocks microseconds apart; NTP slews the clock by less.
const leastStep = time.Second

// clockSteps detects from journal entries when the clock was set: each entry has a clock time and a monotonic time. Entries show a step
// more precisely than the daemon could observe it, and show the same step when read again after a crash.
//
// Monotonic time stops while the host is asleep, which looks like a step in the entries. The time asleep has passed, so the
// comparison starts again after it.
type clockSteps struct {
	boot   journal.ID128 // the running one
	offset int64         // of the clock from monotonic time at the last entry, µs
	known  bool          // offset is set
	asleep time.Duration // since boot
}

// start continues after the last entry read before the daemon started. asleep is how long the host was asleep since boot.
func (s *clockSteps) start(boot journal.ID128, last journal.Cursor, asleep time.Duration) {
	*s = clockSteps{boot: boot, asleep: asleep}
	if asleep < leastStep && last.Set == journal.HasAll {
		s.entry(&last)
	}
}

// sleep records how long the host was asleep since boot.
func (s *clockSteps) sleep(asleep time.Duration) {
	if asleep-s.asleep >= leastStep {
		s.asleep, s.known = asleep, false
	}
}

// entry returns by how many microseconds the clock was set between the last entry and this one; mostly 0. Entries of other boots are
// not compared, since the host may have been off for any length of time.
func (s *clockSteps) entry(c *journal.Cursor) (step int64) {
	if c.BootID != s.boot {
		return 0
	}
	offset := int64(c.Realtime) - int64(c.Monotonic)
	if s.known && isStep(offset-s.offset) {
		step = offset - s.offset
	}
	s.offset, s.known = offset, true
	return step
}

// unstepped is the time that the clock would show if it had not been set since the last entry.
func (s *clockSteps) unstepped(now time.Time, monotonic time.Duration) time.Time {
	step := now.UnixMicro() - monotonic.Microseconds() - s.offset
	if !s.known || !isStep(step) {
		return now
	}
	return now.Add(-time.Duration(step) * time.Microsecond)
}

// timeOf is when an entry was written, by the clock of the last entry.
func (s *clockSteps) timeOf(c *journal.Cursor) time.Time {
	at := time.UnixMicro(int64(c.Realtime))
	if c.BootID != s.boot {
		return at
	}
	return s.unstepped(at, time.Duration(c.Monotonic)*time.Microsecond)
}

// entryTime is the present time by the clock of the last entry, which the engine uses. If the clock was set since, the next entry shifts
// the times of failures and pardons.
func (d *daemon) entryTime(now time.Time) time.Time {
	d.steps.sleep(sinceBoot() - monotonic())
	return d.steps.unstepped(now, monotonic())
}

// isStep reports whether a difference in microseconds is a step of the clock.
func isStep(us int64) bool {
	return us >= leastStep.Microseconds() || us <= -leastStep.Microseconds()
}
