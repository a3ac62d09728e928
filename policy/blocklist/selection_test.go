package blocklist

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"bailiff/policy/prefix"
)

func selectionOf(others bool, networks ...string) *Selection {
	l := New("mine")
	l.Format, l.Countries, l.Systems, l.Others = FormatMMDB, []string{"DE", "AT"}, []string{"AS64496"}, others
	s := NewSelection(&l)
	for _, n := range networks {
		f := strings.Fields(n)
		system := ""
		if len(f) > 2 {
			system = f[2]
		}
		if err := s.Add(netip.MustParsePrefix(f[0]), strings.Trim(f[1], "-"), system); err != nil {
			panic(err)
		}
	}
	return s
}

func TestSelection(t *testing.T) {
	world := []string{"2.0.0.0/7 DE", "4.0.0.0/8 US", "5.0.0.0/9 US AS64496", "5.128.0.0/9 US", "6.0.0.0/24 AT", "6.0.1.0/24 AT", "6.0.3.0/24 -", "10.0.0.0/8 FR", "11.0.0.0/8 FR", "2001:db8::/32 DE", "2001:db9::/32 US"}
	for _, c := range []struct {
		others bool
		want   string
		left   int
	}{
		// Networks that touch are joined, and those that are too wide are split.
		{false, "[2.0.0.0/8 3.0.0.0/8 5.0.0.0/9 6.0.0.0/23 2001:db8::/32]", 0},
		// 6.0.3.0/24, which nobody knows, is not among the others, nor is a private network.
		{true, "[4.0.0.0/8 5.128.0.0/9 11.0.0.0/8 2001:db9::/32]", 1},
	} {
		s := selectionOf(c.others, world...)
		got, left := s.Prefixes()
		if fmt.Sprint(got) != c.want || left != c.left || s.Named() != 4 || s.Check(0) != nil || s.Check(8) != nil {
			t.Errorf("others %v: %v, %d left out, %d named, %v", c.others, got, left, s.Named(), s.Check(0))
		}
		if err := s.Check(9); err == nil || err.Error() != "has 4 networks of what the list names, less than 50 % of the 9 that it had" {
			t.Error(err)
		}
		if again, _ := s.Prefixes(); !slices.Equal(again, got) {
			t.Errorf("the second time %v", again)
		}
	}
	// A second database may say of the same addresses what the first does not know.
	s := selectionOf(true, "5.0.0.0/8 US")
	s.Prefixes()
	if err := s.Add(netip.MustParsePrefix("5.64.0.0/10"), "", "AS64496"); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.Prefixes(); fmt.Sprint(got) != "[5.0.0.0/10 5.128.0.0/9]" {
		t.Errorf("%v", got)
	}
	for _, c := range []struct{ networks, want string }{
		{"2.0.0.0/8 DE", "has no network of AT"},
		{"2.0.0.0/8 DE|3.0.0.0/8 AT", "has no network of AS64496"},
	} {
		if err := selectionOf(true, strings.Split(c.networks, "|")...).Check(0); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v", c.networks, err)
		}
	}
	for _, p := range []string{"0.0.0.0/0", "0.0.0.0/4", "::/0", "2000::/3"} {
		if err := s.Add(netip.MustParsePrefix(p), "DE", ""); err == nil {
			t.Errorf("%s is accepted", p)
		}
	}
}

// TestSelectionModel compares random databases with what each address should get.
func TestSelectionModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		others := r.IntN(2) == 0
		s := selectionOf(others)
		s.list.MinPrefix4 = 20 + r.IntN(6)
		of := make(map[netip.Addr]string) // of 11.7.0.0/22 and beside
		var fill func(p netip.Prefix)
		fill = func(p netip.Prefix) {
			if p.Bits() < 32 && (p.Bits() < 22 || r.IntN(3) > 0) {
				left, _ := p.Addr().Prefix(p.Bits() + 1)
				fill(left)
				fill(netip.PrefixFrom(prefix.Last(left).Next(), p.Bits()+1))
				return
			}
			c := []string{"DE", "US", "", "AT"}[r.IntN(4)]
			if err := s.Add(p, c, ""); err != nil {
				t.Fatal(err)
			}
			for a := p.Addr(); p.Contains(a); a = a.Next() {
				of[a] = c
			}
		}
		fill(netip.MustParsePrefix("11.7.0.0/20"))
		l, _ := s.Prefixes()
		set := new(prefix.Set)
		for i, p := range l {
			if p.Bits() < s.list.MinPrefix4 || p != p.Masked() || i > 0 && !prefix.Last(l[i-1]).Less(p.Addr()) {
				t.Fatalf("%v in %v", p, l)
			}
			set.Add(p)
		}
		for a, c := range of {
			want := c == "DE" || c == "AT"
			if others {
				want = c == "US"
			}
			if set.Contains(a) != want {
				t.Fatalf("%v of %q: others %v, %v", a, c, others, l)
			}
		}
		if set.Len() != len(l) || set.Contains(netip.MustParseAddr("11.6.255.255")) || set.Contains(netip.MustParseAddr("11.7.16.0")) || set.Contains(netip.MustParseAddr("::")) {
			t.Fatalf("%v", l)
		}
	}
}
