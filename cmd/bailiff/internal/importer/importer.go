// Package importer is `bailiff import`: it writes the configuration that package fail2ban makes of fail2ban's, after the
// daemon's own loader has checked it, and hands fail2ban's bans to the daemon. Start reading with Command.
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
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/client"
	"bailiff/cmd/bailiff/internal/fail2ban"
	"bailiff/cmd/bailiff/internal/reports"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
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
	State   string `json:"state"`             // new, same, replaced, or differs: it was left as it is
	Content string `json:"content,omitempty"` // with --dry-run
}

type importBans struct {
	Database string   `json:"database"`
	Taken    int      `json:"taken"`
	Kept     int      `json:"kept"` // that the daemon has already, at least as long
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
	c.Run = func(e *cli.Env, _ []string) error { return run(e, o) }
	return c
}

// options are those of the command.
type options struct {
	from, to, database        string
	bans, dry, force, verbose bool
}

func run(e *cli.Env, o options) error {
	progress := e.Progress()
	progress.Show("reading %s", o.from)
	in, err := fail2ban.Import(o.from)
	progress.Clear()
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

// compare notes the state of each file to be written, and reports whether any exists with other contents.
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

// cause is an error of a file without the operation.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", p.Path, p.Err)
	}
	return err
}

// checkImport has the daemon's own loader read the files as they will stand beside those that are there.
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

// writeImport writes all files under names of their own first, so that a full disk leaves nothing half done, and then puts
// each into its place at once.
func writeImport(to string, files []fail2ban.File, states []importFile) (err error) {
	fresh := make([]*atomicfile.File, len(files)) // nil: the file in place is the same already
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
		if _, err := fresh[i].Write(file.Data); err != nil {
			return err
		}
		if err := fresh[i].Sync(); err != nil {
			return err
		}
	}
	for i, f := range fresh {
		if f == nil {
			continue
		}
		if states[i].State == "replaced" {
			// A second name for the old file, so that the name in use is never without one.
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

// printImport tells people what became of what: the jails, then the administrator's own lines. What fail2ban's files say by
// themselves, and what was carried over as it is, is for verbose.
func printImport(e *cli.Env, r *importResult, c *config.Config, dry, verbose bool) {
	if dry {
		for _, file := range r.Files {
			e.Printf("# ---- %s (%s)\n%s\n", file.Path, file.State, file.Content)
		}
	}
	for _, j := range r.Jails {
		if j.As == "" {
			e.Printf("jail %s: not carried over: %s\n", text.Clean(j.Name), text.Clean(j.Why))
			continue
		}
		e.Printf("jail %s: filter %s", j.As, j.Filter)
		if j.Mode != "" {
			e.Printf(" in mode %s", j.Mode)
		}
		if j.Translated {
			e.Printf(", translated: %d of %s", j.Taken, text.Count(j.Of, "expression"))
		}
		if j.Why != "" {
			e.Printf(" (%s)", text.Clean(j.Why))
		}
		e.Printf("\n")
	}
	own := func(s *fail2ban.Setting) bool { return s.Own }
	stock := func(s *fail2ban.Setting) bool { return !s.Own }
	sections := []struct {
		title    string
		verbose  bool
		of       func(*fail2ban.Setting) bool
		outcomes []string
	}{
		{"Not carried over", false, own, []string{fail2ban.Lost}},
		{"Carried over, but not quite the same", false, own, []string{fail2ban.Changed}},
		{"Not carried over of what stands in fail2ban's own files", false, stock, []string{fail2ban.Lost}},
		{"Not needed any more", false, own, []string{fail2ban.Moot, fail2ban.Unused}},
		{"Carried over", true, own, []string{fail2ban.Carried, fail2ban.Part, fail2ban.Replaced}},
		{"Not quite the same of fail2ban's own files", true, stock, []string{fail2ban.Changed}},
		{"Carried over of fail2ban's own files", true, stock, []string{fail2ban.Carried, fail2ban.Part, fail2ban.Replaced}},
		{"Not needed any more of fail2ban's own files", true, stock, []string{fail2ban.Moot, fail2ban.Unused}},
	}
	hidden := 0
	for _, sec := range sections {
		first := true
		for i := range r.Settings {
			s := &r.Settings[i]
			if !slices.Contains(sec.outcomes, s.Outcome) || !sec.of(s) {
				continue
			}
			if sec.verbose && !verbose {
				hidden++
				continue
			}
			if first {
				e.Printf("\n%s:\n", sec.title)
				first = false
			}
			printSetting(e, s)
		}
	}
	if hidden > 0 {
		e.Printf("\n%s carried over as they are, or of fail2ban's own files: --verbose shows them\n", text.Count(hidden, "setting"))
	}
	if len(r.Notes) > 0 {
		e.Printf("\nNotes:\n")
		for _, n := range r.Notes {
			e.Printf("  %s\n", text.Clean(n))
		}
	}
	if b := r.Bans; b != nil {
		e.Printf("\n%s taken over from %s, %d there already\n", text.Count(b.Taken, "ban"), b.Database, b.Kept)
		for _, p := range b.Problems {
			e.Printf("  %s\n", text.Clean(p))
		}
	}
	if dry {
		return
	}
	e.Printf("\n")
	written := false
	for _, file := range r.Files {
		switch file.State {
		case "differs":
			e.Printf("left as it is: %s\n", file.Path)
		case "same":
			e.Printf("there already: %s\n", file.Path)
		default:
			written = true
			e.Printf("written: %s\n", file.Path)
		}
	}
	if written && r.Bans == nil {
		printNext(e, r.To, c)
	}
}

// printNext says what to do with the files that were written.
func printNext(e *cli.Env, to string, c *config.Config) {
	at := ""
	if filepath.Clean(to) != settings.Dir {
		at = " --config " + to
	}
	steps := [][2]string{
		{"bailiff check" + at, "reads what was written as the daemon does"},
		{"bailiff replay" + at + " --since 2d", "shows who would have been banned"},
	}
	if i := slices.IndexFunc(c.Jails, func(j config.Jail) bool { return j.Enabled && !strings.HasPrefix(j.Filter.File, "builtin/") }); i >= 0 {
		steps = append(steps, [2]string{"bailiff match" + at + " " + c.Jails[i].Filter.Name + " FILE", "tries lines of a log on a filter"})
	}
	if at == "" {
		steps = append(steps, [2]string{"systemctl enable --now bailiff && bailiff reload", "begins to ban by it"})
		if slices.ContainsFunc(c.Report.Destinations, func(d config.Destination) bool { return d.Enabled && reports.Mailed(&d) }) {
			steps = append(steps, [2]string{"bailiff report setup", "lets reports be mailed by this host's mail system"})
		}
		steps = append(steps, [2]string{"systemctl disable --now fail2ban && bailiff import --bans", "takes its bans over"})
	}
	wide := 0
	for _, s := range steps {
		wide = max(wide, len(s[0]))
	}
	e.Printf("\nNext:\n")
	for _, s := range steps {
		e.Printf("  %-*s  %s\n", wide, s[0], s[1])
	}
}

func printSetting(e *cli.Env, s *fail2ban.Setting) {
	at := s.File
	if s.Line > 0 {
		at = fmt.Sprintf("%s:%d", s.File, s.Line)
	}
	outcome := s.Why
	switch {
	case s.Outcome == fail2ban.Replaced:
		outcome = "set anew in " + s.To
	case s.Outcome == fail2ban.Part:
		outcome = "a part of " + s.To
	case s.To != "" && outcome != "":
		outcome = s.To + ": " + outcome
	case s.To != "":
		outcome = s.To
	}
	what := ""
	if s.Option != "" {
		value := strings.Join(strings.Fields(s.Value), " ")
		if len(value) > 60 {
			value = strings.ToValidUTF8(value[:60], "") + "…"
		}
		what = fmt.Sprintf(" [%s] %s = %s", s.Section, s.Option, value)
	}
	e.Printf("  %s:%s\n    %s\n", text.Clean(at), text.Clean(what), text.Clean(outcome))
	if s.Hint != "" {
		e.Printf("    hint: %s\n", text.Clean(s.Hint))
	}
}

// takeBans hands the bans in force to the daemon, which loads the new configuration first, if it was written where the
// daemon reads it.
func takeBans(e *cli.Env, r *importResult, in *fail2ban.Result, database string, reload bool) error {
	if database == "" {
		database = in.Database
	}
	r.Bans = &importBans{Database: database, Problems: []string{}}
	if database == "" {
		return errors.New("import: fail2ban keeps no database (dbfile in fail2ban.conf)")
	}
	bans, skipped, err := fail2ban.Bans(database, time.Now(), in.BanTime)
	if err != nil {
		return cli.WithHint(fmt.Errorf("import: %w", cause(err)), "stop fail2ban first (systemctl stop fail2ban), which closes the database; --database names another file")
	}
	r.Bans.Problems = append(r.Bans.Problems, skipped...)
	c := control.Dial(e.Socket)
	if reload {
		if _, err := c.Reload(e.Ctx); err != nil {
			return err
		}
	}
	st, err := c.Status(e.Ctx)
	if err != nil {
		return err
	}
	have := make(map[string]*time.Time)
	old, err := client.AllBans(e.Ctx, c, control.BanQuery{})
	if err != nil {
		return err
	}
	for _, b := range old {
		have[b.Jail+" "+b.Prefix] = b.Until
	}
	known := func(jail string) bool {
		return slices.ContainsFunc(st.Jails, func(j control.JailStatus) bool { return j.Name == jail })
	}
	type group struct{ jail, long string }
	groups := make(map[group][]string)
	var order []group
	now := time.Now()
	for _, b := range bans {
		g := group{jail: in.Jails[b.Jail], long: "forever"}
		if !known(g.jail) {
			g.jail = "" // by hand, all ports
		}
		if !b.Until.IsZero() {
			g.long = config.FormatDuration(roundUp(b.Until.Sub(now)))
		}
		name := g.jail
		if name == "" {
			name = "manual"
		}
		if until, ok := have[name+" "+b.Prefix.String()]; ok && (until == nil || !b.Until.IsZero() && !until.Before(b.Until)) {
			r.Bans.Kept++
			continue
		}
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], b.Prefix.String())
	}
	for _, g := range order {
		for chunk := range slices.Chunk(groups[g], 1000) {
			if err := banGroup(e, c, r.Bans, g.jail, g.long, chunk); err != nil {
				return err
			}
		}
	}
	return nil
}

// banGroup bans prefixes that end together. One that is refused (it is allowed, say) takes the others down with it; so
// they are tried one by one then.
func banGroup(e *cli.Env, c *control.Client, b *importBans, jail, long string, prefixes []string) error {
	_, err := c.Ban(e.Ctx, control.BanRequest{Prefixes: prefixes, Jail: jail, Duration: long, Reason: "taken over from fail2ban"})
	var refused *control.Error
	switch {
	case err == nil:
		b.Taken += len(prefixes)
		return nil
	case !errors.As(err, &refused) || refused.Status < 400 || refused.Status > 499 || refused.Status == 403:
		return err
	case len(prefixes) == 1:
		b.Problems = append(b.Problems, err.Error())
		return nil
	}
	for _, p := range prefixes {
		if err := banGroup(e, c, b, jail, long, []string{p}); err != nil {
			return err
		}
	}
	return nil
}

// roundUp makes a ban's rest longer by a hundredth at most, or to the next minute: so many bans end together, and go to
// the daemon, which writes its state file for each call, in one.
func roundUp(d time.Duration) time.Duration {
	step := time.Minute
	for step < d/200 {
		step *= 2
	}
	return (max(d, time.Second) + step - 1) / step * step
}
