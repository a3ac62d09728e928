package blocklistde

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/delivertest"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

// byMail makes a destination whose sendmail puts each mail into a folder of its own, with its arguments, and then ends with a
// status.
func byMail(t *testing.T, status string) (deliver.Destination, string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\nn=$(ls " + dir + " | grep -c mail)\ncat >" + dir + "/mail$n\nprintf '%s\\n' \"$@\" >" + dir + "/args$n\nexit " + status + "\n"
	path := filepath.Join(dir, "sendmail")
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	env := delivertest.Env(t, "", "")
	env.Config.Sender = "bailiff@mail.example.org"
	env.Config.Sendmail = config.Sendmail{Path: path, Args: []string{"-i", "-f", "SENDER", "--"}, TimeLimit: 2 * time.Minute}
	d := &config.Destination{Name: "bl", Type: config.TypeBlocklist, Method: "mail", To: []string{"fail2ban@dyn.blocklist.de"}, Include: []string{config.IncludeWhois}, Lines: 100}
	dest, err := New(d, env)
	if err != nil {
		t.Fatal(err)
	}
	return dest, dir
}

// What blocklist.de looks for: the account as sender, service and address in the subject, log lines in the text.
func TestMail(t *testing.T) {
	d, dir := byMail(t, "0")
	dovecot, silent := delivertest.Report("2001:db8:1:2::9"), delivertest.Report("198.51.100.8")
	dovecot.Jail, dovecot.Service = "dovecot", "dovecot"
	silent.Lines = nil
	traced := map[string]bool{}
	trace := d.(deliver.Traced).Trace
	for i, r := range []*report.Report{delivertest.Report("198.51.100.7"), silent, dovecot} {
		item := delivertest.Item(r)
		item.Key += fmt.Sprint(i)
		got := outcome(t, d, item)
		if r == silent {
			if !strings.HasPrefix(got, "refused: blocklist.de is not told: there are no log lines") || trace(item) != "" {
				t.Errorf("%s, traced as %s", got, trace(item))
			}
			continue
		}
		if !strings.HasPrefix(got, "ok: ") {
			t.Error(got)
		}
		traced["<"+trace(item)+">"] = true
	}
	ids := map[string]bool{}
	for file, want := range map[string]string{"mail1": "[Fail2Ban] ssh: banned 198.51.100.7 from mail.example.org", "mail2": "[Fail2Ban] imap: banned 2001:db8:1:2::9 from mail.example.org"} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		m, err := mail.ReadMessage(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
		if err != nil || subject != want {
			t.Errorf("%s: %q, %v", file, subject, err)
		}
		from, err := mail.ParseAddress(m.Header.Get("From"))
		if err != nil || from.Address != "bailiff@mail.example.org" || m.Header.Get("To") != "fail2ban@dyn.blocklist.de" {
			t.Errorf("%s: %v, %v", file, m.Header, err)
		}
		body := m.Body
		if m.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
			body = quotedprintable.NewReader(body)
		}
		text, err := io.ReadAll(body)
		if err != nil || strings.Count(string(text), "Failed password for bob from ") != 5 || strings.Contains(string(text), "whois") {
			t.Errorf("%s: %s, %v", file, text, err)
		}
		ids[m.Header.Get("Message-Id")] = true
	}
	if len(ids) != 2 || !maps.Equal(ids, traced) {
		t.Errorf("%v, traced as %v", ids, traced)
	}
	if got := trace(delivertest.Item(dovecot, dovecot)); got != "" {
		t.Errorf("a digest of an earlier version is traced as %s", got)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "args1")); err != nil || string(b) != "-i\n-f\nbailiff@mail.example.org\n--\nfail2ban@dyn.blocklist.de\n" {
		t.Errorf("%s, %v", b, err)
	}
	shown, err := d.Render(delivertest.Item(dovecot))
	if err != nil || !bytes.Contains(shown, []byte("Subject: [Fail2Ban] imap: banned 2001:db8:1:2::9 from mail.example.org")) {
		t.Errorf("%s, %v", shown, err)
	}
	if mails, err := filepath.Glob(filepath.Join(dir, "mail*")); err != nil || len(mails) != 2 {
		t.Errorf("%v, %v", mails, err)
	}
}

func TestMailFails(t *testing.T) {
	for status, want := range map[string]string{"75": "retry ", "67": "held: "} {
		d, dir := byMail(t, status)
		if got := outcome(t, d, delivertest.Item(delivertest.Report("198.51.100.7"))); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", status, got)
		}
		if mails, err := filepath.Glob(filepath.Join(dir, "mail*")); err != nil || len(mails) != 1 {
			t.Errorf("%s: %v, %v", status, mails, err)
		}
	}
}
