package journal

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ParseMatches reads matches as journalctl takes them: FIELD=VALUE arguments, with "+" between groups.
func ParseMatches(args []string) (Matches, error) {
	var ms Matches
	var g Group
	for i, a := range args {
		if a == "+" {
			if len(g) == 0 || i == len(args)-1 {
				return nil, errors.New(`"+" stands between two groups of matches, not at the beginning or at the end`)
			}
			ms, g = append(ms, g), nil
			continue
		}
		field, value, ok := strings.Cut(a, "=")
		if !ok || !validField(field) {
			return nil, fmt.Errorf("%q is not a match: want FIELD=VALUE, with a field of A-Z, 0-9 and _", clip(a))
		}
		g = append(g, Match{field, value})
	}
	if len(g) > 0 {
		ms = append(ms, g)
	}
	return ms, nil
}

// Mapped is the number of files that are mapped.
func (r *Reader) Mapped() (n int) {
	for _, f := range r.files {
		if f.m != nil {
			n++
		}
	}
	return n
}

// MaxMapped is how many files stay mapped for lookups.
const MaxMapped = maxMapped

// Mappings are where the files are mapped, by path.
func (r *Reader) Mappings() map[string]*byte {
	m := make(map[string]*byte)
	for _, f := range r.files {
		if f.m != nil {
			m[f.path] = &f.m[0]
		}
	}
	return m
}

// Unmap releases all files that are mapped for lookups.
func (r *Reader) Unmap() {
	for len(r.found.mapped) > 0 {
		r.found.forget(r.found.mapped[0].f)
	}
}

// Wakeups is the number of polls in Wait.
func (r *Reader) Wakeups() uint64 { return r.watcher.woken }

// Break makes searching for values in the file at a path panic, until repair is called.
func (r *Reader) Break(path string) (repair func()) {
	for _, f := range r.files {
		if f.path == path {
			n := f.hashItems
			f.hashItems = 0 // divided by
			return func() { f.hashItems = n }
		}
	}
	panic("no file " + path)
}

// BreakExport makes parsing the output of journalctl panic.
func (r *Reader) BreakExport() {
	for _, g := range r.groups {
		g.via.proc.x.r = nil
	}
}

// TryAgain sets the delays after which a file is tried again. The function returned restores them.
func TryAgain(d ...time.Duration) (restore func()) {
	old := retryAfter
	retryAfter = d
	return func() { retryAfter = old }
}
