package filters

import (
	"fmt"
	"strconv"
	"strings"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/units/configdir"
)

// filterShown is what `bailiff filter show --json` prints. bailiff(1) documents its keys, which do not change.
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
	Interactive bool                `json:"interactive"`
	Twice       bool                `json:"written_twice"`
	Guests      []string            `json:"guests"`
	Modes       []string            `json:"modes"`
	Includes    map[string][]string `json:"includes"`  // of each mode: itself, and the modes whose patterns it has, too
	MaxRetry    int                 `json:"max_retry"` // 0: that of all jails
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
	Distinct     bool   `json:"distinct"`

	Line int `json:"line"`
}

func filterShow() *cli.Command {
	c := cli.New("show", "NAME", "print the file of a filter").WithJSON()
	c.Completes = cli.Filters
	conf := settings.Option(c)
	return c.Does(func(e *cli.Env, args []string) error {
		x, err := find(*conf, args[0])
		switch {
		case err != nil:
			return err
		case x.Data == nil, e.JSON && x.Err != nil:
			return x.Err
		}
		if e.JSON {
			return cli.WriteJSON(e.Out, newFilterShown(x))
		}
		return printFilter(e, x)
	})
}

// printFilter prints the file as it is, so that it can be the beginning of another one; remarks about it go to standard error.
func printFilter(e *cli.Env, x *configdir.FilterFile) error {
	from := x.File
	if x.Builtin {
		from = "built in; a file /etc/bailiff/filters.d/" + x.Name + ".yaml would replace it"
	}
	fmt.Fprintf(e.Err, "# %s: %s\n", x.Name, text.Clean(from))
	for _, h := range x.Hides {
		fmt.Fprintf(e.Err, "# replaces %s\n", text.Clean(h))
	}
	if x.Err != nil {
		fmt.Fprintf(e.Err, "# it has errors: bailiff filter test %s\n", x.Name)
	}
	data := string(x.Data)
	if e.OutTTY {
		lines := strings.Split(data, "\n")
		for i, l := range lines {
			lines[i] = text.Clean(l)
		}
		data = strings.Join(lines, "\n")
	}
	_, err := fmt.Fprint(e.Out, data)
	return err
}

func newFilterShown(x *configdir.FilterFile) *filterShown {
	f, t := x.Filter, x.Filter.Trust()
	s := filterShown{
		Name: f.Name, Description: f.Description, Notes: f.Notes, File: x.File, Builtin: x.Builtin, Overrides: orEmpty(x.Hides),
		Trust: shownTrust{orEmpty(t.Units), orEmpty(t.Slices), orEmpty(t.Containers), texts(t.UserUnits), orEmpty(t.UIDs), "list", texts(t.Exe), orEmpty(t.Identifiers), required(t.RequireMessage)},
		Jail:  "auto", Prefix: orEmpty(f.Prefixes()), CorrelateBy: "process", Parallel: f.ParallelLogins, Interactive: f.Interactive, Twice: f.WrittenTwice, Guests: orEmpty(f.Guests), Modes: f.Modes, Includes: map[string][]string{}, MaxRetry: f.MaxRetry, Patterns: []shownPattern{}, Tests: f.Tests(),
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
		s.Patterns = append(s.Patterns, shownPattern{p.Name, p.Kind.String(), orEmpty(p.Modes), p.Text, p.Regexp, int(p.Stage), p.Weight, p.MaxRetry, required(p.RequireMessage), p.InvalidUser, provisional, p.AfterFailure, p.Distinct, p.Line})
	}
	return &s
}

// required is what a filter or a pattern accepts: whole messages only, or single lines of a stream, too.
func required(message bool) string {
	if message {
		return "message"
	}
	return "line"
}

// texts are the texts of a list's items.
func texts[T fmt.Stringer](l []T) []string {
	s := []string{}
	for _, x := range l {
		s = append(s, x.String())
	}
	return s
}
