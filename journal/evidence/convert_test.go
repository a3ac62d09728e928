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

func TestEvidence(t *testing.T) {
	var refs RefTable
	id := journal.ID128{1}
	refs.Ref(journal.ID128{2}, 3)
	e, ok := Of(refs.Ref(id, 7), refs.Sources())
	if !ok || e != (Evidence{id, 7}) {
		t.Fatalf("%+v, %v", e, ok)
	}
	if got, want := e.Text(located{7: true}), cursor(7).String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// An entry that is gone is named by what is known of it.
	if got, want := e.Text(located{}), fmt.Sprintf("s=%s;i=7", id); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if _, err := journal.ParseCursor(e.Text(nil)); err != nil {
		t.Error(err)
	}
	if _, ok := Of(jail.Ref(5)<<seqBits, refs.Sources()); ok {
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
