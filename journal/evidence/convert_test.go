package evidence

import (
	"fmt"
	"strings"
	"testing"

	"bailiff/journal"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
)

func cursor(seq uint64) journal.Cursor {
	return journal.Cursor{SeqnumID: journal.ID128{1}, Seqnum: seq, BootID: journal.ID128{byte(seq % 3)}, Monotonic: seq * 2, Realtime: seq * 3, XorHash: seq * 5, Set: journal.HasAll}
}

type located map[uint64]bool

func (l located) Locate(id journal.ID128, seq uint64) (journal.Cursor, bool) {
	return cursor(seq), l[seq]
}

func TestCursorCache(t *testing.T) {
	var refs RefTable
	var cache CursorCache
	id := journal.ID128{1}
	const n = defaultSize + 1000
	var all []jail.Ref
	for seq := uint64(1); seq <= n; seq++ {
		r := refs.Ref(id, 7*seq)
		c := cursor(7 * seq)
		cache.Add(r, &c)
		all = append(all, r)
	}
	for i, r := range all {
		seq := 7 * uint64(i+1)
		e, ok := cache.Evidence(r, refs.Sources())
		if !ok || e.ID != id || e.Seq != seq {
			t.Fatalf("%d: %+v %v", i, e, ok)
		}
		want := cursor(seq).String()
		switch {
		case i >= 1000:
			if e.Cursor != want {
				t.Fatalf("%d: %q, want %q", i, e.Cursor, want)
			}
		case e.Cursor != "":
			t.Fatalf("%d is still there", i)
		default: // forgotten: looked up, and where it is gone named as far as is known
			if got := e.Text(located{seq: true}); got != want {
				t.Fatalf("%q, want %q", got, want)
			}
			if got, want := e.Text(located{}), fmt.Sprintf("s=%s;i=%x", id, seq); got != want {
				t.Fatalf("%q, want %q", got, want)
			}
			if _, err := journal.ParseCursor(e.Text(nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, ok := cache.Evidence(jail.Ref(5)<<seqBits, refs.Sources()); ok {
		t.Error("a source that was never seen")
	}
}

func TestRefTable(t *testing.T) {
	var refs RefTable
	seen := map[jail.Ref]bool{}
	for i := range 3 * maxSources {
		id := journal.ID128{byte(i), byte(i >> 8), 1}
		r := refs.Ref(id, 42)
		if again := refs.Ref(id, 42); again != r {
			t.Fatalf("source %d: %x, then %x", i, r, again)
		}
		if i < maxSources && seen[r] {
			t.Fatalf("source %d shares its number", i)
		}
		seen[r] = true
	}
	if len(refs.Sources()) != maxSources {
		t.Errorf("%d sources", len(refs.Sources()))
	}
}

func TestNumber(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "1000": 1000, "4294967295": 4294967295, "4294967296": -1, "": -1, "-1": -1, "12a": -1, "00000000001": -1} {
		got, ok := Number([]byte(in))
		if ok != (want >= 0) || ok && int64(got) != want {
			t.Errorf("%q: %d, %v", in, got, ok)
		}
	}
}

func TestMatches(t *testing.T) {
	f, err := filter.LoadBuiltin("sshd")
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Mode("")
	if err != nil {
		t.Fatal(err)
	}
	ms := Matches([]*filter.Matcher{m, m}, journal.Group{{Field: "MESSAGE_ID", Value: "x"}})
	has := map[journal.Match]int{}
	for _, g := range ms {
		for _, x := range g {
			has[x]++
		}
	}
	for _, want := range []journal.Match{{Field: "_SYSTEMD_UNIT", Value: "ssh.service"}, {Field: "_SYSTEMD_UNIT", Value: "sshd.service"}, {Field: "SYSLOG_IDENTIFIER", Value: "sshd-session"}, {Field: "MESSAGE_ID", Value: "x"}} {
		if has[want] != 1 {
			t.Errorf("%v stands %d times in %v", want, has[want], ms)
		}
	}
}

// TestConvertTransport: a line of standard output is none of the messages that a filter may ask for.
func TestConvertTransport(t *testing.T) {
	for transport, want := range map[string]bool{"syslog": true, "journal": true, "stdout": false, "kernel": false, "": false} {
		text := "__REALTIME_TIMESTAMP=1\n_SYSTEMD_UNIT=nginx.service\n_UID=33\nMESSAGE=m\n"
		if transport != "" {
			text += "_TRANSPORT=" + transport + "\n"
		}
		x := journal.NewExport(strings.NewReader(text+"\n"), journal.Options{Fields: Fields})
		if !x.Next() {
			t.Fatal(x.Err())
		}
		var e filter.Entry
		if Convert(x.Entry(), &e); e.WholeMessage != want || string(e.Unit) != "nginx.service" || e.UID != 33 {
			t.Errorf("%q: %+v", transport, e)
		}
	}
}
