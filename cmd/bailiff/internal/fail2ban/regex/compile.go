package regex

import (
	"regexp"
)

// Compile compiles the alternatives of one of fail2ban's expressions for Go. Those that RE2 cannot express are left out.
func Compile(expr string) (list []*regexp.Regexp) {
	n, err := Parse(expr)
	if err != nil {
		return nil
	}
	for _, alt := range splitAlternatives(n) {
		w := stripEnds(alt).withoutHead(alt)
		text, err := (&regexpWriter{}).write(w.node)
		if err != nil {
			continue
		}
		if w.begins {
			text = `^(?:` + text + `)`
		}
		if w.ends {
			text = `(?:` + text + `)\s*$`
		}
		if re, err := regexp.Compile(text); err == nil {
			list = append(list, re)
		}
	}
	return list
}
