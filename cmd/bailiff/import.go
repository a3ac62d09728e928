package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/fail2ban"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/units/atomicfile"
	"bailiff/units/control"
)

// etc is where an administrator's configuration lies.
const etc = "/etc/bailiff"

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

func runImport(e *env, args []string) error {
	f := e.flags("import")
	from := f.String("from", fail2ban.Folder, "fail2ban's `folder`")
	to := f.String("to", etc, "bailiff's `folder`, into which files are written")
	bans := f.Bool("bans", false, "have the running daemon take over the bans in force")
	database := f.String("database", "", "fail2ban's database `file` (default: as fail2ban.conf says)")
	dry := f.Bool("dry-run", false, "print what would be written, and write nothing")
	force := f.Bool("force", false, "replace files that are there already; the old ones are kept as NAME.old")
	verbose := f.Bool("verbose", false, "tell of every setting, those that were carried over as they are, too")
	socket, asJSON := daemonFlags(f)
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if err := want("import", rest, 0, 0); err != nil {
		return err
	}
	in, err := fail2ban.Import(*from)
	if err != nil {
		return hinted(fmt.Errorf("import: %w", cause(err)), "--from names the folder with fail2ban's jail.conf")
	}
	r := importResult{Report: in.Report, To: *to, Files: []importFile{}}
	c, err := checkImport(*to, in.Files)
	if err != nil {
		return err
	}
	differs := false
	for _, file := range in.Files {
		x := importFile{Path: filepath.Join(*to, file.Path), State: "new"}
		switch old, err := os.ReadFile(x.Path); {
		case err == nil && bytes.Equal(old, file.Data):
			x.State = "same"
		case err == nil && *force:
			x.State = "replaced"
		case err == nil:
			x.State, differs = "differs", true
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		if *dry {
			x.Content = string(file.Data)
		}
		r.Files = append(r.Files, x)
	}
	if !*dry && !differs {
		if err := writeImport(*to, in.Files, r.Files); err != nil {
			return err
		}
	}
	var failed error
	switch {
	case differs && !*dry && !*bans:
		failed = hinted(errors.New("import: nothing was written: files are there already and hold something else"), "--dry-run shows what would be written, --force replaces them and keeps the old ones as NAME.old")
	case *bans && !*dry:
		failed = e.importBans(&r, in, *socket, *database, !differs && *to == etc)
	}
	if *asJSON {
		if err := printJSON(e.out, r); err != nil {
			return err
		}
		return failed
	}
	e.printImport(&r, c, *dry, *verbose)
	return failed
}

// hinted is an error with a way out.
func hinted(err error, hint string) error {
	return (&diag.Error{Text: err.Error()}).WithHint("%s", hint)
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
	dir, err := os.MkdirTemp("", "bailiff-import-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for _, pattern := range []string{"bailiff.yaml", "bailiff.d/*.yaml", "filters.d/*.yaml", "allow.d/*.list"} {
		there, err := fs.Glob(os.DirFS(to), pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range there {
			data, err := os.ReadFile(filepath.Join(to, name))
			if err != nil {
				return nil, err
			}
			if err := put(filepath.Join(dir, name), data); err != nil {
				return nil, err
			}
		}
	}
	for _, file := range files {
		if err := put(filepath.Join(dir, file.Path), file.Data); err != nil {
			return nil, err
		}
	}
	var l config.Loader
	c, err := l.LoadFile(dir)
	if err == nil {
		err = selfTests(c)
	}
	var all []error
	for _, y := range diag.Errors(err) {
		y.File = strings.Replace(y.File, dir, to, 1)
		all = append(all, y)
	}
	return c, errors.Join(all...)
}

func put(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}

// makeFolder makes a folder and those above it that are missing, for everybody to read whatever the umask is: the daemon runs
// as a user of its own.
func makeFolder(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeFolder(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chmod(dir, 0o755)
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
		if err := makeFolder(filepath.Join(to, path.Dir(file.Path))); err != nil {
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
func (e *env) printImport(r *importResult, c *config.Config, dry, verbose bool) {
	if dry {
		for _, file := range r.Files {
			fmt.Fprintf(e.out, "# ---- %s (%s)\n%s\n", file.Path, file.State, file.Content)
		}
	}
	for _, j := range r.Jails {
		if j.As == "" {
			fmt.Fprintf(e.out, "jail %s: not carried over: %s\n", clean(j.Name), clean(j.Why))
			continue
		}
		fmt.Fprintf(e.out, "jail %s: filter %s", j.As, j.Filter)
		if j.Mode != "" {
			fmt.Fprintf(e.out, " in mode %s", j.Mode)
		}
		if j.Translated {
			fmt.Fprintf(e.out, ", translated: %d of %s", j.Taken, plural(j.Of, "expression"))
		}
		if j.Why != "" {
			fmt.Fprintf(e.out, " (%s)", clean(j.Why))
		}
		fmt.Fprintln(e.out)
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
				fmt.Fprintf(e.out, "\n%s:\n", sec.title)
				first = false
			}
			e.printSetting(s)
		}
	}
	if hidden > 0 {
		fmt.Fprintf(e.out, "\n%s carried over as they are, or of fail2ban's own files: --verbose shows them\n", plural(hidden, "setting"))
	}
	if len(r.Notes) > 0 {
		fmt.Fprintln(e.out, "\nNotes:")
		for _, n := range r.Notes {
			fmt.Fprintf(e.out, "  %s\n", clean(n))
		}
	}
	if b := r.Bans; b != nil {
		fmt.Fprintf(e.out, "\n%s taken over from %s, %d there already\n", plural(b.Taken, "ban"), b.Database, b.Kept)
		for _, p := range b.Problems {
			fmt.Fprintf(e.out, "  %s\n", clean(p))
		}
	}
	if dry {
		return
	}
	fmt.Fprintln(e.out)
	written := false
	for _, file := range r.Files {
		switch file.State {
		case "differs":
			fmt.Fprintf(e.out, "left as it is: %s\n", file.Path)
		case "same":
			fmt.Fprintf(e.out, "there already: %s\n", file.Path)
		default:
			written = true
			fmt.Fprintf(e.out, "written: %s\n", file.Path)
		}
	}
	if written && r.Bans == nil {
		e.printNext(r.To, c)
	}
}

// printNext says what to do with the files that were written.
func (e *env) printNext(to string, c *config.Config) {
	at := ""
	if filepath.Clean(to) != etc {
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
		if slices.ContainsFunc(c.Report.Destinations, func(d config.Destination) bool { return d.Enabled && mailed(&d) }) {
			steps = append(steps, [2]string{"bailiff report setup", "lets reports be mailed by this host's mail system"})
		}
		steps = append(steps, [2]string{"systemctl disable --now fail2ban && bailiff import --bans", "takes its bans over"})
	}
	wide := 0
	for _, s := range steps {
		wide = max(wide, len(s[0]))
	}
	fmt.Fprintln(e.out, "\nNext:")
	for _, s := range steps {
		fmt.Fprintf(e.out, "  %-*s  %s\n", wide, s[0], s[1])
	}
}

func (e *env) printSetting(s *fail2ban.Setting) {
	at := s.File
	if s.Line > 0 {
		at = fmt.Sprintf("%s:%d", s.File, s.Line)
	}
	text := s.Why
	switch {
	case s.Outcome == fail2ban.Replaced:
		text = "set anew in " + s.To
	case s.Outcome == fail2ban.Part:
		text = "a part of " + s.To
	case s.To != "" && text != "":
		text = s.To + ": " + text
	case s.To != "":
		text = s.To
	}
	what := ""
	if s.Option != "" {
		value := strings.Join(strings.Fields(s.Value), " ")
		if len(value) > 60 {
			value = strings.ToValidUTF8(value[:60], "") + "…"
		}
		what = fmt.Sprintf(" [%s] %s = %s", s.Section, s.Option, value)
	}
	fmt.Fprintf(e.out, "  %s:%s\n    %s\n", clean(at), clean(what), clean(text))
	if s.Hint != "" {
		fmt.Fprintf(e.out, "    hint: %s\n", clean(s.Hint))
	}
}

// importBans hands the bans in force to the daemon, which loads the new configuration first, if it was written where the
// daemon reads it.
func (e *env) importBans(r *importResult, in *fail2ban.Result, socket, database string, reload bool) error {
	if database == "" {
		database = in.Database
	}
	r.Bans = &importBans{Database: database, Problems: []string{}}
	if database == "" {
		return errors.New("import: fail2ban keeps no database (dbfile in fail2ban.conf)")
	}
	bans, skipped, err := fail2ban.Bans(database, time.Now(), in.BanTime)
	if err != nil {
		return hinted(fmt.Errorf("import: %w", cause(err)), "stop fail2ban first (systemctl stop fail2ban), which closes the database; --database names another file")
	}
	r.Bans.Problems = append(r.Bans.Problems, skipped...)
	c := control.Dial(socket)
	if reload {
		if _, err := c.Reload(e.ctx); err != nil {
			return err
		}
	}
	st, err := c.Status(e.ctx)
	if err != nil {
		return err
	}
	have := make(map[string]*time.Time)
	old, err := bansOf(e, c, control.BanQuery{})
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
			if err := e.banGroup(c, r.Bans, g.jail, g.long, chunk); err != nil {
				return err
			}
		}
	}
	return nil
}

// banGroup bans prefixes that end together. One that is refused (it is allowed, say) takes the others down with it; so
// they are tried one by one then.
func (e *env) banGroup(c *control.Client, b *importBans, jail, long string, prefixes []string) error {
	_, err := c.Ban(e.ctx, control.BanRequest{Prefixes: prefixes, Jail: jail, Duration: long, Reason: "taken over from fail2ban"})
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
		if err := e.banGroup(c, b, jail, long, []string{p}); err != nil {
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
