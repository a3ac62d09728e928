package ipset

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/firewalltest"
	"bailiff/firewall/internal/nfrule"

	"golang.org/x/sys/unix"
)

func bansFrom(n, from int) []firewall.Ban {
	until := time.Now().Add(time.Hour)
	l := make([]firewall.Ban, n)
	for i := range l {
		x := i + from
		a := netip.AddrFrom4([4]byte{10, byte(x >> 16), byte(x >> 8), byte(x)})
		l[i] = firewall.Ban{Prefix: netip.PrefixFrom(a, 32), Until: until}
	}
	return l
}

func clean(t testing.TB, b *Backend) {
	t.Cleanup(func() {
		if err := errors.Join(b.Cleanup(context.Background()), b.Close()); err != nil {
			t.Error(err)
		}
	})
}

// TestGrow fills a set beyond what it was made for, while packets keep being dropped: the swap leaves no gap, and the rule
// refers to the larger set.
func TestGrow(t *testing.T) {
	w := firewalltest.NewWire(t, firewalltest.Web)
	b := newBackend(t, Options{MaxElem: 64, Limit: 4096})
	clean(t, b)
	v4 := netip.MustParseAddr("192.0.2.7")
	want := append(bansFrom(60, 0), firewall.Ban{Prefix: netip.PrefixFrom(v4, 32)})
	if _, err := b.Reconcile(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	index, err := b.conn.index(t.Context(), "bailiff4")
	if err != nil {
		t.Fatal(err)
	}
	var passed atomic.Int64
	const discard = 9
	u, err := net.ListenUDP("udp", &net.UDPAddr{IP: firewalltest.Local4.AsSlice(), Port: discard})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	go func() {
		for {
			if _, err := u.Read(make([]byte, 8)); err != nil {
				return
			}
			passed.Add(1)
		}
	}()
	w.Flood(t, discard, 10*time.Millisecond, netip.MustParseAddr("192.0.2.8"))
	firewalltest.Wait(t, 2*time.Second, func() bool { return passed.Load() > 0 }) // what is not banned arrives
	for last := int64(0); last != passed.Load(); <-time.After(20 * time.Millisecond) {
		last = passed.Load() // until all of it has
	}
	passed.Store(0)
	before := dropped(t)
	flooded := make(chan struct{})
	go func() { // a thousand packets for each time the set grows
		defer close(flooded)
		w.Flood(t, discard, 700*time.Millisecond, v4)
	}()
	firewalltest.Wait(t, 2*time.Second, func() bool { return dropped(t) > before })
	for n := 60; n < 4000; n += 100 {
		if err := b.Add(t.Context(), bansFrom(100, n)); err != nil {
			t.Fatal(err)
		}
		if err := b.Verify(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-flooded:
		t.Error("the flood was over before the set had grown")
	default:
		<-flooded
	}
	if n := passed.Load(); n != 0 {
		t.Errorf("%d packets of a banned address passed while the set grew", n)
	}
	t.Logf("%d packets dropped", dropped(t)-before)
	heads, err := b.conn.headers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h := heads["bailiff4"]
	if h.maxelem != 4096 || h.refs != 1 || h.count != 4061 {
		t.Errorf("after growing: %+v, want room for 4096, 1 reference, 4061 elements", h)
	}
	if now, err := b.conn.index(t.Context(), "bailiff4"); now != index || err != nil {
		t.Errorf("the name's index went from %d to %d, %v", index, now, err)
	}
	if heads["bailiff4"+tempMark] != nil {
		t.Error("the smaller set is still there")
	}

	// At the limit it is an error that says so, and what is in stays.
	err = b.Add(t.Context(), bansFrom(100, 4100))
	if !errors.Is(err, errFull) || !strings.Contains(err.Error(), "bailiff4") {
		t.Errorf("beyond the limit: %v, want that bailiff4 is full", err)
	}
	if err := b.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestGrowWhenKernelSaysFull: elements of others take up room that we do not know of.
func TestGrowWhenKernelSaysFull(t *testing.T) {
	b := newBackend(t, Options{MaxElem: 64})
	clean(t, b)
	if _, err := b.Reconcile(t.Context(), bansFrom(10, 0)); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		firewalltest.Run(t, "ipset", "add", "bailiff4", fmt.Sprintf("172.16.0.%d", i))
	}
	if err := b.Add(t.Context(), bansFrom(40, 10)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Reconcile(t.Context(), bansFrom(50, 0)); err != nil {
		t.Fatal(err)
	}
	if l, err := b.List(t.Context()); len(l) != 50 || err != nil {
		t.Errorf("%d elements, %v, want 50", len(l), err)
	}
	if err := b.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// dropped reads the counter of our first IPv4 rule.
func dropped(t *testing.T) (n int) {
	t.Helper()
	out := firewalltest.Run(t, "nft", "list", "table", "ip", "bailiff")
	_, rest, ok := strings.Cut(out, "packets ")
	if !ok {
		t.Fatalf("no counter in\n%s", out)
	}
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRestored: sets that the ipset tool saved and restored, as ipset-persistent does over a reboot, have its revision. They
// are taken over with what is in them.
func TestRestored(t *testing.T) {
	before := newBackend(t, Options{})
	clean(t, before)
	bans := bansFrom(100, 0)
	if _, err := before.Reconcile(t.Context(), bans); err != nil {
		t.Fatal(err)
	}
	saved := firewalltest.Run(t, "ipset", "save")
	if err := before.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	firewalltest.Run(t, "sh", "-ec", "ipset restore <<'END'\n"+saved+"END")
	if s := firewalltest.Run(t, "ipset", "list", "-t", "bailiff4"); strings.Contains(s, "Revision: 6\n") {
		t.Skipf("this ipset makes what we make:\n%s", s)
	}
	b := newBackend(t, Options{})
	clean(t, b)
	ch, err := b.Reconcile(t.Context(), append(bans[50:], bansFrom(10, 1000)...))
	if err != nil || ch.Added != 10 || ch.Removed != 50 {
		t.Errorf("%+v, %v", ch, err)
	}
	if err := errors.Join(b.Add(t.Context(), bansFrom(20_000, 2000)), b.Verify(t.Context())); err != nil {
		t.Error(err)
	}
	if l, err := b.List(t.Context()); err != nil || len(l) != 20_060 {
		t.Errorf("%d bans, %v", len(l), err)
	}
}

// TestSwappedByOthers: a set with counters under our name, with our rule pointing at it.
func TestSwappedByOthers(t *testing.T) {
	b := newBackend(t, Options{})
	clean(t, b)
	if _, err := b.Reconcile(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	firewalltest.Run(t, "ipset", "create", "other", "hash:net", "timeout", "0", "counters")
	firewalltest.Run(t, "ipset", "swap", "other", "bailiff4")
	defer func() {
		firewalltest.Run(t, "ipset", "swap", "other", "bailiff4")
		firewalltest.Run(t, "ipset", "destroy", "other")
	}()
	var foreign *firewall.ForeignError
	if err := b.Verify(t.Context()); !errors.As(err, &foreign) || foreign.Name != "set bailiff4" {
		t.Errorf("Verify: %v, want a ForeignError about bailiff4", err)
	}
	if _, err := b.Reconcile(t.Context(), nil); !errors.As(err, &foreign) {
		t.Errorf("Reconcile: %v, want a ForeignError", err)
	}
}

// TestOtherScopes: after a change of configuration the sets of scopes that are gone go, and rules change in one step.
func TestOtherScopes(t *testing.T) {
	b := newBackend(t, Options{})
	clean(t, b)
	if _, err := b.Reconcile(t.Context(), []firewall.Ban{{Prefix: netip.MustParsePrefix("192.0.2.7/32"), Scope: "sshd"}}); err != nil {
		t.Fatal(err)
	}
	next := newBackend(t, Options{Scopes: []firewall.Scope{{Name: ""}, {Name: "web", Ports: []firewall.Port{{Proto: "tcp", From: 80, To: 80}}}}})
	clean(t, next)
	ch, err := next.Reconcile(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if ch.First || len(ch.Repaired) == 0 {
		t.Errorf("%+v, want the tables and sets made anew", ch)
	}
	if s := leftover(t); strings.Contains(s, "sshd") || !strings.Contains(s, "bailiff6-web") {
		t.Errorf("sets:\n%s", s)
	}
	if err := next.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestCrash: a set left half filled by a growth that was cut short goes at the next Reconcile; what others named alike
// stays.
func TestCrash(t *testing.T) {
	b := newBackend(t, Options{})
	clean(t, b)
	temp := "bailiff4" + tempMark
	if err := b.conn.create(t.Context(), temp, unix.NFPROTO_IPV4, 64, 64); err != nil {
		t.Fatal(err)
	}
	firewalltest.Run(t, "ipset", "create", "bailiff4-mine", "hash:ip")
	defer firewalltest.Run(t, "ipset", "destroy", "bailiff4-mine")
	if _, err := b.Reconcile(t.Context(), bansFrom(10, 0)); err != nil {
		t.Fatal(err)
	}
	heads, err := b.conn.headers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if heads[temp] != nil {
		t.Error("the leftover is still there")
	}
	if heads["bailiff4-mine"] == nil {
		t.Error("the other's set is gone")
	}
}

// TestLongBans: the kernel cuts timeouts at 24.8 days. They are set anew once half of that is over.
func TestLongBans(t *testing.T) {
	b := newBackend(t, Options{})
	clean(t, b)
	long := firewall.Ban{Prefix: netip.MustParsePrefix("192.0.2.7/32"), Until: time.Now().Add(365 * 24 * time.Hour)}
	if _, err := b.Reconcile(t.Context(), []firewall.Ban{long}); err != nil {
		t.Fatal(err)
	}
	left := func() (left uint32) {
		if err := b.conn.dump(t.Context(), "bailiff4", func(_ element, l uint32) { left = l }); err != nil {
			t.Fatal(err)
		}
		return left
	}
	if n := left(); n < maxTimeout-slack || n > maxTimeout {
		t.Errorf("the kernel counts %d s, want %d", n, maxTimeout)
	}
	for _, c := range []struct {
		timeout string
		want    int
	}{{"2000000", 0}, {"1000000", 1}} {
		firewalltest.Run(t, "ipset", "add", "-exist", "bailiff4", "192.0.2.7", "timeout", c.timeout)
		if ch, err := b.Reconcile(t.Context(), []firewall.Ban{long}); err != nil || ch.Refreshed != c.want {
			t.Errorf("with %s s to go: %+v, %v, want %d refreshed", c.timeout, ch, err, c.want)
		}
	}
	if n := left(); n < maxTimeout-slack {
		t.Errorf("the kernel counts %d s, want %d", n, maxTimeout)
	}
}

// TestWatch: a flush is told of within a second (in fact within a millisecond); what others do elsewhere is not.
func TestWatch(t *testing.T) {
	b := newBackend(t, Options{})
	clean(t, b)
	if _, err := b.Reconcile(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	told := make(chan time.Time, 100)
	end := make(chan error, 1)
	go func() { end <- b.Watch(ctx, func() { told <- time.Now() }) }()

	// Watch has joined once it tells of something: touch our table until it does.
	firewalltest.Wait(t, 5*time.Second, func() bool {
		firewalltest.Run(t, "nft", "add", "table", "ip", "bailiff")
		firewalltest.Run(t, "nft", "add", "chain", "ip", "bailiff", "x")
		firewalltest.Run(t, "nft", "delete", "chain", "ip", "bailiff", "x")
		return len(told) > 0
	})
	firewalltest.Run(t, "nft", "add", "table", "ip", "somebody")
	firewalltest.Run(t, "nft", "delete", "table", "ip", "somebody")
	firewalltest.Run(t, "nft", "add", "table", "inet", "bailiff") // of another family
	firewalltest.Run(t, "nft", "delete", "table", "inet", "bailiff")
	for len(told) > 0 {
		<-told
	}
	start := time.Now()
	firewalltest.Run(t, "nft", "flush", "ruleset")
	select {
	case at := <-told:
		t.Logf("told %v after nft was started", at.Sub(start))
	case <-time.After(time.Second):
		t.Error("nothing was told of the flush")
	}
	stop()
	if err := <-end; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch ended with %v", err)
	}
}

// TestCapabilities runs the backend in the rights of the service.
func TestCapabilities(t *testing.T) { firewalltest.Bare(t, bare) }

func bare(t *testing.T) {
	for _, block := range []string{"drop", "reject"} {
		b, err := New(Options{Scopes: firewalltest.Scopes, Block: block, MaxElem: 64})
		if err != nil {
			t.Fatal(err)
		}
		clean(t, b)
		if _, err := b.Reconcile(t.Context(), bansFrom(10, 0)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(b.Add(t.Context(), bansFrom(200, 10)), b.Verify(t.Context())); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := b.Watch(ctx, func() {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Watch: %v", err)
		}
		stop()
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{Block: "tarpit"}, {Prefix: "thirteen-long"}, {Prefix: "a b"}, {MaxElem: -1}, {MaxElem: 10, Limit: 5},
		{Scopes: []firewall.Scope{{Name: "a"}, {Name: "a"}}},
	} {
		if b, err := New(o); err == nil {
			b.Close()
			t.Errorf("%+v was taken", o)
		} else {
			t.Log(err)
		}
	}
}

// TestParse: what is cut short is no element, and no walk goes beyond its bytes.
func TestParse(t *testing.T) {
	p := netip.MustParsePrefix("2001:db8:a:1::/64")
	b := appendElement(nil, unix.NFPROTO_IPV6, change{elementOf(p), 77}, true, 1)
	n := 0
	for typ, v := range nfrule.Attrs(b) {
		e, left := parseElement(v)
		if e.prefix(unix.NFPROTO_IPV6) != p || left != 77 || typ != 7 {
			t.Errorf("%d: %v for %d s", typ, e.prefix(unix.NFPROTO_IPV6), left)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d elements", n)
	}
	for i := range b {
		for _, v := range nfrule.Attrs(b[:i]) {
			t.Errorf("of %d bytes: %x", i, v)
		}
		parseElement(b[attrHeader : attrHeader+min(i, len(b)-attrHeader)])
		if h := parseHeader(b[:i]); h != nil {
			t.Errorf("of %d bytes: %+v", i, h)
		}
	}
}
