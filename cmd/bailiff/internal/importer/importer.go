// Package importer implements `bailiff import`: it writes the configuration that package fail2ban has translated, after the
// configuration loader has checked it, and passes fail2ban's bans to the daemon. Start reading at Command.
package importer

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/fail2ban"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/policy/config"
	"bailiff/units/atomicfile"
	"bailiff/units/configdir"
	"bailiff/units/control"
)

// importResult is what `bailiff import --json` prints.
type importResult struct {
	fail2ban.Report
	To    string       `json:"to"`
	Files []importFile `json:"files"`
	Bans  *importBans  `json:"bans,omitempty"`
}

type importFile struct {
	Path    string `json:"path"`
	State   string `json:"state"`             // new, same, replaced or differs (not replaced)
	Content string `json:"content,omitempty"` // with --dry-run
}

type importBans struct {
	Database string   `json:"database"`
	Taken    int      `json:"taken"`
	Kept     int      `json:"kept"` // bans that the daemon already has, at least as long
	Problems []string `json:"problems"`
}

// Command is `bailiff import`.
func Command() *cli.Command {
	c := cli.New("import", "", "take over the configuration and bans of fail2ban").WithJSON().WithSocket(control.DefaultPath)
	var o options
	c.Flags.StringVar(&o.from, "from", fail2ban.Folder, "read fail2ban's configuration from this `FOLDER`")
	c.Flags.StringVar(&o.to, "to", settings.Dir, "write into this `FOLDER`")
	c.Flags.BoolVar(&o.bans, "bans", false, "have the running daemon take over the bans in effect")
	c.Flags.StringVar(&o.database, "database", "", "read fail2ban's bans from this `FILE` (default: as fail2ban.conf says)")
	c.Flags.BoolVar(&o.dry, "dry-run", false, "print what would be written, and write nothing")
	c.Flags.BoolVar(&o.force, "force", false, "replace files that exist; the old ones are kept as NAME.old")
	c.Flags.BoolVar(&o.verbose, "verbose", false, "show every setting, including those that were carried over unchanged")
	return c.Does(func(e *cli.Env, _ []string) error { return run(e, o) })
}

type options struct {
	from, to, database        string
	bans, dry, force, verbose bool
}

func run(e *cli.Env, o options) error {
	in, err := fail2ban.Import(o.from)
	if err != nil {
		return cli.WithHint(fmt.Errorf("import: %w", cause(err)), "--from names the folder with fail2ban's jail.conf")
	}
	r := importResult{Report: in.Report, To: o.to, Files: []importFile{}}
	c, err := checkImport(o.to, in.Files)
	if err != nil {
		return err
	}
	differs, err := r.compare(in.Files, o)
	if err != nil {
		return err
	}
	if !o.dry && !differs {
		if err := writeImport(o.to, in.Files, r.Files); err != nil {
			return err
		}
	}
	var failed error
	switch {
	case differs && !o.dry && !o.bans:
		failed = cli.WithHint(errors.New("import: nothing was written: some files exist with other contents"), "--dry-run shows what would be written, --force replaces them and keeps the old ones as NAME.old")
	case o.bans && !o.dry:
		failed = takeBans(e, &r, in, o.database, !differs && o.to == settings.Dir)
	}
	return cmp.Or(e.Print(r, func() { printImport(e, &r, c, o.dry, o.verbose) }), failed)
}

// compare records the state of each file to be written, and reports whether one exists with other contents.
func (r *importResult) compare(files []fail2ban.File, o options) (differs bool, err error) {
	for _, file := range files {
		x := importFile{Path: filepath.Join(o.to, file.Path), State: "new"}
		switch old, err := os.ReadFile(x.Path); {
		case err == nil && bytes.Equal(old, file.Data):
			x.State = "same"
		case err == nil && o.force:
			x.State = "replaced"
		case err == nil:
			x.State, differs = "differs", true
		case !errors.Is(err, fs.ErrNotExist):
			return false, err
		}
		if o.dry {
			x.Content = string(file.Data)
		}
		r.Files = append(r.Files, x)
	}
	return differs, nil
}

// cause returns a file's error without the name of the system call.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", p.Path, p.Err)
	}
	return err
}

// checkImport loads the configuration as it will be once the files are written.
func checkImport(to string, files []fail2ban.File) (*config.Config, error) {
	to = filepath.Clean(to)
	l := configdir.Loader{Overlay: make(map[string][]byte)}
	for _, file := range files {
		l.Overlay[filepath.Join(to, file.Path)] = file.Data
	}
	c, err := l.LoadFile(to)
	if err != nil {
		return nil, err
	}
	return c, settings.SelfTests(c)
}

// writeImport first writes all files under temporary names, so that a full disk leaves the configuration unchanged, then
// renames each, the first one last: the configuration needs the filters and the allow list that follow it.
func writeImport(to string, files []fail2ban.File, states []importFile) (err error) {
	fresh := make([]*atomicfile.File, len(files)) // nil: the existing file is the same
	defer func() {
		for _, f := range fresh {
			if f != nil {
				f.Close()
			}
		}
	}()
	for i, file := range files {
		if states[i].State == "same" {
			continue
		}
		if err := settings.MakeFolder(filepath.Join(to, path.Dir(file.Path))); err != nil {
			return err
		}
		if fresh[i], err = atomicfile.Create(states[i].Path, 0o644); err != nil {
			return err
		}
		_, err := fresh[i].Write(file.Data)
		if err = cmp.Or(err, fresh[i].Sync()); err != nil {
			return err
		}
	}
	for i, f := range slices.Backward(fresh) {
		if f == nil {
			continue
		}
		if states[i].State == "replaced" {
			// Link instead of rename: the file's name exists at all times.
			old := states[i].Path + ".old"
			if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err := os.Link(states[i].Path, old); err != nil {
				return err
			}
		}
		if err := f.Commit(); err != nil {
			return err
		}
	}
	return nil
}
