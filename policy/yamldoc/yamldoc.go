// Package yamldoc reads one YAML document into a tree in which every key and value has its line and column, so that errors can name the
// place.
//
// It never expands anything: aliases, merge keys and custom tags are errors, so a small file stays a small tree. It is the only
// importer of gopkg.in/yaml.v3, which is archived. A replace directive cannot substitute its successor, go.yaml.in/yaml/v3, whose own
// tests import it by its path: go mod tidy refuses one module under two paths. Moving to it means changing the import here.
//
// Start reading at Parse.
package yamldoc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"gopkg.in/yaml.v3"

	"bailiff/policy/diag"
)

// MaxSize is the largest document read, in bytes. The largest built-in filter has some tens of kilobytes; an address list belongs in an
// allow file, which is read line by line.
const MaxSize = 1 << 20

// maxDepth bounds nesting. Configuration needs five levels; the bound keeps recursion over the tree harmless.
const maxDepth = 32

// Kind says what a Node is.
type Kind uint8

// The kinds of nodes.
const (
	Null   Kind = iota // nothing, ~ or null
	Scalar             // a word, a number, a text: Value holds it as written
	Map
	List
)

func (k Kind) String() string {
	switch k {
	case Scalar:
		return "a value"
	case Map:
		return "a mapping"
	case List:
		return "a list"
	}
	return "nothing"
}

// Node is one value of the document with its place.
type Node struct {
	File      string
	Line, Col int // both from 1
	Kind      Kind
	Value     string // of a Scalar, unquoted
	Quoted    bool   // the Scalar was quoted or a block, so it is text whatever it looks like
	Pairs     []Pair // of a Map, in the order of the file, no key twice
	Items     []*Node
}

// Pair is one key of a Map with its value.
type Pair struct{ Key, Value *Node }

// Get returns the value of a key of a Map, or nil.
func (n *Node) Get(key string) *Node {
	if n == nil {
		return nil
	}
	for _, p := range n.Pairs {
		if p.Key.Value == key {
			return p.Value
		}
	}
	return nil
}

// Errorf returns an error at the node's place. path names the value as an operator would (jails.sshd.ban_time); it may be empty.
func (n *Node) Errorf(path, format string, args ...any) *diag.Error {
	return &diag.Error{File: n.File, Line: n.Line, Col: n.Col, Path: path, Text: fmt.Sprintf(format, args...)}
}

var yamlLine = regexp.MustCompile(`^yaml: (?:unmarshal errors:\s*)?(?:line (\d+): )?(.*)$`)

// syntaxHints say what the usual cause of a parser's error is.
var syntaxHints = map[string]string{
	"found character that cannot start any token":     "a text that begins with @, ` or % needs quotes; a tab cannot indent, blanks can",
	"mapping values are not allowed in this context":  "a text that holds \": \" needs quotes; and the keys of one entry begin in the same column",
	"found unknown escape character":                  `between double quotes \ begins an escape: use single quotes`,
	"found unexpected end of stream":                  "a quote is not closed: look from this line on",
	"did not find expected ',' or '}'":                "a { is not closed, or a text in it needs quotes: look from this line on",
	"did not find expected ',' or ']'":                "a [ is not closed, or a text in it needs quotes: look from this line on",
	"did not find expected node content":              "a text that begins with a colon needs quotes, as an IPv6 address does: [\"::1\"]",
	"did not find expected key":                       "the keys of one entry begin in the same column; a text that holds quotes or \": \" needs quotes",
	"did not find expected '-' indicator":             "the entries of one list begin in the same column, each with a dash",
	"found a tab character that violates indentation": "a tab cannot indent, blanks can",
}

// Parse reads one document. An empty one gives a node of kind Null. Every error is a *diag.Error, several are joined.
func Parse(file string, data []byte) (*Node, error) {
	fail := func(line, col int, format string, args ...any) *diag.Error {
		return &diag.Error{File: file, Line: line, Col: col, Text: fmt.Sprintf(format, args...)}
	}
	if len(data) > MaxSize {
		return nil, fail(0, 0, "has %d bytes, more than %d", len(data), MaxSize)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return &Node{File: file, Line: 1, Col: 1}, nil
		}
		line, text := 1, err.Error()
		if m := yamlLine.FindStringSubmatch(text); m != nil {
			text = m[2]
			if m[1] != "" {
				line, _ = strconv.Atoi(m[1])
			}
		}
		e := fail(line, 1, "is not YAML: %s", text)
		e.Hint = syntaxHints[text]
		return nil, e
	}
	var extra yaml.Node
	if err := dec.Decode(&extra); !errors.Is(err, io.EOF) {
		return nil, fail(max(extra.Line, 1), 1, "holds more than one document").WithHint("write each into its own file")
	}
	if len(doc.Content) == 0 {
		return &Node{File: file, Line: 1, Col: 1}, nil
	}
	var errs []error
	n := convert(file, doc.Content[0], 0, &errs)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return n, nil
}

func convert(file string, y *yaml.Node, depth int, errs *[]error) *Node {
	n := &Node{File: file, Line: y.Line, Col: y.Column}
	if depth > maxDepth {
		*errs = append(*errs, n.Errorf("", "is nested more than %d deep", maxDepth))
		return n
	}
	if y.Anchor != "" || y.Kind == yaml.AliasNode {
		*errs = append(*errs, n.Errorf("", "anchors and aliases are not accepted").WithHint("write the value out"))
		return n
	}
	if y.Style&yaml.TaggedStyle != 0 {
		*errs = append(*errs, n.Errorf("", "tags (%s) are not accepted", y.Tag))
		return n
	}
	switch y.Kind {
	case yaml.ScalarNode:
		n.Value = y.Value
		n.Quoted = y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
		n.Kind = Scalar
		if y.Tag == "!!null" && !n.Quoted {
			n.Kind = Null
		}
	case yaml.SequenceNode:
		n.Kind = List
		for _, c := range y.Content {
			n.Items = append(n.Items, convert(file, c, depth+1, errs))
		}
	case yaml.MappingNode:
		n.Kind = Map
		seen := make(map[string]int, len(y.Content)/2)
		for i := 0; i+1 < len(y.Content); i += 2 {
			k := convert(file, y.Content[i], depth+1, errs)
			if k.Kind != Scalar {
				*errs = append(*errs, k.Errorf("", "a key must be a word, not %s", k.Kind))
				continue
			}
			if first, dup := seen[k.Value]; dup {
				*errs = append(*errs, k.Errorf("", "key %q is set twice (first in line %d)", k.Value, first))
				continue
			}
			seen[k.Value] = k.Line
			n.Pairs = append(n.Pairs, Pair{k, convert(file, y.Content[i+1], depth+1, errs)})
		}
	}
	return n
}
