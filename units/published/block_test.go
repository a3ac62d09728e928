package published

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"bailiff/policy/allow"
	"bailiff/policy/blocklist"
	"bailiff/policy/prefix"
)

// TestBlock: what was written can be read again; anything that somebody else may have written is rejected with its line.
func TestBlock(t *testing.T) {
	s := Store{t.TempDir()}
	l := blocklist.New("mine")
	if _, err := s.Count(&l); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	want := prefix.Compact([]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/32")})
	p := blocklist.List{Published: allow.Published{Name: "mine", URLs: []string{"https://example.org/\nx"}}}
	if err := s.WriteBlock(&p, want, State{Count: 3, LeftOut: 4}); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Count(&l); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if !s.Same(&l, want) || s.Same(&l, want[:2]) || s.Same(&l, append(want[:3:3], netip.MustParsePrefix("2001:db9::/32"))) {
		t.Error("compared wrongly")
	}
	if st := s.ReadState("mine"); st.LeftOut != 4 {
		t.Errorf("%+v", st)
	}
	file := s.File("mine")
	for text, why := range map[string]string{
		"":                               "is empty",
		"# x\n":                          "is empty",
		"192.0.2.1/32\n0.0.0.0/0\n":      ":2: has 0.0.0.0/0, which is wider than /8",
		"192.0.2.1/32\n10.0.0.0/8\n":     ":2: 10.0.0.0/8 touches private addresses",
		"fe80::/64\n":                    ":1: fe80::/64 touches private addresses",
		"192.0.2.1/32\n192.0.2.0/32\n":   ":2: 192.0.2.0/32 is out of order",
		"192.0.2.1/32\n192.0.2.1/32\n":   ":2: 192.0.2.1/32 is out of order",
		"192.0.2.0/24\n192.0.2.1/32\n":   ":2: 192.0.2.1/32 is out of order",
		"2001:db8::/32\n192.0.2.1/32":    ":2: 192.0.2.1/32 is out of order",
		"192.0.2.1/24\n":                 ":1: \"192.0.2.1/24\" has host bits",
		"\n":                             ":1: \"\" is not an address",
		"x" + strings.Repeat("y", 1<<17): ":1: bufio: buffer full",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Count(&l); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%.40q: error %v, want %s", text, err, why)
		}
	}
	// Another user may write to the folder: no link is followed, no pipe waited for.
	os.Remove(file)
	if err := os.Symlink("/etc/passwd", file); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Count(&l); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("error %v", err)
	}
	os.Remove(file)
	if err := syscall.Mkfifo(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Count(&l); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("error %v", err)
	}
}
