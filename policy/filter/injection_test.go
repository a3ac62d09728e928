package filter

import (
	"iter"
	"os"
	"strconv"
	"strings"
	"testing"
)

// injections reads the published forgeries: testdata/injection/README.md.
func injections(t testing.TB) (l []string) {
	t.Helper()
	for _, name := range []string{"users", "mail", "http", "clients", "control"} {
		for n, line := range corpus(t, name) {
			s, err := strconv.Unquote(line)
			if err != nil {
				t.Fatalf("%s.txt:%d: %v: %s", name, n, err, line)
			}
			l = append(l, s)
		}
	}
	return l
}

// corpus gives the lines of a file of forgeries, by their number.
func corpus(t testing.TB, name string) iter.Seq2[int, string] {
	t.Helper()
	data, err := os.ReadFile("testdata/injection/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(int, string) bool) {
		for i, line := range strings.Split(string(data), "\n") {
			if line != "" && line[0] != '#' && !yield(i+1, line) {
				return
			}
		}
	}
}

// TestInjectionLines: whole lines as daemons write them when somebody tries.
func TestInjectionLines(t *testing.T) {
	seen := 0
	for n, line := range corpus(t, "lines") {
		f := strings.SplitN(line, " ", 4)
		if len(f) < 4 {
			t.Fatalf("lines.txt:%d: not a filter, a mode, an address and a line", n)
		}
		text, err := strconv.Unquote(f[3])
		if err != nil {
			t.Fatalf("lines.txt:%d: %v", n, err)
		}
		var h Hit
		got := "-"
		if matcher(t, f[0], f[1]).MatchMessage([]byte(text), &h) && h.Addr.IsValid() {
			got = h.Addr.String()
		}
		if got != f[2] {
			t.Errorf("lines.txt:%d: %s:%s found %s, wanted %s: %q", n, f[0], f[1], got, f[2], text)
		}
		seen++
	}
	t.Logf("%d lines", seen)
}

// clientFields returns the places in a line, matched by a pattern after from, that a client could have filled. It compiles
// the template once per field, capturing only that field.
func clientFields(t testing.TB, p *Pattern, line []byte, from int) (l []hole) {
	t.Helper()
	var list []*node
	var collect func(n *node)
	collect = func(n *node) {
		if n.kind == nodeField && (n.class.client() || n.class.narrow() && !n.trusted || n.class == classMailbox) {
			list = append(list, n)
		}
		for _, s := range n.subs {
			collect(s)
		}
	}
	collect(p.node)
	once := false
	var without func(n *node, only *node) *node
	without = func(n, only *node) *node {
		c := *n
		c.subs = nil
		for _, s := range n.subs {
			c.subs = append(c.subs, without(s, only))
		}
		once = once || n.once
		if c.cap = capNone; n == only {
			c.cap = capUser
		}
		return &c
	}
	for _, n := range list {
		prog, err := compile(without(p.node, n), opEnd)
		if err != nil {
			t.Fatal(err)
		}
		v := newVM(line)
		if c := &v.caps[capUser]; v.match(prog, 0, from) && c.from >= 0 {
			l = append(l, hole{int(c.from), int(c.to), n.class, once || n.class == classQuoted || n.class == classWord && n.cap == capUser})
		}
	}
	return l
}

// TestInjectionsInTests plants the forgeries in the filters' own test lines: in each field of each of them that a client
// could have filled.
func TestInjectionsInTests(t *testing.T) {
	texts := injections(t)
	lines, fields := 0, 0
	for _, name := range Builtin() {
		f, err := LoadBuiltin(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range f.rules().tests {
			line := f.rules().tests[i].line
			for _, mode := range f.rules().tests[i].modes {
				m := matcher(t, name, mode)
				var own Hit
				if !m.MatchMessage(line, &own) || own.Pattern.re != nil { // expressions: holesOf
					continue
				}
				froms := []int{0}
				for _, l := range f.rules().prefixes {
					v := newVM(line)
					if v.match(l.prog, 0, 0) {
						froms = append(froms, v.pos)
					}
				}
				lines++
				for _, from := range froms {
					for _, h := range clientFields(t, own.Pattern, line, from) {
						fields++
						for _, text := range texts {
							if bad := m.tricked(&sample{line: line}, h, text, &own); bad != "" {
								t.Errorf("%s:%s: %s", name, mode, bad)
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d texts in %d fields of %d lines", len(texts), fields, lines)
}

// holesOf calls f with every place that a client can fill in the lines of every built-in pattern, and what is answered
// to the line as it is.
func holesOf(t testing.TB, f func(m *Matcher, s *sample, h hole, own *Hit)) {
	t.Helper()
	for _, name := range Builtin() {
		fl, err := LoadBuiltin(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, mode := range fl.Modes {
			m := matcher(t, name, mode)
			for _, p := range m.plan().patterns {
				l := templateSamples
				if p.re != nil {
					l = fl.exprSamples
				}
				for _, s := range l(p) {
					var own Hit
					if m.MatchMessage(s.line, &own) {
						for _, h := range s.holes {
							f(m, &s, h, &own)
						}
					}
				}
			}
		}
	}
}

// TestInjections: not one of the published forgeries changes an answer, whatever field it is planted in.
func TestInjections(t *testing.T) {
	texts := injections(t)
	places, planted := 0, 0
	holesOf(t, func(m *Matcher, s *sample, h hole, own *Hit) {
		places++
		for i, text := range texts {
			if testing.Short() && (places+i)%5 > 0 {
				continue
			}
			planted++
			if bad := m.tricked(s, h, text, own); bad != "" {
				t.Errorf("%s:%s: %s", m.Filter.Name, m.Mode, bad)
			}
		}
	})
	t.Logf("%d forgeries: %d texts, %d places", planted, len(texts), places)
}

// FuzzInjection lets the fuzzer forge.
func FuzzInjection(f *testing.F) {
	type place struct {
		m   *Matcher
		s   *sample
		h   hole
		own Hit
	}
	var places []place
	holesOf(f, func(m *Matcher, s *sample, h hole, own *Hit) {
		if m.Mode == m.Filter.Modes[len(m.Filter.Modes)-1] && len(places) < 1<<16 {
			places = append(places, place{m, s, h, *own})
		}
	})
	for i, text := range injections(f) {
		f.Add(uint16(i*37), text)
	}
	f.Fuzz(func(t *testing.T, at uint16, text string) {
		p := &places[int(at)%len(places)]
		if bad := p.m.tricked(p.s, p.h, text, &p.own); bad != "" {
			t.Fatal(bad)
		}
	})
}
