package safetext

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "",
		" a \t b\r\n":                   "a b",
		"a\x1b[31m\x00\xff\nb":          "a [31m ? b",
		"a\u202eb\u2028c":               "a b c",
		strings.Repeat("x", 20):         strings.Repeat("x", 20),
		strings.Repeat("x", 21):         strings.Repeat("x", 17) + "…",
		strings.Repeat("ü", 11):         strings.Repeat("ü", 8) + "…",
		"a" + strings.Repeat(" ", 1000): "a",
	} {
		if got := Line(in, 20); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestBlock(t *testing.T) {
	for in, want := range map[string]string{
		"a\tb \r\n\r\n\n\nc":           "a b\n\nc\n",
		"\n\na":                        "a\n",
		"\x1b[31mred\x1b[0m":           "[31mred[0m\n",
		"a\u202eb\u2066c\u200fd\ufeff": "abcd\n",
		"a\u2028b":                     "a b\n",
		"caf\xe9":                      "caf?\n",
		strings.Repeat("x", maxLine+1): strings.Repeat("x", maxLine-3) + "…\n",
		"":                             "",
	} {
		if got := Block(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	long := Block(strings.Repeat("x\n", 10_000))
	if n := strings.Count(long, "\n"); n != maxLines+1 || !strings.HasSuffix(long, "x\n…\n") {
		t.Errorf("%d lines are left of 10,000", n)
	}
	if wide := Block(strings.Repeat(strings.Repeat("ü", maxLine)+"\n", maxLines)); len(wide) > maxBlock {
		t.Errorf("%d bytes", len(wide))
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "",
		`Failed for DOM\\x`:              `Failed for DOM\\x`,
		"Failed for\tbob":                "Failed for\tbob",
		"x\r\nSubject: y\xff ü":          `x\r\nSubject: y\xff ü`,
		"a\u202eb\u2028\U000e0001\x1b\\": `a\u202eb\u2028\U000e0001\x1b\\`,
	} {
		if got, same := Escape([]byte(in), 100); got != want || same != (in == want) {
			t.Errorf("%q: %q, %v, want %q", in, got, same, want)
		}
	}
	if got, same := Escape([]byte(strings.Repeat("x", 101)), 100); got != strings.Repeat("x", 94)+" […]" || same {
		t.Errorf("%q, %v", got, same)
	}
	if got, same := Escape([]byte(strings.Repeat("x", 100)), 100); len(got) != 100 || !same {
		t.Errorf("%q, %v", got, same)
	}
}

func FuzzAll(f *testing.F) {
	f.Add("a\nbü\xff\u2028", 4)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = 10 + limit&1023
		line := Line(s, limit)
		escaped, same := Escape([]byte(s), limit)
		if same && escaped != s {
			t.Errorf("%q became %q", s, escaped)
		}
		for _, got := range []string{line, escaped, strings.ReplaceAll(Block(s), "\n", "")} {
			if !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x00\x1b\u2028\u202e") {
				t.Errorf("%q became %q", s, got)
			}
		}
		if len(line) > limit || len(escaped) > limit || len(Block(s)) > maxBlock+10 {
			t.Errorf("%q became %q, %q", s, line, escaped)
		}
		if again := Line(line, limit); again != line {
			t.Errorf("%q became %q, and that %q", s, line, again)
		}
	})
}
