package fail2ban

import (
	"bailiff/cmd/bailiff/internal/text"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Bounds of what is read. fail2ban's own configuration has some 400 KB in 250 files; the largest file has 30 KB.
const (
	maxFile  = 1 << 20
	maxFiles = 2_000
	maxDepth = 10 // of includes, and of values within values
)

// option is one assignment of one file.
type option struct {
	file       string
	line       int
	section    string
	name       string
	value      string
	lines      []int   // where each line of the value stands
	overridden *option // the assignment of the same name that this one took the place of

	by     *option         // what took this one's place
	usedBy map[string]bool // names of the options whose values hold this one
}

// lineOf returns where a word of the value stands.
func (o *option) lineOf(word string) int {
	for i, l := range strings.Split(o.value, "\n") {
		if i < len(o.lines) && strings.Contains(l, word) {
			return o.lines[i]
		}
	}
	return o.line
}

func (o *option) at() string { return fmt.Sprintf("%s:%d", o.file, o.line) }

// section is a section's options by name.
type section struct {
	name    string
	options map[string]*option
	order   []string
}

func (s *section) set(o *option) {
	if old := s.options[o.name]; old != nil {
		if old != o {
			o.overridden, old.by = old, o
		}
	} else {
		s.order = append(s.order, o.name)
	}
	s.options[o.name] = o
}

// tree is what several files say together, one over the other.
type tree struct {
	root     string // the folder that fail2ban was configured in
	sections map[string]*section
	order    []string
	files    []string
	assigned []*option // every assignment of every file, in the order of reading
	vars     map[string]string
}

func newTree(root string) *tree {
	return &tree{root: root, sections: make(map[string]*section), vars: make(map[string]string)}
}

func (t *tree) section(name string) *section {
	s := t.sections[name]
	if s == nil {
		s = &section{name: name, options: make(map[string]*option)}
		t.sections[name] = s
		t.order = append(t.order, name)
	}
	return s
}

// own returns an option that stands in the section itself.
func (t *tree) own(sec, name string) *option {
	if s := t.sections[sec]; s != nil {
		return s.options[name]
	}
	return nil
}

// get returns an option of the section, or else of [DEFAULT].
func (t *tree) get(sec, name string) *option {
	if o := t.own(sec, name); o != nil {
		return o
	}
	return t.own("DEFAULT", name)
}

// problem is a fault of a file.
type problem struct {
	file string
	line int
	text string
}

// reader reads files with their includes.
type reader struct {
	tree     *tree
	problems []problem
	seen     int
}

func (r *reader) problem(file string, line int, format string, args ...any) {
	r.problems = append(r.problems, problem{file, line, fmt.Sprintf(format, args...)})
}

// readAll reads NAME.conf, NAME.d/*.conf, NAME.local and NAME.d/*.local below the root, those that there are, each with
// what it includes, and lays them one over the other: jail.conf(5), FILES.
func (r *reader) readAll(name string) {
	base := filepath.Join(r.tree.root, name)
	list := []string{base + ".conf"}
	for _, ext := range []string{".conf", ".local"} {
		if ext == ".local" {
			list = append(list, base+ext)
		}
		entries, err := os.ReadDir(base + ".d") // sorted by name
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.problem(base+".d", 0, "cannot be read: %v", err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ext) {
				list = append(list, filepath.Join(base+".d", e.Name()))
			}
		}
	}
	var files []string
	for _, f := range list {
		if st, err := os.Stat(f); err == nil && !st.IsDir() {
			files = append(files, f)
		}
	}
	parsed := make(map[string][]*option)
	var order []string
	// A list of includes brings the .local of each of its files along, unless the list has it.
	var include func(files []string, above []string)
	include = func(files, above []string) {
		var all []string
		for _, f := range files {
			all = append(all, f)
			local := strings.TrimSuffix(f, filepath.Ext(f)) + ".local"
			if st, err := os.Stat(local); err == nil && !st.IsDir() && !slices.Contains(files, local) {
				all = append(all, local)
			}
		}
		for _, f := range all {
			if len(above) > maxDepth {
				r.problem(f, 0, "is included more than %d deep", maxDepth)
				return
			}
			opts, ok := parsed[f]
			if !ok {
				if r.seen++; r.seen > maxFiles {
					return
				}
				if opts, ok = r.parse(f); !ok {
					continue
				}
				parsed[f] = opts
			}
			var before, after []string
			for _, o := range opts {
				if o.section != "INCLUDES" || o.name != "before" && o.name != "after" {
					continue
				}
				var more []string
				for _, w := range strings.Split(o.value, "\n") {
					if w = strings.TrimSpace(w); w == "" {
						continue
					}
					if !filepath.IsAbs(w) {
						w = filepath.Join(filepath.Dir(f), w)
					}
					if !slices.Contains(above, w) {
						more = append(more, w)
					}
				}
				if o.name == "before" {
					before = more
				} else {
					after = more
				}
			}
			deeper := append(slices.Clone(above), f)
			include(before, deeper)
			order = append(order, f)
			include(after, deeper)
		}
	}
	include(files, nil)
	for _, f := range order {
		r.merge(f, parsed[f])
	}
}

// merge lays a file's assignments over the tree. [Init?family=inet6] are options of [Init] that hold in one case.
func (r *reader) merge(file string, opts []*option) {
	t := r.tree
	if !slices.Contains(t.files, file) {
		t.files = append(t.files, file)
	}
	for _, o := range opts {
		if !slices.Contains(t.assigned, o) {
			t.assigned = append(t.assigned, o)
		}
		sec, cond, ok := strings.Cut(o.section, "?")
		if ok {
			c := *o
			c.section, c.name = sec, o.name+"?"+cond
			o = &c
		}
		t.section(sec).set(o)
	}
}

var (
	sectionLine = regexp.MustCompile(`^\[([^\]]+)\]`)
	optionLine  = regexp.MustCompile(`^(.*?)\s*[=:]\s*(.*)$`)
)

// parse reads one file as Python's ConfigParser does: what is indented deeper than its option goes on with the value;
// # and ; begin a comment line, and ; behind white space a comment; names are in lower case.
func (r *reader) parse(file string) ([]*option, bool) {
	f, err := os.Open(file)
	if err != nil {
		if !os.IsNotExist(err) {
			r.problem(file, 0, "cannot be read: %v", err)
		}
		return nil, false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		r.problem(file, 0, "cannot be read: %v", err)
		return nil, false
	}
	if len(data) > maxFile {
		r.problem(file, 0, "has more than %d bytes", maxFile)
		return nil, false
	}
	return r.parseText(file, string(data)), true
}

func (r *reader) parseText(file, content string) []*option {
	var (
		opts   []*option
		cur    *option
		lines  []string
		sec    string
		indent = math.MaxInt
		first  = make(map[string]int)
	)
	flush := func() {
		if cur != nil {
			cur.value = strings.TrimRight(strings.Join(lines, "\n"), " \t\r\n\v\f")
		}
		cur, lines = nil, nil
	}
	for i, line := range strings.Split(strings.TrimPrefix(content, "\ufeff"), "\n") {
		n := i + 1
		line = strings.TrimRight(line, "\r")
		comment := false
		if t := strings.TrimSpace(line); strings.HasPrefix(t, "#") || strings.HasPrefix(t, ";") {
			line, comment = "", true
		} else {
			for at := 1; at < len(line); at++ {
				if line[at] == ';' && (line[at-1] == ' ' || line[at-1] == '\t') {
					line, comment = line[:at], true
					break
				}
			}
		}
		value := strings.TrimSpace(line)
		if value == "" {
			if !comment && cur != nil {
				lines = append(lines, "")
				cur.lines = append(cur.lines, n)
			}
			continue
		}
		depth := len(line) - len(strings.TrimLeft(line, " \t"))
		if cur != nil && depth > indent {
			lines = append(lines, value)
			cur.lines = append(cur.lines, n)
			continue
		}
		indent = depth
		flush()
		if m := sectionLine.FindStringSubmatch(value); m != nil {
			sec = m[1]
			continue
		}
		m := optionLine.FindStringSubmatch(value)
		switch {
		case sec == "":
			r.problem(file, n, "%q stands before the first [section]", text.Clip(value, 100))
		case m == nil || m[1] == "":
			r.problem(file, n, "%q is not an option: it has no =", text.Clip(value, 100))
		default:
			cur = &option{file: file, line: n, lines: []int{n}, section: sec, name: strings.ToLower(m[1])}
			key := sec + "\x00" + cur.name
			if first[key] > 0 {
				r.problem(file, n, "%s stands twice in [%s] (first in line %d): fail2ban refuses such a file; the last one is taken", cur.name, sec, first[key])
			}
			first[key] = n
			lines = []string{m[2]}
			opts = append(opts, cur)
		}
	}
	flush()
	return opts
}
