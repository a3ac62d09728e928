package allow

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"bailiff/policy/diag"
)

func TestParseFile(t *testing.T) {
	const text = "\ufeff# Monitors of example.com\r\n" +
		"\r\n" +
		"192.0.2.7\r\n" +
		"  192.0.2.64/26\t# Frankfurt # 2\r\n" +
		"2001:db8::/48 until 2026-12-31 # lent\n" +
		"2001:DB8:0:0::7#none\n" +
		"::ffff:198.51.100.1\n" +
		"::ffff:198.51.100.0/120 until 2026-12-31T18:00:00+01:00\n" +
		"\t \n" +
		"fc00::/7\n" +
		"10.0.0.0/8 # ümläut"
	got, err := ParseFile("x.list", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	end := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	want := []Entry{
		{Prefix: parsed("192.0.2.7/32"), Line: 3},
		{Prefix: parsed("192.0.2.64/26"), Line: 4, Comment: "Frankfurt # 2"},
		{Prefix: parsed("2001:db8::/48"), Line: 5, Comment: "lent", Until: end},
		{Prefix: parsed("2001:db8::7/128"), Line: 6, Comment: "none"},
		{Prefix: parsed("198.51.100.1/32"), Line: 7},
		{Prefix: parsed("198.51.100.0/24"), Line: 8, Until: time.Date(2026, 12, 31, 17, 0, 0, 0, time.UTC)},
		{Prefix: parsed("fc00::/7"), Line: 10},
		{Prefix: parsed("10.0.0.0/8"), Line: 11, Comment: "ümläut"},
	}
	for i := range want {
		want[i].Origin = "x.list"
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	for _, empty := range []string{"", "\n", "# nothing", "\ufeff"} {
		if got, err := ParseFile("x", strings.NewReader(empty)); len(got) != 0 || err != nil {
			t.Errorf("%q: %v, %v", empty, got, err)
		}
	}
}

// Each line is rejected with exactly this text and hint.
func TestBadLines(t *testing.T) {
	const usual = "write 192.0.2.7, 192.0.2.0/24, 2001:db8::7 or 2001:db8::/48"
	for _, tt := range []struct{ line, want, hint string }{
		{"example.org", `1: "example.org" is neither an address nor a prefix`, "host names are never looked up (anyone who controls the name would choose what is allowed); write the addresses"},
		{"  monitor-1.example.org  # x", `3: "monitor-1.example.org" is neither an address nor a prefix`, "host names are never looked up (anyone who controls the name would choose what is allowed); write the addresses"},
		{"192.0.2", `1: "192.0.2" is neither an address nor a prefix`, usual},
		{"192.0.2.256", `1: "192.0.2.256" is neither an address nor a prefix`, usual},
		{"192.0.2.010", `1: "192.0.2.010" is neither an address nor a prefix`, usual},
		{"192.0.2.*", `1: "192.0.2.*" is neither an address nor a prefix`, usual},
		{"/24", `1: "/24" is neither an address nor a prefix`, usual},
		{"192.0.2.1,192.0.2.2", `1: "192.0.2.1,192.0.2.2" is neither an address nor a prefix`, "write one address or prefix a line"},
		{"192.0.2.1-192.0.2.9", `1: "192.0.2.1-192.0.2.9" is neither an address nor a prefix`, "write a range as prefixes: 192.0.2.0/28"},
		{"192.0.2.1:22", `1: "192.0.2.1:22" is neither an address nor a prefix`, "write it without the port"},
		{"[2001:db8::1]:22", `1: "[2001:db8::1]:22" is neither an address nor a prefix`, "write it without brackets and port"},
		{"fe80::1%eth0", `1: "fe80::1%eth0" has a zone`, "write it without %eth0; addresses are compared without their interface"},
		{"192.0.2.1/33", `1: "192.0.2.1/33" is not a prefix: length "33"`, "a length is a number up to 32"},
		{"2001:db8::/129", `1: "2001:db8::/129" is not a prefix: length "129"`, "a length is a number up to 128"},
		{"192.0.2.0/", `1: "192.0.2.0/" is not a prefix: length ""`, "a length is a number up to 32"},
		{"192.0.2.0/024", `1: "192.0.2.0/024" is not a prefix: length "024"`, "a length is a number up to 32"},
		{"192.0.2.0/255.255.255.0", `1: "192.0.2.0/255.255.255.0" has a netmask`, "write the length in place of the mask: 255.255.255.0 is /24, 255.255.0.0 is /16"},
		{"192.0.2.7/24", `1: "192.0.2.7/24" has bits beyond its length`, "write 192.0.2.0/24 for the network, 192.0.2.7 for the address alone"},
		{"2001:db8::7/64", `1: "2001:db8::7/64" has bits beyond its length`, "write 2001:db8::/64 for the network, 2001:db8::7 for the address alone"},
		{"0.0.0.0/0", `1: 0.0.0.0/0 is too wide to be allowed: at most /8 for IPv4, /16 for IPv6`, "to disable a jail, write jails.NAME.enabled: false"},
		{"::/0", `1: ::/0 is too wide to be allowed: at most /8 for IPv4, /16 for IPv6`, "to disable a jail, write jails.NAME.enabled: false"},
		{"::ffff:0.0.0.0/96", `1: 0.0.0.0/0 is too wide to be allowed: at most /8 for IPv4, /16 for IPv6`, "to disable a jail, write jails.NAME.enabled: false"},
		{"fc00::/6", `1: fc00::/6 is too wide to be allowed: at most /8 for IPv4, /16 for IPv6`, "to disable a jail, write jails.NAME.enabled: false"},
		{"192.0.2.1 monitor", `11: unexpected "monitor" after the address`, `write an address or a prefix, optionally "until 2026-12-31" and a # comment after it`},
		{"192.0.2.1 until", `11: unexpected "until" after the address`, `write an address or a prefix, optionally "until 2026-12-31" and a # comment after it`},
		{"192.0.2.1 untilnow", `11: unexpected "untilnow" after the address`, `write an address or a prefix, optionally "until 2026-12-31" and a # comment after it`},
		{"192.0.2.1 until 31.12.2026", `17: "31.12.2026" is not a day`, "write until 2026-12-31 (to the end of that day, UTC) or until 2026-12-31T18:00:00Z"},
		{"192.0.2.1 until 2026-02-30", `17: "2026-02-30" is not a day`, "write until 2026-12-31 (to the end of that day, UTC) or until 2026-12-31T18:00:00Z"},
		{"192.0.2.1 until 1026-12-31", `17: "1026-12-31" is too long ago`, "write until 2026-12-31"},
		{"192.0.2.1 # \x1b[2J", "13: control character U+001B", ""},
		{"192.0.2.1\x00", "10: control character U+0000", ""},
		{"192.0.2.1 # caf\xe9", "16: is not UTF-8", "save the file as UTF-8"},
		{"ümlaut 192.0.2.1", `8: unexpected "192.0.2.1" after the address`, `write an address or a prefix, optionally "until 2026-12-31" and a # comment after it`},
	} {
		got, err := ParseFile("x", strings.NewReader("# first\n"+tt.line+"\n"))
		if err == nil || got != nil {
			t.Errorf("%q: %v, %v", tt.line, got, err)
			continue
		}
		e := diag.Errors(err)
		if len(e) != 1 || e[0].Error() != "x:2:"+tt.want || e[0].Hint != tt.hint {
			t.Errorf("%q: %v, hint %q\nwant x:2:%s, hint %q", tt.line, err, e[0].Hint, tt.want, tt.hint)
		}
	}
}

func TestParseFileBounds(t *testing.T) {
	// The rest of an overlong line is not read as another line.
	_, err := ParseFile("x", strings.NewReader("192.0.2.1\n"+strings.Repeat("x", maxLine+10)+"\n192.0.2.2\n"))
	if err == nil || err.Error() != "x:2:1: the line has more than 1024 bytes" {
		t.Errorf("error %v", err)
	}
	if _, err := ParseFile("x", strings.NewReader("192.0.2.1 #"+strings.Repeat("c", maxLine-12)+"\n")); err != nil {
		t.Errorf("a line just short enough: %v", err)
	}
	// Errors of a file that is something else altogether.
	_, err = ParseFile("x", strings.NewReader(strings.Repeat("<html>\n", 1000)))
	if n := len(diag.Errors(err)); n != maxErrors+1 {
		t.Errorf("%d errors", n)
	}
	// More bytes than a list may have, in comments only, so that no entries are created.
	_, err = ParseFile("x", &endless{line: []byte("# nothing but comment\n")})
	if err == nil || err.Error() != "x: has more than 33554432 bytes" {
		t.Errorf("error %v", err)
	}
	// Comments are kept short, and whole runes.
	got, err := ParseFile("x", strings.NewReader("192.0.2.1 # "+strings.Repeat("ü", 150)+"\n"))
	if err != nil || got[0].Comment != strings.Repeat("ü", maxComment/2) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := ParseFile("x", iotest.ErrReader(errors.New("disk on fire"))); err == nil || err.Error() != "x:1:1: cannot be read: disk on fire" {
		t.Errorf("error %v", err)
	}
}

// endless repeats a line.
type endless struct{ line, rest []byte }

func (e *endless) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(e.rest) == 0 {
			e.rest = e.line
		}
		k := copy(p[n:], e.rest)
		e.rest, n = e.rest[k:], n+k
	}
	return n, nil
}

func TestTooManyEntries(t *testing.T) {
	r := io.LimitReader(&endless{line: []byte("192.0.2.1\n")}, 10*(MaxEntries+1))
	got, err := ParseFile("x", r)
	if got != nil || err == nil || err.Error() != "x:1000001:1: more than 1000000 entries" {
		t.Errorf("%d entries, %v", len(got), err)
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte("192.0.2.1 until 2026-12-31 # x\r\n\ufeff2001:db8::/48\n"))
	f.Add([]byte("::ffff:1.2.3.4/128 until 2026-12-31T00:00:00.123456789+14:00#\n"))
	f.Add([]byte("0.0.0.0/0\nfe80::1%eth0\nexample.org\n"))
	f.Add([]byte{0xff, 0xfe, '\n'})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ParseFile("x", bytes.NewReader(data))
		if err != nil {
			if got != nil {
				t.Fatalf("%d entries beside an error", len(got))
			}
			for _, e := range diag.Errors(err) {
				if e.File != "x" || e.Text == "" || e.Line > 0 && e.Col < 1 {
					t.Fatalf("error %+v", e)
				}
			}
			return
		}
		l := NewList(got)
		for _, e := range got {
			p := e.Prefix
			if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() && p.Bits() >= 96 || p.Addr().Zone() != "" || len(e.Comment) > maxComment {
				t.Fatalf("entry %+v", e)
			}
			if p.Addr().Is4() && p.Bits() < minBits4 {
				t.Fatalf("entry %v is too wide", e)
			}
			again, err := ParseEntry(e.String())
			if err != nil || again.Prefix != p || !again.Until.Equal(e.Until) {
				t.Fatalf("%+v is written %q and read %+v, %v", e, e.String(), again, err)
			}
			if _, ok := l.Contains(p.Addr(), 0); !ok {
				t.Fatalf("%v is not in its list", e)
			}
		}
	})
}

func TestParsePrefix(t *testing.T) {
	if p, err := ParsePrefix("::ffff:192.0.2.1"); err != nil || p != netip.MustParsePrefix("192.0.2.1/32") {
		t.Errorf("%v, %v", p, err)
	}
	var err error // an interface: a nil *Error in it would be an error
	if _, err = ParsePrefix("192.0.2.1"); err != nil {
		t.Error(err)
	}
	if p, err := ParsePrefix("192.0.2.7/24"); err == nil || p.IsValid() {
		t.Errorf("with host bits: %v, %v", p, err)
	}
	if p, err := ParsePrefix("0.0.0.0/0"); err == nil || p.String() != "0.0.0.0/0" {
		t.Errorf("too wide: %v, %v", p, err)
	}
	if _, err = ParseEntry(" 192.0.2.1 "); err != nil {
		t.Error(err)
	}
	if _, err = ParseEntry(""); err == nil {
		t.Error("nothing at all was taken")
	}
}
