// Package configdir finds the configuration files of a host, in the order that systemd has for its own, reads them and gives
// them to policy/config, which checks and merges them.
//
// It never writes, and never waits for a file that is not a regular one. Start reading at Loader.
package configdir

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/policy/yamldoc"
)

// folders are where configuration lies, by precedence: the administrator's, what was made since boot, local installations,
// packages. Names and order are systemd's (CONFIGURATION DIRECTORIES AND PRECEDENCE in journald.conf(5)).
var folders = []string{"/etc/bailiff", "/run/bailiff", "/usr/local/lib/bailiff", "/usr/lib/bailiff"}

// Loader reads configuration files. The zero Loader reads the host's.
type Loader struct {
	Root string // prefix of every path, address lists included; empty: the host itself

	// Overlay holds file contents by path, read in place of the files on disk.
	Overlay map[string][]byte

	// Jails are the only ones wanted; nil is all. See config.Builder.Only.
	Jails []string
}

// Load reads bailiff.yaml, drop-ins, filters and address lists of the host:
//
//   - bailiff.yaml of the first folder that has one;
//   - all bailiff.d/*.yaml of all folders, sorted by file name whatever the folder, each overriding earlier ones. Of equal
//     names only that of the first folder counts; a link to /dev/null there disables the file;
//   - filters.d/NAME.yaml likewise, each a filter that adds to the built-in ones or replaces that of its name;
//   - the address lists that allow.files names.
//
// No file at all is no error: then the result is config.Default. Every error is a *diag.Error, several are joined, and then
// there is no configuration.
func (l *Loader) Load() (*config.Config, error) {
	return l.reader().folders(l.roots())
}

// LoadFile reads one file alone, over the built-in defaults: no drop-ins. Filters are read from filters.d beside it.
//
// A folder is read in place of /etc/bailiff and all others: bailiff.yaml, drop-ins, filters and, where allow.files names
// files in /etc/bailiff, address lists. "" is Load.
func (l *Loader) LoadFile(file string) (*config.Config, error) {
	if file == "" {
		return l.Load()
	}
	r := l.reader()
	if isDir(file) || r.overlaid(file) {
		r.instead = file
		return r.folders([]string{file})
	}
	r.file(file)
	return r.finish([]string{filepath.Dir(file)})
}

// roots are the folders under Root.
func (l *Loader) roots() []string {
	roots := make([]string, len(folders))
	for i, f := range folders {
		roots[i] = l.Root + f
	}
	return roots
}

func isDir(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.IsDir()
}

// reader is one load.
type reader struct {
	*config.Builder
	root    string
	overlay map[string][]byte
	instead string // folder in place of /etc/bailiff; "": none
}

func (l *Loader) reader() *reader {
	r := &reader{Builder: config.NewBuilder(), root: l.Root, overlay: l.Overlay}
	r.Only(l.Jails)
	return r
}

// overlaid reports whether files of the overlay lie in a folder.
func (r *reader) overlaid(dir string) bool {
	for name := range r.overlay {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

// folders reads what lies in the folders, given by precedence.
func (r *reader) folders(roots []string) (*config.Config, error) {
	if main := r.first("bailiff.yaml", roots); main != "" {
		r.file(main)
	}
	for _, f := range r.fragments("bailiff.d", roots) {
		r.file(f)
	}
	return r.finish(roots)
}

func (r *reader) finish(roots []string) (*config.Config, error) {
	r.filters(roots)
	r.lists()
	return r.Build()
}

// file reads a file, overriding earlier ones.
func (r *reader) file(name string) {
	if data, ok := r.read(name, yamldoc.MaxSize); ok {
		r.Add(name, data)
	}
}

// filters reads the operator's own filters.
func (r *reader) filters(roots []string) {
	for _, file := range r.fragments("filters.d", roots) {
		name := strings.TrimSuffix(path.Base(file), ".yaml")
		if data, ok := r.read(file, yamldoc.MaxSize); ok {
			r.AddFilter(file, name, data)
		} else {
			r.BreakFilter(name)
		}
	}
}

// lists reads the address lists.
func (r *reader) lists() {
	seen := make(map[string]bool)
	patterns, places := r.AllowFiles()
	for i, pattern := range patterns {
		files, err := r.matches(pattern)
		if err != nil {
			if err.File == "" {
				err.File, err.Line, err.Col, err.Path = places[i].File, places[i].Line, places[i].Col, "allow.files"
			}
			r.Fail(err)
		}
		for _, file := range files {
			if seen[file] || r.masked(file) {
				continue
			}
			seen[file] = true
			f := r.open(file)
			if f == nil {
				continue
			}
			entries, err := allow.ParseFile(file, f)
			f.Close()
			if err != nil {
				r.Fail(err)
			} else if !r.Allow(entries) {
				r.errorf(file, "with it there are more than %d allowed addresses and prefixes", allow.MaxEntries)
				return
			}
		}
	}
}

// matches returns the files that a pattern of allow.files names. A pattern without wildcards must name one that exists.
func (r *reader) matches(pattern string) ([]string, *diag.Error) {
	root, rest := r.root, pattern
	if below, ok := strings.CutPrefix(pattern, folders[0]+"/"); ok && r.instead != "" {
		root, rest = r.instead, "/"+below
	}
	first := strings.IndexAny(rest, `*?[\`)
	if first < 0 {
		file := root + rest
		if _, err := os.Stat(file); err != nil && r.overlay[file] == nil {
			return nil, diag.Errorf("%s: %s", file, cause(err)).WithHint("make the file, or write a pattern, which may find none: %s/*.list", path.Dir(pattern))
		}
		return []string{file}, nil
	}
	// Glob silently finds nothing in a folder that cannot be read; then nobody would be allowed.
	dir := root + path.Dir(rest[:first]+"x")
	if _, err := os.ReadDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &diag.Error{File: dir, Text: "cannot be read: " + cause(err).Error()}
	}
	whole := quoteGlob(root) + rest
	files, err := filepath.Glob(whole)
	if err != nil {
		return nil, diag.Errorf("%q: %s", diag.Clip(pattern), err)
	}
	for name := range r.overlay {
		if ok, _ := path.Match(whole, name); ok {
			files = append(files, name)
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// quoteGlob escapes a path for use in a pattern.
func quoteGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

// errorf reports an error of a file as a whole.
func (r *reader) errorf(file, format string, args ...any) {
	e := diag.Errorf(format, args...)
	e.File = file
	r.Fail(e)
}

// read reads a file of at most max bytes. An error is reported.
func (r *reader) read(name string, max int) ([]byte, bool) {
	f := r.open(name)
	if f == nil {
		return nil, false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(max)+1))
	if err != nil {
		r.errorf(name, "cannot be read: %s", cause(err))
		return nil, false
	}
	if len(data) > max {
		r.errorf(name, "has more than %d bytes", max)
		return nil, false
	}
	return data, true
}

// open opens a regular file. It returns nil if it cannot, and reports the error.
func (r *reader) open(name string) io.ReadCloser {
	if data, ok := r.overlay[name]; ok {
		return io.NopCloser(bytes.NewReader(data))
	}
	// O_NONBLOCK: a pipe would make open wait for a writer.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		r.errorf(name, "cannot be read: %s", cause(err))
		return nil
	}
	st, err := f.Stat()
	switch {
	case err != nil:
		r.errorf(name, "cannot be read: %s", cause(err))
	case !st.Mode().IsRegular():
		r.errorf(name, "is %s, not a file", kind(st.Mode()))
	default:
		if st.Mode().Perm()&0o002 != 0 {
			r.Notice(name + ": all users may write this file; chmod o-w it")
		}
		return f
	}
	f.Close()
	return nil
}

func kind(m fs.FileMode) string {
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

// cause is an error without the operation and the path, which are in our own text.
func cause(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// exists reports whether there is a file or a link, dead ones included.
func (r *reader) exists(name string) bool {
	if r.overlay[name] != nil {
		return true
	}
	_, err := os.Lstat(name)
	return !errors.Is(err, fs.ErrNotExist)
}

// masked reports whether a path is a link to /dev/null, by which a file is disabled.
func (r *reader) masked(name string) bool {
	if r.overlay[name] != nil {
		return false
	}
	st, err := os.Lstat(name)
	if err != nil || st.Mode()&fs.ModeSymlink == 0 {
		return false
	}
	to, err := filepath.EvalSymlinks(name)
	return err == nil && to == os.DevNull
}

// first returns the path of a file in the first folder that has it; "" if none has, or if it is disabled there.
func (r *reader) first(name string, roots []string) string {
	for _, dir := range roots {
		p := path.Join(dir, name)
		if !r.exists(p) {
			continue
		}
		if r.masked(p) {
			return ""
		}
		return p
	}
	return ""
}

// fragments lists the *.yaml of a subfolder of all roots as systemd does: by file name, and of equal names only the one in the first root.
func (r *reader) fragments(sub string, roots []string) []string {
	found := make(map[string]string) // path by name
	for _, root := range roots {
		dir := path.Join(root, sub)
		for _, name := range r.names(dir) {
			switch {
			case strings.HasPrefix(name, "."):
			case !strings.HasSuffix(name, ".yaml"):
				if ext := path.Ext(name); ext == ".yml" || ext == ".conf" {
					r.Notice(path.Join(dir, name) + ": is not read, since its name does not end in .yaml")
				}
			case found[name] == "":
				found[name] = path.Join(dir, name)
			}
		}
	}
	var files []string
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if !r.masked(found[name]) {
			files = append(files, found[name])
		}
	}
	return files
}

// names lists what is in a folder. An error is reported, unless the folder does not exist.
func (r *reader) names(dir string) (names []string) {
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.errorf(dir, "cannot be read: %s", cause(err))
	}
	for _, f := range list {
		names = append(names, f.Name())
	}
	for name := range r.overlay {
		if path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
