package ini

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"bailiff/cmd/bailiff/internal/text"
)

var (
	nameAndOptions = regexp.MustCompile(`(?s)^([^\[]+)(?:\[(.*)\])?\s*$`)
	bracketOption  = regexp.MustCompile(`(?s)^\s*([\w\-.]+)=(?:"([^"]*)"|'([^']*)'|([^,\]]*))\s*(?:,|\]\s*\[|$)`)
)

// SplitOptions parses name[a=1, b="2"][c='3'].
func SplitOptions(s string) (name string, opts map[string]string, err error) {
	m := nameAndOptions.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return "", nil, fmt.Errorf("%q is not of the form name[option=value, …]", text.Clip(s, 100))
	}
	name, opts = strings.TrimSpace(m[1]), make(map[string]string)
	for rest := m[2]; strings.TrimSpace(rest) != "" && strings.TrimSpace(rest) != ","; {
		o := bracketOption.FindStringSubmatch(rest)
		if o == nil {
			return "", nil, fmt.Errorf("%q is not of the form option=value", text.Clip(rest, 100))
		}
		opts[o[1]] = strings.TrimSpace(cmp.Or(o[2], o[3], o[4]))
		rest = rest[len(o[0]):]
	}
	return name, opts, nil
}

// SplitActions splits a list of name[options] at white space.
func SplitActions(s string) []string {
	var list []string
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		end, depth, quote := len(s), 0, byte(0)
	scan:
		for i := 0; i < len(s); i++ {
			switch c := s[i]; {
			case quote != 0:
				if c == quote {
					quote = 0
				}
			case depth > 0 && (c == '"' || c == '\'') && i > 0 && s[i-1] == '=':
				quote = c
			case c == '[':
				depth++
			case c == ']':
				depth--
			case depth <= 0 && (c == ' ' || c == '\n' || c == '\t'):
				// name [options] may have a blank between
				if rest := strings.TrimLeft(s[i:], " \t\n"); strings.HasPrefix(rest, "[") {
					continue
				}
				end = i
				break scan
			}
		}
		list = append(list, s[:end])
		s = s[end:]
	}
	return list
}
