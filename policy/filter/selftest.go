package filter

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"bailiff/policy/yamldoc"
)

// test is one test line of a filter file.
type test struct {
	at      yamldoc.Node // only its place
	line    []byte
	miss    bool
	modes   []string
	pattern string
	addr    netip.Addr
	user    *string
	port    int
	id      string
	repeat  int
	kind    Kind
}

func (l *loader) test(n *yamldoc.Node, path string) {
	if !l.keys(n, path, "line", "miss", "mode", "pattern", "address", "user", "port", "id", "repeat", "kind") {
		return
	}
	t := test{at: yamldoc.Node{File: n.File, Line: n.Line, Col: n.Col}, modes: l.texts(n.Get("mode"), path+".mode")}
	for _, m := range l.list(n.Get("mode"), path+".mode") {
		l.mode(m, path+".mode")
	}
	if len(t.modes) == 0 && len(l.f.Modes) > 0 {
		t.modes = l.f.Modes[:1]
	}
	line, miss := n.Get("line"), n.Get("miss")
	if (line == nil) == (miss == nil) {
		l.errorf(n, path, "must have either line or miss")
		return
	}
	if miss != nil {
		t.miss, line = true, miss
	}
	t.line = []byte(l.text(line, path+".line"))
	if p := n.Get("pattern"); p != nil {
		t.pattern = l.text(p, path+".pattern")
		if !slices.ContainsFunc(l.r.patterns, func(p *Pattern) bool { return p.Name == t.pattern }) {
			l.errorf(p, path+".pattern", "there is no pattern %q", t.pattern)
		}
	}
	if a := n.Get("address"); a != nil && a.Kind != yamldoc.Null {
		var err error
		if t.addr, err = netip.ParseAddr(l.text(a, path+".address")); err != nil {
			l.errorf(a, path+".address", "%q is not an address", a.Value)
		}
	}
	if u := n.Get("user"); u != nil {
		s := l.text(u, path+".user")
		t.user = &s
	}
	t.port = l.number(n.Get("port"), path+".port", 0, 65535, -1)
	t.id = l.text(n.Get("id"), path+".id")
	t.repeat = l.number(n.Get("repeat"), path+".repeat", 1, maxRepeat, 1)
	if k := n.Get("kind"); k != nil {
		t.kind = l.kind(k, path+".kind")
	}
	l.r.tests = append(l.r.tests, t)
}

// SelfTest runs the file's own test lines. Each error is a *diag.Error at its line.
func (f *Filter) SelfTest() (errs []error) {
	tests := f.rules().tests
	for i := range tests {
		t := &tests[i]
		for _, mode := range t.modes {
			if err := t.run(f.matchers[mode]); err != "" {
				e := t.at.Errorf("tests", "mode %s: %s: %q", mode, err, t.line)
				e.Hint = t.hint(f.matchers[mode])
				errs = append(errs, e)
			}
		}
	}
	return errs
}

// hint suggests a repair for a test that failed.
func (t *test) hint(m *Matcher) string {
	var h Hit
	switch hit := m.MatchMessage(t.line, &h); {
	case !t.miss && !hit:
		return m.missHint(t.line)
	case !t.miss && !t.addr.IsValid() && h.Addr.IsValid():
		return "write address: " + h.Addr.String()
	}
	return ""
}

func (t *test) run(m *Matcher) string {
	var h Hit
	hit := m.MatchMessage(t.line, &h)
	switch {
	case t.miss && hit:
		return "must not match, but " + h.Pattern.Name + " does"
	case t.miss:
		return ""
	case !hit:
		return "must match, but no pattern does"
	case t.pattern != "" && h.Pattern.Name != t.pattern:
		return "must match " + t.pattern + ", but " + h.Pattern.Name + " matches first"
	case t.kind != None && h.Kind != t.kind:
		return fmt.Sprintf("expected kind %v, found %v (%s)", t.kind, h.Kind, h.Pattern.Name)
	case !t.addr.IsValid() && h.Addr.IsValid():
		return "expected no address, found " + h.Addr.String()
	case t.addr.IsValid() && !h.Addr.IsValid():
		return "expected address " + t.addr.String() + ", but " + h.Pattern.Name + " finds none"
	case h.Addr != t.addr:
		return fmt.Sprintf("expected address %v, found %v", t.addr, h.Addr)
	case t.user != nil && !bytes.Equal(h.User, []byte(*t.user)):
		return fmt.Sprintf("expected user %q, found %q", *t.user, h.User)
	case t.port >= 0 && int(h.Port) != t.port:
		return fmt.Sprintf("expected port %d, found %d", t.port, h.Port)
	case t.id != "" && string(h.ID) != t.id:
		return fmt.Sprintf("expected id %q, found %q", t.id, h.ID)
	case h.Repeat != t.repeat:
		return fmt.Sprintf("expected %d attempts, found %d", t.repeat, h.Repeat)
	}
	return ""
}
