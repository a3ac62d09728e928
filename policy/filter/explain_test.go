package filter

import (
	"strings"
	"testing"
)

// TestExplainAgrees: over every test line of every filter, in every mode, the explanation comes to the matcher's answer.
func TestExplainAgrees(t *testing.T) {
	lines := 0
	for _, name := range Builtin() {
		f, err := LoadBuiltin(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, mode := range f.Modes {
			m := f.matchers[mode]
			for i := range f.rules().tests {
				line := f.rules().tests[i].line
				var h Hit
				hit := m.MatchMessage(line, &h)
				x := m.Explain(line)
				var first *Pattern
				for _, try := range x.Tries {
					if try.At < try.From || try.At > len(x.Text) || !try.Matched && try.Wanted == "" {
						t.Errorf("%s: %q: %s: %+v", name, line, try.Pattern.Name, try)
					}
					if try.Matched && try.InMode && !try.Prefilter {
						t.Errorf("%s:%s: %q: %s matches, but the prefilter left it out", name, mode, line, try.Pattern.Name)
					}
					if first == nil && try.Matched && try.InMode {
						first = try.Pattern
					}
				}
				lines++
				if hit != (x.Hit != nil) || hit && (first != h.Pattern || x.Hit.Addr != h.Addr) || !hit && first != nil {
					t.Errorf("%s:%s: %q: matched %v by %v, explained as %v", name, mode, line, hit, h.Pattern, first)
				}
			}
		}
	}
	if lines < 200 {
		t.Errorf("%d lines", lines)
	}
}

// TestExplainStops: the place where a pattern stopped, and what it wanted there.
func TestExplainStops(t *testing.T) {
	for _, c := range []struct{ pattern, line, stopped, wanted string }{
		{"text: 'Failed <word> for <user> from <addr> port <port>'", "Failed password for bob from host port 22", "Failed password for bob from ", "an address"},
		{"text: 'Failed <word> for <user> from <addr> port <port>'", "Failed password for bob from 192.0.2.1 prot 22", "Failed password for bob from 192.0.2.1 p", `" port "`},
		{"text: 'Failed <word> for <user> from <addr> port <port>'", "Failed password for bob by 192.0.2.1 port 22", "Failed password for ", `" from " after this`},
		{"text: 'Failed <word> for <user> from <addr> port <port>'", "Failed password for bob from 192.0.2.1 port 22 ssh2", "Failed password for bob from 192.0.2.1 port 22", "the end of the line"},
		{"text: 'Failed <word> for <user> from <addr> port <port>'", "Failde password", "Fail", `"Failed "`},
		{"text: 'x {a <num>|b <port>} <addr>'", "x b 99999 192.0.2.1", "x b ", "a port"},
		{"text: 'x {a <num>|b <port>} <addr>'", "x c", "x ", `"a " or "b "`},
		{"text: 'x {not |never }<addr>'", "x newer 192.0.2.1", "x ne", `"never "`},
		{"text: '<host>[<addr>]: bad'", "mx.example.org[192.0.2.1]: good", "mx.example.org[192.0.2.1]: ", `"]: bad"`},
		{"regexp: 'login (?P<user>\\w+) from (?P<addr>\\S+) failed'", "login bob from 192.0.2.1 was failed", "login bob from 192.0.2.1", "a match of  failed"},
		{"regexp: 'login (?P<user>\\w+) from (?P<addr>\\S+) failed'", "login bob from host failed", "login bob from ", "an address"},
		{"regexp: 'login (?P<user>\\w+) from (?P<addr>\\S+) failed'", "login bob", "", `" failed" after this`},
	} {
		f, err := read("t.yaml", []byte("name: t\ntrust: {units: [t.service], uid: 0}\npatterns: [{name: p, "+c.pattern+"}]\n"))
		if err != nil {
			t.Fatalf("%s: %v", c.pattern, err)
		}
		x := f.matchers["normal"].Explain([]byte(c.line))
		got := x.Tries[0]
		if x.Hit != nil || got.Matched || string(x.Text[:got.At]) != c.stopped || got.Wanted != c.wanted {
			t.Errorf("%s on %q: stopped behind %q, wanted %s; want %q, %s", c.pattern, c.line, x.Text[:got.At], got.Wanted, c.stopped, c.wanted)
		}
	}
}

func TestExplainWhole(t *testing.T) {
	m := matcher(t, "sshd", "normal")
	x := m.Explain([]byte("error: Failed password for bob from 192.0.2.1 port 22 ssh2"))
	if x.Prefix != "error: " || x.Hit == nil || len(x.Modes) == 0 || x.Modes[0] != "normal" {
		t.Errorf("%+v", x)
	}
	x = m.Explain([]byte("message repeated 5 times: [ Failed password for bob from 192.0.2.1 port 22 ssh2]"))
	if x.Repeat != 5 || x.Hit == nil || string(x.Text) != "Failed password for bob from 192.0.2.1 port 22 ssh2" {
		t.Errorf("%+v", x)
	}
	if x = m.Explain([]byte("message repeated 5 times: [ Failed")); x.Refused == "" || x.Hit != nil {
		t.Errorf("%+v", x)
	}
	// A line that only another mode matches.
	x = m.Explain([]byte("Did not receive identification string from 192.0.2.1 port 22"))
	if x.Hit != nil || len(x.Modes) == 0 {
		t.Errorf("%+v", x)
	}
	x = m.Explain([]byte(strings.Repeat("x", 2*MaxMessage)))
	if !x.Truncated || len(x.Text) != MaxMessage {
		t.Errorf("cut %v, %d bytes", x.Truncated, len(x.Text))
	}
}

func TestWhy(t *testing.T) {
	m := matcher(t, "sshd", "normal")
	for _, c := range []struct {
		e    Entry
		want string
	}{
		{Entry{Unit: []byte("ssh.service")}, "unit ssh.service, _UID=0"},
		{Entry{Unit: []byte("ssh.service"), UID: 1000}, "it came from ssh.service, but by _UID=1000, and the filter trusts there _UID=0"},
		{Entry{Unit: []byte("sshd@1.service"), Slice: []byte("system-sshd.slice")}, "unit sshd@1.service in system-sshd.slice, _UID=0"},
		{Entry{Unit: []byte("session-1.scope")}, `unit "session-1.scope" is not one of the filter's: ssh.service`},
		{Entry{Identifier: []byte("sshd")}, "journald does not know its unit; root wrote it as sshd, which counts"},
		{Entry{Identifier: []byte("sshd"), UID: 1000}, "journald does not know its unit, and it is not root's: _UID=1000"},
		{Entry{Identifier: []byte("\x1b[1m")}, `journald does not know its unit, and root wrote it as "\x1b[1m"`},
	} {
		if got := m.Why(&c.e); !strings.HasPrefix(got, c.want) {
			t.Errorf("%+v: %s, want %s", c.e, got, c.want)
		}
		if trusts := strings.Contains(c.want, "which counts") || strings.HasPrefix(c.want, "unit ss"); m.Trusts(&c.e) != trusts {
			t.Errorf("%+v: %v", c.e, m.Trusts(&c.e))
		}
	}
}

func TestWhyWhole(t *testing.T) {
	f, err := read("t.yaml", []byte("name: t\ntrust: {units: [t.service], uid: 0, require: message}\npatterns: [{name: a, text: 'x <addr>'}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Mode("")
	if err != nil {
		t.Fatal(err)
	}
	e := Entry{Unit: []byte("t.service")}
	if got := m.Why(&e); m.Trusts(&e) || got != "it is a line of standard output, and the filter takes whole messages only" {
		t.Error(got)
	}
	if e.WholeMessage = true; !m.Trusts(&e) || m.Why(&e) != "unit t.service, _UID=0" {
		t.Error(m.Why(&e))
	}
	if got := m.Trust().Text(); got != "units t.service, written by _UID=0; whole messages only, no lines of standard output" {
		t.Error(got)
	}
}
