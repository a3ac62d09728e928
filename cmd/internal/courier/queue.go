package courier

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"bailiff/policy/report"
)

// Frames of the queue's file.
const (
	frReport = 'R' // KEY NUL report as JSON; counts once a frTake behind it names it
	frWhois  = 'W' // KEY NUL whois as JSON
	frTake   = 'T' // recTake
	frBegin  = 'B' // recItem: an item is about to be delivered
	frFail   = 'F' // recItem: it was not, or nobody knows
	frDone   = 'D' // recItem: it was
	frDrop   = 'X' // recItem: it will not be
	frHold   = 'H' // recHold
	frState  = 'S' // recState: the head of a file that was made anew
	frItems  = 'K' // recItems: what waits there
	frWhole  = 'E' // the end of what stood there when it was made anew
)

// position is how far the journal has been read.
type position struct {
	Cursor   string `json:"cursor,omitempty"`
	Realtime uint64 `json:"time,omitempty"` // µs
}

// taken is what is kept in memory of a report; the report itself stays in the file.
type taken struct {
	Key     string     `json:"key"`
	ID      string     `json:"id"`
	Address netip.Addr `json:"addr"`
	Jail    string     `json:"jail"`
	Time    int64      `json:"time"`             // of the audit entry, µs
	Since   int64      `json:"since"`            // when it was taken, µs
	To      []string   `json:"to,omitempty"`     // destinations that get it by itself
	Gather  []string   `json:"gather,omitempty"` // destinations that get it in a digest
	Doubt   []string   `json:"doubt,omitempty"`  // of To: may have been delivered before the queue was damaged
	report  *report.Report
}

type recTake struct {
	Pos     position `json:"pos"`
	Reports []taken  `json:"reports,omitempty"`
}

// recItem tells what became of an item.
type recItem struct {
	Dest     string   `json:"d"`
	Key      string   `json:"k,omitempty"`
	Reports  []string `json:"r,omitempty"` // of frBegin of a digest, and of frDrop of what was not yet put into one
	Time     int64    `json:"t"`           // µs
	Attempts int      `json:"n,omitempty"`
	Pause    int64    `json:"p,omitempty"` // µs until the next attempt, from Time
	Doubt    int64    `json:"u,omitempty"` // since when it may have been delivered, µs
	Err      string   `json:"e,omitempty"`
}

// recHold holds a destination, or sets it free: by an empty Why.
type recHold struct {
	Dest  string `json:"d"`
	Why   string `json:"why,omitempty"`
	Print string `json:"print,omitempty"` // of how it was set up then
	Time  int64  `json:"t"`
}

type recDest struct {
	Name   string               `json:"d"`
	Window map[netip.Addr]int64 `json:"window,omitempty"`
	Sent   map[int64]int        `json:"sent,omitempty"`
	Hold   *recHold             `json:"hold,omitempty"`
	Gather []string             `json:"gather,omitempty"`
}

type recState struct {
	Pos   position  `json:"pos"`
	Again *again    `json:"again,omitempty"`
	Dests []recDest `json:"dests,omitempty"`
}

type recSaved struct {
	recItem
	Since int64    `json:"s"`
	All   []string `json:"a"` // its reports
}

type recItems struct {
	Reports []taken    `json:"reports,omitempty"`
	Items   []recSaved `json:"items,omitempty"`
}

// again says that part of the queue was lost, and is made anew from the journal.
type again struct {
	Until uint64          `json:"until"` // entries up to that time may have been taken, µs
	Known map[string]bool `json:"known"` // reports, and items as DEST NUL KEY, that were not lost, or are done
}

// rep is a report in the queue.
type rep struct {
	taken
	seq     uint64
	at      int64 // of its frame
	size    int64 // of all its frames
	whoisAt int64 // 0: none
	whois   bool  // it has been asked, or nobody wants to know
	refs    int   // items and digests that hold it
}

// item is one delivery to come.
type item struct {
	dest     *dest
	key      string
	reps     []*rep
	since    int64 // when the first of its reports was taken, µs
	attempts int
	err      string
	next     int64 // saved time of the next attempt, µs
	pause    int64 // µs, that next lies behind the last attempt
	begun    int64 // µs; 0: no delivery is under way
	doubt    int64 // µs, since when it may have been delivered, though nobody knows; 0: it was not
	digest   bool

	due   time.Time // with monotonic clock: of this run
	born  time.Time // since, by this run's clock
	index int       // in the heap; -1: not there
	taken bool      // out of the heap by a runner that has not yet decided about it
	asked bool      // Retry-After: not before due, whatever happens
}

// dest is what the queue knows of a destination, configured or not.
type dest struct {
	name   string
	items  map[string]*item
	gather []*rep
	window map[netip.Addr]int64 // last report about an address, by its ban's time in s
	sent   map[int64]int        // reports delivered, by tenths of hours since 1970
	hold   *recHold

	run *runner // nil: not configured
}

// slot is the length of the pieces in which deliveries are counted for the quota.
const slot = 6 * time.Minute

// maxWindow bounds the addresses that a destination remembers for its window. Beyond it the oldest half is forgotten: some
// addresses are then reported again too early, and the destination says so.
const maxWindow = 200_000

// Queue is what waits to be delivered, and how far the journal was read, in one file that survives a crash at any moment.
// One goroutine at a time uses it, but for Sync.
type Queue struct {
	wal  wal
	pos  position
	reps map[string]*rep
	seq  uint64
	live int64 // bytes of frames that are needed
	dest map[string]*dest
	lost *again

	fresh map[string]pendingReport // while the file is read: reports that no frTake has named yet
	news  []string                 // what an admin should know about the file
}

type pendingReport struct{ at, size int64 }

// Open reads the queue's file in a folder, or makes one. A damaged one is set aside, what can be read of it goes on, and
// News says so.
func Open(dir string) (*Queue, error) {
	q := &Queue{wal: wal{path: filepath.Join(dir, "queue")}, reps: map[string]*rep{}, dest: map[string]*dest{}}
	f, err := os.OpenFile(q.wal.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return q, q.compact()
	}
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	q.wal.f = f
	if err := q.load(); err != nil {
		f.Close()
		return nil, err
	}
	return q, nil
}

// load reads the file.
func (q *Queue) load() error {
	st, err := q.wal.f.Stat()
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	q.fresh = map[string]pendingReport{}
	var good position // before the first damaged place
	var whole, passed bool
	lost := again{Known: map[string]bool{}}
	dmg, err := scan(q.wal.f, st.Size(), func(at int64, f frame, behind bool) error {
		q.wal.end = at + f.size()
		if behind && !passed {
			passed = true
			if whole {
				good = q.pos
			}
		}
		err := q.apply(at, f)
		if behind {
			q.note(f, lost.Known)
		} else if err != nil {
			return fmt.Errorf("%s at %d: %w", q.wal.path, at, err)
		}
		whole = whole || f.kind == frWhole && !behind
		return nil
	})
	q.fresh = nil
	if err != nil {
		return err
	}
	for _, r := range q.reps {
		if r.refs == 0 { // what named it is lost
			q.forget(r)
		}
	}
	q.wal.end = dmg.end
	if !whole && dmg.middle < 0 && dmg.end > 0 { // a file is put in place only when that much of it is on the disk
		dmg.middle = dmg.end
	}
	switch {
	case dmg.middle >= 0:
		aside := q.wal.path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000000Z")
		if err := os.Link(q.wal.path, aside); err != nil {
			return fmt.Errorf("set the damaged queue aside: %w", err)
		}
		lost.Until = uint64(time.Now().UnixMicro()) // what was taken last may be among what is lost
		if q.lost != nil {
			maps.Copy(lost.Known, q.lost.Known)
			lost.Until = max(lost.Until, q.lost.Until)
		}
		q.pos, q.lost = good, &lost
		for _, d := range q.dest {
			for _, it := range d.items {
				if it.doubt == 0 { // what says so may have been lost
					it.doubt = it.since
				}
			}
		}
		q.news = append(q.news, fmt.Sprintf("the queue was damaged at byte %d and is set aside as %s: what is missing is made again from the journal", dmg.middle, aside))
		return q.compact()
	case dmg.end < st.Size() || dmg.end == 0:
		if dmg.end == 0 { // not even its head was written
			return q.compact()
		}
		if err := q.wal.f.Truncate(dmg.end); err != nil {
			return fmt.Errorf("queue: %w", err)
		}
	}
	return nil
}

// note remembers what a frame behind a damaged place speaks of: it need not be made again.
func (q *Queue) note(f frame, known map[string]bool) {
	switch f.kind {
	case frTake:
		var r recTake
		if json.Unmarshal(f.payload, &r) == nil {
			for i := range r.Reports {
				if k := r.Reports[i].Key; q.reps[k] != nil {
					known[k] = true
				}
			}
		}
	case frDone, frDrop:
		var r recItem
		if json.Unmarshal(f.payload, &r) == nil {
			known[doneKey(r.Dest, r.Key)] = true
			for _, k := range r.Reports {
				known[doneKey(r.Dest, itemKey(k, r.Dest))] = true
			}
		}
	}
}

// doneKey names an item in again.Known.
func doneKey(dest, key string) string { return dest + "\x00" + key }

// claim hands reports that were read before their names to admit, each with its place in the file. missing is about the last one
// that was not read.
func (q *Queue) claim(ts []taken, admit func(t taken, at, size int64)) (missing error) {
	for _, t := range ts {
		p, ok := q.fresh[t.Key]
		if !ok {
			missing = fmt.Errorf("the report %s is missing", t.Key)
			continue
		}
		delete(q.fresh, t.Key)
		admit(t, p.at, p.size)
	}
	return missing
}

// apply does to the state what a frame says. It is the same when the frame is written and when it is read.
func (q *Queue) apply(at int64, f frame) (missing error) {
	switch f.kind {
	case frReport, frWhois:
		key, _, ok := bytes.Cut(f.payload, []byte{0})
		switch r := q.reps[string(key)]; {
		case !ok:
			return errors.New("a report without a name")
		case f.kind == frReport && q.fresh != nil:
			q.fresh[string(key)] = pendingReport{at, f.size()}
		case f.kind == frWhois && r != nil:
			r.whoisAt, r.whois = at, true
			r.size += f.size()
			q.live += f.size()
		}
	case frTake:
		var r recTake
		if err := json.Unmarshal(f.payload, &r); err != nil {
			return err
		}
		missing = q.claim(r.Reports, q.admit)
		q.reached(r.Pos)
	case frBegin, frFail, frDone, frDrop:
		var r recItem
		if err := json.Unmarshal(f.payload, &r); err != nil {
			return err
		}
		q.became(f.kind, &r)
	case frHold:
		var r recHold
		if err := json.Unmarshal(f.payload, &r); err != nil {
			return err
		}
		d := q.destination(r.Dest)
		if d.hold = &r; r.Why == "" {
			d.hold = nil
		}
	case frState:
		var r recState
		if err := json.Unmarshal(f.payload, &r); err != nil {
			return err
		}
		q.pos, q.lost = r.Pos, r.Again
		for _, s := range r.Dests {
			d := q.destination(s.Name)
			d.hold = s.Hold
			if s.Window != nil {
				d.window = s.Window
			}
			if s.Sent != nil {
				d.sent = s.Sent
			}
		}
	case frItems:
		var r recItems
		if err := json.Unmarshal(f.payload, &r); err != nil {
			return err
		}
		missing = q.claim(r.Reports, func(t taken, at, size int64) { q.admitAlone(t, at, size) })
		for i := range r.Items {
			s := &r.Items[i]
			d := q.destination(s.Dest)
			if s.Key == "" {
				for _, k := range s.All {
					if rp := q.reps[k]; rp != nil {
						d.gather = append(d.gather, rp)
						rp.refs++
					}
				}
				continue
			}
			it := &item{dest: d, key: s.Key, since: s.Since, attempts: s.Attempts, err: s.Err, next: s.Time, pause: s.Pause, doubt: s.Doubt, digest: len(s.Reports) > 0, index: -1}
			for _, k := range s.All {
				if rp := q.reps[k]; rp != nil {
					it.reps = append(it.reps, rp)
					rp.refs++
				}
			}
			if len(it.reps) > 0 {
				d.items[it.key] = it
			}
		}
	}
	return missing
}

func (q *Queue) reached(p position) {
	if p.Cursor != "" || p.Realtime != 0 {
		q.pos = p
	}
	if q.lost != nil && p.Realtime > q.lost.Until {
		q.lost = nil
	}
}

func (q *Queue) destination(name string) *dest {
	d := q.dest[name]
	if d == nil {
		d = &dest{name: name, items: map[string]*item{}, window: map[netip.Addr]int64{}, sent: map[int64]int{}}
		q.dest[name] = d
	}
	return d
}

// itemKey names a delivery of one report.
func itemKey(reportKey, dest string) string { return reportKey + "." + dest }

func (q *Queue) admitAlone(t taken, at, size int64) *rep {
	q.seq++
	t.report = nil
	r := &rep{taken: t, seq: q.seq, at: at, size: size}
	if old := q.reps[t.Key]; old != nil {
		return old
	}
	q.reps[t.Key] = r
	q.live += size
	return r
}

func (q *Queue) admit(t taken, at, size int64) {
	r, now := q.admitAlone(t, at, size), time.Now()
	for _, name := range t.To {
		d := q.destination(name)
		it := &item{dest: d, key: itemKey(t.Key, name), reps: []*rep{r}, since: t.Since, due: now, born: now, index: -1}
		if d.items[it.key] != nil {
			continue
		}
		if slices.Contains(t.Doubt, name) {
			it.doubt = t.Time
		}
		d.items[it.key] = it
		d.seen(r)
		r.refs++
	}
	for _, name := range t.Gather {
		d := q.destination(name)
		d.gather = append(d.gather, r)
		d.seen(r)
		r.refs++
	}
	if r.refs == 0 {
		q.forget(r)
	}
	r.To, r.Gather, r.Doubt = nil, nil, nil // items say so now
}

// seen notes when an address was reported.
func (d *dest) seen(r *rep) {
	d.window[r.Address] = r.Time / 1e6
	if len(d.window) > maxWindow {
		times := slices.Sorted(maps.Values(d.window))
		middle := times[len(times)/2]
		maps.DeleteFunc(d.window, func(_ netip.Addr, t int64) bool { return t <= middle })
	}
}

func (q *Queue) forget(r *rep) {
	delete(q.reps, r.Key)
	q.live -= r.size
}

func (q *Queue) unref(r *rep) {
	if r.refs--; r.refs == 0 {
		q.forget(r)
	}
}

// became does what happened to an item.
func (q *Queue) became(kind byte, r *recItem) {
	d := q.destination(r.Dest)
	it := d.items[r.Key]
	if kind == frDrop && r.Key == "" {
		d.gather = slices.DeleteFunc(d.gather, func(rp *rep) bool {
			if slices.Contains(r.Reports, rp.Key) {
				q.unref(rp)
				return true
			}
			return false
		})
		return
	}
	if kind == frBegin && it == nil && len(r.Reports) > 0 { // a digest is put together
		it = &item{dest: d, key: r.Key, digest: true, index: -1}
		in := make(map[string]bool, len(r.Reports))
		for _, k := range r.Reports {
			in[k] = true
		}
		left := d.gather[:0]
		for _, rp := range d.gather {
			if in[rp.Key] {
				it.reps = append(it.reps, rp)
			} else {
				left = append(left, rp)
			}
		}
		clear(d.gather[len(left):])
		d.gather = left
		if len(it.reps) == 0 {
			return
		}
		it.since = it.reps[0].Since
		d.items[it.key] = it
	}
	if it == nil {
		return
	}
	switch kind {
	case frBegin:
		it.begun, it.attempts = r.Time, r.Attempts
		if it.doubt == 0 {
			it.doubt = r.Time
		}
	case frFail:
		it.begun, it.doubt, it.err, it.attempts = 0, r.Doubt, r.Err, r.Attempts
		it.next, it.pause = r.Time+r.Pause, r.Pause
	case frDone, frDrop:
		delete(d.items, it.key)
		for _, rp := range it.reps {
			q.unref(rp)
		}
		if kind == frDone {
			d.sent[r.Time/slot.Microseconds()] += len(it.reps)
		}
	}
}

// write appends frames of one kind of record, and does what they say.
func (q *Queue) write(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f := frame{kind, b}
	at, err := q.wal.append(false, f)
	if err != nil {
		return err
	}
	return q.apply(at[0], f)
}

// Take adds reports, and notes how far the journal was read, all or nothing. A *fullError says that there is no room.
func (q *Queue) Take(pos position, reports []taken) error {
	var frames []frame
	rec := recTake{Pos: pos}
	for i := range reports {
		t := reports[i]
		if len(t.To)+len(t.Gather) == 0 {
			continue
		}
		b := append([]byte(t.Key), 0)
		body, err := json.Marshal(t.report)
		if err != nil {
			return err
		}
		frames = append(frames, frame{frReport, append(b, body...)})
		rec.Reports = append(rec.Reports, t)
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	frames = append(frames, frame{frTake, b})
	at, err := q.wal.append(len(frames) > 1, frames...)
	if err != nil {
		return err
	}
	for i, t := range rec.Reports {
		q.admit(t, at[i], frames[i].size())
	}
	q.reached(pos)
	return nil
}

// again says that an entry of that time (µs) was taken before part of the queue was lost.
func (q *Queue) again(t int64) bool { return q.lost != nil && uint64(t) <= q.lost.Until }

// missing leaves of where a report shall go what the queue has already, or has done with.
func (q *Queue) missing(t taken) taken {
	switch again := q.again(t.Time); {
	case !again && q.reps[t.Key] != nil, again && q.lost.Known[t.Key]:
		t.To, t.Gather = nil, nil
	case again:
		there := func(name string) bool {
			if q.lost.Known[doneKey(name, itemKey(t.Key, name))] {
				return true
			}
			d, is := q.destination(name), func(r *rep) bool { return r.Key == t.Key }
			if slices.ContainsFunc(d.gather, is) {
				return true
			}
			for _, it := range d.items {
				if slices.ContainsFunc(it.reps, is) {
					return true
				}
			}
			return false
		}
		t.To, t.Gather = slices.DeleteFunc(t.To, there), slices.DeleteFunc(t.Gather, there)
		t.Doubt = t.To
	}
	return t
}

// SetWhois keeps what the registries said about a report's address.
func (q *Queue) SetWhois(r *rep, w *report.Whois) error {
	body, err := json.Marshal(w)
	if err != nil {
		return err
	}
	f := frame{frWhois, append(append([]byte(r.Key), 0), body...)}
	at, err := q.wal.append(true, f)
	if err != nil {
		return err
	}
	return q.apply(at[0], f)
}

// Report reads a report back.
func (q *Queue) Report(r *rep) (*report.Report, error) {
	var out report.Report
	if err := q.body(r.at, r.Key, &out); err != nil {
		return nil, err
	}
	if r.whoisAt != 0 {
		out.Whois = new(report.Whois)
		if err := q.body(r.whoisAt, r.Key, out.Whois); err != nil {
			return nil, err
		}
	}
	return &out, nil
}

func (q *Queue) body(at int64, key string, v any) error {
	f, err := q.wal.read(at)
	if err != nil {
		return err
	}
	k, body, _ := bytes.Cut(f.payload, []byte{0})
	if string(k) != key {
		return fmt.Errorf("%s at %d: a frame of %q, not of %q", q.wal.path, at, k, key)
	}
	return json.Unmarshal(body, v)
}

// Sync returns when all that was written is on the disk. Any goroutine may call it.
func (q *Queue) Sync() error { return q.wal.sync() }

// wasteful says that most of the file is over and done with.
func (q *Queue) wasteful() bool { return q.wal.end > 1<<20 && q.wal.end > 2*q.live+1<<20 }

// compact writes the file anew, with what is still needed.
func (q *Queue) compact() error {
	type place struct {
		r           *rep
		at, whoisAt int64
		size        int64
	}
	var places []place
	err := q.wal.replace(func(put func(frame) (int64, error)) error {
		putJSON := func(kind byte, v any) error {
			b, err := json.Marshal(v)
			if err == nil {
				_, err = put(frame{kind, b})
			}
			return err
		}
		s := recState{Pos: q.pos, Again: q.lost}
		names := slices.Sorted(maps.Keys(q.dest))
		for _, name := range names {
			d := q.dest[name]
			s.Dests = append(s.Dests, recDest{Name: name, Window: d.window, Sent: d.sent, Hold: d.hold})
		}
		if err := putJSON(frState, s); err != nil {
			return err
		}
		reps := slices.SortedFunc(maps.Values(q.reps), func(a, b *rep) int { return cmp.Compare(a.seq, b.seq) })
		for len(reps) > 0 {
			n := min(len(reps), 1000)
			var rec recItems
			first := len(places)
			for _, r := range reps[:n] {
				f, err := q.wal.read(r.at)
				if err != nil {
					return err
				}
				p := place{r: r, size: f.size()}
				if p.at, err = put(f); err != nil {
					return err
				}
				places = append(places, p)
				rec.Reports = append(rec.Reports, r.taken)
			}
			if err := putJSON(frItems, rec); err != nil {
				return err
			}
			for i, r := range reps[:n] {
				if r.whoisAt == 0 {
					continue
				}
				f, err := q.wal.read(r.whoisAt)
				if err != nil {
					return err
				}
				p := &places[first+i]
				if p.whoisAt, err = put(f); err != nil {
					return err
				}
				p.size += f.size()
			}
			reps = reps[n:]
		}
		for _, name := range names {
			d := q.dest[name]
			items := slices.SortedFunc(maps.Values(d.items), func(a, b *item) int {
				return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(a.reps[0].seq, b.reps[0].seq))
			})
			for chunk := range slices.Chunk(items, 1000) {
				var rec recItems
				for _, it := range chunk {
					s := recSaved{recItem: recItem{Dest: name, Key: it.key, Time: it.next, Attempts: it.attempts, Pause: it.pause, Doubt: it.doubt, Err: it.err}, Since: it.since, All: keysOf(it.reps)}
					if it.digest {
						s.Reports = s.All[:1]
					}
					rec.Items = append(rec.Items, s)
				}
				if err := putJSON(frItems, rec); err != nil {
					return err
				}
			}
			if len(d.gather) > 0 {
				if err := putJSON(frItems, recItems{Items: []recSaved{{recItem: recItem{Dest: name}, All: keysOf(d.gather)}}}); err != nil {
					return err
				}
			}
		}
		_, err := put(frame{kind: frWhole})
		return err
	})
	if err != nil {
		return err
	}
	q.live = 0
	for _, p := range places {
		p.r.at, p.r.whoisAt, p.r.size = p.at, p.whoisAt, p.size
		q.live += p.size
	}
	return nil
}

func keysOf(reps []*rep) []string {
	keys := make([]string, len(reps))
	for i, r := range reps {
		keys[i] = r.Key
	}
	return keys
}

// prune forgets what no window and no quota asks for any more.
func (q *Queue) prune(now time.Time, window func(dest string) time.Duration) {
	for name, d := range q.dest {
		w := int64(window(name) / time.Second)
		maps.DeleteFunc(d.window, func(_ netip.Addr, t int64) bool { return now.Unix()-t > w || t-now.Unix() > w })
		this := now.UnixMicro() / slot.Microseconds()
		for s, n := range d.sent {
			if s > this { // the clock was set back: neither forgotten nor counted for longer than a day
				delete(d.sent, s)
				d.sent[this] += n
			} else if this-s > int64(day/slot) {
				delete(d.sent, s)
			}
		}
		if d.run == nil && len(d.items)+len(d.gather)+len(d.sent)+len(d.window) == 0 && d.hold == nil {
			delete(q.dest, name)
		}
	}
}

const day = 24 * time.Hour

// sentLately is how many reports were delivered within a day.
func (d *dest) sentLately(now time.Time) (n int) {
	first := now.Add(-day).UnixMicro() / slot.Microseconds()
	for s, k := range d.sent {
		if s >= first {
			n += k
		}
	}
	return n
}

// empty says that nothing waits for a destination that is configured.
func (q *Queue) empty() bool {
	for _, d := range q.dest {
		if d.run != nil && len(d.items)+len(d.gather) > 0 {
			return false
		}
	}
	return true
}

// close closes the file.
func (q *Queue) close() error { return q.wal.f.Close() }
