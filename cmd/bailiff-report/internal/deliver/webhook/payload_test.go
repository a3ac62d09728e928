package webhook

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"bailiff/cmd/bailiff-report/internal/report"
)

var at = time.Date(2026, 11, 23, 2, 3, 4, 5e6, time.FixedZone("CET", 3600))

func sample() *report.Report {
	return &report.Report{
		ID: "00ff", Cursor: "s=secret", Time: at, Prefix: netip.MustParsePrefix("198.51.100.7/32"), Address: netip.MustParseAddr("198.51.100.7"), Jail: "sshd", Service: "sshd",
		First: at.Add(-time.Minute), Since: at, Failures: 5, Count: 2, Reason: "failures", Ports: []uint16{22}, Host: "mail.example.org", Missing: 1,
		Lines: []report.Line{
			{Time: at, Hostname: "mail", Identifier: "sshd", PID: 7, Unit: "ssh.service", Message: []byte("old")},
			{Time: at, Hostname: "mail", Identifier: "sshd", PID: 7, Unit: "ssh.service", Message: []byte("Failed <password> & \"x\"\n\u2028"), Pattern: "failed", Source: netip.MustParseAddr("198.51.100.7"), Port: 4711, Account: []byte("bob")},
			{Time: at, Message: []byte("\xff\x00")},
		},
		Whois: &report.Whois{Network: netip.MustParsePrefix("198.51.100.0/24"), Name: "TEST-NET-2", Holder: "IANA", Country: "ZZ", Abuse: []string{"abuse@example.net"}, Text: "long", Source: "rdap.example.net", Asked: at},
	}
}

func TestCompose(t *testing.T) {
	got := string(Compose(&report.Item{Key: "00ff.hook", Reports: []*report.Report{sample()}}, "other", 2))
	const want = `{"type":"ban","version":1,"timestamp":"2026-11-23T01:03:04.005Z","key":"00ff.hook","test":false,"data":{"host":"mail.example.org","reports":[` +
		`{"id":"00ff","time":"2026-11-23T01:03:04.005Z","address":"198.51.100.7","prefix":"198.51.100.7/32","jail":"sshd","filter":"sshd","reason":"failures","by":"","failures":5,"count":2,` +
		`"first":"2026-11-23T01:02:04.005Z","since":"2026-11-23T01:03:04.005Z","until":null,"wide":false,"extended":false,"ports":[22],"lines":[` +
		`{"time":"2026-11-23T01:03:04.005Z","host":"mail","program":"sshd","pid":7,"unit":"ssh.service","message":"Failed <password> & \"x\"\n\u2028","pattern":"failed","address":"198.51.100.7","port":4711,"account":"bob"},` +
		`{"time":"2026-11-23T01:03:04.005Z","host":"","program":"","pid":0,"unit":"","message":"�\u0000","message_base64":"/wA=","pattern":"","address":null,"port":0,"account":""}],` +
		`"lines_missing":1,"lines_withheld":0,"lines_omitted":1,"whois":{"network":"198.51.100.0/24","name":"TEST-NET-2","holder":"IANA","country":"ZZ","abuse":["abuse@example.net"],"source":"rdap.example.net","error":""}}]}}`
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	var p Payload
	dec := json.NewDecoder(strings.NewReader(got))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		t.Error(err)
	}
}

// Whatever the journal holds, the payload is bounded, and the newest lines are in it.
func TestBounds(t *testing.T) {
	var all []*report.Report
	long := bytes.Repeat([]byte{0xff}, 1<<20)
	for range 1000 {
		r := sample()
		r.Lines = nil
		for range 10 {
			r.Lines = append(r.Lines, report.Line{Time: at, Message: long, Account: long[:10]})
		}
		all = append(all, r)
	}
	b := Compose(&report.Item{Key: "k", Digest: true, Reports: all}, "", 100)
	var p Payload
	if err := json.Unmarshal(b, &p); err != nil || len(b) > 8<<20 || p.Type != "ban.digest" || len(p.Data.Reports) != 1000 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	first, last := p.Data.Reports[0], p.Data.Reports[999]
	if len(first.Lines) != 0 || first.Omitted != 10 || len(last.Lines) != 10 || last.Omitted != 0 || len(last.Lines[0].Base64) != maxMessage {
		t.Errorf("%d and %d lines", len(first.Lines), len(last.Lines))
	}
}

func FuzzCompose(f *testing.F) {
	f.Add("a", "b\xff", []byte("c\x00\u2028</script>"))
	f.Fuzz(func(t *testing.T, name, reason string, msg []byte) {
		r := sample()
		r.Reason, r.By, r.Lines = reason, name, []report.Line{{Time: at, Identifier: name, Message: msg, Account: msg}}
		b := Compose(&report.Item{Key: "k", Reports: []*report.Report{r}}, name, 1)
		var p Payload
		if err := json.Unmarshal(b, &p); err != nil || !utf8.Valid(b) || bytes.ContainsAny(b, "\n\r\x00\x1b") {
			t.Fatalf("%q, %v", b, err)
		}
		got := p.Data.Reports[0].Lines[0]
		if raw := msg[:min(len(msg), maxMessage)]; utf8.Valid(raw) && got.Message != string(raw) || !utf8.Valid(raw) && !bytes.Equal(got.Base64, raw) {
			t.Errorf("%q became %+v", msg, got)
		}
	})
}

// The example that the standard's own libraries are tested with.
func TestSign(t *testing.T) {
	secrets, err := readSecrets([]byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := sign(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	want := map[string]string{"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330", "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	two, err := readSecrets([]byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n\n  a plain text secret \r\n"))
	if err != nil || len(two) != 2 || string(two[1]) != "a plain text secret" {
		t.Errorf("%q, %v", two, err)
	}
	if got := sign(two, "x", at, nil)["webhook-signature"]; len(strings.Fields(got)) != 2 {
		t.Error(got)
	}
	for _, bad := range []string{"", "\n", "short", "whsec_", "whsec_!!!!!!!!!!!!!!!!!!!!!!!!!", "a long enough secret\nhunter2"} {
		if _, err := readSecrets([]byte(bad)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if id := idOf(&report.Item{Key: "00ff.hook-1"}); id != "00ff_hook-1" {
		t.Error(id)
	}
}

// Every key is described in the manual.
func TestManual(t *testing.T) {
	page, err := os.ReadFile("../../../../../units/man/bailiff.report.5.scd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, v := range []any{Payload{}, Data{}, Ban{}, Line{}, Whois{}} {
		for i := range reflect.TypeOf(v).NumField() {
			key, _, _ := strings.Cut(reflect.TypeOf(v).Field(i).Tag.Get("json"), ",")
			if n++; !bytes.Contains(page, []byte("*"+key+"*")) {
				t.Errorf("%s is not in it", key)
			}
		}
	}
	if n < 40 {
		t.Errorf("%d keys only", n)
	}
}
