package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"bailiff/cmd/bailiff/internal/fail2ban"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/units/manager"
)

func runFilter(e *env, args []string) error {
	f := e.flags("filter")
	conf := f.String("config", "", "with the filters beside this configuration `file`, in place of the installed ones")
	asJSON := f.Bool("json", false, "print JSON")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return usagef("filter: say list, show or test (bailiff filter -h)")
	}
	r := filterCommand{env: e, conf: *conf, json: *asJSON}
	verb, rest := rest[0], rest[1:]
	switch verb {
	case "list":
		if err := want("filter list", rest, 0, 0); err != nil {
			return err
		}
		return r.list()
	case "show":
		if err := want("filter show", rest, 1, 1); err != nil {
			return err
		}
		return r.show(rest[0])
	case "test":
		return r.test(rest)
	}
	return usagef("filter: %q is none of list, show and test", verb)
}

type filterCommand struct {
	*env
	conf string
	json bool
}

func (r *filterCommand) files() ([]config.FilterFile, error) {
	var l config.Loader
	return l.FilterFiles(r.conf)
}

// find returns the filter file of a name.
func (r *filterCommand) find(name string) (*config.FilterFile, error) {
	all, err := r.files()
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range all {
		if all[i].Name == name {
			return &all[i], nil
		}
		names = append(names, all[i].Name)
	}
	e := &diag.Error{Text: fmt.Sprintf("there is no filter %q", name)}
	if own, mode, ok := fail2ban.Ours(name); ok {
		if mode != "" {
			return nil, e.WithHint("fail2ban's %s is %s in mode %s here", name, own, mode)
		}
		return nil, e.WithHint("fail2ban's %s is %s here", name, own)
	}
	if name == "recidive" {
		return nil, e.WithHint("those who come again are counted inside, over all jails: escalate in bailiff.yaml(5)")
	}
	if here, ok := services[name]; ok {
		return nil, e.WithHint("the filters of %s are called %s", name, here)
	}
	if near := diag.Near(name, names); near != "" {
		return nil, e.WithHint("did you mean %s?", near)
	}
	return nil, e.WithHint("bailiff filter list shows them; one of your own is a file /etc/bailiff/filters.d/NAME.yaml")
}

// services are words that people type who know the service and not its filter.
var services = map[string]string{
	"apache": "apache-auth, apache-shellshock and so on", "apache2": "apache-auth, apache-shellshock and so on", "httpd": "apache-auth, apache-shellshock and so on",
	"courier": "courier-auth and courier-smtp", "courier-imap": "courier-auth", "courier-pop": "courier-auth", "cyrus": "cyrus-imap",
	"haproxy": "haproxy-http-auth", "mariadb": "mariadb-auth", "managesieve": "sieve", "mumble": "murmur", "mysql": "mysqld-auth", "mysqld": "mysqld-auth", "named": "named-refused", "bind": "named-refused",
	"nginx": "nginx-http-auth, nginx-limit-req and so on", "openldap": "slapd", "sendmail": "sendmail-auth and sendmail-reject",
	"sm-mta": "sendmail-auth and sendmail-reject", "ssh": "sshd", "smtpd": "postfix or opensmtpd", "traefik": "traefik-auth",
}

// filterRow, filterShown and filterTested are what `bailiff filter --json` prints; their keys are documented in bailiff(1)
// and stay.
type filterRow struct {
	Name        string      `json:"name"`
	Description string      `json:"description"`
	File        string      `json:"file"`
	Builtin     bool        `json:"builtin"`
	Overrides   []string    `json:"overrides"`
	State       string      `json:"state"` // "on", "idle", "off", "broken" or "unknown"
	Jails       []filterUse `json:"jails"`
	Modes       []string    `json:"modes"`
	Units       []string    `json:"units"`   // that it trusts, slices of instances included
	Present     []string    `json:"present"` // of these, by their real names, what the host has; null: systemd does not say
	Other       []string    `json:"other"`   // containers and users' units that it trusts
	Patterns    int         `json:"patterns"`
	Tests       int         `json:"tests"`
	Error       *string     `json:"error"` // why it is refused
}

type filterUse struct {
	Jail    string `json:"jail"`
	Mode    string `json:"mode"`
	Enabled bool   `json:"enabled"`
}

// trusted are the additions of a configuration, or of the installed one. One that is refused adds nothing, which is said.
func (e *env) trusted(conf string) map[string]filter.Additions {
	c, err := loadConfig(conf)
	if err != nil {
		fmt.Fprintln(e.err, "note: the configuration is refused, so whom its jails trust besides the filters' own units is not known: bailiff check")
	}
	return additions(c)
}

// additions are what the enabled jails of a configuration add to the trust of their filters, by filter. c may be nil.
func additions(c *config.Config) map[string]filter.Additions {
	added := make(map[string]filter.Additions)
	if c == nil {
		return added
	}
	for _, j := range c.Jails {
		if j.Enabled {
			a := added[j.Filter.Name]
			a.Units, a.Containers, a.UserUnits = append(a.Units, j.Trust.Units...), append(a.Containers, j.Trust.Containers...), append(a.UserUnits, j.Trust.UserUnits...)
			a.Exe, a.AnyExe = append(a.Exe, j.Trust.Exe...), a.AnyExe || j.Trust.AnyExe
			added[j.Filter.Name] = a
		}
	}
	return added
}

func (r *filterCommand) list() error {
	all, err := r.files()
	if err != nil {
		return err
	}
	// A configuration that is refused does not keep the filters from being listed: which of them are on is not known then.
	c, confErr := loadConfig(r.conf)
	uses := make(map[string][]filterUse)
	added := additions(c)
	var units []string
	if confErr == nil {
		for _, j := range c.Jails {
			uses[j.Filter.Name] = append(uses[j.Filter.Name], filterUse{j.Name, j.Mode, j.Enabled})
			if j.Enabled {
				units = append(units, j.Trust.Units...)
			}
		}
	}
	present := r.present(all, units)
	rows := []filterRow{}
	for i := range all {
		x := &all[i]
		row := filterRow{Name: x.Name, File: x.File, Builtin: x.Builtin, Overrides: orEmpty(x.Hides), Jails: orEmpty(uses[x.Name]), Modes: []string{}, Units: []string{}, Other: []string{}, State: "broken"}
		if f := x.Filter; f != nil {
			t := f.With(added[x.Name]).Trust()
			row.Description, row.Modes, row.Patterns, row.Tests = f.Description, f.Modes, names(f.Patterns()), f.Tests()
			row.Units = t.Names()
			for _, c := range t.Containers {
				row.Other = append(row.Other, "container "+c)
			}
			for _, u := range t.UserUnits {
				row.Other = append(row.Other, "user unit "+u.String())
			}
			if present != nil {
				row.Present = []string{}
				for _, u := range row.Units {
					if real := present[u]; real != "" && !slices.Contains(row.Present, real) {
						row.Present = append(row.Present, real)
					}
				}
			}
			switch on := slices.ContainsFunc(row.Jails, func(u filterUse) bool { return u.Enabled }); {
			case confErr != nil:
				row.State = "unknown"
			case !on:
				row.State = "off"
			case present != nil && len(row.Present)+len(row.Other) == 0:
				row.State = "idle"
			default:
				row.State = "on"
			}
		} else {
			text := x.Err.Error()
			row.Error = &text
		}
		rows = append(rows, row)
	}
	if r.json {
		return printJSON(r.out, rows)
	}
	r.table(rows, present != nil)
	if confErr != nil {
		fmt.Fprintln(r.err, "note: which filters are on cannot be told, since the configuration is refused: bailiff check")
	}
	return nil
}

func (r *filterCommand) table(rows []filterRow, known bool) {
	t := [][]string{{"FILTER", "STATE", "MODES", "PATTERNS", "FROM", "UNITS"}}
	if !known {
		t[0][5] = "TRUSTS"
	}
	broken := 0
	for i := range rows {
		x := &rows[i]
		var modes []string
		for _, m := range x.Modes {
			if slices.ContainsFunc(x.Jails, func(u filterUse) bool { return u.Mode == m && u.Enabled }) {
				m += "*"
			}
			modes = append(modes, m)
		}
		from := "built in"
		if !x.Builtin {
			from = clean(x.File)
		}
		units := x.Units
		if known {
			units = x.Present
		}
		units = append(slices.Clone(units), x.Other...)
		where := few(units, 3)
		if known && x.Error == nil && len(units) == 0 {
			where = "(none on this host)"
		}
		if x.Error != nil {
			where = "refused: bailiff filter test " + x.Name
			broken++
		}
		t = append(t, []string{x.Name, x.State, strings.Join(modes, " "), fmt.Sprint(x.Patterns), from, where})
	}
	table(r.out, t)
	fmt.Fprintf(r.out, "\n%s; * the mode in use; on: it works here, idle: no unit of this host is its, off: no jail uses it\n", plural(len(rows), "filter"))
	if broken > 0 {
		fmt.Fprintf(r.out, "%s refused\n", r.paint(red, plural(broken, "filter")))
	}
}

// few writes the first words of a list, and how many more there are.
func few(l []string, most int) string {
	if len(l) > most+1 {
		return clean(strings.Join(l[:most], " ")) + fmt.Sprintf(" and %d more", len(l)-most)
	}
	return clean(strings.Join(l, " "))
}

// names counts patterns: one may consist of several templates.
func names(ps []*filter.Pattern) int {
	seen := make(map[string]bool)
	for _, p := range ps {
		seen[p.Name] = true
	}
	return len(seen)
}

// present asks systemd which of the trusted units the host has; nil when it does not say.
func (r *filterCommand) present(all []config.FilterFile, units []string) map[string]string {
	for i := range all {
		if f := all[i].Filter; f != nil {
			t := f.Trust()
			units = append(units, t.Names()...)
		}
	}
	slices.Sort(units)
	found, err := manager.Find(r.ctx, slices.Compact(units))
	if err != nil {
		return nil
	}
	return found
}

// texts are the texts of a list's items.
func texts[T fmt.Stringer](l []T) []string {
	s := []string{}
	for _, x := range l {
		s = append(s, x.String())
	}
	return s
}

func orEmpty[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

type filterShown struct {
	Name        string              `json:"name"`
	Description string              `json:"description"`
	Notes       string              `json:"notes"`
	File        string              `json:"file"`
	Builtin     bool                `json:"builtin"`
	Overrides   []string            `json:"overrides"`
	Jail        string              `json:"jail"` // "auto", or "off": none until the configuration names it
	Trust       shownTrust          `json:"trust"`
	Prefix      []string            `json:"prefix"`
	CorrelateBy string              `json:"correlate_by"` // "process" or "address"
	Parallel    bool                `json:"parallel_logins"`
	Guests      []string            `json:"guests"`
	Modes       []string            `json:"modes"`
	Includes    map[string][]string `json:"includes"` // of each mode: itself, and the modes whose patterns it has, too
	Patterns    []shownPattern      `json:"patterns"`
	Tests       int                 `json:"tests"`
}

type shownTrust struct {
	Units       []string `json:"units"`
	Slices      []string `json:"slices"`
	Containers  []string `json:"containers"`
	UserUnits   []string `json:"user_units"`
	UIDs        []int64  `json:"uids"` // beside those of uid
	UID         string   `json:"uid"`  // "system", "any" or "list"
	Exe         []string `json:"exe"`  // empty: any
	Identifiers []string `json:"identifiers"`
	Require     string   `json:"require"` // "message" or "line"
}

type shownPattern struct {
	Name     string   `json:"name"`
	Kind     string   `json:"kind"`
	Modes    []string `json:"modes"` // empty: all
	Text     string   `json:"text"`
	Regexp   bool     `json:"regexp"`
	Stage    int      `json:"stage"` // 15 is the last stage, "end"
	Weight   int      `json:"weight"`
	MaxRetry int      `json:"max_retry"` // 0: the jail's
	Require  string   `json:"require"`   // "message" or "line"
	Invalid  bool     `json:"invalid_user"`

	Provisional  string `json:"provisional"` // "true", "false" or "without_user"
	AfterFailure bool   `json:"after_failure"`

	Line int `json:"line"`
}

func (r *filterCommand) show(name string) error {
	x, err := r.find(name)
	if err != nil {
		return err
	}
	if x.Data == nil {
		return x.Err
	}
	if !r.json {
		from := x.File
		if x.Builtin {
			from = "built in; a file /etc/bailiff/filters.d/" + name + ".yaml would take its place"
		}
		fmt.Fprintf(r.err, "# %s: %s\n", name, clean(from))
		for _, h := range x.Hides {
			fmt.Fprintf(r.err, "# in place of %s\n", clean(h))
		}
		if x.Err != nil {
			fmt.Fprintf(r.err, "# it is refused: bailiff filter test %s\n", name)
		}
		text := string(x.Data)
		if r.outTTY {
			lines := strings.Split(text, "\n")
			for i, l := range lines {
				lines[i] = clean(l)
			}
			text = strings.Join(lines, "\n")
		}
		_, err := fmt.Fprint(r.out, text)
		return err
	}
	if x.Err != nil {
		return x.Err
	}
	f, t := x.Filter, x.Filter.Trust()
	s := filterShown{
		Name: f.Name, Description: f.Description, Notes: f.Notes, File: x.File, Builtin: x.Builtin, Overrides: orEmpty(x.Hides),
		Trust: shownTrust{orEmpty(t.Units), orEmpty(t.Slices), orEmpty(t.Containers), texts(t.UserUnits), orEmpty(t.UIDs), "list", texts(t.Exe), orEmpty(t.Identifiers), required(t.RequireMessage)},
		Jail:  "auto", Prefix: orEmpty(f.Prefixes()), CorrelateBy: "process", Parallel: f.ParallelLogins, Guests: orEmpty(f.Guests), Modes: f.Modes, Includes: map[string][]string{}, Patterns: []shownPattern{}, Tests: f.Tests(),
	}
	if f.Off {
		s.Jail = "off"
	}
	if t.System {
		s.Trust.UID = "system"
	} else if t.AnyUID {
		s.Trust.UID = "any"
	}
	if f.CorrelatesByAddress() {
		s.CorrelateBy = "address"
	}
	for _, m := range f.Modes {
		s.Includes[m] = f.Includes(m)
	}
	for _, p := range f.Patterns() {
		provisional := strconv.FormatBool(p.Provisional)
		if p.ProvisionalWithoutUser {
			provisional = "without_user"
		}
		s.Patterns = append(s.Patterns, shownPattern{p.Name, p.Kind.String(), orEmpty(p.Modes), p.Text, p.Regexp, int(p.Stage), p.Weight, p.MaxRetry, required(p.RequireMessage), p.InvalidUser, provisional, p.AfterFailure, p.Line})
	}
	return printJSON(r.out, s)
}

// required is what a filter or a pattern accepts: whole messages only, or single lines of a stream too.
func required(message bool) string {
	if message {
		return "message"
	}
	return "line"
}

type filterTested struct {
	Name     string       `json:"name"`
	File     string       `json:"file"`
	OK       bool         `json:"ok"`
	Patterns int          `json:"patterns"`
	Tests    int          `json:"tests"`
	Errors   []checkError `json:"errors"`
}

// test runs all checks over filters, given by name or as files; over all of them when none is given.
func (r *filterCommand) test(args []string) error {
	var todo []config.FilterFile
	if len(args) == 0 {
		all, err := r.files()
		if err != nil {
			return err
		}
		todo = all
	}
	for _, a := range args {
		if strings.ContainsRune(a, '/') || strings.HasSuffix(a, ".yaml") {
			todo = append(todo, config.ReadFilterFile(a))
			continue
		}
		x, err := r.find(a)
		if err != nil {
			if _, e := os.Stat(a); e == nil {
				return (&diag.Error{Text: err.Error()}).WithHint("for the file write ./%s", a)
			}
			return err
		}
		todo = append(todo, *x)
	}
	results := []filterTested{}
	var failed []error
	for i := range todo {
		x := &todo[i]
		if x.Builtin && x.Err == nil { // an operator's own were tested as they were read
			x.Err = errors.Join(append(x.Filter.ForgeryTest(), x.Filter.SelfTest()...)...)
		}
		t := filterTested{Name: x.Name, File: x.File, OK: x.Err == nil, Errors: faults(x.Err)}
		if x.Filter != nil {
			t.Patterns, t.Tests = names(x.Filter.Patterns()), x.Filter.Tests()
		}
		results = append(results, t)
		if x.Err != nil {
			failed = append(failed, x.Err)
		}
	}
	if r.json {
		if err := printJSON(r.out, results); err != nil {
			return err
		}
		if len(failed) > 0 {
			return errSilent
		}
		return nil
	}
	for _, t := range results {
		what := r.paint(green, "good") + fmt.Sprintf(": %s, %s", plural(t.Patterns, "pattern"), plural(t.Tests, "test line"))
		if t.OK && t.Tests == 0 {
			what += " (lines that must match, and such that must not, would keep it so)"
		}
		if !t.OK {
			what = r.paint(red, "refused") + ": " + plural(len(t.Errors), "error")
		}
		fmt.Fprintf(r.out, "%s: %s\n", clean(cmp.Or(t.Name, t.File)), what)
	}
	return errors.Join(failed...)
}
