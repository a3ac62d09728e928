package config

import (
	"maps"
	"slices"
	"strings"

	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/policy/fleet"
	"bailiff/policy/yamldoc"
)

// Names that no jail may have.
const (
	manual  = "manual"    // the jail of manual bans: it counts nothing and cannot be configured
	ofFleet = fleet.Scope // the firewall's set of other hosts' bans
)

// checkName accepts jail names that are suitable for journal fields, command lines and set names.
func checkName(s string) *diag.Error {
	switch {
	case s == manual:
		return diag.Errorf("the name %q is reserved for manual bans", s).WithHint("choose another name")
	case s == ofFleet:
		return diag.Errorf("the name %q is reserved for bans of other hosts", s).WithHint("choose another name")
	case len(s) > 32:
		return diag.Errorf("the name %q has more than 32 characters", diag.Clip(s))
	case !isWord(s, lower+digits+"-") || s[0] == '-':
		e := diag.Errorf("%q cannot be the name of a jail", diag.Clip(s))
		if fixed := strings.ReplaceAll(strings.ToLower(s), "_", "-"); fixed != s && isWord(fixed, lower+digits+"-") && fixed[0] != '-' {
			return e.WithHint("write %s", fixed)
		}
		return e.WithHint("names are made of a-z, 0-9 and -")
	}
	return nil
}

// jail returns a jail, with the files' settings over the defaults.
func (b *Builder) jail(name string, defaults Thresholds) (j Jail, ok bool) {
	at := "jails." + name
	j = Jail{Name: name, Enabled: true, filter: name, Thresholds: defaults}
	b.apply(at, jailFields(&j))
	j.Explicit = j.Enabled && b.set[at+".enabled"] != nil
	if len(j.Ports) > 0 && len(name) > 16 {
		e := diag.Errorf("a jail with ports cannot have a name of more than 16 characters")
		e.WithHint("shorten the name, which becomes part of a set's name in the kernel, and keep filter: %s; or leave ports out", j.filter)
		b.fail(b.place(at+".ports"), at+".ports", e)
	}
	f, err := b.filters.get(j.filter)
	if err != nil {
		b.fail(b.place(at+".filter", at), at+".filter", err)
		return j, false
	}
	if f == nil {
		return j, false
	}
	if t := f.Trust(); t.RequireMessage && len(j.Trust.Containers) > 0 {
		b.fail(b.place(at+".containers", at), at+".containers", filter.NoContainers(f.Name))
		return j, false
	}
	j.Filter = f.With(j.Trust)
	if f.MaxRetry != 0 {
		j.MaxRetry, j.Slow.MaxRetry = f.MaxRetry, 0
		b.apply(at, thresholds(&j.Thresholds))
	}
	if f.Off && !b.entries["jails"][name] {
		j.Enabled = false
	}
	if j.Mode == "" {
		j.Mode = f.Modes[0]
	} else if !slices.Contains(f.Modes, j.Mode) {
		e := diag.Errorf("filter %s has no mode %q", f.Name, diag.Clip(j.Mode))
		e.Hint = diag.DidYouMean(j.Mode, f.Modes, "modes are "+strings.Join(f.Modes, ", "))
		b.fail(b.place(at+".mode", at), at+".mode", e)
		return j, false
	}
	return j, true
}

// shelf holds filters. An operator's own take precedence over the built-in ones.
type shelf struct {
	builtin []string
	own     map[string]*filter.Filter
	broken  map[string]bool // own filters with errors, which are reported already
	used    map[string]bool
}

// names lists all filters, sorted.
func (s *shelf) names() []string {
	names := slices.AppendSeq(slices.Clone(s.builtin), maps.Keys(s.own))
	slices.Sort(names)
	return slices.Compact(names)
}

// get returns a filter. It returns neither filter nor error for one whose errors are reported already.
func (s *shelf) get(name string) (*filter.Filter, *diag.Error) {
	s.used[name] = true
	if s.broken[name] {
		return nil, nil
	}
	if f := s.own[name]; f != nil {
		return f, nil
	}
	if slices.Contains(s.builtin, name) {
		f, err := filter.LoadBuiltin(name)
		if err != nil {
			return nil, diag.Errorf("built-in filter %s: %s", name, err)
		}
		return f, nil
	}
	e := diag.Errorf("there is no filter %q", diag.Clip(name))
	e.Hint = diag.DidYouMean(name, s.names(), "write it as /etc/bailiff/filters.d/"+diag.Clip(name)+".yaml")
	return nil, e
}

// ParseFilter reads a filter with all checks. Its name must be name, which is the name of its file.
func ParseFilter(file, name string, data []byte) (*filter.Filter, error) {
	f, err := filter.Parse(file, data)
	if err != nil {
		return nil, err
	}
	if f.Name != name {
		at := &yamldoc.Node{File: file, Line: 1, Col: 1}
		if root, err := yamldoc.Parse(file, data); err == nil {
			at = root.Get("name")
		}
		return nil, at.Errorf("name", "is %q, but its file name says %q", f.Name, diag.Clip(name)).WithHint("call the file %s.yaml, or the filter %s", f.Name, diag.Clip(name))
	}
	return f, nil
}

// parseZone checks the characters of a firewalld zone's name; firewalld checks the length.
func parseZone(s string) (string, *diag.Error) {
	if len(s) > 64 || !isWord(s, letters+digits+"_-/") {
		return "", diag.Errorf("%q is not the name of a zone", diag.Clip(s)).WithHint("firewall-cmd --get-zones lists them")
	}
	return s, nil
}
