package ini

import (
	"fmt"
	"regexp"
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

// Definition is a filter or an action: a file of its own with [Definition] and [Init], and the options that stand in
// brackets behind its name where it is used.
type Definition struct {
	Tree *Tree
	Args map[string]string // in brackets
	Vars map[string]string // and what the jail says, under them
	busy map[string]bool
}

var tagPattern = regexp.MustCompile(`<([^ <>]+)>`)

// Raw returns an option before its <tags> are put in: the brackets first, then [Definition] and [DEFAULT], then [Init],
// then a section's option by its whole name.
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
	if init != nil { // what stands in [Init] and in no bracket wins over [Definition]
		v, o, err := d.Tree.Value("Init", name, d.Vars)
		return v, o, err
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

var ErrNoOption = fmt.Errorf("no such option")

// Value returns an option with all <tags> put in that the definition knows. Others stay: they are for the regular
// expressions (<HOST>) or for commands (<ip>).
func (d *Definition) Value(name string) (string, *Option, error) {
	v, o, err := d.Raw(name)
	if err != nil {
		return "", nil, err
	}
	v, err = d.Expand(name, v)
	return v, o, err
}

// maxTags is how many times one tag may stand in a value: fail2ban's own bound.
const maxTags = 25

func (d *Definition) Expand(user, v string) (string, error) {
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
		repl, o, err := d.Raw(tag)
		if err == ErrNoOption {
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
