package registry

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/firewall/firewalltest"
	"bailiff/policy/config"
)

// As root the tests run in a network namespace of their own, which can have public addresses.
func TestMain(m *testing.M) {
	if os.Getenv("BAILIFF_TEST_NETNS") != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "ip link set lo up: %v: %s", err, out)
			os.Exit(1)
		}
	}
	os.Exit(firewalltest.Main(m))
}

var attacker = netip.MustParseAddr("198.51.100.77")

const answer = `{"objectClassName":"ip network","handle":"NET-1","startAddress":"198.51.100.0","endAddress":"198.51.100.127","name":"EXAMPLE","country":"NL",
"entities":[{"roles":["registrant"],"vcardArray":["vcard",[["fn",{},"text","Example B.V."],["kind",{},"text","org"]]]},
{"roles":["abuse"],"vcardArray":["vcard",[["email",{},"text","abuse@example.net"]]]}]}`

const silent = `{"objectClassName":"ip network","startAddress":"198.51.100.0","endAddress":"198.51.100.255","name":"SILENT"}`

const text = "inetnum: 198.51.100.0 - 198.51.100.127\nnetname: BY-WHOIS\ncountry: DE\nabuse-mailbox: abuse@whois.example\n"

const day = 24 * time.Hour

// rdapServer is a real RDAP server of the test, and records its requests.
type rdapServer struct {
	*httptest.Server
	asked atomic.Int32
}

func serveRDAP(t testing.TB, secure bool, answer http.HandlerFunc) *rdapServer {
	s := new(rdapServer)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if r.Method != "GET" || r.Header.Get("Accept") != "application/rdap+json" || r.Header.Get("User-Agent") != "bailiff/test" {
			t.Errorf("%s with %v", r.Method, r.Header)
		}
		answer(w, r)
	})
	if secure {
		s.Server = httptest.NewTLSServer(h)
	} else {
		s.Server = httptest.NewServer(h)
	}
	s.Config.ErrorLog = nil
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/rdap+json")
		_, _ = io.WriteString(w, body)
	}
}

// bootstrap writes a file that names servers for the documentation networks.
func bootstrap(t testing.TB, urls ...string) string {
	t.Helper()
	data, err := json.Marshal(map[string]any{"services": [][][]string{{{"198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "8.0.0.0/8"}, urls}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rdap.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serveWhois is a whois server of the test on a port of its own.
func serveWhois(t testing.TB, at string, answer func(conn net.Conn, question string)) string {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	stop := make(chan struct{})
	all.Add(1)
	go func() {
		defer all.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Add(1)
			go func() {
				defer all.Done()
				defer c.Close()
				go func() { <-stop; c.Close() }()
				q, err := bufio.NewReader(c).ReadString('\n')
				if err == nil {
					answer(c, strings.TrimSuffix(q, "\r\n"))
				}
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); close(stop); all.Wait() })
	return l.Addr().String()
}

func tells(s string) func(net.Conn, string) {
	return func(c net.Conn, _ string) { _, _ = io.WriteString(c, s) }
}

// serveDNS answers TXT questions for the names it knows, over UDP.
func serveDNS(t testing.TB, known map[string][]string) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(dnsAnswer(buf[:n], known), from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().String()
}

// dnsAnswer makes an answer by hand (RFC 1035, 4.1).
func dnsAnswer(q []byte, known map[string][]string) []byte {
	at, name := 12, ""
	for q[at] != 0 {
		name += string(q[at+1:at+1+int(q[at])]) + "."
		at += 1 + int(q[at])
	}
	question := q[12 : at+5]
	texts := known[name]
	out := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, byte(len(texts)), 0, 0, 0, 0}, question...)
	if known[name] == nil {
		out[3] |= 3 // no such name
	}
	for _, s := range texts {
		out = append(out, 0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60)
		out = binary.BigEndian.AppendUint16(out, uint16(1+len(s)))
		out = append(append(out, byte(len(s))), s...)
	}
	return out
}

func open(t testing.TB, cfg config.Lookup, o Options) *Registry {
	t.Helper()
	cfg.TimeLimit = cmp.Or(cfg.TimeLimit, time.Minute)
	cfg.Cache = cmp.Or(cfg.Cache, time.Hour)
	o.Agent = "bailiff/test"
	r, err := New(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRDAP(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s := serveRDAP(t, secure, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/rdap/ip/198.51.100.77" {
				t.Errorf("asked for %s", r.URL)
			}
			says(answer)(w, r)
		})
		r := open(t, config.Lookup{RDAP: true, Bootstrap: bootstrap(t, s.URL+"/rdap")}, Options{Client: s.Client()})
		w := r.Lookup(t.Context(), attacker)
		host := strings.TrimPrefix(strings.TrimPrefix(s.URL, "https://"), "http://")
		if w.Failed != "" || w.Network.String() != "198.51.100.0/25" || w.Name != "EXAMPLE" || w.Holder != "Example B.V." || w.Country != "NL" ||
			!slices.Equal(w.Abuse, []string{"abuse@example.net"}) || w.Source != host || time.Since(w.Asked) > time.Minute || !strings.Contains(w.Text, "NET-1") {
			t.Errorf("%+v", *w)
		}
	}
}

// An answer under an untrusted certificate is ignored.
func TestRDAPUnknownAuthority(t *testing.T) {
	s := serveRDAP(t, true, says(answer))
	r := open(t, config.Lookup{RDAP: true, Bootstrap: bootstrap(t, s.URL)}, Options{})
	if w := r.Lookup(t.Context(), attacker); !strings.Contains(w.Failed, "certificate") || s.asked.Load() != 0 {
		t.Errorf("%+v", *w)
	}
}

func TestRDAPRedirects(t *testing.T) {
	last := serveRDAP(t, true, says(answer))
	plain := serveRDAP(t, false, says(answer))
	to := func(url string) *rdapServer {
		return serveRDAP(t, true, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, url, http.StatusFound) })
	}
	// All test servers have the same certificate, so one client trusts them.
	for name, c := range map[string]struct {
		url, failed string
	}{
		"to https": {to(last.URL + "/ip/198.51.100.77").URL, ""},
		"http to http": {serveRDAP(t, false, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, plain.URL, http.StatusMovedPermanently)
		}).URL, ""},
		"https to http":  {to(plain.URL).URL, "a redirect to http: is not followed"},
		"elsewhere":      {to("file:///etc/passwd").URL, "a redirect to file: is not followed"},
		"with a name":    {to("https://user:secret@" + strings.TrimPrefix(last.URL, "https://")).URL, "other than a plain host"},
		"in circles":     {serveRDAP(t, true, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }).URL, "circle"},
		"without an end": {serveRDAP(t, true, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path+"x", http.StatusFound) }).URL, "more than 5 redirects"},
	} {
		r := open(t, config.Lookup{RDAP: true, Bootstrap: bootstrap(t, c.url)}, Options{Client: last.Client()})
		w := r.Lookup(t.Context(), attacker)
		if c.failed == "" && (w.Failed != "" || w.Name != "EXAMPLE") || !strings.Contains(w.Failed, c.failed) || strings.Contains(w.Failed, "secret") {
			t.Errorf("%s: %+v", name, *w)
		}
	}
}

// Errors of an RDAP server are reported in one line, in time, and whois is asked instead.
func TestRDAPBroken(t *testing.T) {
	back := serveWhois(t, "127.0.0.1:0", tells(text))
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		failed string
	}{
		"not found":     {http.NotFound, "knows nothing about 198.51.100.77"},
		"refused":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, "403 Forbidden"},
		"broken":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "502 Bad Gateway"},
		"no JSON":       {says("<html>\x1b[2J"), "not an RDAP answer"},
		"other network": {says(strings.ReplaceAll(answer, "198.51.100", "203.0.113")), "not about 198.51.100.77"},
		"everything":    {says(`{"startAddress":"0.0.0.0","endAddress":"255.255.255.255"}`), "says no more than 0.0.0.0/0"},
		"huge":          {says(`{"x":"` + strings.Repeat("x", maxRDAP) + `"}`), "is longer than"},
		"hangs":         {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer in time"},
		"drips": {func(w http.ResponseWriter, r *http.Request) {
			for {
				_, err := w.Write([]byte(" "))
				w.(http.Flusher).Flush()
				if err != nil || r.Context().Err() != nil {
					return
				}
				time.Sleep(20 * time.Millisecond) // that is what it does
			}
		}, "no answer in time"},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			_, _ = io.WriteString(w, answer)
			panic(http.ErrAbortHandler)
		}, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serveRDAP(t, false, c.answer)
			cfg := config.Lookup{RDAP: true, Bootstrap: bootstrap(t, s.URL), TimeLimit: limit(c.failed)}
			w := open(t, cfg, Options{}).Lookup(t.Context(), attacker)
			if !strings.Contains(w.Failed, c.failed) || strings.ContainsAny(w.Failed, "\n\x1b") || w.Name != "" {
				t.Errorf("%+v", *w)
			}
			cfg.Whois, cfg.WhoisServer = true, back
			if w := open(t, cfg, Options{}).Lookup(t.Context(), attacker); w.Failed != "" || w.Name != "BY-WHOIS" || w.Source != back {
				t.Errorf("with whois: %+v", *w)
			}
		})
	}
}

func TestWhois(t *testing.T) {
	provider := serveWhois(t, "127.0.0.1:0", func(c net.Conn, q string) {
		if q != "198.51.100.77" {
			t.Errorf("asked for %q", q)
		}
		tells(text)(c, q)
	})
	refer := func(to string) string {
		return serveWhois(t, "127.0.0.1:0", tells("% IANA\nrefer: "+to+"\n\ninetnum: 198.0.0.0 - 198.255.255.255\norganisation: Registry\n"))
	}
	for name, c := range map[string]struct {
		server, name, source string
	}{
		"at once":       {provider, "BY-WHOIS", provider},
		"one referral":  {refer(provider), "BY-WHOIS", provider},
		"two referrals": {refer(refer(provider)), "BY-WHOIS", provider},
	} {
		w := open(t, config.Lookup{Whois: true, WhoisServer: c.server}, Options{}).Lookup(t.Context(), attacker)
		if w.Failed != "" || w.Name != c.name || w.Source != c.source || w.Network.String() != "198.51.100.0/25" || !slices.Equal(w.Abuse, []string{"abuse@whois.example"}) || w.Text != text {
			t.Errorf("%s: %+v", name, *w)
		}
	}
	// The registry's answer is used if the provider's own server is unreachable or referrals form a loop.
	for _, to := range []string{"127.0.0.1:1", "SELF"} {
		var own string
		own = serveWhois(t, "127.0.0.1:0", func(c net.Conn, q string) {
			tells(text+"ReferralServer: whois://"+strings.ReplaceAll(to, "SELF", own)+"\n")(c, q)
		})
		if w := open(t, config.Lookup{Whois: true, WhoisServer: own}, Options{}).Lookup(t.Context(), attacker); w.Failed != "" || w.Name != "BY-WHOIS" || w.Source != own {
			t.Errorf("referral to %s: %+v", to, *w)
		}
	}
	// A provider's own server speaks for the network that its registry gave it, and for parts of that, not for others.
	for network, want := range map[string]string{
		"198.51.100.0 - 198.51.100.127": "BY-PROVIDER",
		"198.51.100.0 - 198.51.100.255": "BY-PROVIDER",
		"198.51.0.0 - 198.51.255.255":   "BY-REGISTRY",
		"198.0.0.0 - 198.255.255.255":   "BY-REGISTRY",
		"203.0.113.0 - 203.0.113.255":   "BY-REGISTRY",
	} {
		own := serveWhois(t, "127.0.0.1:0", tells("inetnum: "+network+"\nnetname: BY-PROVIDER\nabuse-mailbox: abuse@provider.example\n"))
		first := serveWhois(t, "127.0.0.1:0", tells("NetRange: 198.51.100.0 - 198.51.100.255\nNetName: BY-REGISTRY\nReferralServer: whois://"+own+"\n"))
		w := open(t, config.Lookup{Whois: true, WhoisServer: refer(first)}, Options{}).Lookup(t.Context(), attacker)
		if within := netip.MustParsePrefix("198.51.100.0/24"); w.Failed != "" || w.Name != want || w.Network.Bits() < within.Bits() || !within.Contains(w.Network.Addr()) {
			t.Errorf("%s: %+v", network, *w)
		}
	}
	if w := open(t, config.Lookup{Whois: true, WhoisServer: refer(refer(refer(refer(provider))))}, Options{}).Lookup(t.Context(), attacker); !strings.Contains(w.Failed, "names no network") {
		t.Errorf("too many referrals: %+v", *w)
	}
}

// While the server that a registry refers to does not answer, the registry's answer is used, but not kept. What IANA says about the address
// space of a registry is no answer about a network.
func TestReferralFails(t *testing.T) {
	for first, c := range map[string]struct{ addr, name string }{
		"NetRange: 198.51.100.0 - 198.51.100.255\nNetName: BY-REGISTRY\nReferralServer: whois://SERVER\n": {"198.51.100.77", "BY-REGISTRY"},
		"inetnum: 198.0.0.0 - 198.255.255.255\norganisation: Registry\nrefer: SERVER\n":                   {"198.51.100.77", ""},
		"inet6num: 2001:600::/23\norganisation: Registry\nrefer: SERVER\n":                                {"2001:600::1", ""},
		"inet6num: 2001:2000::/19\norganisation: Registry\nrefer: SERVER\n":                               {"2001:2000::1", ""},
	} {
		var up atomic.Bool
		provider := serveWhois(t, "127.0.0.1:0", func(conn net.Conn, q string) {
			if up.Load() {
				tells("ip-network: "+q+"\nnetname: BY-PROVIDER\nabuse-mailbox: abuse@provider.example\n")(conn, q)
			}
		})
		now := time.Now()
		server := serveWhois(t, "127.0.0.1:0", tells(strings.ReplaceAll(first, "SERVER", provider)))
		r := open(t, config.Lookup{Whois: true, WhoisServer: server, Cache: day}, Options{Now: func() time.Time { return now }})
		for range 2 {
			if w := r.Lookup(t.Context(), netip.MustParseAddr(c.addr)); w.Name != c.name || w.Abuse != nil || !strings.Contains(w.Failed+w.Unasked, "EOF") || (w.Failed == "") != w.Network.IsValid() {
				t.Errorf("%s: %+v", first, *w)
			}
		}
		up.Store(true)
		now = now.Add(failedFor)
		for range 2 {
			if w := r.Lookup(t.Context(), netip.MustParseAddr(c.addr)); w.Name != "BY-PROVIDER" || !slices.Equal(w.Abuse, []string{"abuse@provider.example"}) || w.Failed+w.Unasked != "" {
				t.Errorf("%s: afterwards: %+v", first, *w)
			}
			now = now.Add(day - time.Minute)
			up.Store(false)
		}
	}
}

func TestWhoisBroken(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(net.Conn, string)
		failed string
	}{
		"nothing": {func(net.Conn, string) {}, "EOF"},
		"hangs":   {func(c net.Conn, _ string) { _, _ = io.Copy(io.Discard, c) }, "no answer in time"},
		"drips": {func(c net.Conn, _ string) {
			for _, err := io.WriteString(c, "%\n"); err == nil; _, err = io.WriteString(c, "%\n") {
				time.Sleep(20 * time.Millisecond) // that is what it does
			}
		}, "no answer in time"},
		"garbage": {func(c net.Conn, _ string) { _, _ = c.Write([]byte("\x00\xff\x1b[2J\r\n\x80:\x81")) }, "names no network"},
		"others":  {tells(strings.ReplaceAll(text, "198.51.100", "203.0.113")), "names no network"},
		"endless": {func(c net.Conn, _ string) {
			for _, err := io.WriteString(c, "x\n"); err == nil; {
				_, err = c.Write(make([]byte, 4096))
			}
		}, "names no network"},
		"reset": {func(c net.Conn, _ string) { _ = c.(*net.TCPConn).SetLinger(0) }, "reset"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config.Lookup{Whois: true, WhoisServer: serveWhois(t, "127.0.0.1:0", c.answer), TimeLimit: limit(c.failed)}
			w := open(t, cfg, Options{}).Lookup(t.Context(), attacker)
			if !strings.Contains(w.Failed, c.failed) || strings.ContainsAny(w.Failed, "\n\x1b") || w.Name != "" || w.Text != "" {
				t.Errorf("%+v", *w)
			}
		})
	}
	// What was said before the connection was cut counts.
	cut := serveWhois(t, "127.0.0.1:0", func(c net.Conn, _ string) {
		_, _ = io.WriteString(c, text)
		_ = c.(*net.TCPConn).CloseWrite()
	})
	if w := open(t, config.Lookup{Whois: true, WhoisServer: cut}, Options{}).Lookup(t.Context(), attacker); w.Name != "BY-WHOIS" {
		t.Errorf("%+v", *w)
	}
}

func TestContacts(t *testing.T) {
	dns := serveDNS(t, map[string][]string{
		"77.100.51.198.contacts.test.": {"abuse@dns.example,cert@dns.example", "\"quoted\"@x.example", "evil@x.example\r\nBcc: y@x.example"},
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.contacts.test.": {"six@dns.example"},
	})
	s := serveRDAP(t, false, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, ":") {
			http.NotFound(w, r)
			return
		}
		says(silent)(w, r)
	})
	cfg := config.Lookup{RDAP: true, Bootstrap: bootstrap(t, s.URL), Contacts: "contacts.test"}
	r := open(t, cfg, Options{Resolver: dns})
	if w := r.Lookup(t.Context(), attacker); w.Name != "SILENT" || !slices.Equal(w.Abuse, []string{"abuse@dns.example", "cert@dns.example"}) {
		t.Errorf("%+v", *w)
	}
	// The contact is known even if nothing else is.
	if w := r.Lookup(t.Context(), netip.MustParseAddr("2001:db8::1")); w.Failed == "" || !slices.Equal(w.Abuse, []string{"six@dns.example"}) {
		t.Errorf("%+v", *w)
	}
	if w := r.Lookup(t.Context(), netip.MustParseAddr("203.0.113.1")); len(w.Abuse) != 0 {
		t.Errorf("a contact was guessed: %+v", *w)
	}
	// A registry's own contact comes first, and then nobody else is asked.
	s2 := serveRDAP(t, false, says(answer))
	cfg.Bootstrap = bootstrap(t, s2.URL)
	if w := open(t, cfg, Options{Resolver: dns}).Lookup(t.Context(), attacker); !slices.Equal(w.Abuse, []string{"abuse@example.net"}) {
		t.Errorf("%+v", *w)
	}
}

// A zone that cannot be asked leaves an answer that is asked for again soon.
func TestContactsUnreachable(t *testing.T) {
	s := serveRDAP(t, false, says(silent))
	now := time.Now()
	r := open(t, config.Lookup{RDAP: true, Bootstrap: bootstrap(t, s.URL), Contacts: "contacts.test", TimeLimit: time.Second}, Options{Resolver: "127.0.0.1:1", Now: func() time.Time { return now }})
	for i, want := range []int32{1, 1, 2} {
		if w := r.Lookup(t.Context(), attacker); w.Name != "SILENT" || w.Abuse != nil || !strings.Contains(w.Unasked, "contacts.test") || s.asked.Load() != want {
			t.Errorf("%d: %+v, %d questions", i, *w, s.asked.Load())
		}
		if i == 1 {
			now = now.Add(failedFor)
		}
	}
}

func TestCache(t *testing.T) {
	s := serveRDAP(t, false, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "203.0.113.1") {
			http.NotFound(w, r)
			return
		}
		says(answer)(w, r)
	})
	now := time.Now()
	r := open(t, config.Lookup{RDAP: true, Bootstrap: bootstrap(t, s.URL), Cache: time.Hour}, Options{Now: func() time.Time { return now }})
	for _, c := range []struct {
		addr  string
		asked int32
		after time.Duration
	}{
		{"198.51.100.77", 1, 0},
		{"198.51.100.78", 1, 0},
		{"198.51.100.0", 1, 59 * time.Minute},
		{"198.51.100.1", 1, time.Minute},
		{"198.51.100.1", 2, -time.Hour}, // the clock is set back: the answer is from the future
		{"198.51.100.1", 3, 0},
		{"203.0.113.1", 4, failedFor - time.Second},
		{"203.0.113.2", 4, time.Second},
		{"203.0.113.1", 5, 0},
	} {
		r.Lookup(t.Context(), netip.MustParseAddr(c.addr))
		if n := s.asked.Load(); n != c.asked {
			t.Errorf("%s: %d questions, want %d", c.addr, n, c.asked)
		}
		now = now.Add(c.after)
	}
}

func TestCacheBounded(t *testing.T) {
	c := cache{}
	now := time.Now()
	for i := range maxCached + 10 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{8, byte(i >> 8), byte(i), 0}), 24)
		c.put(&report.Whois{Network: p, Asked: now}, p, now, time.Hour)
	}
	if len(c) != maxCached {
		t.Errorf("%d entries", len(c))
	}
	c.put(&report.Whois{Network: netip.MustParsePrefix("9.0.0.0/24"), Asked: now}, netip.Prefix{}, now.Add(2*time.Hour), time.Hour)
	if len(c) != 1 {
		t.Errorf("%d entries, of which all but one have expired", len(c))
	}
}

// Many concurrent lookups in one network lead to one request.
func TestSingleFlight(t *testing.T) {
	gate := make(chan struct{})
	s := serveRDAP(t, false, func(w http.ResponseWriter, r *http.Request) {
		<-gate
		says(answer)(w, r)
	})
	r := open(t, config.Lookup{RDAP: true, Bootstrap: bootstrap(t, s.URL)}, Options{})
	gone, leave := context.WithCancel(t.Context())
	first := make(chan *report.Whois)
	go func() { first <- r.Lookup(gone, attacker) }()
	for s.asked.Load() == 0 { // until the request has arrived
		time.Sleep(time.Millisecond)
	}
	leave() // the first caller leaves; the others must not fail
	if w := <-first; w.Failed == "" {
		t.Errorf("%+v", *w)
	}
	var all sync.WaitGroup
	for i := range 50 {
		all.Add(1)
		go func() {
			defer all.Done()
			if w := r.Lookup(t.Context(), netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})); w.Name != "EXAMPLE" {
				t.Errorf("%+v", *w)
			}
		}()
	}
	close(gate)
	all.Wait()
	if n := s.asked.Load(); n != 1 {
		t.Errorf("%d questions", n)
	}
}

func TestRateLimit(t *testing.T) {
	s := serveRDAP(t, false, http.NotFound)
	now := time.Now()
	r := open(t, config.Lookup{RDAP: true, Bootstrap: bootstrap(t, s.URL)}, Options{Now: func() time.Time { return now }})
	limited := 0
	for i := range 2 * serverLimit.Size {
		a := netip.MustParseAddr("2001:db8::1").As16()
		a[5] = byte(i)
		if w := r.Lookup(t.Context(), netip.AddrFrom16(a)); strings.Contains(w.Failed, "rate limit") {
			limited++
		}
	}
	if limited != serverLimit.Size || s.asked.Load() != int32(serverLimit.Size) {
		t.Errorf("%d of %d were refused, %d asked", limited, 2*serverLimit.Size, s.asked.Load())
	}
	now = now.Add(serverLimit.Every + failedFor)
	if w := r.Lookup(t.Context(), attacker); strings.Contains(w.Failed, "rate limit") {
		t.Errorf("%+v", *w)
	}
}

// A server's Retry-After is respected; after an error without one, the pause is short.
func TestRest(t *testing.T) {
	for _, c := range []struct {
		status int
		after  string
		rest   time.Duration
	}{
		{429, "600", 10 * time.Minute}, {429, "", pauseTime}, {503, "86400000", maxPause}, {500, "-5", pauseTime}, {429, "x", pauseTime},
	} {
		s := serveRDAP(t, false, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", c.after)
			w.WriteHeader(c.status)
		})
		now := time.Now()
		r := open(t, config.Lookup{RDAP: true, Bootstrap: bootstrap(t, s.URL), Cache: time.Second}, Options{Now: func() time.Time { return now }})
		for i, step := range []time.Duration{0, c.rest - 2*time.Second, 3 * time.Second} {
			now = now.Add(step)
			w := r.Lookup(t.Context(), netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}))
			if want := []int32{1, 1, 2}[i]; s.asked.Load() != want || w.Failed == "" {
				t.Errorf("%d %s: %d questions after step %d, want %d: %s", c.status, c.after, s.asked.Load(), i, want, w.Failed)
			}
		}
	}
}

// No registry is asked about private addresses, unless the administrator names one that knows them.
func TestNobodysAddresses(t *testing.T) {
	s := serveRDAP(t, false, says(silent))
	for _, addr := range []string{"10.0.0.1", "127.0.0.1", "192.168.1.1", "fe80::1", "fd00::1", "192.0.2.9", "::1", "::ffff:10.1.1.1"} {
		r := open(t, config.Lookup{RDAP: true, Whois: true, WhoisServer: "whois.iana.org", Contacts: defaultZone, Bootstrap: bootstrap(t, s.URL)}, Options{})
		if w := r.Lookup(t.Context(), netip.MustParseAddr(addr)); w.Failed != "no public address" || s.asked.Load() != 0 {
			t.Errorf("%s: %+v", addr, *w)
		}
	}
	if w := open(t, config.Lookup{}, Options{}).Lookup(t.Context(), netip.MustParseAddr("8.8.8.8")); w.Failed != "no registry is configured" {
		t.Errorf("%+v", *w)
	}
	if w := open(t, config.Lookup{}, Options{}).Lookup(t.Context(), netip.Addr{}); w.Failed != "no public address" {
		t.Errorf("%+v", *w)
	}
}

// A public server cannot refer us into the host's own network, by whatever name.
func TestNoWayInside(t *testing.T) {
	firewalltest.NeedNetns(t)
	const world = "9.9.9.9"
	firewalltest.Run(t, "ip", "address", "replace", world+"/32", "dev", "lo")
	inside := serveWhois(t, "127.0.0.1:0", func(_ net.Conn, q string) { t.Errorf("inside was asked for %q", q) })
	_, port, _ := net.SplitHostPort(inside)
	for _, to := range []string{inside, "localhost:" + port, "[::ffff:127.0.0.1]:" + port} {
		out := serveWhois(t, world+":0", tells("refer: "+to+"\n"))
		w := open(t, config.Lookup{Whois: true, WhoisServer: out}, Options{}).Lookup(t.Context(), netip.MustParseAddr("8.8.8.8"))
		if !strings.Contains(w.Failed, "into the network of this host") {
			t.Errorf("referral to %s: %+v", to, *w)
		}
	}
	// A referral from one public server to another is fine.
	last := serveWhois(t, world+":0", tells(strings.ReplaceAll(text, "198.51.100", "8.8.8")))
	if w := open(t, config.Lookup{Whois: true, WhoisServer: serveWhois(t, world+":0", tells("refer: "+last+"\n"))}, Options{}).Lookup(t.Context(), netip.MustParseAddr("8.8.8.8")); w.Name != "BY-WHOIS" {
		t.Errorf("%+v", *w)
	}
	// The same over HTTP.
	var asked atomic.Int32
	hidden := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer hidden.Close()
	l, err := net.Listen("tcp", world+":0")
	if err != nil {
		t.Fatal(err)
	}
	outside := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.Replace(hidden.URL, "127.0.0.1", "localhost", 1), http.StatusFound)
	})}
	go outside.Serve(l)
	defer outside.Close()
	w := open(t, config.Lookup{RDAP: true, Bootstrap: bootstrap(t, "http://"+l.Addr().String())}, Options{}).Lookup(t.Context(), netip.MustParseAddr("8.8.8.8"))
	if !strings.Contains(w.Failed, "into the network of this host") || asked.Load() != 0 {
		t.Errorf("%+v", *w)
	}
}

func TestNewRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rdap.json")
	if _, err := New(config.Lookup{Bootstrap: path}, Options{}); err == nil || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(config.Lookup{Bootstrap: path}, Options{}); err == nil || err.Error() != "report.lookup.bootstrap: "+path+": names no network" {
		t.Error(err)
	}
}

func TestServersBounded(t *testing.T) {
	r := open(t, config.Lookup{}, Options{})
	for i := range 10 * maxServers {
		if err := r.take(fmt.Sprintf("server%d.example", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.servers) > maxServers {
		t.Errorf("%d servers are remembered", len(r.servers))
	}
}

// limit is a time limit: short where a test waits for its end, else long enough for a busy machine.
func limit(failed string) time.Duration {
	if failed == "no answer in time" {
		return time.Second
	}
	return 20 * time.Second
}
