package journal_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/journal"
)

// again opens a source where another reader was.
func again(t *testing.T, src journal.Source, p journal.Position) *journal.Reader {
	t.Helper()
	saved, err := journal.ParsePosition(p.String())
	if err != nil {
		t.Fatal(err)
	}
	r := reader(t, src)
	r.SeekPosition(saved)
	return r
}

// renumber gives the entries of a file sequence numbers that go on behind n, under the id of another file, as journald of
// systemd 254 does when it moves entries from /run to /var.
func renumber(t *testing.T, path, like string, n uint64) {
	t.Helper()
	if err := journal.Renumber(path, like, n); err != nil {
		t.Fatal(err)
	}
}

// Copies of entries already read are not returned again, whatever their numbers, from a file that exists at a restart or comes later.
func TestCopies(t *testing.T) {
	for _, c := range []struct {
		name     string
		renumber bool // under the id of the original, with higher numbers; else under an id of its own
		gone     bool // the original is removed
	}{
		{"beside, own id", false, false},
		{"beside, renumbered", true, false},
		{"moved, own id", false, true},
		{"moved, renumbered", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := host(t)
			volatile, stored := filepath.Join(root, "run/log/journal", machine, "system.journal"), filepath.Join(root, "var/log/journal", machine, "system.journal")
			put(t, volatile, numbered{first: 0, last: 9})
			first := reader(t, journal.Host(root))
			same(t, "original", rest(first), numbers(0, 9))

			aside := filepath.Join(t.TempDir(), "system.journal")
			put(t, aside, numbered{first: 0, last: 12})
			if c.renumber {
				renumber(t, aside, volatile, 10)
			}
			if err := os.MkdirAll(filepath.Dir(stored), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(aside, stored); err != nil {
				t.Fatal(err)
			}
			if c.gone {
				if err := os.RemoveAll(filepath.Dir(volatile)); err != nil {
					t.Fatal(err)
				}
			}
			same(t, "restarted", rest(again(t, journal.Host(root), first.Position())), numbers(10, 12))
			same(t, "going on", next(t, first, 3), numbers(10, 12))
			if !c.gone {
				same(t, "from the head", rest(reader(t, journal.Host(root))), numbers(0, 12))
			}

			// An archive of the time before comes back, and a file that goes on.
			put(t, filepath.Join(filepath.Dir(stored), "system@1.journal"), numbered{first: 3, last: 8})
			put(t, filepath.Join(filepath.Dir(stored), "system@2.journal"), numbered{first: 11, last: 14})
			same(t, "restored", next(t, first, 2), numbers(13, 14))
			same(t, "restored, restarted", rest(again(t, journal.Host(root), first.Position())), nil)
			same(t, "no more", rest(first), nil)
		})
	}
}

// Entries received from another host are not in the order of its clock, since those of several of its journals are mixed.
func TestMixed(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "remote-mail@1.journal")
	put(t, old, numbered{first: 0, last: 9})
	aside := filepath.Join(t.TempDir(), "a.journal")
	put(t, aside, numbered{first: 5, last: 6})
	renumber(t, aside, old, 10)
	r := reader(t, journal.Dir(dir))
	same(t, "old", rest(r), numbers(0, 9))
	p := r.Position()
	if err := os.Rename(aside, filepath.Join(dir, "remote-mail.journal")); err != nil {
		t.Fatal(err)
	}
	same(t, "restarted", rest(again(t, journal.Dir(dir), p)), numbers(5, 6))
	same(t, "going on", next(t, r, 2), numbers(5, 6))
	same(t, "from the head", rest(reader(t, journal.Dir(dir))), append(numbers(0, 9), "5", "6"))
}

// The position is kept for each namespace: no entries of one journald are lost because another's were read further.
func TestPositionNamespaces(t *testing.T) {
	root := host(t)
	dir := filepath.Join(root, "var/log/journal", machine)
	put(t, filepath.Join(dir, "system.journal"), numbered{first: 0, last: 9})
	put(t, filepath.Join(dir+".web", "system.journal"), numbered{first: 20, last: 29})
	put(t, filepath.Join(dir, "system@1.journal"), numbered{first: 40, last: 40})
	r := reader(t, journal.Host(root))
	same(t, "all", rest(r), append(append(numbers(0, 9), numbers(20, 29)...), "40"))
	p := r.Position()
	if text := p.String(); !strings.Contains(text, machine+".web%2Fsystem:s=") || !strings.HasSuffix(text, " "+machine+"%2Fsystem:") {
		t.Error(text)
	}
	put(t, filepath.Join(dir+".web", "system@2.journal"), numbered{first: 25, last: 32})
	put(t, filepath.Join(dir, "system@3.journal"), numbered{first: 38, last: 42})
	want := append(numbers(30, 32), numbers(41, 42)...)
	same(t, "restarted", rest(again(t, journal.Host(root), p)), want)
	same(t, "going on", next(t, r, len(want)), want)

	// A namespace not read before begins where the others are, or at its beginning if it appears later.
	q := r.Position()
	put(t, filepath.Join(dir+".db", "system.journal"), numbered{first: 39, last: 44})
	same(t, "a new one, restarted", rest(again(t, journal.Host(root), q)), numbers(43, 44))
	same(t, "a new one", next(t, r, 6), numbers(39, 44))

	// Reached separates entries that were read from those that were not.
	all := reader(t, journal.Host(root))
	var read []string
	for all.Next() {
		if all.Reached(p) {
			read = append(read, string(all.Entry().Field(0)))
		}
	}
	same(t, "reached", read, append(append(numbers(0, 9), numbers(20, 29)...), "38", "39", "40"))
}

// Entries of the running boot are new to a position from an earlier boot, although the clock was set back in between.
func TestPositionBoot(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	put(t, filepath.Join(dir, "system@1.journal"), numbered{first: 50, last: 59})
	r := reader(t, journal.Dir(dir))
	same(t, "before", rest(r), numbers(50, 59))
	put(t, filepath.Join(dir, "system.journal"), numbered{first: 10, last: 12, boot: strings.ReplaceAll(strings.TrimSpace(string(b)), "-", "")})
	same(t, "restarted", rest(again(t, journal.Dir(dir), r.Position())), numbers(10, 12))
	same(t, "going on", next(t, r, 3), numbers(10, 12))
	same(t, "read", rest(again(t, journal.Dir(dir), r.Position())), nil)
}

func TestParsePosition(t *testing.T) {
	one := "s=0123456789abcdef0123456789abcdef;i=1a"
	for _, s := range []string{one, one + " %2Fsystem: web%2Fsystem:" + one + "b"} {
		if p, err := journal.ParsePosition(s); err != nil || p.String() != s {
			t.Errorf("%s: %s, %v", s, p, err)
		}
	}
	for _, s := range []string{"", "x", one + " system:t", one + " %zz:" + one, one + " a:b=c"} {
		if p, err := journal.ParsePosition(s); err == nil {
			t.Errorf("%q: %s", s, p)
		}
	}
}

// TestCurrentBoot: the unit's variable comes before /proc, and is ignored if it holds no id.
func TestCurrentBoot(t *testing.T) {
	if os.Getenv("JOURNAL_TEST_BOOT") != "" {
		fmt.Println(journal.CurrentBoot())
		os.Exit(0)
	}
	proc, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	real := strings.ReplaceAll(strings.TrimSpace(string(proc)), "-", "")
	for given, want := range map[string]string{
		"": real, "nonsense": real, "0123456789abcdef0123456789abcdef": "0123456789abcdef0123456789abcdef",
	} {
		child := exec.Command(os.Args[0], "-test.run=^TestCurrentBoot$")
		child.Env = append(os.Environ(), "JOURNAL_TEST_BOOT=1", journal.BootVariable+"="+given)
		if out, err := child.Output(); err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%s=%q: boot %q, %v; want %s", journal.BootVariable, given, out, err, want)
		}
	}
}
