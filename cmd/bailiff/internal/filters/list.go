package filters

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/units/configdir"
	"bailiff/units/manager"
)

// filterRow is a line of `bailiff filter list --json`. bailiff(1) documents its keys, which do not change.
type filterRow struct {
	Name        string      `json:"name"`
	Description string      `json:"description"`
	File        string      `json:"file"`
	Builtin     bool        `json:"builtin"`
	Overrides   []string    `json:"overrides"`
	State       string      `json:"state"` // "on", "idle", "off", "broken" or "unknown"
	Jails       []filterUse `json:"jails"`
	Modes       []string    `json:"modes"`
	Units       []string    `json:"units"`   // trusted, slices of instances included
	Present     []string    `json:"present"` // the trusted units that the host has, by their real names; null: systemd does not say
	Other       []string    `json:"other"`   // trusted containers and users' units
	Patterns    int         `json:"patterns"`
	Tests       int         `json:"tests"`
	Error       *string     `json:"error"` // why it cannot be used
}

type filterUse struct {
	Jail    string `json:"jail"`
	Mode    string `json:"mode"`
	Enabled bool   `json:"enabled"`
}

func filterList() *cli.Command {
	c := cli.New("list", "", "list all filters with their state").WithJSON()
	conf := settings.Option(c)
	return c.Does(func(e *cli.Env, _ []string) error {
		all, err := files(*conf)
		if err != nil {
			return err
		}
		// Filters are listed under a configuration with errors, too; which of them are on is not known then.
		loaded, confErr := settings.Load(*conf)
		rows, known := listFilters(e.Ctx, all, loaded, confErr == nil)
		err = e.Print(rows, func() { printFilters(e, rows, known) })
		if confErr != nil && !e.JSON {
			e.Notef("the configuration has errors, so which filters are on is not known: bailiff check")
		}
		return err
	})
}

// listFilters describes all filters. known reports whether systemd said which units the host has.
func listFilters(ctx context.Context, all []configdir.FilterFile, c *config.Config, valid bool) (rows []filterRow, known bool) {
	uses := map[string][]filterUse{}
	added := settings.Additions(c)
	var units []string
	if valid {
		for _, j := range c.Jails {
			uses[j.Filter.Name] = append(uses[j.Filter.Name], filterUse{j.Name, j.Mode, j.Enabled})
			if j.Enabled {
				units = append(units, j.Trust.Units...)
			}
		}
	}
	present := presentUnits(ctx, all, units)
	rows = []filterRow{}
	for i := range all {
		x := &all[i]
		row := filterRow{Name: x.Name, File: x.File, Builtin: x.Builtin, Overrides: orEmpty(x.Hides), Jails: orEmpty(uses[x.Name]), Modes: []string{}, Units: []string{}, Other: []string{}, State: "broken"}
		if x.Filter != nil {
			row.describe(x.Filter.With(added[x.Name]), present, valid)
		} else {
			text := x.Err.Error()
			row.Error = &text
		}
		rows = append(rows, row)
	}
	return rows, present != nil
}

// describe fills in what a usable filter says. present are the units of the host, nil if not known.
func (row *filterRow) describe(f *filter.Filter, present map[string]string, valid bool) {
	t := f.Trust()
	row.Description, row.Modes, row.Patterns, row.Tests = f.Description, f.Modes, countPatterns(f.Patterns()), f.Tests()
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
	case !valid:
		row.State = "unknown"
	case !on:
		row.State = "off"
	case present != nil && len(row.Present)+len(row.Other) == 0:
		row.State = "idle"
	default:
		row.State = "on"
	}
}

func printFilters(e *cli.Env, rows []filterRow, known bool) {
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
			from = text.Clean(x.File)
		}
		units := x.Units
		if known {
			units = x.Present
		}
		units = append(slices.Clone(units), x.Other...)
		where := text.Some(units, 3)
		if known && x.Error == nil && len(units) == 0 {
			where = "(none on this host)"
		}
		if x.Error != nil {
			where = "errors: bailiff filter test " + x.Name
			broken++
		}
		t = append(t, []string{x.Name, x.State, strings.Join(modes, " "), fmt.Sprint(x.Patterns), from, where})
	}
	e.Table(t)
	e.Printf("\n%s; * marks the mode in use; on: a jail uses it, idle: this host has none of its units, off: no jail uses it\n", diag.Count(len(rows), "filter"))
	if broken > 0 {
		e.Printf("%s with errors\n", e.Paint(cli.Red, diag.Count(broken, "filter")))
	}
}

// presentUnits asks systemd which of the trusted units the host has, and by which names; nil if it does not say.
func presentUnits(ctx context.Context, all []configdir.FilterFile, units []string) map[string]string {
	for i := range all {
		if f := all[i].Filter; f != nil {
			t := f.Trust()
			units = append(units, t.Names()...)
		}
	}
	slices.Sort(units)
	found, err := manager.Find(ctx, slices.Compact(units))
	if err != nil {
		return nil
	}
	return found
}
