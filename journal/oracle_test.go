//go:build libsystemd

package journal_test

import (
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/coreos/go-systemd/v22/sdjournal"

	"bailiff/journal"
)

// oracleEntries is how large the largest journal is: 100,000, or BAILIFF_ORACLE_ENTRIES.
func oracleEntries(t testing.TB) int {
	if s := os.Getenv("BAILIFF_ORACLE_ENTRIES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal("BAILIFF_ORACLE_ENTRIES: ", err)
		}
		return n
	}
	return 100_000
}

// selections are journalctl's match arguments, for the captures and for what Gen writes.
var selections = [][]string{
	nil,
	{"_SYSTEMD_UNIT=ssh.service"},
	{"_SYSTEMD_UNIT=ssh.service", "_SYSTEMD_UNIT=cron.service", "_UID=0"},
	{"_SYSTEMD_UNIT=ssh.service", "PRIORITY=4", "PRIORITY=6", "+", "SYSLOG_IDENTIFIER=postfix/smtpd", "_UID=100", "+", "SYSLOG_IDENTIFIER=systemd"},
	{"_SYSTEMD_UNIT=ssh.service", "_UID=33"},
	{"_SYSTEMD_UNIT=never.service", "+", "TWICE=b", "+", "TWICE="},
	{"NO_SUCH_FIELD=1"},
}

// TestOracle reads the same files with libsystemd and with Reader: the same entries, with the same fields and cursors, in the same
// order, forward and backward, with and without matches, and from the same places after a seek.
func TestOracle(t *testing.T) {
	runtime.LockOSThread() // sd_journal belongs to the thread that opened it
	defer runtime.UnlockOSThread()
	for _, set := range append(captures(t), written(t, oracleEntries(t))...) {
		t.Run(set.name, func(t *testing.T) {
			var every []string // all cursors, to seek to in every selection
			for _, sel := range selections {
				o := open(t, set.files, sel)
				if set.byBoot(t) {
					o.boots(t, set.files, sel)
					o.close(t)
					continue
				}
				cursors := o.forward(t)
				if sel == nil {
					every = cursors
					if len(every) == 0 {
						t.Fatal("no entries at all")
					}
				}
				t.Logf("%d entries of %q", len(cursors), sel)
				o.backward(t, cursors)
				o.seeks(t, every)
				o.close(t)
				if t.Failed() {
					t.Fatalf("selection %q", sel)
				}
			}
		})
	}
}

// pair is both readers over the same files with the same matches.
type pair struct {
	sd   *sdjournal.Journal
	ours *journal.Reader
}

func open(t testing.TB, files, sel []string) pair {
	t.Helper()
	sd, err := sdjournal.NewJournalFromFiles(files...)
	if err != nil {
		t.Fatal(err)
	}
	if err := sd.SetDataThreshold(0); err != nil {
		t.Fatal(err)
	}
	for _, s := range sel {
		if s == "+" {
			err = sd.AddDisjunction()
		} else {
			err = sd.AddMatch(s)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	m, err := journal.ParseMatches(sel)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := journal.Open(journal.Files(files...), journal.Options{Matches: m})
	if err != nil {
		t.Fatal(err)
	}
	return pair{sd, ours}
}

func (p pair) close(t testing.TB) {
	t.Helper()
	if errs := p.ours.Problems(); len(errs) > 0 {
		t.Error("problems: ", errs)
	}
	if err := p.ours.Close(); err != nil {
		t.Error(err)
	}
	p.sd.Close()
}

// forward compares all entries with all their fields from the head, and returns the cursors.
func (p pair) forward(t *testing.T) []string {
	t.Helper()
	if err := p.sd.SeekHead(); err != nil {
		t.Fatal(err)
	}
	p.ours.SeekHead()
	var cursors []string
	for {
		n, err := p.sd.Next()
		if err != nil {
			t.Fatal(err)
		}
		ok := p.ours.Next()
		if ok != (n > 0) {
			t.Fatalf("after %d entries libsystemd has %d more, ours %v", len(cursors), n, ok)
		}
		if !ok {
			return cursors
		}
		want, err := p.sd.GetEntry()
		if err != nil {
			t.Fatal(err)
		}
		e := p.ours.Entry()
		if c := e.Cursor.String(); c != want.Cursor {
			t.Fatalf("entry %d: ours is %s, libsystemd's %s", len(cursors), c, want.Cursor)
		}
		equal(t, e, want)
		cursors = append(cursors, want.Cursor)
	}
}

// equal compares an entry's times and fields.
func equal(t *testing.T, e *journal.Entry, want *sdjournal.JournalEntry) {
	t.Helper()
	if e.Realtime != want.RealtimeTimestamp || e.Monotonic != want.MonotonicTimestamp {
		t.Fatalf("%s: times %d %d, want %d %d", want.Cursor, e.Realtime, e.Monotonic, want.RealtimeTimestamp, want.MonotonicTimestamp)
	}
	seen := map[string]bool{}
	e.Each(func(name string, value []byte) bool {
		seen[name] = true
		if w, ok := want.Fields[name]; !ok || w != string(value) && name != "TWICE" {
			t.Errorf("%s: %s=%.200q, want %.200q (%v)", want.Cursor, name, value, w, ok)
		}
		return true
	})
	if len(seen) != len(want.Fields) || t.Failed() {
		t.Fatalf("%s: %d fields, want %d", want.Cursor, len(seen), len(want.Fields))
	}
}

// boots compares all entries in both directions, and the order within each boot (see fileSet.byBoot). Where a seek between boots
// leads to is left to libsystemd before 254, and to the sets whose boots do not mix.
func (p pair) boots(t *testing.T, files, sel []string) {
	t.Helper()
	m, err := journal.ParseMatches(sel)
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range []struct {
		name     string
		seek     func() error
		step     func() (uint64, error)
		oursSeek func(*journal.Reader)
		oursStep func(*journal.Reader) bool
	}{
		{"forward", p.sd.SeekHead, p.sd.Next, (*journal.Reader).SeekHead, (*journal.Reader).Next},
		{"backward", p.sd.SeekTail, p.sd.Previous, (*journal.Reader).SeekTail, (*journal.Reader).Previous},
	} {
		if err := way.seek(); err != nil {
			t.Fatal(err)
		}
		total := 0
		for way.oursSeek(p.ours); way.oursStep(p.ours); {
			total++
		}
		readers := map[journal.ID128]*journal.Reader{}
		n := 0
		for ; ; n++ {
			more, err := way.step()
			if err != nil {
				t.Fatal(err)
			}
			if more == 0 {
				break
			}
			want, err := p.sd.GetEntry()
			if err != nil {
				t.Fatal(err)
			}
			c, err := journal.ParseCursor(want.Cursor)
			if err != nil {
				t.Fatal(err)
			}
			r := nextOf(t, readers, files, m, c.BootID, way.oursSeek, way.oursStep)
			if got := r.Entry().Cursor.String(); got != want.Cursor {
				t.Fatalf("%q %s, entry %d: ours is %s, libsystemd's %s", sel, way.name, n, got, want.Cursor)
			}
			equal(t, r.Entry(), want)
		}
		if n != total {
			t.Fatalf("%q %s: libsystemd has %d entries, ours %d", sel, way.name, n, total)
		}
		if sel == nil && n == 0 {
			t.Fatal("no entries at all")
		}
	}
}

// backward compares the order from the tail.
func (p pair) backward(t *testing.T, cursors []string) {
	t.Helper()
	if err := p.sd.SeekTail(); err != nil {
		t.Fatal(err)
	}
	p.ours.SeekTail()
	for i := 0; ; i++ {
		n, err := p.sd.Previous()
		if err != nil {
			t.Fatal(err)
		}
		ok := p.ours.Previous()
		if ok != (n > 0) {
			t.Fatalf("backward, after %d of %d entries libsystemd has %d more, ours %v", i, len(cursors), n, ok)
		}
		if !ok {
			return
		}
		want, err := p.sd.GetCursor()
		if err != nil {
			t.Fatal(err)
		}
		if c := p.ours.Entry().Cursor.String(); c != want {
			t.Fatalf("backward, entry %d: ours is %s, libsystemd's %s", i, c, want)
		}
	}
}

// seeks goes to some of the cursors and to their times, and compares what comes next and what comes before.
func (p pair) seeks(t *testing.T, cursors []string) {
	t.Helper()
	for i := 0; i < len(cursors); i += 1 + len(cursors)/97 {
		text := cursors[i]
		c, err := journal.ParseCursor(text)
		if err != nil {
			t.Fatal(err)
		}
		if c.String() != text {
			t.Fatalf("cursor %s becomes %s", text, c)
		}
		if err := p.sd.SeekCursor(text); err != nil {
			t.Fatal(err)
		}
		if err := p.ours.SeekCursor(c); err != nil {
			t.Fatal(err)
		}
		n, err := p.sd.Next()
		if err == nil && n > 0 && p.sd.TestCursor(text) == nil { // libsystemd goes to the entry itself, a follower behind it
			n, err = p.sd.Next()
		}
		p.same(t, n, err, p.ours.Next(), "after cursor "+text)

		for _, d := range []int64{0, -1, 1} {
			us := uint64(int64(c.Realtime) + d)
			what := strconv.FormatInt(d, 10) + " µs from the time of " + text
			if err := p.sd.SeekRealtimeUsec(us); err != nil {
				t.Fatal(err)
			}
			p.ours.SeekRealtime(us)
			n, err := p.sd.Next()
			p.same(t, n, err, p.ours.Next(), "next, "+what)
			n, err = p.sd.Next()
			p.same(t, n, err, p.ours.Next(), "next but one, "+what)
			if err := p.sd.SeekRealtimeUsec(us); err != nil {
				t.Fatal(err)
			}
			p.ours.SeekRealtime(us)
			n, err = p.sd.Previous()
			p.same(t, n, err, p.ours.Previous(), "previous, "+what)
		}
	}
}

func (p pair) same(t *testing.T, n uint64, err error, ok bool, what string) {
	t.Helper()
	if err != nil {
		t.Fatal(what, err)
	}
	want, got := "none", "none"
	if n > 0 {
		if want, err = p.sd.GetCursor(); err != nil {
			t.Fatal(what, err)
		}
	}
	if ok {
		got = p.ours.Entry().Cursor.String()
	}
	if got != want {
		t.Fatalf("%s: ours is %s, libsystemd's %s", what, got, want)
	}
}
