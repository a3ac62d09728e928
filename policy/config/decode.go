package config

import (
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/yamldoc"
)

// raw is what files say, one over the other: each file that sets a key replaces the value from before, lists included.
// It begins as the built-in defaults.
type raw struct {
	defaults Defaults
	escalate Escalate
	accounts Accounts
	around   Networks
	allow    Allow
	firewall Firewall
	limits   Limits
	jails    map[string]*rawJail
	only     []string // see Loader.Jails

	published map[string]*allow.Published // allow.lists

	report       Report // but for its destinations
	destinations map[string]*Destination

	place map[string]*yamldoc.Node // where a path was set last; the key for mappings
	files []*yamldoc.Node          // the words of allow.files
	errs  []error
}

// rawJail is what files say of one jail. Which of it is set stands in raw.place.
type rawJail struct {
	enabled      string // yes, no or auto
	filter, mode string
	Defaults
	ports []Port
	trust filter.Additions
}

// Ranges of what may be configured.
const (
	maxFindTime = 366 * 24 * time.Hour // a restart reads the journal again for as long
	maxRetry    = 1000                 // each failure of a window is kept as evidence
	maxFactor   = 1000
	maxWeight   = 20
	maxSlow     = 60                  // a bucket of the slow window holds up to 63
	maxLong     = 30 * 24 * time.Hour // of windows over many addresses and of slow ones, which are kept in memory all the while
	maxDistinct = 64                  // addresses of an account, parts of a network that are told apart
	maxPersonal = 10                  // failures kept of one address on one account
	minTracked  = 1_000
	maxTracked  = 100_000_000
	maxLines    = 10_000
	maxList     = 10_000 // items of a list; longer ones belong into an allow file
	maxJails    = 1_000
	maxErrors   = 100 // told of one load
)

// newRaw returns the built-in defaults: the one place where they stand.
func newRaw() *raw {
	return &raw{
		defaults: Defaults{
			FindTime: 10 * time.Minute, MaxRetry: 5, BanTime: 48 * time.Hour, Prefix4: 32, Prefix6: 64,
			// Four times max_retry over a day, or half as many accounts. A person's mistakes never come to that: a success clears
			// them. A device with an old password does, but it repeats one account: see jail.Counter.
			Slow: Slow{FindTime: 24 * time.Hour, MaxRetry: 20},
			// Who does not know how their account is spelled here tries two or three names. Several people behind one address
			// mistype the passwords of several accounts, which therefore weigh no more than one.
			Weights: Weights{InvalidUser: 2, NewAccount: 0},
		},
		// Ten addresses within six hours are not a household, nor an office. Three failures, since ssh asks three times by itself
		// (NumberOfPasswordPrompts in ssh_config(5)): two slips and then the right password ban nobody.
		accounts: Accounts{Addresses: 10, FindTime: 6 * time.Hour, MaxRetry: 3, TrustLoginsFor: 7 * 24 * time.Hour},
		// A wide ban hits neighbours. Those of an IPv4 address are strangers, or thousands of customers behind their provider's
		// few addresses, so that is for the administrator to ask for. An IPv6 network up to a /48 is what one customer is
		// given (RFC 6177), and whoever has it may fail from each /64 once without being banned: a sixteenth of a /56, and
		// none of it may have logged in.
		around:   Networks{FindTime: 24 * time.Hour, TrustLoginsFor: 7 * 24 * time.Hour, Net4: 0, Net6: Net6{Bits64: 16, Bits56: 16, Bits48: 64}},
		escalate: Escalate{Factor: 2, Max: 4 * 7 * 24 * time.Hour, Forget: 30 * 24 * time.Hour},
		allow: Allow{
			Self: true, Files: []string{"/etc/bailiff/allow.d/*.list"},
			Operators: Operators{Enabled: true, Groups: slices.Clone(operatorGroups), Grace: 10 * time.Minute},
		},
		published: make(map[string]*allow.Published),
		firewall:  Firewall{Backend: "auto", Block: "drop", KeepOnStop: true, Close: true, Method: "policy"},
		limits:    Limits{MaxTracked: 1_000_000, MaxEvidence: 100},
		jails:     make(map[string]*rawJail),
		report:    newReport(), destinations: make(map[string]*Destination),
		place: make(map[string]*yamldoc.Node),
	}
}

// inherited are the keys of a jail that come from defaults when the jail does not set them.
var inherited = map[string]bool{
	"find_time": true, "max_retry": true, "ban_time": true, "prefix.ipv4": true, "prefix.ipv6": true,
	"observe": true, "slow.find_time": true, "slow.max_retry": true, "weights.invalid_user": true, "weights.new_account": true,
}

// jailKey returns max_retry for jails.sshd.max_retry.
func jailKey(path string) (key string, ok bool) {
	if path, ok = strings.CutPrefix(path, "jails."); !ok {
		return "", false
	}
	_, key, ok = strings.Cut(path, ".")
	return key, ok
}

// field is a key that a mapping takes: a value to set, a mapping with fields of its own, or one with free names, which
// may be written as a list of words, too, where it has set.
type field struct {
	name string
	was  string // its name until it was renamed; the old name is an error that gives the new one
	set  func(n *yamldoc.Node) *diag.Error
	sub  []field
	each func(name *yamldoc.Node) ([]field, *diag.Error)
}

// schema is every key there is.
func (r *raw) schema() []field {
	return []field{
		{name: "defaults", sub: thresholds(&r.defaults)},
		{name: "escalate", sub: []field{
			{name: "factor", set: factor(&r.escalate.Factor)},
			{name: "max", set: duration(&r.escalate.Max, longest, true)},
			{name: "forget", set: duration(&r.escalate.Forget, longest, true)},
			{name: "random_extra", was: "spread", set: orNone(&r.escalate.RandomExtra, duration(&r.escalate.RandomExtra, longest, false))},
		}},
		{name: "accounts", sub: []field{
			{name: "addresses", set: orOff(&r.accounts.Addresses, 2, maxDistinct)},
			{name: "find_time", set: duration(&r.accounts.FindTime, maxLong, false)},
			{name: "max_retry", set: integer(&r.accounts.MaxRetry, jail.LeastAccountRetry, maxPersonal)},
			{name: "trust_logins_for", was: "spare", set: duration(&r.accounts.TrustLoginsFor, maxLong, false)},
		}},
		{name: "networks", was: "neighbours", sub: []field{
			{name: "find_time", set: duration(&r.around.FindTime, maxLong, false)},
			{name: "trust_logins_for", was: "spare", set: duration(&r.around.TrustLoginsFor, maxLong, false)},
			{name: "ipv4", sub: []field{
				{name: "24", set: orOff(&r.around.Net4, 2, maxDistinct)},
			}},
			{name: "ipv6", sub: []field{
				{name: "64", set: orOff(&r.around.Net6.Bits64, 2, maxDistinct)},
				{name: "56", set: orOff(&r.around.Net6.Bits56, 2, maxDistinct)},
				{name: "48", set: orOff(&r.around.Net6.Bits48, 2, maxDistinct)},
			}},
		}},
		{name: "allow", sub: []field{
			{name: "self", set: boolean(&r.allow.Self)},
			{name: "addresses", set: r.addresses},
			{name: "files", set: r.globs},
			{name: "lists", set: r.lists, each: r.list},
			{name: "operators", sub: r.operators()},
		}},
		{name: "firewall", sub: []field{
			{name: "backend", set: oneOf(&r.firewall.Backend, Backends...)},
			{name: "block", set: oneOf(&r.firewall.Block, "drop", "reject")},
			{name: "keep_on_stop", set: boolean(&r.firewall.KeepOnStop)},
			{name: "close_connections", set: boolean(&r.firewall.Close)},
			{name: "firewalld", sub: []field{
				{name: "method", was: "via", set: oneOf(&r.firewall.Method, FirewalldMethods...)},
				{name: "zones", set: zones(&r.firewall.Zones)},
			}},
		}},
		{name: "limits", sub: []field{
			{name: "max_tracked", was: "tracked", set: integer(&r.limits.MaxTracked, minTracked, maxTracked)},
			{name: "max_evidence", was: "lines_per_ban", set: integer(&r.limits.MaxEvidence, 1, maxLines)},
		}},
		{name: "report", sub: r.reports()},
		{name: "jails", each: r.jail},
	}
}

func thresholds(d *Defaults) []field {
	return []field{
		{name: "find_time", set: duration(&d.FindTime, maxFindTime, false)},
		{name: "max_retry", set: integer(&d.MaxRetry, 1, maxRetry)},
		{name: "ban_time", set: duration(&d.BanTime, longest, true)},
		{name: "observe", set: boolean(&d.Observe)},
		{name: "prefix", sub: []field{
			{name: "ipv4", set: integer(&d.Prefix4, 8, 32)},
			{name: "ipv6", set: integer(&d.Prefix6, 32, 128)},
		}},
		{name: "slow", sub: []field{
			{name: "find_time", set: duration(&d.Slow.FindTime, maxLong, false)},
			{name: "max_retry", set: orOff(&d.Slow.MaxRetry, 2, maxSlow)},
		}},
		{name: "weights", sub: []field{
			{name: "invalid_user", was: "unknown", set: integer(&d.Weights.InvalidUser, 1, maxWeight)},
			{name: "new_account", was: "account", set: integer(&d.Weights.NewAccount, 0, maxWeight)},
		}},
	}
}

// manual is the jail of bans by hand: it counts nothing and stands in no file.
const manual = "manual"

func (r *raw) jail(name *yamldoc.Node) ([]field, *diag.Error) {
	if err := checkName(name.Value); err != nil {
		return nil, err
	}
	j := r.jails[name.Value]
	if j == nil {
		if len(r.jails) == maxJails {
			return nil, diag.Errorf("more than %d jails", maxJails)
		}
		j = &rawJail{enabled: "auto", filter: name.Value}
		r.jails[name.Value] = j
	}
	return append([]field{
		{name: "enabled", set: enabled(&j.enabled)},
		{name: "filter", set: word(&j.filter, "filter: NAME and, if need be, mode: NAME")},
		{name: "mode", set: word(&j.mode, "one mode, such as normal or aggressive")},
		{name: "ports", set: ports(&j.ports)},
		{name: "units", set: items(&j.trust.Units, filter.ParseUnit)},
		{name: "containers", set: items(&j.trust.Containers, filter.ParseContainer)},
		{name: "user_units", set: items(&j.trust.UserUnits, filter.ParseUserUnit)},
		{name: "exe", set: executables(&j.trust)},
	}, thresholds(&j.Defaults)...), nil
}

// checkName holds jail names to what is fit for journal fields, command lines and the names of sets.
func checkName(s string) *diag.Error {
	switch {
	case s == manual:
		return diag.Errorf("the name %q is taken by bans by hand", s).WithHint("choose another name")
	case len(s) > 32:
		return diag.Errorf("the name %q has more than 32 characters", diag.Clip(s))
	case !isWord(s, "abcdefghijklmnopqrstuvwxyz0123456789-") || s[0] == '-':
		e := diag.Errorf("%q cannot be the name of a jail", diag.Clip(s))
		if fixed := strings.ReplaceAll(strings.ToLower(s), "_", "-"); fixed != s && isWord(fixed, "abcdefghijklmnopqrstuvwxyz0123456789-") && fixed[0] != '-' {
			return e.WithHint("write %s", fixed)
		}
		return e.WithHint("names are made of a-z, 0-9 and -")
	}
	return nil
}

func isWord(s, letters string) bool { return s != "" && strings.Trim(s, letters) == "" }

// decode takes a file's tree in.
func (r *raw) decode(doc *yamldoc.Node) {
	r.mapping(doc, "", r.schema())
}

func (r *raw) fail(n *yamldoc.Node, path string, err *diag.Error) {
	if len(r.errs) > maxErrors {
		return
	}
	if len(r.errs) == maxErrors {
		err = diag.Errorf("and perhaps more: only the first %d errors are told", maxErrors)
		path = ""
	}
	if err.File == "" {
		err.File, err.Line, err.Col = n.File, n.Line, n.Col
	}
	err.Path = path
	r.errs = append(r.errs, err)
}

func (r *raw) mapping(n *yamldoc.Node, at string, fields []field) {
	if n.Kind == yamldoc.Null {
		return
	}
	if n.Kind != yamldoc.Map {
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = f.name
		}
		r.fail(n, at, diag.Errorf("must be a mapping of keys, not %s", n.Kind).WithHint("keys here are %s", strings.Join(names, ", ")))
		return
	}
	for _, p := range n.Pairs {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == p.Key.Value })
		if i < 0 {
			r.fail(p.Key, at, unknown(p.Key.Value, at, fields))
			continue
		}
		r.value(p, join(at, fields[i].name), fields[i])
	}
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

func (r *raw) value(p yamldoc.Pair, at string, f field) {
	switch {
	case f.sub != nil:
		r.mapping(p.Value, at, f.sub)
	case f.each != nil && (f.set == nil || p.Value.Kind == yamldoc.Map || p.Value.Kind == yamldoc.Null):
		if p.Value.Kind != yamldoc.Map && p.Value.Kind != yamldoc.Null {
			r.fail(p.Value, at, diag.Errorf("must be a mapping of names, not %s", p.Value.Kind))
			return
		}
		for _, c := range p.Value.Pairs {
			sub, err := f.each(c.Key)
			if err != nil {
				r.fail(c.Key, at, err)
				continue
			}
			path := join(at, c.Key.Value)
			r.place[path] = c.Key
			r.mapping(c.Value, path, sub)
		}
	default:
		if err := f.set(p.Value); err != nil {
			r.fail(p.Value, at, err)
			return
		}
		r.place[at] = p.Value
	}
}

// elsewhere are words that people bring from fail2ban, with what stands for them.
var elsewhere = map[string]string{
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
	"failregex":          "patterns stand in a filter: /etc/bailiff/filters.d/NAME.yaml",
	"ignoreregex":        "patterns stand in a filter: /etc/bailiff/filters.d/NAME.yaml",
	"bantime.increment":  "write escalate.factor",
	"bantime.factor":     "write escalate.factor",
	"bantime.maxtime":    "write escalate.max",
	"bantime.rndtime":    "write escalate.random_extra",
}

func unknown(word, at string, fields []field) *diag.Error {
	names := make([]string, len(fields))
	for i, f := range fields {
		if names[i] = f.name; f.was == word {
			return diag.Errorf("the key %q is now called %q", word, f.name).WithHint("write %s", f.name)
		}
	}
	e := diag.Errorf("unknown key %q", diag.Clip(word))
	if near := diag.Near(word, names); near != "" {
		return e.WithHint("did you mean %s?", near)
	}
	if hint, ok := elsewhere[strings.ToLower(word)]; ok {
		return e.WithHint("%s", hint)
	}
	if at == "" && (checkName(word) == nil) {
		if slices.Contains(builtin(), word) {
			return e.WithHint("jails stand under jails: write jails: {%s: …}", word)
		}
	}
	return e.WithHint("keys here are %s", strings.Join(names, ", "))
}

// scalar returns a value's text.
func scalar(n *yamldoc.Node) (string, *diag.Error) {
	switch n.Kind {
	case yamldoc.Scalar:
		return n.Value, nil
	case yamldoc.Null:
		return "", diag.Errorf("has no value").WithHint("leave the key out for its default")
	}
	return "", diag.Errorf("must be one value, not %s", n.Kind)
}

// list returns the values of a list, or one value as a list of one. Nothing at all is an empty list.
func list(n *yamldoc.Node) ([]*yamldoc.Node, *diag.Error) {
	items := n.Items
	switch n.Kind {
	case yamldoc.Null:
		return nil, nil
	case yamldoc.Scalar:
		return []*yamldoc.Node{n}, nil
	case yamldoc.Map:
		return nil, diag.Errorf("must be a list, not a mapping").WithHint("write [a, b], or one a line behind a hyphen")
	}
	if len(items) > maxList {
		return nil, diag.Errorf("has %d items, more than %d", len(items), maxList).WithHint("write addresses into a file in /etc/bailiff/allow.d, one a line")
	}
	for _, item := range items {
		if _, err := scalar(item); err != nil {
			return nil, placed(err, item)
		}
	}
	return items, nil
}

// placed gives an error the place of a node that is not the key's own value.
func placed(err *diag.Error, n *yamldoc.Node) *diag.Error {
	err.File, err.Line, err.Col = n.File, n.Line, n.Col
	return err
}

func duration(dst *time.Duration, most time.Duration, forever bool) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		s, err := scalar(n)
		if err != nil {
			return err
		}
		d, err := parseDuration(s)
		switch {
		case err != nil:
			return err
		case d == Forever && !forever:
			return diag.Errorf("cannot be forever").WithHint("write at most %s", FormatDuration(most))
		case d != Forever && d > most:
			return diag.Errorf("%s is too long", s).WithHint("write at most %s", FormatDuration(most))
		}
		*dst = d
		return nil
	}
}

func integer(dst *int, least, most int) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		s, err := scalar(n)
		if err != nil {
			return err
		}
		v, bad := strconv.Atoi(s)
		if bad != nil && strings.Trim(strings.TrimPrefix(s, "-"), "0123456789") != "" || s == "" {
			return diag.Errorf("%q is not a whole number", diag.Clip(s)).WithHint("write a number from %d to %d", least, most)
		}
		if bad != nil || v < least || v > most {
			return diag.Errorf("%s is out of range", diag.Clip(s)).WithHint("write a number from %d to %d", least, most)
		}
		*dst = v
		return nil
	}
}

// orOff takes a number, or off for 0.
func orOff(dst *int, least, most int) func(*yamldoc.Node) *diag.Error {
	number := integer(dst, least, most)
	return func(n *yamldoc.Node) *diag.Error {
		if n.Kind == yamldoc.Scalar {
			if on, ok := truths[n.Value]; ok && !on {
				*dst = 0
				return nil
			}
		}
		err := number(n)
		if err != nil && err.Hint != "" {
			err.Hint += ", or off"
		}
		return err
	}
}

// orNone takes a duration, or none for 0.
func orNone(dst *time.Duration, long func(*yamldoc.Node) *diag.Error) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		if n.Kind == yamldoc.Scalar && n.Value == "none" {
			*dst = 0
			return nil
		}
		err := long(n)
		if err != nil && err.Hint != "" {
			err.Hint = "write 10m, or none"
		}
		return err
	}
}

func factor(dst *float64) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		s, err := scalar(n)
		if err != nil {
			return err
		}
		v, bad := strconv.ParseFloat(s, 64)
		if bad != nil || math.IsNaN(v) {
			return diag.Errorf("%q is not a number", diag.Clip(s)).WithHint("write 1 for bans that are all alike, 2 to double each")
		}
		if v < 1 || v > maxFactor {
			return diag.Errorf("%s is out of range", diag.Clip(s)).WithHint("write a number from 1 (bans are all alike) to %d", maxFactor)
		}
		*dst = v
		return nil
	}
}

// truths are the words for yes and no that people and YAML 1.1 use.
var truths = map[string]bool{"true": true, "yes": true, "on": true, "false": false, "no": false, "off": false}

// zones takes names of firewalld's zones: what they may be made of, firewalld's own limit (17 bytes) left to it.
func zones(dst *[]string) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		items, err := list(n)
		if err != nil {
			return err
		}
		var names []string
		for _, item := range items {
			name := item.Value
			if name == "" || len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-/") != "" {
				return diag.Errorf("%q is no name of a zone", diag.Clip(name)).WithHint("firewall-cmd --get-zones lists them")
			}
			names = append(names, name)
		}
		*dst = names
		return nil
	}
}

func boolean(dst *bool) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		s, err := scalar(n)
		if err != nil {
			return err
		}
		v, ok := truths[s]
		if !ok {
			return diag.Errorf("%q is neither true nor false", diag.Clip(s))
		}
		*dst = v
		return nil
	}
}

func enabled(dst *string) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		s, err := scalar(n)
		if err != nil {
			return err
		}
		v, ok := truths[s]
		switch {
		case s == "auto":
			*dst = s
		case !ok:
			return diag.Errorf("%q is none of true, false and auto", diag.Clip(s)).WithHint("auto is on where the host has one of the filter's units")
		case v:
			*dst = "true"
		default:
			*dst = "false"
		}
		return nil
	}
}

func oneOf(dst *string, words ...string) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		s, err := scalar(n)
		if err != nil {
			return err
		}
		if !slices.Contains(words, s) {
			e := diag.Errorf("%q is none of %s", diag.Clip(s), strings.Join(words, ", "))
			if near := diag.Near(s, words); near != "" {
				return e.WithHint("did you mean %s?", near)
			}
			return e
		}
		*dst = s
		return nil
	}
}

func word(dst *string, form string) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		s, err := scalar(n)
		if err != nil {
			return err
		}
		if len(s) > 64 || !isWord(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") {
			return diag.Errorf("%q is not a name", diag.Clip(s)).WithHint("write %s", form)
		}
		*dst = s
		return nil
	}
}

// items takes a list whose items parse reads.
func items[T any](dst *[]T, parse func(string) (T, *diag.Error)) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		nodes, err := list(n)
		if err != nil {
			return err
		}
		var all []T
		for _, item := range nodes {
			v, err := parse(item.Value)
			if err != nil {
				return placed(err, item)
			}
			all = append(all, v)
		}
		*dst = all
		return nil
	}
}

// executables takes a list of paths, or any.
func executables(dst *filter.Additions) func(*yamldoc.Node) *diag.Error {
	paths := items(&dst.Exe, filter.ParseExe)
	return func(n *yamldoc.Node) *diag.Error {
		if n.Kind == yamldoc.Scalar && n.Value == "any" {
			dst.Exe, dst.AnyExe = nil, true
			return nil
		}
		if err := paths(n); err != nil {
			return err
		}
		if len(dst.Exe) == 0 {
			return diag.Errorf("is an empty list").WithHint("write exe: any, or the daemon's executables; leave it out for those that the filter knows")
		}
		dst.AnyExe = false
		return nil
	}
}

func ports(dst *[]Port) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		items, err := list(n)
		if err != nil {
			return err
		}
		var all []Port
		for _, item := range items {
			if item.Value == "all" {
				if len(items) > 1 {
					return placed(diag.Errorf("all stands beside other ports"), item).WithHint("write ports: all, or the ports alone")
				}
				*dst = nil
				return nil
			}
			p, err := parsePorts(item.Value)
			if err != nil {
				return placed(err, item)
			}
			all = append(all, p...)
		}
		if len(all) == 0 {
			return diag.Errorf("is an empty list").WithHint("write ports: all, or the ports to close")
		}
		if all = joinPorts(all); len(all) > maxPorts {
			return diag.Errorf("has %d ranges of ports, more than %d", len(all), maxPorts).WithHint("write ports: all")
		}
		*dst = all
		return nil
	}
}

func (r *raw) addresses(n *yamldoc.Node) *diag.Error {
	items, err := list(n)
	if err != nil {
		return err
	}
	all := make([]allow.Entry, 0, len(items))
	for _, item := range items {
		e, bad := allow.ParseEntry(item.Value)
		if bad != nil {
			return placed(diag.Errors(bad)[0], item)
		}
		e.Origin, e.Line = item.File, item.Line
		all = append(all, e)
	}
	r.allow.Addresses = all
	return nil
}

func (r *raw) globs(n *yamldoc.Node) *diag.Error {
	items, err := list(n)
	if err != nil {
		return err
	}
	all := make([]string, 0, len(items))
	for _, item := range items {
		if !path.IsAbs(item.Value) {
			return placed(diag.Errorf("%q is not a whole path", diag.Clip(item.Value)), item).WithHint("write it from / on: /etc/bailiff/allow.d/*.list")
		}
		if _, bad := path.Match(item.Value, ""); bad != nil {
			return placed(diag.Errorf("%q is not a pattern for file names: a bracket is not closed", diag.Clip(item.Value)), item)
		}
		all = append(all, item.Value)
	}
	r.allow.Files, r.files = all, items
	return nil
}
