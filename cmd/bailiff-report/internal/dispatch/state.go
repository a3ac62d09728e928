package dispatch

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

// state is the state of a delivery. Only move changes it.
type state uint8

const (
	added      state = iota
	collecting       // part of a digest to come
	lookingUp        // waits for a lookup
	waiting          // waits for its turn or its next attempt
	delivering       // a worker delivers it
	uncertain        // an attempt was interrupted: the other side may have it
	done             // the other side has it
	dropped          // refused, too old, or dropped by an administrator
	merged           // became part of a digest
	states
)

var stateNames = [states]string{"added", "collecting", "looking up", "waiting", "delivering", "uncertain", "done", "dropped", "merged"}

func (s state) String() string { return stateNames[s] }

// transitions are the states that may follow each state. After damage to the queue's file, deliveries may also go from waiting to
// uncertain, and to done if the journal shows that they were made.
var transitions = [states][]state{
	added:      {collecting, waiting, delivering, uncertain}, // delivering: a digest
	collecting: {merged, dropped, done},
	lookingUp:  {waiting, dropped, done},
	waiting:    {lookingUp, delivering, uncertain, dropped, done},
	delivering: {waiting, uncertain, dropped, done},
	uncertain:  {waiting, dropped, done},
}

func (s state) may(to state) bool { return slices.Contains(transitions[s], to) }

// over reports whether the delivery has left the queue.
func (s state) over() bool { return s >= done }

// facts is the part of a report that is kept in memory. The report itself stays in the file.
type facts struct {
	Key     string     `json:"key"`
	ID      string     `json:"id"`
	Event   string     `json:"event,omitempty"` // as in report.Report
	Address netip.Addr `json:"addr"`
	Jail    string     `json:"jail"`
	Time    int64      `json:"time"`  // of the audit entry, µs
	Since   int64      `json:"since"` // when it was queued, µs
}

// queuedReport is a report in the queue.
type queuedReport struct {
	facts
	seq    uint64
	body   blob
	whois  blob
	looked bool        // a lookup has ended, or none is needed
	asking bool        // a lookup is queued or under way
	in     []*delivery // that contain it; the report is kept while there is one
}

func (rp *queuedReport) size() int64 { return rp.body.size + rp.whois.size }

// delivery is a report or a digest for one destination.
type delivery struct {
	dest     *destination
	key      string
	reports  []*queuedReport
	digest   bool
	state    state
	attempts int
	lastErr  string
	since    int64 // when the first of its reports was queued, µs
	next     int64 // of the next attempt, as saved, µs
	pause    int64 // µs before next
	started  int64 // since when the other side may have it, µs; 0: it does not

	created   time.Time // since, by the clock of this run
	notBefore time.Time // next, by the clock of this run
	serverSet bool      // the destination asked for notBefore: the success of another delivery does not shorten it
	index     int       // in the heap of waiting deliveries
	trace     string    // see deliver.Traced; "": not known yet
}

// destination is a destination's part of the queue, whether it is configured or not. Each delivery is in all, and in the collection
// of its state.
type destination struct {
	name       string
	all        map[string]*delivery
	waiting    waitingHeap
	collecting []*delivery // oldest first
	current    *delivery   // delivering
	uncertain  map[*delivery]bool
	bytes      int64                // of the reports in all
	window     map[netip.Addr]int64 // time of the last ban of an address that was reported, s
	sent       map[int64]int        // reports delivered, by time slot
	hold       *recHold             // nil: not held
	behind     *position            // not nil: later bans wait in the journal until there is room

	serving // is not saved
}

func newDestination(name string) *destination {
	return &destination{name: name, all: map[string]*delivery{}, uncertain: map[*delivery]bool{}, window: map[netip.Addr]int64{}, sent: map[int64]int{}}
}

// move changes the state of a delivery and moves it to the collection of that state. No other code does, so a delivery cannot be in
// two collections.
func (q *queue) move(it *delivery, to state) {
	if !it.state.may(to) {
		panic(fmt.Sprintf("delivery %s: from %s to %s", it.key, it.state, to))
	}
	x := it.dest
	switch it.state {
	case added:
		x.all[it.key] = it
		for _, rp := range it.reports {
			rp.in = append(rp.in, it)
			x.bytes += rp.size()
		}
	case waiting:
		heap.Remove(&x.waiting, it.index)
	case collecting:
		i := slices.Index(x.collecting, it)
		x.collecting = slices.Delete(x.collecting, i, i+1)
	case delivering:
		x.current = nil
	case uncertain:
		delete(x.uncertain, it)
	}
	it.state = to
	switch to {
	case waiting:
		heap.Push(&x.waiting, it)
	case collecting:
		x.collecting = append(x.collecting, it)
	case delivering:
		if x.current != nil {
			panic(fmt.Sprintf("delivery %s: %s is being delivered", it.key, x.current.key))
		}
		x.current = it
	case uncertain:
		x.uncertain[it] = true
	case done, dropped, merged:
		delete(x.all, it.key)
		for _, rp := range it.reports {
			x.bytes -= rp.size()
			rp.in = slices.DeleteFunc(rp.in, func(o *delivery) bool { return o == it })
			if len(rp.in) == 0 {
				delete(q.reports, rp.Key)
			}
		}
	}
}

// waitingHeap orders deliveries by when they are due, then by age.
type waitingHeap []*delivery

func (h waitingHeap) Len() int { return len(h) }
func (h waitingHeap) Less(i, j int) bool {
	return cmp.Or(h[i].notBefore.Compare(h[j].notBefore), cmp.Compare(h[i].seq(), h[j].seq())) < 0
}
func (h waitingHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }
func (h *waitingHeap) Push(v any)   { it := v.(*delivery); it.index = len(*h); *h = append(*h, it) }
func (h *waitingHeap) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return it
}

func (it *delivery) seq() uint64 { return it.reports[0].seq }

// postpone sets the time of the next attempt.
func (it *delivery) postpone(t time.Time, serverSet bool) {
	it.notBefore, it.serverSet = t, serverSet
	if it.state == waiting {
		heap.Fix(&it.dest.waiting, it.index)
	}
}

// restore sets the times of a delivery from an earlier run by the clock of this run. A clock that was set in between does no harm: no
// pause becomes longer than it was, and no age negative.
func (it *delivery) restore(now time.Time) {
	left := time.UnixMicro(it.next).Sub(now)
	it.created = now.Add(-max(0, now.Sub(time.UnixMicro(it.since))))
	it.postpone(now.Add(min(max(left, 0), time.Duration(it.pause)*time.Microsecond)), false)
}

// sorted returns the deliveries of a destination, oldest first.
func (x *destination) sorted() []*delivery {
	return slices.SortedFunc(maps.Values(x.all), func(a, b *delivery) int {
		return cmp.Or(cmp.Compare(a.seq(), b.seq()), cmp.Compare(a.key, b.key))
	})
}

// slot is the resolution at which deliveries are counted for the quota.
const slot = 6 * time.Minute

const day = 24 * time.Hour

// sentLately returns the number of reports delivered in the last 24 hours.
func (x *destination) sentLately(now time.Time) (n int) {
	first := now.Add(-day).UnixMicro() / slot.Microseconds()
	for s, k := range x.sent {
		if s >= first {
			n += k
		}
	}
	return n
}

// maxWindow is how many addresses a destination remembers for its window. When it is exceeded, the older half is forgotten; some
// addresses may then be reported again too early.
const maxWindow = 200_000

// rememberAddress remembers when an address was reported.
func (x *destination) rememberAddress(rp *queuedReport) {
	if !rp.Address.IsValid() || rp.Event != report.Ban {
		return
	}
	x.window[rp.Address] = max(x.window[rp.Address], rp.Time/1e6)
	if len(x.window) > maxWindow {
		times := slices.Sorted(maps.Values(x.window))
		middle := times[len(times)/2]
		maps.DeleteFunc(x.window, func(_ netip.Addr, t int64) bool { return t <= middle })
	}
}

// digestPrefix begins the key of a digest.
const digestPrefix = "digest-"

// itemKey returns the key of the delivery of one report.
func itemKey(reportKey, dest string) string { return reportKey + "." + dest }

func keysOf(reports []*queuedReport) []string {
	keys := make([]string, len(reports))
	for i, rp := range reports {
		keys[i] = rp.Key
	}
	return keys
}

// oneByOne reports whether a destination gets the reports of a digest one at a time.
func oneByOne(d *config.Destination) bool { return d.Type == config.TypeBlocklist }

// needsLookup reports whether reports to a destination contain the answer of the registries.
func needsLookup(d *config.Destination) bool {
	return d.Type == config.TypeMail && slices.Contains(d.Include, config.IncludeWhois) || d.Type == config.TypeXARF
}
