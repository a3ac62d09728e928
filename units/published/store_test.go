package published

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/policy/allow"

	"golang.org/x/sys/unix"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

type bench struct {
	*testing.T
	Store
	*Watch
	lists []allow.Published
}

func newBench(t *testing.T, names ...string) *bench {
	b := &bench{T: t, Store: Store{t.TempDir()}}
	b.Watch = NewWatch(b.Store)
	for _, n := range names {
		p := allow.NewPublished(n)
		p.URLs = []string{"https://example.org/" + n}
		b.lists = append(b.lists, p)
	}
	return b
}

// look updates the watch and compares its notes, and the entries in use.
func (b *bench) look(changed bool, believed string, notes ...string) {
	b.Helper()
	ns, c := b.Update(b.lists)
	var got []string
	for _, n := range ns {
		got = append(got, fmt.Sprintf("%v %s", n.Refused, strings.ReplaceAll(n.Text, b.Dir, "DIR")))
	}
	if c != changed || strings.Join(got, "\n") != strings.Join(notes, "\n") {
		b.Errorf("changed %v, notes %q\nwant %v, %q", c, got, changed, notes)
	}
	var l []string
	for _, p := range b.lists {
		for _, e := range b.Watch.lists[p.Name].entries {
			l = append(l, e.Prefix.String())
		}
	}
	if s := strings.Join(l, " "); s != believed || len(b.Entries()) != len(l) {
		b.Errorf("believed is %q, want %q", s, believed)
	}
}

func (b *bench) put(name string, st State, prefixes ...string) {
	b.Helper()
	var entries []allow.Entry
	for _, p := range prefixes {
		entries = append(entries, allow.Entry{Prefix: netip.MustParsePrefix(p)})
	}
	p := b.lists[0]
	p.Name = name
	if err := b.Write(&p, entries, st); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) raw(file, text string) {
	b.Helper()
	name := filepath.Join(b.Dir, file)
	if err := os.WriteFile(name+".new", []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		b.Fatal(err)
	}
}

func TestWatch(t *testing.T) {
	b := newBench(t, "a", "b")
	b.look(false, "")
	b.put("a", State{Checked: now, Good: now}, "192.0.2.1/32", "192.0.2.2/32")
	b.put("c", State{}, "203.0.113.1/32") // in no configuration
	b.look(true, "192.0.2.1/32 192.0.2.2/32", "false allow list a: 2 entries")
	b.look(false, "192.0.2.1/32 192.0.2.2/32")

	// A file that is no list is rejected and reported once; then the next good one is used.
	for _, bad := range []struct{ text, want string }{
		{"192.0.2.3\nnonsense\n", "DIR/a.list:2:1: \"nonsense\" is neither an address nor a prefix"},
		{"", "DIR/a.list: is empty"},
		{"10.0.0.0/9\n", "DIR/a.list: has 10.0.0.0/9 in line 1, which is wider than /16"},
		{"fd00::/8\n", "DIR/a.list: has fd00::/8 in line 1, which is wider than /32"},
	} {
		b.raw("a.list", bad.text)
		ns, changed := b.Update(b.lists)
		if len(ns) != 1 || !ns[0].Refused || changed || !strings.Contains(strings.ReplaceAll(ns[0].Text, b.Dir, "DIR"), "not used: "+bad.want) {
			t.Errorf("%q: %+v", bad.text, ns)
		}
		b.look(false, "192.0.2.1/32 192.0.2.2/32")
	}
	b.put("a", State{Checked: now, Good: now}, "192.0.2.9/32", "192.0.0.0/16")
	b.look(true, "192.0.2.9/32 192.0.0.0/16", "false allow list a: 2 entries")

	// Tighter limits in the configuration also apply to lists that are already there.
	b.lists[0].MinPrefix4 = 24
	b.look(false, "192.0.2.9/32 192.0.0.0/16", "true allow list a: not used: DIR/a.list: has 192.0.0.0/16 in line 7, which is wider than /24; keeping the previous list (2 entries)")

	// A list that the configuration no longer names, or whose file is removed, allows nothing.
	b.put("b", State{}, "198.51.100.1/32")
	b.lists = b.lists[1:]
	b.look(true, "198.51.100.1/32", "false allow list b: 1 entry")
	if err := os.Remove(b.File("b")); err != nil {
		t.Fatal(err)
	}
	b.look(true, "", "false allow list b: DIR/b.list is gone")
	b.look(false, "")
}

// TestUnreadable: a list that could not be read is read when it can be, although chmod changes neither its time nor its size.
func TestUnreadable(t *testing.T) {
	b := newBench(t, "a")
	if err := os.Chmod(filepath.Dir(b.Dir), 0o755); err != nil {
		t.Fatal(err)
	}
	b.put("a", State{Checked: now, Good: now}, "192.0.2.1/32")
	b.look(true, "192.0.2.1/32", "false allow list a: 1 entry")
	b.put("a", State{Checked: now, Good: now}, "192.0.2.1/32", "192.0.2.2/32")
	if err := os.Chmod(b.File("a"), 0); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		b.look(false, "192.0.2.1/32", "true allow list a: not used: open DIR/a.list: permission denied; keeping the previous list (1 entry)")
		b.look(false, "192.0.2.1/32") // reported once
	})
	if err := os.Chmod(b.File("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.look(true, "192.0.2.1/32 192.0.2.2/32", "false allow list a: 2 entries")
	b.look(false, "192.0.2.1/32 192.0.2.2/32")

	if err := os.Chmod(b.File("a"), 0); err != nil {
		t.Fatal(err)
	}
	b.lists[0].MinPrefix4 = 24 // reads it again
	asNobody(t, func() {
		b.look(false, "192.0.2.1/32 192.0.2.2/32", "true allow list a: not used: open DIR/a.list: permission denied; keeping the previous list (2 entries)")
	})
	if err := os.Remove(b.File("a")); err != nil {
		t.Fatal(err)
	}
	b.look(true, "", "false allow list a: DIR/a.list is gone")
}

// asNobody calls f with the rights that an ordinary user has to files: root may read all of them.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	runtime.LockOSThread() // the id is that of a thread
	defer runtime.UnlockOSThread()
	if os.Getuid() == 0 {
		if err := unix.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer unix.Setfsuid(0)
	}
	f()
}

// The folder is writable by the user that fetches lists: it may contain anything.
func TestHostileFolder(t *testing.T) {
	b := newBench(t, "a")
	if err := syscall.Mkfifo(b.File("a"), 0o644); err != nil { // a reader would wait for ever
		t.Fatal(err)
	}
	b.look(false, "", "true allow list a: not used: DIR/a.list: not a regular file; there is no previous list")
	os.Remove(b.File("a"))
	if err := os.Mkdir(b.File("a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if ns, changed := b.Update(b.lists); len(ns) != 1 || !ns[0].Refused || changed {
		t.Errorf("%+v", ns)
	}
	os.Remove(b.File("a"))
	f, err := os.Create(b.File("a"))
	if err != nil {
		t.Fatal(err)
	}
	f.Truncate(allow.MaxFileSize + 1)
	f.Close()
	if ns, changed := b.Update(b.lists); len(ns) != 1 || !strings.Contains(ns[0].Text, "more than 33554432 bytes") || changed {
		t.Errorf("%+v", ns)
	}
	os.Remove(b.File("a"))
	b.raw("a.json", `{"checked":"2026-11-22T12:00:00Z","refused":"`+strings.Repeat("x", 2000)+`\n\u001b[2Jend"}`)
	ns, _ := b.Update(b.lists)
	last := ns[len(ns)-1].Text
	if !strings.Contains(last, strings.Repeat("x", maxText)+"…") || strings.ContainsAny(last, "\n\x1b") || len(last) > 2*maxText {
		t.Errorf("%q", last)
	}
	for _, text := range []string{"", "{", "[]", `{"checked":"soon"}`, strings.Repeat(" ", maxState) + "{}"} {
		b.raw("a.json", text)
		b.Update(b.lists)
		if st := b.ReadState("a"); !st.Checked.IsZero() || st.Refused != "" {
			t.Errorf("%.20q: %+v", text, st)
		}
	}
}

func TestProblems(t *testing.T) {
	day := 24 * time.Hour
	for _, tt := range []struct {
		st   State
		list bool
		want string
	}{
		{State{}, false, "never fetched: systemctl enable --now bailiff-allow-refresh.timer"},
		{State{Checked: now, Good: now, Count: 1}, true, ""},
		{State{Checked: now.Add(-4 * day), Good: now.Add(-4 * day)}, true, "not checked since 2026-11-18T12:00:00Z: systemctl enable --now bailiff-allow-refresh.timer"},
		{State{Checked: now, Good: now.Add(-day), Failed: "no network"}, true, ""}, // it may come back
		{State{Checked: now, Good: now.Add(-4 * day), Failed: "no network"}, true, "cannot be fetched: no network; keeping the previous list (1 entry)"},
		{State{Checked: now, Failed: "no network"}, false, "cannot be fetched: no network; there is no previous list"},
		{State{Checked: now, Good: now.Add(-day), Refused: "is empty"}, true, "new version rejected: is empty; keeping the previous list (1 entry)"},
	} {
		b := newBench(t, "a")
		if tt.list {
			b.put("a", tt.st, "192.0.2.1/32")
		} else if err := b.WriteState("a", tt.st); err != nil {
			t.Fatal(err)
		}
		b.Update(b.lists)
		got := b.Problems(b.lists, now)
		if want := "allow list a: " + tt.want; tt.want == "" && len(got) != 0 || tt.want != "" && (len(got) != 1 || got[0] != want) {
			t.Errorf("%+v: %q, want %q", tt.st, got, tt.want)
		}
	}
}

// A list is replaced as a whole or not at all, and no temporary file stays.
func TestReplace(t *testing.T) {
	b := newBench(t, "a")
	b.put("a", State{}, "192.0.2.1/32")
	b.put("a", State{}, "192.0.2.2/32")
	files, err := filepath.Glob(filepath.Join(b.Dir, "*"))
	hidden, _ := filepath.Glob(filepath.Join(b.Dir, ".*"))
	if err != nil || len(files) != 2 || len(hidden) != 0 {
		t.Errorf("%q %q", files, hidden)
	}
	b.Dir = filepath.Join(b.Dir, "none")
	if err := b.WriteState("a", State{}); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
	if _, err := b.Read(&b.lists[0]); !os.IsNotExist(err) {
		t.Errorf("%v is not %v", err, fs.ErrNotExist)
	}
}
