package config

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Render writes the configuration as it is in effect, every key with its value and, as a comment, where that comes from.
// Loading the text beside the same filters gives the same configuration again.
func (c *Config) Render() []byte {
	w := &writer{c: c}
	if len(c.Files) == 0 {
		w.line(0, "# No configuration file: all of this is built in.")
	} else {
		w.line(0, "# Merged, later over earlier:")
		for _, f := range c.Files {
			w.line(0, "#   "+printable(f))
		}
	}
	for _, n := range c.Notices {
		w.line(0, "# Notice: "+printable(n))
	}
	for _, f := range schema(c) {
		w.line(0, "")
		w.fields(0, "", []field{f})
	}
	return w.buf.Bytes()
}

type writer struct {
	c   *Config
	buf bytes.Buffer
}

func (w *writer) fields(depth int, at string, fields []field) {
	for _, f := range fields {
		path, key := join(at, f.name), quote(f.name)+":"
		switch {
		case f.fields != nil:
			w.line(depth, key)
			w.fields(depth+1, path, f.fields)
		case f.entries != nil && len(f.entries.all) == 0:
			w.with(depth, key+" {}", path)
		case f.entries != nil:
			w.line(depth, key)
			for _, e := range f.entries.all {
				w.line(depth+1, quote(e.name)+":")
				w.fields(depth+2, join(path, e.name), e.fields)
			}
		default:
			w.value(depth, key, path, f.get(), f.optional)
		}
	}
}

// value writes one setting, or nothing if it is empty and may be left out.
func (w *writer) value(depth int, key, path string, v any, optional bool) {
	switch v := v.(type) {
	case string:
		if v != "" || !optional {
			w.with(depth, key+" "+quote(v), path)
		}
	case []string:
		if len(v) > 0 {
			w.with(depth, key, path)
		} else if !optional {
			w.with(depth, key+" []", path)
		}
		for _, item := range v {
			w.line(depth+1, "- "+quote(item))
		}
	case [][2]string:
		if len(v) > 0 {
			w.with(depth, key, path)
		}
		for _, p := range v {
			w.line(depth+1, quote(p[0])+": "+p[1])
		}
	}
}

func (w *writer) line(depth int, s string) {
	if s != "" {
		w.buf.WriteString(strings.Repeat("  ", depth))
	}
	w.buf.WriteString(s)
	w.buf.WriteByte('\n')
}

// with writes a line with the origin of a path in a column of its own.
func (w *writer) with(depth int, s, path string) {
	w.line(depth, fmt.Sprintf("%-*s  # %s", 32-2*depth, s, printable(w.c.Origin(path))))
}

func words[T fmt.Stringer](l []T) []string {
	s := make([]string, len(l))
	for i, x := range l {
		s[i] = x.String()
	}
	return s
}

// quote writes a value so that YAML reads the same text: bare where it is made of harmless letters, else in double
// quotes, whose escapes YAML shares with JSON and Go.
func quote(s string) string {
	if isWord(s, letters+digits+"_./-") && s[0] != '-' && s != "null" {
		return s
	}
	return strconv.QuoteToASCII(s)
}

// inlineNumbers writes [18, 22].
func inlineNumbers(ns []int) string {
	return strings.ReplaceAll(fmt.Sprint(ns), " ", ", ")
}

// printable keeps a comment in its line.
func printable(s string) string {
	q := strconv.Quote(s)
	if q[1:len(q)-1] == s {
		return s
	}
	return q
}
