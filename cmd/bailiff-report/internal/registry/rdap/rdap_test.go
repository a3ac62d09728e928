package rdap

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"bailiff/cmd/bailiff-report/internal/registry/whois"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

// Answers in the form of ARIN's (contacts nested in the holder), RIPE's (maintainers among the registrants, CIDR
// extension), APNIC's and LACNIC's; who is named in them is made up.
const (
	arin = `{"objectClassName":"ip network","handle":"NET-198-51-100-0-1","startAddress":"198.51.100.0","endAddress":"198.51.100.255","ipVersion":"v4","name":"EXAMPLE-1",
"type":"DIRECT ALLOCATION","parentHandle":"NET-198-0-0-0-0","cidr0_cidrs":[{"v4prefix":"198.51.100.0","length":24}],
"remarks":[{"title":"Registration Comments","description":["Geofeed https://example.com/geo","","Please report here:"]}],
"events":[{"eventAction":"last changed","eventDate":"2024-01-02T03:04:05-05:00"}],
"entities":[{"objectClassName":"entity","handle":"EX","roles":["registrant"],
 "vcardArray":["vcard",[["version",{},"text","4.0"],["fn",{},"text","Example Cloud, Inc."],["adr",{"label":"1 Example Way"},"text",["","","","","","",""]],["kind",{},"text","org"]]],
 "entities":[{"handle":"TECH1","roles":["technical"],"vcardArray":["vcard",[["version",{},"text","4.0"],["fn",{},"text","NOC"],["email",{},"text","noc@example.com"]]]},
             {"handle":"AB1","roles":["abuse"],"vcardArray":["vcard",[["version",{},"text","4.0"],["fn",{},"text","Abuse"],["kind",{},"text","group"],["email",{},"text","abuse@example.com"],["tel",{"type":["work"]},"text","+1-555"]]]}]}]}`
	ripe = `{"objectClassName":"ip network","handle":"2001:db8::/32","startAddress":"2001:db8::","endAddress":"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff","ipVersion":"v6","name":"NL-EXAMPLE","country":"nl",
"cidr0_cidrs":[{"v6prefix":"2001:db8::","length":32}],
"entities":[{"handle":"EXAMPLE-MNT","roles":["registrant"],"vcardArray":["vcard",[["version",{},"text","4.0"],["fn",{},"text","EXAMPLE-MNT"],["kind",{},"text","individual"]]]},
 {"handle":"ORG-E1","roles":["registrant"],"vcardArray":["vcard",[["version",{},"text","4.0"],["fn",{},"text","Example B.V."],["kind",{},"text","org"],["email",{"type":"email"},"text","info@example.nl"]]]},
 {"handle":"AR1","roles":["abuse"],"vcardArray":["vcard",[["version",{},"text","4.0"],["fn",{},"text","Abuse role"],["kind",{},"text","group"],["email",{"type":"abuse"},"text","abuse@example.nl"]]]}]}`
	odd = `{"objectClassName":"ip network","startAddress":"192.0.2.0/25","endAddress":"192.0.2.127","name":7,"country":"Brazil","remarks":"none","events":[1,{"eventAction":"registration","eventDate":"2019"}],
"entities":[null,"x",{"roles":"abuse"},{"roles":["ABUSE"],"vcardArray":["vcard",[[],["email"],["email",{},"text",["a@example.org"]],["email",{},"text","a@example.org\r\nBcc: x@example.org"],["email",{},"text","mailto:cert@example.org"],["fn",{},"text","\u001b[2JCERT\u202e"]]]}]}`
)

func TestParseNetwork(t *testing.T) {
	for _, c := range []struct {
		data, addr string
		want       report.Whois
		text       []string
	}{
		{arin, "198.51.100.9", report.Whois{Network: netip.MustParsePrefix("198.51.100.0/24"), Name: "EXAMPLE-1", Holder: "Example Cloud, Inc.", Abuse: []string{"abuse@example.com"}},
			[]string{"range:       198.51.100.0 - 198.51.100.255\n", "handle:      NET-198-51-100-0-1\n", "remarks:     Geofeed https://example.com/geo\n", "last changed: 2024-01-02T03:04:05-05:00\n"}},
		{ripe, "2001:db8::7", report.Whois{Network: netip.MustParsePrefix("2001:db8::/32"), Name: "NL-EXAMPLE", Holder: "Example B.V.", Country: "NL", Abuse: []string{"abuse@example.nl"}}, nil},
		{odd, "::ffff:192.0.2.1", report.Whois{Network: netip.MustParsePrefix("192.0.2.0/25"), Abuse: []string{"cert@example.org"}}, []string{"registration: 2019\n"}},
	} {
		got, err := ParseNetwork([]byte(c.data), netip.MustParseAddr(c.addr))
		if err != nil {
			t.Errorf("%s: %v", c.addr, err)
			continue
		}
		if got.Network != c.want.Network || got.Name != c.want.Name || got.Holder != c.want.Holder || got.Country != c.want.Country || !slices.Equal(got.Abuse, c.want.Abuse) {
			t.Errorf("%s: %+v, want %+v", c.addr, *got, c.want)
		}
		for _, line := range c.text {
			if !strings.Contains(got.Text, line) {
				t.Errorf("%s: no %q in\n%s", c.addr, line, got.Text)
			}
		}
	}
}

func TestParseNetworkRefuses(t *testing.T) {
	for _, c := range []struct{ data, err string }{
		{`<html>`, "not an RDAP answer"},
		{``, "not an RDAP answer"},
		{`[]`, "not about"},
		{`{"errorCode":404,"title":"Not\nFound"}`, "error 404: Not Found"},
		{`{"objectClassName":"ip network","startAddress":"192.0.2.0","endAddress":"192.0.2.255"}`, `the answer is about "192.0.2.0" to "192.0.2.255", not about 198.51.100.1`},
		{`{"cidr0_cidrs":[{"v4prefix":"192.0.2.0","length":24},{"v4prefix":"198.51.100.0","length":99},{"v4prefix":"198.51.100.0","v6prefix":"::","length":0}]}`, "not about"},
		{`{"startAddress":"::","endAddress":"ffff::"}`, "not about"},
	} {
		if w, err := ParseNetwork([]byte(c.data), netip.MustParseAddr("198.51.100.1")); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, %v, want %q", c.data, w, err, c.err)
		}
	}
}

// The nearest abuse contact counts: contacts of outer organisations are for all of their networks.
func TestNearestAbuse(t *testing.T) {
	entity := func(role, mail, inner string) string {
		return fmt.Sprintf(`{"roles":[%q],"vcardArray":["vcard",[["email",{},"text",%q]]],"entities":[%s]}`, role, mail, inner)
	}
	for _, c := range []struct {
		entities string
		want     []string
	}{
		{entity("registrant", "r@x.org", entity("abuse", "deep@x.org", "")) + "," + entity("abuse", "near@x.org", ""), []string{"near@x.org"}},
		{entity("registrant", "r@x.org", entity("abuse", "deep@x.org", "")), []string{"deep@x.org"}},
		{entity("abuse", "not an address", entity("administrative", "person@x.org", "")), []string{"person@x.org"}},
		{entity("abuse", "a@x.org", "") + "," + entity("abuse", "b@x.org", "") + "," + entity("abuse", "A@X.org", ""), []string{"a@x.org", "b@x.org"}},
		{entity("technical", "t@x.org", ""), nil},
		{entity("registrant", "1@x.org", entity("x", "2@x.org", entity("x", "3@x.org", entity("x", "4@x.org", entity("abuse", "5@x.org", ""))))), nil},
	} {
		w, err := ParseNetwork([]byte(`{"startAddress":"192.0.2.0","endAddress":"192.0.2.255","entities":[`+c.entities+`]}`), netip.MustParseAddr("192.0.2.1"))
		if err != nil || !slices.Equal(w.Abuse, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.entities, w, err, c.want)
		}
	}
}

// Deep and wide answers take memory in proportion to their size: copies made at each level would add up to its square.
func TestParseNetworkBounded(t *testing.T) {
	const head = `{"startAddress":"192.0.2.0","endAddress":"192.0.2.255","entities":`
	deep := head + strings.Repeat(`[{"entities":`, 4900) + `"` + strings.Repeat("x", 400_000) + `"` + strings.Repeat("}]", 4900) + "}"
	wide := head + "[" + strings.Repeat(`{"roles":["abuse"],"entities":[{},{},{}]},`, 10_000) + "{}]}"
	for name, data := range map[string]string{"deep": deep, "wide": wide} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := ParseNetwork([]byte(data), netip.MustParseAddr("192.0.2.1")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 100*uint64(len(data)) {
			t.Errorf("%s: %d bytes took %d bytes of memory", name, len(data), n)
		}
	}
}

func TestIANA(t *testing.T) {
	for addr, want := range map[string]string{
		"1.1.1.1": "https://rdap.apnic.net/", "8.8.8.8": "https://rdap.arin.net/registry/", "193.0.6.139": "https://rdap.db.ripe.net/",
		"200.3.14.10": "https://rdap.lacnic.net/rdap/", "196.216.2.1": "https://rdap.afrinic.net/rdap/", "::ffff:77.1.2.3": "https://rdap.db.ripe.net/",
		"2001:4860:4860::8888": "https://rdap.arin.net/registry/", "2a00:1450::1": "https://rdap.db.ripe.net/", "2410::1": "https://rdap.apnic.net/", "2003:40::1": "https://rdap.db.ripe.net/",
		"10.0.0.1": "", "127.0.0.1": "", "224.0.0.1": "", "0.1.2.3": "", "::1": "", "2001::1": "", "2003:4000::1": "",
	} {
		if got := strings.Join(IANA().Servers(netip.MustParseAddr(addr)), " "); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	// Every network that can hold hosts belongs to one registry, and only one: 256 less 0, 10, 127 and 224 to 255.
	n := 0
	for _, urls := range IANA().servers {
		if n += len(urls); len(urls) != 1 {
			t.Errorf("%v", urls)
		}
	}
	if want := 221 + 35 - 1; n != want {
		t.Errorf("%d networks, want %d", n, want)
	}
}

func TestParseBootstrap(t *testing.T) {
	b, err := ParseBootstrap([]byte(`{"version":"1.0","services":[[["192.0.2.0/24","198.51.100.0/25"],["http://a.example/x","https://a.example/x"]],[["192.0.0.0/16"],["https://b.example/"]]]}
{"services":[[["2001:db8::/32"],["https://[2001:db8::1]:8443/rdap/"]]]}`))
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"192.0.2.1": "https://a.example/x/ http://a.example/x/", "192.0.3.1": "https://b.example/", "2001:db8::5": "https://[2001:db8::1]:8443/rdap/", "203.0.113.1": "", "198.51.100.200": "",
	} {
		if got := strings.Join(b.Servers(netip.MustParseAddr(addr)), " "); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	for data, want := range map[string]string{
		``:                                     "names no network",
		`{}`:                                   "names no network",
		`x`:                                    "not a bootstrap file of RFC 9224",
		`{"services":[[["192.0.2.0/24"]]]}`:    "service 1 has 1 lists",
		`{"services":[[["192.0.2.0/24"],[]]]}`: "service 1 has no server",
		`{"services":[[["192.0.2"],["https://a/"]]]}`:                  `service 1: "192.0.2" is not a network`,
		`{"services":[[["192.0.2.0/24"],["ftp://a/"]]]}`:               `service 1: "ftp://a/" is not the URL of a server`,
		`{"services":[[["192.0.2.0/24"],["https://user@a/"]]]}`:        "is not the URL of a server",
		`{"services":[` + strings.Repeat(" ", MaxBootstrap) + `]}`:     "is larger than",
		`{"services":[[["192.0.2.0/24"],["https://a.example/?q=1"]]]}`: "is not the URL of a server",
	} {
		if _, err := ParseBootstrap([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", data, err, want)
		}
	}
}

func FuzzParseNetwork(f *testing.F) {
	f.Add([]byte(arin), "198.51.100.9")
	f.Add([]byte(ripe), "2001:db8::7")
	f.Add([]byte(odd), "192.0.2.1")
	f.Fuzz(func(t *testing.T, data []byte, s string) {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return
		}
		w, err := ParseNetwork(data, addr)
		if err != nil {
			if strings.ContainsFunc(err.Error(), unicode.IsControl) || !utf8.ValidString(err.Error()) {
				t.Errorf("error %q is not clean", err)
			}
			return
		}
		if !w.Network.Contains(addr.Unmap()) || w.Network != w.Network.Masked() {
			t.Errorf("%s is not in %s", addr, w.Network)
		}
		for _, a := range w.Abuse {
			if !config.ValidAddress(a) {
				t.Errorf("contact %q", a)
			}
		}
		if len(w.Abuse) > whois.MaxContacts || len(w.Text) > 16<<10 {
			t.Errorf("%d contacts, %d bytes of text", len(w.Abuse), len(w.Text))
		}
		for _, s := range []string{w.Name, w.Holder, w.Country, strings.ReplaceAll(w.Text, "\n", "")} {
			if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
				t.Errorf("%q is not clean", s)
			}
		}
	})
}

func FuzzParseBootstrap(f *testing.F) {
	f.Add([]byte(`{"services":[[["192.0.2.0/24"],["https://a.example/x"]]]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ParseBootstrap(data)
		if err != nil {
			return
		}
		for p, urls := range b.servers {
			if got := b.Servers(p.Addr()); len(got) == 0 || len(urls) == 0 {
				t.Errorf("%s: %v of %v", p, got, urls)
			}
		}
		if _, err := json.Marshal(b.Servers(netip.MustParseAddr("192.0.2.1"))); err != nil {
			t.Error(err)
		}
	})
}
