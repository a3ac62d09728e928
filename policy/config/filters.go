package config

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/policy/yamldoc"
)

// FilterFile is a filter as its file stands there, good or not.
type FilterFile struct {
	Name    string         // by the file's name
	File    string         // where it lies; builtin/NAME.yaml is compiled in
	Builtin bool           // it is compiled in
	Hides   []string       // files of the same name that it takes the place of, the nearest first
	Data    []byte         // what stands in it; nil if it cannot be read
	Filter  *filter.Filter // nil if Err is not
	Err     error          // what is wrong with it: a *diag.Error, or several joined
}

// FilterFiles lists the filters of the host by name, those that are refused included: an operator's own before the
// built-in ones. With a configuration file the own ones are those in filters.d beside it
// or, if it is a folder, in it, as in LoadFile.
//
// An operator's files are read with all checks, the forgery test and their test lines; what is built in went through them when it was made.
// The error is about folders that cannot be read.
func (l *Loader) FilterFiles(file string) ([]FilterFile, error) {
	roots := l.roots()
	if file != "" {
		if st, err := os.Stat(file); err != nil || !st.IsDir() {
			file = filepath.Dir(file)
		}
		roots = []string{file}
	}
	var t task
	t.raw = newRaw()
	own := make(map[string]string)
	for _, f := range t.fragments("filters.d", roots) {
		own[strings.TrimSuffix(path.Base(f), ".yaml")] = f
	}
	names := slices.Clone(builtin())
	for n := range own {
		names = append(names, n)
	}
	slices.Sort(names)
	var all []FilterFile
	for _, name := range slices.Compact(names) {
		x := FilterFile{Name: name, File: "builtin/" + name + ".yaml", Builtin: own[name] == ""}
		if x.Builtin {
			x.Data, x.Err = filter.BuiltinSource(name)
			if x.Err == nil {
				x.Filter, x.Err = filter.LoadBuiltin(name)
			}
		} else {
			x.File = own[name]
			x.Hides = hidden(name, own[name], roots)
			x.read()
		}
		all = append(all, x)
	}
	return all, errors.Join(t.errs...)
}

// ReadFilterFile reads one file as a filter, with all checks, wherever it lies.
func ReadFilterFile(file string) FilterFile {
	x := FilterFile{Name: strings.TrimSuffix(filepath.Base(file), ".yaml"), File: file}
	x.read()
	return x
}

func (x *FilterFile) read() {
	t := task{raw: newRaw()}
	data, ok := t.content(x.File, yamldoc.MaxSize)
	if x.Data = data; !ok {
		x.Err = errors.Join(t.errs...)
		return
	}
	x.Filter, x.Err = parseFilter(x.File, x.Name, data)
}

// parseFilter reads a filter whose name must be that of its file.
func parseFilter(file, name string, data []byte) (*filter.Filter, error) {
	f, err := filter.Parse(file, data)
	if err != nil {
		return nil, err
	}
	if f.Name != name {
		at := &yamldoc.Node{File: file, Line: 1, Col: 1}
		if root, err := yamldoc.Parse(file, data); err == nil {
			at = root.Get("name")
		}
		return nil, at.Errorf("name", "is %q, but its file name says %q", f.Name, diag.Clip(name)).WithHint("call the file %s.yaml, or the filter %s", f.Name, diag.Clip(name))
	}
	return f, nil
}

// hidden lists the files that file takes the place of.
func hidden(name, file string, roots []string) (l []string) {
	for _, r := range roots {
		p := path.Join(r, "filters.d", name+".yaml")
		if _, err := os.Lstat(p); p != file && !errors.Is(err, fs.ErrNotExist) {
			l = append(l, p)
		}
	}
	if slices.Contains(builtin(), name) {
		l = append(l, "builtin/"+name+".yaml")
	}
	return l
}
