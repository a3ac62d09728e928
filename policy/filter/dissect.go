package filter

import (
	"bytes"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// Piece is a part of a line as a pattern matched it.
type Piece struct {
	// Field is "" for literal text of the pattern, which is the same in every such line; "addr", "port", "user", "id",
	// "source" or "count" for captures; otherwise the class of the field ("num", "host", "text", …).
	Field string
	Text  []byte // a slice of the line; a field may be empty
}

// Dissect splits a line into pieces as the named pattern matches it, for redaction. It is not used to match entries. Pieces without a field
// are text of the filter file, punctuation of an address with its port ("[", "]:") and the frame of a folded line ("message repeated N
// times: ["); a client chooses nothing in them. It returns false if no pattern of that name matches the line in any mode. Trailing white
// space is left out.
func (f *Filter) Dissect(pattern string, msg []byte) ([]Piece, bool) {
	text, repeat, truncated := f.open(msg)
	if repeat == 0 {
		return nil, false
	}
	pieces, ok := f.dissect(pattern, text, truncated)
	if folded := bytes.HasPrefix(msg, []byte(repeated)); !ok || !folded {
		return pieces, ok
	}
	count, _, _ := bytes.Cut(msg[len(repeated):], []byte(" "))
	return slices.Concat([]Piece{{Text: []byte(repeated)}, {Field: "count", Text: count}, {Text: []byte(" times: [ ")}}, pieces, []Piece{{Text: []byte("]")}}), true
}

func (f *Filter) dissect(pattern string, msg []byte, truncated bool) ([]Piece, bool) {
	for _, p := range f.rules().prefixes {
		prefix, from, ok := p.prog.dissect(msg, 0)
		if !ok {
			continue
		}
		if rest, ok := f.dissectFrom(pattern, msg, from, truncated); ok {
			return append(prefix, rest...), true
		}
		break
	}
	return f.dissectFrom(pattern, msg, 0, truncated)
}

func (f *Filter) dissectFrom(pattern string, msg []byte, from int, truncated bool) ([]Piece, bool) {
	for _, p := range f.rules().patterns {
		switch {
		case p.Name != pattern || truncated && (p.re != nil || !p.prog.early):
		case p.re != nil:
			if pieces, ok := split(p.split(), msg[from:]); ok {
				return pieces, true
			}
		default:
			if pieces, _, ok := p.prog.dissect(msg, from); ok {
				return pieces, true
			}
		}
	}
	return nil, false
}

// taken is the text of a field.
type taken struct {
	field string
	span
}

// dissect returns the text of each field of the line from a position on, and where the program ended. A vm has only a few
// captures, so it runs once for each field.
func (p *program) dissect(msg []byte, from int) ([]Piece, int, bool) {
	q := program{ins: slices.Clone(p.ins), choices: p.choices}
	for i := range q.ins {
		q.ins[i].cap = capNone
	}
	var v vm
	run := func() bool {
		v = newVM(msg)
		return v.match(&q, 0, from)
	}
	if !run() {
		return nil, 0, false
	}
	end := v.tail
	if p.ins[len(p.ins)-1].op == opAccept {
		end = v.pos
	}
	var all []taken
	for i := range p.ins {
		in := &p.ins[i]
		switch in.op {
		case opPeer:
			run()
			all = append(all, taken{"addr", v.caps[capAddr]}, taken{"port", v.caps[capPort]})
		case opRun, opText, opAddr, opPort, opSkip:
			q.ins[i].cap = capUser
			run()
			q.ins[i].cap = capNone
			all = append(all, taken{in.field(), v.caps[capUser]})
		}
	}
	return pieces(msg, from, end, all), end, true
}

// field returns the name of a step's field.
func (in *instr) field() string {
	if in.cap != capNone {
		return captureNames[in.cap]
	}
	return in.class.String()
}

// pieces splits the line between from and end into fields and the text between them.
func pieces(msg []byte, from, end int, all []taken) (l []Piece) {
	all = slices.DeleteFunc(all, func(t taken) bool { return t.from < 0 })
	slices.SortStableFunc(all, func(a, b taken) int { return int(a.from - b.from) })
	add := func(field string, to int) {
		if to = max(from, min(to, end)); to > from || field != "" {
			l = append(l, Piece{field, msg[from:to:to]})
			from = to
		}
	}
	var last taken
	for _, t := range all {
		if t == last || int(t.from) < from { // each alternative with a <peer> reports the same one
			continue
		}
		add("", int(t.from))
		add(t.field, int(t.to))
		last = t
	}
	add("", end)
	return l
}

const hiddenGroup = "hidden_text"

// splitter adds groups to an expression that compileExpr has accepted, around everything but literal text.
func splitter(s string) *regexp.Regexp {
	tree, err := syntax.Parse(`(?s:`+s+`)`, syntax.Perl)
	if err != nil {
		panic(err) // compileExpr has parsed it
	}
	n := tree.MaxCap()
	hide(tree, &n)
	return regexp.MustCompile(`\A(?:` + tree.String() + `)\s*\z`)
}

func hide(t *syntax.Regexp, n *int) {
	switch {
	case t.Op == syntax.OpLiteral && t.Flags&syntax.FoldCase == 0, t.Op == syntax.OpEmptyMatch, t.Op == syntax.OpCapture && t.Name != "":
	case t.Op == syntax.OpConcat, t.Op == syntax.OpCapture:
		for _, s := range t.Sub {
			hide(s, n)
		}
	default:
		group(t, n, hiddenGroup)
	}
}

// split splits a line with the groups of a splitter.
func split(re *regexp.Regexp, msg []byte) ([]Piece, bool) {
	loc := re.FindSubmatchIndex(msg)
	if loc == nil {
		return nil, false
	}
	var all []taken
	for i, name := range re.SubexpNames() {
		if strings.HasPrefix(name, hiddenGroup) {
			name = classText.String()
		}
		if name != "" {
			all = append(all, taken{name, span{int32(loc[2*i]), int32(loc[2*i+1])}})
		}
	}
	return pieces(msg, 0, len(trimRight(msg)), all), true
}
