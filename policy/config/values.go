package config

import (
	"cmp"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/policy/yamldoc"
)

// value reads and writes one setting of a Config.
type value struct {
	set  func(*yamldoc.Node) *diag.Error
	get  func() any // what Render writes: a string, a []string or, of a mapping, its [][2]string of names and inline YAML
	form string     // what may be written, for the manual
}

// one is a setting of one scalar.
func one[T any](dst *T, form string, parse func(string) (T, *diag.Error), format func(T) string) value {
	return value{
		form: form,
		get:  func() any { return format(*dst) },
		set: func(n *yamldoc.Node) *diag.Error {
			s, err := scalar(n)
			if err != nil {
				return err
			}
			v, err := parse(s)
			if err == nil {
				*dst = v
			}
			return err
		},
	}
}

// many is a setting of at most max scalars. It replaces the list of an earlier file.
func many[T any](dst *[]T, form string, max int, parse func(string) (T, *diag.Error), format func(T) string) value {
	return value{
		form: form,
		get: func() any {
			all := []string{}
			for _, v := range *dst {
				all = append(all, format(v))
			}
			return all
		},
		set: func(n *yamldoc.Node) *diag.Error {
			items, err := list(n)
			if err != nil {
				return err
			}
			if len(items) > max {
				return diag.Errorf("has %d items, more than %d", len(items), max)
			}
			var all []T
			for _, item := range items {
				v, err := parse(item.Value)
				if err != nil {
					return placed(err, item)
				}
				all = append(all, v)
			}
			*dst = all
			return nil
		},
	}
}

// scalar returns a value's text.
func scalar(n *yamldoc.Node) (string, *diag.Error) {
	switch n.Kind {
	case yamldoc.Scalar:
		return n.Value, nil
	case yamldoc.Null:
		return "", diag.Errorf("has no value").WithHint("leave the key out for its default")
	}
	return "", diag.Errorf("must be one value, not %s", n.Kind)
}

// list returns the values of a list, or one value as a list of one. Nothing at all is an empty list.
func list(n *yamldoc.Node) ([]*yamldoc.Node, *diag.Error) {
	switch n.Kind {
	case yamldoc.Null:
		return nil, nil
	case yamldoc.Scalar:
		return []*yamldoc.Node{n}, nil
	case yamldoc.Map:
		return nil, diag.Errorf("must be a list, not a mapping").WithHint("write [a, b], or one a line behind a hyphen")
	}
	if len(n.Items) > maxList {
		return nil, diag.Errorf("has %d items, more than %d", len(n.Items), maxList).WithHint("write addresses into a file in /etc/bailiff/allow.d, one a line")
	}
	for _, item := range n.Items {
		if _, err := scalar(item); err != nil {
			return nil, placed(err, item)
		}
	}
	return n.Items, nil
}

// placed gives an error the place of a node that is not the key's own value.
func placed(err *diag.Error, n *yamldoc.Node) *diag.Error {
	err.File, err.Line, err.Col = n.File, n.Line, n.Col
	return err
}

// unless accepts what v accepts, and a word for the zero value.
func unless[T comparable](dst *T, word string, accept func(string) bool, v value) value {
	var zero T
	set, get := v.set, v.get
	v.form += ", or " + word
	v.set = func(n *yamldoc.Node) *diag.Error {
		if n.Kind == yamldoc.Scalar && accept(n.Value) {
			*dst = zero
			return nil
		}
		err := set(n)
		if err != nil && err.Hint != "" && n.Kind == yamldoc.Scalar {
			err.Hint += ", or " + word
		}
		return err
	}
	v.get = func() any {
		if *dst == zero {
			return word
		}
		return get()
	}
	return v
}

// orOff accepts off, or another word for no, as zero.
func orOff[T comparable](dst *T, v value) value {
	return unless(dst, "off", func(s string) bool { on, ok := truths[s]; return ok && !on }, v)
}

// orNone accepts what v accepts, and none as the zero value.
func orNone[T comparable](dst *T, v value) value {
	return unless(dst, "none", func(s string) bool { return s == "none" }, v)
}

// once rejects a list that contains a text twice.
func once(v value) value {
	set := v.set
	v.set = func(n *yamldoc.Node) *diag.Error {
		if err := set(n); err != nil {
			return err
		}
		for i, item := range n.Items {
			if slices.ContainsFunc(n.Items[:i], func(x *yamldoc.Node) bool { return x.Value == item.Value }) {
				return placed(diag.Errorf("%q is listed twice", diag.Clip(item.Value)), item)
			}
		}
		return nil
	}
	return v
}

// duration is at least a second and at most max.
func duration(dst *time.Duration, max time.Duration) value {
	return between(dst, time.Second, max)
}

func between(dst *time.Duration, min, max time.Duration) value {
	form := "duration up to " + FormatDuration(max)
	switch {
	case max == longest:
		form = "duration"
	case min > time.Second:
		form = "duration from " + FormatDuration(min) + " to " + FormatDuration(max)
	}
	return one(dst, form, func(s string) (time.Duration, *diag.Error) {
		d, err := parseDuration(s)
		switch {
		case err != nil:
			if err.Hint == usualDurations {
				err.Hint = "write 10m, 2h or 7d"
			}
			return d, err
		case d == Forever:
			return d, diag.Errorf("cannot be forever").WithHint("write at most %s", FormatDuration(max))
		case d > max:
			return d, diag.Errorf("%s is too long", s).WithHint("write at most %s", FormatDuration(max))
		case d < min:
			return d, diag.Errorf("%s is too short", s).WithHint("write at least %s", FormatDuration(min))
		}
		return d, nil
	}, FormatDuration)
}

func durationOrForever(dst *time.Duration) value {
	return one(dst, "duration or forever", parseDuration, FormatDuration)
}

func number(dst *int, min, max int) value {
	return one(dst, strconv.Itoa(min)+" to "+strconv.Itoa(max), func(s string) (int, *diag.Error) { return parseNumber(s, min, max) }, strconv.Itoa)
}

func parseNumber(s string, min, max int) (int, *diag.Error) {
	v, err := strconv.Atoi(s)
	switch {
	case err != nil && (s == "" || strings.Trim(strings.TrimPrefix(s, "-"), digits) != ""):
		return 0, diag.Errorf("%q is not a whole number", diag.Clip(s)).WithHint("write a number from %d to %d", min, max)
	case err != nil || v < min || v > max:
		return 0, diag.Errorf("%s is out of range", diag.Clip(s)).WithHint("write a number from %d to %d", min, max)
	}
	return v, nil
}

func factor(dst *float64) value {
	return one(dst, "1 to "+strconv.Itoa(maxFactor)+", fractions allowed", func(s string) (float64, *diag.Error) {
		v, err := strconv.ParseFloat(s, 64)
		switch {
		case err != nil || math.IsNaN(v):
			return 0, diag.Errorf("%q is not a number", diag.Clip(s)).WithHint("write 1 for bans of equal length, 2 to double each")
		case v < 1 || v > maxFactor:
			return 0, diag.Errorf("%s is out of range", diag.Clip(s)).WithHint("write a number from 1 (bans of equal length) to %d", maxFactor)
		}
		return v, nil
	}, func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) })
}

// truths are the words for yes and no that people and YAML 1.1 use.
var truths = map[string]bool{"true": true, "yes": true, "on": true, "false": false, "no": false, "off": false}

func boolean(dst *bool) value {
	return one(dst, "true or false", func(s string) (bool, *diag.Error) {
		v, ok := truths[s]
		if !ok {
			return v, diag.Errorf("%q is neither true nor false", diag.Clip(s))
		}
		return v, nil
	}, strconv.FormatBool)
}

// answer replaces the hint for words that people know from other programs.
func answer(v value, brought func(word string) bool, hint string) value {
	set := v.set
	v.set = func(n *yamldoc.Node) *diag.Error {
		err := set(n)
		if err != nil && brought(n.Value) {
			err.Hint = hint
		}
		return err
	}
	return v
}

func oneOf(dst *string, words ...string) value {
	form := strings.Join(words, ", ")
	if n := len(words); n > 1 {
		form = strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return one(dst, form, func(s string) (string, *diag.Error) { return parseWord(s, words) }, text)
}

func parseWord(s string, words []string) (string, *diag.Error) {
	if slices.Contains(words, s) {
		return s, nil
	}
	e := diag.Errorf("%q is not one of %s", diag.Clip(s), strings.Join(words, ", "))
	e.Hint = diag.DidYouMean(s, words, "")
	return "", e
}

func text(s string) string { return s }

// checked is a text that ok accepts. not and hint describe the error for other texts.
func checked(dst *string, form string, ok func(string) bool, not, hint string) value {
	return one(dst, form, parseChecked(ok, not, hint), text)
}

// texts is a list of texts that ok accepts.
func texts(dst *[]string, form string, max int, ok func(string) bool, not, hint string) value {
	return many(dst, form, max, parseChecked(ok, not, hint), text)
}

func parseChecked(ok func(string) bool, not, hint string) func(string) (string, *diag.Error) {
	return func(s string) (string, *diag.Error) {
		if !ok(s) || len(s) > maxText || !printableText(s) {
			return "", diag.Errorf("%q %s", diag.Clip(s), not).WithHint("%s", hint)
		}
		return s, nil
	}
}

func word(dst *string, form, hint string) value {
	return one(dst, form, func(s string) (string, *diag.Error) { return parseName(s, hint) }, text)
}

func parseName(s, hint string) (string, *diag.Error) {
	if len(s) > 64 || !isWord(s, letters+digits+"_-") {
		return "", diag.Errorf("%q is not a name", diag.Clip(s)).WithHint("write %s", hint)
	}
	return s, nil
}

const (
	lower   = "abcdefghijklmnopqrstuvwxyz"
	letters = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

// isWord reports whether s is not empty and made of these characters.
func isWord(s, chars string) bool { return s != "" && strings.Trim(s, chars) == "" }

// printableText reports whether a text stays in one line and may be an argument of a program.
func printableText(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}

// table is a mapping of names to values that parse reads.
func table[T any](dst *map[string]T, form, hint string, ok func(name string) bool, parse func(*yamldoc.Node) (T, *diag.Error), format func(T) string) value {
	return value{
		form: form,
		get: func() any {
			all := [][2]string{}
			for name, v := range *dst {
				all = append(all, [2]string{name, format(v)})
			}
			slices.SortFunc(all, func(a, b [2]string) int { return cmp.Compare(a[0], b[0]) })
			return all
		},
		set: func(n *yamldoc.Node) *diag.Error {
			switch {
			case n.Kind == yamldoc.Null:
				*dst = nil
				return nil
			case n.Kind != yamldoc.Map:
				return diag.Errorf("must be a mapping, not %s", n.Kind).WithHint("%s", hint)
			case len(n.Pairs) > maxList:
				return diag.Errorf("has %d items, more than %d", len(n.Pairs), maxList)
			}
			all := make(map[string]T, len(n.Pairs))
			for _, p := range n.Pairs {
				if !ok(p.Key.Value) {
					return placed(diag.Errorf("%q is not accepted here", diag.Clip(p.Key.Value)), p.Key).WithHint("%s", hint)
				}
				v, err := parse(p.Value)
				if err != nil {
					return placed(err, p.Value)
				}
				all[p.Key.Value] = v
			}
			*dst = all
			return nil
		},
	}
}

// patterns is a list of absolute paths in which *, ? and [] stand for parts of file names.
func patterns(dst *[]string) value {
	return many(dst, "list of paths, which may hold *, ? and [a-z]", maxList, func(s string) (string, *diag.Error) {
		if !path.IsAbs(s) {
			return "", diag.Errorf("%q is not an absolute path", diag.Clip(s)).WithHint("write it with a leading slash: /etc/bailiff/allow.d/*.list")
		}
		if _, err := path.Match(s, ""); err != nil {
			return "", diag.Errorf("%q is not a pattern for file names: a bracket is not closed", diag.Clip(s))
		}
		return s, nil
	}, text)
}

// executables is a list of paths, or any.
func executables(dst *filter.Additions) value {
	v := many(&dst.Exe, "list of absolute paths, or any", maxList, filter.ParseExe, filter.Exe.String)
	set, get := v.set, v.get
	v.get = func() any {
		if dst.AnyExe {
			return "any"
		}
		return get()
	}
	v.set = func(n *yamldoc.Node) *diag.Error {
		if n.Kind == yamldoc.Scalar && n.Value == "any" {
			dst.Exe, dst.AnyExe = nil, true
			return nil
		}
		if err := set(n); err != nil {
			return err
		}
		if len(dst.Exe) == 0 {
			return diag.Errorf("is an empty list").WithHint("write exe: any, or the daemon's executables; leave it out for those that the filter knows")
		}
		dst.AnyExe = false
		return nil
	}
	return v
}

// ports is a list of ports, or all.
func ports(dst *[]Port) value {
	return value{
		form: "list of ports, or all",
		get: func() any {
			if len(*dst) == 0 {
				return "all"
			}
			return words(*dst)
		},
		set: func(n *yamldoc.Node) *diag.Error {
			items, err := list(n)
			if err != nil {
				return err
			}
			var all []Port
			for _, item := range items {
				if item.Value == "all" {
					if len(items) > 1 {
						return placed(diag.Errorf("all cannot stand beside other ports"), item).WithHint("write ports: all, or the ports alone")
					}
					*dst = nil
					return nil
				}
				p, err := parsePorts(item.Value)
				if err != nil {
					return placed(err, item)
				}
				all = append(all, p...)
			}
			if len(all) == 0 {
				return diag.Errorf("is an empty list").WithHint("write ports: all, or the ports to close")
			}
			if all = joinPorts(all); len(all) > maxPorts {
				return diag.Errorf("has %d ranges of ports, more than %d", len(all), maxPorts).WithHint("write ports: all")
			}
			*dst = all
			return nil
		},
	}
}
