package fail2ban

import (
	"strings"
	"testing"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
	"bailiff/policy/filter"
)

// translateOne translates a single expression for a unit of its own.
func translateOne(re string) *translation {
	src := &source{name: "t", origin: "a test", trust: trust{units: []string{"t.service"}, uid: "any"}}
	src.fail = []expression{{text: re, from: &ini.Option{File: "t.conf", Name: "failregex"}}}
	return translate(src)
}

// found is the address that a translation finds in a line, "" for none.
func found(t *testing.T, tr *translation, line string) string {
	t.Helper()
	if tr.filter == nil {
		return ""
	}
	m, err := tr.filter.Mode("")
	if err != nil {
		t.Fatal(err)
	}
	var h filter.Hit
	if !m.MatchMessage([]byte(line), &h) || h.Kind != filter.Failure || !h.Addr.IsValid() {
		return ""
	}
	return h.Addr.String()
}

// TestOpenExpressions: an expression that does not fix where a line begins or ends matches lines that continue after the address, and never
// takes another address; or it is rejected, with the reason.
func TestOpenExpressions(t *testing.T) {
	for _, c := range []struct {
		re    string
		lines map[string]string // line → address
		why   string            // reason for a change or a rejection
	}{
		{
			re: `.*client login failed: .+ client:\ <HOST>`,
			lines: map[string]string{
				`[info] 7#7: *1 client login failed: "invalid" while in http auth state, client: 192.0.2.7, server: 0.0.0.0:465, login: "bob"`:                                 "192.0.2.7",
				`[info] 7#7: *1 client login failed: "invalid" while in http auth state, client: 2001:db8::7, server: 0.0.0.0:465, login: "bob"`:                               "2001:db8::7",
				`[info] 7#7: *1 client login failed: "invalid" while in http auth state, client: 192.0.2.7, server: 0.0.0.0:465, login: "x, client: 203.0.113.9"`:              "",
				`[info] 7#7: *1 client login failed: "invalid" while in http auth state, client: 192.0.2.7x, server: 0.0.0.0:465, login: "bob"`:                                "",
				`[info] 7#7: *1 client login failed: "x client login failed: y client: 203.0.113.9, server:" while in http auth state, client: 192.0.2.7, server: 0.0.0.0:465`: "",
			},
			why: `" client: " stands more than once`,
		},
		{
			re: `Failed authentication attempt for \x1b\[1m.+?\x1b\[0m from \x1b\[1m<HOST>:\d+\x1b\[0m:`,
			lines: map[string]string{
				"auth.go:210:SignInPost() [I] Failed authentication attempt for \x1b[1mbob\x1b[0m from \x1b[1m192.0.2.7:0\x1b[0m: user does not exist [name: bob]":                                         "192.0.2.7",
				"auth.go:210:SignInPost() [I] Failed authentication attempt for \x1b[1mbob\x1b[0m from \x1b[1m[2001:db8::7]:0\x1b[0m: user does not exist [name: bob]":                                     "2001:db8::7",
				"auth.go:210:SignInPost() [I] Failed authentication attempt for \x1b[1mx from 203.0.113.9:0: y\x1b[0m from \x1b[1m192.0.2.7:0\x1b[0m: user does not exist [name: x from 203.0.113.9:0: y]": "192.0.2.7",
				"auth.go:210:SignInPost() [I] Failed authentication attempt for \x1b[1mx\x1b[0m from \x1b[1m203.0.113.9:0\x1b[0m: \x1b[0m from \x1b[1m192.0.2.7:0\x1b[0m: user does not exist [name: x]":   "",
				"auth.go:210:SignInPost() [I] Failed authentication attempt for \x1b[1mx\x1b[0m from \x1b[1m192.0.2.7:0\x1b[0m: user does not exist [name: x\x1b[0m from \x1b[1m203.0.113.9:0\x1b[0m: y]":  "",
				"auth.go:210:SignInPost() [I] Failed authentication attempt for \x1b[1mx\x1b[0m from \x1b[1m192.0.2.7:0\x1b[0m":                                                                            "",
			},
			why: "has no ^",
		},
		{
			re:    `completed GET /api/v1/user for <HOST>:0, 401 Unauthorized`,
			lines: map[string]string{"HTTPRequest [I] router: completed GET /api/v1/user for 192.0.2.7:0, 401 Unauthorized in 0.9ms @ user.go:12(x)": "192.0.2.7"},
			why:   "stands more than once",
		},
		{
			re: `^client <HOST>: login failed(?!: connection lost)`,
			lines: map[string]string{
				"client 192.0.2.7: login failed: wrong password":  "192.0.2.7",
				"client 192.0.2.7: login failed":                  "192.0.2.7",
				"client 192.0.2.7: login failed: connection lost": "",
			},
		},
		{
			re: `login\s+of\s+'[^']*'\s+failed\s+from\s+<HOST>\b`,
			lines: map[string]string{
				"2026-01-01 WARN login of 'bob' failed from 192.0.2.7":                                         "192.0.2.7",
				"2026-01-01 WARN login of 'bob' failed from 192.0.2.7:40022 (wrong password)":                  "192.0.2.7",
				"2026-01-01 WARN login of 'bob' failed from [2001:db8::7]:40022 (wrong password)":              "2001:db8::7",
				"2026-01-01 WARN login of 'bob' failed from 192.0.2.7 (wrong password)":                        "192.0.2.7",
				"2026-01-01 WARN login of 'x' failed from 203.0.113.9' failed from 192.0.2.7 (wrong password)": "",
			},
		},
		{ // anchored at one end, with client's text on both sides
			re: `^login of .* from <HOST> failed: .*$`,
			lines: map[string]string{
				"login of bob from 192.0.2.7 failed: no such user":                                  "192.0.2.7",
				"login of x from 203.0.113.9 failed: from 192.0.2.7 failed: no such user":           "",
				"login of x from 192.0.2.7 failed: no user x from 203.0.113.9 failed: no such user": "",
			},
			why: `" from " stands more than once`,
		},
		{
			re: `authentication failed.*\bsrc=<HOST>(?:\s|$)`,
			lines: map[string]string{
				"authentication failed user=x src=192.0.2.7 dst=198.51.100.1": "192.0.2.7",
				"authentication failed user=x src=192.0.2.7":                  "192.0.2.7",
				"authentication failed user=x src=203.0.113.9 src=192.0.2.7":  "",
			},
		},
		{
			re: `(?:denied|refused) connection from <HOST>(?::\d+)? by rule`,
			lines: map[string]string{
				"[1] denied connection from 192.0.2.7:80 by rule 7":     "192.0.2.7",
				"[1] refused connection from 192.0.2.7 by rule 7":       "192.0.2.7",
				"[1] denied connection from [2001:db8::7]:80 by rule 7": "2001:db8::7",
				"[1] denied connection from 192.0.2.7:80 by nobody":     "",
			},
		},
		{
			re:    `^<HOST>.*" 404`,
			lines: map[string]string{`192.0.2.7 - - [x] "GET / HTTP/1.1" 404 5`: "192.0.2.7", `2001:db8::7 - - [x] "GET / HTTP/1.1" 404 5`: "2001:db8::7"},
		},
		{re: `Invalid login attempt.* ip="?<HOST>"?`, why: "no fixed text stands just before the address"},
		{re: `invalid authentication from .*\(<HOST>\)`, why: `the text just before the address ("(") is too common`},
		{re: `\[<HOST>\]: SASL \S+ authentication failed`, why: "too common"},
		{re: `(?i)denied .* from <HOST>`, why: "too complex"},
	} {
		tr := translateOne(c.re)
		v := tr.results[0]
		if v.taken != (c.lines != nil) || !strings.Contains(v.why, c.why) {
			t.Errorf("%s: taken %v: %s", c.re, v.taken, v.why)
		}
		for line, want := range c.lines {
			if got := found(t, tr, line); got != want {
				t.Errorf("%s: %q: address %q, want %q\n%s", c.re, line, got, want, tr.data)
			}
		}
	}
}
