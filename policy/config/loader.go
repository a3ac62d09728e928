package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"bailiff/policy/allow"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/policy/yamldoc"
)

// folders are where configuration lies, the winner first: the administrator's, what was made since boot, local
// installations, packages. Names and order are systemd's (CONFIGURATION DIRECTORIES AND PRECEDENCE in journald.conf(5)).
var folders = []string{"/etc/bailiff", "/run/bailiff", "/usr/local/lib/bailiff", "/usr/lib/bailiff"}

// maxEntries bounds what all address lists together may hold.
const maxEntries = 1_000_000

// Loader reads configuration files. The zero Loader reads the host's.
type Loader struct {
	Root string // stands before every path that is looked up, address lists included; empty: the host itself

	// Jails are the only ones wanted, nil being all: others are known by name, but off and without a filter, which saves a
	// short-lived command the time of loading dozens of them.
	Jails []string
}

// Load reads bailiff.yaml, drop-ins, filters and address lists of the host:
//
//   - bailiff.yaml of the first folder that has one;
//   - all bailiff.d/*.yaml of all folders, sorted by file name whatever the folder, each laid over what came before. Of
//     equal names only that of the first folder counts; a link to /dev/null there switches the file off;
//   - filters.d/NAME.yaml likewise, each a filter that adds to the built-in ones or replaces that of its name;
//   - the address lists that allow.files names.
//
// No file at all is no error: then it is Default. Every error is a *diag.Error, several are joined (diag.Errors
// takes them apart), and then there is no configuration: it is all or nothing.
func (l *Loader) Load() (*Config, error) {
	t := l.task()
	return t.folders(l.roots())
}

// LoadFile reads that file alone, over the built-in defaults: no drop-ins. Filters are read from filters.d beside it.
//
// A folder is read in place of /etc/bailiff and all others: bailiff.yaml, drop-ins, filters and, where allow.files names
// files in /etc/bailiff, address lists.
func (l *Loader) LoadFile(file string) (*Config, error) {
	t := l.task()
	if st, err := os.Stat(file); err == nil && st.IsDir() {
		t.instead = file
		return t.folders([]string{file})
	}
	t.file(file)
	return t.finish([]string{filepath.Dir(file)})
}

// folders reads what lies in the folders, the winner first.
func (t *task) folders(roots []string) (*Config, error) {
	if main := t.first("bailiff.yaml", roots); main != "" {
		t.file(main)
	}
	for _, f := range t.fragments("bailiff.d", roots) {
		t.file(f)
	}
	return t.finish(roots)
}

// Filter returns the filter of that name, the operator's own before the built-in one, without looking at other files.
func (l *Loader) Filter(name string) (*filter.Filter, error) {
	t := task{root: l.Root, raw: newRaw()}
	shelf := t.filters(l.roots(), name)
	if err := errors.Join(t.errs...); err != nil {
		return nil, err
	}
	f, err := shelf.get(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// roots are the folders under Root.
func (l *Loader) roots() []string {
	roots := make([]string, len(folders))
	for i, f := range folders {
		roots[i] = l.Root + f
	}
	return roots
}

// task is one load.
type task struct {
	*raw
	root    string
	instead string // folder in place of /etc/bailiff; "": none
	read    []string
	notices []string
}

func (l *Loader) task() task {
	t := task{root: l.Root, raw: newRaw()}
	t.only = l.Jails
	return t
}

func (t *task) finish(roots []string) (*Config, error) {
	shelf := t.filters(roots, "")
	t.lists()
	c, err := t.resolve(shelf)
	if err != nil {
		return nil, err
	}
	c.Files, c.Notices = t.read, append(t.notices, c.Notices...)
	return c, nil
}

// errorf notes an error of a file as a whole.
func (t *task) errorf(file, format string, args ...any) {
	t.fail(&yamldoc.Node{File: file}, "", diag.Errorf(format, args...))
}

// note notes errors that know their places.
func (t *task) note(err error) {
	for _, e := range diag.Errors(err) {
		t.fail(&yamldoc.Node{File: e.File, Line: e.Line, Col: e.Col}, e.Path, e)
	}
}

// file lays one file over what is known.
func (t *task) file(name string) {
	data, ok := t.content(name, yamldoc.MaxSize)
	if !ok {
		return
	}
	t.read = append(t.read, name)
	doc, err := yamldoc.Parse(name, data)
	if err != nil {
		t.note(err)
		return
	}
	t.decode(doc)
}

// content reads a file of at most that many bytes.
func (t *task) content(name string, most int) ([]byte, bool) {
	f := t.open(name)
	if f == nil {
		return nil, false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err != nil {
		t.errorf(name, "cannot be read: %s", cause(err))
		return nil, false
	}
	if len(data) > most {
		t.errorf(name, "has more than %d bytes", most)
		return nil, false
	}
	return data, true
}

// open opens a regular file, and never waits for one that is something else.
func (t *task) open(name string) *os.File {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.errorf(name, "cannot be read: %s", cause(err))
		return nil
	}
	st, err := f.Stat()
	switch {
	case err != nil:
		t.errorf(name, "cannot be read: %s", cause(err))
	case !st.Mode().IsRegular():
		t.errorf(name, "is %s, not a file", kindOf(st.Mode()))
	default:
		if st.Mode().Perm()&0o002 != 0 {
			t.notices = append(t.notices, name+": everybody may write this file; chmod o-w it")
		}
		return f
	}
	f.Close()
	return nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// cause is an error without the operation and the path, which stand in our own text.
func cause(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// masked says whether a path is a link to /dev/null, by which a file is switched off.
func masked(name string) bool {
	st, err := os.Lstat(name)
	if err != nil || st.Mode()&fs.ModeSymlink == 0 {
		return false
	}
	to, err := filepath.EvalSymlinks(name)
	return err == nil && to == os.DevNull
}

// first returns the path of a file in the first folder that has it; "" if none has, or if it is switched off there.
func (t *task) first(name string, roots []string) string {
	for _, dir := range roots {
		p := path.Join(dir, name)
		if _, err := os.Lstat(p); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if masked(p) {
			return ""
		}
		return p
	}
	return ""
}

// fragments lists the *.yaml of a subfolder of all roots as systemd does: together, by file name, the higher folder's
// only where names are equal.
func (t *task) fragments(sub string, roots []string) []string {
	found := make(map[string]string)
	for _, root := range roots {
		dir := path.Join(root, sub)
		list, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.errorf(dir, "cannot be read: %s", cause(err))
		}
		for _, f := range list {
			name := f.Name()
			if strings.HasPrefix(name, ".") {
				continue
			}
			if !strings.HasSuffix(name, ".yaml") {
				if ext := path.Ext(name); ext == ".yml" || ext == ".conf" {
					t.notices = append(t.notices, path.Join(dir, name)+": is not read, since its name does not end in .yaml")
				}
				continue
			}
			if _, ok := found[name]; !ok {
				found[name] = path.Join(dir, name)
			}
		}
	}
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	var files []string
	for _, name := range names {
		if !masked(found[name]) {
			files = append(files, found[name])
		}
	}
	return files
}

// filters reads the operator's own filters; with only set, none but that one.
func (t *task) filters(roots []string, only string) *shelf {
	s := newShelf()
	for _, file := range t.fragments("filters.d", roots) {
		name := strings.TrimSuffix(path.Base(file), ".yaml")
		if only != "" && name != only {
			continue
		}
		data, ok := t.content(file, yamldoc.MaxSize)
		if !ok {
			s.broken[name] = true
			continue
		}
		f, err := parseFilter(file, name, data)
		if err != nil {
			s.broken[name] = true
			t.note(err)
			continue
		}
		s.own[name] = f
	}
	return s
}

// lists reads the address lists.
func (t *task) lists() {
	t.allow.Entries = slices.Clone(t.allow.Addresses)
	seen := make(map[string]bool)
	for i, pattern := range t.allow.Files {
		node := &yamldoc.Node{File: "built in"}
		if t.files != nil {
			node = t.files[i]
		}
		wild := strings.ContainsAny(pattern, `*?[\`)
		root, rest := t.root, pattern
		if below, ok := strings.CutPrefix(pattern, folders[0]+"/"); ok && t.instead != "" {
			root, rest = t.instead, "/"+below
		}
		files := []string{root + rest}
		if wild {
			// Glob finds nothing in a folder that cannot be read, and says nothing; then nobody would be allowed.
			dir := root + path.Dir(rest[:strings.IndexAny(rest, `*?[\`)]+"x")
			if _, err := os.ReadDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.errorf(dir, "cannot be read: %s", cause(err))
				continue
			}
			var err error
			if files, err = filepath.Glob(quoteGlob(root) + rest); err != nil {
				t.fail(node, "allow.files", diag.Errorf("%q: %s", diag.Clip(pattern), err))
				continue
			}
		} else if _, err := os.Stat(files[0]); err != nil {
			t.fail(node, "allow.files", diag.Errorf("%s: %s", files[0], cause(err)).WithHint("make the file, or write a pattern, which may find none: %s/*.list", path.Dir(pattern)))
			continue
		}
		for _, file := range files {
			if seen[file] || masked(file) {
				continue
			}
			seen[file] = true
			f := t.open(file)
			if f == nil {
				continue
			}
			entries, err := allow.ParseFile(file, f)
			f.Close()
			if err != nil {
				t.note(err)
				continue
			}
			if len(t.allow.Entries)+len(entries) > maxEntries {
				t.errorf(file, "with it there are more than %d allowed addresses and prefixes", maxEntries)
				return
			}
			t.allow.Entries = append(t.allow.Entries, entries...)
		}
	}
}

// quoteGlob makes a path stand for itself in a pattern.
func quoteGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}
