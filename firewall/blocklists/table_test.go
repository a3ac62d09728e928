package blocklists

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"bailiff/firewall"
	"bailiff/firewall/firewalltest"
	"bailiff/firewall/ipset"
	"bailiff/firewall/nftables"
	"bailiff/policy/prefix"

	libnftables "github.com/google/nftables"
)

func prefixes(texts ...string) (l []netip.Prefix) {
	for _, s := range texts {
		l = append(l, netip.MustParsePrefix(s))
	}
	return prefix.Compact(l)
}

func addrs(texts ...string) (l []netip.Addr) {
	for _, s := range texts {
		l = append(l, netip.MustParseAddr(s))
	}
	return l
}

// listOf is a list of these prefixes.
func listOf(name, block string, texts ...string) List {
	return List{Name: name, Block: block, Version: strings.Join(texts, " "), Each: each(prefixes(texts...))}
}

func apply(t testing.TB, x *Table, want ...List) {
	t.Helper()
	failed, err := x.Apply(t.Context(), want)
	if err != nil || len(failed) > 0 {
		t.Fatal(failed, err)
	}
	if err := x.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

func clean(t testing.TB) *Table {
	firewalltest.NeedNetns(t)
	x := New()
	t.Cleanup(func() { x.Remove(context.Background()) })
	if _, err := x.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	return x
}

func packets(t testing.TB, name string) uint64 {
	t.Helper()
	m, err := Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m[name].Packets
}

// TestBlocks: packets from a list's addresses are stopped or counted, at its ports, and allowed ones pass.
func TestBlocks(t *testing.T) {
	x := clean(t)
	w := firewalltest.NewWire(t, firewalltest.SSH, firewalltest.Web)
	reaches := func(port uint16, want string, from ...string) {
		t.Helper()
		got := ""
		for _, ok := range w.Reaches("drop")(t, port, addrs(from...)) {
			got += map[bool]string{true: "+", false: "-"}[ok]
		}
		if got != want {
			t.Errorf("port %d from %v: %s, want %s", port, from, got, want)
		}
	}
	all := []string{"192.0.2.7", "192.0.2.8", "198.51.100.1", "2001:db8:a::1", "2001:db8:b::1"}
	bad := listOf("bad", Drop, "192.0.2.7/32", "198.51.100.0/24", "2001:db8:a::/48", "2001:db8:b::1/128")
	reaches(firewalltest.SSH, "+++++", all...)
	apply(t, x, bad)
	reaches(firewalltest.SSH, "-+---", all...)
	if n := packets(t, "bad"); n < 4 {
		t.Errorf("%d packets counted", n)
	}
	before := packets(t, "bad")

	// Other ports are open to it. Counters go on where only the rules change.
	bad.Ports = []firewall.Port{{Proto: "tcp", From: firewalltest.SSH, To: firewalltest.SSH}}
	apply(t, x, bad)
	reaches(firewalltest.SSH, "-+---", all...)
	reaches(firewalltest.Web, "+++++", all...)
	if n := packets(t, "bad"); n < before+4 {
		t.Errorf("%d packets counted, %d before", n, before)
	}

	// What is allowed passes, as soon as it is allowed, and another list is counted but stops nothing.
	allowed := listOf("allowed", Accept, "198.51.100.1/32", "2001:db8:a::/64")
	seen := listOf("seen", Count, "192.0.2.8/31")
	apply(t, x, allowed, bad, seen)
	reaches(firewalltest.SSH, "-+++-", all...)
	reaches(firewalltest.Web, "+++++", all...)
	if n := packets(t, "seen"); n == 0 {
		t.Error("nothing of the list that only counts")
	}
	apply(t, x, listOf("allowed", Accept, "192.0.2.7/32"), bad, seen)
	reaches(firewalltest.SSH, "++---", all...)

	// Another version replaces the first, and a list that is gone stops nothing.
	apply(t, x, listOf("bad", Drop, "192.0.2.8/32"))
	reaches(firewalltest.SSH, "+-+++", all...)
	apply(t, x)
	reaches(firewalltest.SSH, "+++++", all...)
	if out := firewalltest.Run(t, "nft", "list", "ruleset"); strings.Contains(out, "bailiff") {
		t.Errorf("left:\n%s", out)
	}
}

// TestReject answers, instead of dropping.
func TestReject(t *testing.T) {
	x := clean(t)
	w := firewalltest.NewWire(t, firewalltest.SSH)
	apply(t, x, listOf("bad", Reject, "192.0.2.7/32", "2001:db8:a::/48"))
	for i, ok := range w.Reaches("reject")(t, firewalltest.SSH, addrs("192.0.2.7", "2001:db8:a::1", "192.0.2.9")) {
		if ok != (i == 2) {
			t.Errorf("address %d: reaches %v", i, ok)
		}
	}
}

// TestPlaces: open connections from a country stay, and new ones are stopped.
func TestPlaces(t *testing.T) {
	x := clean(t)
	w := firewalltest.NewWire(t, firewalltest.SSH, firewalltest.Web)
	from := addrs("192.0.2.7", "2001:db8:a::1")
	if got := w.Hold(t, firewalltest.SSH, from...); fmt.Sprint(got) != "[open open]" {
		t.Fatal(got)
	}
	want := func(what string, got []string, want string) {
		t.Helper()
		if fmt.Sprint(got) != "["+want+" "+want+"]" {
			t.Errorf("%s: %v, want %s", what, got, want)
		}
	}
	far := listOf("far", Drop, "192.0.2.0/24", "2001:db8:a::/48")
	far.Places = true
	apply(t, x, far)
	want("new ones", w.Connect(t, firewalltest.SSH, from...), "silent")
	want("UDP", w.Ask(t, firewalltest.Web, from...), "silent")
	want("open ones", w.Echo(t, firewalltest.SSH, from...), "open")
	if n := packets(t, "far"); n < 4 {
		t.Errorf("%d packets counted", n)
	}

	// At some ports only, each with its protocol.
	far.Ports = []firewall.Port{{Proto: "tcp", From: firewalltest.SSH, To: firewalltest.SSH}, {Proto: "udp", From: firewalltest.Web, To: firewalltest.Web}}
	far.Block = Reject
	apply(t, x, far)
	want("new ones at the port", w.Connect(t, firewalltest.SSH, from...), "refused")
	want("UDP at the port", w.Ask(t, firewalltest.Web, from...), "refused")
	want("new ones at another", w.Connect(t, firewalltest.Web, from...), "open")
	want("UDP at another", w.Ask(t, firewalltest.SSH, from...), "open")
	want("open ones", w.Echo(t, firewalltest.SSH, from...), "open")

	// Without Places no packet from there gets through.
	far.Places, far.Version, far.Ports, far.Block = false, "as addresses", nil, Drop
	apply(t, x, far)
	if got := w.Echo(t, firewalltest.SSH, from...); slices.Contains(got, "open") {
		t.Errorf("open ones: %v", got)
	}
}

// TestKernelAgrees loads random prefixes of all lengths, very many of some, and compares the addresses that the kernel's sets have.
func TestKernelAgrees(t *testing.T) {
	x := clean(t)
	r := rand.New(rand.NewPCG(3, 5))
	var l []netip.Prefix
	for range manyOfLength + 5000 {
		l = append(l, netip.PrefixFrom(netip.AddrFrom4([4]byte{60 + byte(r.IntN(3)), byte(r.IntN(256)), byte(r.IntN(256)), 0}), 24))
	}
	for range 3000 {
		a4, a16 := [4]byte{20 + byte(r.IntN(30))}, [16]byte{0x20, 0x01}
		for i := 1; i < 4; i++ {
			a4[i] = byte(r.IntN(256))
		}
		for i := 2; i < 16; i++ {
			a16[i] = byte(r.IntN(256))
		}
		p4, _ := netip.AddrFrom4(a4).Prefix(12 + r.IntN(21))
		p6, _ := netip.AddrFrom16(a16).Prefix(24 + r.IntN(105))
		l = append(l, p4, p6)
	}
	// Neighbours, and the end of each family.
	l = append(l, prefixes("10.0.0.0/9", "10.128.0.0/9", "255.255.255.0/25", "255.255.255.128/25", "ffff::/17", "ffff:8000::/17", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128")...)
	l = prefix.Compact(l)
	for _, places := range []bool{false, true} {
		apply(t, x, List{Name: "long", Block: Drop, Version: fmt.Sprint(places), Each: each(l), Places: places})
		agree(t, x.lists[0].sets, l)
		// Addresses, /24 and intervals of IPv4; addresses and intervals of IPv6. Or intervals alone.
		if n := len(x.lists[0].sets); n != 5 && !places || n != 2 && places {
			t.Errorf("%d sets", n)
		}
	}
}

// agree compares what sets of the kernel have with prefixes.
func agree(t *testing.T, sets []*libnftables.Set, l []netip.Prefix) {
	t.Helper()
	var got, want []span
	for _, p := range l {
		want = append(want, span{p.Addr(), prefix.Last(p)})
	}
	for _, s := range sets {
		_, bits := kind(s)
		_, text, ok := strings.Cut(firewalltest.Run(t, "nft", "list", "set", "inet", tableName, s.Name), "elements = {")
		if !ok {
			t.Fatalf("set %s is empty", s.Name)
		}
		text, _, _ = strings.Cut(text, "}")
		for _, e := range strings.Split(text, ",") {
			e = strings.TrimSpace(e)
			if from, to, ok := strings.Cut(e, "-"); ok {
				got = append(got, span{netip.MustParseAddr(from), netip.MustParseAddr(to)})
				continue
			}
			if !strings.Contains(e, "/") {
				if bits == 0 {
					bits = 8 * int(s.KeyType.Bytes)
				}
				e += fmt.Sprint("/", bits)
			}
			p := netip.MustParsePrefix(e)
			got = append(got, span{p.Addr(), prefix.Last(p)})
		}
	}
	if got, want := joined(got), joined(want); !slices.Equal(got, want) {
		t.Errorf("the kernel has %d ranges, want %d", len(got), len(want))
	}
}

// span is a range of addresses.
type span struct{ first, last netip.Addr }

// joined sorts ranges and joins neighbours.
func joined(l []span) (all []span) {
	slices.SortFunc(l, func(a, b span) int { return a.first.Compare(b.first) })
	for _, s := range l {
		if n := len(all); n > 0 && all[n-1].last.Next() == s.first {
			all[n-1].last = s.last
			continue
		}
		all = append(all, s)
	}
	return all
}

// TestFails: if a list cannot be read, what is in effect stays, and other lists are not affected.
func TestFails(t *testing.T) {
	x := clean(t)
	apply(t, x, listOf("a", Drop, "192.0.2.1/32"), listOf("b", Drop, "192.0.2.2/32"))
	broken := errors.New("line 7 is broken")
	half := List{Name: "a", Block: Drop, Version: "2", Each: func(f func(netip.Prefix) error) error {
		if err := f(netip.MustParsePrefix("192.0.2.9/32")); err != nil {
			return err
		}
		return broken
	}}
	calls := 0
	liar := List{Name: "c", Block: Drop, Version: "1", Each: func(f func(netip.Prefix) error) error {
		if calls++; calls == 1 {
			return f(netip.MustParsePrefix("192.0.2.3/32"))
		}
		for i := range byte(200) { // more than it said: the kernel refuses them, or they are of a length that it did not have
			if err := f(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, i}), 32)); err != nil {
				return err
			}
		}
		return nil
	}}
	whole := List{Name: "d", Block: Drop, Version: "1", Each: each([]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")})}
	failed, err := x.Apply(t.Context(), []List{half, listOf("b", Drop, "192.0.2.5/32"), liar, whole})
	if err != nil || len(failed) != 3 || !errors.Is(failed["a"], broken) || failed["c"] == nil || !strings.Contains(fmt.Sprint(failed["d"]), "refusing to ban every address") {
		t.Errorf("%v, %v", failed, err)
	}
	if err := x.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	out := firewalltest.Run(t, "nft", "list", "table", "inet", tableName)
	for s, want := range map[string]bool{"192.0.2.1": true, "192.0.2.5": true, "192.0.2.2 ": false, "192.0.2.9": false, "192.0.2.3": false, "198.51.100": false, "0.0.0.0": false} {
		if strings.Contains(out, s) != want {
			t.Errorf("%s: %v in\n%s", s, !want, out)
		}
	}
	if n := x.Entries(); n["a"] != 1 || n["b"] != 1 || len(n) != 2 {
		t.Error(n)
	}
	// A context that ends leaves the rules as they are.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.Apply(ctx, []List{listOf("b", Drop, "192.0.2.6/32")}); err == nil {
		t.Error("applied although the time was over")
	}
	if out := firewalltest.Run(t, "nft", "list", "table", "inet", tableName); !strings.Contains(out, "192.0.2.5") {
		t.Errorf("gone:\n%s", out)
	}
}

// TestDamage: what others do to the table is noticed at once, and the next Apply repairs it.
func TestDamage(t *testing.T) {
	x := clean(t)
	var noticed atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go Watch(ctx, func() { noticed.Add(1) })
	want := []List{listOf("allowed", Accept, "192.0.2.9/32"), listOf("bad", Drop, "192.0.2.0/24", "198.51.100.7/32")}
	apply(t, x, want...)
	for name, damage := range map[string][]string{
		"flush ruleset": {"nft", "flush", "ruleset"},
		"flush table":   {"nft", "flush", "table", "inet", tableName},
		"delete table":  {"nft", "delete", "table", "inet", tableName},
		"add rule":      {"sh", "-c", `nft add rule inet bailiff-lists prerouting accept comment '"bailiff: x"'`},
		"policy":        {"nft", "chain", "inet", tableName, "prerouting", "{ policy drop; }"},
		"dormant":       {"nft", "add", "table", "inet", tableName, "{ flags dormant; }"},
		"delete set":    {"sh", "-c", "nft flush chain inet bailiff-lists prerouting; nft delete set inet bailiff-lists SET"},
	} {
		before := noticed.Load()
		for i := range damage {
			damage[i] = strings.ReplaceAll(damage[i], "SET", x.lists[1].sets[0].Name)
		}
		firewalltest.Run(t, damage[0], damage[1:]...)
		firewalltest.Wait(t, func() bool { return noticed.Load() > before })
		if err := x.Verify(t.Context()); err == nil {
			t.Errorf("%s: not noticed", name)
		}
		apply(t, x, want...)
	}
	// A table of that name with content of others is left alone.
	x.Remove(t.Context())
	firewalltest.Run(t, "nft", "table inet bailiff-lists { chain mine { }; }")
	var foreign *firewall.ForeignError
	if _, err := x.Apply(t.Context(), want); !errors.As(err, &foreign) {
		t.Errorf("error %v", err)
	}
	if _, err := x.Remove(t.Context()); !errors.As(err, &foreign) {
		t.Errorf("error %v", err)
	}
	firewalltest.Run(t, "nft", "delete", "table", "inet", tableName)
}

// TestBeside: lists and the bans of each backend do not touch each other: not when they are set up, verified, emptied or removed.
func TestBeside(t *testing.T) {
	for name, open := range map[string]func() (firewall.Backend, error){
		"nftables": func() (firewall.Backend, error) { return nftables.New(nftables.Options{Scopes: firewalltest.Scopes}) },
		"ipset":    func() (firewall.Backend, error) { return ipset.New(ipset.Options{Scopes: firewalltest.Scopes}) },
	} {
		t.Run(name, func(t *testing.T) {
			x := clean(t)
			be, err := open()
			if err != nil {
				t.Fatal(err)
			}
			defer be.Close()
			defer be.Cleanup(context.Background())
			w := firewalltest.NewWire(t, firewalltest.SSH)
			from := addrs("192.0.2.7", "192.0.2.8", "2001:db8:a::1", "2001:db8:b::1")
			reaches := func(want string) {
				t.Helper()
				got := ""
				for _, ok := range w.Reaches("drop")(t, firewalltest.SSH, from) {
					got += map[bool]string{true: "+", false: "-"}[ok]
				}
				if got != want {
					t.Errorf("reaches %s, want %s", got, want)
				}
			}
			bans := []firewall.Ban{{Prefix: netip.MustParsePrefix("192.0.2.7/32")}, {Prefix: netip.MustParsePrefix("2001:db8:a::1/128")}}
			if _, err := be.Reconcile(t.Context(), bans); err != nil {
				t.Fatal(err)
			}
			// A list allows nothing but itself: the ban of 192.0.2.7 stays.
			apply(t, x, listOf("allowed", Accept, "192.0.2.7/32"), listOf("bad", Drop, "192.0.2.8/32", "2001:db8:b::/48"))
			reaches("----")
			if err := be.Verify(t.Context()); err != nil {
				t.Error(err)
			}
			in, err := be.Inspect(t.Context(), bans)
			if err != nil || !in.OK() {
				t.Errorf("%v %s", err, firewalltest.Differs(in))
			}
			if ch, err := be.Reconcile(t.Context(), bans); err != nil || len(ch.Repaired) > 0 || ch.Added+ch.Removed > 0 {
				t.Errorf("%+v, %v", ch, err)
			}
			if held, err := be.List(t.Context()); err != nil || len(held) != 2 {
				t.Errorf("%v, %v", held, err)
			}
			apply(t, x)
			reaches("-+-+")
			apply(t, x, listOf("bad", Drop, "192.0.2.8/32", "2001:db8:b::/48"))
			if err := be.Empty(t.Context()); err != nil {
				t.Error(err)
			}
			reaches("+-+-")
			if _, err := firewall.RemoveLeftovers(t.Context(), be); err != nil {
				t.Error(err)
			}
			if err := x.Verify(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBare: CAP_NET_ADMIN is enough, as the service has it.
func TestBare(t *testing.T) {
	firewalltest.Bare(t, func(t *testing.T) {
		x := New()
		failed, err := x.Apply(t.Context(), []List{{Name: "long", Block: Drop, Version: "1", Each: each(manyPrefixes(100_000))}})
		if err != nil || len(failed) > 0 {
			t.Fatal(failed, err)
		}
		if err := x.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		if found, err := x.Remove(t.Context()); err != nil || !found {
			t.Error(found, err)
		}
	})
}

// TestStart: what an earlier process has left stays in effect until the lists are loaded, and its counters go on.
func TestStart(t *testing.T) {
	x := clean(t)
	w := firewalltest.NewWire(t, firewalltest.SSH)
	apply(t, x, listOf("bad", Drop, "192.0.2.7/32"), listOf("old", Drop, "192.0.2.8/32"))
	w.Reaches("drop")(t, firewalltest.SSH, addrs("192.0.2.7"))
	before := packets(t, "bad")
	y := New()
	apply(t, y, listOf("bad", Drop, "192.0.2.7/32"))
	if n := packets(t, "bad"); n < before || before == 0 {
		t.Errorf("%d packets, %d before", n, before)
	}
	if ok := w.Reaches("drop")(t, firewalltest.SSH, addrs("192.0.2.7", "192.0.2.8")); ok[0] || !ok[1] {
		t.Error(ok)
	}
	if out := firewalltest.Run(t, "nft", "list", "table", "inet", tableName); strings.Count(out, "set bad") != 1 || strings.Contains(out, "old") {
		t.Errorf("left:\n%s", out)
	}
}
