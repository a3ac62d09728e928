package fail2ban

import (
	"regexp"
	"testing"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
	"bailiff/cmd/bailiff/internal/fail2ban/regex"
	"bailiff/policy/filter"
)

// FuzzRegexp: whatever an expression contains, translating it ends, the result is a valid expression of ours, and the filter made from it
// passes the loader.
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
		n, err := regex.Parse(s)
		if err != nil {
			return
		}
		a, err := regex.NewVariants(n, nil, "failregex-1")
		if err != nil {
			return
		}
		for _, variant := range a.Patterns {
			for _, p := range variant {
				if p.Text == "" {
					if _, err := regexp.Compile(p.Regexp); err != nil {
						t.Fatalf("%q became %q: %v", s, p.Regexp, err)
					}
				}
			}
		}
		if a.Patterns = a.Patterns[:min(2, len(a.Patterns))]; len(a.Patterns) == 0 {
			return
		}
		o := &ini.Option{File: "x", Line: 1, Value: s, Lines: []int{1}}
		tr := translate(&source{name: "x", origin: "x", fail: []expression{{text: s, from: o}}, trust: trust{units: []string{"x.service"}, uid: "system"}})
		if tr.data != nil {
			if _, err := filter.Parse("x.yaml", tr.data); err != nil {
				t.Fatalf("%q: %v\n%s", s, err, tr.data)
			}
		} else if tr.results[0].why == "" {
			t.Fatalf("%q was left out without a reason", s)
		}
	})
}

// FuzzSeconds: no text makes the reader of times panic.
func FuzzSeconds(f *testing.F) {
	for _, s := range []string{"1w", "24*60*60", "-1", "1d 12h - 3m # comment", "1e999y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if sec, err := seconds(s); err == nil {
			span(sec)
		}
	})
}
