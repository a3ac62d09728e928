// Package ini reads fail2ban's configuration files as fail2ban does (jail.conf(5)): Python's ConfigParser with includes,
// .local files, references as in %(name)s and <tag>, and options in brackets.
//
// It keeps for each value the file and line that it comes from and which other options use it. It runs nothing, resolves
// no names and writes nothing. All sizes, depths and numbers of files are bounded.
//
// There is no library with these semantics: Go's INI libraries know neither ConfigParser's comments and continuation
// lines nor fail2ban's includes. Start reading at Reader.ReadAll, which fills a Tree; Definition reads a filter or an
// action.
package ini

import (
	"fmt"
	"strings"
)

// Option is one assignment in one file.
type Option struct {
	File     string
	Line     int
	Section  string
	Name     string
	Value    string
	Lines    []int   // the line number of each line of the value
	Previous *Option // the assignment that this one overrides

	ReplacedBy *Option         // the assignment that overrides this one
	UsedBy     map[string]bool // names of the options whose values contain this one
}

// LineOf returns the line number of a word in the value.
func (o *Option) LineOf(word string) int {
	for i, l := range strings.Split(o.Value, "\n") {
		if i < len(o.Lines) && strings.Contains(l, word) {
			return o.Lines[i]
		}
	}
	return o.Line
}

// FilledLines returns the line numbers of the lines that are not empty.
func (o *Option) FilledLines() (at []int) {
	for i, line := range strings.Split(o.Value, "\n") {
		if strings.TrimSpace(line) != "" && i < len(o.Lines) {
			at = append(at, o.Lines[i])
		}
	}
	return at
}

// Position returns the file and line: "FILE:LINE".
func (o *Option) Position() string { return fmt.Sprintf("%s:%d", o.File, o.Line) }

// Section is a section's options by name.
type Section struct {
	Name    string
	Options map[string]*Option
	Order   []string
}

func (s *Section) set(o *Option) {
	if old := s.Options[o.Name]; old != nil {
		if old != o {
			o.Previous, old.ReplacedBy = old, o
		}
	} else {
		s.Order = append(s.Order, o.Name)
	}
	s.Options[o.Name] = o
}

// Tree is the combined configuration of several files, where later files override earlier ones.
type Tree struct {
	Root     string // fail2ban's configuration folder
	Sections map[string]*Section
	Order    []string
	Files    []string
	Assigned []*Option // every assignment of every file, in reading order
	Vars     map[string]string
}

// NewTree returns an empty tree. root is fail2ban's configuration folder.
func NewTree(root string) *Tree {
	return &Tree{Root: root, Sections: make(map[string]*Section), Vars: make(map[string]string)}
}

func (t *Tree) section(name string) *Section {
	s := t.Sections[name]
	if s == nil {
		s = &Section{Name: name, Options: make(map[string]*Option)}
		t.Sections[name] = s
		t.Order = append(t.Order, name)
	}
	return s
}

// Local returns an option of the section itself, nil if there is none.
func (t *Tree) Local(sec, name string) *Option {
	if s := t.Sections[sec]; s != nil {
		return s.Options[name]
	}
	return nil
}

// Get returns an option of the section or, failing that, of [DEFAULT].
func (t *Tree) Get(sec, name string) *Option {
	if o := t.Local(sec, name); o != nil {
		return o
	}
	return t.Local("DEFAULT", name)
}

// Problem is an error in a file.
type Problem struct {
	File string
	Line int
	Text string
}
