package cli

import (
	"flag"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"bailiff/cmd/bailiff/internal/text"
)

// Usage writes the list of commands.
func Usage(w io.Writer, commands []*Command) {
	fmt.Fprint(w, "usage: bailiff COMMAND [OPTION]… [ARGUMENT]…\n\n")
	var rows [][2]string
	for _, c := range commands {
		rows = append(rows, [2]string{c.Name, c.Short})
		for _, v := range c.Verbs {
			rows = append(rows, [2]string{"  " + v.Name, v.Short})
		}
	}
	columns(w, rows)
	fmt.Fprint(w, "\nbailiff COMMAND -h shows the options of a command. Manual page: bailiff(1).\n")
}

// help writes the usage of one command: its own options, or its verbs.
func (c *Command) help(w io.Writer) {
	if len(c.Verbs) > 0 {
		fmt.Fprintf(w, "usage: bailiff %s COMMAND [OPTION]… [ARGUMENT]…\n%s\n\n", c.Name, sentence(c.Short))
		var rows [][2]string
		for _, v := range c.Verbs {
			rows = append(rows, [2]string{strings.TrimSpace(v.Name + " " + v.Args), v.Short})
		}
		columns(w, rows)
		fmt.Fprintf(w, "\nbailiff %s COMMAND -h shows the options of a command.\n", c.Name)
		return
	}
	options := ""
	var rows [][2]string
	c.Flags.VisitAll(func(f *flag.Flag) {
		options = "[OPTION]…"
		rows = append(rows, [2]string{strings.TrimSpace("--" + f.Name + " " + Placeholder(f)), OptionText(f)})
	})
	fmt.Fprintf(w, "usage: bailiff %s\n%s\n", strings.Join(strings.Fields(c.FullName()+" "+options+" "+c.Args), " "), sentence(c.Short))
	if len(rows) > 0 {
		fmt.Fprintln(w)
		columns(w, rows)
	}
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }

// Placeholder is the name of an option's value, "FILE"; "" where it takes none.
func Placeholder(f *flag.Flag) string {
	if Boolean(f) {
		return ""
	}
	name, _ := flag.UnquoteUsage(f)
	return name
}

// OptionText is what an option does, with its default.
func OptionText(f *flag.Flag) string {
	_, s := flag.UnquoteUsage(f)
	if f.DefValue != "" && !Boolean(f) {
		s += " (default: " + f.DefValue + ")"
	}
	return s
}

// columns writes names and their meanings side by side, wrapped for a terminal of 80 columns.
func columns(w io.Writer, rows [][2]string) {
	const total, longest = 80, 28
	wide := 0
	for _, r := range rows {
		if n := utf8.RuneCountInString(r[0]); n <= longest {
			wide = max(wide, n)
		}
	}
	for _, r := range rows {
		lines := text.Wrap(r[1], total-wide-4)
		if utf8.RuneCountInString(r[0]) > wide {
			fmt.Fprintf(w, "  %s\n", r[0])
			r[0] = ""
		}
		for i, l := range lines {
			if i > 0 {
				r[0] = ""
			}
			fmt.Fprintf(w, "  %s%s  %s\n", r[0], strings.Repeat(" ", wide-utf8.RuneCountInString(r[0])), l)
		}
	}
}
