package ini

import (
	"slices"
	"strings"
	"testing"
)

// FuzzParse: no text of a configuration file makes the reader panic, and each value keeps its lines.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"[DEFAULT]\nbantime = 10m\nignoreip = 127.0.0.1/8 ; local\n    ::1\n\n[sshd]\nenabled = true\naction = %(action_)s[port=\"%(port)s\"]\n    %(known/action)s\n",
		"[INCLUDES]\nbefore = common.conf\n[Definition]\n_daemon = x\nfailregex = ^%(__prefix_line)sfailed <HOST>$\n            ^<mdre-<mode>>\n# comment\nmode: normal\n[Init?family=inet6]\nblocktype = REJECT\n",
		"\ufeff[a]\nb = %(b)s%(c/d)s%%\nb = twice\nno option\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tr := NewTree("/")
		r := &Reader{Tree: tr}
		opts := r.parseText("x", text)
		r.Merge("x", opts)
		lines := strings.Count(text, "\n") + 1
		for _, o := range opts {
			if o.Line < 1 || o.Line > lines || len(o.Lines) == 0 || strings.Count(o.Value, "\n") >= len(o.Lines) {
				t.Fatalf("%+v", o)
			}
			v, _, err := tr.Value(o.Section, o.Name, nil)
			if err == nil && len(v) > maxValue {
				t.Fatalf("%d bytes", len(v))
			}
			SplitActions(v)
			SplitOptions(v)
		}
	})
}

func TestSplitActions(t *testing.T) {
	got := SplitActions("a[x=\"1 2\", y='] z']\n   b [q=1]\nc[m=1][n=\"]\"] d")
	if want := []string{"a[x=\"1 2\", y='] z']", "b [q=1]", "c[m=1][n=\"]\"]", "d"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	name, opts, err := SplitOptions(`f[a="x, y", b='z]', c=1][d=2]`)
	if err != nil || name != "f" || opts["a"] != "x, y" || opts["b"] != "z]" || opts["c"] != "1" || opts["d"] != "2" {
		t.Errorf("%q %q %v", name, opts, err)
	}
}
