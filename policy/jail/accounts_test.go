package jail

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"bailiff/policy/codec"
	"bailiff/policy/prefix"
)

// write returns what a part of the state file writes.
func write(part func(*codec.Stream)) []byte {
	s := codec.NewWriter(nil)
	part(s)
	return s.Bytes()
}

// read has a part read what write returned.
func read(saved []byte, part func(*codec.Stream)) error {
	s := codec.NewReader(saved)
	part(s)
	return s.End()
}

// An account with one failure is saved, restored and watched like any other, and a flood of other names pushes out the
// oldest.
func TestSingles(t *testing.T) {
	never := func(int64) bool { return false }
	o := AccountOptions{FindTime: time.Hour, Addresses: 3, MaxRetry: 3, Limit: 1024}
	a := NewAccounts(o, 9)
	add := func(name uint64, addr uint32, at int64) *AccountFailures {
		own, _ := a.Add(name, prefix.OfAddr(v4(addr)), 0, Failure{At: at, Ref: Ref(at), Attempts: 1}, false, never)
		return own
	}
	restore := func() {
		t.Helper()
		part := func(a *Accounts) func(*codec.Stream) { return func(s *codec.Stream) { a.Stream(s, 1) } }
		saved, b := write(part(a)), NewAccounts(o, 9)
		if err := read(saved, part(b)); err != nil || !bytes.Equal(write(part(b)), saved) {
			t.Fatal(err)
		}
		a = b
	}
	add(77, 1, 1)
	if n, _ := a.Len(); n != 0 {
		t.Error("it does not wait")
	}
	restore()
	a.RestoreRef(77, prefix.OfAddr(v4(1)), Failure{At: 1, Ref: 5})
	add(77, 1, 2)
	restore()
	add(77, 2, 3)
	add(77, 3, 4)
	l := add(77, 1, 5)
	if l == nil || l.Attempts != 3 || len(l.Failures) != 3 {
		t.Fatalf("%+v", l)
	}
	add(78, 1, 6)
	a.Success(78, prefix.OfAddr(v4(1)))
	add(78, 1, 7)
	if n, _ := a.Len(); n != 1 {
		t.Error("what was taken back is let in")
	}
	add(79, 1, 8)
	add(79, 1, 8+2*time.Hour.Microseconds())
	if n, _ := a.Len(); n != 1 {
		t.Error("a failure whose window is over is let in")
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 100_000 {
		add(r.Uint64()|1, r.Uint32(), 9+int64(i))
	}
	if n, pairs := a.Len(); pairs > 1024 || n > 50 || a.Dropped() < 90_000 {
		t.Errorf("%d accounts, %d pairs, %d dropped", n, pairs, a.Dropped())
	}
	if l := add(77, 2, 10); l != nil || !a.UnderAttack(77, 10) {
		t.Error("the flood has pushed out the account that is attacked")
	}
	restore()
}
