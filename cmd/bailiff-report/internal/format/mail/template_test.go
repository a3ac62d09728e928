package mail

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestTemplateErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", `x.tmpl: has no text: write it, or {{define "body"}}…{{end}}`},
		{`{{define "subject"}}s{{end}}`, `x.tmpl: has no text: write it, or {{define "body"}}…{{end}}`},
		{"a\n{{.Host", `x.tmpl:2: unclosed action`},
		{"a\n{{if}}{{end}}", `x.tmpl:2: missing value for if`},
		{"a\n\n{{nosuch .Host}}", `x.tmpl:3: function "nosuch" not defined`},
		{"a\n{{.Hots}}", `x.tmpl:2: <.Hots>: can't evaluate field Hots in type *mail.View`},
		{"{{range .Bans}}\n\n{{.Nme}}{{end}}", `x.tmpl:3: <.Nme>: can't evaluate field Nme in type mail.Ban`},
		{"a\n{{printf \"%1000000000d\" 1}}", `x.tmpl:2: function "printf" cannot be called here: there are date, indent, join, lower, plural, upper and eq, ne, lt, le, gt, ge, and, or, not, len, index`},
		{"{{if true}}\n{{.Host | html}}{{end}}", `x.tmpl:2: function "html" cannot be called here: there are date, indent, join, lower, plural, upper and eq, ne, lt, le, gt, ge, and, or, not, len, index`},
		{"{{range $x := (call .Host)}}{{end}}", `x.tmpl:1: function "call" cannot be called here: there are date, indent, join, lower, plural, upper and eq, ne, lt, le, gt, ge, and, or, not, len, index`},
		{"{{_step}}", `x.tmpl:1: function "_step" cannot be called here: there are date, indent, join, lower, plural, upper and eq, ne, lt, le, gt, ge, and, or, not, len, index`},
		{"x\n{{range 1000000000}}{{end}}", `x.tmpl:2: takes more than 200000 steps`},
		{"{{range 1000}}{{range 1000}}{{end}}{{end}}", `x.tmpl:1: takes more than 200000 steps`},
		{"{{range 100000}}" + strings.Repeat("x", 100) + "{{end}}", `x.tmpl: makes more than 8388608 bytes`},
		{`{{define "a"}}{{template "b"}}{{end}}{{define "b"}}{{if true}}{{template "a"}}{{end}}{{end}}{{template "a"}}`, `calls itself`},
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

// A template is bound by steps, so a bad one ends at once.
func TestTemplateEnds(t *testing.T) {
	began := time.Now()
	if _, err := ParseTemplate("x", []byte("{{range 1000000000}}{{range 1000000000}}{{end}}{{end}}")); err == nil {
		t.Error("it has no end, and is taken")
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("it took %s", d)
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
	got := compose(t, item(sample()), destination("bailiff", "lines"), e)
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
	got = compose(t, item(sample()), destination("fail2ban"), e)
	if got.text != "only a body, mail1.example.org\n" || !strings.HasPrefix(got.header.Get("Subject"), "[Fail2Ban] sshd") {
		t.Errorf("subject %q, text %q", got.header.Get("Subject"), got.text)
	}
}

func TestExample(t *testing.T) {
	file, err := os.ReadFile("bailiff.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	if string(Example()) != string(file) {
		t.Error("the example is another")
	}
	if _, err := ParseTemplate("example", Example()); err != nil {
		t.Error(err)
	}
}

// FuzzTemplate: no template panics, runs on or writes without bound, whatever it is.
func FuzzTemplate(f *testing.F) {
	f.Add(string(bailiffLayout))
	f.Add(`{{range $i, $b := .Bans}}{{with $b.Whois}}{{.Text}}{{else}}{{break}}{{end}}{{end}}`)
	f.Add(`{{define "body"}}{{block "x" .Time}}{{.Year}}{{end}}{{end}}`)
	f.Fuzz(func(t *testing.T, text string) {
		tmpl, err := ParseTemplate("x.tmpl", []byte(text))
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Errorf("%T: %v", err, err)
			}
			return
		}
		e := envelope()
		e.Template = tmpl
		if raw, err := Compose(item(sample()), destination("bailiff", "lines"), e); err == nil {
			receive(t, raw)
		}
	})
}
