package filter

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func matcher(t testing.TB, filter, mode string) *Matcher {
	t.Helper()
	f, err := LoadBuiltin(filter)
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Mode(mode)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// one makes a filter of templates, without the forgery test.
func one(t testing.TB, templates ...string) *Matcher {
	t.Helper()
	var b strings.Builder
	b.WriteString("name: t\ntrust: {units: [t.service], uid: 0}\npatterns:\n")
	for i, s := range templates {
		fmt.Fprintf(&b, "  - {name: p%d, text: %q}\n", i, s)
	}
	f, err := read("t.yaml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Mode("")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTemplates(t *testing.T) {
	for _, c := range []struct {
		template, line string
		want           string // address user port id repeat; "" for no match
	}{
		{"from <addr>", "from 192.0.2.1", "192.0.2.1 - 0 - 1"},
		{"from <addr>", "from 192.0.2.1 \t\r\n", "192.0.2.1 - 0 - 1"},
		{"from <addr>", "from 192.0.2.1 x", ""},
		{"from <addr>", "x from 192.0.2.1", ""},
		{"<user> from <addr>", "a from b from 192.0.2.1", "192.0.2.1 a from b 0 - 1"},
		{"<user> from <addr>", " from 192.0.2.1", "192.0.2.1  0 - 1"},
		{"<user> from <addr>", "a from 192.0.2.9 from 192.0.2.1", "192.0.2.1 a from 192.0.2.9 0 - 1"},
		{"<user> <addr>{ port <port>}?", "a 192.0.2.9 port 5 192.0.2.1 port 6", "192.0.2.1 a 192.0.2.9 port 5 6 - 1"},
		{"<user> <addr>{ port <port>}?", "a 192.0.2.1", "192.0.2.1 a 0 - 1"},
		{"<user> <addr>{ port <port>| [x]}", "a 192.0.2.1 port 7 [x]", ""},
		{"{a|ab}{c|} <addr>", "abc 192.0.2.1", "192.0.2.1 - 0 - 1"},
		{"{a{b{c}?}?}?<addr>", "ab192.0.2.1", "192.0.2.1 - 0 - 1"},
		{"{a{b{c}?}?}?<addr>", "ac192.0.2.1", ""},
		{"{a{b{c}?}?}?:<addr>", "ab:192.0.2.1", "192.0.2.1 - 0 - 1"},
		{`\<<user>\>, rip=<addr>`, "<a>, rip=192.0.2.9>, rip=192.0.2.1", "192.0.2.1 a>, rip=192.0.2.9 0 - 1"},
		{`\{\|\}\\\? <addr>`, `{|}\? 192.0.2.1`, "192.0.2.1 - 0 - 1"},
		{"<id>: <addr> <user:word>, x", "4bX-1_: 192.0.2.1 bob,, x", "192.0.2.1 bob, 0 4bX-1_ 1"},
		{"<word>=<word>=<addr>", "a=b=c=192.0.2.1", "192.0.2.1 - 0 - 1"},
		{"<count> times <addr>", "7 times 192.0.2.1", "192.0.2.1 - 0 - 7"},
		{"<count> times <addr>", "99999999999999999999 times 192.0.2.1", "192.0.2.1 - 0 - 100"},
		{"<count> times <addr>", "999999999999999999999 times 192.0.2.1", ""},
		{"<host>[<addr>]:<port> <ip>", "mx.example.org[2001:db8::1]:25 192.0.2.9", "2001:db8::1 - 25 - 1"},
		{"<addr>:<port>", "192.0.2.1:65535", "192.0.2.1 - 65535 - 1"},
		{"<addr>:<port>", "192.0.2.1:65536", ""},
		{`"<login>": mismatch, client: <addr>, <text>`, `"a", "b": mismatch, client: 192.0.2.1, "x": mismatch, client: 192.0.2.9, y`, `192.0.2.1 a", "b 0 - 1`},
		{`"<user:quoted>", client: <addr>, <text>`, `"a b", client: 192.0.2.1, "x", client: 192.0.2.9, y`, "192.0.2.1 a b 0 - 1"},
		{`"<user:quoted>", client: <addr>`, `"a", client: 192.0.2.9", client: 192.0.2.1`, ""},
		{`"<user:string>" 401 <addr>`, `"a\" 401 192.0.2.9 \"b\\" 401 192.0.2.1`, `192.0.2.1 a\" 401 192.0.2.9 \"b\\ 0 - 1`},
		{`"<user:string>" <addr>`, `"a\" 192.0.2.1`, ""},
		{`"<user:string>" <addr>`, `"a\`, ""},
		{"{<addr4>:<port>|<addr>} x", "192.0.2.1:25 x", "192.0.2.1 - 25 - 1"},
		{"{<addr4>:<port>|<addr>} x", "::ffff:192.0.2.1 x", "192.0.2.1 - 0 - 1"},
		{"{<addr4>:<port>|<addr>} x", "2001:db8::1:25 x", "2001:db8::1:25 - 0 - 1"},
		{"<addr4> x", "2001:db8::1 x", ""},
		{"<trusted> for <user> from <addr>", "x for y for z from 192.0.2.1", "192.0.2.1 z 0 - 1"},
		{"a <text>b<text>c <addr>", "a bbccb c 192.0.2.1", "192.0.2.1 - 0 - 1"},
		{"x {<addr> port <port> y|<ip> <user>}", "x 192.0.2.1 port 5 z", "invalid IP port 5 z 0 - 1"},
		{"x {<addr>|<user>}", "x 192.0.2.1.example.org", "invalid IP 192.0.2.1.example.org 0 - 1"},
		{"<peer> x", "192.0.2.1:25 x", "192.0.2.1 - 25 - 1"},
		{"<peer> x", "[2001:db8::1]:25 x", "2001:db8::1 - 25 - 1"},
		{"<peer> x", "2001:db8::1:25 x", "2001:db8::1 - 25 - 1"},
		{"<peer> x", "2001:db8::1:2500 x", "2001:db8::1 - 2500 - 1"},
		{"<peer> x", "::ffff:192.0.2.1:40000 x", "192.0.2.1 - 40000 - 1"},
		{"<peer> x", "::1:40000 x", "::1 - 40000 - 1"},
		{"<peer>{: | [}x", "[2001:db8::1]:25: x", "2001:db8::1 - 25 - 1"},
		{"<peer>: x", "192.0.2.1:25: x", "192.0.2.1 - 25 - 1"},
		{"<peer>: x", "2001:db8::1:25: x", "2001:db8::1 - 25 - 1"},
		{"<peer> x", "192.0.2.1:65536 x", ""},
		{"<peer> x", "192.0.2.1: x", ""},
		{"<peer> x", "192.0.2.1 x", ""},
		{"<peer> x", "[192.0.2.1 x", ""},
		{"<peer> x", "2001:db8:0:0:0:0:0:1 x", ""}, // seven groups and a port
		{`user "<user:string>" from <addr>`, `user "a\" from 192.0.2.9" from 192.0.2.1`, `192.0.2.1 a\" from 192.0.2.9 0 - 1`},
		{`user "<user:string>" from <addr>`, `user "a\\" from 192.0.2.9" from 192.0.2.1`, ""},
		{`user "<user:string>" from <addr>`, `user "" from 192.0.2.1`, "192.0.2.1  0 - 1"},
		{`user "<user:string>" from <addr>`, `user "a\`, ""},
		{`user "<user:string>" from <addr>{ "<string>"}?`, `user "a" from 192.0.2.1 "from 192.0.2.9"`, "192.0.2.1 a 0 - 1"},
		{`\{<json>"ip":"<addr>"<json>\}`, `{"a":"\"ip\":\"192.0.2.9\"","b":{"ip":"192.0.2.8"},"ip":"192.0.2.1","c":[1,{"ip":"192.0.2.7"}]}`, "192.0.2.1 - 0 - 1"},
		{`<addr> <string>"`, "192.0.2.1 ", ""},
		{`<addr> <logfmt>`, "192.0.2.1 ", "192.0.2.1 - 0 - 1"},
		{`<addr>  <logfmt>x`, "192.0.2.1  ", ""},
		{`\{<json>"ip":"<addr>"<json>\}`, `{"ip":"192.0.2.1"}`, "192.0.2.1 - 0 - 1"},
		{`\{<json>"ip":"<addr>"<json>\}`, `{"b":{"ip":"192.0.2.8"}}`, ""},
		{`\{<json>"ip":"<addr>"<json>\}`, `{"ip":"192.0.2.1","a":"}`, ""},
		{`\{<json>"r":\{<json>"ip":"<addr>"<json>\}<json>\}`, `{"a":1,"r":{"h":{"ip":["192.0.2.8"]},"ip":"192.0.2.1"},"z":"x"}`, "192.0.2.1 - 0 - 1"},
		{`level=warn<logfmt> user=<user:word><logfmt> ip=<addr><logfmt>`, `level=warn msg="x ip=192.0.2.9" user=bob y="\" ip=192.0.2.9" ip=192.0.2.1 z="ip=192.0.2.8"`, "192.0.2.1 bob 0 - 1"},
		{`level=warn<logfmt> ip=<addr><logfmt>`, `level=warn ip=192.0.2.1 z="ip=192.0.2.8`, ""},
		{`user "<user>" is wrong, client: <once:addr>, request: "<text>"`, `user "a" is wrong, client: 192.0.2.1, request: "x"`, "192.0.2.1 a 0 - 1"},
		{`user "<user>" is wrong, client: <once:addr>, request: "<text>"`, `user "a" is wrong, client: 192.0.2.9, request: "" is wrong, client: 192.0.2.1, request: "x"`, ""},
		{`user "<user>" is wrong, client: <once:addr>, request: "<text>"`, `user "a" is wrong, client: 192.0.2.1, request: "" is wrong, client: 192.0.2.9, request: "x"`, ""},
		{"from <addr>", "message repeated 5 times: [ from 192.0.2.1]", "192.0.2.1 - 0 - 5"},
		{"from <addr>", "message repeated 5 times: [from 192.0.2.1]\n", "192.0.2.1 - 0 - 5"},
		{"from <addr>", "message repeated 5 times: [ from 192.0.2.1", ""},
		{"from <addr>", "message repeated x times: [ from 192.0.2.1]", ""},
		{"from <addr>", "message repeated 0 times: [ from 192.0.2.1]", "192.0.2.1 - 0 - 1"},
		{"from <addr>", "message repeated 2 times: [ message repeated 2 times: [ from 192.0.2.1]]", ""},
		{"from <addr>", "", ""},
	} {
		m := one(t, c.template)
		var h Hit
		got := ""
		if m.MatchMessage([]byte(c.line), &h) {
			dash := func(b []byte) string {
				if b == nil {
					return "-"
				}
				return string(b)
			}
			got = fmt.Sprint(h.Addr, " ", dash(h.User), " ", h.Port, " ", dash(h.ID), " ", h.Repeat)
		}
		if got != c.want {
			t.Errorf("%s on %q: %q, wanted %q", c.template, c.line, got, c.want)
		}
	}
}

// TestOrder: the first pattern of the file wins, whatever their beginnings have in common.
func TestOrder(t *testing.T) {
	m := one(t, "a <word> <addr>", "a b <addr>", "{a|b} <user> <addr>", "<text><addr>")
	for line, want := range map[string]string{"a b 192.0.2.1": "p0", "a b c 192.0.2.1": "p2", "c 192.0.2.1": "p3", "b c 192.0.2.1": "p2", "192.0.2.1": "p3"} {
		var h Hit
		if !m.MatchMessage([]byte(line), &h) || h.Pattern.Name != want {
			t.Errorf("%q: %v, wanted %s", line, h.Pattern, want)
		}
	}
}

// TestHeads: patterns with the same beginning are looked at once, which must not hide a pattern with another beginning.
func TestHeads(t *testing.T) {
	m := one(t, "a <host>[<addr>] x", "<host>[<addr>] x", "<token>: <addr>", "<host>[<addr>] y", "<num>[<addr>]", "{a |b }<host>[<addr>] z")
	for line, want := range map[string]string{"h[192.0.2.1] y": "p3", "h: 192.0.2.1": "p2", "1[192.0.2.1]": "p4", "a h[192.0.2.1] z": "p5", "b h[192.0.2.1] z": "p5", "a h[192.0.2.1] x": "p0"} {
		var h Hit
		if !m.MatchMessage([]byte(line), &h) || h.Pattern.Name != want {
			t.Errorf("%q: %v, wanted %s", line, h.Pattern, want)
		}
	}
}

// TestMissLeavesHit: a caller may keep one Hit.
func TestMissLeavesHit(t *testing.T) {
	m := one(t, "from <addr>")
	h := Hit{Kind: Success, Repeat: 7}
	if m.MatchMessage([]byte("from nowhere"), &h) || h.Kind != Success || h.Repeat != 7 {
		t.Errorf("changed: %+v", h)
	}
}

// TestCut: a client can choose where a line is cut.
func TestCut(t *testing.T) {
	fake := " from 192.0.2.9 port 22 ssh2"
	head := "Failed password for invalid user "
	line := head + strings.Repeat("a", MaxMessage-len(head)-len(fake)) + fake + " from 198.51.100.1 port 40 ssh2"
	var h Hit
	if m := matcher(t, "sshd", "aggressive"); m.MatchMessage([]byte(line), &h) {
		t.Errorf("took a cut line for %s of %v", h.Pattern.Name, h.Addr)
	}
	// Fields before any text are reliable even then.
	line = "Unable to negotiate with 198.51.100.1 port 40: " + strings.Repeat("x", 2*MaxMessage)
	if m := matcher(t, "sshd", "extra"); !m.MatchMessage([]byte(line), &h) || h.Addr != netip.MustParseAddr("198.51.100.1") {
		t.Errorf("did not take a cut line whose address is sure")
	}
	// A line as long as those that the daemon cuts is one of them.
	f, err := read("t.yaml", []byte("name: t\nmax_line: 100\ntrust: {units: [t.service], uid: 0}\npatterns: [{name: p, text: '<user> from <addr>'}, {name: q, text: 'by <addr> <text>'}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]string{99: "p", 100: "", 101: ""} {
		m, tail := f.matchers["normal"], " from 192.0.2.1"
		if got := m.MatchMessage([]byte(strings.Repeat("a", n-len(tail))+tail), &h); got != (want != "") {
			t.Errorf("%d bytes of lines that are cut at 100: %v", n, got)
		}
		if !m.MatchMessage([]byte("by 192.0.2.1 "+strings.Repeat("a", n-13)), &h) {
			t.Errorf("a cut line whose address is sure is no evidence")
		}
	}
	// What stands in quotation marks before the address ends at the first one, wherever the line is cut.
	for _, c := range []struct{ filter, line, want string }{
		{"nginx-http-auth", `1#1: *1 user "bob" was not found in "/etc/nginx/my passwords", client: 198.51.100.1, server: s, request: "GET /`, "198.51.100.1"},
		{"nginx-http-auth", `1#1: *1 user "bob": password mismatch, client: 198.51.100.1, server: s, request: "GET /`, "198.51.100.1"},
		{"nginx-http-auth", `1#1: *1 user "x" was not found in "y", client 192.0.2.4, server s, request`, ""},
		{"nginx-http-auth", `1#1: *1 user "x" was not found in "y", client 192.0.2.4" was not found in "/p", client: 198.51.100.1, server: s, request: "GET /x" was not found in "y", client: 192.0.2.4, server: `, "198.51.100.1"},
		{"nginx-limit-req", `1#1: *1 limiting requests, excess: 1.5 by zone "z", client: 198.51.100.1, server: s, request: "GET /`, "198.51.100.1"},
	} {
		line := "2026/11/22 22:49:55 [error] " + c.line
		line += strings.Repeat("x", 2047-len(line))
		got, hit := "", Hit{}
		if matcher(t, c.filter, "").MatchMessage([]byte(line), &hit) {
			got = hit.Addr.String()
		}
		if got != c.want {
			t.Errorf("%s: address %q, want %q: %.200q", c.filter, got, c.want, line)
		}
	}
	line = "message repeated 3 times: [ Unable to negotiate with 198.51.100.1 port 40: " + strings.Repeat("x", 2*MaxMessage)
	if m := matcher(t, "sshd", "extra"); m.MatchMessage([]byte(line), &h) {
		t.Errorf("took a folded line without its end")
	}
}

func TestTrust(t *testing.T) {
	f, err := read("t.yaml", []byte(`
name: t
trust: {units: [a.service, b.service], slices: [system-a.slice], uid: system, identifiers: [a, a-session]}
patterns: [{name: p, text: 'from <addr>'}]
`))
	if err != nil {
		t.Fatal(err)
	}
	m, _ := f.Mode("")
	for _, c := range []struct {
		unit, slice, ident string
		uid                int64
		want               bool
	}{
		{"a.service", "system.slice", "a", 0, true},
		{"b.service", "system.slice", "whatever", 999, true},
		{"a.service", "system.slice", "a", 1000, false}, // a user's program in the unit
		{"a.service", "system.slice", "a", -1, false},
		{"a@1.service", "system-a.slice", "a", 0, true},
		{"c.service", "system.slice", "a", 0, false},
		{"session-1.scope", "user-1000.slice", "a", 0, false},
		{"", "", "a", 0, true}, // journald was too late
		{"", "", "a-session", 0, true},
		{"", "", "c", 0, false},
		{"", "", "", 0, false},
		{"", "", "a", 33, false},
		{"", "", "a", -1, false},
		{"", "user-1000.slice", "a", 0, false},
	} {
		e := Entry{Message: []byte("from 192.0.2.1"), Unit: []byte(c.unit), Slice: []byte(c.slice), Identifier: []byte(c.ident), UID: c.uid}
		var h Hit
		if m.Trusts(&e) != c.want || m.Match(&e, &h) != c.want {
			t.Errorf("%+v: %v", c, !c.want)
		}
	}
}

// TestTrustList: system may stand in a list.
func TestTrustList(t *testing.T) {
	f, err := read("t.yaml", []byte("name: t\ntrust: {units: [a.service], uid: [system, 65534]}\npatterns: [{name: p, text: 'from <addr>'}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	m, _ := f.Mode("")
	for uid, want := range map[int64]bool{-1: false, 0: true, 999: true, 1000: false, 65533: false, 65534: true} {
		if e := (Entry{Unit: []byte("a.service"), UID: uid}); m.Trusts(&e) != want {
			t.Errorf("uid %d: %v", uid, !want)
		}
	}
}

// TestWhole: where a client can send newlines, a line of standard output is no evidence.
func TestWhole(t *testing.T) {
	f, err := read("t.yaml", []byte("name: t\ntrust: {units: [a.service], uid: 0, identifiers: [a], require: message}\npatterns: [{name: p, text: 'from <addr>'}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	m, _ := f.Mode("")
	for _, unit := range []string{"a.service", ""} {
		for _, whole := range []bool{false, true} {
			e := Entry{Message: []byte("from 192.0.2.1"), Unit: []byte(unit), Identifier: []byte("a"), WholeMessage: whole}
			if m.Trusts(&e) != whole {
				t.Errorf("unit %q, whole %v: %v", unit, whole, !whole)
			}
		}
	}
}

// TestWholePattern: a pattern may ask for whole messages by itself, and a line that it takes changes no hit.
func TestWholePattern(t *testing.T) {
	f, err := read("t.yaml", []byte("name: t\ntrust: {units: [a.service], uid: 0}\npatterns:\n  - {name: p, text: 'from <addr>', require: message}\n  - {name: q, text: 'by <addr>'}\n"))
	if err != nil {
		t.Fatal(err)
	}
	m, _ := f.Mode("")
	for _, c := range []struct {
		line  string
		whole bool
		want  string
	}{{"from 192.0.2.1", true, "p"}, {"from 192.0.2.1", false, ""}, {"by 192.0.2.1", true, "q"}, {"by 192.0.2.1", false, "q"}, {"x", false, ""}} {
		h := Hit{Repeat: 7}
		ok := m.Match(&Entry{Message: []byte(c.line), Unit: []byte("a.service"), WholeMessage: c.whole}, &h)
		if ok != (c.want != "") || ok && h.Pattern.Name != c.want || !ok && h.Repeat != 7 {
			t.Errorf("%+v: %v, %+v", c, ok, h)
		}
	}
}

// TestAllocations: neither a hit nor a miss costs memory.
func TestAllocations(t *testing.T) {
	m := matcher(t, "sshd", "aggressive")
	var h Hit
	e := Entry{Unit: []byte("ssh.service")}
	for _, l := range append(append([]string{strings.Repeat(" from 192.0.2.1 port 22", 50)}, benchHits...), benchMisses...) {
		e.Message = []byte(l)
		if n := testing.AllocsPerRun(50, func() { m.Match(&e, &h) }); n != 0 {
			t.Errorf("%v allocations for %q", n, l)
		}
	}
}

// TestAllocationsAll: no line of any filter's tests costs memory, unless a regular expression takes it.
func TestAllocationsAll(t *testing.T) {
	for _, name := range Builtin() {
		f, err := LoadBuiltin(name)
		if err != nil {
			t.Fatal(err)
		}
		m := matcher(t, name, f.Modes[len(f.Modes)-1])
		if raced && slices.ContainsFunc(m.plan().patterns, func(p *Pattern) bool { return p.Regexp }) {
			continue
		}
		for i := range f.rules().tests {
			line := f.rules().tests[i].line
			var h Hit
			if m.MatchMessage(line, &h) && h.Pattern.Regexp {
				continue
			}
			if n := testing.AllocsPerRun(10, func() { m.MatchMessage(line, &h) }); n != 0 {
				t.Errorf("%s: %v allocations for %q", name, n, line)
			}
		}
	}
}

// hostile are beginnings after which matching could fail slowly. They are repeated to make a long line.
func hostile(m *Matcher) (l [][2]string) {
	for _, p := range m.plan().patterns {
		if p.re != nil {
			continue
		}
		for _, s := range templateSamples(p) {
			for _, h := range s.holes {
				l = append(l, [2]string{string(s.line[:h.to]), string(s.line[h.to:])}, [2]string{string(s.line[:h.to]), string(s.line[h.to:max(h.to, len(s.line)-1)])},
					[2]string{string(s.line[:h.from]), string(s.line)})
			}
		}
	}
	for _, s := range []string{" ", " from ", "a=", ",", ":", "[", "1.2.3.", "1:", ": ", ", rip=", " port 1", `"`, `\"`, `" "`, "{", "[{", "<", `x="`} {
		l = append(l, [2]string{"Failed password for ", s}, [2]string{"", s})
	}
	return l
}

// TestLinear gives every built-in filter lines that are made to be slow, from 128 to 4096 bytes, and demands that the
// steps they take grow no faster than their length. It prints both, and how long the slowest line of each length takes.
func TestLinear(t *testing.T) {
	sizes := []int{128, 256, 512, 1024, 2048, 4096}
	t.Logf("%-18s the most steps, and the time of that line, by length: %d", "filter", sizes)
	for _, name := range Builtin() {
		f, err := LoadBuiltin(name)
		if err != nil {
			t.Fatal(err)
		}
		m := matcher(t, name, f.Modes[len(f.Modes)-1])
		worst := make([]int, len(sizes))
		slowest := make([][]byte, len(sizes))
		var h Hit
		for _, c := range hostile(m) {
			for i, size := range sizes {
				if len(c[0]) >= size {
					continue
				}
				line := append([]byte(c[0]), bytes.Repeat([]byte(c[1]), (size-1-len(c[0]))/max(1, len(c[1])))...)
				line = append(line, '!')
				if _, steps := m.match(line, &h); steps > worst[i] {
					worst[i], slowest[i] = steps, line
				}
			}
		}
		var table strings.Builder
		for i, line := range slowest {
			best := time.Hour // the machine does other things, too: the fastest of ten
			for range 10 {
				begin := time.Now()
				m.MatchMessage(line, &h)
				best = min(best, time.Since(begin))
			}
			fmt.Fprintf(&table, "%8d %-9v", worst[i], best.Round(10*time.Nanosecond))
		}
		t.Logf("%-18s %s", name, table.String())
		last := len(sizes) - 1
		if worst[last] >= fuelFor(MaxMessage) {
			t.Errorf("%s: a hostile line runs out of fuel: %.200q", name, slowest[last])
		}
		// Twice the length may take twice the steps. Lines from 512 bytes are compared: there constant costs hardly matter.
		if far, near := worst[last], worst[2]; far > near*2*sizes[last]/sizes[2] {
			t.Errorf("%s: %d steps for %d bytes, %d for %d: more than linear: %.200q", name, near, sizes[2], far, sizes[last], slowest[last])
		}
	}
}

// slow is MatchMessage without optimizations: it tries each pattern in turn, from its first step.
func slow(m *Matcher, msg []byte) *Pattern {
	cut := len(msg) >= m.Filter.maxLine
	msg = msg[:min(len(msg), MaxMessage)]
	if bytes.HasPrefix(msg, []byte(repeated)) {
		inner, n := unfold(msg)
		if n == 0 || cut {
			return nil
		}
		msg = inner
	}
	v := vm{line: msg, tail: len(trimRight(msg)), fuel: 1 << 30}
	froms := []int{0}
	for _, l := range m.Filter.rules().prefixes {
		if v.match(l.prog, 0, 0) {
			if v.pos > 0 {
				froms = []int{v.pos, 0}
			}
			break
		}
	}
	for _, from := range froms {
		for _, p := range m.plan().patterns {
			if p.re != nil {
				var h Hit
				var addr []byte
				if !cut && p.re.match(msg[from:], &h, &addr) {
					return p
				}
				continue
			}
			if cut && !p.prog.early {
				continue
			}
			if v.match(p.prog, 0, from) {
				return p
			}
		}
	}
	return nil
}

// TestFast: what makes matching fast (the trie, heads, needs, covers) changes no answer, on every line of every filter's
// tests, as they are and with a part missing.
func TestFast(t *testing.T) {
	lines := 0
	for _, name := range Builtin() {
		f, err := LoadBuiltin(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, mode := range f.Modes {
			m := matcher(t, name, mode)
			check := func(line []byte) {
				var h Hit
				var got *Pattern
				if m.MatchMessage(line, &h) {
					got = h.Pattern
				}
				if want := slow(m, line); got != want {
					t.Errorf("%s:%s: %q: %v, slowly %v", name, mode, line, got, want)
				}
				lines++
			}
			for i := range f.rules().tests {
				line := f.rules().tests[i].line
				check(line)
				for k := 0; k+4 < len(line); k += 4 {
					check(slices.Delete(slices.Clone(line), k, k+4))
				}
			}
		}
	}
	t.Logf("%d lines", lines)
}

// FuzzMatch: whatever the line, the answer takes a bounded number of steps and is that of slow, and its address is in the
// line.
func FuzzMatch(f *testing.F) {
	var ms []*Matcher
	for _, name := range Builtin() {
		fl, err := LoadBuiltin(name)
		if err != nil {
			f.Fatal(err)
		}
		for i := range fl.rules().tests {
			f.Add(fl.rules().tests[i].line)
		}
		ms = append(ms, matcher(f, name, fl.Modes[len(fl.Modes)-1]))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		for _, m := range ms {
			var h Hit
			hit := m.MatchMessage(line, &h)
			if p := slow(m, line); p != h.Pattern {
				t.Fatalf("%s: %q: %v, slowly %v", m.Filter.Name, line, h.Pattern, p)
			}
			if !hit {
				continue
			}
			if h.Kind == None || h.Pattern == nil || h.Repeat < 1 || h.Repeat > maxRepeat || h.Addr.Is4In6() || h.Addr.Zone() != "" {
				t.Fatalf("%s: %+v", line, h)
			}
			if h.Addr.IsValid() && !standsIn(line, h.Addr) {
				t.Fatalf("%q: %v stands nowhere in it", line, h.Addr)
			}
			if h.User != nil && !bytes.Contains(line, h.User) {
				t.Fatalf("%q: user %q stands nowhere in it", line, h.User)
			}
		}
		if !bytes.Equal(line, before) {
			t.Fatal("the line was changed")
		}
	})
}

func standsIn(line []byte, a netip.Addr) bool {
	for i := range line {
		for _, next := range []byte{0, '-'} {
			if got, n := scanAddr(line[i:], next); n > 0 && got == a {
				return true
			}
		}
		if got, _, _, _, n := scanPeer(line[i:]); n > 0 && got == a {
			return true
		}
	}
	return false
}

// FuzzTemplate: whatever an operator writes as a template and a client as a line, nothing breaks, and every capture is in
// the line.
func FuzzTemplate(f *testing.F) {
	for _, name := range []string{"sshd", "exim", "grafana", "nginx-http-auth", "openvpn"} {
		fl, err := LoadBuiltin(name)
		if err != nil {
			f.Fatal(err)
		}
		for i, p := range fl.rules().patterns {
			f.Add(p.Text, fl.rules().tests[i%len(fl.rules().tests)].line)
		}
	}
	for _, s := range []string{"<addr> <string>\"", "a{b|<json>}?<logfmt>", "<once:peer>", "{{{a}?}?}?<count:num><trusted>", "<quoted>\"<text>\"<quoted>\"", "{from <addr>}?"} {
		f.Add(s, []byte("192.0.2.1 \""))
	}
	f.Fuzz(func(t *testing.T, template string, line []byte) {
		tree, _, bad := parseTemplate(template, nil)
		if bad != nil || len(line) > MaxMessage {
			return
		}
		for _, last := range []op{opEnd, opAccept} {
			prog, err := compile(tree, last)
			if err != nil || checkSides(tree) != nil {
				return
			}
			v := newVM(line)
			if !v.match(prog, 0, 0) {
				continue
			}
			var h Hit
			if v.fill(&h); h.Addr.IsValid() && !standsIn(line, h.Addr) {
				t.Fatalf("%s on %q: %v", template, line, h.Addr)
			}
			for c := range nCaptures {
				v.text(c)
			}
		}
	})
}
