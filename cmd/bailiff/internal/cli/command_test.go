package cli_test

import (
	"fmt"
	"strings"
	"testing"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/cli/clitest"
)

// pets is a group of two verbs that print what they were called with.
func pets() *cli.Command {
	verb := func(name, args string) *cli.Command {
		c := cli.New(name, args, "do something with pets").WithJSON()
		food := c.Flags.String("food", "", "give them this `FOOD`")
		loud := c.Flags.Bool("loud", false, "make noise")
		c.Run = func(e *cli.Env, args []string) error {
			e.Printf("%s %q food=%s loud=%v json=%v", name, args, *food, *loud, e.JSON)
			return nil
		}
		return c
	}
	g := cli.Group("pets", "look after pets", verb("feed", "PET… "), verb("list", "[PET]"))
	g.Pick = func(args []string, given func(string) bool) string {
		if len(args) == 0 && !given("loud") {
			return "list"
		}
		return ""
	}
	return g
}

func TestArguments(t *testing.T) {
	for typed, want := range map[string]string{
		"pets":                             `list [] food= loud=false json=false`,
		"pets --json":                      `list [] food= loud=false json=true`,
		"pets feed cat":                    `feed ["cat"] food= loud=false json=false`,
		"pets feed cat --food fish dog":    `feed ["cat" "dog"] food=fish loud=false json=false`,
		"pets --food feed feed --loud cat": `feed ["cat"] food=feed loud=true json=false`,
		"pets feed -- --loud":              `feed ["--loud"] food= loud=false json=false`,
		"pets list cat dog":                `pets list: unexpected argument "dog"`,
		"pets feed":                        `pets feed: missing PET…`,
		"pets wash":                        `pets: unknown command "wash", expected feed or list`,
		"pets --loud":                      `pets: expected feed or list`,
		"pets feed --frob cat":             `pets feed: unknown option --frob`,
		"pets feed cat --food":             `pets feed: option --food needs a value`,
		"pets feed --loud=perhaps cat":     `pets feed: invalid boolean value "perhaps" for option --loud`,
		"pet":                              `did you mean "pets"?`,
		"help pets feed":                   "usage: bailiff pets feed [OPTION]… PET…\nDo something with pets.\n\n  --food FOOD  give them this FOOD\n  --json       print JSON\n  --loud       make noise\n",
		"pets -h":                          "usage: bailiff pets COMMAND",
		"pets feed -h":                     "usage: bailiff pets feed",
	} {
		out, err, status := clitest.Run(t, pets(), strings.Fields(typed)...)
		if !strings.Contains(out+err, want) || (status == 0) != (err == "") {
			t.Errorf("%s: status %d\n%s%s\nwant %s", typed, status, out, err, want)
		}
	}
}

// TestErrors: each kind of error has its exit status.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		stderr string
	}{
		{nil, 0, ""}, {cli.ErrSilent, 1, ""}, {cli.ExitStatus(4), 4, ""}, {cli.Usagef("x: no"), 2, "bailiff: x: no\n"}, {fmt.Errorf("broken"), 1, "bailiff: broken\n"},
		{cli.WithHint(fmt.Errorf("broken"), "repair %s", "it"), 1, "bailiff: broken\nhint: repair it\n"},
	} {
		x := cli.New("x", "", "fail")
		x.Run = func(*cli.Env, []string) error { return c.err }
		if out, stderr, status := clitest.Run(t, x, "x"); status != c.status || out != "" || stderr != c.stderr {
			t.Errorf("%v: %d %q %q", c.err, status, out, stderr)
		}
	}
}
