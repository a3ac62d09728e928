package filter

import (
	"bytes"
	"net/netip"
)

type op uint8

const (
	opLit op = iota
	opRun
	opText
	opAddr
	opPort
	opPeer
	opSkip
	opSplit
	opJump
	opEnd    // the line must end here
	opAccept // the line may continue (a prefix)
)

// instr is one step of a compiled template. Steps lead only forward, so each runs at most once on a way through the line.
type instr struct {
	op     op
	class  class
	cap    capture
	choice int8   // of opRun and opText: index of its entry in vm.low; -1: it has only one possible end
	rare   uint8  // of next: index of the byte that is searched for first
	after  byte   // of opAddr: first byte of the literal that follows
	once   bool   // of opAddr and opPeer: lit, the literal before it, must occur only once in the line
	end    bool   // with first: the line may also end there
	x, y   uint16 // opSplit: continue at x, then at y; opJump: continue at x
	lit    string
	next   string   // of opText and opRun with a choice, and of opSkip: the literal that follows, "" if something else follows
	first  *byteSet // if next is "", the bytes that can follow; of opSplit, those with which its first way can begin
	alone  *[]byte  // with once: lit as bytes
} // 64 bytes, a cache line

type byteSet [256]bool

type program struct {
	ins     []instr
	choices int
	early   bool // the address precedes all client text, which ends the line: a truncated line can match
}

// run is the set of bytes that a field can consist of.
type run struct {
	set byteSet
	max int
}

var runs = func() (r [classPeer + 1]run) {
	for c := range 256 {
		b := byte(c)
		r[classWord].set[c] = b > ' ' && b != 0x7f
		r[classHost].set[c] = isAlnum(b) || b == '.' || b == '-' || b == '_'
		r[classToken].set[c] = isAlnum(b) || b == '-' || b == '_'
		r[classAccount].set[c] = isAlnum(b) || b >= 0x80 || b == '@' || b == '.' || b == '_' || b == '+' || b == '%' || b == '-'
		r[classLogin].set[c] = b != ':'
		r[classMailbox].set[c] = b > ' ' && b != 0x7f && b != '"' && b != '(' && b != ')' && b != '\\'
		r[classNum].set[c] = isDigit(b)
	}
	r[classLogin].max = 2048 // where nginx cuts its lines
	r[classWord].max, r[classHost].max, r[classToken].max, r[classAccount].max, r[classMailbox].max, r[classNum].max = 256, 255, 255, 255, 512, 20
	return r
}()

// runLength returns how many bytes of the class b begins with; r.max+1 if there are more than r.max.
func runLength(r *run, b []byte) int {
	n := 0
	for n < len(b) && n <= r.max && r.set[b[n]] {
		n++
	}
	return n
}

// span is a part of the line.
type span struct{ from, to int32 }

// vm matches one line against one program, by backtracking. It lives on the stack of its caller.
//
// It takes time linear in the length n of the line. A step other than a choice takes time proportional to the bytes that it
// consumes. A choice (a text, or a run that can be shortened) tries its possible ends from the last to the first and
// continues after each. What follows an end depends neither on where the text began nor on what was captured, so an end that
// failed once always fails: low holds, for each choice, the position from which on all ends have failed, and none of them is
// tried again. So a choice continues at most n times in all, each time over literals, runs of at most 512 bytes and a fixed
// number of alternatives, until the next choice. The search for the literal that must follow looks at each untried byte once.
// The sum is at most (choices · ways through the alternatives) · n steps, which the bounds of parseTemplate make a constant
// times n. TestLinear measures it. As a safeguard, fuel ends a match that would take longer; the line is then no evidence.
type vm struct {
	line   []byte
	ins    []instr
	tail   int // start of the white space at the end of the line
	fuel   int // steps that are left
	pos    int // set by opAccept: the position that it reached
	addrAt int32
	addr   netip.Addr
	caps   [nCaptures]span // from = -1: not captured
	low    [maxChoices]int32
	runEnd [maxChoices]int32
}

// newVM returns a vm with enough fuel for its line: a matching line takes about twenty steps.
func newVM(line []byte) vm {
	return vm{line: line, tail: len(trimRight(line)), fuel: fuelFor(len(line))}
}

func fuelFor(n int) int { return 1024 + 32*n }

func trimRight(b []byte) []byte {
	for n := len(b); n > 0; n-- {
		if c := b[n-1]; c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return b[:n]
		}
	}
	return b[:0]
}

// try matches the line from a position on against candidates, the patterns of a filter that can begin as the line does.
func (v *vm) try(list []candidate, from int, truncated bool, f *Filter, h *Hit) bool {
	rest := v.line[from:]
	var run lastRun
	var good, bad uint16 // the last heads with which the line does and does not begin
	for i := range list {
		c := &list[i]
		p := c.pattern
		if c.head != 0 && c.head != good {
			if c.head == bad {
				continue
			}
			if !c.begins(rest, &run) {
				bad = c.head
				continue
			}
			good = c.head
		}
		var addrText []byte
		if p.re != nil {
			if truncated || !p.re.match(rest, h, &addrText) {
				continue
			}
		} else {
			if truncated && !p.prog.early {
				continue
			}
			if !v.match(p.prog, int(c.pc), from+int(c.skip)) {
				if v.fuel < 0 {
					return false
				}
				continue
			}
			addrText = v.fill(h)
		}
		if f.byAddress && h.ID == nil {
			h.ID = addrText
		}
		h.Kind, h.Pattern, h.InvalidUser = p.Kind, p, p.InvalidUser
		if p.Kind == Failure && contains(f.Guests, h.User) {
			h.Kind, h.InvalidUser = Context, false
		}
		return true
	}
	return false
}

// begins reports whether the line continues with the candidate's head after the text that the trie has compared.
func (c *candidate) begins(line []byte, run *lastRun) bool {
	rest := line[c.skip:]
	n := 0
	switch a := c.field; a.op {
	case opAddr:
		_, n = scanAddr(rest, a.after)
	case opPeer:
		_, _, _, _, n = scanPeer(rest)
	default:
		if run.n == 0 || run.skip != c.skip || run.class != a.class {
			*run = lastRun{c.skip, a.class, runLength(&runs[a.class], rest)}
		}
		n = run.n
	}
	return n > 0 && len(rest)-n >= len(c.lit) && string(rest[n:n+len(c.lit)]) == c.lit
}

// lastRun caches the last run that was measured: candidates that begin with the same run differ in what follows.
type lastRun struct {
	skip  uint16
	class class
	n     int
}

// match runs a program, beginning at step pc, on the line, beginning at pos.
func (v *vm) match(p *program, pc, pos int) bool {
	v.ins, v.addrAt = p.ins, -1
	for i := range v.caps {
		v.caps[i].from = -1
	}
	for i := range p.choices {
		v.low[i], v.runEnd[i] = int32(len(v.line)+1), -1
	}
	return v.run(pc, pos)
}

func (v *vm) set(c capture, from, to int) {
	if c >= 0 {
		v.caps[c] = span{int32(from), int32(to)}
	}
}

func (v *vm) run(pc, pos int) bool {
	line := v.line
	for {
		if v.fuel--; v.fuel < 0 {
			return false
		}
		in := &v.ins[pc]
		switch in.op {
		case opLit:
			if len(line)-pos < len(in.lit) || string(line[pos:pos+len(in.lit)]) != in.lit {
				return false
			}
			pos += len(in.lit)
		case opRun:
			r := &runs[in.class]
			n := runLength(r, line[pos:])
			if n == 0 || n > r.max {
				return false
			}
			if in.choice >= 0 {
				return v.runChoice(in, pc, pos, pos+n)
			}
			v.set(in.cap, pos, pos+n)
			pos += n
		case opText:
			if in.choice >= 0 {
				return v.textChoice(in, pc, pos)
			}
			v.set(in.cap, pos, len(line))
			pos = len(line)
		case opAddr:
			a, n := scanAddr(line[pos:], in.after)
			if n == 0 || in.class == classAddr4 && !a.Is4() || in.once && !v.once(*in.alone) {
				return false
			}
			if in.cap == capAddr {
				v.addr, v.addrAt = a, int32(pos)
			}
			v.set(in.cap, pos, pos+n)
			pos += n
		case opPort:
			n := scanPort(line[pos:])
			if n == 0 {
				return false
			}
			v.set(in.cap, pos, pos+n)
			pos += n
		case opPeer:
			a, at, end, port, n := scanPeer(line[pos:])
			if n == 0 || in.once && !v.once(*in.alone) {
				return false
			}
			v.addr, v.addrAt = a, int32(pos+at)
			v.set(capAddr, pos+at, pos+end)
			v.set(capPort, pos+port, pos+n)
			pos += n
		case opSkip:
			n := skip(in, line[pos:max(pos, v.tail)]) // a blank in the template may have matched trailing white space
			if n < 0 {
				return false
			}
			v.fuel -= n / 16
			v.set(in.cap, pos, pos+n)
			pos += n
		case opSplit:
			if (pos >= len(line) || !in.first[line[pos]]) && (!in.end || pos < v.tail) {
				pc = int(in.y)
				continue
			}
			saved := v.caps
			if v.run(int(in.x), pos) {
				return true
			}
			v.caps = saved
			pc = int(in.y)
			continue
		case opJump:
			pc = int(in.x)
			continue
		case opEnd:
			return pos >= v.tail
		case opAccept:
			v.pos = pos
			return true
		}
		pc++
	}
}

// once reports whether lit, which occurs in the line, occurs only once.
func (v *vm) once(lit []byte) bool {
	first := bytes.Index(v.line, lit)
	second := bytes.Index(v.line[first+1:], lit)
	if second < 0 {
		v.fuel -= len(v.line) / 16
		return true
	}
	v.fuel -= (first + second) / 16
	return false
}

// skip returns the length of a field that ends at the first in.next (at the end of b, if that is empty) outside of double
// quotes and, in JSON, of brackets opened in the field. It returns -1 if there is none, or if quotes or brackets are not
// closed. In a field that is the inside of a quoted text, a backslash escapes the next byte.
func skip(in *instr, b []byte) int {
	if in.class == classQuoted || in.class == classString {
		n := bytes.IndexByte(b, '"')
		if in.class == classString {
			n = stringLength(b)
		}
		if n < 0 || n == len(b) || len(b)-n < len(in.next) || string(b[n:n+len(in.next)]) != in.next {
			return -1
		}
		return n
	}
	depth := 0
	for i := 0; i < len(b); i++ {
		c := b[i]
		if depth == 0 && in.next != "" && c == in.next[0] && len(b)-i >= len(in.next) && string(b[i:i+len(in.next)]) == in.next {
			return i
		}
		switch {
		case c == '"':
			if i += 1 + stringLength(b[i+1:]); i >= len(b) {
				return -1
			}
		case in.class != classJSON:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth < 0 {
				return -1
			}
		}
	}
	if in.next != "" || depth != 0 {
		return -1
	}
	return len(b)
}

// stringLength returns the number of bytes before the closing quote, or in b if there is none. A backslash at the end of b
// escapes nothing and is left out.
func stringLength(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i
		case '\\':
			if i++; i == len(b) {
				return i - 1
			}
		}
	}
	return len(b)
}

func (v *vm) textChoice(in *instr, pc, pos int) bool {
	high := int(v.low[in.choice]) - 1
	if pos > high {
		return false
	}
	v.low[in.choice] = int32(pos)
	return v.ends(in, pc, pos, pos, high)
}

func (v *vm) runChoice(in *instr, pc, pos, end int) bool {
	high := end
	if v.runEnd[in.choice] == int32(end) {
		high = int(v.low[in.choice]) - 1
	}
	if pos+1 > high {
		return false
	}
	v.low[in.choice], v.runEnd[in.choice] = int32(pos+1), int32(end)
	return v.ends(in, pc, pos, pos+1, high)
}

// ends tries the possible ends of the field that begins at pos, from high down to low.
func (v *vm) ends(in *instr, pc, pos, low, high int) bool {
	line := v.line
	if next := in.next; next != "" {
		at := int(in.rare)
		c := next[at]
		end := min(high, len(line)-len(next))
		for end >= low {
			k := bytes.LastIndexByte(line[low+at:end+at+1], c)
			v.fuel -= 1 + (end-low-k)/16
			if end = low + k; k < 0 {
				break
			}
			if string(line[end:end+len(next)]) == next {
				v.set(in.cap, pos, end)
				if v.run(pc+2, end+len(next)) {
					return true
				}
			}
			end--
		}
		return false
	}
	for end := high; end >= low; end-- {
		if end >= v.tail && in.end || end < len(line) && in.first[line[end]] {
			v.set(in.cap, pos, end)
			if v.run(pc+1, end) {
				return true
			}
		}
	}
	return false
}

// fill sets a hit to what was captured, and returns the address as written.
func (v *vm) fill(h *Hit) (addr []byte) {
	h.Addr = netip.Addr{}
	if c := v.caps[capAddr]; c.from >= 0 {
		if c.from != v.addrAt { // another address was scanned on an abandoned way
			v.addr, _ = scanAddr(v.line[c.from:c.to], 0)
		}
		h.Addr = v.addr
	}
	h.User, h.ID, h.Source = v.text(capUser), v.text(capID), v.text(capSource)
	h.Port = uint16(number(v.text(capPort), 65535))
	h.Repeat = max(1, number(v.text(capCount), maxRepeat))
	return v.text(capAddr)
}

// number returns the value of decimal digits, limited to most; 0 if b has other characters.
func number(b []byte, most int) (n int) {
	for _, d := range b {
		if d -= '0'; d > 9 {
			return 0
		}
		if n = n*10 + int(d); n > most {
			return most
		}
	}
	return n
}

// text returns a captured field, nil if it is missing.
func (v *vm) text(c capture) []byte {
	s := v.caps[c]
	if s.from < 0 {
		return nil
	}
	return v.line[s.from:s.to:s.to]
}
