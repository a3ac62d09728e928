package ini

import (
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

	"bailiff/cmd/bailiff/internal/text"
)

// Limits. fail2ban's own configuration has 400 KB in 250 files; the largest file has 30 KB.
const (
	MaxFile  = 1 << 20
	maxFiles = 2_000
	maxDepth = 10 // of includes, and of values within values
)

// Reader reads files with their includes into a tree.
type Reader struct {
	Tree     *Tree
	Problems []Problem
	seen     int
}

func (r *Reader) addProblem(file string, line int, format string, args ...any) {
	r.Problems = append(r.Problems, Problem{file, line, fmt.Sprintf(format, args...)})
}

// ReadAll reads NAME.conf, NAME.d/*.conf, NAME.local and NAME.d/*.local below the root, as far as they exist, each with
// its includes; later ones override earlier ones: jail.conf(5), FILES.
func (r *Reader) ReadAll(name string) {
	base := filepath.Join(r.Tree.Root, name)
	list := []string{base + ".conf"}
	for _, ext := range []string{".conf", ".local"} {
		if ext == ".local" {
			list = append(list, base+ext)
		}
		entries, err := os.ReadDir(base + ".d") // sorted by name
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.addProblem(base+".d", 0, "cannot be read: %v", err)
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
	parsed := make(map[string][]*Option)
	var order []string
	// Each included file brings its .local along, unless the list has it.
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
				r.addProblem(f, 0, "is included more than %d deep", maxDepth)
				return
			}
			opts, ok := parsed[f]
			if !ok {
				if r.seen++; r.seen > maxFiles {
					return
				}
				if opts, ok = r.Parse(f); !ok {
					continue
				}
				parsed[f] = opts
			}
			var before, after []string
			for _, o := range opts {
				if o.Section != "INCLUDES" || o.Name != "before" && o.Name != "after" {
					continue
				}
				var more []string
				for _, w := range strings.Split(o.Value, "\n") {
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
				if o.Name == "before" {
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
		r.Merge(f, parsed[f])
	}
}

// Merge adds a file's assignments to the tree. [Init?family=inet6] are options of [Init] for one case only.
func (r *Reader) Merge(file string, opts []*Option) {
	t := r.Tree
	if !slices.Contains(t.Files, file) {
		t.Files = append(t.Files, file)
	}
	for _, o := range opts {
		if !slices.Contains(t.Assigned, o) {
			t.Assigned = append(t.Assigned, o)
		}
		sec, cond, ok := strings.Cut(o.Section, "?")
		if ok {
			c := *o
			c.Section, c.Name = sec, o.Name+"?"+cond
			o = &c
		}
		t.section(sec).set(o)
	}
}

var (
	sectionLine = regexp.MustCompile(`^\[([^\]]+)\]`)
	optionLine  = regexp.MustCompile(`^(.*?)\s*[=:]\s*(.*)$`)
)

// Parse parses one file as Python's ConfigParser does: lines indented deeper than the option continue its value;
// # and ; begin a comment line, ; after white space a comment; names are lower case. ok is false if it cannot be read.
func (r *Reader) Parse(file string) ([]*Option, bool) {
	f, err := os.Open(file)
	if err != nil {
		if !os.IsNotExist(err) {
			r.addProblem(file, 0, "cannot be read: %v", err)
		}
		return nil, false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		r.addProblem(file, 0, "cannot be read: %v", err)
		return nil, false
	}
	if len(data) > MaxFile {
		r.addProblem(file, 0, "has more than %d bytes", MaxFile)
		return nil, false
	}
	return r.parseText(file, string(data)), true
}

func (r *Reader) parseText(file, content string) []*Option {
	var (
		opts   []*Option
		cur    *Option
		lines  []string
		sec    string
		indent = math.MaxInt
		first  = make(map[string]int)
	)
	flush := func() {
		if cur != nil {
			cur.Value = strings.TrimRight(strings.Join(lines, "\n"), " \t\r\n\v\f")
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
				cur.Lines = append(cur.Lines, n)
			}
			continue
		}
		depth := len(line) - len(strings.TrimLeft(line, " \t"))
		if cur != nil && depth > indent {
			lines = append(lines, value)
			cur.Lines = append(cur.Lines, n)
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
			r.addProblem(file, n, "%q is before the first [section]", text.Clip(value, 100))
		case m == nil || m[1] == "":
			r.addProblem(file, n, "%q is not an option: no =", text.Clip(value, 100))
		default:
			cur = &Option{File: file, Line: n, Lines: []int{n}, Section: sec, Name: strings.ToLower(m[1])}
			key := sec + "\x00" + cur.Name
			if first[key] > 0 {
				r.addProblem(file, n, "%s is set twice in [%s] (first in line %d): fail2ban rejects such a file; the last one is used", cur.Name, sec, first[key])
			}
			first[key] = n
			lines = []string{m[2]}
			opts = append(opts, cur)
		}
	}
	flush()
	return opts
}
