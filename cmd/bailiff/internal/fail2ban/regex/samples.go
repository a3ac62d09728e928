package regex

import (
	"regexp"
	"strings"
)

// sampleLines generates up to limit lines that the expression should match, for the filter's tests. The result is
// deterministic: the lines go through the alternatives and omit optional parts in turn.
func sampleLines(n *Node, limit int) []Test {
	var out []Test
	seen := make(map[string]bool)
	for seed := range 3 * limit {
		g := &sampler{seed: seed, step: seed}
		g.write(n)
		line := g.b.String()
		if seen[line] || len(line) > 1000 || strings.TrimSpace(line) == "" {
			continue
		}
		seen[line] = true
		out = append(out, Test{line, g.addr})
		if len(out) == limit {
			break
		}
	}
	return out
}

type sampler struct {
	b          strings.Builder
	seed, step int
	addr       string
}

// pick returns a number below n: in the first lines always the same, then pseudo-random.
func (g *sampler) pick(n int) int {
	if g.seed < 3 {
		return g.seed % n
	}
	g.step = (g.step*1103515245 + 12345) & 0x7fffffff
	return (g.step >> 8) % n
}

func (g *sampler) write(n *Node) {
	switch n.kind {
	case kindLiteral:
		g.b.WriteRune(n.r)
	case kindAny:
		g.b.WriteByte('x')
	case kindClass:
		g.b.WriteString(memberOf(n.text))
	case kindHost:
		addr := "192.0.2.55"
		if n.name == "IP6" || n.name != "IP4" && g.seed%3 == 2 {
			addr = "2001:db8:5::55"
		}
		if n.name == "other" || g.addr != "" {
			addr = "198.51.100.200"
		} else {
			g.addr = addr
		}
		g.b.WriteString(addr)
	case kindAlternatives:
		g.write(n.subs[g.pick(len(n.subs))])
	case kindSequence, kindGroup, kindFlags:
		for _, s := range n.subs {
			g.write(s)
		}
	case kindRepeat:
		times := n.min
		if s := n.subs[0]; s.kind == kindAny && n.max < 0 {
			// the loader's tests insert forged text here, so it must not be empty
			g.b.WriteString([]string{"some text", " text ", ", text"}[g.pick(3)])
			return
		} else if s.isClass(`\s`) {
			times = max(times, min(1, n.max&1)) // one blank, as daemons write
		} else if s.kind == kindClass && n.max < 0 {
			times = max(times, 3)
		} else if n.max != n.min && (n.max < 0 || n.max > n.min) {
			times += 1 - g.pick(2)
		}
		for range min(times, 40) {
			g.write(n.subs[0])
		}
	}
}

// memberOf returns a character that a class matches.
func memberOf(class string) string {
	re, err := regexp.Compile(`\A(?:` + class + `)\z`)
	if err != nil {
		return "a"
	}
	for _, c := range "a7A .-_:/=+,;@#%'\"()<>{}[]!?*&^$~`|\\\t" {
		if re.MatchString(string(c)) {
			return string(c)
		}
	}
	for c := rune(1); c < 0x3000; c++ {
		if re.MatchString(string(c)) {
			return string(c)
		}
	}
	return "a"
}
