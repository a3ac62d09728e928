package dispatch

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
)

// Kinds of records in the queue's file. A frame contains the records of one turn of the dispatcher: after a crash, all of them count or
// none.
const (
	kindPosition = 'p' // recPosition
	kindReport   = 'r' // facts, a newline, and the report as JSON
	kindWhois    = 'w' // recWhois, a newline, and the answer of the registries as JSON
	kindDelivery = 'd' // recDelivery
	kindHold     = 'h' // recHold
	kindBehind   = 'b' // recBehind
	kindCounts   = 'c' // recCounts
	kindWhole    = 'e' // end of the records that a compacted file begins with
)

// position is how far the journal has been read.
type position struct {
	Cursor   string `json:"cursor,omitempty"`
	Realtime uint64 `json:"time,omitempty"` // µs
}

type recPosition struct {
	Pos     position `json:"pos"`
	Rebuild uint64   `json:"rebuild,omitempty"`
}

type recWhois struct {
	Key string `json:"key"`
}

// recDelivery is the state of a delivery. Its first record contains Reports and Since.
type recDelivery struct {
	Dest     string   `json:"d"`
	Key      string   `json:"k"`
	State    state    `json:"s"`
	Reports  []string `json:"r,omitempty"`
	Digest   bool     `json:"g,omitempty"`
	Since    int64    `json:"since,omitempty"` // µs
	Time     int64    `json:"t,omitempty"`     // of the record, µs
	Attempts int      `json:"n,omitempty"`
	Pause    int64    `json:"p,omitempty"` // µs until the next attempt, from Time
	Started  int64    `json:"u,omitempty"` // µs
	Err      string   `json:"e,omitempty"`
}

// recHold holds a destination, or releases it if Why is empty.
type recHold struct {
	Dest  string `json:"d"`
	Why   string `json:"why,omitempty"`
	Print string `json:"print,omitempty"` // of its configuration at that time
	Time  int64  `json:"t"`
}

type recBehind struct {
	Dest string    `json:"d"`
	Pos  *position `json:"pos,omitempty"`
}

type recCounts struct {
	Dest   string               `json:"d"`
	Window map[netip.Addr]int64 `json:"window,omitempty"`
	Sent   map[int64]int        `json:"sent,omitempty"`
}

// queue is what has to be delivered and how far the journal was read. Every change is a record: write applies it to the state in
// memory and adds it to the next frame; commit writes the frame to the disk. Reading the file applies the same records.
//
// Memory may be one frame ahead of the disk. Nothing that others can see (a delivery, an answer) may happen before commit.
type queue struct {
	log     logFile
	pos     position
	rebuild uint64 // part of the queue was lost: bans up to this time (µs) may have been delivered before; 0: none was lost
	reports map[string]*queuedReport
	dests   map[string]*destination
	seq     uint64
	base    int64  // size of the file after the last compaction
	pending []byte // records of the next frame
	whole   bool
	news    []string // messages about the file for the administrator
	now     func() time.Time
}

// maxAside is how many damaged files are kept.
const maxAside = 3

// maxFile is the largest size of the file. Further bans wait in the journal.
const maxFile = 1 << 30

// openQueue reads the queue's file in a folder, or creates it. If the file is damaged, the records before the damage are kept and the
// rest is rebuilt from the journal.
func openQueue(dir string, now func() time.Time) (*queue, error) {
	q := newQueue(filepath.Join(dir, "queue"), now)
	f, err := os.OpenFile(q.log.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return q, q.compact()
	}
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	q.log.f = f
	err = q.log.load(q.load, func() bool { return q.whole })
	var damaged *errDamaged
	if errors.As(err, &damaged) {
		err = q.salvage(damaged)
	}
	if err != nil {
		q.log.f.Close()
		return nil, fmt.Errorf("%s: %w", q.log.path, err)
	}
	at := q.now()
	for _, x := range q.dests {
		for _, it := range x.all {
			it.restore(at)
		}
		if it := x.current; it != nil { // interrupted by a crash
			q.write(kindDelivery, it.record(uncertain), nil)
		}
	}
	return q, nil
}

func newQueue(path string, now func() time.Time) *queue {
	return &queue{log: logFile{path: path, limit: maxFile}, reports: map[string]*queuedReport{}, dests: map[string]*destination{}, now: now}
}

// salvage sets a damaged file aside and prepares the rebuilding of what it lost. Deliveries that it still has may have been made
// after the damaged record.
func (q *queue) salvage(damage *errDamaged) error {
	aside := q.log.path + ".damaged-" + q.now().UTC().Format("20060102T150405.000000Z")
	if err := os.Link(q.log.path, aside); err != nil {
		return fmt.Errorf("set the damaged file aside: %w", err)
	}
	if old, err := filepath.Glob(q.log.path + ".damaged-*"); err == nil { // sorted, so by time
		for _, name := range old[:max(0, len(old)-maxAside)] {
			_ = os.Remove(name) // a file that stays does no harm
		}
	}
	if !q.whole {
		q.pos = position{} // reports before it may be lost, too
	}
	q.rebuild = uint64(q.now().UnixMicro())
	for _, x := range q.dests {
		if !q.whole {
			x.behind = nil
		}
		for _, it := range x.all {
			if it.state == waiting || it.state == delivering {
				it.started = cmp.Or(it.started, it.since)
				q.move(it, uncertain)
			}
		}
	}
	q.news = append(q.news, fmt.Sprintf("the queue was %v and is kept as %s; lost reports are rebuilt from the journal", damage, aside))
	return q.compact()
}

// load applies the records of a frame.
func (q *queue) load(at int64, payload []byte) error {
	for rest := payload; len(rest) > 0; {
		n, k := binary.Uvarint(rest)
		if k <= 0 || n == 0 || n > uint64(len(rest)-k) {
			return fmt.Errorf("at %d: a record of %d bytes", at, n)
		}
		rec := rest[k : k+int(n)]
		if err := q.apply(rec[0], rec[1:], at+int64(len(payload)-len(rest)+k+1)); err != nil {
			return fmt.Errorf("at %d: %w", at, err)
		}
		rest = rest[k+int(n):]
	}
	return nil
}

// encode appends a record.
func encode(b []byte, kind byte, v any, body []byte) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return b, err
	}
	if body != nil {
		data = append(append(data, '\n'), body...)
	}
	b = binary.AppendUvarint(b, uint64(1+len(data)))
	return append(append(b, kind), data...), nil
}

// write applies a record and adds it to the next frame. An error would mean that the dispatcher writes what it cannot read, so it is a
// panic.
func (q *queue) write(kind byte, v any, body []byte) {
	at := len(q.pending)
	var err error
	if q.pending, err = encode(q.pending, kind, v, body); err == nil {
		n, k := binary.Uvarint(q.pending[at:])
		end := at + k + int(n)
		err = q.apply(kind, q.pending[at+k+1:end], q.log.end+frameHead+int64(at+k+1))
	}
	if err != nil {
		panic(fmt.Sprintf("queue: record %c: %v", kind, err))
	}
}

// commit writes the pending records to the disk. After a fullError it has to be tried again.
func (q *queue) commit() error {
	if len(q.pending) == 0 {
		return nil
	}
	if err := q.log.append(q.pending); err != nil {
		done, e := q.squeeze(err)
		if done || e != nil {
			return e
		}
		return err
	}
	if q.pending = q.pending[:0]; cap(q.pending) > 1<<20 {
		q.pending = nil
	}
	return nil
}

// apply applies a record to the state. at is the offset of its data in the file.
func (q *queue) apply(kind byte, data []byte, at int64) error {
	switch kind {
	case kindPosition:
		var r recPosition
		if err := json.Unmarshal(data, &r); err != nil {
			return err
		}
		q.pos, q.rebuild = r.Pos, r.Rebuild
	case kindReport:
		var r facts
		body, err := split(data, at, &r)
		if err != nil {
			return err
		}
		if q.reports[r.Key] == nil {
			q.seq++
			q.reports[r.Key] = &queuedReport{facts: r, seq: q.seq, body: body}
		}
	case kindWhois:
		var r recWhois
		body, err := split(data, at, &r)
		if err != nil {
			return err
		}
		if rp := q.reports[r.Key]; rp != nil {
			for _, it := range rp.in {
				it.dest.bytes += body.size - rp.whois.size
			}
			rp.whois, rp.looked = body, true
		}
	case kindDelivery:
		var r recDelivery
		if err := json.Unmarshal(data, &r); err != nil {
			return err
		}
		return q.applyDelivery(&r)
	case kindHold:
		var r recHold
		if err := json.Unmarshal(data, &r); err != nil {
			return err
		}
		x := q.destination(r.Dest)
		if x.hold = &r; r.Why == "" {
			x.hold = nil
		}
	case kindBehind:
		var r recBehind
		if err := json.Unmarshal(data, &r); err != nil {
			return err
		}
		q.destination(r.Dest).behind = r.Pos
	case kindCounts:
		var r recCounts
		if err := json.Unmarshal(data, &r); err != nil {
			return err
		}
		x := q.destination(r.Dest)
		maps.Copy(x.window, r.Window)
		maps.Copy(x.sent, r.Sent)
	case kindWhole:
		q.whole, q.base = true, at
		for _, rp := range q.reports {
			if len(rp.in) == 0 {
				delete(q.reports, rp.Key)
			}
		}
	default:
		return fmt.Errorf("a record of the unknown kind %q", kind)
	}
	return nil
}

// split separates a record from its body.
func split(data []byte, at int64, v any) (blob, error) {
	head, body, ok := bytes.Cut(data, []byte{'\n'})
	if !ok {
		return blob{}, errors.New("a record without a body")
	}
	return blob{at + int64(len(head)) + 1, int64(len(body)), crc32.Checksum(body, castagnoli)}, json.Unmarshal(head, v)
}

func (q *queue) applyDelivery(r *recDelivery) error {
	x := q.destination(r.Dest)
	it := x.all[r.Key]
	if it == nil {
		it = &delivery{dest: x, key: r.Key, digest: r.Digest, since: r.Since, index: -1}
		for _, k := range r.Reports {
			if rp := q.reports[k]; rp != nil && !slices.Contains(it.reports, rp) {
				it.reports = append(it.reports, rp)
			}
		}
		if len(it.reports) == 0 {
			return fmt.Errorf("the delivery %.100q has no report", r.Key)
		}
		it.created = q.now()
	}
	if r.State >= states || !it.state.may(r.State) || r.State == delivering && x.current != nil {
		return fmt.Errorf("the delivery %.100q cannot go from %s to state %d", r.Key, it.state, r.State)
	}
	fresh := it.state == added
	it.attempts, it.started, it.lastErr, it.pause, it.next = r.Attempts, r.Started, r.Err, r.Pause, r.Time+r.Pause
	it.notBefore, it.serverSet = q.now().Add(time.Duration(it.pause)*time.Microsecond), false
	q.move(it, r.State)
	if !fresh {
		if r.State == done {
			x.sent[r.Time/slot.Microseconds()] += len(it.reports)
		}
		return nil
	}
	for _, rp := range it.reports {
		if !it.digest {
			x.rememberAddress(rp)
		} else if m := x.all[itemKey(rp.Key, x.name)]; m != nil && m.state == collecting {
			q.move(m, merged)
		}
	}
	return nil
}

func (q *queue) destination(name string) *destination {
	x := q.dests[name]
	if x == nil {
		x = newDestination(name)
		q.dests[name] = x
	}
	return x
}

// sorted returns the destinations by name.
func (q *queue) sorted() []*destination {
	return slices.SortedFunc(maps.Values(q.dests), func(a, b *destination) int { return cmp.Compare(a.name, b.name) })
}

// record returns the record of a delivery.
func (it *delivery) record(s state) recDelivery {
	return recDelivery{Dest: it.dest.name, Key: it.key, State: s, Attempts: it.attempts, Time: it.next - it.pause, Pause: it.pause, Started: it.started, Err: it.lastErr}
}

// read reads a body, which may not be on the disk yet.
func (q *queue) read(b blob) ([]byte, error) {
	if at := b.at - q.log.end - frameHead; at >= 0 && at+b.size <= int64(len(q.pending)) {
		return q.pending[at : at+b.size], nil
	}
	return q.log.read(b)
}

// report reads a report.
func (q *queue) report(rp *queuedReport) (*report.Report, error) {
	var out report.Report
	data, err := q.read(rp.body)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if rp.whois.size > 0 {
		if data, err = q.read(rp.whois); err != nil {
			return nil, err
		}
		out.Whois = new(report.Whois)
		if err := json.Unmarshal(data, out.Whois); err != nil {
			return nil, fmt.Errorf("%w: %w", errUnreadable, err)
		}
	}
	return &out, nil
}

// room returns a fullError unless n bytes fit. It compacts the file if that helps.
func (q *queue) room(n int64) error {
	err := q.log.room(n)
	if err != nil {
		if done, e := q.squeeze(err); done || e != nil {
			return cmp.Or(e, q.log.room(n))
		}
	}
	return err
}

// squeeze compacts the file after a fullError if that at least halves it. done reports whether it did.
func (q *queue) squeeze(err error) (done bool, _ error) {
	var full *fullError
	if !errors.As(err, &full) {
		return false, nil
	}
	live := int64(0)
	for _, rp := range q.reports {
		live += rp.size() + 500
	}
	if 2*live > q.log.end {
		return false, nil
	}
	if err := q.compact(); err != nil {
		if errors.As(err, &full) {
			return false, nil
		}
		return false, err
	}
	return true, nil
}

// wasteful reports whether the file has more than doubled since the last compaction.
func (q *queue) wasteful() bool { return q.log.end > 2*q.base+1<<20 }

// compact writes the file again with the records that are still needed. This commits the pending records.
func (q *queue) compact() error {
	bodies, whois := make(map[*queuedReport]blob, len(q.reports)), make(map[*queuedReport]blob)
	err := q.log.replace(func(w *rewriter) {
		w.add(kindPosition, recPosition{q.pos, q.rebuild}, nil)
		for _, x := range q.sorted() {
			if x.hold != nil {
				w.add(kindHold, x.hold, nil)
			}
			if x.behind != nil {
				w.add(kindBehind, recBehind{x.name, x.behind}, nil)
			}
			w.add(kindCounts, recCounts{Dest: x.name, Sent: x.sent}, nil)
			for chunk := range slices.Chunk(slices.Collect(maps.Keys(x.window)), 10_000) {
				part := make(map[netip.Addr]int64, len(chunk))
				for _, a := range chunk {
					part[a] = x.window[a]
				}
				w.add(kindCounts, recCounts{Dest: x.name, Window: part}, nil)
			}
		}
		for _, rp := range slices.SortedFunc(maps.Values(q.reports), func(a, b *queuedReport) int { return cmp.Compare(a.seq, b.seq) }) {
			bodies[rp] = q.copyTo(w, kindReport, rp.facts, rp.body)
			if rp.whois.size > 0 {
				whois[rp] = q.copyTo(w, kindWhois, recWhois{rp.Key}, rp.whois)
			}
		}
		for _, x := range q.sorted() {
			for _, it := range x.sorted() {
				r := it.record(it.state)
				if r.State == lookingUp {
					r.State = waiting
				}
				r.Reports, r.Digest, r.Since = keysOf(it.reports), it.digest, it.since
				w.add(kindDelivery, r, nil)
			}
		}
		w.add(kindWhole, struct{}{}, nil)
	})
	if err != nil {
		return err
	}
	for rp, body := range bodies {
		for _, it := range rp.in {
			it.dest.bytes += body.size + whois[rp].size - rp.size()
		}
		rp.body, rp.whois = body, whois[rp]
	}
	q.base, q.whole, q.pending = q.log.end, true, nil
	return nil
}

// copyTo adds a record with its body to a new file.
func (q *queue) copyTo(w *rewriter, kind byte, v any, b blob) blob {
	body, err := q.read(b)
	if errors.Is(err, errUnreadable) {
		body, err = []byte("?"), nil // the delivery will find that and drop it
	}
	w.err = cmp.Or(w.err, err)
	return w.add(kind, v, body)
}

// prune removes what no window and no quota needs any more.
func (q *queue) prune(now time.Time, window func(*destination) time.Duration) {
	for name, x := range q.dests {
		w := int64(window(x) / time.Second)
		maps.DeleteFunc(x.window, func(_ netip.Addr, t int64) bool { return now.Unix()-t > w || t-now.Unix() > w })
		this := now.UnixMicro() / slot.Microseconds()
		for s, n := range x.sent {
			if s > this { // the clock was set back: count them for a day from now
				delete(x.sent, s)
				x.sent[this] += n
			} else if this-s > int64(day/slot) {
				delete(x.sent, s)
			}
		}
		if x.ep == nil && len(x.all)+len(x.sent)+len(x.window) == 0 && x.hold == nil && x.behind == nil {
			delete(q.dests, name)
		}
	}
}

func (q *queue) close() error { return q.log.f.Close() }
