package xarf

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/yamldoc"
)

var at = time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)

func complaintBan(addr, service string, patterns ...string) *report.Report {
	a := netip.MustParseAddr(addr)
	r := &report.Report{
		ID: "0011223344556677", Time: at, Prefix: netip.PrefixFrom(a, a.BitLen()), Address: a, Jail: service + "-jail", Service: service,
		First: at.Add(-time.Minute), Since: at, Failures: 5, Count: 1, Host: "mail1.example.org",
	}
	if p := report.Attacks[service].Port; p != 0 {
		r.Ports = []uint16{p}
	}
	for i, p := range patterns {
		r.Lines = append(r.Lines, report.Line{
			Time: at.Add(time.Duration(i-len(patterns)) * time.Second), Hostname: "mail1", Identifier: "daemon", PID: 7, Cursor: fmt.Sprintf("%s-%s-%d", addr, service, i),
			Message: fmt.Appendf(nil, "login %d of secret failed from %s port %d", i, a, 4000+i), Pattern: p, Source: a, Port: uint16(4000 + i), Account: []byte("secret"),
		})
	}
	return r
}

func item(reports ...*report.Report) *report.Item {
	return &report.Item{Key: "complaints-0011223344556677", Reports: reports, Attempt: 1}
}

func sender(t testing.TB) *Sender {
	t.Helper()
	s, err := NewSender(&config.Destination{Name: "x", Org: "Jürgens Hof", Contact: "abuse@example.org"}, "mail1.example.org", "", "bailiff/1.0 (a: b)")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCases(t *testing.T) {
	wide := complaintBan("198.51.100.7", "sshd", "failed", "failed")
	wide.Wide, wide.Prefix = true, netip.MustParsePrefix("198.51.100.0/24")
	wide.Lines[0].Source = netip.MustParseAddr("198.51.100.8")
	extended := complaintBan("198.51.100.7", "sshd", "failed", "failed", "failed")
	extended.First = at.Add(-time.Hour)
	own := complaintBan("198.51.100.7", "own-filter", "x", "y")
	own.Lines[0].Account, own.Lines[0].Message = nil, []byte("something else")
	bare := complaintBan("198.51.100.7", "sshd")
	var all []string
	cases, skipped := complaints(item(
		complaintBan("198.51.100.7", "sshd", "failed", "failed"), extended, wide,
		complaintBan("2001:db8::9", "postfix", "blocklisted", "sasl", "lost-connection", "sasl-reason"),
		complaintBan("198.51.100.7", "postfix", "blocklisted"),
		complaintBan("198.51.100.7", "nginx-botsearch", "x"),
		complaintBan("198.51.100.7", "named-refused", "x"),
		own, bare,
	), "4", 4)
	for _, c := range cases {
		all = append(all, fmt.Sprintf("%s %s %s %v count=%d lines=%d %s-%s port=%d", c.Address, c.Type, c.Service, c.Ports, c.Count, len(c.Lines), c.First.Format("15:04:05"), c.Last.Format("15:04:05"), c.Source))
	}
	want := []string{
		"198.51.100.7 login_attack ssh [22] count=15 lines=3 00:02:03-01:02:02 port=4002",
		"2001:db8::9 login_attack smtp [25] count=2 lines=2 01:02:00-01:02:02 port=4003",
		"198.51.100.7 vulnerability_scan http [] count=5 lines=1 01:01:03-01:02:02 port=4000",
		"198.51.100.7 login_attack own-filter [] count=5 lines=1 01:01:03-01:02:02 port=4001",
	}
	if !slices.Equal(all, want) {
		t.Errorf("became\n%s\nwanted\n%s", strings.Join(all, "\n"), strings.Join(want, "\n"))
	}
	var why []string
	for _, s := range skipped {
		why = append(why, s.String())
	}
	if want := []string{
		"198.51.100.7 (postfix-jail): no line of the evidence shows an attack that X-ARF has a type for",
		"198.51.100.7 (named-refused-jail): what this filter sees may be forged, or X-ARF has no type for it",
		"198.51.100.7 (sshd-jail): no line of the evidence is left",
	}; !slices.Equal(why, want) {
		t.Errorf("skipped %q, want %q", why, want)
	}
	keys := make(map[string]bool)
	for _, c := range cases {
		keys[c.Key] = true
	}
	if len(keys) != len(cases) {
		t.Errorf("the keys are %v", keys)
	}
	if one, _ := complaints(item(complaintBan("198.51.100.7", "sshd", "failed")), "4", 4); one[0].Key != "complaints-0011223344556677" {
		t.Errorf("the key of a single case is %s", one[0].Key)
	}
	if old, no := complaints(item(complaintBan("198.51.100.7", "nginx-botsearch", "x")), formatV02, 4); len(old) != 0 || len(no) != 1 {
		t.Errorf("X-ARF 0.2 takes %v", old)
	}
}

// Only some patterns of a mail server show a login, and a redacted login still counts as one.
func TestLogins(t *testing.T) {
	for _, name := range filter.Builtin() {
		f, err := filter.LoadBuiltin(name)
		if err != nil {
			t.Fatal(err)
		}
		if !report.Attacks[name].Mixed {
			continue
		}
		n := 0
		for _, p := range f.Patterns() {
			if isLogin(p.Name) {
				n++
			}
		}
		if n == 0 || n == len(f.Patterns()) {
			t.Errorf("%s: %d of %d patterns show a login", name, n, len(f.Patterns()))
		}
	}
	r := complaintBan("198.51.100.7", "sshd", "failed")
	r.Service, r.Lines[0].Message = "own", []byte("Failed password for bob from 198.51.100.7 port 4000 ssh2")
	clean := report.NewRedactor([]string{"mail1.example.org"}, func(string) *filter.Filter { f, _ := filter.LoadBuiltin("sshd"); return f }).Report(r)
	if cases, _ := complaints(item(clean), "4", 10); len(cases) != 1 || !strings.Contains(string(cases[0].Lines[0].Message), "<user>") {
		t.Errorf("redacted: %v", cases)
	}
}

// part is one of a mail, decoded by the standard library.
type part struct {
	kind, name string
	body       []byte
}

// open reads a mail as a receiver does.
func openMail(t *testing.T, data []byte) (mail.Header, string, map[string]string, []part) {
	t.Helper()
	for _, line := range bytes.Split(data, []byte("\r\n")) {
		if len(line) > 998 || bytes.ContainsFunc(line, func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') }) {
			t.Errorf("line %q", line)
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	var parts []part
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return m.Header, kind, params, parts
		}
		if err != nil {
			t.Fatal(err)
		}
		var body io.Reader = p
		switch p.Header.Get("Content-Transfer-Encoding") {
		case "quoted-printable":
			body = quotedprintable.NewReader(p)
		case "base64":
			body = base64.NewDecoder(base64.StdEncoding, p)
		}
		b, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		k, kp, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil || p.FileName() != kp["name"] {
			t.Errorf("part %v: %v", p.Header, err)
		}
		parts = append(parts, part{k, p.FileName(), bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))})
	}
}

func TestMail02(t *testing.T) {
	for _, addr := range []string{"198.51.100.7", "2001:db8::"} {
		cases, _ := complaints(item(complaintBan(addr, "sshd", "failed", "failed")), formatV02, 10)
		m, err := sender(t).Message(cases[0], formatV02, []string{"abuse@example.net", "cert@example.net"}, at)
		if err != nil {
			t.Fatal(err)
		}
		h, kind, _, parts := openMail(t, m.Bytes())
		if kind != "multipart/mixed" || h.Get("X-XARF") != "PLAIN" || h.Get("Auto-Submitted") != "auto-generated" || h.Get("To") != "abuse@example.net, cert@example.net" ||
			h.Get("Message-ID") != "<bailiff.complaints-0011223344556677@mail1.example.org>" || h.Get("Reply-To") != "abuse@example.org" || !strings.HasPrefix(h.Get("Subject"), "abuse report about "+addr) {
			t.Errorf("%s: %v", kind, h)
		}
		if len(parts) != 3 || parts[0].kind != "text/plain" || parts[0].name != "" || parts[1].name != "report.txt" || parts[2].name != "logfile.log" {
			t.Fatalf("parts: %q", parts)
		}
		doc, err := yamldoc.Parse("report.txt", parts[1].body)
		if err != nil {
			t.Fatalf("%v in\n%s", err, parts[1].body)
		}
		for key, want := range map[string]string{
			"Reported-From": "abuse@example.org", "Category": "abuse", "Report-ID": "bailiff.complaints-0011223344556677@mail1.example.org", "Report-Type": "login-attack", "Service": "ssh", "Version": "0.2",
			"User-Agent": "bailiff/1.0 (a: b)", "Date": "Mon, 23 Nov 2026 01:02:02 +0000", "Source-Type": "ip-address", "Source": addr, "Port": "22", "Schema-URL": schema02, "Attachment": "text/plain", "Occurrences": "5", "TLP": "green",
		} {
			if n := doc.Get(key); n == nil || n.Value != want {
				t.Errorf("%s: %s is %v, want %s", addr, key, n, want)
			}
		}
		log := fmt.Sprintf("2026-11-23T01:02:01Z daemon[7]: login 0 of secret failed from %[1]s port 4000\n2026-11-23T01:02:02Z daemon[7]: login 1 of secret failed from %[1]s port 4001\n", addr)
		if string(parts[2].body) != log {
			t.Errorf("log is\n%s\nwant\n%s", parts[2].body, log)
		}
		if !strings.Contains(string(parts[0].body), "5 attempts to log in (ssh) between 2026-11-23 01:01:03 UTC and 2026-11-23 01:02:02 UTC.\n") || !strings.Contains(string(parts[0].body), "Jürgens Hof\n") {
			t.Errorf("letter:\n%s", parts[0].body)
		}
	}
}

func TestMail4(t *testing.T) {
	odd := complaintBan("198.51.100.7", "sshd", "failed", "failed")
	odd.Lines[0].Message = []byte("a\nb\x1b[31m\xff\u202e" + strings.Repeat("x", 2000))
	odd.Lines[1].Identifier = "evil\r\nBcc: x@example.org"
	portless := complaintBan("2001:db8::9", "dovecot", "auth")
	portless.Lines[0].Port = 0
	for name, r := range map[string]*report.Report{
		"login": complaintBan("198.51.100.7", "sshd", "failed", "failed"), "scan": complaintBan("198.51.100.7", "nginx-botsearch", "x"), "IPv6, no port": portless, "odd": odd,
		"own": complaintBan("198.51.100.7", "Own \"filter\"\n", "x"),
	} {
		cases, skipped := complaints(item(r), "4", 10)
		if len(cases) != 1 {
			t.Fatalf("%s: %v", name, skipped)
		}
		m, err := sender(t).Message(cases[0], "4", []string{"abuse@example.net"}, at)
		if err != nil {
			t.Fatal(err)
		}
		h, kind, params, parts := openMail(t, m.Bytes())
		if kind != "multipart/report" || params["report-type"] != "feedback-report" || h.Get("Auto-Submitted") != "auto-generated" || h.Get("Bcc") != "" {
			t.Errorf("%s: %s %v %v", name, kind, params, h)
		}
		if len(parts) != 3 || parts[0].kind != "text/plain" || parts[1].kind != "message/feedback-report" || parts[2].kind != "application/json" || parts[2].name != "xarf.json" {
			t.Fatalf("%s: parts: %q", name, parts)
		}
		if string(parts[1].body) != "Feedback-Type: xarf\nUser-Agent: bailiff/1.0 (a: b)\nVersion: 1\n" {
			t.Errorf("%s: %q", name, parts[1].body)
		}
		var d map[string]any
		if err := json.Unmarshal(parts[2].body, &d); err != nil {
			t.Fatal(err)
		}
		for _, wrong := range checkXARF(d) {
			t.Errorf("%s: %s in\n%s", name, wrong, parts[2].body)
		}
		if d["source_identifier"] != r.Address.String() || d["reporter"].(map[string]any)["org"] != "Jürgens Hof" || d["reporter"].(map[string]any)["domain"] != "example.org" {
			t.Errorf("%s: %v", name, d)
		}
		e := d["evidence"].([]any)[0].(map[string]any)
		log, err := base64.StdEncoding.DecodeString(e["payload"].(string))
		sum := sha256.Sum256(log)
		if err != nil || e["hash"] != "sha256:"+hex.EncodeToString(sum[:]) || e["size"] != float64(len(log)) || bytes.Count(log, []byte("\n")) != len(r.Lines) {
			t.Errorf("%s: %v, evidence %q, %v", name, err, log, e)
		}
		if !strings.Contains(string(parts[0].body), string(log)) {
			t.Errorf("%s: people do not see the log in\n%s", name, parts[0].body)
		}
	}
}

// The same item is the same complaint in every attempt.
func TestStable(t *testing.T) {
	of := func(r ...*report.Report) (ids []string) {
		cases, _ := complaints(item(r...), "4", 10)
		for _, c := range cases {
			m, err := sender(t).Message(c, "4", []string{"a@example.net"}, at)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, m.ID, uuid(c.Key))
		}
		return ids
	}
	two := []*report.Report{complaintBan("198.51.100.7", "sshd", "failed"), complaintBan("198.51.100.8", "sshd", "failed")}
	if a, b := of(two...), of(two...); !slices.Equal(a, b) || len(slices.Compact(slices.Sorted(slices.Values(a)))) != 4 {
		t.Errorf("%v and %v", a, b)
	}
}

func TestSenderRefuses(t *testing.T) {
	for _, c := range []struct {
		d                *config.Destination
		host, from, want string
	}{
		{&config.Destination{Name: "x", Org: "Org"}, "localhost", "", `report.destinations.x.contact: "bailiff@localhost" is not an address`},
		{&config.Destination{Name: "x", Org: "Org"}, "mail.example.org", "root", `report.destinations.x.contact: "root" is not an address`},
		{&config.Destination{Name: "x"}, "mail.example.org", "", "report.destinations.x.org"},
	} {
		if _, err := NewSender(c.d, c.host, c.from, ""); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.d, err, c.want)
		}
	}
}

// checkXARF lists where a document violates the schemas of XARF 4.2: xarf-core.json, connection-login-attack.json and
// connection-vulnerability-scan.json of github.com/xarf/xarf-spec, written down here rule by rule.
func checkXARF(d map[string]any) (wrong []string) {
	text := func(rule string) func(any) bool {
		re := regexp.MustCompile("^(?s:" + rule + ")$")
		return func(v any) bool { s, ok := v.(string); return ok && re.MatchString(s) }
	}
	date := func(v any) bool { s, _ := v.(string); _, err := time.Parse(time.RFC3339, s); return err == nil }
	whole := func(lo, hi float64) func(any) bool {
		return func(v any) bool { n, ok := v.(float64); return ok && n == float64(int64(n)) && lo <= n && n <= hi }
	}
	port := whole(1, 65535)
	check := func(at string, m map[string]any, closed bool, required []string, rules map[string]func(any) bool) {
		for _, k := range required {
			if m[k] == nil {
				wrong = append(wrong, at+k+" is missing")
			}
		}
		for k, v := range m {
			if ok := rules[k]; ok == nil && closed || ok != nil && !ok(v) {
				wrong = append(wrong, fmt.Sprintf("%s%s must not be %v", at, k, v))
			}
		}
	}
	object := func(at string, required []string, rules map[string]func(any) bool) func(any) bool {
		return func(v any) bool {
			m, ok := v.(map[string]any)
			check(at, m, true, required, rules)
			return ok
		}
	}
	list := func(most int, of func(any) bool) func(any) bool {
		return func(v any) bool {
			l, ok := v.([]any)
			return ok && len(l) <= most && !slices.ContainsFunc(l, func(x any) bool { return !of(x) })
		}
	}
	who := func(name string) func(any) bool {
		return object(name+".", []string{"org", "contact", "domain"}, map[string]func(any) bool{
			"org": text(".{0,200}"), "contact": func(v any) bool { s, _ := v.(string); return config.ValidAddress(s) }, "domain": func(v any) bool { s, _ := v.(string); return config.ValidHost(s) }})
	}
	address := func(v any) bool { s, _ := v.(string); _, err := netip.ParseAddr(s); return err == nil }
	rules := map[string]func(any) bool{
		"xarf_version": text(`4\.[0-9]+\.[0-9]+`), "report_id": text(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`), "timestamp": date,
		"reporter": who("reporter"), "sender": who("sender"), "source_identifier": address, "source_port": port, "category": text("connection"), "type": text("login_attack|vulnerability_scan"),
		"evidence_source": text(".+"), "description": text(".{0,1000}"), "protocol": text("tcp|udp|icmp"), "first_seen": date, "last_seen": date, "destination_port": port, "destination_ip": address,
		"tags": list(20, text(`[a-z0-9][a-z0-9_+-]*:[a-z0-9][a-z0-9_+.-]*`)),
		"evidence": list(50, object("evidence.", []string{"content_type", "payload"}, map[string]func(any) bool{
			"content_type": text("text/plain"), "description": text(".{0,500}"), "payload": text("[A-Za-z0-9+/=]*"), "hash": text("(md5|sha1|sha256|sha512):[a-fA-F0-9]+"), "size": whole(0, 5242880)})),
		"service": text(".+"), "attempt_count": whole(1, 1e9), "total_requests": whole(1, 1e9), "targeted_ports": list(100, port), "targeted_services": list(100, text(".+")),
		"scan_type": text("port_scan|vulnerability_scan|version_detection|os_fingerprinting|service_enumeration|web_vuln_scan|directory_brute_force|mixed"),
	}
	required := []string{"xarf_version", "report_id", "timestamp", "reporter", "sender", "source_identifier", "category", "type", "protocol", "first_seen"}
	if d["type"] == "vulnerability_scan" {
		required = append(required, "scan_type")
	}
	check("", d, true, required, rules) // ours is stricter: no field that nobody knows
	return wrong
}

// The check can fail.
func TestCheckXARF(t *testing.T) {
	cases, _ := complaints(item(complaintBan("198.51.100.7", "sshd", "failed")), "4", 10)
	data, err := sender(t).json(cases[0], []byte("line\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(d map[string]any){
		func(d map[string]any) { delete(d, "protocol") },
		func(d map[string]any) { delete(d, "sender") },
		func(d map[string]any) { d["source_port"] = 0.0 },
		func(d map[string]any) { d["source_port"] = "22" },
		func(d map[string]any) { d["report_id"] = "x" },
		func(d map[string]any) { d["type"] = "brute_force" },
		func(d map[string]any) { d["first_seen"] = "yesterday" },
		func(d map[string]any) { d["type"] = report.VulnScan },
		func(d map[string]any) { d["reporter"].(map[string]any)["type"] = "automated" },
		func(d map[string]any) { delete(d["evidence"].([]any)[0].(map[string]any), "payload") },
		func(d map[string]any) { d["tags"] = []any{"ssh"} },
	} {
		var d map[string]any
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatal(err)
		}
		if wrong := checkXARF(d); wrong != nil {
			t.Fatal(wrong)
		}
		change(d)
		if checkXARF(d) == nil {
			t.Errorf("taken: %v", d)
		}
	}
}

// Whatever stands in a log line, the mail has the parts and the headers that it should have.
func FuzzMail(f *testing.F) {
	f.Add([]byte("Failed password"), "sshd", "sshd")
	f.Add([]byte("\r\n--=_\r\n\r\n.\r\nFrom x\r\nBcc: y"), "x\r\ny", "own")
	f.Fuzz(func(t *testing.T, message []byte, identifier, service string) {
		r := complaintBan("198.51.100.7", "sshd", "failed")
		r.Service, r.Lines[0].Message, r.Lines[0].Identifier = service, message, identifier
		for _, format := range []string{formatV02, "4"} {
			cases, _ := complaints(item(r), format, 10)
			for _, c := range cases {
				m, err := sender(t).Message(c, format, []string{"abuse@example.net"}, at)
				if err != nil {
					t.Fatal(err)
				}
				h, _, _, parts := openMail(t, m.Bytes())
				if len(parts) != 3 || h.Get("Bcc") != "" || h.Get("To") != "abuse@example.net" {
					t.Errorf("%d parts, %v", len(parts), h)
				}
				if bytes.Count([]byte(c.log()), []byte("\n")) != 1 {
					t.Errorf("the log is %q", c.log())
				}
				if format == "4" {
					var d map[string]any
					if err := json.Unmarshal(parts[2].body, &d); err != nil {
						t.Fatal(err)
					}
					if wrong := checkXARF(d); wrong != nil {
						t.Error(wrong)
					}
				} else if _, err := yamldoc.Parse("report.txt", parts[1].body); err != nil {
					t.Errorf("%v in %s", err, parts[1].body)
				}
			}
		}
	})
}
