package cli

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"

	"bailiff/policy/diag"
	"bailiff/units/control"
)

// Exit statuses that every command has in common. bailiff(1) documents them with those of single commands.
const (
	Failed     = 1
	WrongUsage = 2
	NotRunning = 3
)

// ExitStatus ends a command with a status and no message.
type ExitStatus int

func (s ExitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// ErrSilent fails without a text: the reason has been written.
const ErrSilent = ExitStatus(Failed)

// UsageError is a call that makes no sense.
type UsageError struct{ Text, Hint string }

func (e *UsageError) Error() string { return e.Text }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error { return &UsageError{Text: fmt.Sprintf(format, args...)} }

// WithHint adds what the user can do to an error.
func WithHint(err error, format string, args ...any) error {
	return (&diag.Error{Text: err.Error()}).WithHint(format, args...)
}

// Main runs the command that args name and returns the exit status. foreign finds our command for a call that another
// program would understand, "" if there is none.
func Main(e *Env, commands []*Command, foreign func(args []string) string, args []string) int {
	if len(args) == 0 {
		Usage(e.Err, commands)
		return WrongUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		return help(e, commands, args[1:])
	case "-version", "--version":
		args[0] = "version"
	}
	for _, c := range commands {
		if c.Name == args[0] {
			err := c.call(e, args[1:])
			if u := (&UsageError{}); errors.As(err, &u) && u.Hint == "" {
				u.Hint = cmp.Or(foreign(args), elsewhere(commands, c, args))
			}
			return e.report(err)
		}
	}
	hint := foreign(args)
	if hint == "" {
		hint = near(commands, args[0])
	}
	return e.report(&UsageError{fmt.Sprintf("unknown command %q", args[0]), hint})
}

// elsewhere is a hint to the command whose name was taken for a verb of a group: bailiff fleet why.
func elsewhere(commands []*Command, group *Command, args []string) string {
	if len(group.Verbs) == 0 || len(args) < 2 || group.named(args[1]) != nil {
		return ""
	}
	for _, c := range commands {
		if c.Name == args[1] {
			return strings.TrimSpace("bailiff "+c.Name+" "+c.Args) + ": " + c.Short
		}
	}
	return ""
}

// help is `bailiff help [COMMAND [VERB]]`.
func help(e *Env, commands []*Command, args []string) int {
	if len(args) == 0 {
		Usage(e.Out, commands)
		return 0
	}
	for _, c := range commands {
		if c.Name != args[0] {
			continue
		}
		cmp.Or(c.named(append(args, "")[1]), c).help(e.Out)
		return 0
	}
	return e.report(&UsageError{fmt.Sprintf("unknown command %q", args[0]), near(commands, args[0])})
}

// near is a hint to the commands that a misspelt one may mean.
func near(commands []*Command, word string) string {
	var names, begin []string
	for _, c := range commands {
		names = append(names, c.Name)
		if strings.HasPrefix(c.Name, word) {
			begin = append(begin, strconv.Quote(c.Name))
		}
	}
	if len(begin) == 0 {
		if n := diag.Near(word, names); n != "" {
			begin = []string{strconv.Quote(n)}
		}
	}
	if len(begin) == 0 {
		return "bailiff help lists the commands"
	}
	return "did you mean " + strings.Join(begin, " or ") + "?"
}

// report writes an error with its hint and returns the exit status.
func (e *Env) report(err error) int {
	var usage *UsageError
	var call *control.Error
	var status ExitStatus
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		e.complain(err, usage.Hint)
		return WrongUsage
	case errors.As(err, &call):
		e.complain(err, call.Hint)
		if errors.Is(err, control.ErrNotRunning) {
			return NotRunning
		}
		return Failed
	}
	diag.Print(e.Err, "bailiff", err)
	return Failed
}

func (e *Env) complain(err error, hint string) {
	fmt.Fprintf(e.Err, "bailiff: %v\n", err)
	if hint != "" {
		e.Hintf("%s", hint)
	}
}
