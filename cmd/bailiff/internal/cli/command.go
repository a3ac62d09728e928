// Package cli is the frame of the operator's command. A Command declares what a command takes: name, arguments, options,
// one line of help. Usage, -h, shell completion and the manual page's synopsis are derived from it; Main reads the
// arguments, runs the command and turns its error into an exit status. It knows no command itself.
//
// It stands on the standard library's flag package: kong or cobra would add a megabyte and 20 modules to do the same.
// Start reading with Command.
package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Command is a command, or a group of commands ("verbs") that share a name. Make one with New or Group.
type Command struct {
	Name  string
	Args  string        // synopsis of the arguments, "ADDRESS… [FILE]": their number follows from it
	Short string        // one line of help: a verb in the imperative, no final dot
	Flags *flag.FlagSet // options; the name in backquotes in a usage text is the value's placeholder, and decides how shells complete it
	Run   func(e *Env, args []string) error

	// Completes says what shells offer for the arguments, besides files where a word of Args is FILE.
	Completes Words

	Verbs []*Command // of a group
	// Pick chooses the verb of a group if a call names none; "" refuses the call. given reports which options it has. nil: every call has
	// to name a verb.
	Pick func(args []string, given func(option string) bool) string

	group  string // the group's name
	json   *bool
	socket *string
}

// Words are things that shells complete by asking this program.
type Words string

// What arguments and values of options may be.
const (
	Banned       Words = "banned"       // prefixes of bans in effect
	Allowed      Words = "allowed"      // prefixes of the allow list
	Filters      Words = "filters"      // names of filters
	Jails        Words = "jails"        // names of jails
	Destinations Words = "destinations" // of reports
	Services     Words = "services"     // of this host
)

// New makes a command without options.
func New(name, args, short string) *Command {
	return &Command{Name: name, Args: args, Short: short, Flags: quietFlags(name)}
}

// quietFlags makes a set of options that writes nothing itself.
func quietFlags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	return f
}

// Group makes a group of commands.
func Group(name, short string, verbs ...*Command) *Command {
	c := New(name, "", short)
	c.Verbs = verbs
	for _, v := range verbs {
		v.group = name
	}
	return c
}

// WithJSON adds the option --json, which sets Env.JSON.
func (c *Command) WithJSON() *Command {
	c.json = c.Flags.Bool("json", false, "print JSON")
	return c
}

// WithSocket adds the option --socket, which sets Env.Socket.
func (c *Command) WithSocket(path string) *Command {
	c.socket = c.Flags.String("socket", path, "`PATH` of the control socket")
	return c
}

// Does sets Run.
func (c *Command) Does(run func(e *Env, args []string) error) *Command {
	c.Run = run
	return c
}

// List adds an option that may be given several times.
func (c *Command) List(name, usage string) *[]string {
	l := new([]string)
	c.Flags.Func(name, usage+Repeatable, func(s string) error { *l = append(*l, s); return nil })
	return l
}

// Repeatable ends the usage of an option that may be given several times.
const Repeatable = "; may be repeated"

// Boolean reports whether an option takes no value.
func Boolean(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// FullName is the name with that of the group: "allow add".
func (c *Command) FullName() string { return strings.TrimSpace(c.group + " " + c.Name) }

// call runs the command with the words behind its name.
func (c *Command) call(e *Env, words []string) error {
	if len(c.Verbs) > 0 {
		verb, rest, err := c.verb(words)
		if errors.Is(err, flag.ErrHelp) {
			c.help(e.Out)
		}
		if err != nil {
			return err
		}
		return verb.call(e, rest)
	}
	args, _, err := parse(c.Flags, words)
	if errors.Is(err, flag.ErrHelp) {
		c.help(e.Out)
		return err
	}
	if err != nil {
		return c.usageError(err)
	}
	if err := c.checkArgs(args); err != nil {
		return err
	}
	if c.json != nil {
		e.JSON = *c.json
	}
	if c.socket != nil {
		e.Socket = *c.socket
	}
	return c.Run(e, args)
}

// verb finds the verb among the words of a group, which may stand behind options, and returns it with the other words.
func (c *Command) verb(words []string) (*Command, []string, error) {
	// The options of all verbs together tell option values from arguments.
	all := quietFlags(c.Name)
	given := map[string]bool{}
	for _, v := range c.Verbs {
		v.Flags.VisitAll(func(f *flag.Flag) {
			note := func(string) error { given[f.Name] = true; return nil }
			switch {
			case all.Lookup(f.Name) != nil:
			case Boolean(f):
				all.BoolFunc(f.Name, "", note)
			default:
				all.Func(f.Name, "", note)
			}
		})
	}
	args, first, err := parse(all, words)
	if v := c.named(append(args, "")[0]); v != nil {
		return v, slices.Delete(slices.Clone(words), first, first+1), nil
	}
	if errors.Is(err, flag.ErrHelp) {
		return nil, nil, err
	}
	if err != nil {
		return nil, nil, c.usageError(err)
	}
	if c.Pick != nil {
		v := c.named(c.Pick(args, func(option string) bool { return given[option] }))
		if v != nil && (len(args) == 0 || takesArgs(v)) { // else the argument was meant as a verb
			return v, words, nil
		}
	}
	if len(args) == 0 {
		return nil, nil, Usagef("%s: expected %s (bailiff %s -h)", c.Name, c.verbNames(), c.Name)
	}
	return nil, nil, Usagef("%s: unknown command %q, expected %s (bailiff %s -h)", c.Name, args[0], c.verbNames(), c.Name)
}

// named returns the verb of a name, nil if there is none.
func (c *Command) named(name string) *Command {
	if i := slices.IndexFunc(c.Verbs, func(v *Command) bool { return v.Name == name }); i >= 0 {
		return c.Verbs[i]
	}
	return nil
}

func (c *Command) verbNames() string {
	var names []string
	for _, v := range c.Verbs {
		names = append(names, v.Name)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// parse reads options and returns the arguments between and behind them, and the place of the first one. "--" ends the
// options.
func parse(f *flag.FlagSet, words []string) (args []string, first int, err error) {
	left := words
	for {
		if err := f.Parse(left); err != nil {
			return args, first, err
		}
		rest := f.Args()
		if len(rest) == 0 {
			return args, first, nil
		}
		if len(args) == 0 {
			first = len(words) - len(rest)
		}
		if n := len(left) - len(rest); n > 0 && left[n-1] == "--" {
			return append(args, rest...), first, nil
		}
		args, left = append(args, rest[0]), rest[1:]
	}
}

// checkArgs compares the number of arguments with the synopsis.
func (c *Command) checkArgs(args []string) error {
	least, most := bounds(c.Args)
	if len(args) < least {
		return Usagef("%s: missing %s (bailiff %s -h)", c.FullName(), strings.Fields(c.Args)[len(args)], c.FullName())
	}
	if most >= 0 && len(args) > most {
		return Usagef("%s: unexpected argument %q (bailiff %s -h)", c.FullName(), args[most], c.FullName())
	}
	return nil
}

func takesArgs(c *Command) bool { _, most := bounds(c.Args); return most != 0 }

// bounds reads the number of arguments from a synopsis: a word in brackets is optional, one with an ellipsis may be
// repeated (most is -1 then).
func bounds(synopsis string) (least, most int) {
	for _, word := range strings.Fields(synopsis) {
		if !strings.HasPrefix(word, "[") {
			least++
		}
		if most++; strings.HasSuffix(strings.TrimSuffix(word, "]"), "…") {
			return least, -1
		}
	}
	return least, most
}

// usageError words an error of package flag as an operator knows options.
func (c *Command) usageError(err error) error {
	s := err.Error()
	if name, ok := strings.CutPrefix(s, "flag provided but not defined: -"); ok {
		s = "unknown option --" + name
	} else if name, ok := strings.CutPrefix(s, "flag needs an argument: -"); ok {
		s = fmt.Sprintf("option --%s needs a value", name)
	} else {
		s = strings.Replace(s, " for flag -", " for option --", 1)
		s = strings.Replace(s, " for -", " for option --", 1)
	}
	return Usagef("%s: %s (bailiff %s -h)", c.FullName(), s, c.FullName())
}
