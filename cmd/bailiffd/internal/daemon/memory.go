package daemon

import (
	"runtime"
	"runtime/debug"
	"time"
)

// gcPercent is how much garbage may accumulate, in percent of the live memory. The state is large tables, which the collector scans
// quickly, so memory is the scarcer resource: the peak while 100,000 bans are made is 46 MiB, with 10 percent 48; with Go's default of 100
// it was 104. A replay takes as much processor time with 5 percent as with 10.
const gcPercent = 5

// One processor judges half a million entries a second and keeps the program from waking threads while it is idle. More are used only
// while the journal is far behind: after this many full batches in a row.
const farBehind = 64

// quietTime is how long nothing may have happened before memory is returned to the system, which costs some milliseconds.
const quietTime = 10 * time.Second

// memory changes the settings of the Go runtime with the load. It belongs to the owner's goroutine.
type memory struct {
	used        bool // memory was allocated since it was last returned
	lastUse     time.Time
	fullBatches int // in a row
}

// noteAlloc records that something was done that allocates much memory for a short time.
func (m *memory) noteAlloc() { m.used, m.lastUse = true, time.Now() }

// quiet reports whether memory should be returned now. It does so once after each busy time.
func (m *memory) quiet(now time.Time) bool {
	if !m.used || now.Sub(m.lastUse) <= quietTime {
		return false
	}
	m.used = false
	return true
}

// release returns unused memory to the system. Without it 55 MiB stay in use after 100,000 bans, and 73 after the next start,
// instead of 45.
func (m *memory) release() { debug.FreeOSMemory() }

// processors sets how many processors the program uses. behind means that the last batch was full; catchingUp that the daemon has
// not yet caught up with the journal since its start.
func (m *memory) processors(behind, catchingUp bool) {
	n := 1
	if behind {
		if m.fullBatches++; m.fullBatches < farBehind && !catchingUp {
			return
		}
		n = runtime.NumCPU()
	} else {
		m.fullBatches = 0
	}
	if n != runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(n)
	}
}
