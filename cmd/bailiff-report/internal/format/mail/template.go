package mail

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
	"unicode/utf8"
)

// Template is a layout: a Go text/template that was checked. It is read-only.
//
// It has the blocks "subject" and "body"; without a "body" what stands outside of blocks is it, and without a "subject" the
// built-in one is taken. It sees a View, and may call what functions and comparisons lists, nothing else. It can neither
// run for long nor grow: see maxSteps and maxText.
type Template struct {
	t       *template.Template
	subject *template.Template
	body    *template.Template
}

const (
	maxTemplate = 64 << 10 // bytes of a template's file
	maxText     = 8 << 20  // bytes of a body; those of the built-in layouts stay below the half: maxLines, maxWhois, maxBans
	maxSteps    = 200_000  // turns of loops and calls of blocks: what maxLines and maxBans let in has a tenth of them
)

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

// comparisons are the functions of text/template that are left. The others can make much text of little (printf), reach
// methods (call), or are for HTML.
var comparisons = []string{"eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "len", "index"}

// functions are what templates may call beside comparisons.
var functions = template.FuncMap{
	// indent puts so many blanks before each line of a text.
	"indent": func(n int, s string) (string, error) {
		if n < 0 || n > 40 {
			return "", fmt.Errorf("indent: %d is not between 0 and 40", n)
		}
		if len(s)+n*(1+strings.Count(s, "\n")) > maxText {
			return "", errLong
		}
		pad := strings.Repeat(" ", n)
		return pad + strings.ReplaceAll(s, "\n", "\n"+pad), nil
	},
	"upper": strings.ToUpper,
	"lower": strings.ToLower,
	"join": func(sep string, l []string) (string, error) {
		if len(sep) > 10 {
			return "", errors.New("join: more than 10 bytes to put between")
		}
		return strings.Join(l, sep), nil
	},
	// plural is the word for so many.
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
	tick: func(int) (string, error) { return "", nil },
}

// tick counts steps. It stands at the beginning of each loop's body and each block, where parsing puts it with its line.
const tick = "_step"

// ParseTemplate reads a template, checks what it calls, and tries it out on a report and a digest that are made up. Every
// error is an *Error at its line. file is its name for messages.
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
	for _, b := range t.Templates() {
		if b.Tree == nil {
			continue
		}
		if err := recursion(file, t, b); err != nil {
			return nil, err
		}
		c := checker{file: file, tree: b.Tree}
		c.list(b.Tree.Root)
		c.count(b.Tree.Root, b.Tree.Root)
		if c.err != nil {
			return nil, c.err
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

// checker goes through a template's tree.
type checker struct {
	file string
	tree *parse.Tree
	err  *Error
}

func (c *checker) fail(n parse.Node, format string, args ...any) {
	if c.err == nil {
		c.err = &Error{c.file, c.line(n), fmt.Sprintf(format, args...)}
	}
}

func (c *checker) line(n parse.Node) int {
	place, _ := c.tree.ErrorContext(n) // NAME:LINE:COLUMN
	if f := strings.Split(place, ":"); len(f) > 1 {
		line, _ := strconv.Atoi(f[1])
		return line
	}
	return 0
}

// count puts a step at the beginning of a list.
func (c *checker) count(at parse.Node, l *parse.ListNode) {
	if l == nil {
		return
	}
	trees, err := parse.Parse("step", fmt.Sprintf("{{%s %d}}", tick, c.line(at)), "", "", functions)
	if err != nil {
		panic(err) // it is a constant but for a number
	}
	l.Nodes = append(trees["step"].Root.Nodes[:1:1], l.Nodes...)
}

func (c *checker) list(l *parse.ListNode) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		c.node(n)
	}
}

func (c *checker) node(n parse.Node) {
	switch n := n.(type) {
	case *parse.ListNode:
		c.list(n)
	case *parse.ActionNode:
		c.pipe(n.Pipe)
	case *parse.IfNode:
		c.branch(&n.BranchNode)
	case *parse.WithNode:
		c.branch(&n.BranchNode)
	case *parse.RangeNode:
		c.branch(&n.BranchNode)
		c.count(n, n.List)
	case *parse.TemplateNode:
		c.pipe(n.Pipe)
	}
}

func (c *checker) branch(n *parse.BranchNode) {
	c.pipe(n.Pipe)
	c.list(n.List)
	c.list(n.ElseList)
}

func (c *checker) pipe(p *parse.PipeNode) {
	if p == nil {
		return
	}
	for _, cmd := range p.Cmds {
		for _, a := range cmd.Args {
			switch a := a.(type) {
			case *parse.PipeNode:
				c.pipe(a)
			case *parse.ChainNode:
				if inner, ok := a.Node.(*parse.PipeNode); ok {
					c.pipe(inner)
				}
			case *parse.IdentifierNode:
				known := false
				for _, name := range comparisons {
					known = known || name == a.Ident
				}
				if _, ok := functions[a.Ident]; !known && (!ok || a.Ident == tick) {
					c.fail(a, "function %q cannot be called here: there are date, indent, join, lower, plural, upper and %s", a.Ident, strings.Join(comparisons, ", "))
				}
			}
		}
	}
}

// recursion refuses blocks that call themselves: they would only be ended by the bound of steps, with a deep stack.
func recursion(file string, t, b *template.Template) error {
	seen := make(map[string]bool)
	var calls func(n parse.Node) bool
	calls = func(n parse.Node) bool {
		list := func(l *parse.ListNode) bool { return l != nil && slices.ContainsFunc(l.Nodes, calls) }
		switch n := n.(type) {
		case *parse.IfNode:
			return list(n.List) || list(n.ElseList)
		case *parse.WithNode:
			return list(n.List) || list(n.ElseList)
		case *parse.RangeNode:
			return list(n.List) || list(n.ElseList)
		case *parse.TemplateNode:
			if n.Name == b.Name() {
				return true
			}
			if next := t.Lookup(n.Name); next != nil && next.Tree != nil && !seen[n.Name] {
				seen[n.Name] = true
				return list(next.Tree.Root)
			}
		}
		return false
	}
	if slices.ContainsFunc(b.Tree.Root.Nodes, calls) {
		return &Error{file, 0, fmt.Sprintf("the block %q calls itself", b.Name())}
	}
	return nil
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

// bounded takes text until there is too much.
type bounded struct{ strings.Builder }

func (w *bounded) Write(p []byte) (int, error) {
	if w.Len()+len(p) > maxText {
		return 0, errLong
	}
	return w.Builder.Write(p)
}

// execute returns subject ("" if the template has none of its own) and body.
func (t *Template) execute(v *View) (subject, body string, err error) {
	run, err := t.t.Clone() // for a counter of its own
	if err != nil {
		return "", "", err
	}
	steps := 0
	run.Funcs(template.FuncMap{tick: func(line int) (string, error) {
		if steps++; steps > maxSteps {
			return "", &Error{Line: line, Text: fmt.Sprintf("takes more than %d steps", maxSteps)}
		}
		return "", nil
	}})
	if t.subject != nil {
		var w bounded
		if err := run.Lookup(t.subject.Name()).Execute(&w, v); err != nil {
			return "", "", err
		}
		subject = OneLine(w.String())
	}
	var w bounded
	if err := run.Lookup(t.body.Name()).Execute(&w, v); err != nil {
		return "", "", err
	}
	return subject, strings.ToValidUTF8(w.String(), "\uFFFD"), nil
}
