package ini

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// InitVars makes references %(name)s find a filter's own [Init] before its [Definition], as in fail2ban.
func (d *Definition) InitVars() {
	init := d.Tree.Sections["Init"]
	if init == nil {
		return
	}
	for _, name := range init.Order {
		if _, given := d.Args[name]; given {
			continue
		}
		if v, _, err := d.Tree.Value("Init", name, nil); err == nil {
			d.Vars[name] = strings.ReplaceAll(v, "%", "%%")
		}
	}
}

// Definition is a filter or an action: a file with [Definition] and [Init], and the options in brackets after its name
// where it is used.
type Definition struct {
	Tree *Tree
	Args map[string]string // in brackets
	Vars map[string]string // Args and, with lower precedence, values of the jail
	busy map[string]bool
}

var tagPattern = regexp.MustCompile(`<([^ <>]+)>`)

// Raw returns an option with its <tags> not replaced. The order is: brackets, [Init], [Definition] and [DEFAULT], Vars,
// section/option. The error is ErrNoOption if there is none.
func (d *Definition) Raw(name string) (string, *Option, error) {
	if v, ok := d.Args[name]; ok {
		return v, nil, nil
	}
	init := d.Tree.Local("Init", name)
	if known, ok := strings.CutPrefix(name, "known/"); ok {
		if init = d.Tree.Local("Init", known); init != nil {
			v, _, err := d.Tree.Value("Init", known, d.Vars)
			return v, init, err
		}
	}
	if init != nil { // [Init] has precedence over [Definition]
		return d.Tree.Value("Init", name, d.Vars)
	}
	if o := d.Tree.Get("Definition", name); o != nil {
		return d.Tree.Value("Definition", name, d.Vars)
	}
	if v, ok := d.Vars[name]; ok {
		return v, nil, nil
	}
	if sec, opt, ok := strings.Cut(name, "/"); ok && sec != "" && opt != "" {
		switch strings.ToLower(sec) {
		case "known":
			if own := d.Tree.Local("Definition", opt); own != nil && own.Previous != nil {
				s := &resolver{tree: d.Tree, section: "Definition", vars: d.Vars, user: name}
				v, err := s.expand(own.Previous.Value, 0)
				return v, own.Previous, err
			}
			return d.Raw(opt)
		case "default":
			sec = "DEFAULT"
		}
		if d.Tree.Sections[sec] != nil {
			return d.Tree.Value(sec, opt, nil)
		}
	}
	return "", nil, ErrNoOption
}

// ErrNoOption is the error of Raw and Value if a definition has no such option.
var ErrNoOption = errors.New("no such option")

// Value returns an option with all <tags> replaced that the definition has. Others are kept: they belong to regular
// expressions (<HOST>) or commands (<ip>).
func (d *Definition) Value(name string) (string, *Option, error) {
	v, o, err := d.Raw(name)
	if err != nil {
		return "", nil, err
	}
	v, err = d.Expand(name, v)
	return v, o, err
}

// maxTags is how often a tag may occur in a value: fail2ban's own limit.
const maxTags = 25

// Expand replaces the <tags> of a value of the option user. Tags that the definition does not have stay.
func (d *Definition) Expand(user, v string) (string, error) {
	if d.busy == nil {
		d.busy = make(map[string]bool)
	}
	if len(d.busy) > 2*maxDepth {
		return "", fmt.Errorf("<%s> is nested more than %d deep", user, 2*maxDepth)
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
			return "", fmt.Errorf("<%s> refers to itself", tag)
		}
		repl, o, err := d.Raw(tag)
		if errors.Is(err, ErrNoOption) {
			at += loc[1]
			continue
		}
		if err == nil {
			repl, err = d.Expand(tag, repl)
		}
		if err != nil {
			return "", err
		}
		if o != nil {
			o.MarkUsed(user)
		}
		if count[tag]++; count[tag] > maxTags {
			return "", fmt.Errorf("it contains <%s> more than %d times", tag, maxTags)
		}
		v = strings.ReplaceAll(v, "<"+tag+">", repl)
		if len(v) > maxValue {
			return "", fmt.Errorf("it has more than %d bytes with all references resolved", maxValue)
		}
		at = 0 // the value may have completed another tag's name: <mdre-<mode>>
	}
}

// isRegexpTag reports whether a tag has a meaning in regular expressions, so that it is not replaced.
func isRegexpTag(tag string) bool {
	return strings.HasPrefix(strings.TrimPrefix(tag, "/"), "F-") || slices.Contains([]string{"HOST", "ADDR", "IP4", "IP6", "DNS", "CIDR", "SUBNET", "SKIPLINES"}, tag)
}
