package bucket

import (
	"testing"
	"time"
)

func TestBucket(t *testing.T) {
	l := Limit{10, 10 * time.Second}
	now := time.Now()
	var b Bucket
	if !b.Full(l, now) {
		t.Error("not full at first")
	}
	for range l.Size {
		if wait := b.Take(l, now); wait != 0 {
			t.Fatal(wait)
		}
	}
	for after, want := range map[time.Duration]time.Duration{0: l.Every, l.Every - time.Second: time.Second, l.Every + time.Second: 0, -time.Hour: l.Every} {
		x := b
		if wait := x.Take(l, now.Add(after)); (wait - want).Abs() > time.Millisecond {
			t.Errorf("after %v one has to wait for %v, want %v", after, wait, want)
		}
	}
	// Repeated calls succeed once for each refill.
	got := 0
	for i := range 1000 {
		if b.Take(l, now.Add(time.Duration(i)*100*time.Millisecond)) == 0 {
			got++
		}
	}
	if got < 9 || got > 10 {
		t.Errorf("%d in 100 s", got)
	}
	now = now.Add(100 * time.Second)
	if b.Full(l, now) || !b.Full(l, now.Add(100*time.Second)) {
		t.Error("full too early, or never")
	}
	if l := PerMinute(6); l.Size != 6 || l.Every != 10*time.Second {
		t.Errorf("%+v", l)
	}
}
