package redact

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"bailiff/policy/filter"
	"bailiff/policy/yamldoc"
)

var ownNames = []string{"Mail1.Example.org", "192.0.2.2", "2001:db8:0:1::2", "localhost"}

// sample is a test line of a built-in filter that a pattern takes.
type sample struct {
	filter *filter.Filter
	line   []byte
	hit    filter.Hit
}

func samples(t testing.TB) (all []sample) {
	t.Helper()
	for _, name := range filter.Builtin() {
		f, err := filter.LoadBuiltin(name)
		if err != nil {
			t.Fatal(err)
		}
		data, err := filter.BuiltinSource(name)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := yamldoc.Parse(name, data)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range doc.Get("tests").Items {
			n := x.Get("line")
			if n == nil {
				n = x.Get("miss")
			}
			seen := make(map[string]bool)
			for _, mode := range f.Modes {
				s := sample{filter: f, line: []byte(n.Value)}
				m, err := f.Mode(mode)
				if err != nil {
					t.Fatal(err)
				}
				if m.MatchMessage(s.line, &s.hit) && !seen[s.hit.Pattern.Name] {
					seen[s.hit.Pattern.Name] = true
					all = append(all, s)
				}
			}
		}
	}
	return all
}

// Receivers of reports know these lines: what the daemon itself says in them stays.
func TestDaemonsWords(t *testing.T) {
	r := New(ownNames)
	for _, c := range []struct{ filter, pattern, line, want string }{
		{"sshd", "pam-module", "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.3  user=bob",
			"pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.3  user=<user>"},
		{"sshd", "pam-module", "pam_sss(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.3 user=bob",
			"pam_sss(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.3 user=<user>"},
		{"sshd", "failed", "Failed password for bob from 203.0.113.3 port 4001 ssh2", "Failed password for <user> from 203.0.113.3 port 4001 ssh2"},
		{"dovecot", "pam-module", "pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser=bob rhost=203.0.113.3  user=bob",
			"pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser=<user> rhost=203.0.113.3  user=<text>"},
		{"vsftpd", "pam-module", "pam_unix(vsftpd:auth): authentication failure; logname= uid=0 euid=0 tty=ftp ruser=bob rhost=203.0.113.3  user=bob",
			"pam_unix(vsftpd:auth): authentication failure; logname= uid=0 euid=0 tty=ftp ruser=<text> rhost=203.0.113.3  user=<user>"},
	} {
		f, err := filter.LoadBuiltin(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := r.Message(f, c.pattern, []byte(c.line)); !ok || string(got) != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.filter, got, c.want)
		}
	}
}

// The captured user is removed from every test line of every filter. Where the name is also one of the pattern's own words ("root", "a"),
// the line must be the same with another user in its place.
func TestEveryFilter(t *testing.T) {
	r := New(ownNames)
	filters, users := make(map[string]bool), 0
	for _, s := range samples(t) {
		filters[s.filter.Name] = true
		got, ok := r.Message(s.filter, s.hit.Pattern.Name, s.line)
		if !ok {
			t.Errorf("%s: %s: %q is left out", s.filter.Name, s.hit.Pattern.Name, s.line)
			continue
		}
		if s.hit.Addr.IsValid() && !bytes.Contains(got, []byte(s.hit.Addr.String())) {
			t.Errorf("%s: %q became %q, without its address", s.filter.Name, s.line, got)
		}
		if len(s.hit.User) == 0 {
			continue
		}
		users++
		if !holds(words(s), string(s.hit.User)) && holds(string(got), string(s.hit.User)) {
			t.Errorf("%s: %q became %q, with its user %q", s.filter.Name, s.line, got, s.hit.User)
		}
	}
	if len(filters) != len(filter.Builtin()) || users < 300 {
		t.Errorf("%d of %d filters and %d users were looked at", len(filters), len(filter.Builtin()), users)
	}
}

// words returns the parts of a line that no client wrote.
func words(s sample) string {
	pieces, _ := s.filter.Dissect(s.hit.Pattern.Name, s.line)
	var b []byte
	for _, p := range pieces {
		switch p.Field {
		case "", "num", "port", "count", "addr":
			b = append(b, p.Text...)
		default:
			b = append(b, "<user><host><text>"...) // the words of the placeholders are not the line's
		}
	}
	return string(b)
}

func holds(s, part string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(part)) }

// forms are ways in which daemons write what a client typed.
var forms = []func(string) string{
	func(s string) string { return s },
	strings.ToUpper,
	func(s string) string { return "x " + s + " y" },
	func(s string) string { return s + " from 192.0.2.77 port 22 ssh2" },
	func(s string) string { return "user=<" + s + ">" },
	func(s string) string { return `"` + s + `"` },
	func(s string) string { return "`" + s + "'" },
	func(s string) string { return `a\"` + s + `\"` },
	func(s string) string { return s + "#012" + s + "#011" },
	func(s string) string { return s + `\012\n` + s + `\303\274` },
	func(s string) string { return s + "@example.org" },
	func(s string) string { return "invalid user " + s },
	func(s string) string { return s + ", sasl_username=" + s },
	func(s string) string { return base64.StdEncoding.EncodeToString([]byte("\x00" + s + "\x00" + s)) },
	func(s string) string { return "(" + s + ")" },
	func(s string) string { return s + " (" },
	func(s string) string { return "[" + s + "] [" + s + "]:1" },
	func(s string) string { return "%" + fmt.Sprintf("%x", s) },
	func(s string) string { return s + "\xff\x00\x1b[31m" + s },
}

// plant writes text into a random place of a line that is not the pattern's own, and returns the line.
func plant(rnd *rand.Rand, s sample, text string) []byte {
	pieces, _ := s.filter.Dissect(s.hit.Pattern.Name, s.line)
	var places []int
	for i, p := range pieces {
		if !slices.Contains([]string{"", "num", "port", "count", "addr"}, p.Field) {
			places = append(places, i)
		}
	}
	if len(places) == 0 {
		return nil
	}
	at := places[rnd.IntN(len(places))]
	var b []byte
	for i, p := range pieces {
		if i == at {
			b = append(b, text...)
		} else {
			b = append(b, p.Text...)
		}
	}
	return b
}

// A secret typed as an account, or anywhere else that a client may write, never appears: neither as typed, nor as logged, nor in part.
func TestSecrets(t *testing.T) {
	r := New(ownNames)
	rnd := rand.New(rand.NewPCG(5, 1))
	taken := 0
	for _, s := range samples(t) {
		for _, form := range forms {
			secret := word(rnd)
			line := plant(rnd, s, form(secret))
			for _, mode := range s.filter.Modes {
				if line == nil {
					break
				}
				m, _ := s.filter.Mode(mode)
				var h filter.Hit
				if !m.MatchMessage(line, &h) {
					continue
				}
				taken++
				got, ok := r.Message(s.filter, h.Pattern.Name, line)
				if !ok {
					t.Errorf("%s: %s: %q is left out", s.filter.Name, h.Pattern.Name, line)
				}
				check(t, line, got, secret, form(secret))
			}
		}
	}
	if taken < 5000 {
		t.Errorf("only %d lines were taken", taken)
	}
}

func word(rnd *rand.Rand) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!$_-"
	b := make([]byte, 12+rnd.IntN(8))
	for i := range b {
		b[i] = letters[rnd.IntN(len(letters))]
	}
	return string(b)
}

func check(t *testing.T, line, got []byte, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		for i := 0; i+8 <= len(secret); i++ { // any eight bytes of it: they do not occur in a line by chance
			part := secret[i : i+8]
			if secret != secrets[0] && !holds(secrets[0], part) && !isBase64(secret) {
				continue // the form's own words
			}
			if holds(string(got), part) {
				t.Fatalf("%q became %q, with %q", line, got, part)
			}
		}
	}
}

func isBase64(s string) bool {
	_, err := base64.StdEncoding.DecodeString(s)
	return err == nil
}

// FuzzSecret lets the fuzzer choose how the secret is wrapped, and where it stands.
func FuzzSecret(f *testing.F) {
	r, all := New(ownNames), samples(f)
	f.Add(uint16(0), uint64(1), "", "")
	f.Add(uint16(30), uint64(2), "user=<", "> from 192.0.2.1 port 22 ssh2")
	f.Add(uint16(200), uint64(3), `\"`, "#012")
	f.Fuzz(func(t *testing.T, at uint16, seed uint64, before, after string) {
		s, rnd := all[int(at)%len(all)], rand.New(rand.NewPCG(seed, 0))
		secret := word(rnd)
		line := plant(rnd, s, before+secret+after)
		for _, name := range patternNames(s.filter) { // as if the queue named any of them
			if got, ok := r.Message(s.filter, name, line); ok {
				check(t, line, got, secret)
			}
		}
	})
}

func patternNames(f *filter.Filter) (l []string) {
	for _, p := range f.Patterns() {
		if !slices.Contains(l, p.Name) {
			l = append(l, p.Name)
		}
	}
	return l
}

func TestMessage(t *testing.T) {
	r := New(ownNames)
	for _, c := range []struct{ filter, pattern, line, want string }{
		{"sshd", "failed", "Failed password for bob from 198.51.100.4 port 40112 ssh2", "Failed password for <user> from 198.51.100.4 port 40112 ssh2"},
		{"sshd", "failed-unknown", "Failed password for invalid user hunter2 from 192.0.2.4 port 22 ssh2 from 198.51.100.8 port 33043 ssh2", "Failed password for invalid user <user> from 198.51.100.8 port 33043 ssh2"},
		{"sshd", "failed", "Failed password for root from ::FFFF:198.51.100.3 port 39403 ssh2\n", "Failed password for <user> from 198.51.100.3 port 39403 ssh2"},
		{"sshd", "failed", "Failed password for root from 2001:DB8:0:1:0:0:0:2 port 39403 ssh2", "Failed password for <user> from <host> port 39403 ssh2"},
		{"sshd", "failed", "message repeated 2 times: [ Failed password for root from 198.51.100.3 port 39403 ssh2]", "message repeated 2 times: [ Failed password for <user> from 198.51.100.3 port 39403 ssh2]"},
		{"sshd", "unknown-user", "Invalid user  from 198.51.100.6 port 56761", "Invalid user <user> from 198.51.100.6 port 56761"},
		{"sshd", "pam", "error: PAM: authentication error for bob from 198.51.100.3 via 192.0.2.22", "error: PAM: authentication error for <user> from 198.51.100.3 via <text>"},
		{"sshd", "failed", "Failed password for root from 198.51.100.3 port 99999 ssh2", "left out"},
		{"sshd", "", "Failed password for root from 198.51.100.3 port 39403 ssh2", "left out"},
		{"gitlab", "failed-login-json", `{"severity":"WARN","message":"Failed Login: username=hunter2 ip=198.51.100.3","name":"x"}`, `{<text>"message":"Failed Login: username=<user> ip=198.51.100.3"<text>}`},
		{"sshd", "failed", "Failed password for root from 198.51.100.3 port 39403 ssh2: hunter2", "Failed password for <user> from 198.51.100.3 port 39403 ssh2: <text>"},
		{"sshd", "failed", "Failed hunter2 for root from 198.51.100.3 port 39403 ssh2", "left out"},
	} {
		f, err := filter.LoadBuiltin(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := r.Message(f, c.pattern, []byte(c.line))
		if !ok {
			got = []byte("left out")
		}
		if string(got) != c.want {
			t.Errorf("%q\nbecame %q\nwanted %q", c.line, got, c.want)
		}
	}
}

func TestText(t *testing.T) {
	r := New(ownNames)
	for s, want := range map[string]string{
		"":                             "",
		"mail1":                        "<host>",
		"MAIL1.example.ORG. says":      "<host>. says",
		"at example.org":               "at <host>",
		"at www.example.org":           "at www.<host>",
		"at example.org.example.com":   "at <host>.example.com",
		"at notexample.org, mail12":    "at notexample.org, mail12",
		"mail1-backup my-mail1":        "mail1-backup my-mail1",
		"from 192.0.2.2:1234":          "from <host>:1234",
		"from 192.000.002.002.":        "from <host>.",
		"from 192.0.2.22 1192.0.2.2":   "from 192.0.2.22 1192.0.2.2",
		"[2001:db8:0:1::2]:25":         "[<host>]:25",
		"2001:DB8::1:0:0:0:2/64":       "<host>/64",
		"2001:0db8:0000:0001::0002":    "<host>",
		"::ffff:192.0.2.2":             "<host>",
		"::FFFF:c000:202 x":            "<host> x",
		"2001:db8:0:1::3":              "2001:db8:0:1::3",
		"192-0-2-2.static.example.com": "<host>.static.example.com",
		"2.2.0.192.in-addr.arpa":       "<host>.in-addr.arpa",
		"mail to <Jörg.X+a@sub.example.com>, b@localhost.": "mail to <<mail>>, <mail>.",
		"a@ @b @":        "a@ @b @",
		"dial localhost": "dial <host>",
	} {
		if got := r.Text(s); got != want {
			t.Errorf("%q became %q, wanted %q", s, got, want)
		}
	}
}

// FuzzText: neither the host's name nor its address stands in what comes out, however it is surrounded and spelled.
func FuzzText(f *testing.F) {
	r := New(ownNames)
	spellings := []string{"mail1.example.org", "MAIL1.EXAMPLE.ORG", "mail1", "192.0.2.2", "::ffff:192.0.2.2", "2001:db8:0:1::2", "2001:0DB8:0:1:0:0:0:2"}
	f.Add("see ", " for more", uint8(0))
	f.Add("(", ")", uint8(3))
	f.Add("[", "]:25", uint8(5))
	f.Fuzz(func(t *testing.T, before, after string, which uint8) {
		if l := len(before); l > 0 && (inHost(before[l-1]) || inAddr(before[l-1]) || inLocal(before[l-1])) || after != "" && (inHost(after[0]) || inAddr(after[0]) || after[0] == '@') {
			t.Skip("a longer word")
		}
		if strings.ContainsAny(before+after, ":0123456789.@%") || holds(before+after, "mail1") {
			t.Skip("holds parts of its own")
		}
		s := spellings[int(which)%len(spellings)]
		if got := r.Text(before + s + after); holds(got, s) {
			t.Errorf("%q became %q", before+s+after, got)
		}
	})
}
