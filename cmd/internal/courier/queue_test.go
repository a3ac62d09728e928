package courier

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/policy/report"
)

// dump writes down all that matters of a queue.
func dump(q *Queue) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pos %v\n", q.pos)
	for _, name := range slices.Sorted(maps.Keys(q.dest)) {
		d := q.dest[name]
		if len(d.items)+len(d.gather)+len(d.window)+len(d.sent) == 0 && d.hold == nil {
			continue
		}
		fmt.Fprintf(&b, "%s: window %d sent %v hold %v gather %v\n", name, len(d.window), d.sent, d.hold, keysOf(d.gather))
		for _, key := range slices.Sorted(maps.Keys(d.items)) {
			it := d.items[key]
			fmt.Fprintf(&b, "  %s %v since=%d attempts=%d next=%d pause=%d doubt=%d digest=%v err=%s\n", key, keysOf(it.reps), it.since, it.attempts, it.next, it.pause, it.doubt, it.digest, it.err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(q.reps)) {
		r, err := q.Report(q.reps[key])
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", key, err)
			continue
		}
		fmt.Fprintf(&b, "%s refs=%d %s %s %s\n", key, q.reps[key].refs, r.ID, r.Address, r.Lines[0].Message)
	}
	return b.String()
}

// driver does random things to a queue.
type driver struct {
	q     *Queue
	r     *rand.Rand
	n     int
	clock int64
	taken map[string]taken // all that ever were, by key
	order []string
	done  map[string]bool // items, by doneKey, delivered or dropped
}

func newDriver(q *Queue, seed uint64) *driver {
	return &driver{q: q, r: rand.New(rand.NewPCG(seed, 1)), clock: 1_700_000_000_000_000, taken: map[string]taken{}, done: map[string]bool{}}
}

func (d *driver) report() taken {
	d.n++
	d.clock += 1 + d.r.Int64N(1e6)
	key := fmt.Sprintf("%016x", d.n)
	a := netip.AddrFrom4([4]byte{198, 51, 100, byte(d.n)})
	t := taken{Key: key, ID: key, Address: a, Jail: "sshd", Time: d.clock, Since: d.clock}
	t.report = &report.Report{ID: key, Address: a, Lines: []report.Line{{Message: bytes.Repeat([]byte{byte('a' + d.n%26)}, d.r.IntN(300))}}}
	for _, name := range []string{"one", "two"} {
		if d.r.IntN(3) > 0 {
			t.To = append(t.To, name)
		}
	}
	if d.r.IntN(3) == 0 || len(t.To) == 0 {
		t.Gather = []string{"daily"}
	}
	return t
}

func (d *driver) some() (*dest, *item) {
	var all []*item
	for _, name := range slices.Sorted(maps.Keys(d.q.dest)) {
		all = append(all, d.q.dest[name].sorted()...)
	}
	if len(all) == 0 {
		return nil, nil
	}
	it := all[d.r.IntN(len(all))]
	return it.dest, it
}

// step does one thing, and says what it was.
func (d *driver) step() (string, error) {
	d.clock += d.r.Int64N(1e6)
	switch op := d.r.IntN(20); {
	case op < 6:
		var batch []taken
		for range 1 + d.r.IntN(4) {
			t := d.report()
			batch = append(batch, t)
		}
		pos := position{fmt.Sprintf("i=%x", d.n), uint64(d.clock)}
		if err := d.q.Take(pos, batch); err != nil {
			return "take", err
		}
		for _, t := range batch {
			d.taken[t.Key] = t
			d.order = append(d.order, t.Key)
		}
		return fmt.Sprintf("take %d", len(batch)), nil
	case op == 6:
		return "position", d.q.Take(position{fmt.Sprintf("i=%x.", d.n), uint64(d.clock)}, nil)
	case op == 7:
		return "compact", d.q.compact()
	case op == 8:
		why := ""
		if d.r.IntN(2) == 0 {
			why = "no key"
		}
		return "hold", d.q.write(frHold, recHold{Dest: "two", Why: why, Time: d.clock})
	case op == 9:
		if g := d.q.destination("daily").gather; len(g) > 0 {
			g = g[:1+d.r.IntN(len(g))]
			return "digest", d.q.write(frBegin, recItem{Dest: "daily", Key: itemKey("digest-"+g[0].Key, "daily"), Reports: keysOf(g), Time: d.clock, Attempts: 1})
		}
	case op == 10:
		if len(d.q.reps) > 0 {
			r := d.q.reps[slices.Sorted(maps.Keys(d.q.reps))[0]]
			return "whois", d.q.SetWhois(r, &report.Whois{Holder: "x"})
		}
	default:
		to, it := d.some()
		if it == nil {
			break
		}
		rec := recItem{Dest: to.name, Key: it.key, Time: d.clock, Attempts: it.attempts + 1}
		if it.digest {
			rec.Reports = keysOf(it.reps)
		}
		if it.begun == 0 {
			return "begin", d.q.write(frBegin, rec)
		}
		kind, what := byte(frDone), "done"
		switch d.r.IntN(4) {
		case 0:
			kind, what, rec.Err, rec.Pause, rec.Reports = frFail, "fail", "451", 1000, nil
		case 1:
			kind, what = frDrop, "drop"
		}
		if kind != frFail {
			d.done[doneKey(to.name, it.key)] = true
			for _, r := range it.reps {
				d.done[doneKey(to.name, itemKey(r.Key, to.name))] = true
			}
		}
		return what, d.q.write(kind, rec)
	}
	return "nothing", nil
}

// TestQueueSurvives: whatever of what was not yet synced reaches the disk, the queue is then as it was at a moment between the
// last sync and the crash.
func TestQueueSurvives(t *testing.T) {
	for seed := range uint64(8) {
		dir := t.TempDir()
		q, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		d := newDriver(q, seed)
		states := []string{dump(q)} // since the last sync
		synced := q.wal.end
		for i := range 120 {
			what, err := d.step()
			if err != nil {
				t.Fatalf("seed %d, step %d, %s: %v", seed, i, what, err)
			}
			if what == "compact" {
				states, synced = nil, q.wal.end
			}
			states = append(states, dump(q))
			if d.r.IntN(3) == 0 { // the machine stops: of the end any part may be there
				data, err := os.ReadFile(q.wal.path)
				if err != nil {
					t.Fatal(err)
				}
				cut := synced + d.r.Int64N(q.wal.end-synced+1)
				data = data[:cut]
				if d.r.IntN(4) == 0 { // the length was written, the data not
					data = append(data, make([]byte, d.r.IntN(200))...)
				}
				other := t.TempDir()
				if err := os.WriteFile(filepath.Join(other, "queue"), data, 0o600); err != nil {
					t.Fatal(err)
				}
				os.WriteFile(filepath.Join(other, "queue.new"), data[:cut/2], 0o600) // it was being made anew
				again, err := Open(other)
				if err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, i, err)
				}
				if got := dump(again); !slices.Contains(states, got) || len(again.news) > 0 {
					t.Fatalf("seed %d, step %d, cut at %d of %d: is %s\nwas %s\nnews %v", seed, i, cut, q.wal.end, got, strings.Join(states, "\n"), again.news)
				}
				again.close()
			}
			if d.r.IntN(4) == 0 {
				if err := q.Sync(); err != nil {
					t.Fatal(err)
				}
				states, synced = states[len(states)-1:], q.wal.end
			}
		}
		q.close()
	}
}

// TestQueueDamaged: whatever byte of the file is spoilt, no report is lost once the journal has been read again, and what may
// have been delivered is known to be in doubt.
func TestQueueDamaged(t *testing.T) {
	for seed := range uint64(60) {
		dir := t.TempDir()
		q, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		d := newDriver(q, seed)
		for range 60 {
			if _, err := d.step(); err != nil {
				t.Fatal(err)
			}
		}
		want := dump(q)
		q.close()
		data, err := os.ReadFile(q.wal.path)
		if err != nil {
			t.Fatal(err)
		}
		for range 1 + d.r.IntN(3) {
			at := d.r.IntN(len(data))
			for i := range 1 + d.r.IntN(40) {
				if at+i < len(data) {
					data[at+i] ^= byte(1 + d.r.IntN(255))
				}
			}
		}
		if err := os.WriteFile(q.wal.path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := Open(dir)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, key := range d.order { // the journal is read again
			if r := d.taken[key]; again.pos == (position{}) || uint64(r.Time) > again.pos.Realtime {
				r.To, r.Gather = slices.Clone(r.To), slices.Clone(r.Gather)
				if r = again.missing(r); len(r.To)+len(r.Gather) > 0 {
					if err := again.Take(position{"i=" + key, uint64(r.Time)}, []taken{r}); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		for _, key := range d.order {
			r := d.taken[key]
			for _, name := range r.To {
				it := again.destination(name).items[itemKey(key, name)]
				switch done := d.done[doneKey(name, itemKey(key, name))]; {
				case it == nil && !done:
					t.Fatalf("seed %d: %s to %s is lost\nbefore:\n%s\nafter:\n%s\nnews %v, lost %+v", seed, key, name, want, dump(again), again.news, again.lost)
				case it != nil && done && it.doubt == 0 && len(again.news) > 0:
					t.Fatalf("seed %d: %s to %s would be delivered twice: %s", seed, key, name, dump(again))
				}
			}
			for _, name := range r.Gather {
				if d.done[doneKey(name, itemKey(key, name))] {
					continue
				}
				to := again.destination(name)
				there := slices.ContainsFunc(to.gather, func(r *rep) bool { return r.Key == key })
				for _, it := range to.items {
					there = there || slices.Contains(keysOf(it.reps), key)
				}
				if !there {
					t.Fatalf("seed %d: %s is lost to a digest", seed, key)
				}
			}
		}
		if len(again.news) > 0 {
			if l, _ := filepath.Glob(again.wal.path + ".damaged-*"); len(l) != 1 {
				t.Errorf("set aside: %v", l)
			}
		}
		again.close()
	}
}

func FuzzQueue(f *testing.F) {
	q, err := Open(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	d := newDriver(q, 1)
	for range 30 {
		if _, err := d.step(); err != nil {
			f.Fatal(err)
		}
	}
	data, _ := os.ReadFile(q.wal.path)
	f.Add(data)
	f.Add([]byte(walHead))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "queue"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		q, err := Open(dir)
		if err != nil {
			return // whole frames that make no sense, which no disk makes
		}
		was := dump(q)
		if err := q.compact(); err != nil {
			t.Fatal(err)
		}
		if is := dump(q); is != was {
			t.Fatalf("made anew it is %s\nand was %s", is, was)
		}
		q.close()
		if q, err = Open(dir); err != nil || dump(q) != was {
			t.Fatalf("read again it is %s, %v\nand was %s", dump(q), err, was)
		}
	})
}

// TestQueueFull: on a disk without room nothing more is taken, what is there goes on, and nothing is lost.
func TestQueueFull(t *testing.T) {
	dir := t.TempDir()
	mountSmall(t, dir, 3<<20)
	q, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	d := newDriver(q, 1)
	var full *fullError
	n := 0
	for {
		r := d.report()
		r.report.Lines[0].Message = make([]byte, 100<<10)
		if err = q.Take(position{"i=1", uint64(r.Time)}, []taken{r}); err != nil {
			break
		}
		n++
	}
	if !errors.As(err, &full) || n < 5 {
		t.Fatalf("after %d: %v", n, err)
	}
	was := dump(q)
	for _, name := range []string{"one", "two"} {
		for _, it := range q.destination(name).sorted() {
			for _, kind := range []byte{frBegin, frDone} {
				if err := q.write(kind, recItem{Dest: name, Key: it.key, Time: d.clock, Attempts: 1}); err != nil {
					t.Fatalf("what is there cannot be delivered: %v", err)
				}
			}
		}
	}
	if dump(q) == was {
		t.Error("nothing was delivered")
	}
	if err := q.Sync(); err != nil {
		t.Fatal(err)
	}
	was = dump(q)
	q.close()
	if q, err = Open(dir); err != nil || dump(q) != was {
		t.Fatalf("%v: %s\nwas %s", err, dump(q), was)
	}
	q.close()
}

func TestQuota(t *testing.T) {
	q := &Queue{dest: map[string]*dest{}, reps: map[string]*rep{}}
	d := q.destination("one")
	now := time.Unix(1_700_000_000, 0)
	d.sent[now.UnixMicro()/slot.Microseconds()] = 3
	d.sent[now.Add(-23*time.Hour).UnixMicro()/slot.Microseconds()] = 4
	d.sent[now.Add(-25*time.Hour).UnixMicro()/slot.Microseconds()] = 5
	if n := d.sentLately(now); n != 7 {
		t.Errorf("sent %d in a day, want 7", n)
	}
	// The clock is set back by a year: it counts, for a day.
	past := now.AddDate(-1, 0, 0)
	none := func(string) time.Duration { return 0 }
	q.prune(past, none)
	if n := q.destination("one").sentLately(past); n != 12 {
		t.Errorf("sent %d, want 12", n)
	}
	q.prune(past.Add(25*time.Hour), none)
	if n := q.destination("one").sentLately(past.Add(25 * time.Hour)); n != 0 {
		t.Errorf("sent %d, want 0", n)
	}
}
