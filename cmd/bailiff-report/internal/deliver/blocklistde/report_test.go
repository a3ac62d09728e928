package blocklistde

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"bailiff/cmd/bailiff-report/internal/deliver/httpclient"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

var dest = &config.Destination{Name: "bl", Type: config.TypeBlocklist, Lines: 100}

func sample() *report.Report {
	r := &report.Report{
		ID: "1", Time: now, Prefix: netip.MustParsePrefix("2001:db8:1:2::/64"), Address: netip.MustParseAddr("2001:db8:1:2::9"), Jail: "sshd", Service: "sshd",
		Since: now, Failures: 5, Whois: &report.Whois{},
	}
	for i := range 3 {
		r.Lines = append(r.Lines, report.Line{Time: now.Add(time.Duration(i) * time.Second), Hostname: "<host>", Identifier: "sshd", PID: uint32(7 + i), Message: []byte("Failed password for <user> from 2001:db8:1:2::9 port 4 ssh2")})
	}
	return r
}

func TestCompose(t *testing.T) {
	e, err := compose(sample(), &config.Destination{Lines: 2})
	if err != nil {
		t.Fatal(err)
	}
	if got := e.form("bailiff@mail.example.org", "k&y"); got.Encode() != "apikey=k%26y&format=json&ip=2001%3Adb8%3A1%3A2%3A%3A9&"+
		"logs=2026-11-23T12%3A00%3A01Z+%3Chost%3E+sshd%5B8%5D%3A+Failed+password+for+%3Cuser%3E+from+2001%3Adb8%3A1%3A2%3A%3A9+port+4+ssh2%0A"+
		"2026-11-23T12%3A00%3A02Z+%3Chost%3E+sshd%5B9%5D%3A+Failed+password+for+%3Cuser%3E+from+2001%3Adb8%3A1%3A2%3A%3A9+port+4+ssh2%0A"+
		"&server=bailiff%40mail.example.org&service=ssh" {
		t.Error(got.Encode())
	}
	m := e.asReport(sample())
	if m.Jail != "ssh" || m.Prefix.String() != "2001:db8:1:2::9/128" || len(m.Lines) != 2 || m.Whois != nil || m.ID != "1" {
		t.Errorf("%+v", m)
	}
}

func TestNotTold(t *testing.T) {
	for want, change := range map[string]func(r *report.Report){
		"there are no log lines, without which it cannot forward the report": func(r *report.Report) { r.Lines = nil },
		"192.168.0.1 is not a public address": func(r *report.Report) {
			r.Prefix, r.Address = netip.MustParsePrefix("192.168.0.1/32"), netip.MustParseAddr("192.168.0.1")
		},
		"none of 2001:db8:1:2::/64 is known":                                            func(r *report.Report) { r.Address = r.Prefix.Addr() },
		"jail shop has no known service; name it in report.destinations.bl.services":    func(r *report.Report) { r.Jail, r.Service = "shop", "shop" },
		"jail openvpn has no known service; name it in report.destinations.bl.services": func(r *report.Report) { r.Jail, r.Service = "openvpn", "openvpn" },
	} {
		r := sample()
		change(r)
		_, err := compose(r, dest)
		var no *report.Refused
		if !errors.As(err, &no) || no.All || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestService(t *testing.T) {
	own := map[string]string{"edge": "ssh-edge", "dovecot": "pop3"}
	line := func(ident, pattern, msg string) report.Line {
		return report.Line{Identifier: ident, Pattern: pattern, Message: []byte(msg)}
	}
	for _, c := range []struct {
		jail, filter, want string
		lines              []report.Line
	}{
		{"sshd", "sshd", "ssh", nil}, {"edge", "sshd", "ssh-edge", nil}, {"x", "dovecot", "pop3", nil}, {"cyrus-imap", "cyrus-imap", "imap", nil},
		{"postfix", "postfix", "mail", nil}, {"postfix", "postfix", "mail", []report.Line{line("", "sasl", ""), line("", "rejected", "")}},
		{"postfix", "postfix", "sasl", []report.Line{line("", "sasl", ""), line("", "sasl-reason", "")}},
		{"exim", "exim", "sasl", []report.Line{line("", "auth-failed", "")}},
		{"courier-auth", "courier-auth", "pop3", []report.Line{line("pop3d-ssl", "", "x")}},
		{"courier-auth", "courier-auth", "imap", []report.Line{line("pop3d-ssl", "", "x"), line("imapd", "", "x")}},
		{"cyrus-imap", "cyrus-imap", "pop3", []report.Line{line("cyrus/pop3", "", "x")}},
		{"nsd", "nsd", "", nil},
	} {
		if got, ok := serviceOf(c.jail, c.filter, c.lines, own); got != c.want || ok != (c.want != "") {
			t.Errorf("%s, %s, %v: %q", c.jail, c.filter, c.lines, got)
		}
	}
}

func FuzzLogs(f *testing.F) {
	f.Add("x\n\x00\xff", 3)
	f.Fuzz(func(t *testing.T, msg string, n int) {
		r := sample()
		for range n & 0x3ff {
			r.Lines = append(r.Lines, report.Line{Time: now, Identifier: msg, Message: []byte(msg)})
		}
		e, err := compose(r, dest)
		if err != nil {
			t.Fatal(err)
		}
		got := e.logs()
		if len(got) > maxLogs || !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\r\x1b") || strings.Count(got, "\n") > 100 || strings.Contains(got, "\n\n") || !strings.HasSuffix(got, "\n") {
			t.Errorf("%q", got)
		}
	})
}

func judged(r report.Receipt, err error) string {
	var retry *report.Retry
	var no *report.Refused
	switch {
	case errors.As(err, &retry):
		return fmt.Sprintf("retry %v %v: %v", retry.After, retry.Quota, err)
	case errors.As(err, &no) && no.All:
		return "held: " + err.Error()
	case errors.As(err, &no):
		return "refused: " + err.Error()
	case err != nil:
		return "error: " + err.Error()
	}
	return r.Answer
}

func TestJudge(t *testing.T) {
	const hint = "; name the service of the jail in report.destinations.bl.services"
	for _, c := range []struct {
		status     int
		body, want string
	}{
		{200, `{"status":"success","error":0}`, "taken"},
		{200, ` {"status":"success","error":"0"}` + "\r\n", "taken"},
		{200, `{"status":"success"}`, "taken"},
		{200, `{"error":0}`, "taken"},
		{200, `{"error":[]}`, "taken"},
		{200, `{"status":"","error":false}`, "taken"},
		{200, `{"server":"API-Key stimmt nicht mit dem Server ueberein.","status":"error"}`, "held: blocklist.de refuses: server: API-Key stimmt nicht mit dem Server ueberein."},
		{400, `{"status":"error","error":{"apikey":"Please API key with the server about giving."}}`, "held: blocklist.de refuses: apikey: Please API key with the server about giving."},
		{200, `{"status":"error","error":["Wrong API-Key"]}`, "held: blocklist.de refuses: Wrong API-Key"},
		{200, `{"status":"error","error":{"service":"unknown","logs":"too short"}}`, "refused: blocklist.de refuses: logs: too short; service: unknown" + hint},
		{200, `{"status":"error","error":"no\nlogs\u001b"}`, "refused: blocklist.de refuses: no logs"},
		{200, `{"status":"error","error":0}`, "refused: blocklist.de refuses: an error without a text"},
		{200, `{"error":"it is on the whitelist"}`, "refused: blocklist.de refuses: it is on the whitelist"},
		{400, ``, "refused: blocklist.de answered 400 (bad request)"},
		{404, `Bad request`, "refused: blocklist.de refuses: service: 404 (not found)" + hint},
		{403, ``, "held: blocklist.de answered 403 (forbidden)"},
		{500, `{"status":"success","error":0}`, "retry 0s false: blocklist.de answered 500 (internal server error): {\"status\":\"success\",\"error\":0}"},
		{503, `<html>`, "retry 0s false: blocklist.de answered 503 (service unavailable)"},
		{429, ``, "retry 0s true: blocklist.de answered 429 (too many requests)"},
		{200, `<html>Domain for sale`, "retry 0s false: blocklist.de sent an answer that is not of its interface: nothing, or a web page"},
		{200, `status: success`, "retry 0s false: blocklist.de sent an answer that is not of its interface: status: success"},
		{200, `{}`, "retry 0s false: blocklist.de sent an answer that is not of its interface: {}"},
		{200, `[]`, "retry 0s false: blocklist.de sent an answer that is not of its interface: []"},
	} {
		if got := judged(judge(&httpclient.Answer{Status: c.status, Body: []byte(c.body)}, dest, now)); got != c.want {
			t.Errorf("%d %s\n%s, want\n%s", c.status, c.body, got, c.want)
		}
	}
}

func FuzzJudge(f *testing.F) {
	f.Add(200, `{"status":"error","error":{"service":{"a":[1,"\n"]}}}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		got := judged(judge(&httpclient.Answer{Status: status, Body: []byte(body)}, dest, now))
		if len(got) > 600 || strings.ContainsAny(got, "\n\r\x1b\x00") || !utf8.ValidString(got) || got == "taken" && (status < 200 || status > 299) {
			t.Errorf("%q", got)
		}
	})
}
