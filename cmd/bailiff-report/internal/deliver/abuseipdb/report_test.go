package abuseipdb

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"bailiff/cmd/bailiff-report/internal/deliver/httpclient"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func sample() *report.Report {
	r := &report.Report{
		ID: "1", Time: now.Add(-time.Minute), Prefix: netip.MustParsePrefix("198.51.100.7/32"), Address: netip.MustParseAddr("198.51.100.7"), Jail: "sshd", Service: "sshd",
		First: now.Add(-3 * time.Minute), Since: now.Add(-time.Minute), Failures: 5, Count: 1, Ports: []uint16{22},
	}
	for i := range 5 {
		r.Lines = append(r.Lines, report.Line{Time: r.First.Add(time.Duration(i) * 30 * time.Second), Hostname: "<host>", Identifier: "sshd-session", PID: uint32(100 + i),
			Message: []byte("Failed password for <user> from 198.51.100.7 port 4011" + fmt.Sprint(i) + " ssh2")})
	}
	return r
}

var dest = &config.Destination{Name: "abuseipdb", Type: config.TypeAbuseIPDB, Lines: 20}

func TestCompose(t *testing.T) {
	e, err := compose(sample(), dest, false, now)
	if err != nil {
		t.Fatal(err)
	}
	const want = `categories=18%2C22&comment=sshd%2C+port+22%3A+5+failed+attempts+from+2026-11-23T11%3A57%3A00Z+to+2026-11-23T11%3A59%3A00Z%0A2026-11-23T11%3A57%3A00Z+sshd-session%5B100%5D%3A+Failed+password+for+%3Cuser%3E+from+198.51.100.7+port+40110+ssh2`
	form := e.form()
	if got := form.Encode(); !strings.HasPrefix(got, want) || form.Get("ip") != "198.51.100.7" || form.Get("timestamp") != "2026-11-23T11:59:00Z" || strings.Count(form.Get("comment"), "\n") != 5 || len(form) != 4 {
		t.Errorf("%s", got)
	}
}

func TestNotTold(t *testing.T) {
	for name, c := range map[string]struct {
		change func(r *report.Report)
		want   string
	}{
		"private": {func(r *report.Report) {
			r.Address, r.Prefix = netip.MustParseAddr("10.0.0.1"), netip.MustParsePrefix("10.0.0.1/32")
		}, "10.0.0.1 is not a public address"},
		"network": {func(r *report.Report) {
			r.Address, r.Prefix = netip.MustParseAddr("198.51.100.0"), netip.MustParsePrefix("198.51.100.0/24")
		}, "none of 198.51.100.0/24 is known"},
		"old":          {func(r *report.Report) { r.Since = now.Add(-61 * 24 * time.Hour) }, "the attack of 2026-09-23 is more than 60 days old"},
		"udp":          {func(r *report.Report) { r.Jail, r.Service = "named-refused", "named-refused" }, "named-refused uses UDP"},
		"own filter":   {func(r *report.Report) { r.Jail, r.Service = "shop", "shop" }, "report.destinations.abuseipdb.categories"},
		"ban by hand":  {func(r *report.Report) { r.Jail, r.Service = "manual", "" }, "attacks on manual"},
		"no address":   {func(r *report.Report) { r.Address = netip.Addr{} }, "single addresses"},
		"another host": {func(r *report.Report) { r.Address = netip.MustParseAddr("fe80::1%eth0") }, "not a public address"},
	} {
		r := sample()
		c.change(r)
		_, err := compose(r, dest, false, now)
		var no *report.Refused
		if !errors.As(err, &no) || no.All || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTimesAndTest(t *testing.T) {
	r := sample()
	r.Since = now.Add(time.Hour)
	if e, err := compose(r, dest, false, now); err != nil || !e.Time.Equal(now) {
		t.Errorf("a time to come: %+v, %v", e, err)
	}
	r.Since = time.Time{}
	if e, err := compose(r, dest, true, now); err != nil || !e.Time.Equal(r.Time) || e.IP.String() != "127.0.0.2" {
		t.Errorf("a test: %+v, %v", e, err)
	}
	r.Prefix, r.Address = netip.MustParsePrefix("2001:db8::/64"), netip.MustParseAddr("2001:db8::9")
	if e, err := compose(r, dest, false, now); err != nil || e.IP.String() != "2001:db8::9" {
		t.Errorf("IPv6: %+v, %v", e, err)
	}
}

// Whatever stands in lines, the comment is text that fits, and the newest whole line is in it.
func FuzzComment(f *testing.F) {
	f.Add("x", 3, 20)
	f.Add("\n\x00ü\xff=cmd|' /C calc'!A0", 100, 1000)
	f.Fuzz(func(t *testing.T, msg string, n, most int) {
		r := sample()
		r.Lines = nil
		for range n & 0xff {
			r.Lines = append(r.Lines, report.Line{Time: now, Identifier: msg, Message: []byte(msg)})
		}
		r.Lines = append(r.Lines, report.Line{Time: now, Message: []byte("newest")})
		got := comment(r, most&0x3ff|1)
		if len(got) > 1024 || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\x00\x1b") || !strings.HasSuffix(got, "\n2026-11-23T12:00:00Z: newest") {
			t.Errorf("%q", got)
		}
		file := csvFile([]*entry{{IP: r.Address, Categories: []int{18}, Time: now, Comment: msg}})
		rows, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
		if err != nil || len(rows) != 2 || len(rows[1]) != 4 || strings.IndexAny(rows[1][3], "=+-@\t\r") == 0 || bytes.Count(file, []byte("\n")) != 2 || bytes.ContainsAny(file[33:], "'") && !bytes.ContainsAny([]byte(msg), "'\"=+-@") {
			t.Errorf("%q, %v", file, err)
		}
	})
}

func TestCategories(t *testing.T) {
	own := map[string][]int{"edge": {22, 18, 18}, "sshd": {15}, "asterisk": {8}}
	for _, c := range []struct {
		jail, filter string
		want         []int
		ok           bool
	}{
		{"edge", "sshd", []int{18, 22}, true}, {"sshd", "sshd", []int{15}, true}, {"x", "sshd", []int{15}, true}, {"asterisk", "asterisk", []int{8}, true},
		{"dovecot", "dovecot", []int{18}, true}, {"nsd", "nsd", nil, true}, {"x", "y", nil, false},
	} {
		if got, ok := categoriesOf(c.jail, c.filter, own); ok != c.ok || !slices.Equal(got, c.want) {
			t.Errorf("%s, %s: %v, %v", c.jail, c.filter, got, ok)
		}
	}
}

func TestBulk(t *testing.T) {
	r, again, old, other := sample(), sample(), sample(), sample()
	again.Jail, again.Service = "dovecot", "dovecot"
	old.Since = now.Add(-90 * 24 * time.Hour)
	other.Address, other.Prefix = netip.MustParseAddr("198.51.100.8"), netip.MustParsePrefix("198.51.100.8/32")
	entries, skipped, err := composeAll([]*report.Report{r, old, other, again}, dest, false, now)
	if err != nil || len(skipped) != 1 || len(entries) != 2 {
		t.Fatalf("%v, %v, %v", entries, skipped, err)
	}
	rows, err := csv.NewReader(bytes.NewReader(csvFile(entries))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	rows[2][3] = rows[2][3][:16]
	if want := [][]string{
		{"IP", "Categories", "ReportDate", "Comment"},
		{"198.51.100.8", "18,22", "2026-11-23T11:59:00Z", rows[1][3]},
		{"198.51.100.7", "18,22", "2026-11-23T11:59:00Z", "dovecot, port 22"},
	}; !slices.EqualFunc(rows, want, slices.Equal) || !strings.Contains(rows[1][3], " | 2026-11-23T11:57:00Z sshd-session[100]: Failed password") {
		t.Errorf("%q", rows)
	}
	if _, skipped, err := composeAll([]*report.Report{old}, dest, false, now); err == nil || len(skipped) != 1 {
		t.Errorf("%v, %v", skipped, err)
	}
}

// The longest file that can be: it fits, and all its comments say something.
func TestBulkFits(t *testing.T) {
	var many []int
	for i := range 99 {
		many = append(many, 99-i)
	}
	d := *dest
	d.Categories = map[string][]int{"sshd": many}
	var reports []*report.Report
	for i := range maxRows {
		r := sample()
		r.Address = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, byte(0x80 + i>>8), byte(i)})
		r.Prefix, _ = r.Address.Prefix(64)
		reports = append(reports, r)
	}
	entries, skipped, err := composeAll(reports, &d, false, now)
	if err != nil || len(skipped) > 0 || len(entries) != maxRows {
		t.Fatalf("%d, %d, %v", len(entries), len(skipped), err)
	}
	file := csvFile(entries)
	if len(file) > maxFile || len(file) < maxFile*8/10 || bytes.Count(file, []byte("\n")) != maxRows+1 || bytes.Count(file, []byte("sshd, port 22: 5 failed attempts")) != maxRows {
		t.Errorf("%d bytes, %s", len(file), file[:500])
	}
}

func said1(status int, body string, header ...string) *httpclient.Answer {
	h := textproto.MIMEHeader{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &httpclient.Answer{Status: status, Header: h, Body: []byte(body)}
}

func judged(r report.Receipt, err error) string {
	var retry *report.Retry
	var no *report.Refused
	switch {
	case errors.As(err, &retry):
		return fmt.Sprintf("retry %v %v: %v", retry.After, retry.Quota, err)
	case errors.As(err, &no):
		return fmt.Sprintf("refused %v: %v", no.All, err)
	case err != nil:
		return "error: " + err.Error()
	}
	return fmt.Sprintf("%s %v", r.Answer, r.Duplicate)
}

func TestJudge(t *testing.T) {
	const dup = `{"errors":[{"detail":"You can only report the same IP address (` + "`127.0.0.2`" + `) once in 15 minutes.","status":429,"source":{"parameter":"ip"}}]}`
	const quota = `{"errors":[{"detail":"Daily rate limit of 1000 requests exceeded for this endpoint. See headers for additional details.","status":429}]}`
	for want, a := range map[string]*httpclient.Answer{
		"taken, confidence of abuse 52 false":         said1(200, `{"data":{"ipAddress":"198.51.100.7","abuseConfidenceScore":52}}`),
		"taken false":                                 said1(200, `{"data":{"ipAddress":"198.51.100.7"}}`),
		"reported less than 15 minutes ago true":      said1(429, dup, "Retry-After", "800"),
		"reported less than 15 minutes ago true ":     said1(403, dup),
		"retry 1h0m0s true: AbuseIPDB answered 429":   said1(429, quota, "Retry-After", "3600"),
		"retry 2h0m0s true: AbuseIPDB answered 429":   said1(429, quota, "X-RateLimit-Reset", fmt.Sprint(now.Add(2*time.Hour).Unix())),
		"retry 12h0m0s true: AbuseIPDB answered 429":  said1(429, quota),
		"refused true: AbuseIPDB answered 401":        said1(401, `{"errors":[{"detail":"Authentication failed.","status":401}]}`),
		"refused true: AbuseIPDB answered 403":        said1(403, ``),
		"refused true: AbuseIPDB asks for payment: n": said1(402, ``),
		"refused false: AbuseIPDB answered 422 (unprocessable content): The ip must be valid. (ip); Bad category.": said1(422, `{"errors":[{"detail":"The ip must be valid.","source":{"parameter":"ip"}},{"detail":"Bad category."}]}`),
		"retry 0s false: AbuseIPDB answered 500 (internal server error)":                                           said1(500, `<!DOCTYPE html>`),
		"retry 0s false: AbuseIPDB sent an answer that is not of its API: nothing":                                 said1(200, `<!DOCTYPE html>`),
		"retry 0s false: AbuseIPDB sent an answer that is not of its API: {}":                                      said1(200, `{}`),
		"retry 7s false: AbuseIPDB answered 503":                                                                   said1(503, ``, "Retry-After", "7"),
		"retry 0s false: AbuseIPDB sent an answer that is not of its API: ok { [31m":                               said1(200, "ok\n{\x1b[31m"),
	} {
		if got := judged(judge(a, now)); !strings.HasPrefix(got, strings.TrimSpace(want)) {
			t.Errorf("%d %s\n%s, want\n%s", a.Status, a.Body, got, want)
		}
	}
	for want, a := range map[string]*httpclient.Answer{
		"60 of 63 taken, 1 already known, 2 refused; row 6, 127.0.foo.bar: Invalid IP; row 8, 189.87.146.50: Invalid Category false": said1(200, `{"data":{"savedReports":60,"invalidReports":[{"error":"Duplicate IP","input":"41.188.138.68","rowNumber":5},{"error":"Invalid IP","input":"127.0.foo.bar","rowNumber":6},{"error":"Invalid Category","input":"189.87.146.50","rowNumber":8}]}}`),
		"63 of 63 taken false":                                             said1(200, `{"data":{"savedReports":63,"invalidReports":[]}}`),
		"0 of 63 taken, 1 already known true":                              said1(200, `{"data":{"savedReports":0,"invalidReports":[{"error":"Duplicate IP"}]}}`),
		"refused false: AbuseIPDB: 0 of 63 taken, 1 refused; row 2, x: no": said1(200, `{"data":{"savedReports":0,"invalidReports":[{"error":"no","input":"x","rowNumber":2}]}}`),
		"retry 15m0s false":                                                said1(429, dup),
		"retry 12h0m0s true":                                               said1(429, quota),
		"retry 0s false: AbuseIPDB does not say":                           said1(200, `{"data":{}}`),
		"refused true: AbuseIPDB answered 401":                             said1(401, ``),
	} {
		if got := judged(judgeBulk(a, 63, now)); !strings.HasPrefix(got, want) {
			t.Errorf("%d %s\n%s, want\n%s", a.Status, a.Body, got, want)
		}
	}
}

func FuzzJudge(f *testing.F) {
	f.Add(200, `{"data":{"abuseConfidenceScore":1,"savedReports":-1,"invalidReports":[{"error":"\n\u001b","input":"x"}]},"errors":[{"detail":"\n"}]}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		for _, judge := range []func(*httpclient.Answer) (report.Receipt, error){
			func(a *httpclient.Answer) (report.Receipt, error) { return judge(a, now) },
			func(a *httpclient.Answer) (report.Receipt, error) { return judgeBulk(a, 1, now) },
		} {
			r, err := judge(said1(status, body))
			text := r.Answer
			if err != nil {
				text = err.Error()
			}
			if text == "" || len(text) > 500 || strings.ContainsAny(text, "\n\r\x1b\x00") || !utf8.ValidString(text) {
				t.Errorf("%q", text)
			}
		}
	})
}
