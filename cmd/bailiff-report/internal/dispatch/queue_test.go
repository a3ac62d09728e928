package dispatch

import (
	"bytes"
	"encoding/json"
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

	"bailiff/cmd/bailiff-report/internal/report"
)

// dump prints all that matters of a queue, except for what time alone changes (windows, quotas).
func dump(q *queue) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pos %v rebuild %d\n", q.pos, q.rebuild)
	for _, x := range q.sorted() {
		if len(x.all) == 0 && x.hold == nil && x.behind == nil {
			continue
		}
		fmt.Fprintf(&b, "%s:", x.name)
		if x.hold != nil {
			fmt.Fprintf(&b, " hold %v", *x.hold)
		}
		if x.behind != nil {
			fmt.Fprintf(&b, " behind %v", *x.behind)
		}
		b.WriteByte('\n')
		for _, it := range x.sorted() {
			s := it.state
			switch s { // what a restart makes of it
			case lookingUp:
				s = waiting
			case delivering:
				s = uncertain
			}
			fmt.Fprintf(&b, "  %s %v %s since=%d attempts=%d next=%d pause=%d started=%d digest=%v err=%s\n", it.key, keysOf(it.reports), s, it.since, it.attempts, it.next, it.pause, it.started, it.digest, it.lastErr)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(q.reports)) {
		r, err := q.report(q.reports[key])
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", key, err)
			continue
		}
		fmt.Fprintf(&b, "%s in=%d %s %s %v\n", key, len(q.reports[key].in), r.ID, r.Address, r.Whois)
	}
	return b.String()
}

// check finds inconsistencies: each delivery must be in the one place that its state names, and sums must be right.
func check(q *queue) error {
	for _, x := range q.dests {
		places := map[*delivery][]string{}
		for i, it := range x.waiting {
			places[it] = append(places[it], "waiting")
			if it.index != i {
				return fmt.Errorf("%s: index %d in place %d", it.key, it.index, i)
			}
		}
		for _, it := range x.collecting {
			places[it] = append(places[it], "collecting")
		}
		for it := range x.uncertain {
			places[it] = append(places[it], "uncertain")
		}
		if x.current != nil {
			places[x.current] = append(places[x.current], "delivering")
		}
		size := int64(0)
		for key, it := range x.all {
			want := []string{it.state.String()}
			if it.state == lookingUp {
				want = nil
			}
			if it.key != key || it.dest != x || !slices.Equal(places[it], want) || it.state.over() || it.state == added {
				return fmt.Errorf("%s is %s, and in %v", key, it.state, places[it])
			}
			delete(places, it)
			for _, rp := range it.reports {
				size += rp.size()
				if q.reports[rp.Key] != rp || !slices.Contains(rp.in, it) {
					return fmt.Errorf("%s: its report %s is not kept", key, rp.Key)
				}
			}
		}
		if len(places) > 0 || size != x.bytes {
			return fmt.Errorf("%s: %d deliveries that are over; %d bytes, counted %d", x.name, len(places), size, x.bytes)
		}
	}
	for key, rp := range q.reports {
		if rp.Key != key || len(rp.in) == 0 {
			return fmt.Errorf("the report %s is kept for nobody", key)
		}
		for _, it := range rp.in {
			if it.dest.all[it.key] != it {
				return fmt.Errorf("the report %s is in %s, which is over", key, it.key)
			}
		}
	}
	return nil
}

// TestTransitions: the table is what the package comment of state.go says, and no other transition is possible.
func TestTransitions(t *testing.T) {
	for from := added; from < states; from++ {
		for to := added; to < states; to++ {
			q := newQueue("", time.Now)
			x := q.destination("one")
			rp := &queuedReport{facts: facts{Key: "a"}}
			q.reports["a"] = rp
			it := &delivery{dest: x, key: "a.one", reports: []*queuedReport{rp}}
			path := map[state][]state{collecting: {collecting}, lookingUp: {waiting, lookingUp}, waiting: {waiting}, delivering: {delivering}, uncertain: {uncertain},
				done: {delivering, done}, dropped: {waiting, dropped}, merged: {collecting, merged}}[from]
			for _, s := range path {
				q.move(it, s)
			}
			panics := func() (p bool) {
				defer func() { p = recover() != nil }()
				q.move(it, to)
				return false
			}()
			if panics == from.may(to) {
				t.Errorf("from %s to %s: allowed %v, but panics %v", from, to, from.may(to), panics)
			}
			if from.over() && from.may(to) || to == added && from.may(to) {
				t.Errorf("from %s to %s", from, to)
			}
			if !panics && !it.state.over() {
				if err := check(q); err != nil {
					t.Errorf("from %s to %s: %v", from, to, err)
				}
			}
		}
	}
}

func openTest(t testing.TB, dir string) *queue {
	t.Helper()
	q, err := openQueue(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.close() })
	return q
}

// clock is a clock that tests set.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

// TestQueueSurvives: whatever part of the last frame reaches the disk, the queue is as it was before or after that frame, and the content
// of a file does not depend on whether it was compacted.
func TestQueueSurvives(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		h := newHistory(t, seed)
		for i := range 150 {
			before := dump(h.d.q)
			old, end, ahead := h.file(), h.d.q.log.end, len(h.d.q.pending) > 0
			h.step()
			q := h.d.q
			if err := check(q); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, i, err)
			}
			if len(q.pending) > 0 || h.crashed {
				h.crashed = false
				continue
			}
			after, data := dump(q), h.file()
			if got := h.reopen(data); got != after {
				t.Fatalf("seed %d, step %d: read again it is\n%s\nand was\n%s", seed, i, got, after)
			}
			if ahead || int64(len(data)) <= end || !bytes.Equal(data[:end], old[:end]) {
				continue // nothing was written, or it was compacted
			}
			cut := end + h.r.Int64N(int64(len(data))-end)
			torn := slices.Clone(data[:cut])
			if h.r.IntN(3) == 0 { // the length was written, the data not
				torn = append(torn, make([]byte, int64(len(data))-cut)...)
			}
			if got := h.reopen(torn); got != before && got != after {
				t.Fatalf("seed %d, step %d, cut at %d of %d..%d: it is\n%s\nand was\n%s", seed, i, cut, end, len(data), got, before)
			}
		}
	}
}

// TestQueueDamaged: wherever the file is damaged, what it held before that place is kept, but as uncertain if it may have been delivered
// since, and an administrator is told.
func TestQueueDamaged(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 12
	}
	for seed := range seeds {
		h := newHistory(t, seed)
		for range 80 {
			h.step()
		}
		data := h.file()
		r := rand.New(rand.NewPCG(seed, 9))
		at := r.IntN(len(data))
		for i := range 1 + r.IntN(40) {
			if at+i < len(data) {
				data[at+i] ^= byte(1 + r.IntN(255))
			}
		}
		dir := memoryDir(t)
		if err := os.WriteFile(filepath.Join(dir, "queue"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		q := openTest(t, dir)
		if err := check(q); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if len(q.news) == 0 { // the last frame: as a crash leaves it
			continue
		}
		if q.rebuild == 0 || !strings.Contains(q.news[0], "damaged at byte") {
			t.Errorf("seed %d: rebuild %d, news %v", seed, q.rebuild, q.news)
		}
		for _, x := range q.dests {
			for _, it := range x.all {
				if it.state != collecting && (it.state != uncertain || it.started == 0) {
					t.Errorf("seed %d: %s is %s since %d", seed, it.key, it.state, it.started)
				}
			}
		}
		if l, _ := filepath.Glob(q.log.path + ".damaged-*"); len(l) != 1 {
			t.Errorf("seed %d: set aside: %v", seed, l)
		}
		if again := openTest(t, dir); dump(again) != dump(q) || len(again.news) > 0 {
			t.Errorf("seed %d: read again it is\n%s\nand was\n%s", seed, dump(again), dump(q))
		}
	}
}

func FuzzQueue(f *testing.F) {
	h := newHistory(f, 1)
	for range 60 {
		h.step()
	}
	f.Add(h.file())
	f.Add([]byte(logHead))
	f.Add([]byte("bailiff queue 1\n and more"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := memoryDir(t)
		if err := os.WriteFile(filepath.Join(dir, "queue"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		at := clock{time.Unix(1_800_000_000, 0)}
		q, err := openQueue(dir, at.now)
		if err != nil {
			return // whole frames without meaning, which no disk fault makes
		}
		defer func() { q.close() }()
		if err := errors.Join(q.commit(), check(q)); err != nil {
			t.Fatal(err)
		}
		was := dump(q)
		if err := q.compact(); err != nil {
			t.Fatal(err)
		}
		if is := dump(q); is != was {
			t.Fatalf("compacted it is\n%s\nand was\n%s", is, was)
		}
		q.close()
		if q, err = openQueue(dir, at.now); err != nil || dump(q) != was {
			t.Fatalf("read again it is %v\n%s\nand was\n%s", err, dump(q), was)
		}
	})
}

// add puts a report with a text of some length into a queue.
func add(t testing.TB, q *queue, key string, size int, dests ...string) {
	t.Helper()
	a := netip.MustParseAddr("198.51.100.7")
	now := q.now().UnixMicro()
	body, err := json.Marshal(report.Report{ID: key, Address: a, Lines: []report.Line{{Message: make([]byte, size)}}})
	if err != nil {
		t.Fatal(err)
	}
	q.write(kindReport, facts{Key: key, ID: key, Address: a, Jail: "sshd", Time: now, Since: now}, body)
	for _, name := range dests {
		q.write(kindDelivery, recDelivery{Dest: name, Key: itemKey(key, name), State: waiting, Reports: []string{key}, Since: now, Time: now}, nil)
	}
}

// TestQueueFull: on a full disk nothing more is accepted, deliveries continue, and nothing is lost.
func TestQueueFull(t *testing.T) {
	dir := t.TempDir()
	mountSmall(t, dir, 3<<20)
	q := openTest(t, dir)
	var full *fullError
	n := 0
	for ; ; n++ {
		if err := q.log.room(150 << 10); err != nil {
			if !errors.As(err, &full) || n < 5 {
				t.Fatalf("after %d: %v", n, err)
			}
			break
		}
		add(t, q, fmt.Sprint(n), 100<<10, "one", "two")
		if err := q.commit(); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range q.sorted() {
		for _, it := range x.sorted() {
			for _, s := range []state{delivering, done} {
				q.write(kindDelivery, recDelivery{Dest: x.name, Key: it.key, State: s}, nil)
				if err := q.commit(); err != nil {
					t.Fatalf("what is there cannot be delivered: %v", err)
				}
			}
		}
	}
	if len(q.reports) > 0 {
		t.Errorf("%d reports are left", len(q.reports))
	}
	if was := dump(q); dump(openTest(t, dir)) != was {
		t.Errorf("read again it is not\n%s", was)
	}
}

// TestQueueSqueezed: a queue without room continues if most of its file is obsolete, although nothing more can be appended.
func TestQueueSqueezed(t *testing.T) {
	dir := t.TempDir()
	q := openTest(t, dir)
	for i := range 50 {
		add(t, q, fmt.Sprint(i), 10<<10, "one")
	}
	if err := q.compact(); err != nil { // so it is not yet wasteful
		t.Fatal(err)
	}
	for i := range 49 {
		for _, s := range []state{delivering, done} {
			q.write(kindDelivery, recDelivery{Dest: "one", Key: itemKey(fmt.Sprint(i), "one"), State: s}, nil)
		}
	}
	add(t, q, "pending", 1<<10, "one") // is in no file yet
	q.log.limit = q.log.end
	if err := q.commit(); err != nil {
		t.Fatal(err)
	}
	if q.log.end > 100<<10 || len(q.pending) > 0 {
		t.Errorf("%d bytes, %d pending", q.log.end, len(q.pending))
	}
	if err := check(q); err != nil {
		t.Error(err)
	}
	if was := dump(q); dump(openTest(t, dir)) != was || !strings.Contains(was, "pending.one") {
		t.Errorf("read again it is not\n%s", was)
	}
	q.log.limit = q.log.end
	add(t, q, "more", 10<<10, "one")
	var full *fullError
	if err := q.commit(); !errors.As(err, &full) {
		t.Errorf("what is needed does not fit, but %v", err)
	}
}

func TestQuota(t *testing.T) {
	q := newQueue("", time.Now)
	x := q.destination("one")
	now := time.Unix(1_700_000_000, 0)
	x.sent[now.UnixMicro()/slot.Microseconds()] = 3
	x.sent[now.Add(-23*time.Hour).UnixMicro()/slot.Microseconds()] = 4
	x.sent[now.Add(-25*time.Hour).UnixMicro()/slot.Microseconds()] = 5
	if n := x.sentLately(now); n != 7 {
		t.Errorf("sent %d in a day, want 7", n)
	}
	// The clock is set back by a year: it counts, for a day.
	past := now.AddDate(-1, 0, 0)
	none := func(*destination) time.Duration { return 0 }
	q.prune(past, none)
	if n := q.destination("one").sentLately(past); n != 12 {
		t.Errorf("sent %d, want 12", n)
	}
	q.prune(past.Add(25*time.Hour), none)
	if n := q.destination("one").sentLately(past.Add(25 * time.Hour)); n != 0 {
		t.Errorf("sent %d, want 0", n)
	}
}

// TestDamagedFiles: of damaged files the last few are kept.
func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	at := clock{time.Unix(1_800_000_000, 0)}
	for range maxAside + 3 {
		at.t = at.t.Add(time.Hour)
		if err := os.WriteFile(filepath.Join(dir, "queue"), []byte("bailiff queue 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		q, err := openQueue(dir, at.now)
		if err != nil || len(q.news) != 1 {
			t.Fatal(err)
		}
		q.close()
	}
	l, err := filepath.Glob(filepath.Join(dir, "queue.damaged-*"))
	if err != nil || len(l) != maxAside || !strings.Contains(l[maxAside-1], at.t.UTC().Format("20060102T15")) {
		t.Errorf("%v, %v", l, err)
	}
}
