package blocklist

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"bailiff/policy/prefix"
)

// TestParse: what each format holds, and the error of what is none.
func TestParse(t *testing.T) {
	csv := func(l *List) { l.Format, l.Column = FormatCSV, 2 }
	lines := func(l *List) { l.Format, l.Pointers = FormatLines, []string{"/cidr"} }
	object := func(l *List) { l.Format, l.Pointers = FormatJSON, []string{"/data/*/ipAddress"} }
	families := func(l *List) { l.Format, l.Pointers = FormatJSON, []string{"/v4/*", "/v6/*"} }
	for _, c := range []struct {
		set  func(*List)
		text string
		want string
	}{
		{nil, "# a list\r\n192.0.2.1\r\n\r\n198.51.100.0/24 ; SBL1\n2001:db8::/32 # x\n", "[192.0.2.1/32 198.51.100.0/24 2001:db8::/32]"},
		{nil, "::ffff:192.0.2.1\n", "[192.0.2.1/32]"},
		{nil, "<html>\n", `x:1:1: "<html>" is not an address`},
		{nil, "192.0.2.1\n192.0.2.7/24\n", `x:2:1: "192.0.2.7/24" has host bits: an address or 192.0.2.0/24 was expected`},
		{nil, "192.0.2.1-192.0.2.9\n", `x:1:1: "192.0.2.1-192.0.2.9" is not an address`},
		{nil, "fe80::1%eth0\n", `x:1:1: "fe80::1%eth0" is not an address`},
		{nil, "::ffff:192.0.2.0/120\n", `x:1:1: "::ffff:192.0.2.0/120" is not a prefix`},
		{nil, strings.Repeat("x", maxLine+1), fmt.Sprintf("x:1:1: the line is longer than %d bytes", maxLine)},
		{csv, "rank,address\n1,\"192.0.2.1\",x\n# no\n2, 192.0.2.2\n", "[192.0.2.1/32 192.0.2.2/32]"},
		{csv, "rank,address\nrank,address\n", `x:2:1: "address" is not an address`},
		{csv, "1,192.0.2.1\nrank,address\n", `x:2:1: "address" is not an address`},
		{csv, "1,192.0.2.1\n192.0.2.1\n", "x:2:1: has 1 fields, and addresses are expected in field 2"},
		{lines, `{"cidr":"192.0.2.0/24","sblid":"SBL1"}` + "\n" + `{"cidr":"2001:db8::/32"}` + "\n" + `{"type":"metadata","size":2}` + "\n", "[192.0.2.0/24 2001:db8::/32]"},
		{lines, `{"cidr":7}`, "x:1:1: /cidr is not a string"},
		{lines, "nothing", "x:1:1: is not JSON: invalid character 'o' in literal null (expecting 'u')"},
		{object, `{"data":[{"ipAddress":"192.0.2.1"},{"ipAddress":"192.0.2.2"}]}`, "[192.0.2.1/32 192.0.2.2/32]"},
		{families, `{"v4":["192.0.2.1"],"v6":["2001:db8::/32"]}`, "[192.0.2.1/32 2001:db8::/32]"},
		{families, `{"v4":["x"],"v6":["2001:db8::1"]}`, `x: "x" is not an address`},
		{families, `{"v4":[4],"v6":["2001:db8::1"]}`, "x: /v4/0 is not a string"},
		{object, `{"errors":[]}`, "x: has nothing at /data/*/ipAddress"},
	} {
		l := New("mine")
		if c.set != nil {
			c.set(&l)
		}
		got, err := l.Parse("x", []byte(c.text))
		s := fmt.Sprint(got)
		if err != nil {
			s = err.Error()
		}
		if s != c.want {
			t.Errorf("%s %.60q:\ngot  %s\nwant %s", l.Format, c.text, s, c.want)
		}
	}
}

// TestJudge: private addresses are left out, and a prefix that is too wide refuses the list.
func TestJudge(t *testing.T) {
	l := New("mine")
	for s, want := range map[string]string{
		"192.0.2.1/32": "keep", "8.0.0.0/8": "keep", "2001:db8::/32": "keep", "2400::/16": "keep",
		"10.1.0.0/16": "leave out", "127.0.0.1/32": "leave out", "169.254.0.0/16": "leave out", "100.64.3.0/24": "leave out",
		"172.0.0.0/8": "leave out", "192.0.0.0/8": "leave out", // they hold private networks
		"0.0.0.0/8": "leave out", "224.0.0.0/3": "leave out", "255.255.255.255/32": "leave out", // as in FireHOL's level 1
		"fe80::/10": "leave out", "fc00::/7": "leave out", "::1/128": "leave out", "ff00::/8": "leave out",
		"0.0.0.0/0": "has 0.0.0.0/0, which is wider than /8", "8.0.0.0/7": "has 8.0.0.0/7, which is wider than /8",
		"::/0": "has ::/0, which is wider than /16", "2000::/3": "has 2000::/3, which is wider than /16",
	} {
		keep, err := l.Judge(netip.MustParsePrefix(s))
		got := "leave out"
		switch {
		case err != nil:
			got = err.Error()
		case keep:
			got = "keep"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", s, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	l := New("mine")
	for _, c := range []struct {
		n, former int
		want      string
	}{
		{0, 0, "is empty"}, {1, 0, ""}, {50, 100, ""}, {49, 100, "has 49 entries, less than 50 % of the 100 that it had"},
		{MaxEntries + 1, 0, "has more than 2000000 entries"},
	} {
		got := ""
		if err := l.Check(c.n, c.former); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%d after %d: %q, want %q", c.n, c.former, got, c.want)
		}
	}
}

// TestCatalogue: each list of the catalogue is complete.
func TestCatalogue(t *testing.T) {
	if len(Catalogue()) < 15 {
		t.Error(Catalogue())
	}
	for _, name := range Catalogue() {
		l := New(name)
		for _, u := range l.URLs {
			if !strings.HasPrefix(u, "https://") {
				t.Errorf("%s: %s", name, u)
			}
		}
		isJSON := l.Format == FormatJSON || l.Format == FormatLines
		if len(l.URLs) == 0 || l.Interval == 0 || isJSON != (len(l.Pointers) > 0) || (l.Credential == "") != (l.KeyHeader == "") {
			t.Errorf("%+v", l)
		}
	}
}

// FuzzParse: whatever a server sends, what is kept is in order, without overlaps, no wider than permitted, and nobody's private network.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"192.0.2.1\n198.51.100.0/24 ; x\n", "1,192.0.2.1\n", `{"cidr":"192.0.2.0/24"}` + "\n", "::ffff:10.0.0.1\n", "fe80::1%1\n", "0.0.0.0/0\n", "224.0.0.0/3\n"} {
		for i := range Formats {
			f.Add(i, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, format int, data []byte) {
		l := New("mine")
		l.Format = Formats[uint(format)%uint(len(Formats))]
		l.Pointers = []string{"/cidr", "/*"}
		all, err := l.Parse("x", data)
		if err != nil {
			return
		}
		var kept []netip.Prefix
		for _, p := range all {
			keep, err := l.Judge(p)
			if err == nil && keep {
				kept = append(kept, p)
			}
		}
		for i, p := range prefix.Compact(kept) {
			widest := minPrefix6
			if p.Addr().Is4() {
				widest = minPrefix4
			}
			a := p.Addr()
			if p != p.Masked() || a.Is4In6() || a.Zone() != "" || p.Bits() < widest || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
				t.Errorf("kept %v", p)
			}
			if i > 0 && kept[i-1].Overlaps(p) {
				t.Errorf("kept %v and %v", kept[i-1], p)
			}
		}
	})
}
