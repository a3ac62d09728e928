package mail

import (
	"bytes"
	"errors"
	"net"
	"net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

func env(t *testing.T, path string, args ...string) deliver.Env {
	t.Helper()
	return deliver.Env{
		Config: &config.Report{Sendmail: config.Sendmail{Path: path, Args: args, TimeLimit: 2 * time.Minute}},
		Host:   "mail.example.org", Agent: "bailiff/1", Now: func() time.Time { return time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC) },
	}
}

func item() *report.Item {
	at := time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)
	return &report.Item{Key: "admin-0123", Reports: []*report.Report{{
		ID: "0123", Time: at, Since: at, Until: at.Add(time.Hour), Prefix: netip.MustParsePrefix("198.51.100.8/32"), Address: netip.MustParseAddr("198.51.100.8"), Jail: "sshd", Failures: 5, Host: "mail.example.org",
		Lines: []report.Line{{Time: at, Hostname: "mail", Identifier: "sshd", Message: []byte("\n.\n~!id\n")}},
	}}}
}

func conf() *config.Destination {
	return &config.Destination{Name: "admin", Type: config.TypeMail, To: []string{"root"}, Include: []string{"lines"}, Layout: "bailiff", Lines: 10}
}

// A program that is no mail system but puts what it gets into a file: the mail is what Render says.
func TestDeliver(t *testing.T) {
	out := filepath.Join(t.TempDir(), "mail")
	d, err := New(conf(), env(t, "/bin/dd", "of="+out, "status=none"))
	if err != nil {
		t.Fatal(err)
	}
	// dd accepts no recipient and exits with 1, which is no status of a mail system.
	var retry *report.Retry
	if _, err = d.Deliver(t.Context(), item()); !errors.As(err, &retry) || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("%T %v", err, err)
	}
	d, err = New(conf(), env(t, "/bin/sh", "-c", `cat > "$0"`, out)) // the recipient is $1
	if err != nil {
		t.Fatal(err)
	}
	if r, err := d.Deliver(t.Context(), item()); err != nil || r.Answer != "taken by /bin/sh" {
		t.Fatal(r, err)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	want, err := d.Render(item())
	if err != nil || !bytes.Equal(got, bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))) {
		t.Errorf("delivered\n%s\nrendered %v\n%s", got, err, want)
	}
	m, err := mail.ReadMessage(bytes.NewReader(got))
	if err != nil {
		t.Fatal(err)
	}
	if trace := d.(deliver.Traced).Trace(item()); m.Header.Get("Message-ID") != "<"+trace+">" || trace != "bailiff.admin-0123@mail.example.org" {
		t.Errorf("Message-ID %s, trace %s", m.Header.Get("Message-ID"), trace)
	}
}

// An error that the configuration causes holds the destination; an error of a single mail does not.
func TestHolds(t *testing.T) {
	for status, all := range map[string]bool{"64": true, "65": false, "67": true} {
		d, err := New(conf(), env(t, "/bin/sh", "-c", "exit "+status))
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Deliver(t.Context(), item())
		var refused *report.Refused
		if !errors.As(err, &refused) || refused.All != all {
			t.Errorf("%s: %T %v", status, err, err)
		}
	}
}

func TestTemplate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "own.tmpl")
	own := conf()
	own.Template = file
	e := env(t, "/bin/true")
	if _, err := New(own, e); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for text, want := range map[string]string{"x\n{{.Nosuch}}": file + ":2: <.Nosuch>: can't evaluate field Nosuch in type *mail.View", "": file + ": has no text"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(own, e); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := os.WriteFile(file, bailiffLayout, 0o600); err != nil {
		t.Fatal(err)
	}
	mine, err := New(own, e)
	if err != nil {
		t.Fatal(err)
	}
	builtin, err := New(conf(), e)
	if err != nil {
		t.Fatal(err)
	}
	a, errA := mine.Render(item())
	b, errB := builtin.Render(item())
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("the example makes another mail: %v %v", errA, errB)
	}
	if own.Template = t.TempDir(); true {
		if _, err := New(own, e); err == nil || !strings.HasSuffix(err.Error(), "not a regular file") {
			t.Error(err)
		}
	}
	e.Config.Sender = "-x"
	if _, err := New(conf(), e); err == nil {
		t.Error("a sender that is an option is taken")
	}
}

func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	e := env(t, "/nosuch")
	e.Config.Sendmail.SMTP = l.Addr().String()
	d, err := New(conf(), e)
	if err != nil {
		t.Fatal(err)
	}
	var retry *report.Retry
	if _, err := d.Deliver(t.Context(), item()); !errors.As(err, &retry) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%T %v", err, err)
	}
}
