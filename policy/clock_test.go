package policy

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestClockSet: setting the clock during an attack neither ends nor reopens a window. Each attempt counts once, and for as long as it
// would have counted otherwise.
func TestClockSet(t *testing.T) {
	hour := us(time.Hour)
	for _, by := range []int64{hour, -hour, 30 * us(24*time.Hour), -30 * us(24*time.Hour), us(30 * time.Second), -us(30 * time.Second)} {
		t.Run(time.Duration(by*1000).String(), func(t *testing.T) {
			s := newSite(t, nil)
			set := func() {
				s.now += by
				s.g.ClockSet(by)
			}
			// Five within find_time, before and after.
			for range 3 {
				s.say("alpha failed bob 203.0.113.7")
			}
			set()
			s.say("alpha failed bob 203.0.113.7")
			if b := s.say("alpha failed bob 203.0.113.7"); len(b) != 1 || b[0].Failures != 5 || b[0].Since != s.now {
				t.Errorf("five attempts: %+v", b)
			}
			// Four, and one after find_time, measured by the time that has passed.
			for range 4 {
				s.say("alpha failed bob 203.0.113.8")
			}
			set()
			s.restart()
			if b := s.say("+10m alpha failed bob 203.0.113.8"); len(b) != 0 {
				t.Errorf("four attempts, and one after find_time: %+v", b)
			}
			if c := s.g.Counted(netip.MustParseAddr("203.0.113.8"), s.now); len(c) == 0 || c[0].Window != WindowNormal || c[0].Attempts != 1 {
				t.Errorf("counted after find_time: %+v", c)
			}
			// Saved in between, and the clock set again the other way.
			for range 2 {
				s.say("alpha failed bob 203.0.113.9")
			}
			set()
			s.restart()
			s.say("alpha failed bob 203.0.113.9")
			by = -by
			set()
			by = -by
			s.say("alpha failed bob 203.0.113.9")
			if b := s.say("alpha failed bob 203.0.113.9"); len(b) != 1 || b[0].Failures != 5 {
				t.Errorf("five attempts, the clock set twice: %+v", b)
			}
		})
	}
}

// TestClockSetSlowly: the slow window moves by whole buckets, and accounts under attack stay so.
func TestClockSetSlowly(t *testing.T) {
	for _, by := range []time.Duration{3 * time.Hour, -3 * time.Hour, 400 * 24 * time.Hour, -400 * 24 * time.Hour} {
		s := newSite(t, nil)
		var banned []Ban
		n := 0
		for ; n < 40 && len(banned) == 0; n++ {
			if n == 9 {
				s.now += us(by)
				s.g.ClockSet(us(by))
			}
			banned = s.say(fmt.Sprintf("+11m alpha failed user%d 203.0.113.7", n%4))
		}
		same := newSite(t, nil)
		want := 0
		for b := []Ban(nil); want < 40 && len(b) == 0; want++ {
			b = same.say(fmt.Sprintf("+11m alpha failed user%d 203.0.113.7", want%4))
		}
		if n != want || n == 40 {
			t.Errorf("%s: slow ban after %d attempts, want %d", by, n, want)
		}

		s = newSite(t, nil)
		for i := range 9 {
			s.say(fmt.Sprintf("alpha failed root 198.51.%d.1", i))
			s.say(fmt.Sprintf("alpha failed root 198.51.%d.1", i))
		}
		s.now += us(by)
		s.g.ClockSet(us(by))
		s.say("alpha failed root 198.51.9.1")
		if b := s.say("alpha failed root 198.51.3.1"); len(b) != 1 || b[0].Failures != 3 {
			t.Errorf("%s: an account under attack: %v", by, names(b))
		}
	}
}

// TestClockSetPardon: what an operator has pardoned stays pardoned, and later failures count.
func TestClockSetPardon(t *testing.T) {
	s := newSite(t, nil)
	s.say("alpha failed bob 203.0.113.7")
	s.g.Pardon(netip.MustParsePrefix("203.0.113.7/32"), s.now)
	s.now -= us(time.Minute)
	s.g.ClockSet(-us(time.Minute))
	for i := range 5 {
		if b := s.say("+1s alpha failed bob 203.0.113.7"); len(b) == 1 != (i == 4) {
			t.Errorf("attempt %d after a pardon: %v", i+1, names(b))
		}
	}
}
