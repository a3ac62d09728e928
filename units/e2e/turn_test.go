package e2e

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// sideBySide is how many tests have hosts at once: more than there are processors, since who is attacked waits most of the time.
const sideBySide = 5

// longest are the tests that take longest, which get hosts first, so that none of them is left over at the end.
var longest = []string{"TestFleet/", "TestFirewalld/", "TestHost/", "TestPackage/", "TestReport/", "TestWeb/", "TestSignals/", "TestContainers/"}

var turns struct {
	sync.Mutex
	held    []string // by tests
	waiting []*waiter
}

type waiter struct {
	test string
	rank int // in longest
	turn chan struct{}
}

// takeTurn waits until t may boot hosts. It may until it ends, and so may its subtests.
func takeTurn(t *testing.T) {
	t.Helper()
	w := &waiter{test: t.Name(), turn: make(chan struct{})}
	w.rank = slices.IndexFunc(longest, func(s string) bool { return strings.HasPrefix(w.test, s) })
	if w.rank < 0 {
		w.rank = len(longest)
	}
	turns.Lock()
	if slices.ContainsFunc(turns.held, func(s string) bool { return w.test == s || strings.HasPrefix(w.test, s+"/") }) {
		turns.Unlock()
		return
	}
	turns.waiting = append(turns.waiting, w)
	giveTurns()
	turns.Unlock()
	<-w.turn
	begin := time.Now()
	t.Cleanup(func() {
		t.Logf("had hosts for %.0f s", time.Since(begin).Seconds())
		turns.Lock()
		defer turns.Unlock()
		turns.held = slices.DeleteFunc(turns.held, func(s string) bool { return s == w.test })
		giveTurns()
	})
}

// giveTurns is called with the lock held.
func giveTurns() {
	slices.SortStableFunc(turns.waiting, func(a, b *waiter) int { return a.rank - b.rank })
	for len(turns.waiting) > 0 && len(turns.held) < sideBySide {
		w := turns.waiting[0]
		turns.waiting = turns.waiting[1:]
		turns.held = append(turns.held, w.test)
		close(w.turn)
	}
}
