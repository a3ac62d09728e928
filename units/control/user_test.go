package control

import (
	"strings"
	"testing"
)

func TestOnBehalf(t *testing.T) {
	root, ann := Peer{UID: 0, User: "root"}, Peer{UID: 1000, User: "ann"}
	for _, c := range []struct {
		by         Peer
		name, want string // "": refused
	}{
		{root, "", "root"},
		{root, "root", "root"},
		{root, "ann", "ann (as root)"},
		{root, "ann@example.org", "ann@example.org (as root)"},
		{root, "ann bob", ""},
		{root, "ann\n", ""},
		{root, "ann\u202e", ""},
		{root, strings.Repeat("a", 65), ""},
		{ann, "", "ann"},
		{ann, "ann", "ann"},
		{ann, "bob", ""},
	} {
		got, err := onBehalf(c.by, c.name)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s for %q: %q, %v; want %q", c.by.User, c.name, got, err, c.want)
		}
	}
}
