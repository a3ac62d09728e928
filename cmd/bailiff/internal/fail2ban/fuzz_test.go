package fail2ban

import (
	"regexp"
	"strings"
	"testing"

	"bailiff/policy/filter"
)

// FuzzParse: no text of a configuration file makes the reader panic, and each value keeps its lines.
func FuzzParse(f *testing.F) {
	for _, text := range ownTree {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tr := newTree("/")
		r := &reader{tree: tr}
		opts := r.parseText("x", text)
		r.merge("x", opts)
		lines := strings.Count(text, "\n") + 1
		for _, o := range opts {
			if o.line < 1 || o.line > lines || len(o.lines) == 0 || strings.Count(o.value, "\n") >= len(o.lines) {
				t.Fatalf("%+v", o)
			}
			v, _, err := tr.value(o.section, o.name, nil)
			if err == nil && len(v) > maxValue {
				t.Fatalf("%d bytes", len(v))
			}
			splitActions(v)
			splitOptions(v)
			seconds(v)
		}
	})
}

// FuzzRegexp: whatever an expression says, translating it ends, what comes out is an expression of ours, and the filter that
// is made of it passes the loader.
func FuzzRegexp(f *testing.F) {
	for _, s := range []string{
		`^login of <F-USER>\S+</F-USER> failed: <HOST>$`, `(?:a|b(?!c)){2,3}[^\]x-]+\d{,3}<ADDR>(?i:X)$`, `x <IP4>|y \[<IP6>\]`, `^\S+ d\[\d+\]: .* from <HOST>(?::\d+)?`, `<F-MLFID>a</F-MLFID> <F-NOFAIL>ok</F-NOFAIL> <HOST>`,
		`(?P<x>a)(?P=x)(?<=b)\1\Z\A<SKIPLINES>`, "\ue000[a-z]*<HOST>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 300 {
			return
		}
		n, err := parseRegexp(s)
		if err != nil {
			return
		}
		a, err := newVariants(n, nil, "failregex-1")
		if err != nil {
			return
		}
		for _, form := range a.forms {
			for _, p := range form {
				if p.text == "" {
					if _, err := regexp.Compile(p.re); err != nil {
						t.Fatalf("%q became %q: %v", s, p.re, err)
					}
				}
			}
		}
		if a.forms = a.forms[:min(2, len(a.forms))]; len(a.forms) == 0 {
			return
		}
		o := &option{file: "x", line: 1, value: s, lines: []int{1}}
		tr := translate(&source{name: "x", origin: "x", fail: []expression{{text: s, from: o}}, trust: trust{units: []string{"x.service"}, uid: "system"}})
		if tr.data != nil {
			if _, err := filter.Parse("x.yaml", tr.data); err != nil {
				t.Fatalf("%q: %v\n%s", s, err, tr.data)
			}
		} else if tr.verdicts[0].why == "" {
			t.Fatalf("%q was left out without a reason", s)
		}
	})
}
