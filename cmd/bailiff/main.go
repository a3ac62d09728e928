// Command bailiff is the operator's side of bailiff: it asks the daemon over its control socket, checks configuration
// and filters, and replays past journals. Each subcommand is a file of its own.
//
// Results go to stdout, everything else to stderr. Exit status: 0 done, 1 failed, 2 wrong usage, 3 the daemon does not run. Of
// status, 4 that bans are not in force and 5 other problems; of replay --compare, 4 that two configurations differ.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"bailiff/policy/diag"
	"bailiff/units/control"
)

// command is one subcommand. run gets the arguments behind its name.
type command struct {
	name, args, short string
	run               func(e *env, args []string) error
}

var commands []command

// init, since the commands' own help looks the list up.
func init() {
	commands = []command{
		{"status", "", "what the daemon does right now", runStatus},
		{"bans", "[PREFIX]", "bans in force", runBans},
		{"ban", "ADDRESS…", "ban addresses or prefixes by hand", runBan},
		{"unban", "ADDRESS… | --all", "lift bans", runUnban},
		{"allow", "[ADDRESS… | why ADDRESS | refresh]", "who is never banned: show, add, ask why, fetch published lists", runAllow},
		{"why", "ADDRESS", "why an address is banned, counted or allowed", runWhy},
		{"firewall", "[status | verify | repair | remove]", "what the firewall should hold, what it holds, and what differs", runFirewall},
		{"report", "[list | show | retry | drop | test]", "reports of bans: what waits, try again, drop, test, --dry-run", runReport},
		{"check", "", "check the configuration as the daemon would load it", runCheck},
		{"filter", "list | show NAME | test [FILE]…", "the filters: list them, show one, test them", runFilter},
		{"config", "", "the merged configuration with the origin of each setting", runConfig},
		{"reload", "", "load the configuration anew", runReload},
		{"import", "", "take over the configuration and bans of fail2ban", runImport},
		{"replay", "", "run the policy over past journal entries", runReplay},
		{"top", "", "a live view: attacks, bans, jails; q leaves", runTop},
		{"stats", "", "who attacks, how and when: past journal entries in numbers", runStats},
		{"match", "FILTER[:MODE] [FILE|-]", "try lines against a filter, and see how they went", runMatch},
		{"version", "", "print the version", runVersion},
	}
}

// env is what a subcommand works with.
type env struct {
	ctx            context.Context
	in             io.Reader
	out, err       io.Writer
	outTTY, errTTY bool
}

// Exit statuses.
const (
	exitFailed     = 1
	exitUsage      = 2
	exitNotRunning = 3
	exitDiffer     = 4 // replay --compare
	exitNoFirewall = 4 // status
	exitProblems   = 5 // status
)

// exitStatus ends the command with a status. What there is to say has been said.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// usageError is a call that makes no sense; the text says which.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// errSilent fails without a text: it has been said already.
var errSilent = errors.New("")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	e := &env{ctx: ctx, in: os.Stdin, out: os.Stdout, err: os.Stderr, outTTY: terminal(os.Stdout), errTTY: terminal(os.Stderr)}
	os.Exit(e.main(os.Args[1:]))
}

func terminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

func (e *env) main(args []string) int {
	if len(args) == 0 {
		e.usage(e.err)
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		e.usage(e.out)
		return 0
	case "-version", "--version":
		args[0] = "version"
	}
	for _, c := range commands {
		if c.name == args[0] {
			return e.report(c.run(e, args[1:]))
		}
	}
	var near []string
	for _, c := range commands {
		if strings.HasPrefix(c.name, args[0]) {
			near = append(near, strconv.Quote(c.name))
		}
	}
	hint := "bailiff help lists the commands"
	if len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	fmt.Fprintf(e.err, "bailiff: unknown command %q\nhint: %s\n", args[0], hint)
	return exitUsage
}

func (e *env) usage(w io.Writer) {
	fmt.Fprint(w, "usage: bailiff COMMAND [OPTION]… [ARGUMENT]…\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-38s %s\n", strings.TrimSpace(c.name+" "+c.args), c.short)
	}
	fmt.Fprint(w, "\nbailiff COMMAND -h lists the options of a command. See bailiff(1).\n")
}

// report tells an error with its hint and gives the exit status.
func (e *env) report(err error) int {
	var u *usageError
	var c *control.Error
	var status exitStatus
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case err == errSilent:
		return exitFailed
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &u):
		fmt.Fprintf(e.err, "bailiff: %s\n", u.text)
		return exitUsage
	case errors.As(err, &c):
		fmt.Fprintf(e.err, "bailiff: %v\n", err)
		if c.Hint != "" {
			fmt.Fprintf(e.err, "hint: %s\n", c.Hint)
		}
		if errors.Is(err, control.ErrNotRunning) {
			return exitNotRunning
		}
		return exitFailed
	}
	diag.Print(e.err, "bailiff", err)
	return exitFailed
}

// flags makes the flag set of a subcommand. Options may stand before and after the arguments.
func (e *env) flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	return f
}

// parse reads options and returns the arguments between and behind them. "--" ends the options.
func (e *env) parse(f *flag.FlagSet, args []string) ([]string, error) {
	var rest []string
	for {
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			for _, c := range commands {
				if c.name == f.Name() {
					fmt.Fprintf(e.out, "usage: bailiff %s\n%s\n\n", strings.TrimSpace(c.name+" [OPTION]… "+c.args), c.short)
				}
			}
			f.SetOutput(e.out)
			f.PrintDefaults()
			return nil, err
		} else if err != nil {
			return nil, usagef("%s: %v (bailiff %s -h lists the options)", f.Name(), err, f.Name())
		}
		left := f.Args()
		if len(left) == 0 {
			return rest, nil
		}
		if n := len(args) - len(left); n > 0 && args[n-1] == "--" {
			return append(rest, left...), nil
		}
		rest, args = append(rest, left[0]), left[1:]
	}
}

// want checks how many arguments there are.
func want(name string, args []string, least, most int) error {
	if len(args) < least {
		return usagef("%s: an argument is missing (bailiff %s -h)", name, name)
	}
	if most >= 0 && len(args) > most {
		return usagef("%s: %q is too much (bailiff %s -h)", name, args[most], name)
	}
	return nil
}
