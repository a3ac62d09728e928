package filter

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"bailiff/policy/diag"
	"bailiff/policy/yamldoc"
)

//go:embed builtin/*.yaml
var builtin embed.FS

// Builtin lists the names of the filters that come with the program.
func Builtin() []string {
	names, err := fs.Glob(builtin, "builtin/*.yaml")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for i, n := range names {
		names[i] = strings.TrimSuffix(path.Base(n), ".yaml")
	}
	slices.Sort(names)
	return names
}

var loaded sync.Map // name → func() (*Filter, error)

// LoadBuiltin returns a filter that comes with the program. It is read once; its forgery test is run by this package's tests
// and not again.
func LoadBuiltin(name string) (*Filter, error) {
	once, _ := loaded.LoadOrStore(name, sync.OnceValues(func() (*Filter, error) {
		data, err := BuiltinSource(name)
		if err != nil {
			return nil, err
		}
		return read("builtin/"+name+".yaml", data)
	}))
	return once.(func() (*Filter, error))()
}

// BuiltinSource returns the file of a filter that comes with the program.
func BuiltinSource(name string) ([]byte, error) {
	data, err := builtin.ReadFile("builtin/" + name + ".yaml")
	if err != nil {
		if near := diag.Near(name, Builtin()); near != "" {
			return nil, fmt.Errorf("there is no built-in filter %q: did you mean %s?", name, near)
		}
		return nil, fmt.Errorf("there is no built-in filter %q", name)
	}
	return data, nil
}

// Parse reads a filter file, tries to mislead its patterns (ForgeryTest) and runs its test lines (SelfTest). file
// is its name for messages. Every error is a *diag.Error, several are joined.
//
// bailiff.filter(5) describes the keys.
func Parse(file string, data []byte) (*Filter, error) {
	f, err := read(file, data)
	if err != nil {
		return nil, err
	}
	if errs := append(f.ForgeryTest(), f.SelfTest()...); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return f, nil
}

// test is one test line of a filter file.
type test struct {
	node    *yamldoc.Node
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

// Bounds of a filter file.
const (
	maxPatterns = 1000
	maxWeight   = 255 // what a counter keeps
	maxRetry    = 1000
	maxStage    = 15 // what a connection's counts have room for
)

type loader struct {
	f     *Filter
	lines []string // of the file
	errs  []*diag.Error
}

func (l *loader) errorf(n *yamldoc.Node, path, format string, args ...any) *diag.Error {
	e := n.Errorf(path, format, args...)
	l.errs = append(l.errs, e)
	return e
}

func read(file string, data []byte) (*Filter, error) {
	if e := foreign(file, data); e != nil {
		return nil, e
	}
	root, err := yamldoc.Parse(file, data)
	if err != nil {
		return nil, err
	}
	l := &loader{lines: strings.Split(string(data), "\n"), f: &Filter{File: file, modes: make(map[string][]string)}}
	l.filter(root)
	if len(l.errs) > 0 {
		return nil, joinErrors(l.errs)
	}
	l.f.matchers = make(map[string]func() *Matcher)
	for _, m := range l.f.Modes {
		l.f.matchers[m] = sync.OnceValue(func() *Matcher { return newMatcher(l.f, m) })
	}
	return l.f, nil
}

// keys reports what a mapping holds that it may not, and returns whether n is one.
func (l *loader) keys(n *yamldoc.Node, path string, known ...string) bool {
	if n.Kind != yamldoc.Map {
		l.errorf(n, path, "must be a mapping, not %s", n.Kind).WithHint("its keys are %s", strings.Join(known, ", "))
		return false
	}
	for _, p := range n.Pairs {
		if slices.Contains(known, p.Key.Value) {
			continue
		}
		if to := renamedKeys[p.Key.Value]; slices.Contains(known, to) {
			l.renamed(p.Key, join(path, p.Key.Value), "key", to)
			continue
		}
		e := l.errorf(p.Key, join(path, p.Key.Value), "there is no such key")
		e.Hint = keyHint(p.Key.Value, known)
	}
	return true
}

// renamedKeys gives the present name of keys that were renamed before the first release.
var renamedKeys = map[string]string{
	"lead": "prefix", "cut": "max_line", "join_by": "correlate_by", "parallel": "parallel_logins",
	"step": "stage", "unknown": "invalid_user", "transport": "require",
}

// renamed reports a key or a value by its old name.
func (l *loader) renamed(n *yamldoc.Node, path, what, to string) {
	e := l.errorf(n, path, "the %s %q is now called %q", what, n.Value, to)
	if e.WithHint("write %s", to); to == "require" {
		e.WithHint("write require: message")
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (l *loader) filter(root *yamldoc.Node) {
	if root.Kind == yamldoc.Null {
		l.errorf(root, "", "the file is empty").WithHint("a filter has at least name, trust and patterns")
		return
	}
	if !l.keys(root, "", "name", "description", "notes", "trust", "jail", "prefix", "max_line", "correlate_by", "parallel_logins", "guests", "modes", "patterns", "tests") {
		return
	}
	f := l.f
	for _, key := range []string{"name", "trust", "patterns"} {
		if root.Get(key) == nil {
			l.errorf(root, "", "has no %s", key)
		}
	}
	f.Name = l.text(root.Get("name"), "name")
	if n := root.Get("name"); n != nil && !isName(f.Name) {
		l.errorf(n, "name", "%q is not a name", f.Name).WithHint("use letters, digits, - and _")
	}
	f.Description = l.text(root.Get("description"), "description")
	f.Notes = l.text(root.Get("notes"), "notes")
	if n := root.Get("trust"); n != nil {
		l.trust(n)
	}
	l.modes(root.Get("modes"))
	f.maxLine = l.number(root.Get("max_line"), "max_line", 64, MaxMessage, MaxMessage+1)
	l.f.Guests = l.texts(root.Get("guests"), "guests")
	l.f.ParallelLogins = l.boolean(root.Get("parallel_logins"), "parallel_logins")
	if n := root.Get("correlate_by"); n != nil {
		if f.byAddress = n.Value == "address"; !f.byAddress && n.Value != "process" {
			l.errorf(n, "correlate_by", "%q is neither address nor process", n.Value).Hint = wordHint(n.Value, "address", "process")
		}
	}
	if n := root.Get("jail"); n != nil {
		if f.Off = n.Value == "off"; !f.Off && n.Value != "auto" {
			l.errorf(n, "jail", "%q is neither auto nor off", n.Value)
		}
	}
	for i, n := range l.list(root.Get("prefix"), "prefix") {
		path := fmt.Sprintf("prefix[%d]", i)
		if prog, _ := l.template(n, path, opAccept); prog != nil {
			f.prefixes = append(f.prefixes, messagePrefix{prog, n.Value})
		}
	}
	for _, n := range l.list(root.Get("patterns"), "patterns") {
		l.pattern(n)
	}
	l.f.HasSuccess = slices.ContainsFunc(l.f.patterns, func(p *Pattern) bool { return p.Kind == Success })
	if n := root.Get("patterns"); n != nil && len(l.errs) == 0 && len(f.patterns) == 0 {
		l.errorf(n, "patterns", "there are none")
	}
	if len(l.errs) == 0 && !slices.ContainsFunc(f.patterns, (*Pattern).findsAddr) {
		l.errorf(root.Get("patterns"), "patterns", "none finds an address: nobody would be banned").WithHint(`write <addr> where the daemon names the client, (?P<addr>\S+) in a regexp`)
	}
	if len(f.patterns) > maxPatterns {
		l.errorf(root, "patterns", "there are %d, more than %d", len(f.patterns), maxPatterns)
	}
	for i, n := range l.list(root.Get("tests"), "tests") {
		l.test(n, fmt.Sprintf("tests[%d]", i))
	}
}

func isName(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func (l *loader) text(n *yamldoc.Node, path string) string {
	if n == nil {
		return ""
	}
	if n.Kind != yamldoc.Scalar {
		l.errorf(n, path, "must be a text, not %s", n.Kind).WithHint("put it in quotes if it holds : or begins with [ or {")
		return ""
	}
	return n.Value
}

// list returns the items of a list; a single value is a list of one.
func (l *loader) list(n *yamldoc.Node, path string) []*yamldoc.Node {
	switch {
	case n == nil || n.Kind == yamldoc.Null:
		return nil
	case n.Kind == yamldoc.List:
		return n.Items
	case n.Kind == yamldoc.Scalar:
		return []*yamldoc.Node{n}
	}
	e := l.errorf(n, path, "must be a list, not %s", n.Kind)
	switch {
	case path == "patterns" || path == "tests":
		e.WithHint("begin each of them with a dash: - {…}")
	default:
		e.WithHint("put it in quotes if it is one text that holds : or begins with [ or {")
	}
	return nil
}

func (l *loader) texts(n *yamldoc.Node, path string) (s []string) {
	for _, i := range l.list(n, path) {
		if t := l.text(i, path); t != "" {
			s = append(s, t)
		}
	}
	return s
}

func (l *loader) number(n *yamldoc.Node, path string, least, most, absent int) int {
	if n == nil {
		return absent
	}
	v, err := strconv.Atoi(n.Value)
	if n.Kind != yamldoc.Scalar || err != nil || v < least || v > most {
		what := strconv.Quote(n.Value)
		if n.Kind != yamldoc.Scalar {
			what = n.Kind.String()
		}
		l.errorf(n, path, "%s is not a number from %d to %d", what, least, most)
		return absent
	}
	return v
}

func (l *loader) boolean(n *yamldoc.Node, path string) bool {
	switch {
	case n == nil || n.Kind == yamldoc.Scalar && n.Value == "false":
		return false
	case n.Kind != yamldoc.Scalar || n.Value != "true":
		l.errorf(n, path, "%q is neither true nor false", n.Value)
	}
	return true
}

// parsed reads the items of a list by a function that knows their form.
func parsed[T any](l *loader, n *yamldoc.Node, path string, parse func(string) (T, *diag.Error)) (all []T) {
	for _, i := range l.list(n, path) {
		s := l.text(i, path)
		if s == "" {
			continue
		}
		v, err := parse(s)
		if err != nil {
			l.errorf(i, path, "%s", err.Text).Hint = err.Hint
			continue
		}
		all = append(all, v)
	}
	return all
}

func (l *loader) trust(n *yamldoc.Node) {
	if !l.keys(n, "trust", "units", "slices", "containers", "user_units", "uid", "exe", "identifiers", "require") {
		return
	}
	t, before := &l.f.trust, len(l.errs)
	t.Units = parsed(l, n.Get("units"), "trust.units", func(s string) (string, *diag.Error) {
		if strings.HasSuffix(s, ".slice") {
			return "", diag.Errorf("%q is a slice", s).WithHint("put it into slices")
		}
		return ParseUnit(s)
	})
	t.Slices = parsed(l, n.Get("slices"), "trust.slices", func(s string) (string, *diag.Error) {
		if !strings.HasSuffix(s, ".slice") {
			return "", diag.Errorf("%q is not the slice of a template unit", s).WithHint("instances of name@.service are in system-name.slice")
		}
		return ParseUnit(s)
	})
	t.Containers = parsed(l, n.Get("containers"), "trust.containers", ParseContainer)
	t.UserUnits = parsed(l, n.Get("user_units"), "trust.user_units", ParseUserUnit)
	t.Exe = parsed(l, n.Get("exe"), "trust.exe", ParseExe)
	t.Identifiers = l.texts(n.Get("identifiers"), "trust.identifiers")
	if len(t.Units)+len(t.Slices)+len(t.Containers)+len(t.UserUnits) == 0 && len(l.errs) == before {
		l.errorf(n, "trust", "names no units, slices, containers or user_units, so no entry would be evidence")
	}
	if t.RequireMessage = l.require(n.Get("require"), "trust.require"); t.RequireMessage && len(t.Containers) > 0 {
		e := NoContainers(l.f.Name)
		l.errorf(n.Get("containers"), "trust.containers", "%s", e.Text).Hint = e.Hint
	}
	uid := n.Get("uid")
	switch {
	case uid == nil && len(t.Units)+len(t.Slices) == 0: // root's log driver, or the user named with the unit
	case uid == nil:
		l.errorf(n, "trust", "has no uid").WithHint("write uid: 0, uid: system (below 1000, or of DynamicUser=), a list or any; a user's own program may run inside a service's unit")
	case uid.Kind == yamldoc.Scalar && uid.Value == "system":
		t.System = true
	case uid.Kind == yamldoc.Scalar && uid.Value == "any":
		t.AnyUID = true
	default:
		for _, u := range l.list(uid, "trust.uid") {
			if u.Value == "system" {
				t.System = true
				continue
			}
			v, err := strconv.ParseUint(u.Value, 10, 32)
			if err != nil {
				l.errorf(u, "trust.uid", "%q is not a user id", u.Value).WithHint("write a number, system (below 1000, or of DynamicUser=) or any")
			}
			t.UIDs = append(t.UIDs, int64(v))
		}
		if len(t.UIDs) == 0 && !t.System {
			l.errorf(uid, "trust.uid", "is empty")
		}
	}
}

// require reads require: message.
func (l *loader) require(n *yamldoc.Node, path string) bool {
	if n != nil && n.Value != "message" {
		l.errorf(n, path, "%q is not message", n.Value).WithHint("write require: message, or leave it out to accept lines of standard output too")
	}
	return n != nil
}

func (l *loader) modes(n *yamldoc.Node) {
	f := l.f
	if n == nil {
		f.Modes, f.modes["normal"] = []string{"normal"}, []string{"normal"}
		return
	}
	if n.Kind != yamldoc.Map || len(n.Pairs) == 0 {
		l.errorf(n, "modes", "must be a mapping, not %s", n.Kind).WithHint("write modes: {normal: [], ddos: [], all: [ddos]}")
		return
	}
	for _, p := range n.Pairs {
		if !isName(p.Key.Value) {
			l.errorf(p.Key, "modes", "%q is not a name", p.Key.Value)
		}
		f.Modes = append(f.Modes, p.Key.Value)
		f.modes[p.Key.Value] = []string{p.Key.Value}
	}
	for _, p := range n.Pairs {
		path := join("modes", p.Key.Value)
		for _, i := range l.list(p.Value, path) {
			if l.mode(i, path); i.Value != p.Key.Value {
				f.modes[p.Key.Value] = append(f.modes[p.Key.Value], i.Value)
			}
		}
	}
}

func (l *loader) mode(n *yamldoc.Node, path string) {
	if n.Kind == yamldoc.Scalar && slices.Contains(l.f.Modes, n.Value) {
		return
	}
	e := l.errorf(n, path, "there is no mode %q", n.Value)
	if near := diag.Near(n.Value, l.f.Modes); near != "" {
		e.WithHint("did you mean %s?", near)
	} else {
		e.WithHint("modes are %s", strings.Join(l.f.Modes, ", "))
	}
}

// template reads and compiles one template. It returns nil after reporting an error.
func (l *loader) template(n *yamldoc.Node, path string, last op) (*program, *node) {
	s := l.text(n, path)
	if n.Kind != yamldoc.Scalar {
		return nil, nil
	}
	tree, terr := parseTemplate(s)
	if terr != nil {
		l.within(n, path, terr)
		return nil, nil
	}
	if at, hint := likeRegexp(s); at >= 0 {
		l.within(n, path, &templateError{at: at, text: fmt.Sprintf("%q looks like a regular expression", s[at:min(len(s), at+2)]), hint: hint})
		return nil, nil
	}
	prog, err := compile(tree, last)
	if err == nil {
		err = checkSides(tree)
	}
	if err == nil && last == opAccept {
		if _, ends := firstSets(prog.ins); ends[0] || slices.ContainsFunc(prog.ins, func(in instr) bool { return in.op == opText }) {
			err = errors.New("may be empty, or holds free text")
		}
	}
	if err != nil {
		l.errorf(n, path, "%v", err).Hint = compileHint(err)
		return nil, nil
	}
	return prog, tree
}

// within tells an error within a template, at its column where that can be told.
func (l *loader) within(n *yamldoc.Node, path string, terr *templateError) {
	e := l.errorf(n, path, "%v", terr)
	e.Hint = terr.hint
	if col, ok := l.column(n, terr.at); ok {
		e.Col, e.Text = col, terr.text
	}
}

var kinds = map[string]Kind{"failure": Failure, "success": Success, "context": Context, "delivery": Delivery, "void": Void}

func (l *loader) kind(n *yamldoc.Node, path string) Kind {
	k, ok := kinds[n.Value]
	switch {
	case n.Value == "join":
		l.renamed(n, path, "kind", "context")
	case !ok:
		l.errorf(n, path, "%q is not a kind", n.Value).Hint = wordHint(n.Value, "failure", "success", "context", "delivery", "void")
	}
	return k
}

// stage reads a number, or "end" for the last stage.
func (l *loader) stage(n *yamldoc.Node, path string) uint8 {
	if n != nil && n.Value == "end" {
		return maxStage
	}
	before := len(l.errs)
	stage := l.number(n, path, 0, maxStage-1, 0)
	for _, e := range l.errs[before:] {
		e.WithHint("write end for the last stage")
	}
	return uint8(stage)
}

func (l *loader) pattern(n *yamldoc.Node) {
	if !l.keys(n, "patterns", "name", "text", "regexp", "kind", "modes", "stage", "weight", "max_retry", "invalid_user", "provisional", "after_failure", "require") {
		return
	}
	name := l.text(n.Get("name"), "patterns.name")
	path := "patterns." + name
	if n.Get("name") == nil {
		l.errorf(n, "patterns", "has no name").WithHint("give each pattern a name of letters, digits, - and _")
		return
	}
	if !isName(name) {
		l.errorf(n, "patterns", "%q is not a name", name).WithHint("give each pattern a name of letters, digits, - and _")
		return
	}
	if slices.ContainsFunc(l.f.patterns, func(p *Pattern) bool { return p.Name == name }) {
		l.errorf(n, path, "there are two of that name").WithHint("one pattern may have several shapes: text: [first, second]")
	}
	p := Pattern{Name: name, Kind: Failure, File: n.File}
	if k := n.Get("kind"); k != nil {
		p.Kind = l.kind(k, path+".kind")
	}
	p.Modes = l.texts(n.Get("modes"), path+".modes")
	for _, m := range l.list(n.Get("modes"), path+".modes") {
		l.mode(m, path+".modes")
	}
	p.Stage = l.stage(n.Get("stage"), path+".stage")
	p.Weight = l.number(n.Get("weight"), path+".weight", 1, maxWeight, 1)
	p.MaxRetry = l.number(n.Get("max_retry"), path+".max_retry", 1, maxRetry, 0)
	p.RequireMessage = l.require(n.Get("require"), path+".require")
	p.InvalidUser = l.boolean(n.Get("invalid_user"), path+".invalid_user")
	switch x := n.Get("provisional"); {
	case x != nil && x.Value == "without_user":
		p.ProvisionalWithoutUser = true
	case x != nil && x.Value == "nameless":
		l.renamed(x, path+".provisional", "value", "without_user")
	default:
		p.Provisional = l.boolean(x, path+".provisional")
	}
	p.AfterFailure = l.boolean(n.Get("after_failure"), path+".after_failure")
	if p.Kind != Failure && (p.MaxRetry != 0 || p.InvalidUser || p.Provisional || p.ProvisionalWithoutUser || p.AfterFailure) {
		l.errorf(n, path, "is not a failure, so max_retry, invalid_user, provisional and after_failure do not apply to it")
	}
	text, re := n.Get("text"), n.Get("regexp")
	if (text == nil) == (re == nil) {
		l.errorf(n, path, "must have either text or regexp")
		return
	}
	for _, t := range l.list(text, path+".text") {
		q := p
		q.Text, q.Line, q.Col = t.Value, t.Line, t.Col
		if q.prog, q.node = l.template(t, path+".text", opEnd); q.prog != nil {
			l.f.patterns = append(l.f.patterns, &q)
		}
	}
	for _, t := range l.list(re, path+".regexp") {
		q := p
		q.Text, q.Line, q.Col, q.Regexp = t.Value, t.Line, t.Col, true
		var err error
		q.re, err = compileExpr(l.text(t, path+".regexp"))
		if tag := foreignTag.FindString(t.Value); tag != "" && err == nil {
			err = fmt.Errorf("holds %s, which is fail2ban's and means nothing here", tag)
		}
		if err != nil {
			l.errorf(t, path+".regexp", "%v", exprError(t.Value, err)).Hint = exprHint(t.Value)
			continue
		}
		q.blind = sync.OnceValue(func() *blind { return newBlind(q.Text) })
		l.f.patterns = append(l.f.patterns, &q)
	}
}

func (l *loader) test(n *yamldoc.Node, path string) {
	if !l.keys(n, path, "line", "miss", "mode", "pattern", "address", "user", "port", "id", "repeat", "kind") {
		return
	}
	t := test{node: n, modes: l.texts(n.Get("mode"), path+".mode")}
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
		if !slices.ContainsFunc(l.f.patterns, func(p *Pattern) bool { return p.Name == t.pattern }) {
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
	l.f.tests = append(l.f.tests, t)
}

// SelfTest runs the file's own test lines. Each error is a *diag.Error at its line.
func (f *Filter) SelfTest() (errs []error) {
	for i := range f.tests {
		t := &f.tests[i]
		for _, mode := range t.modes {
			if err := t.run(f.matchers[mode]()); err != "" {
				e := t.node.Errorf("tests", "mode %s: %s: %q", mode, err, t.line)
				e.Hint = t.hint(f.matchers[mode]())
				errs = append(errs, e)
			}
		}
	}
	return errs
}

// hint says what a test that failed probably lacks.
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
		return "must not match, but " + h.Pattern.Name + " took it"
	case t.miss:
		return ""
	case !hit:
		return "must match, but nothing took it"
	case t.pattern != "" && h.Pattern.Name != t.pattern:
		return "is for " + t.pattern + ", but " + h.Pattern.Name + " took it"
	case t.kind != None && h.Kind != t.kind:
		return "has the wrong kind, by " + h.Pattern.Name
	case !t.addr.IsValid() && h.Addr.IsValid():
		return "names no address, but " + h.Addr.String() + " was found"
	case t.addr.IsValid() && !h.Addr.IsValid():
		return "wanted address " + t.addr.String() + ", but " + h.Pattern.Name + " found none"
	case h.Addr != t.addr:
		return fmt.Sprintf("wanted address %v, found %v", t.addr, h.Addr)
	case t.user != nil && !bytes.Equal(h.User, []byte(*t.user)):
		return fmt.Sprintf("wanted user %q, found %q", *t.user, h.User)
	case t.port >= 0 && int(h.Port) != t.port:
		return fmt.Sprintf("wanted port %d, found %d", t.port, h.Port)
	case t.id != "" && string(h.ID) != t.id:
		return fmt.Sprintf("wanted id %q, found %q", t.id, h.ID)
	case h.Repeat != t.repeat:
		return fmt.Sprintf("wanted %d times, found %d", t.repeat, h.Repeat)
	}
	return ""
}
