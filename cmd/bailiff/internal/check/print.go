package check

import (
	"fmt"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
)

// printServices writes the table of services, and below it what to change where a service with a jail that is on does not
// log to the journal. all: also where no jail is on.
func printServices(e *cli.Env, list []service, all bool) {
	if len(list) == 0 {
		return
	}
	rows := [][]string{{"SERVICE", "UNIT", "RUNNING", "JOURNAL", "JAILS"}}
	for _, s := range list {
		jails := strings.Join(s.On, ", ")
		switch {
		case jails == "":
			jails = "off: " + strings.Join(s.Off, ", ")
		case len(s.Off) > 0:
			jails += fmt.Sprintf(" (%d off)", len(s.Off))
		}
		rows = append(rows, []string{text.Clean(s.title()), text.Clean(s.Unit), s.state(), s.Journal, text.Clean(jails)})
	}
	columns, _ := e.Size()
	e.TableFitted(rows)
	var lines []string
	for i := range list {
		if len(list[i].On) > 0 || all {
			lines = append(lines, list[i].advice()...)
		}
	}
	if len(lines) == 0 {
		return
	}
	e.Printf("\n")
	for _, l := range lines {
		for _, part := range wrap(text.Clean(l), columns) {
			e.Printf("%s\n", part)
		}
	}
	e.Printf("\n")
}

// state is the table's word for whether the service runs.
func (s *service) state() string {
	switch {
	case s.Running:
		return "yes"
	case s.Socket:
		return "socket"
	}
	return "no"
}

// wrap breaks a line of words. What an operator copies, indented by four, stays whole.
func wrap(line string, columns int) (parts []string) {
	if strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "  then: ") || strings.HasPrefix(line, "  run: ") {
		return []string{line}
	}
	indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
	for _, part := range text.Wrap(line, columns-len(indent)-2) {
		parts = append(parts, indent+part)
		if len(parts) == 1 {
			indent += "  "
		}
	}
	return parts
}

// advice says what does not reach the journal, and what to change.
func (s *service) advice() (lines []string) {
	switch {
	case s.Journal == toJournal && len(s.Also) > 0:
		return []string{fmt.Sprintf("%s: logs to the journal, but not as set in %s", s.title(), some(s.Also))}
	case s.Journal == toJournal:
		return nil
	case s.Journal == unknown:
		lines = []string{s.title() + ": the journal has no entry of it yet"}
	case s.Journal == elsewhere:
		lines = []string{fmt.Sprintf("%s: logs to %s", s.title(), s.Where)}
	default:
		lines = []string{fmt.Sprintf("%s: nothing usable in the journal (%s)", s.title(), s.Where)}
	}
	if s.Part != "" {
		lines[0] += fmt.Sprintf("; only %s in the journal", isAre(s.Part))
	}
	c := s.Change
	if c == nil {
		return lines
	}
	if c.DropIn {
		lines = append(lines, "  bailiff check --fix "+s.Name+" writes a drop-in for "+s.Unit)
		if c.Note != "" {
			lines = append(lines, "  ("+c.Note+")")
		}
		return lines
	}
	lines = append(lines, c.text()...)
	if c.Old != "" && len(s.Also) > 0 {
		lines = append(lines, "  (the same in "+some(s.Also)+")")
	}
	return lines
}

// some names the first of a list of places.
func some(l []string) string {
	const most = 3
	if len(l) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(l[:most], ", "), len(l)-most)
	}
	return strings.Join(l, ", ")
}

func isAre(part string) string {
	if strings.HasSuffix(strings.Fields(part)[0], "s") {
		return part + " are"
	}
	return part + " is"
}

// text is a change in words.
func (c *change) text() (lines []string) {
	where := c.File
	if c.Line > 0 {
		where = fmt.Sprintf("%s:%d", c.File, c.Line)
	}
	if c.Old != "" && !slices.Contains(c.Lines, c.Old) {
		where += " (" + c.Old + ")"
	}
	switch {
	case len(c.Lines) == 0 && where != "":
		lines = append(lines, "  "+c.What+" "+where)
	case len(c.Lines) > 0 && where != "":
		lines = append(lines, "  in "+where+", "+c.What+":")
	case len(c.Lines) > 0:
		lines = append(lines, "  "+c.What+":")
	}
	for _, l := range c.Lines {
		lines = append(lines, "    "+l)
	}
	switch {
	case c.Command != "" && len(lines) == 0:
		lines = append(lines, "  run: "+c.Command)
	case c.Command != "":
		lines = append(lines, "  then: "+c.Command)
	}
	if c.Note != "" {
		lines = append(lines, "  ("+c.Note+")")
	}
	return lines
}
