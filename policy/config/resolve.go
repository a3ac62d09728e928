package config

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/policy/yamldoc"
)

// builtin are the names of the filters compiled in; each is a jail by itself.
func builtin() []string { return filter.Builtin() }

// shelf holds filters: an operator's own files before the built-in ones.
type shelf struct {
	own    map[string]*filter.Filter
	broken map[string]bool // own filters with errors, which are told already
	used   map[string]bool
}

func newShelf() *shelf {
	return &shelf{own: make(map[string]*filter.Filter), broken: make(map[string]bool), used: make(map[string]bool)}
}

// names lists all filters, sorted.
func (s *shelf) names() []string {
	names := slices.Clone(builtin())
	for name := range s.own {
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// get returns a filter. It returns neither filter nor error for one whose errors are told already.
func (s *shelf) get(name string) (*filter.Filter, *diag.Error) {
	s.used[name] = true
	if s.broken[name] {
		return nil, nil
	}
	if f := s.own[name]; f != nil {
		return f, nil
	}
	if slices.Contains(builtin(), name) {
		f, err := filter.LoadBuiltin(name)
		if err != nil {
			return nil, diag.Errorf("built-in filter %s: %s", name, err)
		}
		return f, nil
	}
	e := diag.Errorf("there is no filter %q", diag.Clip(name))
	if near := diag.Near(name, s.names()); near != "" {
		return nil, e.WithHint("did you mean %s?", near)
	}
	return nil, e.WithHint("write it as /etc/bailiff/filters.d/%s.yaml", diag.Clip(name))
}

// resolve makes the checked configuration: defaults go into the jails, filters are loaded.
func (r *raw) resolve(filters *shelf) (*Config, error) {
	c := &Config{
		Defaults: r.defaults, Escalate: r.escalate, Accounts: r.accounts, Networks: r.around, Allow: r.allow, Firewall: r.firewall, Limits: r.limits,
		origins: make(map[string]string, len(r.place)),
	}
	c.Allow.Lists = r.resolveLists()
	for path, n := range r.place {
		c.origins[path] = n.File + ":" + strconv.Itoa(n.Line)
	}
	names := slices.Clone(builtin())
	for name := range r.jails {
		names = append(names, name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, name := range names {
		if r.only != nil && !slices.Contains(r.only, name) {
			c.Jails = append(c.Jails, Jail{Name: name})
			continue
		}
		if j, ok := r.resolveJail(name, filters); ok {
			c.Jails = append(c.Jails, j)
		}
	}
	c.Report = r.resolveReport(names)
	for _, name := range filters.names() {
		if f := filters.own[name]; f != nil && !filters.used[name] {
			c.Notices = append(c.Notices, f.File+": no jail uses this filter; write jails: {"+name+": {}} to switch it on")
		}
	}
	if !slices.ContainsFunc(c.Jails, func(j Jail) bool { return j.Enabled }) {
		c.Notices = append(c.Notices, "no jail is enabled: nobody will be banned")
	}
	return c, errors.Join(r.errs...)
}

func (r *raw) resolveJail(name string, filters *shelf) (j Jail, ok bool) {
	at := "jails." + name
	own := r.jails[name]
	named := own != nil
	if !named {
		own = &rawJail{enabled: "auto", filter: name}
	}
	j = Jail{
		Name: name, Enabled: own.enabled != "false", Auto: own.enabled == "auto", Mode: own.mode, Ports: own.ports,
		FindTime: pick(r, at+".find_time", own.FindTime, r.defaults.FindTime),
		MaxRetry: pick(r, at+".max_retry", own.MaxRetry, r.defaults.MaxRetry),
		BanTime:  pick(r, at+".ban_time", own.BanTime, r.defaults.BanTime),
		Observe:  pick(r, at+".observe", own.Observe, r.defaults.Observe),
		Prefix4:  pick(r, at+".prefix.ipv4", own.Prefix4, r.defaults.Prefix4),
		Prefix6:  pick(r, at+".prefix.ipv6", own.Prefix6, r.defaults.Prefix6),
		Slow: Slow{
			FindTime: pick(r, at+".slow.find_time", own.Slow.FindTime, r.defaults.Slow.FindTime),
			MaxRetry: pick(r, at+".slow.max_retry", own.Slow.MaxRetry, r.defaults.Slow.MaxRetry),
		},
		Weights: Weights{
			InvalidUser: pick(r, at+".weights.invalid_user", own.Weights.InvalidUser, r.defaults.Weights.InvalidUser),
			NewAccount:  pick(r, at+".weights.new_account", own.Weights.NewAccount, r.defaults.Weights.NewAccount),
		},
	}
	if len(j.Ports) > 0 && len(name) > 16 {
		r.fail(r.place[at+".ports"], at+".ports", diag.Errorf("a jail with ports cannot have a name of more than 16 characters").WithHint("shorten the name, which becomes part of a set's name in the kernel, and keep filter: %s; or leave ports out", own.filter))
	}
	f, err := filters.get(own.filter)
	if err != nil {
		r.fail(r.nearest(at+".filter", at), at+".filter", err)
		return j, false
	}
	if f == nil {
		return j, false
	}
	if t := f.Trust(); t.RequireMessage && len(own.trust.Containers) > 0 {
		r.fail(r.nearest(at+".containers", at), at+".containers", filter.NoContainers(f.Name))
		return j, false
	}
	j.Filter, j.Trust = f.With(own.trust), own.trust
	if f.Off && !named {
		j.Enabled, j.Auto = false, false
	}
	if j.Mode == "" {
		j.Mode = f.Modes[0]
	} else if !slices.Contains(f.Modes, j.Mode) {
		e := diag.Errorf("filter %s has no mode %q", f.Name, diag.Clip(j.Mode))
		if near := diag.Near(j.Mode, f.Modes); near != "" {
			e.Hint = "did you mean " + near + "?"
		} else {
			e.Hint = "modes are " + strings.Join(f.Modes, ", ")
		}
		r.fail(r.nearest(at+".mode", at), at+".mode", e)
		return j, false
	}
	return j, true
}

// pick returns a jail's own value where a file sets one, else the default.
func pick[T any](r *raw, path string, own, def T) T {
	if r.place[path] != nil {
		return own
	}
	return def
}

// nearest returns where the first of the paths was set that any file sets.
func (r *raw) nearest(paths ...string) *yamldoc.Node {
	for _, p := range paths {
		if n := r.place[p]; n != nil {
			return n
		}
	}
	return &yamldoc.Node{File: "built in"}
}
