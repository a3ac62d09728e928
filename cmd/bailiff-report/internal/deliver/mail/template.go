package mail

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
	"unicode/utf8"
)

// Template is the layout of a mail: a Go text/template that was tried out. It is read-only.
//
// It has the blocks "subject" and "body". Without a "body", the text outside of blocks is the body; without a "subject", the built-in
// one is used. It sees a View. It is the administrator's own file, so nothing keeps it from being slow on purpose; maxText and
// maxTime keep a mistake from filling the memory or from stopping a destination.
type Template struct {
	t       *template.Template
	subject *template.Template
	body    *template.Template
}

const (
	maxTemplate = 64 << 10 // bytes of a template's file
	maxText     = 8 << 20  // bytes of a body; those of the built-in layouts stay below half of it: maxLines, maxWhois, maxBans
)

// maxTime bounds one execution; the largest digest takes a tenth of a second. Tests shorten it.
var maxTime = 10 * time.Second

// Error is a fault in a template.
type Error struct {
	File string
	Line int // 0: not known
	Text string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Text
	}
	return e.File + ":" + strconv.Itoa(e.Line) + ": " + e.Text
}

// functions are what templates may call beside those of text/template.
var functions = template.FuncMap{
	// indent puts n spaces before each line of a text.
	"indent": func(n int, s string) (string, error) {
		if n < 0 || n > 40 {
			return "", fmt.Errorf("indent: %d is not between 0 and 40", n)
		}
		pad := strings.Repeat(" ", n)
		return pad + strings.ReplaceAll(s, "\n", "\n"+pad), nil
	},
	"upper": strings.ToUpper,
	"lower": strings.ToLower,
	"join":  func(sep string, l []string) string { return strings.Join(l, sep) },
	// plural returns the word for n things.
	"plural": func(n int, one, more string) string {
		if n == 1 {
			return one
		}
		return more
	},
	// date writes a time: "iso" (RFC 3339), "syslog" (Jan _2 15:04:05), "mail" (RFC 5322) or "day".
	"date": func(form string, t time.Time) (string, error) {
		layout, ok := map[string]string{"iso": time.RFC3339, "syslog": time.Stamp, "mail": time.RFC1123Z, "day": time.DateOnly}[form]
		if !ok {
			return "", fmt.Errorf("date: there is no form %q: it is iso, syslog, mail or day", form)
		}
		return t.Format(layout), nil
	},
}

// ParseTemplate reads a template and tries it out on a report and a digest that are made up. Every error is an *Error at its line.
// file is its name for messages.
func ParseTemplate(file string, data []byte) (*Template, error) {
	switch {
	case len(data) > maxTemplate:
		return nil, &Error{file, 0, fmt.Sprintf("has %d bytes, more than %d", len(data), maxTemplate)}
	case !utf8.Valid(data):
		return nil, &Error{file, 0, "is not UTF-8"}
	}
	t, err := template.New("template").Funcs(functions).Parse(string(data))
	if err != nil {
		return nil, located(file, err)
	}
	out := &Template{t: t, subject: t.Lookup("subject"), body: t.Lookup("body")}
	if out.body == nil {
		out.body = t
		if t.Tree == nil || parse.IsEmptyTree(t.Tree.Root) {
			return nil, &Error{file, 0, `has no text: write it, or {{define "body"}}…{{end}}`}
		}
	}
	for _, view := range trials() {
		if _, _, err := out.execute(view); err != nil {
			return nil, located(file, err)
		}
	}
	return out, nil
}

// located finds the line in an error of text/template: "template: NAME:LINE:COLUMN: executing …: text".
func located(file string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return &Error{file, e.Line, e.Text}
	}
	m := regexp.MustCompile(`(?s)^template: [a-z]+:(\d+):(?:\d+:)? (?:executing "[^"]*" at )?(.*)$`).FindStringSubmatch(err.Error())
	if m == nil {
		return &Error{file, 0, err.Error()}
	}
	line, _ := strconv.Atoi(m[1])
	return &Error{file, line, m[2]}
}

// trials are the Views that a template is tried out on.
func trials() (l []*View) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	line := Line{Time: at, Host: "host", Program: "sshd[7]", Unit: "ssh.service", Message: "Failed password for x from 192.0.2.1 port 2 ssh2", Address: "192.0.2.1"}
	full := Ban{
		ID: "0123456789abcdef", Address: "192.0.2.1", Prefix: "192.0.2.1", Jail: "sshd", Service: "sshd", Time: at, First: at, Since: at, Until: at.Add(time.Hour), Duration: "1h",
		Failures: 5, Count: 2, Ports: "22", Reason: "failures", Lines: []Line{line, line}, Context: []Line{line}, Cut: 1, Missing: 1, Withheld: 1,
		Whois: Whois{Network: "192.0.2.0/24", Name: "TEST", Holder: "Example", Country: "ZZ", Abuse: []string{"abuse@example.org"}, Text: "text\nof it", Source: "whois.example.org"},
	}
	bare := Ban{ID: "0123456789abcdef", Address: "2001:db8::", Prefix: "2001:db8::/32", Network: true, Jail: "manual", Time: at, Since: at, Forever: true, Count: 1, By: "root", Manual: true, Whois: Whois{Failed: "time is up"}}
	for _, bans := range [][]Ban{{full}, {bare}, {full, bare}} {
		l = append(l, &View{Host: "host.example.org", Agent: "bailiff/0", Time: at, Digest: len(bans) > 1, Test: bans[0].Manual, Whois: true, Lines: true, Most: 1000, Bans: bans, Total: len(bans)})
	}
	return l
}

var errLong = &Error{Text: fmt.Sprintf("makes more than %d bytes", maxText)}

// bounded takes text until there is too much, or it is too late.
type bounded struct {
	strings.Builder
	end  time.Time
	slow error // after end
}

func (w *bounded) Write(p []byte) (int, error) {
	switch {
	case w.Len()+len(p) > maxText:
		return 0, errLong
	case time.Now().After(w.end):
		return 0, w.slow
	}
	return w.Builder.Write(p)
}

// execute returns subject ("" if the template has none of its own) and body.
func (t *Template) execute(v *View) (subject, body string, err error) {
	if t.subject != nil {
		if subject, err = run(t.subject, v); err != nil {
			return "", "", err
		}
	}
	if body, err = run(t.body, v); err != nil {
		return "", "", err
	}
	return line(subject), strings.ToValidUTF8(body, "\uFFFD"), nil
}

// run executes a block. A block that neither ends nor writes anything is left behind at the end of its time: text/template cannot be
// told to stop.
func run(t *template.Template, v *View) (string, error) {
	limit := maxTime
	w := &bounded{end: time.Now().Add(limit), slow: &Error{Text: fmt.Sprintf("takes longer than %s", limit)}}
	done := make(chan error, 1)
	go func() { done <- t.Execute(w, v) }()
	select {
	case err := <-done:
		return w.String(), err
	case <-time.After(limit):
		return "", w.slow
	}
}
