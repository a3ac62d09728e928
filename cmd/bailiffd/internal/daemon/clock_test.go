package daemon

import (
	"testing"
	"time"
)

// TestClockGuard: a clock that jumps far ahead ends no ban for a while. Once it is corrected, bans end as they should.
func TestClockGuard(t *testing.T) {
	right := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	week := 7 * 24 * time.Hour
	ban := right.Add(48 * time.Hour)

	// At boot, the battery is empty and the clock a week ahead.
	var g clockGuard
	if g.start(right.Add(week), 20*time.Second, right.Add(-time.Minute)) == 0 || !g.holding() {
		t.Fatal("the jump at boot was not noticed")
	}
	if end := g.end(ban); !end.Equal(right.Add(week + clockWait - 20*time.Second)) {
		t.Errorf("the firewall holds the ban until %s", end)
	}
	if end := g.end(time.Time{}); !end.IsZero() {
		t.Errorf("a ban without an end ends at %s", end)
	}
	if jump := g.check(right.Add(5*time.Second), 25*time.Second); jump > -week+time.Minute || g.holding() || !g.end(ban).Equal(ban) {
		t.Errorf("set right: jump %s, held %v, end %s", jump, g.holding(), g.end(ban))
	}

	// A clock that stays there is accepted in the end.
	g = clockGuard{}
	g.start(right, time.Hour, right.Add(-time.Minute))
	if g.holding() {
		t.Error("an ordinary start holds")
	}
	if jump := g.check(right.Add(5*time.Second), time.Hour+5*time.Second); jump != 0 || g.holding() {
		t.Errorf("nothing happened: %s", jump)
	}
	if jump := g.check(right.Add(week+10*time.Second), time.Hour+10*time.Second); jump != week || !g.holding() || !g.before.Equal(right.Add(5*time.Second)) {
		t.Errorf("jump %s, held %v, before %s", jump, g.holding(), g.before)
	}
	g.check(right.Add(week+clockWait), time.Hour+clockWait)
	if !g.holding() {
		t.Error("believed too early")
	}
	g.check(right.Add(week+clockWait+20*time.Second), time.Hour+clockWait+20*time.Second)
	if g.holding() {
		t.Error("never believed")
	}

	// An hour forward is a jump, however long the bans are; less than a minute, as NTP corrects it, is none.
	g = clockGuard{}
	g.start(right, time.Hour, right.Add(-time.Minute))
	if g.check(right.Add(time.Minute), time.Hour+5*time.Second); g.holding() {
		t.Error("less than a minute is taken for a jump")
	}
	if jump := g.check(right.Add(time.Hour), time.Hour+10*time.Second); jump == 0 || !g.holding() {
		t.Errorf("an hour forward: %s", jump)
	}

	// A host that slept for a week knows what time it is, and so does one that was off while its daemon was not running.
	g = clockGuard{}
	g.start(right, time.Hour, right.Add(-week))
	g.check(right.Add(week), time.Hour+week)
	if g.holding() {
		t.Error("a sleep is taken for a jump")
	}
}
