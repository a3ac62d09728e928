package filter

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"
)

func injections(t testing.TB) (l []string) {
	t.Helper()
	f, err := os.Open("testdata/injections.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		if sc.Text() == "" || strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		s, err := strconv.Unquote(sc.Text())
		if err != nil {
			t.Fatalf("line %d: %v", n, err)
		}
		l = append(l, s)
	}
	return l
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
			for _, p := range m.patterns {
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
	planted := 0
	holesOf(t, func(m *Matcher, s *sample, h hole, own *Hit) {
		for _, text := range texts {
			planted++
			if bad := m.tricked(s, h, text, own); bad != "" {
				t.Errorf("%s:%s: %s", m.Filter.Name, m.Mode, bad)
			}
		}
	})
	t.Logf("%d texts in %d places", len(texts), planted/len(texts))
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
