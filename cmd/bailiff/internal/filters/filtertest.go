package filters

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/diag"
	"bailiff/units/configdir"
)

// filterTested is an element of what `bailiff filter test --json` prints. bailiff(1) documents its keys, which do not change.
type filterTested struct {
	Name     string           `json:"name"`
	File     string           `json:"file"`
	OK       bool             `json:"ok"`
	Patterns int              `json:"patterns"`
	Tests    int              `json:"tests"`
	Errors   []settings.Fault `json:"errors"`
}

func filterTest() *cli.Command {
	c := cli.New("test", "[NAME|FILE]…", "run all checks on filters, all of them by default").WithJSON()
	c.Completes = cli.Filters
	conf := settings.Option(c)
	return c.Does(func(e *cli.Env, args []string) error {
		chosen, err := chooseFilters(*conf, args)
		if err != nil {
			return err
		}
		results := []filterTested{}
		var failed []error
		for i := range chosen {
			x := &chosen[i]
			if x.Builtin && x.Err == nil { // an operator's own were tested as they were read
				x.Err = errors.Join(append(x.Filter.ForgeryTest(), x.Filter.SelfTest()...)...)
			}
			t := filterTested{Name: x.Name, File: x.File, OK: x.Err == nil, Errors: settings.Faults(x.Err)}
			if x.Filter != nil {
				t.Patterns, t.Tests = countPatterns(x.Filter.Patterns()), x.Filter.Tests()
			}
			results = append(results, t)
			if x.Err != nil {
				failed = append(failed, x.Err)
			}
		}
		err = e.Print(results, func() { printTested(e, results) })
		if err == nil && e.JSON && len(failed) > 0 {
			return cli.ErrSilent
		}
		return cmp.Or(err, errors.Join(failed...))
	})
}

// chooseFilters finds filters by name or file; without any, all there are.
func chooseFilters(conf string, args []string) (chosen []configdir.FilterFile, err error) {
	if len(args) == 0 {
		return files(conf)
	}
	for _, a := range args {
		x, err := find(conf, a)
		if err != nil {
			if _, e := os.Stat(a); e == nil {
				return nil, (&diag.Error{Text: err.Error()}).WithHint("for the file write ./%s", a)
			}
			return nil, err
		}
		chosen = append(chosen, *x)
	}
	return chosen, nil
}

func printTested(e *cli.Env, results []filterTested) {
	for _, t := range results {
		what := e.Paint(cli.Green, "good") + fmt.Sprintf(": %s, %s", diag.Count(t.Patterns, "pattern"), diag.Count(t.Tests, "test line"))
		if t.OK && t.Tests == 0 {
			what += " (add some lines that must match and some that must not)"
		}
		if !t.OK {
			what = e.Paint(cli.Red, "not good") + ": " + diag.Count(len(t.Errors), "error")
		}
		e.Printf("%s: %s\n", text.Clean(cmp.Or(t.Name, t.File)), what)
	}
}
