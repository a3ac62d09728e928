package configdir

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/yamldoc"
)

// FilterFile is a filter's file, valid or not.
type FilterFile struct {
	Name    string         // from the file's name
	File    string         // its path; builtin/NAME.yaml is compiled in
	Builtin bool           // it is compiled in
	Hides   []string       // files of the same name that it replaces, the nearest first
	Data    []byte         // what the file holds; nil if it cannot be read
	Filter  *filter.Filter // nil if Err is not
	Err     error          // what is wrong with it: a *diag.Error, or several joined
}

// FilterFiles lists the filters of the host by name, those that are rejected included: an operator's own before the built-in ones. With a
// configuration file, the operator's own are in filters.d beside it or, if it is a folder, inside it, as in LoadFile.
//
// An operator's files are read with all checks, the forgery test and their test lines; built-in filters have passed them at build time. The
// error is about folders that cannot be read.
func (l *Loader) FilterFiles(file string) ([]FilterFile, error) {
	roots := l.roots()
	if file != "" {
		if !isDir(file) {
			file = filepath.Dir(file)
		}
		roots = []string{file}
	}
	r := l.reader()
	own := make(map[string]string)
	for _, f := range r.fragments("filters.d", roots) {
		own[strings.TrimSuffix(path.Base(f), ".yaml")] = f
	}
	names := filter.Builtin()
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
			x.Hides = r.hidden(name, own[name], roots)
			x.read()
		}
		all = append(all, x)
	}
	return all, r.Err()
}

// ReadFilterFile reads one file as a filter, with all checks, wherever it is.
func ReadFilterFile(file string) FilterFile {
	x := FilterFile{Name: strings.TrimSuffix(filepath.Base(file), ".yaml"), File: file}
	x.read()
	return x
}

func (x *FilterFile) read() {
	r := new(Loader).reader()
	data, ok := r.read(x.File, yamldoc.MaxSize)
	if x.Data = data; !ok {
		x.Err = r.Err()
		return
	}
	x.Filter, x.Err = config.ParseFilter(x.File, x.Name, data)
}

// hidden lists the files that file replaces.
func (r *reader) hidden(name, file string, roots []string) (l []string) {
	for _, root := range roots {
		if p := path.Join(root, "filters.d", name+".yaml"); p != file && r.exists(p) {
			l = append(l, p)
		}
	}
	if slices.Contains(filter.Builtin(), name) {
		l = append(l, "builtin/"+name+".yaml")
	}
	return l
}
