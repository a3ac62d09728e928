// Package lists is `bailiff lists`: what published block lists hold and have stopped, and what they would have stopped in the past.
// Fetching them is package fetch. Start reading with Command.
package lists

import (
	"fmt"
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/fetch"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/diag"
	"bailiff/units/control"
)

// Command is the group `bailiff lists`.
func Command() *cli.Command {
	c := cli.Group("lists", "published block lists: what they hold and stop", status(), dryRun(), fetch.Block())
	c.Pick = func(_ []string, given func(string) bool) string {
		if given("dry-run") {
			return "dry-run"
		}
		return "status"
	}
	return c
}

func status() *cli.Command {
	c := cli.New("status", "", "show each list, its age, and what it has stopped").WithJSON().WithSocket(control.DefaultPath)
	return c.Does(func(e *cli.Env, _ []string) error {
		return cli.Got(control.Dial(e.Socket).BlockLists(e.Ctx)).Print(e, printStatus)
	})
}

func printStatus(e *cli.Env, b *control.BlockLists) {
	if len(b.Lists) == 0 {
		e.Printf("no block list is configured: lists in bailiff.yaml(5)\n")
		return
	}
	if b.Error != "" {
		e.Printf("%s %s\n\n", e.Paint(cli.Red, "block lists:"), text.Clean(b.Error))
	}
	rows := [][]string{{"LIST", "PORTS", "ENTRIES", "CONFIRMED", "STOPPED", "NOTES"}}
	for i := range b.Lists {
		l := &b.Lists[i]
		confirmed, stopped := "never", "-"
		if l.Good != nil {
			confirmed = text.Ago(time.Since(*l.Good))
		}
		if l.Packets != nil {
			stopped = diag.Count(*l.Packets, "packet")
			if l.Mode == "log" {
				stopped = "counts " + stopped
			}
		}
		notes := notesOf(l)
		ports := l.Ports
		switch {
		case l.Mode == "double":
			ports, stopped = "-", "weighs double"
		case ports == "jails" && len(l.Jails) > 0:
			ports = text.Clean(strings.Join(l.Jails, " "))
		}
		rows = append(rows, []string{l.Name, ports, fmt.Sprint(l.Entries), confirmed, stopped, notes[0]})
		for _, n := range notes[1:] {
			rows = append(rows, []string{"", "", "", "", "", n})
		}
	}
	e.Table(rows)
}

// notesOf returns further notes on a list; at least one, which may be empty.
func notesOf(l *control.BlockList) (notes []string) {
	if l.Holds != "" {
		notes = append(notes, text.Clean(l.Holds))
	}
	for _, x := range []struct{ what, text string }{{"not loaded: ", l.Rejected}, {"new version rejected: ", l.Refused}, {"cannot be fetched: ", l.Failed}} {
		if x.text != "" {
			notes = append(notes, x.what+text.Clean(x.text))
		}
	}
	if l.Checked == nil {
		notes = append(notes, "systemctl enable --now bailiff-lists-refresh.timer")
	}
	if l.Allowed > 0 {
		notes = append(notes, diag.Count(l.Allowed, "entry")+" for addresses that are allowed here")
	}
	if l.LeftOut > 0 {
		notes = append(notes, diag.Count(l.LeftOut, "private entry")+" left out")
	}
	if len(notes) == 0 {
		return []string{""}
	}
	return notes
}
