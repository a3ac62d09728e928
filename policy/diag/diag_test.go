package diag

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
)

func TestErrorText(t *testing.T) {
	for want, e := range map[string]*Error{
		"f:3:4: a.b: bad": {File: "f", Line: 3, Col: 4, Path: "a.b", Text: "bad"},
		"f: bad":          {File: "f", Text: "bad"},
		"f: a: bad":       {File: "f", Path: "a", Text: "bad"},
		"bad":             {Text: "bad"},
		"a: bad":          {Path: "a", Text: "bad"},
	} {
		if got := e.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestErrors(t *testing.T) {
	a, b, c := &Error{Text: "a"}, &Error{Text: "b"}, fs.ErrNotExist
	got := Errors(errors.Join(a, errors.Join(b, nil, c)))
	if len(got) != 3 || got[0] != a || got[1] != b || got[2].Text != c.Error() {
		t.Errorf("%v", got)
	}
	if Errors(nil) != nil {
		t.Error("no error became some")
	}
	// Context that somebody put around an error stays in its text, and the hint with it.
	w := Errors(fmt.Errorf("reload: %w", a.WithHint("do")))
	if len(w) != 1 || w[0].Error() != "reload: a" || w[0].Hint != "do" {
		t.Errorf("%v", w)
	}
}

func TestNear(t *testing.T) {
	known := []string{"find_time", "max_retry", "ban_time", "prefix", "sshd", "ssh"}
	for word, want := range map[string]string{
		"maxretry": "max_retry", "max-retry": "max_retry", "MAX_RETRY": "max_retry", "max_rety": "max_retry", "max_retyr": "max_retry", "bantime": "ban_time",
		"findtime": "find_time", "shsd": "sshd", "ssdh": "sshd", "sshd": "sshd", "perfix": "prefix", "color": "", "": "", "x": "", strings.Repeat("x", 1000): "",
	} {
		if got := Near(word, known); got != want {
			t.Errorf("%.20q: %q, want %q", word, got, want)
		}
	}
}
