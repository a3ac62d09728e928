package yamldoc

import (
	"fmt"
	"strings"
	"testing"

	"bailiff/policy/diag"
)

func TestPlaces(t *testing.T) {
	n, err := Parse("f", []byte("a: 1\nb:\n  - x\n  - \"y\"\n  - ~\n  - \"~\"\nc:\n  d: |\n    text\n"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	var walk func(n *Node)
	walk = func(n *Node) {
		out = append(out, fmt.Sprintf("%d:%d %s %q %v", n.Line, n.Col, n.Kind, n.Value, n.Quoted))
		for _, p := range n.Pairs {
			walk(p.Key)
			walk(p.Value)
		}
		for _, i := range n.Items {
			walk(i)
		}
	}
	walk(n)
	want := []string{
		`1:1 a mapping "" false`, `1:1 a value "a" false`, `1:4 a value "1" false`, `2:1 a value "b" false`, `3:3 a list "" false`,
		`3:5 a value "x" false`, `4:5 a value "y" true`, `5:5 nothing "~" false`, `6:5 a value "~" true`, `7:1 a value "c" false`,
		`8:3 a mapping "" false`, `8:3 a value "d" false`, `8:6 a value "text\n" true`,
	}
	if got := strings.Join(out, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	if n.Get("a").Value != "1" || n.Get("z") != nil || (*Node)(nil).Get("a") != nil {
		t.Error("Get finds the wrong value")
	}
}

func TestNothing(t *testing.T) {
	for _, s := range []string{"", "\n", "# only a comment\n", "---\n", "~", "null\n"} {
		if n, err := Parse("f", []byte(s)); err != nil || n.Kind != Null {
			t.Errorf("%q: %v, %v", s, n, err)
		}
	}
}

func TestRefused(t *testing.T) {
	deep := strings.Repeat("[", maxDepth+2) + strings.Repeat("]", maxDepth+2)
	for s, want := range map[string]string{
		"a: &x 1\n":                       "f:1:4: anchors and aliases are not accepted",
		"a: 1\na: 2\n":                    `f:2:1: key "a" is set twice (first in line 1)`,
		"a: 1\n\"a\": 2\n":                `f:2:1: key "a" is set twice (first in line 1)`,
		"? [a]\n: 1\n":                    "f:1:3: a key must be a word, not a list",
		"~: 1\n":                          "f:1:1: a key must be a word, not nothing",
		"a: !x 1\n":                       "f:1:4: tags (!x) are not accepted",
		"a: 1\n---\nb: 1\n":               "f:2:1: holds more than one document",
		deep:                              fmt.Sprintf("f:1:%d: is nested more than %d deep", maxDepth+2, maxDepth),
		strings.Repeat("#", MaxSize+1):    fmt.Sprintf("f: has %d bytes, more than %d", MaxSize+1, MaxSize),
		"a: \xff\n":                       "f:1:1: is not YAML: invalid",
		"a: \"open\n":                     "f:2:1: is not YAML: ",
		"a: b: c\n":                       "f:1:1: is not YAML: mapping values are not allowed in this context",
		"a: 1\nb: &x 2\nc: !y 3\nd: *x\n": "f:2:4: anchors and aliases are not accepted\nf:3:4: tags (!y) are not accepted\nf:4:4: anchors",
	} {
		n, err := Parse("f", []byte(s))
		if n != nil || err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.40q: %v, %v\nwant %s", s, n, err, want)
			continue
		}
		for _, e := range diag.Errors(err) {
			if e.File != "f" {
				t.Errorf("%.40q: error %+v", s, e)
			}
		}
	}
}

// A small file that would grow when it is expanded stays small.
func TestNoExpansion(t *testing.T) {
	s := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		s += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	if n, err := Parse("f", []byte(s)); n != nil || err == nil {
		t.Errorf("%v, %v", n, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("a: [1, {b: c}]\n"))
	f.Add([]byte("a: &x 1\nb: *x\n---\nc: !t 2\n"))
	f.Add([]byte("? |\n  a\n: - b\n  - >-\n    c\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := Parse("f", data)
		if (n == nil) == (err == nil) {
			t.Fatalf("%v, %v", n, err)
		}
		for _, e := range diag.Errors(err) {
			if e.File != "f" || e.Text == "" || e.Line > 0 && e.Col < 1 {
				t.Fatalf("error %+v", e)
			}
		}
	})
}
