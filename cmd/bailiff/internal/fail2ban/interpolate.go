package fail2ban

import (
	"bailiff/cmd/bailiff/internal/text"
	"fmt"
	"regexp"
	"strings"
)

// maxValue bounds a value with all that it refers to: %(a)s%(a)s in a, then in b, doubles with each step.
const maxValue = 256 << 10

// scope is where a value is looked up: a section of a tree, with what stands before both (an action's or a filter's
// options in brackets).
type scope struct {
	tree    *tree
	section string
	vars    map[string]string
	user    string // the option that is resolved: told to those that its value holds
}

// value returns an option's text with everything that it refers to put in, and the option. ok is false if there is none.
func (t *tree) value(sec, name string, vars map[string]string) (text string, o *option, err error) {
	s := &scope{tree: t, section: sec, vars: vars, user: name}
	if v, ok := vars[name]; ok {
		text, err = s.expand(v, 0)
		return text, nil, err
	}
	if o = t.get(sec, name); o == nil {
		if v, ok := t.vars[name]; ok {
			return v, nil, nil
		}
		return "", nil, nil
	}
	text, err = s.expand(o.value, 0)
	return text, o, err
}

// expand puts in what %(name)s, %(section/name)s, %(known/name)s and %(default/name)s stand for; %% is a %.
func (s *scope) expand(v string, depth int) (string, error) {
	if !strings.Contains(v, "%") {
		return v, nil
	}
	if depth > maxDepth {
		return "", fmt.Errorf("refers to itself, or to others more than %d deep", maxDepth)
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(v, '%')
		if i < 0 {
			b.WriteString(v)
			break
		}
		b.WriteString(v[:i])
		v = v[i+1:]
		switch {
		case strings.HasPrefix(v, "%"):
			b.WriteByte('%')
			v = v[1:]
			continue
		case !strings.HasPrefix(v, "("):
			return "", fmt.Errorf("has a %% that neither %%%% nor %%(name)s follows")
		}
		end := strings.Index(v, ")s")
		if end < 0 {
			return "", fmt.Errorf("has a %%( that is never closed by )s")
		}
		name := strings.ToLower(v[1:end])
		raw, ok := s.lookup(v[1:end], name)
		if !ok {
			return "", nowhereError("%(" + v[1:end] + ")s")
		}
		text, err := s.expand(raw, depth+1)
		if err != nil {
			return "", err
		}
		if b.WriteString(text); b.Len() > maxValue {
			return "", fmt.Errorf("has more than %d bytes with all that it refers to", maxValue)
		}
		v = v[end+2:]
	}
	return b.String(), nil
}

// lookup finds what a reference stands for, without looking into it.
func (s *scope) lookup(written, name string) (string, bool) {
	if v, ok := s.vars[name]; ok {
		return v, true
	}
	if o := s.tree.get(s.section, name); o != nil {
		s.mark(o)
		return o.value, true
	}
	if v, ok := s.tree.vars[name]; ok {
		return v, true
	}
	if name == "__name__" {
		return s.section, true
	}
	sec, opt, ok := strings.Cut(written, "/")
	if !ok {
		return "", false
	}
	opt = strings.ToLower(opt)
	var o *option
	switch lower := strings.ToLower(sec); lower {
	case "default":
	case "known":
		if own := s.tree.own(s.section, opt); own != nil {
			o = own.overridden
		}
	default:
		found := s.tree.sections[sec]
		if found == nil {
			return "", false
		}
		o = found.options[opt]
	}
	if o == nil {
		if o = s.tree.own("DEFAULT", opt); o == nil {
			return "", false
		}
	}
	s.mark(o)
	return o.value, true
}

func (s *scope) mark(o *option) { o.markUsed(s.user) }

func (o *option) markUsed(by string) {
	if o.usedBy == nil {
		o.usedBy = make(map[string]bool)
	}
	o.usedBy[by] = true
}

// definition is a filter or an action: a file of its own with [Definition] and [Init], and the options that stand in
// brackets behind its name where it is used.
type definition struct {
	tree *tree
	args map[string]string // in brackets
	vars map[string]string // and what the jail says, under them
	busy map[string]bool
}

var tagPattern = regexp.MustCompile(`<([^ <>]+)>`)

// raw returns an option before its <tags> are put in: the brackets first, then [Definition] and [DEFAULT], then [Init],
// then a section's option by its whole name.
func (d *definition) raw(name string) (string, *option, error) {
	if v, ok := d.args[name]; ok {
		return v, nil, nil
	}
	init := d.tree.own("Init", name)
	if known, ok := strings.CutPrefix(name, "known/"); ok {
		if init = d.tree.own("Init", known); init != nil {
			v, _, err := d.tree.value("Init", known, d.vars)
			return v, init, err
		}
	}
	if init != nil { // what stands in [Init] and in no bracket wins over [Definition]
		v, o, err := d.tree.value("Init", name, d.vars)
		return v, o, err
	}
	if o := d.tree.get("Definition", name); o != nil {
		return d.tree.value("Definition", name, d.vars)
	}
	if v, ok := d.vars[name]; ok {
		return v, nil, nil
	}
	if sec, opt, ok := strings.Cut(name, "/"); ok && sec != "" && opt != "" {
		switch strings.ToLower(sec) {
		case "known":
			if own := d.tree.own("Definition", opt); own != nil && own.overridden != nil {
				s := &scope{tree: d.tree, section: "Definition", vars: d.vars, user: name}
				v, err := s.expand(own.overridden.value, 0)
				return v, own.overridden, err
			}
			return d.raw(opt)
		case "default":
			sec = "DEFAULT"
		}
		if d.tree.sections[sec] != nil {
			return d.tree.value(sec, opt, nil)
		}
	}
	return "", nil, errNoTag
}

var errNoTag = fmt.Errorf("no such option")

// value returns an option with all <tags> put in that the definition knows. Others stay: they are for the regular
// expressions (<HOST>) or for commands (<ip>).
func (d *definition) value(name string) (string, *option, error) {
	v, o, err := d.raw(name)
	if err != nil {
		return "", nil, err
	}
	v, err = d.tags(name, v)
	return v, o, err
}

// maxTags is how many times one tag may stand in a value: fail2ban's own bound.
const maxTags = 25

func (d *definition) tags(user, v string) (string, error) {
	if d.busy == nil {
		d.busy = make(map[string]bool)
	}
	if len(d.busy) > 2*maxDepth {
		return "", fmt.Errorf("<%s> is put together of others more than %d deep", user, 2*maxDepth)
	}
	d.busy[user] = true
	defer delete(d.busy, user)
	count := make(map[string]int)
	for at := 0; ; {
		loc := tagPattern.FindStringSubmatchIndex(v[at:])
		if loc == nil {
			return v, nil
		}
		tag := v[at+loc[2] : at+loc[3]]
		if isRegexpTag(tag) {
			at += loc[1]
			continue
		}
		if d.busy[tag] {
			return "", fmt.Errorf("<%s> is put together of itself", tag)
		}
		repl, o, err := d.raw(tag)
		if err == errNoTag {
			at += loc[1]
			continue
		}
		if err == nil {
			repl, err = d.tags(tag, repl)
		}
		if err != nil {
			return "", err
		}
		if o != nil {
			o.markUsed(user)
		}
		if count[tag]++; count[tag] > maxTags {
			return "", fmt.Errorf("<%s> stands in it more than %d times", tag, maxTags)
		}
		v = strings.ReplaceAll(v, "<"+tag+">", repl)
		if len(v) > maxValue {
			return "", fmt.Errorf("has more than %d bytes with all that it refers to", maxValue)
		}
		at = 0 // the value may have completed another tag's name: <mdre-<mode>>
	}
}

// isRegexpTag says whether a tag means something in a regular expression, so that no option of that name is looked for.
func isRegexpTag(tag string) bool {
	if strings.HasPrefix(tag, "F-") || strings.HasPrefix(tag, "/F-") {
		return true
	}
	switch tag {
	case "HOST", "ADDR", "IP4", "IP6", "DNS", "CIDR", "SUBNET", "SKIPLINES":
		return true
	}
	return false
}

var (
	nameAndOptions = regexp.MustCompile(`(?s)^([^\[]+)(?:\[(.*)\])?\s*$`)
	bracketOption  = regexp.MustCompile(`(?s)^\s*([\w\-.]+)=(?:"([^"]*)"|'([^']*)'|([^,\]]*))\s*(?:,|\]\s*\[|$)`)
)

// splitOptions takes name[a=1, b="2"][c='3'] apart.
func splitOptions(s string) (name string, opts map[string]string, err error) {
	m := nameAndOptions.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return "", nil, fmt.Errorf("%q is not of the form name[option=value, …]", text.Clip(s, 100))
	}
	name, opts = strings.TrimSpace(m[1]), make(map[string]string)
	for rest := m[2]; strings.TrimSpace(rest) != "" && strings.TrimSpace(rest) != ","; {
		o := bracketOption.FindStringSubmatch(rest)
		if o == nil {
			return "", nil, fmt.Errorf("%q is not of the form option=value", text.Clip(rest, 100))
		}
		v := o[2]
		if v == "" {
			v = o[3]
		}
		if v == "" {
			v = o[4]
		}
		opts[o[1]] = strings.TrimSpace(v)
		rest = rest[len(o[0]):]
	}
	return name, opts, nil
}

// splitActions takes a list of name[options] apart, which stand behind white space each.
func splitActions(s string) []string {
	var list []string
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		end, depth, quote := len(s), 0, byte(0)
	scan:
		for i := 0; i < len(s); i++ {
			switch c := s[i]; {
			case quote != 0:
				if c == quote {
					quote = 0
				}
			case depth > 0 && (c == '"' || c == '\'') && i > 0 && s[i-1] == '=':
				quote = c
			case c == '[':
				depth++
			case c == ']':
				depth--
			case depth <= 0 && (c == ' ' || c == '\n' || c == '\t'):
				// name [options] may have a blank between
				if rest := strings.TrimLeft(s[i:], " \t\n"); strings.HasPrefix(rest, "[") {
					continue
				}
				end = i
				break scan
			}
		}
		list = append(list, s[:end])
		s = s[end:]
	}
	return list
}

// nowhereError is a reference that leads nowhere: %(name)s.
type nowhereError string

func (e nowhereError) Error() string { return "refers to " + string(e) + ", which is nowhere defined" }
