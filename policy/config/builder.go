package config

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"bailiff/policy/allow"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/policy/yamldoc"
)

// maxErrors bounds the errors that one Builder reports.
const maxErrors = 100

// Builder builds a Config from files, given in order: a later file overrides an earlier one, key by key. The zero Builder is not usable.
//
// Every error is a *diag.Error. Errors are collected, and Build returns all of them; if there is any, it returns no configuration.
type Builder struct {
	only    []string                   // see Only
	set     map[string]*yamldoc.Node   // by path: the node of the value set last; for an entry, of its name
	entries map[string]map[string]bool // by path of a mapping with free names (jails): the names that are set
	filters shelf
	allowed []allow.Entry
	files   []string
	notices []string
	errs    []error
	scratch *Config // receives values while they are checked
}

// NewBuilder returns a Builder that knows the built-in defaults.
func NewBuilder() *Builder {
	return &Builder{
		set: make(map[string]*yamldoc.Node), entries: make(map[string]map[string]bool),
		filters: shelf{builtin: filter.Builtin(), own: make(map[string]*filter.Filter), broken: make(map[string]bool), used: make(map[string]bool)}, scratch: builtinDefaults(),
	}
}

// Parse builds a Config from a single file, without the host's filters and address lists.
func Parse(file string, data []byte) (*Config, error) {
	b := NewBuilder()
	b.Add(file, data)
	return b.Build()
}

// Only selects the jails that are needed; nil selects all. Other jails are known by name, but disabled and without a filter, which saves
// short-lived commands the time of loading dozens of filters.
func (b *Builder) Only(jails []string) { b.only = jails }

// Add applies a file over the previous ones.
func (b *Builder) Add(file string, data []byte) {
	b.files = append(b.files, file)
	doc, err := yamldoc.Parse(file, data)
	if err != nil {
		b.Fail(err)
		return
	}
	b.mapping(doc, "", schema(b.scratch))
}

// AddFilter adds an operator's filter, whose name must be name. It takes precedence over a built-in one.
func (b *Builder) AddFilter(file, name string, data []byte) {
	f, err := ParseFilter(file, name, data)
	if err != nil {
		b.BreakFilter(name)
		b.Fail(err)
		return
	}
	b.filters.own[name] = f
}

// BreakFilter records that the operator's filter of this name cannot be read, so that the built-in one is not used in its place.
func (b *Builder) BreakFilter(name string) { b.filters.broken[name] = true }

// AllowFiles returns the patterns of allow.files, each with the place for errors about it.
func (b *Builder) AllowFiles() (patterns []string, places []*yamldoc.Node) {
	n := b.set["allow.files"]
	if n == nil {
		patterns = builtinDefaults().Allow.Files
		return patterns, slices.Repeat([]*yamldoc.Node{{File: "built in"}}, len(patterns))
	}
	places, _ = list(n) // checked when it was set
	for _, p := range places {
		patterns = append(patterns, p.Value)
	}
	return patterns, places
}

// Allow adds entries of an address list. It returns false when there are too many.
func (b *Builder) Allow(entries []allow.Entry) bool {
	if len(b.allowed)+len(entries) > allow.MaxEntries {
		return false
	}
	b.allowed = append(b.allowed, entries...)
	return true
}

// Notice adds something that an administrator should look at, although it is not an error.
func (b *Builder) Notice(text string) { b.notices = append(b.notices, text) }

// Fail adds errors that already have places.
func (b *Builder) Fail(err error) {
	for _, e := range diag.Errors(err) {
		if len(b.errs) > maxErrors {
			return
		}
		if len(b.errs) == maxErrors {
			e = &diag.Error{File: e.File, Text: "has more errors; only the first " + strconv.Itoa(maxErrors) + " are shown"}
		}
		b.errs = append(b.errs, e)
	}
}

// Err returns the errors so far.
func (b *Builder) Err() error { return errors.Join(b.errs...) }

// fail adds an error about a value. Its place is that of n unless it has one.
func (b *Builder) fail(n *yamldoc.Node, path string, err *diag.Error) {
	if err.File == "" {
		placed(err, n)
	}
	err.Path = path
	b.Fail(err)
}

// mapping checks the keys of a mapping and records their values.
func (b *Builder) mapping(n *yamldoc.Node, at string, fields []field) {
	if n.Kind == yamldoc.Null {
		return
	}
	if n.Kind != yamldoc.Map {
		e := diag.Errorf("must be a mapping of keys, not %s", n.Kind).WithHint("keys here are %s", strings.Join(keys(fields), ", "))
		if key, value, ok := strings.Cut(n.Value, ":"); ok && slices.Contains(keys(fields), key) {
			e.Hint = "a blank must follow the colon: " + key + ": " + diag.Clip(value)
		}
		b.fail(n, at, e)
		return
	}
	for _, p := range n.Pairs {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == p.Key.Value })
		if i < 0 {
			b.fail(p.Key, at, unknown(p.Key.Value, at, fields))
			continue
		}
		path := join(at, fields[i].name)
		switch f := &fields[i]; {
		case f.fields != nil:
			b.mapping(p.Value, path, f.fields)
		case f.entries != nil:
			b.named(p.Value, path, f.entries)
		default:
			if err := f.set(p.Value); err != nil {
				b.fail(p.Value, path, err)
				continue
			}
			b.set[path] = p.Value
		}
	}
}

// named records a mapping whose names operators choose, or a list of names in place of one.
func (b *Builder) named(n *yamldoc.Node, at string, e *entries) {
	switch {
	case n.Kind == yamldoc.Null:
	case n.Kind == yamldoc.Map:
		for _, p := range n.Pairs {
			if err := e.check(p.Key.Value); err != nil {
				b.fail(p.Key, at, err)
			} else if b.entry(p.Key, at, e) {
				b.mapping(p.Value, join(at, p.Key.Value), e.new(p.Key.Value))
			}
		}
	case e.listed == nil:
		b.fail(n, at, diag.Errorf("must be a mapping of names, not %s", n.Kind))
	default:
		items, err := list(n)
		for _, item := range items {
			if err == nil {
				if err = e.listed(item.Value); err != nil {
					placed(err, item)
				}
			}
		}
		if err != nil {
			b.fail(n, at, err)
			return
		}
		// A list replaces what earlier files say.
		delete(b.entries, at)
		maps.DeleteFunc(b.set, func(path string, _ *yamldoc.Node) bool { return strings.HasPrefix(path, at+".") })
		b.set[at] = n
		for _, item := range items {
			b.entry(item, at, e)
		}
	}
}

// entry notes that a name is set. It returns false if there are too many.
func (b *Builder) entry(name *yamldoc.Node, at string, e *entries) bool {
	names := b.entries[at]
	if names == nil {
		names = make(map[string]bool)
		b.entries[at] = names
	}
	if !names[name.Value] && len(names) == e.max {
		b.fail(name, at, diag.Errorf("more than %d %s", e.max, e.what))
		return false
	}
	names[name.Value] = true
	b.set[join(at, name.Value)] = name
	return true
}

// apply sets fields to what files say.
func (b *Builder) apply(at string, fields []field) {
	walk(fields, at, func(path string, f *field) {
		if n := b.set[path]; n != nil {
			f.set(n) // checked when it was read
		}
	})
}

// Build returns the configuration: the defaults, overridden by the files, with filters loaded.
func (b *Builder) Build() (*Config, error) {
	c := builtinDefaults()
	b.apply("", schema(c))
	c.Files, c.origins = b.files, make(map[string]string, len(b.set))
	for path, n := range b.set {
		c.origins[path] = n.File + ":" + strconv.Itoa(n.Line)
	}
	c.Allow.Entries = append(slices.Clone(c.Allow.Addresses), b.allowed...)
	for _, name := range slices.Sorted(maps.Keys(b.entries["allow.lists"])) {
		c.Allow.Lists = append(c.Allow.Lists, b.list(name))
	}
	names := slices.Concat(b.filters.builtin, slices.Collect(maps.Keys(b.entries["jails"])))
	slices.Sort(names)
	names = slices.Compact(names)
	for _, name := range slices.Sorted(maps.Keys(b.entries["lists"])) {
		c.Lists = append(c.Lists, b.blockList(name, names))
	}
	for _, name := range names {
		if b.only != nil && !slices.Contains(b.only, name) {
			c.Jails = append(c.Jails, Jail{Name: name})
		} else if j, ok := b.jail(name, c.Defaults); ok {
			c.Jails = append(c.Jails, j)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.entries["report.destinations"])) {
		if d, ok := b.destination(name, &c.Report, names); ok {
			c.Report.Destinations = append(c.Report.Destinations, d)
		}
	}
	b.checkTogether(&c.Fleet)
	c.Notices = b.notices
	for _, name := range b.filters.names() {
		if f := b.filters.own[name]; f != nil && !b.filters.used[name] {
			c.Notices = append(c.Notices, f.File+": no jail uses this filter; write jails: {"+name+": {}} to enable it")
		}
	}
	if !slices.ContainsFunc(c.Jails, func(j Jail) bool { return j.Enabled }) {
		c.Notices = append(c.Notices, "no jail is enabled: nobody will be banned")
	}
	if err := b.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// place returns the node of the first of the paths that any file sets.
func (b *Builder) place(paths ...string) *yamldoc.Node {
	for _, p := range paths {
		if n := b.set[p]; n != nil {
			return n
		}
	}
	return &yamldoc.Node{File: "built in"}
}

// fail2banWords are words that people bring from fail2ban, with what to write here.
var fail2banWords = map[string]string{
	"ignoreip":           "write allow.addresses, or a list in /etc/bailiff/allow.d",
	"ignoreself":         "write allow.self",
	"ignorecommand":      "write allow.addresses, or a list in /etc/bailiff/allow.d; no commands are run",
	"banaction":          "write firewall.backend",
	"banaction_allports": "write firewall.backend",
	"blocktype":          "write firewall.block",
	"port":               "write ports: [ssh], or leave it out for all",
	"logpath":            "the journal is read, and the filter names its units; leave it out",
	"journalmatch":       "the filter names its units; add others by units, containers or user_units",
	"backend":            "the journal is read; leave it out",
	"usedns":             "host names are never looked up; leave it out",
	"failregex":          "patterns are in a filter: /etc/bailiff/filters.d/NAME.yaml",
	"ignoreregex":        "patterns are in a filter: /etc/bailiff/filters.d/NAME.yaml",
	"bantime.increment":  "write escalate.factor",
	"bantime.factor":     "write escalate.factor",
	"bantime.maxtime":    "write escalate.max",
	"bantime.rndtime":    "write escalate.random_extra",
}

func keys(fields []field) []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return names
}

// unknown returns the error for a key that a mapping does not have.
func unknown(word, at string, fields []field) *diag.Error {
	if i := slices.IndexFunc(fields, func(f field) bool { return f.old == word }); i >= 0 && word != "" {
		return diag.Errorf("the key %q is now called %q", word, fields[i].name).WithHint("write %s", fields[i].name)
	}
	e := diag.Errorf("unknown key %q", diag.Clip(word))
	e.Hint = "keys here are " + strings.Join(keys(fields), ", ")
	if hint, ok := fail2banWords[strings.ToLower(word)]; ok {
		e.Hint = hint
	} else if at == "" && slices.Contains(filter.Builtin(), word) {
		e.Hint = "jails are under jails: write jails: {" + word + ": …}"
	}
	e.Hint = diag.DidYouMean(word, keys(fields), e.Hint)
	return e
}
