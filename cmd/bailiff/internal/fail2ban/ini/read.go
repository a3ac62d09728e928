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
	entries, err := os.ReadDir(base + ".d") // sorted by name
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.addProblem(base+".d", 0, "cannot be read: %v", err)
	}
	var files []string
	for _, ext := range []string{".conf", ".local"} {
		files = append(files, base+ext)
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ext) {
				files = append(files, filepath.Join(base+".d", e.Name()))
			}
		}
	}
	files = slices.DeleteFunc(files, func(f string) bool { return !isFile(f) })
	parsed := make(map[string][]*Option)
	var order []string
	var include func(files, above []string)
	include = func(files, above []string) {
		for i := 0; i < len(files); i++ {
			f := files[i]
			// Each file brings its .local along, unless the list has it.
			if local := strings.TrimSuffix(f, filepath.Ext(f)) + ".local"; isFile(local) && !slices.Contains(files, local) {
				files = slices.Insert(files, i+1, local)
			}
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
			more := map[string][]string{}
			for _, o := range opts {
				if o.Section != "INCLUDES" {
					continue
				}
				more[o.Name] = nil
				for _, w := range strings.Split(o.Value, "\n") {
					if w = strings.TrimSpace(w); w != "" && !filepath.IsAbs(w) {
						w = filepath.Join(filepath.Dir(f), w)
					}
					if w != "" && !slices.Contains(above, w) {
						more[o.Name] = append(more[o.Name], w)
					}
				}
			}
			deeper := append(slices.Clone(above), f)
			include(more["before"], deeper)
			order = append(order, f)
			include(more["after"], deeper)
		}
	}
	include(files, nil)
	for _, f := range order {
		r.Merge(f, parsed[f])
	}
}

func isFile(name string) bool {
	st, err := os.Stat(name)
	return err == nil && !st.IsDir()
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
	comments    = regexp.MustCompile(`^[\s\pZ]*[#;].*|[ \t];.*`)
)

// Parse parses one file as Python's ConfigParser does: lines indented deeper than the option continue its value;
// # and ; begin a comment line, ; after white space a comment; names are lower case. ok is false if it cannot be read.
func (r *Reader) Parse(file string) ([]*Option, bool) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	var data []byte
	if err == nil {
		defer f.Close()
		data, err = io.ReadAll(io.LimitReader(f, MaxFile+1))
	}
	switch {
	case err != nil:
		r.addProblem(file, 0, "cannot be read: %v", err)
		return nil, false
	case len(data) > MaxFile:
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
		bare := comments.ReplaceAllString(line, "")
		comment := bare != line
		line = bare
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
