package config

import (
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/diag"
	"bailiff/policy/yamldoc"
)

// Operators says whose ssh sessions keep their address from being banned, see policy/operator.
type Operators struct {
	Enabled bool
	Groups  []string // whose members are operators, beside root
	Grace   time.Duration
}

// operatorGroups are those whose members can become root on the distributions that bailiff is made for. Groups that only
// read (adm, bailiff) are not among them: a monitoring login must not protect an attacker behind its address.
var operatorGroups = []string{"sudo", "wheel"}

const (
	maxGrace    = 24 * time.Hour // an address that somebody once logged in from is not his for ever
	minInterval = 5 * time.Minute
	maxInterval = 366 * 24 * time.Hour
	maxLists    = 100
	maxURLs     = 16 // of one list
	maxGroups   = 64
	pathLists   = "allow.lists"
)

// operators is the schema of allow.operators.
func (r *raw) operators() []field {
	return []field{
		{name: "enabled", set: boolean(&r.allow.Operators.Enabled)},
		{name: "groups", set: r.operatorGroups},
		{name: "grace", set: orNone(&r.allow.Operators.Grace, duration(&r.allow.Operators.Grace, maxGrace, false))},
	}
}

func (r *raw) operatorGroups(n *yamldoc.Node) *diag.Error {
	items, err := list(n)
	if err != nil {
		return err
	}
	if len(items) > maxGroups {
		return diag.Errorf("has %d items, more than %d", len(items), maxGroups)
	}
	var all []string
	for _, item := range items {
		if len(item.Value) > 64 || !isWord(item.Value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") {
			return placed(diag.Errorf("%q is not the name of a group", diag.Clip(item.Value)), item).WithHint("write names as /etc/group has them: [sudo, wheel]")
		}
		all = append(all, item.Value)
	}
	r.allow.Operators.Groups = all
	return nil
}

// lists takes allow.lists written as names of the catalogue alone: they replace those of files before, as a list does.
func (r *raw) lists(n *yamldoc.Node) *diag.Error {
	items, err := list(n)
	if err != nil {
		return err
	}
	all := make(map[string]*allow.Published)
	for _, item := range items {
		name := item.Value
		if !slices.Contains(allow.Catalogue(), name) {
			e := placed(diag.Errorf("there is no list %q in the catalogue", diag.Clip(name)), item)
			if near := diag.Near(name, allow.Catalogue()); near != "" {
				return e.WithHint("did you mean %s?", near)
			}
			return e.WithHint("the catalogue has %s; another list is written NAME: {url: https://…}", strings.Join(allow.Catalogue(), ", "))
		}
		p := allow.NewPublished(name)
		all[name] = &p
	}
	for name := range r.published {
		delete(r.place, join(pathLists, name))
	}
	r.published = all
	for _, item := range items {
		r.place[join(pathLists, item.Value)] = item
	}
	return nil
}

// list is the schema of one list.
func (r *raw) list(name *yamldoc.Node) ([]field, *diag.Error) {
	if len(name.Value) > 32 || !isWord(name.Value, "abcdefghijklmnopqrstuvwxyz0123456789-") || name.Value[0] == '-' {
		return nil, diag.Errorf("%q cannot be the name of a list", diag.Clip(name.Value)).WithHint("names are made of a-z, 0-9 and -, at most 32 of them")
	}
	p := r.published[name.Value]
	if p == nil {
		if len(r.published) == maxLists {
			return nil, diag.Errorf("more than %d lists", maxLists)
		}
		fresh := allow.NewPublished(name.Value)
		p = &fresh
		r.published[name.Value] = p
	}
	return []field{
		{name: "url", set: urls(&p.URLs)},
		{name: "format", set: oneOf(&p.Format, allow.Formats...)},
		{name: "pointers", set: pointers(&p.Pointers)},
		{name: "interval", set: interval(&p.Interval)},
		{name: "min_prefix", was: "widest", sub: []field{
			{name: "ipv4", set: integer(&p.MinPrefix4, 8, 32)},
			{name: "ipv6", set: integer(&p.MinPrefix6, 16, 128)},
		}},
		{name: "min_percent", was: "min_share", set: integer(&p.MinPercent, 0, 100)},
		{name: "insecure", set: boolean(&p.Insecure)},
	}, nil
}

func interval(dst *time.Duration) func(*yamldoc.Node) *diag.Error {
	set := duration(dst, maxInterval, false)
	return func(n *yamldoc.Node) *diag.Error {
		if err := set(n); err != nil {
			return err
		}
		if *dst < minInterval {
			return diag.Errorf("%s is too short", n.Value).WithHint("write at least %s: lists change seldom, and who publishes them locks out whoever asks too often", FormatDuration(minInterval))
		}
		return nil
	}
}

func urls(dst *[]string) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		items, err := list(n)
		if err != nil {
			return err
		}
		if len(items) > maxURLs {
			return diag.Errorf("has %d items, more than %d", len(items), maxURLs)
		}
		var all []string
		for _, item := range items {
			u, bad := url.Parse(item.Value)
			switch {
			case bad != nil || u.Scheme == "" || len(item.Value) > 2000:
				return placed(diag.Errorf("%q is not a URL", diag.Clip(item.Value)), item).WithHint("write https://host/path")
			case u.Scheme == "file":
				if u.Host != "" || !path.IsAbs(u.Path) {
					return placed(diag.Errorf("%q names no file", diag.Clip(item.Value)), item).WithHint("write file:///whole/path; allow.files reads a file of this host without a copy")
				}
			case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
				return placed(diag.Errorf("%q is not a URL that can be fetched", diag.Clip(item.Value)), item).WithHint("write https://host/path")
			case u.User != nil:
				return placed(diag.Errorf("the URL holds a user name"), item).WithHint("everybody may read the configuration; a published list needs no password")
			}
			all = append(all, item.Value)
		}
		*dst = all
		return nil
	}
}

func pointers(dst *[]string) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		items, err := list(n)
		if err != nil {
			return err
		}
		if len(items) > maxURLs {
			return diag.Errorf("has %d items, more than %d", len(items), maxURLs)
		}
		var all []string
		for _, item := range items {
			if bad := allow.CheckPointer(item.Value); bad != nil {
				return placed(diag.Errors(bad)[0], item)
			}
			all = append(all, item.Value)
		}
		*dst = all
		return nil
	}
}

// resolveLists checks what several keys of a list say together.
func (r *raw) resolveLists() []allow.Published {
	var all []allow.Published
	for _, name := range slices.Sorted(maps.Keys(r.published)) {
		p := r.published[name]
		at := join(pathLists, name)
		fail := func(key string, err *diag.Error) { r.fail(r.nearest(at+"."+key, at), at+"."+key, err) }
		switch {
		case len(p.URLs) == 0:
			e := diag.Errorf("the list %s has no url", name)
			if near := diag.Near(name, allow.Catalogue()); near != "" {
				e = e.WithHint("did you mean %s?", near)
			} else {
				e = e.WithHint("write url: https://host/path; without one there are %s", strings.Join(allow.Catalogue(), ", "))
			}
			fail("url", e)
		case p.Format == allow.FormatJSON && len(p.Pointers) == 0:
			fail("pointers", diag.Errorf("the list %s is JSON, and nothing says where in it the addresses are", name).WithHint("write pointers: [/prefixes/*/ip_prefix]"))
		case p.Format != allow.FormatJSON && len(p.Pointers) > 0:
			fail("pointers", diag.Errorf("the list %s is a text, in which there is nothing to point at", name).WithHint("write format: json, or leave pointers out"))
		}
		for _, u := range p.URLs {
			if strings.HasPrefix(strings.ToLower(u), "http:") && !p.Insecure {
				fail("url", diag.Errorf("%q is not encrypted: whoever stands in the way decides who is never banned", diag.Clip(u)).WithHint("write https:, or insecure: true if you know why"))
			}
		}
		all = append(all, *p)
	}
	return all
}

func (w *writer) lists(c *Config) {
	if len(c.Allow.Lists) == 0 {
		w.with(1, "lists: {}", c.Origin(pathLists))
	} else {
		w.line(1, "lists:")
	}
	for _, p := range c.Allow.Lists {
		at := join(pathLists, p.Name)
		w.line(2, quote(p.Name)+":")
		w.list(3, at+".url", p.URLs)
		w.key(3, at+".format", p.Format)
		w.list(3, at+".pointers", p.Pointers)
		w.key(3, at+".interval", FormatDuration(p.Interval))
		w.line(3, "min_prefix:")
		w.key(4, at+".min_prefix.ipv4", strconv.Itoa(p.MinPrefix4))
		w.key(4, at+".min_prefix.ipv6", strconv.Itoa(p.MinPrefix6))
		w.key(3, at+".min_percent", strconv.Itoa(p.MinPercent))
		w.key(3, at+".insecure", strconv.FormatBool(p.Insecure))
	}
	w.line(1, "operators:")
	o := c.Allow.Operators
	w.key(2, "allow.operators.enabled", strconv.FormatBool(o.Enabled))
	w.list(2, "allow.operators.groups", o.Groups)
	w.key(2, "allow.operators.grace", none(o.Grace))
}
