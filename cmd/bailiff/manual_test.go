package main

import (
	"bytes"
	"flag"
	"fmt"
	"regexp"
	"strings"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
)

// synopsis is the synopsis of the manual page in scdoc(5)'s language: an entry for each command, without common options.
func synopsis(commands []*cli.Command) []byte {
	var b bytes.Buffer
	all := leaves(commands)
	for i, c := range all {
		fmt.Fprintf(&b, "*bailiff %s*", c.FullName())
		column := len("bailiff ") + len(c.FullName())
		put := func(s string) {
			sep := " "
			if column+1+len(s) > maxColumn {
				sep, column = "\n", 0
				if strings.HasPrefix(s, "[") {
					s = `\` + s // else it would begin a table
				}
			}
			b.WriteString(sep + s)
			column += 1 + len(s)
		}
		for _, f := range options(c) {
			if common(f) {
				continue
			}
			s := "*--" + f.Name + "*"
			if p := cli.Placeholder(f); p != "" {
				s += " _" + p + "_"
			}
			s = "[" + s + "]"
			if repeatable(f) {
				s += "..."
			}
			put(s)
		}
		for _, word := range strings.Fields(c.Args) {
			put(strings.ReplaceAll(placeholder.ReplaceAllString(word, "_${0}_"), "…", "..."))
		}
		if i < len(all)-1 {
			b.WriteString("++")
		}
		b.WriteString("\n")
	}
	return b.Bytes()
}

// common reports the options that most commands have; the page explains them once.
func common(f *flag.Flag) bool { return f.Name == "json" || f.Name == "socket" }

// maxColumn is where lines of the manual page's source end.
const maxColumn = 96

var placeholder = regexp.MustCompile(`[A-Z]+`)

// optionTables are the tables of options of the manual page: of each command those that are its own.
func optionTables(commands []*cli.Command) []byte {
	var b bytes.Buffer
	for _, c := range leaves(commands) {
		var rows []string
		for _, f := range options(c) {
			if common(f) {
				continue
			}
			rows = append(rows, optionRow(f))
		}
		if len(rows) > 0 {
			fmt.Fprintf(&b, "## %s\n\n|[ *Option*\n:< *Meaning*\n%s\n", c.FullName(), strings.Join(rows, ""))
		}
	}
	return append(bytes.TrimRight(b.Bytes(), "\n"), "\n\n"...) // a comment that does not begin its line is text
}

func optionRow(f *flag.Flag) string {
	name := "*--" + f.Name + "*"
	if p := cli.Placeholder(f); p != "" {
		name += " _" + p + "_"
	}
	meaning := strings.NewReplacer(`\`, `\\`, "_", `\_`, "*", `\*`).Replace(cli.OptionText(f))
	return fmt.Sprintf("|  %s\n:  %s\n", name, strings.Join(text.Wrap(meaning, maxColumn-3), "\n   "))
}

// replacePart puts generated text between two comments of the manual page: "; begin NAME" and "; end NAME".
func replacePart(page []byte, name string, text []byte) ([]byte, error) {
	begin, end := []byte("; begin "+name+"\n"), []byte("; end "+name+"\n")
	i, j := bytes.Index(page, begin), bytes.Index(page, end)
	if i < 0 || j < i {
		return nil, fmt.Errorf("the manual page has no part %q", name)
	}
	i += len(begin)
	return bytes.Join([][]byte{page[:i], text, page[j:]}, nil), nil
}
