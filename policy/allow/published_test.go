package allow

import (
	"fmt"
	"strings"
	"testing"

	"bailiff/policy/diag"
)

func prefixes(entries []Entry) string {
	var l []string
	for _, e := range entries {
		l = append(l, e.Prefix.String())
	}
	return strings.Join(l, " ")
}

// The forms in which lists are published: UptimeRobot's with CRLF and both families, and its JSON; Pingdom's; Cloudflare's
// API; StatusCake's JSON.
func TestPublishedForms(t *testing.T) {
	for _, tt := range []struct {
		pointers []string
		data     string
		want     string
	}{
		{nil, "216.144.248.18\r\n2607:ff68:107::3\r\n", "216.144.248.18/32 2607:ff68:107::3/128"},
		{nil, "5.172.196.188\n13.232.220.164\n", "5.172.196.188/32 13.232.220.164/32"},
		{nil, "173.245.48.0/20\n103.21.244.0/22", "173.245.48.0/20 103.21.244.0/22"},
		{[]string{"/prefixes/*/ip_prefix", "/prefixes/*/ipv6_prefix"}, `{"creationTime":"x","prefixes":[{"ip_prefix":"3.12.251.153/32","region":"NA"},{"ipv6_prefix":"2a03:b0c0::1/128"}]}`, "3.12.251.153/32 2a03:b0c0::1/128"},
		{[]string{"/result/ipv4_cidrs/*", "/result/ipv6_cidrs/*"}, `{"result":{"ipv4_cidrs":["173.245.48.0/20"],"ipv6_cidrs":["2400:cb00::/32"],"etag":"x"},"success":true}`, "173.245.48.0/20 2400:cb00::/32"},
		{[]string{"/*/ip"}, `{"1":{"ip":"192.0.2.1 ","title":"a"},"10":{"ip":"192.0.2.10"},"2":{"title":"without"}}`, "192.0.2.1/32 192.0.2.10/32"},
		{[]string{"/1"}, `["192.0.2.1","192.0.2.2"]`, "192.0.2.2/32"},
		{[]string{"/a~1b/c~0d"}, `{"a/b":{"c~d":"192.0.2.1"}}`, "192.0.2.1/32"},
		{[]string{"/*"}, `["::ffff:192.0.2.7"]`, "192.0.2.7/32"},
	} {
		p := NewPublished("x")
		if p.Pointers = tt.pointers; tt.pointers != nil {
			p.Format = FormatJSON
		}
		got, err := p.Parse("https://example.org/list", []byte(tt.data))
		if err != nil || prefixes(got) != tt.want {
			t.Errorf("%q: %s, %v; want %s", tt.data, prefixes(got), err, tt.want)
		}
	}
}

func TestPublishedBad(t *testing.T) {
	for _, tt := range []struct{ pointer, data, want string }{
		{"", "192.0.2.1\n<html>\n", `x:2:1: "<html>" is neither an address nor a prefix`},
		{"", "192.0.2.1, 192.0.2.2\n", `x:1:12: unexpected "192.0.2.2" after the address`},
		{"/a", `{"a":`, "x: is not JSON: unexpected end of JSON input"},
		{"/a", `{"b":1}`, "x: has nothing at /a"},
		{"/a/*", `{"a":[]}`, "x: has nothing at /a/*"},
		{"/a/*", `{"a":["192.0.2.1", 7]}`, "x: /a/1 is not a string"},
		{"/a/*", `{"a":["192.0.2.1", "example.org"]}`, `x: /a/1: "example.org" is neither an address nor a prefix`},
		{"/a/*", `{"a":["0.0.0.0/0"]}`, `x: /a/0: 0.0.0.0/0 is too wide to be allowed: at most /8 for IPv4, /16 for IPv6`},
		{"/a/*", `{"a":["192.0.2.7/24"]}`, `x: /a/0: "192.0.2.7/24" has bits beyond its length`},
	} {
		p := NewPublished("x")
		if tt.pointer != "" {
			p.Format, p.Pointers = FormatJSON, []string{tt.pointer}
		}
		got, err := p.Parse("x", []byte(tt.data))
		if err == nil || got != nil {
			t.Errorf("%q: %v", tt.data, got)
			continue
		}
		if e := diag.Errors(err)[0]; !strings.HasPrefix(e.Error(), tt.want) {
			t.Errorf("%q: %v\nwant %s", tt.data, e, tt.want)
		}
	}
	// Of a million errors only some are reported.
	p := Published{Format: FormatJSON, Pointers: []string{"/*"}}
	if _, err := p.Parse("x", []byte("["+strings.Repeat("1,", 10000)+"1]")); len(diag.Errors(err)) > maxErrors {
		t.Errorf("%d errors", len(diag.Errors(err)))
	}
}

func TestAccept(t *testing.T) {
	many := func(n int) (l []Entry) {
		for i := range n {
			l = append(l, Entry{Prefix: parsed(fmt.Sprintf("10.%d.%d.%d/32", i>>16, i>>8&255, i&255))})
		}
		return l
	}
	p := NewPublished("x")
	p.MinPrefix4, p.MinPrefix6, p.MinPercent = 24, 48, 50
	for _, tt := range []struct {
		entries []Entry
		former  int
		want    string
	}{
		{many(1), 0, ""},
		{many(50), 100, ""},
		{many(49), 100, "has 49 entries, less than 50 % of the 100 that it had"},
		{append(many(49), many(49)...), 100, "has 49 entries, less than 50 % of the 100 that it had"}, // repeating them does not help
		{many(1000), 1, ""},
		{nil, 0, "is empty"},
		{nil, 10, "is empty"},
		{[]Entry{{Prefix: parsed("192.0.2.0/24")}, {Prefix: parsed("2001:db8::/48")}}, 0, ""},
		{[]Entry{{Prefix: parsed("192.0.2.1/32")}, {Prefix: parsed("192.0.2.0/23"), Line: 2}}, 0, "has 192.0.2.0/23 in line 2, which is wider than /24"},
		{[]Entry{{Prefix: parsed("2001:db8::/47")}}, 0, "has 2001:db8::/47, which is wider than /48"},
		{many(MaxPublished + 1), 0, "has more than 100000 entries"},
	} {
		err := p.Accept(tt.entries, tt.former)
		if got := fmt.Sprint(err); err == nil && tt.want != "" || err != nil && got != tt.want {
			t.Errorf("%d entries of %d: %v, want %q", len(tt.entries), tt.former, err, tt.want)
		}
	}
	p.MinPercent = 0
	if err := p.Accept(many(1), 1000); err != nil {
		t.Errorf("any size will do: %v", err)
	}
}

func FuzzPublishedJSON(f *testing.F) {
	f.Add([]byte(`{"prefixes":[{"ip_prefix":"3.12.251.153/32"},{"ipv6_prefix":"2a03:b0c0::1/128"}]}`), "/prefixes/*/ip_prefix")
	f.Add([]byte(`[[["192.0.2.1"]]]`), "/*/*/0")
	f.Fuzz(func(t *testing.T, data []byte, pointer string) {
		if _, err := ParsePointer(pointer); err != nil {
			return
		}
		p := NewPublished("x")
		p.Format, p.Pointers = FormatJSON, []string{pointer}
		entries, err := p.Parse("x", data)
		if (err == nil) != (len(entries) > 0) {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		for _, e := range entries {
			if !e.Prefix.IsValid() || e.Prefix != e.Prefix.Masked() {
				t.Fatalf("%+v", e)
			}
		}
	})
}
