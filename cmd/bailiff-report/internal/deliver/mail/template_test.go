package mail

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTemplateErrors(t *testing.T) {
	defer func(d time.Duration) { maxTime = d }(maxTime)
	maxTime = 5 * time.Minute // 100,000 templates within each other
	for _, c := range []struct{ text, want string }{
		{"", `x.tmpl: has no text: write it, or {{define "body"}}…{{end}}`},
		{`{{define "subject"}}s{{end}}`, `x.tmpl: has no text: write it, or {{define "body"}}…{{end}}`},
		{"a\n{{.Host", `x.tmpl:2: unclosed action`},
		{"a\n{{if}}{{end}}", `x.tmpl:2: missing value for if`},
		{"a\n\n{{nosuch .Host}}", `x.tmpl:3: function "nosuch" not defined`},
		{"a\n{{.Hots}}", `x.tmpl:2: <.Hots>: can't evaluate field Hots in type *mail.View`},
		{"{{range .Bans}}\n\n{{.Nme}}{{end}}", `x.tmpl:3: <.Nme>: can't evaluate field Nme in type mail.Ban`},
		{"{{range 100000}}" + strings.Repeat("x", 100) + "{{end}}", `x.tmpl: makes more than 8388608 bytes`},
		{`{{define "a"}}{{template "b"}}{{end}}{{define "b"}}{{if true}}{{template "a"}}{{end}}{{end}}{{template "a"}}`, `exceeded maximum template depth`},
		{"{{template \"nosuch\"}}", `x.tmpl:1: <{{template "nosuch"}}>: template "nosuch" not defined`},
		{"{{index .Bans 7}}", `x.tmpl:1: <index .Bans 7>: error calling index: index out of range: 7`},
		{"{{date \"x\" .Time}}", `x.tmpl:1: <date "x" .Time>: error calling date: date: there is no form "x": it is iso, syslog, mail or day`},
		{"\xff", `x.tmpl: is not UTF-8`},
		{strings.Repeat("x", maxTemplate+1), `x.tmpl: has 65537 bytes, more than 65536`},
	} {
		_, err := ParseTemplate("x.tmpl", []byte(c.text))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

// A template that never ends is given up, whether it writes anything or not.
func TestTemplateEnds(t *testing.T) {
	defer func(d time.Duration) { maxTime = d }(maxTime)
	maxTime = 100 * time.Millisecond
	for _, text := range []string{"{{range 1000000000}}{{range 1000000000}}{{end}}{{end}}", "{{range 1000000000}}{{range 1000000000}}{{upper \"\"}}{{end}}{{end}}"} {
		if _, err := ParseTemplate("x", []byte(text)); err == nil || err.Error() != "x: takes longer than 100ms" {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestOwnTemplate(t *testing.T) {
	tmpl, err := ParseTemplate("x.tmpl", []byte(`{{define "subject"}}ban
Bcc: evil@example.org {{with index .Bans 0}}{{.Jail}}{{end}}{{end}}{{define "body"}}{{range .Bans}}{{upper .Jail}} {{date "day" .Since}}
{{range .Lines}}{{indent 2 .Message}}
{{end}}{{end}}{{end}}`))
	if err != nil {
		t.Fatal(err)
	}
	e := envelope()
	e.Template = tmpl
	got := composed(t, itemOf(sample()), layoutOf("bailiff", "lines"), e)
	if s := got.header.Get("Subject"); s != "ban Bcc: evil@example.org sshd" || got.header.Get("Bcc") != "" {
		t.Errorf("subject %q, bcc %q", s, got.header.Get("Bcc"))
	}
	if !strings.HasPrefix(got.text, "SSHD 2026-11-23\n  Failed password for invalid user admin from 198.51.100.8 port 33043 ssh2\n") {
		t.Errorf("text %q", got.text)
	}
	tmpl, err = ParseTemplate("y.tmpl", []byte("only a body, {{.Host}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	e.Template = tmpl
	got = composed(t, itemOf(sample()), layoutOf("fail2ban"), e)
	if got.text != "only a body, mail1.example.org\n" || !strings.HasPrefix(got.header.Get("Subject"), "[Fail2Ban] sshd") {
		t.Errorf("subject %q, text %q", got.header.Get("Subject"), got.text)
	}
}

// FuzzTemplate: no template panics, and what it makes is a mail.
func FuzzTemplate(f *testing.F) {
	f.Add(string(bailiffLayout))
	f.Add(`{{with index .Bans 0}}{{with .Whois}}{{.Text}}{{else}}{{.Failed}}{{end}}{{end}}`)
	f.Add(`{{define "body"}}{{block "x" .Time}}{{.Year}}{{end}}{{end}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1000 || strings.Contains(text, "range ") || strings.Contains(text, "printf") { // a file of root's may take its time
			return
		}
		tmpl, err := ParseTemplate("x.tmpl", []byte(text))
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Errorf("%T: %v", err, err)
			}
			return
		}
		e := envelope()
		e.Template = tmpl
		if raw, err := Compose(itemOf(sample()), layoutOf("bailiff", "lines"), e); err == nil {
			receive(t, raw)
		}
	})
}
