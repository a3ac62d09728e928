package ini

import (
	"errors"
	"fmt"
	"strings"
)

// maxValue limits the size of a value with all references resolved, since %(a)s%(a)s doubles it at each step.
const maxValue = 256 << 10

// resolver resolves references in values. It looks names up in vars (an action's or a filter's options in brackets), then
// in a section of the tree.
type resolver struct {
	tree    *Tree
	section string
	vars    map[string]string
	user    string // the option being resolved, noted in the options that it refers to
}

// Value returns an option's value with all references resolved, and the option. They are "" and nil if there is none.
func (t *Tree) Value(sec, name string, vars map[string]string) (text string, o *Option, err error) {
	s := &resolver{tree: t, section: sec, vars: vars, user: name}
	if v, ok := vars[name]; ok {
		text, err = s.expand(v, 0)
		return text, nil, err
	}
	if o = t.Get(sec, name); o == nil {
		if v, ok := t.Vars[name]; ok {
			return v, nil, nil
		}
		return "", nil, nil
	}
	text, err = s.expand(o.Value, 0)
	return text, o, err
}

// expand resolves %(name)s, %(section/name)s, %(known/name)s and %(default/name)s; %% is a %.
func (s *resolver) expand(v string, depth int) (string, error) {
	if !strings.Contains(v, "%") {
		return v, nil
	}
	if depth > maxDepth {
		return "", fmt.Errorf("it refers to itself, or to others more than %d deep", maxDepth)
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
		if v != "" && v[0] == '%' {
			b.WriteByte('%')
			v = v[1:]
			continue
		}
		if !strings.HasPrefix(v, "(") {
			return "", errors.New("it has a single %: write %% or %(name)s")
		}
		end := strings.Index(v, ")s")
		if end < 0 {
			return "", errors.New("it has a %( without )s")
		}
		raw, ok := s.lookup(v[1:end])
		if !ok {
			return "", UndefinedError("%(" + v[1:end] + ")s")
		}
		text, err := s.expand(raw, depth+1)
		if err != nil {
			return "", err
		}
		if b.WriteString(text); b.Len() > maxValue {
			return "", fmt.Errorf("it has more than %d bytes with all references resolved", maxValue)
		}
		v = v[end+2:]
	}
	return b.String(), nil
}

// lookup returns the value that a reference names, itself not yet resolved.
func (s *resolver) lookup(written string) (string, bool) {
	name := strings.ToLower(written)
	if v, ok := s.vars[name]; ok {
		return v, true
	}
	if o := s.tree.Get(s.section, name); o != nil {
		o.MarkUsed(s.user)
		return o.Value, true
	}
	if v, ok := s.tree.Vars[name]; ok {
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
	var o *Option
	switch strings.ToLower(sec) {
	case "default":
	case "known":
		if own := s.tree.Local(s.section, opt); own != nil {
			o = own.Previous
		}
	default:
		found := s.tree.Sections[sec]
		if found == nil {
			return "", false
		}
		o = found.Options[opt]
	}
	if o == nil {
		if o = s.tree.Local("DEFAULT", opt); o == nil {
			return "", false
		}
	}
	o.MarkUsed(s.user)
	return o.Value, true
}

// MarkUsed notes that an option of the given name uses this one.
func (o *Option) MarkUsed(by string) {
	if o.UsedBy == nil {
		o.UsedBy = make(map[string]bool)
	}
	o.UsedBy[by] = true
}

// UndefinedError is an undefined reference: %(name)s.
type UndefinedError string

// Error returns the message, with the reference as it is written.
func (e UndefinedError) Error() string {
	return "it refers to " + string(e) + ", which is nowhere defined"
}
