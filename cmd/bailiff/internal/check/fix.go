package check

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/policy/diag"
	"bailiff/units/atomicfile"
	"bailiff/units/hosts"
	"bailiff/units/manager"
)

// dropIn is the file of a unit that check --fix writes.
type dropIn struct {
	file    string
	exists  bool
	pending bool // it is there, but the service has not been started with it
}

// dropIn looks for the file of a unit.
func (h *host) dropIn(u *manager.Service) dropIn {
	d := dropIn{file: "/etc/systemd/system/" + u.Unit + ".d/90-bailiff.conf"}
	st, err := os.Stat(filepath.Join(h.root, d.file))
	d.exists = err == nil
	d.pending = d.exists && u.Running && (u.NeedsReload || !slices.Contains(u.Dropins, d.file) || !u.Started.IsZero() && st.ModTime().After(u.Started))
	return d
}

// possible reports whether a drop-in can make the change: the unit's command takes the variable that it sets, and the unit
// does not set it already.
func (d *dropIn) possible(c *hosts.Change, u *manager.Service) bool {
	if c.Needs == "" {
		return true
	}
	name := strings.TrimPrefix(c.Needs, "$") + "="
	return !d.exists && strings.Contains(u.Command, c.Needs) && !slices.ContainsFunc(u.Environment, func(v string) bool { return strings.HasPrefix(v, name) })
}

// fixed is what `bailiff check --fix --json` prints. bailiff(1) documents its keys, which do not change.
type fixed struct {
	Service string `json:"service"`
	Unit    string `json:"unit"`
	File    string `json:"file"`
	Content string `json:"content"`
	Written bool   `json:"written"` // false: --dry-run, or it is there already
	Command string `json:"command"`
	Note    string `json:"note,omitempty"`
}

// fix writes the drop-in that makes a service log to the journal.
func (h *host) fix(e *cli.Env, list []service, name string, dry bool) error {
	i := slices.IndexFunc(list, func(s service) bool { return s.is(name) && s.Journal != toJournal })
	if i < 0 {
		i = slices.IndexFunc(list, func(s service) bool { return s.is(name) })
	}
	if i < 0 {
		return noService(name, list)
	}
	s := &list[i]
	switch c := s.Change; {
	case s.Journal == toJournal:
		e.Notef("%s logs to the journal already; nothing to change", s.Name)
		return nil
	case c == nil:
		return (&diag.Error{Text: s.Name + ": no change is known that makes it log to the journal"}).WithHint("bailiff filter show NAME shows what each filter needs")
	case c.What == "": // it is written
		e.Notef("%s", s.Where)
		e.Hintf("to make it active: %s", c.Command)
		return nil
	case !c.DropIn:
		return (&diag.Error{Text: s.Name + " is changed in its own configuration, not by a drop-in of its unit; nothing was written"}).WithHint("%s", strings.Join(c.text(), "\n"))
	}
	f := fixed{Service: s.Name, Unit: s.Unit, File: s.Change.File, Content: content(s), Command: "systemctl daemon-reload && " + s.Change.Command, Note: s.Change.Note}
	if !dry {
		var err error
		if f.Written, err = writeNew(filepath.Join(h.root, f.File), f.Content); err != nil {
			return err
		}
	}
	return e.Print(f, func() {
		switch {
		case dry:
			e.Printf("# %s\n%s", f.File, f.Content)
		case f.Written:
			e.Printf("wrote %s\n", f.File)
		default:
			e.Printf("%s is there already\n", f.File)
		}
		if f.Note != "" {
			e.Notef("%s", f.Note)
		}
		e.Hintf("to make it active: %s", f.Command)
	})
}

// content is the drop-in of a service.
func content(s *service) string {
	return "# Written by bailiff check --fix " + s.Name + ": it makes the service log to the journal.\n# To undo it, remove this file and run systemctl daemon-reload.\n" +
		strings.Join(s.Change.Lines, "\n") + "\n"
}

// writeNew writes a file that does not exist yet. One with the same content may stand there; any other is an error, and stays.
func writeNew(file, text string) (written bool, err error) {
	for range 2 {
		have, err := atomicfile.Read(file, maxConfig, 0)
		if err == nil {
			if bytes.Equal(have, []byte(text)) {
				return false, nil
			}
			return false, (&diag.Error{File: file, Text: "exists with other content; it was not changed"}).WithHint("bailiff check --fix SERVICE --dry-run prints what would be written")
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if err := settings.MakeFolder(filepath.Dir(file)); err != nil {
			return false, err
		}
		f, err := atomicfile.Create(file, 0o644)
		if err != nil {
			return false, err
		}
		_, err = f.WriteString(text)
		if err == nil {
			err = f.CommitNew()
		}
		if err = errors.Join(err, f.Close()); !errors.Is(err, fs.ErrExist) {
			return err == nil, err
		}
	}
	return false, fmt.Errorf("%s: another process writes it", file)
}

// is reports whether an operator means this service: by its name, its unit or one of its jails.
func (s service) is(name string) bool {
	return s.Name == name || s.Unit == name || strings.TrimSuffix(s.Unit, ".service") == name || slices.Contains(s.On, name) || slices.Contains(s.Off, name)
}

func noService(name string, list []service) error {
	e := &diag.Error{Text: fmt.Sprintf("there is no service %q on this host", name)}
	if len(list) == 0 {
		return e
	}
	return e.WithHint("there are %s", strings.Join(titles(list), ", "))
}

func titles(list []service) (names []string) {
	for _, s := range list {
		if !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
	}
	return names
}
