package filter

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"bailiff/policy/diag"
	"bailiff/policy/yamldoc"
)

// Parse reads a filter file, runs the forgery test (ForgeryTest) and its test lines (SelfTest). file is its name in messages.
// Every error is a *diag.Error; several are joined. bailiff.filter(5) describes the format.
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

// Bounds of a filter file.
const (
	maxPatterns = 1000
	maxWeight   = 255 // limited by what a counter stores
	maxRetry    = 1000
	maxStage    = 15 // limited by a connection's counts
)

type loader struct {
	f      *Filter
	r      *rules
	lines  []string // of the file
	define fragments
	errs   []*diag.Error
}

func (l *loader) errorf(n *yamldoc.Node, path, format string, args ...any) *diag.Error {
	e := n.Errorf(path, format, args...)
	l.errs = append(l.errs, e)
	return e
}

func read(file string, data []byte) (*Filter, error) {
	l, root, err := open(file, data)
	if err != nil {
		return nil, err
	}
	l.rules(root)
	if len(l.errs) > 0 {
		return nil, joinErrors(l.errs)
	}
	r := l.r // so that the loader, with the whole document, can be freed
	l.f.rules = func() *rules { return r }
	return l.f, nil
}

// open reads a filter except its rules. Errors in settings are kept in the loader.
func open(file string, data []byte) (*loader, *yamldoc.Node, error) {
	if e := foreign(file, data); e != nil {
		return nil, nil, e
	}
	root, err := yamldoc.Parse(file, data)
	if err != nil {
		return nil, nil, err
	}
	f := &Filter{File: file, modes: make(map[string][]string), matchers: make(map[string]*Matcher)}
	l := &loader{f: f, r: &rules{}, lines: strings.Split(string(data), "\n")}
	l.settings(root)
	for _, m := range f.Modes {
		f.matchers[m] = newMatcher(f, m)
	}
	return l, root, nil
}

// keys reports unknown keys of a mapping, and returns whether n is a mapping.
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

// renamed reports an error if a key or a value is written by its old name.
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

func (l *loader) settings(root *yamldoc.Node) {
	if root.Kind == yamldoc.Null {
		l.errorf(root, "", "the file is empty").WithHint("a filter has at least name, trust and patterns")
		return
	}
	if !l.keys(root, "", "name", "description", "notes", "trust", "jail", "max_retry", "prefix", "max_line", "correlate_by", "parallel_logins", "interactive", "written_twice", "guests", "define", "modes", "patterns", "tests") {
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
	l.f.Interactive = l.boolean(root.Get("interactive"), "interactive")
	l.f.WrittenTwice = l.boolean(root.Get("written_twice"), "written_twice")
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
	f.MaxRetry = l.number(root.Get("max_retry"), "max_retry", 1, maxRetry, 0)
}

func (l *loader) rules(root *yamldoc.Node) {
	if root.Kind != yamldoc.Map {
		return
	}
	l.define = maps.Clone(sharedFragments())
	l.fragments(root.Get("define"), "define")
	for i, n := range l.list(root.Get("prefix"), "prefix") {
		path := fmt.Sprintf("prefix[%d]", i)
		if prog, _ := l.template(n, path, opAccept); prog != nil {
			l.r.prefixes = append(l.r.prefixes, messagePrefix{prog, n.Value})
		}
	}
	for _, n := range l.list(root.Get("patterns"), "patterns") {
		l.pattern(n)
	}
	l.r.success = slices.ContainsFunc(l.r.patterns, func(p *Pattern) bool { return p.Kind == Success })
	if n := root.Get("patterns"); n != nil && len(l.errs) == 0 && len(l.r.patterns) == 0 {
		l.errorf(n, "patterns", "there are none")
	}
	if len(l.errs) == 0 && !slices.ContainsFunc(l.r.patterns, (*Pattern).findsAddr) {
		l.errorf(root.Get("patterns"), "patterns", "no pattern finds an address, so nobody would be banned").WithHint(`write <addr> where the daemon names the client, (?P<addr>\S+) in a regexp`)
	}
	if len(l.r.patterns) > maxPatterns {
		l.errorf(root, "patterns", "there are %d, more than %d", len(l.r.patterns), maxPatterns)
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

// list returns the items of a list. A single value is a list of one.
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

// parsed reads the items of a list with a parser.
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
	l.errorf(n, path, "there is no mode %q", n.Value).Hint = diag.DidYouMean(n.Value, l.f.Modes, "modes are "+strings.Join(l.f.Modes, ", "))
}

// fragments reads define:. A fragment may contain those before it.
func (l *loader) fragments(n *yamldoc.Node, path string) {
	switch {
	case n == nil:
		return
	case n.Kind != yamldoc.Map:
		l.errorf(n, path, "must be a mapping, not %s", n.Kind).WithHint("write define: {client: '[<addr>]:<port>'} and <client> in the templates")
		return
	}
	for _, p := range n.Pairs {
		name := p.Key.Value
		at := join(path, name)
		if _, ok := fields[name]; ok || !isName(name) {
			l.errorf(p.Key, at, "cannot be the name of a fragment: it is a field's, or not made of letters, digits, - and _")
			continue
		}
		if tree, size := l.tree(p.Value, at); tree != nil {
			l.define[name] = fragment{tree, size}
		}
	}
}

// tree parses a template, and returns its size with all fragments. It returns nil after reporting an error.
func (l *loader) tree(n *yamldoc.Node, path string) (*node, int) {
	s := l.text(n, path)
	if n.Kind != yamldoc.Scalar {
		return nil, 0
	}
	tree, size, err := parseTemplate(s, l.define)
	if err == nil {
		err = likeRegexp(s)
	}
	if err == nil {
		return tree, size
	}
	e := l.errorf(n, path, "%v", err)
	e.Hint = err.hint
	if col, ok := l.column(n, err.at); ok {
		e.Col, e.Text = col, err.text
	}
	return nil, 0
}

// template parses and compiles a template. It returns nil after reporting an error.
func (l *loader) template(n *yamldoc.Node, path string, last op) (*program, *node) {
	tree, _ := l.tree(n, path)
	if tree == nil {
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
	if !l.keys(n, "patterns", "name", "text", "regexp", "kind", "modes", "stage", "weight", "max_retry", "invalid_user", "provisional", "after_failure", "distinct", "require") {
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
	if slices.ContainsFunc(l.r.patterns, func(p *Pattern) bool { return p.Name == name }) {
		l.errorf(n, path, "the name is already used").WithHint("one pattern may have several shapes: text: [first, second]")
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
	p.Distinct = l.boolean(n.Get("distinct"), path+".distinct")
	if p.Kind != Failure && (p.MaxRetry != 0 || p.InvalidUser || p.Provisional || p.ProvisionalWithoutUser || p.AfterFailure || p.Distinct) {
		l.errorf(n, path, "is not a failure, so max_retry, invalid_user, provisional, after_failure and distinct do not apply to it")
	}
	if p.Distinct && (p.Provisional || p.ProvisionalWithoutUser) {
		l.errorf(n, path, "is provisional, so distinct does not apply to it")
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
			l.r.patterns = append(l.r.patterns, &q)
		}
	}
	for _, t := range l.list(re, path+".regexp") {
		q := p
		q.Text, q.Line, q.Col, q.Regexp = t.Value, t.Line, t.Col, true
		var err error
		q.re, err = compileExpr(l.text(t, path+".regexp"))
		if tag := foreignTag.FindString(t.Value); tag != "" && err == nil {
			err = fmt.Errorf("holds %s, a tag of fail2ban's that has no meaning here", tag)
		}
		if err != nil {
			l.errorf(t, path+".regexp", "%v", exprError(t.Value, err)).Hint = exprHint(t.Value)
			continue
		}
		q.split = sync.OnceValue(func() *regexp.Regexp { return splitter(q.Text) })
		l.r.patterns = append(l.r.patterns, &q)
	}
}
