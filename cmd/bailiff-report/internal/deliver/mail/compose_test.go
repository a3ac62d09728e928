package mail

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/message"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

var zone = time.FixedZone("CET", 3600)

func sample() *report.Report {
	at := time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)
	line := func(sec int, msg string) report.Line {
		return report.Line{Time: at.Add(time.Duration(sec) * time.Second), Hostname: "mail1", Identifier: "sshd-session", PID: 4711, Unit: "ssh.service", Message: []byte(msg), Cursor: "s=1;i=" + string(rune('a'+sec)), Source: netip.MustParseAddr("198.51.100.8")}
	}
	return &report.Report{
		ID: "0011223344556677", Cursor: "s=1", Time: at, Prefix: netip.MustParsePrefix("198.51.100.8/32"), Address: netip.MustParseAddr("198.51.100.8"), Jail: "sshd", Service: "sshd",
		First: at.Add(-time.Minute), Since: at, Until: at.Add(time.Hour), Failures: 5, Count: 2, Reason: "failures", Ports: []uint16{22}, Host: "mail1.example.org",
		Lines: []report.Line{
			line(0, "Failed password for invalid user admin from 198.51.100.8 port 33043 ssh2"),
			line(1, "Failed password for invalid user Jürgen = \\n "+strings.Repeat("x", 100)+" from 198.51.100.8 port 33043 ssh2"),
		},
		Whois: &report.Whois{Network: netip.MustParsePrefix("198.51.100.0/24"), Name: "TEST-NET-2", Holder: "Example Ltd", Country: "ZZ", Abuse: []string{"abuse@example.net"}, Text: "inetnum: 198.51.100.0 - 198.51.100.255\nnetname: TEST-NET-2\n", Source: "whois.example.net"},
	}
}

func itemOf(reports ...*report.Report) *report.Item {
	return &report.Item{Key: "admin-0011223344556677", Reports: reports, Digest: len(reports) > 1, Attempt: 1}
}

func layoutOf(layout string, parts ...string) *config.Destination {
	return &config.Destination{Name: "admin", Type: config.TypeMail, To: []string{"root", "ops@example.org"}, Layout: layout, Include: parts, Lines: 1000}
}

func envelope() *Envelope {
	return &Envelope{Host: "mail1.example.org", Agent: "bailiff/1", Time: time.Date(2026, 11, 23, 2, 2, 4, 0, zone)}
}

// received is a mail as a standard parser reads it.
type received struct {
	header mail.Header
	text   string
	files  map[string][]byte
}

// receive parses a mail with the standard library, and checks what RFC 5322 and 2045 ask of its lines.
func receive(t testing.TB, raw []byte) received {
	t.Helper()
	if bytes.Contains(bytes.ReplaceAll(raw, []byte("\r\n"), nil), []byte("\r")) || bytes.Contains(bytes.ReplaceAll(raw, []byte("\r\n"), nil), []byte("\n")) {
		t.Fatal("a line ends without CRLF")
	}
	head := true
	for _, line := range strings.Split(string(raw), "\r\n") {
		head = head && line != ""
		if len(line) > 998 || !head && len(line) > 76 || strings.HasPrefix(line, ".") || strings.HasPrefix(line, "From ") {
			t.Fatalf("line of %d bytes: %q", len(line), line)
		}
		for i := range len(line) {
			if c := line[i]; c >= 0x7f || c < ' ' && c != '\t' {
				t.Fatalf("byte %#x in %q", c, line)
			}
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	r := received{header: m.Header, files: make(map[string][]byte)}
	part := func(h interface{ Get(string) string }, body io.Reader) []byte {
		switch e := h.Get("Content-Transfer-Encoding"); e {
		case "quoted-printable":
			body = quotedprintable.NewReader(body)
		case "base64":
			body = base64.NewDecoder(base64.StdEncoding, body)
		case "7bit":
		default:
			t.Fatalf("encoding %q", e)
		}
		b, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, params map[string]string, b []byte) {
		if kind != "text/plain" || params["charset"] != "utf-8" {
			t.Fatalf("the text is %s %v", kind, params)
		}
		r.text = strings.ReplaceAll(string(b), "\r\n", "\n")
	}
	if !strings.HasPrefix(kind, "multipart/") {
		text(kind, params, part(m.Header, m.Body))
		return r
	}
	for parts := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := parts.NextRawPart()
		if err == io.EOF {
			return r
		}
		if err != nil {
			t.Fatal(err)
		}
		b := part(p.Header, p)
		if p.FileName() != "" {
			r.files[p.FileName()] = b
			continue
		}
		kind, params, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		text(kind, params, b)
	}
}

func composed(t testing.TB, it *report.Item, d *config.Destination, e *Envelope) received {
	t.Helper()
	raw, err := Compose(it, d, e)
	if err != nil {
		t.Fatal(err)
	}
	return receive(t, raw)
}

// Mails as they are sent, in testdata: UPDATE=1 writes them anew.
func TestGolden(t *testing.T) {
	digest := []*report.Report{sample(), sample()}
	digest[1].Prefix, digest[1].Address = netip.MustParsePrefix("2001:db8::/32"), netip.MustParseAddr("2001:db8::7")
	digest[1].Jail, digest[1].By, digest[1].Reason, digest[1].Until, digest[1].Lines, digest[1].Count = "manual", "root", "a nuisance", time.Time{}, nil, 1
	digest[1].Whois = &report.Whois{Failed: "no answer within 10s"}
	binary := sample()
	binary.Lines[1].Message = []byte("Failed password for \x1b[31mroot\xff\\ from 198.51.100.8")
	binary.Missing, binary.Withheld = 1, 2
	test := itemOf(sample())
	test.Test = true
	for name, c := range map[string]struct {
		item *report.Item
		d    *config.Destination
	}{
		"plain":    {itemOf(sample()), layoutOf("bailiff")},
		"lines":    {itemOf(sample()), layoutOf("bailiff", "whois", "lines")},
		"binary":   {itemOf(binary), layoutOf("bailiff", "lines")},
		"digest":   {itemOf(digest...), layoutOf("bailiff", "whois", "lines")},
		"test":     {test, layoutOf("bailiff", "lines")},
		"fail2ban": {itemOf(sample()), layoutOf("fail2ban", "whois", "lines")},
	} {
		raw, err := Compose(c.item, c.d, envelope())
		if err != nil {
			t.Fatal(err)
		}
		receive(t, raw)
		got := bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
		file := filepath.Join("testdata", name+".eml")
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is now:\n%s", file, got)
		}
	}
}

// FuzzLine: what a parser decodes is the line's bytes, in the text or, where they cannot be shown, in the attachment.
func FuzzLine(f *testing.F) {
	for _, s := range []string{"", ".", "..", " ", "x ", "\t", "=", "=?UTF-8?B?eA==?=", "From root", "--=_a066074cdd83ac99260f5905--", "a\r\n.\r\nQUIT", "\x00", "\xff", "\xc3\x28", "é" + strings.Repeat("ü", 50), "~!id", "{{.Host}}", "\u202edeb", "\u2028x", "\x1b[2J", "\\n", "\ufeff", strings.Repeat("x", 5000), "x\nSubject: y"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		r := sample()
		r.Lines = r.Lines[:1]
		r.Lines[0].Message = msg
		for _, layout := range []string{"bailiff", "fail2ban"} {
			got := composed(t, itemOf(r), layoutOf(layout, "lines"), envelope())
			file, coded := got.files["lines.export"]
			if !coded {
				if !strings.Contains(got.text, " mail1 sshd-session[4711]: "+string(msg)+"\n") || bytes.ContainsAny(msg, "\n\r\x00") {
					t.Errorf("%q is not in the text:\n%s", msg, got.text)
				}
				continue
			}
			if !bytes.HasSuffix(file, append(bytes.Clone(msg), "\n\n"...)) {
				t.Errorf("%q is not in the attachment:\n%q", msg, file)
			}
			_, rest, _ := strings.Cut(got.text, "]: ")
			shownLine, _, _ := strings.Cut(rest, "\n")
			if back := decode(shownLine); len(msg) <= maxMessage && back != string(msg) {
				t.Errorf("%q is shown as %q, which is %q", msg, shownLine, back)
			}
		}
	})
}

// decode reads what escape wrote.
func decode(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		if s[0] != '\\' {
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		code := func(digits int) (n rune) {
			for _, c := range s[2 : 2+digits] {
				n = n*16 + rune(strings.IndexRune("0123456789abcdef", c))
			}
			s = s[2+digits:]
			return n
		}
		switch s[1] {
		case 'x':
			b.WriteByte(byte(code(2)))
		case 'u':
			b.WriteRune(code(4))
		case 'U':
			b.WriteRune(code(8))
		default:
			b.WriteString(map[byte]string{'n': "\n", 'r': "\r", '\\': "\\"}[s[1]])
			s = s[2:]
		}
	}
	return b.String()
}

// FuzzHeaders: whatever stands in a report, the header fields are ours, one of each, and the subject is one line.
func FuzzHeaders(f *testing.F) {
	f.Add("x\r\nBcc: evil@example.org", "sshd\n\nbody")
	f.Add("=?UTF-8?Q?a=0ABcc:_x?=", "\u2028\x00")
	f.Add(strings.Repeat("ä", 700), strings.Repeat("y", 2000))
	f.Fuzz(func(t *testing.T, a, b string) {
		r := sample()
		r.ID, r.Jail, r.Service, r.Host, r.By, r.Reason = a, b, a, b, a, b
		r.Lines[0].Hostname, r.Lines[0].Identifier, r.Lines[0].Unit, r.Lines[0].Cursor = a, b, a, b
		r.Whois = &report.Whois{Name: a, Holder: b, Country: a, Abuse: []string{b}, Text: a + "\n" + b, Source: a}
		it := itemOf(r)
		it.Key = a
		e := envelope()
		e.Host, e.Agent = b, a
		for _, layout := range []string{"bailiff", "fail2ban"} {
			got := composed(t, it, layoutOf(layout, "whois", "lines"), e)
			want := map[string]bool{"Date": true, "From": true, "To": true, "Subject": true, "Message-Id": true, "Auto-Submitted": true, "X-Auto-Response-Suppress": true, "Precedence": true, "X-Mailer": true,
				"X-Bailiff-Ban-Id": true, "X-Bailiff-Jail": true, "X-Bailiff-Address": true, "Mime-Version": true, "Content-Type": true, "Content-Transfer-Encoding": true}
			for k, v := range got.header {
				if !want[k] || len(v) != 1 {
					t.Errorf("field %s: %q", k, v)
				}
			}
			if _, err := got.header.AddressList("From"); err != nil {
				t.Errorf("From: %q: %v", got.header.Get("From"), err)
			}
			if l, err := got.header.AddressList("To"); err != nil || len(l) != 2 {
				t.Errorf("To: %q: %v", got.header.Get("To"), err)
			}
			subject, err := new(mime.WordDecoder).DecodeHeader(got.header.Get("Subject"))
			if err != nil || strings.ContainsAny(subject, "\r\n\x00") {
				t.Errorf("subject %q: %v", subject, err)
			}
			if id := got.header.Get("Message-Id"); !config.ValidRecipient(strings.Trim(id, "<>")) {
				t.Errorf("Message-ID %q", id)
			}
			if len(got.files) > 1 {
				t.Errorf("%d attachments", len(got.files))
			}
		}
	})
}

// The requested parts are there, and no others.
func TestParts(t *testing.T) {
	r := sample()
	r.Context = append(r.Context, r.Lines[0], r.Lines[1])
	for parts, want := range map[string][3]int{"": {0, 0, 0}, "whois": {1, 0, 0}, "lines": {0, 2, 0}, "lines context": {0, 2, 2}, "whois lines context": {1, 2, 2}} {
		got := composed(t, itemOf(r), layoutOf("bailiff", strings.Fields(parts)...), envelope())
		lines, context, _ := strings.Cut(got.text, "All lines about")
		if n := [3]int{strings.Count(got.text, "whois ("), strings.Count(lines, "Failed password"), strings.Count(context, "Failed password")}; n != want {
			t.Errorf("%q: %v, want %v:\n%s", parts, n, want, got.text)
		}
	}
	many := sample()
	many.Lines = nil
	for i := range 1500 {
		l := sample().Lines[0]
		l.Message = []byte("line " + string(rune('a'+i%26)))
		many.Lines = append(many.Lines, l)
	}
	d := layoutOf("bailiff", "lines")
	d.Lines = 3
	got := composed(t, itemOf(many), d, envelope())
	if strings.Count(got.text, "]: line ") != 3 || !strings.Contains(got.text, "]: line "+string(rune('a'+1499%26))+"\n(1497 older lines are left out") {
		t.Errorf("the newest are not there:\n%s", got.text)
	}
	if got := composed(t, itemOf(many), layoutOf("bailiff", "lines"), envelope()); strings.Count(got.text, "]: line ") != 1000 {
		t.Errorf("%d lines", strings.Count(got.text, "]: line "))
	}
}

// The largest mail stays below what mail systems take (postfix: 10,240,000 bytes), with bytes that take most in it.
func TestLargest(t *testing.T) {
	var reports []*report.Report
	for range 100 {
		r := sample()
		r.Lines = nil
		for i := range 1000 {
			l := sample().Lines[0]
			l.Message = bytes.Repeat([]byte{0xff, 'x', 0x1b, 0xc3}, 1000)
			l.Cursor = "s=1;i=" + r.ID + string(rune('a'+i%26))
			r.Lines = append(r.Lines, l)
		}
		reports = append(reports, r)
	}
	raw, err := Compose(itemOf(reports...), layoutOf("bailiff", "lines", "whois"), envelope())
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 9<<20 || len(raw) < 1<<20 {
		t.Errorf("%d bytes", len(raw))
	}
	for len(reports) < 2000 {
		r := sample()
		r.Whois = &report.Whois{Text: strings.Repeat(strings.Repeat("ß", 30)+"\n", 1000), Holder: strings.Repeat("ß", 1000), Name: strings.Repeat("ß", 1000)}
		reports = append(reports, r)
	}
	for _, r := range reports {
		for i := range r.Lines {
			r.Lines[i].Message = bytes.Repeat([]byte("ä"), 2000)
		}
	}
	if raw, err = Compose(itemOf(reports...), layoutOf("bailiff", "lines", "whois", "context"), envelope()); err != nil || len(raw) > 9<<20 {
		t.Errorf("%d bytes: %v", len(raw), err)
	}
	if got := receive(t, raw); got.header.Get("X-Bailiff-Bans") != "2000" || !strings.HasPrefix(got.text, "2000 bans on mail1.example.org, of which the newest 1000:\n") {
		t.Errorf("%s, %.100q", got.header.Get("X-Bailiff-Bans"), got.text)
	}
}

// The layout "fail2ban" is what programs that read fail2ban's mails look for.
func TestFail2banShape(t *testing.T) {
	got := composed(t, itemOf(sample()), layoutOf("fail2ban", "whois", "lines"), envelope())
	if s := got.header.Get("Subject"); s != "[Fail2Ban] sshd: banned 198.51.100.8 from mail1.example.org" {
		t.Errorf("subject %q", s)
	}
	from, err := got.header.AddressList("From")
	if err != nil || from[0].Name != "Fail2Ban" {
		t.Errorf("from %v: %v", from, err)
	}
	if !strings.HasPrefix(got.text, "Hi,\n\nThe IP 198.51.100.8 has just been banned by Fail2Ban after\n5 attempts against sshd.\n\n") ||
		!strings.Contains(got.text, "\n\nHere is more information about 198.51.100.8 :\n\ninetnum: ") ||
		!strings.Contains(got.text, "\n\nLines containing failures of 198.51.100.8 (max 1000)\nNov 23 02:02:03 mail1 sshd-session[4711]: Failed ") ||
		!strings.HasSuffix(got.text, "\n\n\nRegards,\n\nFail2Ban\n") {
		t.Errorf("the text:\n%s", got.text)
	}
}

func TestMessageID(t *testing.T) {
	for key, want := range map[string]string{
		"admin-0123.x": "bailiff.admin-0123.x@h.example.org",
		"a..b":         "bailiff.63a1b0a5dc8e8a3a5e5f2f2b8a2b1c6d@h.example.org",
	} {
		got := message.ID(key, "h.example.org")
		if key != "a..b" && got != want || !config.ValidAddress(got) || got != message.ID(key, "h.example.org") {
			t.Errorf("%q: %q", key, got)
		}
	}
	if got := message.ID("x", "not a host"); got != "bailiff.x@localhost.localdomain" {
		t.Error(got)
	}
}
