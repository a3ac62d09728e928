package whois

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

// The answers in testdata have the form of each registry's answers; names, networks and addresses are made up.
func TestParse(t *testing.T) {
	for _, c := range []struct {
		file, addr string
		want       report.Whois
	}{
		{"ripe.txt", "198.51.100.77", report.Whois{Network: netip.MustParsePrefix("198.51.100.0/25"), Name: "EXAMPLE-HOSTING", Holder: "Example Hosting B.V.", Country: "NL",
			Abuse: []string{"abuse@hosting.example.net"}}},
		{"arin.txt", "203.0.113.9", report.Whois{Network: netip.MustParsePrefix("203.0.113.0/26"), Name: "CUSTOMER-7", Holder: "Small Customer LLC", Country: "US",
			Abuse: []string{"abuse@customer.example.com", "noc@isp.example.com"}}},
		{"apnic.txt", "192.0.2.200", report.Whois{Network: netip.MustParsePrefix("192.0.2.0/24"), Name: "EXAMPLE-AP", Holder: "Example Telecom", Country: "VN",
			Abuse: []string{"abuse@telecom.example.vn", "hm-changed@telecom.example.vn"}}},
		{"lacnic.txt", "203.0.113.200", report.Whois{Network: netip.MustParsePrefix("203.0.113.128/25"), Holder: "Provedor Exemplo São Paulo Ltda", Country: "BR",
			Abuse: []string{"abuso@provedor.example.br"}}},
		{"afrinic.txt", "2001:db8:4000::17", report.Whois{Network: netip.MustParsePrefix("2001:db8:4000::/36"), Name: "Example-KE", Holder: "Example Internet Ltd", Country: "KE",
			Abuse: []string{"abuse@example.co.ke"}}},
	} {
		data := read(t, c.file)
		got := Parse(data, netip.MustParseAddr(c.addr))
		text := got.Text
		got.Text = ""
		if got.Network != c.want.Network || got.Name != c.want.Name || got.Holder != c.want.Holder || got.Country != c.want.Country || !slices.Equal(got.Abuse, c.want.Abuse) {
			t.Errorf("%s:\n%+v, want\n%+v", c.file, *got, c.want)
		}
		if strings.Contains("\n"+text, "\n%") || strings.Contains("\n"+text, "\n#") || !strings.Contains(text, c.want.Holder) || strings.Contains(text, "\n\n\n") {
			t.Errorf("%s: the text for people is\n%s", c.file, text)
		}
	}
}

// From an answer about another network nothing is taken.
func TestParseOther(t *testing.T) {
	got := Parse(read(t, "ripe.txt"), netip.MustParseAddr("192.0.2.1"))
	if got.Network.IsValid() || got.Abuse != nil || got.Name != "" || got.Holder != "" {
		t.Errorf("%+v", got)
	}
}

// Data of a wider or foreign network is not taken for ours; nor is anything but a plain mail address.
func TestParseTricks(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		abuse []string
	}{
		"wider after narrower": {"inetnum: 192.0.2.0/28\nabuse-mailbox: a@example.org\n\ninetnum: 192.0.2.0/24\nabuse-mailbox: b@example.org\n", []string{"a@example.org"}},
		"narrower after wider": {"inetnum: 192.0.2.0/24\nabuse-mailbox: b@example.org\n\ninetnum: 192.0.2.0/28\nabuse-mailbox: a@example.org\n", []string{"a@example.org"}},
		"other network":        {"inetnum: 192.0.2.0/28\n\ninetnum: 198.51.100.0/24\nabuse-mailbox: b@example.org\n", nil},
		"header injection":     {"inetnum: 192.0.2.0/28\nabuse-mailbox: a@example.org\rBcc: x@example.org\nabuse-mailbox: \"a b\"@example.org\nabuse-mailbox: <c@example.org>\n", nil},
		"option":               {"inetnum: 192.0.2.0/28\nabuse-mailbox: -oQ/tmp@example.org\n", nil},
		"list":                 {"inetnum: 192.0.2.0/28\nabuse-mailbox: mailto:a@example.org, A@example.org; b@example.org\n", []string{"a@example.org", "b@example.org"}},
		"too many":             {"inetnum: 192.0.2.0/28\nabuse-mailbox: a@b.c,b@b.c,c@b.c,d@b.c,e@b.c,f@b.c\n", []string{"a@b.c", "b@b.c", "c@b.c", "d@b.c", "e@b.c"}},
		"announced for others": {"% Abuse contact for '198.51.100.0 - 198.51.100.255' is 'x@example.org'\ninetnum: 192.0.2.0/28\n", nil},
		"handle of others":     {"inetnum: 192.0.2.0/28\nabuse-c: AAA\n\nnic-hdl: BBB\ne-mail: b@example.org\n\nnic-hdl: AAA\ne-mail: a@example.org\n", []string{"a@example.org"}},
		"route alone":          {"route: 192.0.2.0/24\ndescr: x\n", nil},
	} {
		if got := Parse([]byte(c.text), netip.MustParseAddr("192.0.2.1")); !slices.Equal(got.Abuse, c.abuse) || !got.Network.IsValid() {
			t.Errorf("%s: %v of %v, want %v", name, got.Abuse, got.Network, c.abuse)
		}
	}
}

func TestReferral(t *testing.T) {
	for text, want := range map[string]string{
		"% IANA\n\nrefer:        whois.ripe.net\n\ninetnum: 193.0.0.0 - 193.255.255.255\nwhois: whois.ripe.net\n": "whois.ripe.net:43",
		"whois: WHOIS.apnic.net\r\n":                                                "whois.apnic.net:43",
		"ReferralServer:  whois://whois.example.net:4343\n":                         "whois.example.net:4343",
		"ReferralServer:  rwhois://rwhois.example.net:4321\n":                       "",
		"ResourceLink:  https://apps.db.ripe.net/\nResourceLink:  whois.ripe.net\n": "whois.ripe.net:43",
		"refer: 192.0.2.1\n":                                                        "192.0.2.1:43",
		"refer: [2001:db8::1]:43\n":                                                 "[2001:db8::1]:43",
		"refer: 2001:db8::1\n":                                                      "[2001:db8::1]:43",
		"refer: fe80::1%eth0\n":                                                     "",
		"refer: 0\n":                                                                "",
		"refer: 127.1\n":                                                            "",
		"refer: a b\n":                                                              "",
		"refer: -x\n":                                                               "",
		"refer: x:0\n":                                                              "",
		"refer: x:70000\n":                                                          "",
		"refer: whois://u:p@example.org":                                            "",
		"refer: \x00\n":                                                             "",
		"nothing":                                                                   "",
	} {
		if got := Referral([]byte(text)); got != want {
			t.Errorf("%q refers to %q, want %q", text, got, want)
		}
	}
}

func TestBlock(t *testing.T) {
	for _, c := range [][4]string{
		{"192.0.2.0", "192.0.2.255", "192.0.2.7", "192.0.2.0/24"},
		{"192.0.2.0", "192.0.4.255", "192.0.2.7", "192.0.2.0/23"},
		{"192.0.2.0", "192.0.4.255", "192.0.4.7", "192.0.4.0/24"},
		{"192.0.2.1", "192.0.2.254", "192.0.2.1", "192.0.2.1/32"},
		{"0.0.0.0", "255.255.255.255", "192.0.2.1", "0.0.0.0/0"},
		{"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::7", "2001:db8::/32"},
		{"192.0.2.8", "192.0.2.15", "192.0.2.7", "invalid Prefix"},
		{"192.0.2.15", "192.0.2.8", "192.0.2.9", "invalid Prefix"},
		{"::", "::ffff", "192.0.2.9", "invalid Prefix"},
	} {
		if got := Block(netip.MustParseAddr(c[0]), netip.MustParseAddr(c[1]), netip.MustParseAddr(c[2])); got.String() != c[3] {
			t.Errorf("%s - %s around %s: %s, want %s", c[0], c[1], c[2], got, c[3])
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"ripe.txt", "arin.txt", "apnic.txt", "lacnic.txt", "afrinic.txt"} {
		f.Add(read(f, name), "203.0.113.200")
	}
	f.Add([]byte("inetnum: 177.1/16\nroute6: ::/0\n% Abuse contact for '::/0' is '"), "2001:db8::1")
	f.Fuzz(func(t *testing.T, data []byte, s string) {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return
		}
		w := Parse(data, addr)
		if w.Network.IsValid() && (!w.Network.Contains(addr.Unmap()) || w.Network != w.Network.Masked()) {
			t.Errorf("%s is not in %s", addr, w.Network)
		}
		CheckAnswer(t, w)
		if r := Referral(data); r != "" && Server(r) != r {
			t.Errorf("refers to %q, which is read as %q", r, Server(r))
		}
	})
}

// CheckAnswer holds what every answer promises to its readers.
func CheckAnswer(t testing.TB, w *report.Whois) {
	t.Helper()
	for _, a := range w.Abuse {
		if !config.ValidAddress(a) {
			t.Errorf("contact %q", a)
		}
	}
	if len(w.Abuse) > MaxContacts || len(w.Text) > 16<<10 || strings.Count(w.Text, "\n") > 241 || w.Text != "" && !strings.HasSuffix(w.Text, "\n") {
		t.Errorf("%d contacts, %d bytes of text", len(w.Abuse), len(w.Text))
	}
	for _, s := range []string{w.Name, w.Holder, w.Country, strings.ReplaceAll(w.Text, "\n", "")} {
		if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) {
			t.Errorf("%q is not clean", s)
		}
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
