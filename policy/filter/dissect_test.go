package filter

import (
	"bytes"
	"testing"
)

// TestDissect takes every test line of every filter apart: nothing is lost, and the captures are those of Match.
func TestDissect(t *testing.T) {
	lines, users := 0, 0
	for _, name := range Builtin() {
		f, err := LoadBuiltin(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range f.rules().tests {
			for _, mode := range x.modes {
				var h Hit
				if !f.matchers[mode].MatchMessage(x.line, &h) {
					continue
				}
				lines++
				l, ok := f.Dissect(h.Pattern.Name, x.line)
				if !ok {
					t.Errorf("%s: %s does not take %q apart", name, h.Pattern.Name, x.line)
					continue
				}
				var whole []byte
				for _, p := range l {
					whole = append(whole, p.Text...)
					switch {
					case p.Field == "user" && !bytes.HasPrefix(h.User, p.Text): // without white space at the line's end
						t.Errorf("%s: %q: user %q, not %q", name, x.line, p.Text, h.User)
					case p.Field == "addr":
						if a, n := scanAddr(p.Text, 0); n != len(p.Text) || a != h.Addr {
							t.Errorf("%s: %q: address %q, not %s", name, x.line, p.Text, h.Addr)
						}
					}
					if p.Field == "user" {
						users++
					}
				}
				same := func(b []byte) string { return string(bytes.ReplaceAll(b, []byte("[ "), []byte("["))) }
				if want := trimRight(x.line); same(whole) != same(want) {
					t.Errorf("%s: %q became %q", name, want, whole)
				}
			}
		}
	}
	if lines < 600 || users < 300 {
		t.Errorf("only %d lines, %d of them with users, were looked at", lines, users)
	}
}

func TestDissectFields(t *testing.T) {
	f, err := LoadBuiltin("sshd")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	l, _ := f.Dissect("pam", []byte("error: PAM: authentication error for bob from 198.51.100.3 via 192.0.2.22\n"))
	for _, p := range l {
		got = append(got, p.Field+"="+string(p.Text))
	}
	want := "[=error:  =PAM: authentication error for  user=bob = from  addr=198.51.100.3 = via  word=192.0.2.22]"
	if s := "[" + string(bytes.Join(bytesOf(got), []byte(" "))) + "]"; s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	for _, c := range []struct{ pattern, line string }{
		{"pam", "Failed password for root from 198.51.100.3 port 1 ssh2"},
		{"none", "Failed password for root from 198.51.100.3 port 1 ssh2"},
		{"failed", ""},
		{"failed", "message repeated x times: [ Failed password for root from 198.51.100.3 port 1 ssh2]"},
	} {
		if l, ok := f.Dissect(c.pattern, []byte(c.line)); ok {
			t.Errorf("%s took %q apart: %v", c.pattern, c.line, l)
		}
	}
}

func bytesOf(l []string) (b [][]byte) {
	for _, s := range l {
		b = append(b, []byte(s))
	}
	return b
}
