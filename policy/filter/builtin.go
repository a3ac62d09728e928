package filter

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"bailiff/policy/diag"
	"bailiff/policy/yamldoc"
)

//go:embed builtin/*.yaml
var builtin embed.FS

// Builtin lists the names of the filters that come with the program.
func Builtin() []string {
	names, err := fs.Glob(builtin, "builtin/*.yaml")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for i, n := range names {
		names[i] = strings.TrimSuffix(path.Base(n), ".yaml")
	}
	slices.Sort(names)
	return names
}

//go:embed fragments.yaml
var fragmentsFile []byte

// sharedFragments are the fragments that every filter can use.
var sharedFragments = sync.OnceValue(func() fragments {
	root, err := yamldoc.Parse("fragments.yaml", fragmentsFile)
	if err != nil {
		panic(err) // it is a part of the program
	}
	l := &loader{lines: strings.Split(string(fragmentsFile), "\n"), define: make(fragments)}
	if l.fragments(root, ""); len(l.errs) > 0 {
		panic(joinErrors(l.errs))
	}
	return l.define
})

var loaded sync.Map // name → func() (*Filter, error)

// LoadBuiltin returns a filter that comes with the program. It is read once, and its rules when they are first used. The forgery test is
// not run here: this package's tests run it on all built-in filters.
func LoadBuiltin(name string) (*Filter, error) {
	once, _ := loaded.LoadOrStore(name, sync.OnceValues(func() (*Filter, error) { return readBuiltin(name) }))
	return once.(func() (*Filter, error))()
}

func readBuiltin(name string) (*Filter, error) {
	data, err := BuiltinSource(name)
	if err != nil {
		return nil, err
	}
	file := "builtin/" + name + ".yaml"
	l, _, err := open(file, data)
	if err != nil {
		return nil, err
	}
	l.f.rules = sync.OnceValue(func() *rules {
		whole, err := read(file, data)
		if err != nil {
			panic(err) // it is a part of the program
		}
		return whole.rules()
	})
	return l.f, joinErrors(l.errs)
}

// BuiltinSource returns the file of a filter that comes with the program.
func BuiltinSource(name string) ([]byte, error) {
	data, err := builtin.ReadFile("builtin/" + name + ".yaml")
	if err != nil {
		if near := diag.Near(name, Builtin()); near != "" {
			return nil, fmt.Errorf("there is no built-in filter %q: did you mean %s?", name, near)
		}
		return nil, fmt.Errorf("there is no built-in filter %q", name)
	}
	return data, nil
}
