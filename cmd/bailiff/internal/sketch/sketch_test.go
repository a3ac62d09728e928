package sketch

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
)

// TestTopInAFlood: a million names that come once each do not push out the few that come often.
func TestTopInAFlood(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	s := NewTop[uint64](1000)
	truth := make(map[uint64]uint64)
	total := uint64(0)
	add := func(k, n uint64) {
		s.Add(k, n)
		truth[k] += n
		total += n
	}
	for i := range uint64(1_000_000) {
		add(1000+i, 1)
		if r.IntN(100) == 0 { // ten names in one hundredth of the lines: each is one in a thousand
			add(r.Uint64N(5), 1)
		}
	}
	if len(s.heap) != 1000 || len(s.at) != 1000 {
		t.Fatalf("%d counters, %d keys", len(s.heap), len(s.at))
	}
	items := s.Items(5, cmp.Compare)
	for _, i := range items {
		if i.Key >= 5 {
			t.Errorf("%+v is among the most frequent", i)
		}
	}
	for _, i := range s.Items(1000, cmp.Compare) {
		if have := truth[i.Key]; have < i.Least || have > i.Most || i.Most-i.Least > total/1000 {
			t.Errorf("%+v came %d times", i, have)
		}
	}
}

func TestTopIsExactWhileItHasRoom(t *testing.T) {
	s := NewTop[string](3)
	for _, k := range []string{"a", "b", "a", "c", "a", "b"} {
		s.Add(k, 2)
	}
	want := []Item[string]{{"a", 6, 6}, {"b", 4, 4}, {"c", 2, 2}}
	for i, got := range s.Items(9, cmp.Compare[string]) {
		if *got != want[i] {
			t.Errorf("%d: %+v", i, got)
		}
	}
	if n := len(s.Items(2, cmp.Compare[string])); n != 2 {
		t.Errorf("%d", n)
	}
}

// TestDistinct: within five standard errors, whatever the number, and exact or nearly so when it is small.
func TestDistinct(t *testing.T) {
	for _, n := range []int{0, 1, 10, 100, 1000, 5000, 20_000, 300_000} {
		d := NewDistinct()
		for i := range n {
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], uint64(i))
			d.Add(b[:])
			d.Add(b[:])
		}
		if got, off := float64(d.Count()), 5*1.04/math.Sqrt(1<<registerBits); math.Abs(got-float64(n)) > max(1, off*float64(n)) {
			t.Errorf("%d: %.0f", n, got)
		}
	}
}
