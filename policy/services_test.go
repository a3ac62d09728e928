package policy

import (
	"strings"
	"testing"

	"bailiff/policy/config"
)

// Some guesses at each of several services: none has too many.
func TestSeveralServices(t *testing.T) {
	guesses := func(jail, user string, n int) string { return strings.Repeat("|"+jail+" failed "+user, n)[1:] }
	for _, c := range []struct {
		name, lines string
		change      func(*config.Config)
		want        string // of the last line; the others must ban nobody
	}{
		{"four at each of two", guesses("alpha", "root", 4) + "|" + guesses("beta", "root", 4), nil, ""},
		{"four at each of three", guesses("alpha", "root", 4) + "|" + guesses("beta", "root", 4) + "|" + guesses("delta", "root", 2), nil, "delta failures 10"},
		{"by turns", strings.Repeat("|alpha failed a|beta failed b|delta failed c", 3)[1:] + "|alpha failed a", nil, "alpha failures 10"},
		{"a third service that fails once", guesses("alpha", "root", 4) + "|" + guesses("beta", "root", 4) + "|delta failed root", nil, ""},
		{"two who ask the third", guesses("alpha", "root", 1) + strings.Repeat("|alpha failed root|+1s beta failed root|+1s delta failed root", 3), nil, ""},
		{"over hours", guesses("alpha", "root", 4) + "|" + guesses("beta", "root", 4) + "|+1h delta failed root|delta failed root|delta failed root", nil, ""},
		{"where somebody logs in", "alpha login eve|" + guesses("alpha", "root", 4) + "|" + guesses("beta", "root", 4) + "|" + guesses("delta", "root", 4), nil, ""},
		{"on an account in use", "alpha login bob 203.0.113.9|" + guesses("alpha", "bob", 4) + "|" + guesses("beta", "bob", 4) + "|" + guesses("delta", "bob", 4), nil, ""},
		{"names that are misspelt", strings.Repeat("|alpha unknown a", 4)[1:] + strings.Repeat("|beta unknown a", 4) + strings.Repeat("|delta unknown a", 4), nil, ""},
		{"a service that is observed", guesses("alpha", "root", 4) + "|" + guesses("beta", "root", 4) + "|" + guesses("delta", "root", 4), func(c *config.Config) { c.Jails[3].Observe = true }, ""},
		{"one of them with a higher limit", guesses("alpha", "root", 4) + "|" + guesses("beta", "root", 4) + "|" + guesses("delta", "root", 3), func(c *config.Config) { c.Jails[0].MaxRetry = 6 }, ""},
		{"without names", guesses("alpha", "root", 4) + "|" + guesses("beta", "root", 4) + "|delta some /x|+1m delta some /x|+1m delta some /x|+1m delta some /x", nil, ""},
	} {
		s := newSite(t, func(x *config.Config) {
			if x.Jails = append(x.Jails, plainConfig(t, "delta").Jails...); c.change != nil {
				c.change(x)
			}
		})
		lines := strings.Split(c.lines, "|")
		for i, l := range lines {
			if !strings.Contains(l, "203.0.113.") {
				l += " 203.0.113.7"
			}
			got, want := strings.Join(names(s.say(l)), "; "), ""
			if i == len(lines)-1 && c.want != "" {
				service, why, _ := strings.Cut(c.want, " ")
				want = service + " 203.0.113.7/32 " + why
			}
			if got != want {
				t.Errorf("%s: line %d leads to %q, want %q", c.name, i+1, got, want)
			}
		}
	}
}
