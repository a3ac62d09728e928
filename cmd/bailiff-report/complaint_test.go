package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/journaltest"
)

// TestComplaint follows a ban from the journal to the mail that the abuse contact gets. The registry is asked over HTTP, the host's
// sendmail is run, and the mail holds nothing private.
func TestComplaint(t *testing.T) {
	journaltest.Need(t)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, d := range []string{"journal", "state"} {
		if err := os.Mkdir(path(d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ip/198.51.100.7" {
			t.Errorf("asked for %s", r.URL)
		}
		w.Header().Set("Content-Type", "application/rdap+json")
		io.WriteString(w, `{"objectClassName":"ip network","startAddress":"198.51.100.0","endAddress":"198.51.100.255","name":"TEST-NET-2",
			"entities":[{"roles":["abuse"],"vcardArray":["vcard",[["email",{},"text","abuse@network.example"],["email",{},"text","a@example.org\r\nBcc: x@y.example"]]]}]}`)
	}))
	defer registry.Close()
	for name, text := range map[string]string{
		"rdap.json": fmt.Sprintf(`{"services":[[["198.51.100.0/24"],[%q]]]}`, registry.URL),
		"sendmail":  "#!/bin/sh\ncd \"$(dirname \"$0\")\" && printf '%s\\n' \"$@\" >arguments && cat >mail.new && mv mail.new mail && echo queued\n",
		"bailiff.yaml": "jails: {sshd: {}}\nreport:\n  host: mail1.example.org\n  lookup: {bootstrap: " + path("rdap.json") + ", whois: no, contacts: none}\n  sendmail: {path: " + path("sendmail") + "}\n" +
			"  destinations: {network: {type: xarf, org: Example Org, contact: noc@example.org, digest: no}}\n",
	} {
		if err := os.WriteFile(path(name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	in, _ := journaltest.Start(t, path("journal/system.journal"))
	n := 0
	entry := func(fields map[string]string) {
		n++
		out := fmt.Appendf(nil, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%s\n_HOSTNAME=mail1\n", time.Now().UnixMicro(), 1_000_000+n, journaltest.Gen{}.Boot(0))
		for k, v := range fields {
			out = journaltest.Field(out, k, []byte(v))
		}
		if _, err := in.Write(append(out, '\n')); err != nil {
			t.Fatal(err)
		}
	}
	daemon := func(kind audit.Kind, fields ...audit.Field) {
		all := map[string]string{"_UID": "987", "_SYSTEMD_UNIT": "bailiff.service", "_TRANSPORT": "journal", "MESSAGE_ID": kind.ID()}
		for _, f := range fields {
			all[f.Name] = f.Value
		}
		entry(all)
	}
	daemon(audit.KindStart)
	for i := range 3 {
		entry(map[string]string{"_UID": "0", "_SYSTEMD_UNIT": "ssh.service", "_TRANSPORT": "syslog", "SYSLOG_IDENTIFIER": "sshd-session", "_PID": "4711",
			"MESSAGE": fmt.Sprintf("Failed password for invalid user hunter2 from 198.51.100.7 port %d ssh2", 40000+i)})
	}
	var cursors []string
	until(t, "failures in the journal", func() bool {
		cursors = nil
		j, err := journal.Open(journal.Dir(path("journal")), journal.Options{Fields: []string{"MESSAGE"}})
		if err != nil {
			return false
		}
		defer j.Close()
		for j.Next() {
			if bytes.HasPrefix(j.Entry().Field(0), []byte("Failed password")) {
				cursors = append(cursors, j.Entry().Cursor.String())
			}
		}
		return len(cursors) == 3
	})
	start(t, nil, nil, "--config", path("bailiff.yaml"), "--state", path("state"), "--journal", path("journal"), "--audit", path("journald"), "--daemon", "987", "--retry", "50ms", "--socket", path("control"))
	now := time.Now()
	ban := audit.BanEvent{Prefix: netip.MustParsePrefix("198.51.100.7/32"), Jail: "sshd", ID: "00000000000000ab", First: now.Add(-time.Minute), Since: now, Until: now.Add(time.Hour), Failures: 3, Count: 1, Reason: "failures", Evidence: cursors}
	e := ban.Entry(audit.KindBan)
	daemon(audit.KindBan, e.Fields...)

	var raw []byte
	until(t, "the mail", func() bool {
		b, err := os.ReadFile(path("mail"))
		raw = b
		return err == nil
	})
	args, err := os.ReadFile(path("arguments"))
	if err != nil || string(args) != "-i\n-f\nbailiff@mail1.example.org\n--\nabuse@network.example\n" {
		t.Errorf("%v: arguments %q", err, args)
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || m.Header.Get("To") != "abuse@network.example" || m.Header.Get("Bcc") != "" || !strings.HasPrefix(m.Header.Get("Subject"), "abuse report about 198.51.100.7 - ") {
		t.Errorf("%v: %v", err, m.Header)
	}
	var d struct {
		Source   string `json:"source_identifier"`
		Port     int    `json:"source_port"`
		Type     string `json:"type"`
		Evidence []struct{ Payload []byte }
	}
	text := ""
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextPart() // quoted-printable is undone by this
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		var body io.Reader = p
		if p.Header.Get("Content-Transfer-Encoding") == "base64" {
			body = base64.NewDecoder(base64.StdEncoding, p)
		}
		b, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		text += string(b)
		if p.FileName() == "xarf.json" {
			if err := json.Unmarshal(b, &d); err != nil {
				t.Fatal(err)
			}
		}
	}
	if d.Source != "198.51.100.7" || d.Port != 40002 || d.Type != "login_attack" || len(d.Evidence) != 1 {
		t.Fatalf("%+v of\n%s", d, text)
	}
	log := string(d.Evidence[0].Payload)
	for i := range 3 {
		if want := fmt.Sprintf("Z sshd-session[4711]: Failed password for invalid user <user> from 198.51.100.7 port %d ssh2\n", 40000+i); !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
	if all := text + log; strings.Contains(all, "hunter2") || strings.Contains(all, "mail1") {
		t.Errorf("something private is in\n%s", all)
	}
	until(t, "what is kept", func() bool {
		book, err := os.ReadFile(path("state/xarf-network.json"))
		return err == nil && strings.Contains(string(book), "00000000000000ab") && strings.Contains(string(book), "abuse@network.example")
	})
}
