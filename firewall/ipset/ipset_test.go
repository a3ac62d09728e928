package ipset

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/firewalltest"
	"bailiff/firewall/internal/request"
	"bailiff/firewall/internal/sets"
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

// TestSmaller: a set that was created for fewer elements than ours, as by ipset restore, is replaced.
func TestSmaller(t *testing.T) {
	firewalltest.NeedNetns(t)
	firewalltest.Run(t, "ipset", "create", "bailiff4", "hash:net", "timeout", "0", "maxelem", "64")
	b := newBackend(t, Options{})
	clean(t, b)
	for range 2 {
		if _, err := b.Reconcile(t.Context(), bansFrom(200, 0)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(b.Verify(t.Context()), b.Add(t.Context(), bansFrom(20_000, 1000)), b.Verify(t.Context())); err != nil {
			t.Fatal(err)
		}
		if l, err := b.List(t.Context()); err != nil || len(l) != 20_200 {
			t.Errorf("%d bans, %v", len(l), err)
		}
	}
}

// TestEnlarged: a set of an earlier version, which took fewer elements, is replaced without a moment in which a banned address gets
// through. A temporary set left behind by a killed daemon does not matter.
func TestEnlarged(t *testing.T) {
	w := firewalltest.NewWire(t, firewalltest.Web)
	b := newBackend(t, Options{})
	clean(t, b)
	banned := netip.MustParsePrefix("192.0.2.7/32")
	bans := append(bansFrom(5000, 0), firewall.Ban{Prefix: banned, Until: time.Now().Add(time.Hour)})
	if _, err := b.Reconcile(t.Context(), bans); err != nil {
		t.Fatal(err)
	}
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-over:
				return
			default:
				for _, got := range w.Connect(t, firewalltest.Web, slices.Repeat([]netip.Addr{banned.Addr()}, 50)...) {
					if got != "silent" {
						t.Errorf("a banned address meets %q", got)
					}
				}
			}
		}
	}()
	run := func(args ...string) { firewalltest.Run(t, "ipset", args...) }
	for i := range 8 {
		run("create", "old", "hash:net", "timeout", "0", "maxelem", "131072")
		run("add", "old", banned.String())
		run("swap", "old", "bailiff4")
		run("destroy", "old")
		if i == 0 {
			run("create", "bailiff4-.", "hash:net", "timeout", "0")
		}
		if ch, err := b.Reconcile(t.Context(), bans); err != nil || len(ch.Repaired) != 1 || ch.Repaired[0] != "set bailiff4" {
			t.Fatalf("%+v, %v", ch, err)
		}
		if l, err := b.List(t.Context()); err != nil || len(l) != len(bans) {
			t.Errorf("%d bans, want %d; %v", len(l), len(bans), err)
		}
	}
	close(over)
	<-done
	if out := firewalltest.Run(t, "ipset", "list", "-n"); strings.Contains(out, "bailiff4-.") || !strings.Contains(firewalltest.Run(t, "ipset", "list", "-t", "bailiff4"), "maxelem 16777216") {
		t.Errorf("sets: %s", out)
	}
}

// TestMemory: a set for many elements costs memory only for what is in it.
func TestMemory(t *testing.T) {
	firewalltest.NeedNetns(t)
	memory := func(max string) string {
		firewalltest.Run(t, "ipset", "create", "sized", "hash:net", "timeout", "0", "maxelem", max)
		defer firewalltest.Run(t, "ipset", "destroy", "sized")
		_, s, _ := strings.Cut(firewalltest.Run(t, "ipset", "list", "-t", "sized"), "Size in memory: ")
		return strings.Fields(s)[0]
	}
	if small, large := memory("64"), memory(fmt.Sprint(maxElem)); small != large {
		t.Errorf("%s bytes for 64 elements, %s for %d", small, large, maxElem)
	}
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

// TestOtherScopes: after a change of configuration the sets of former scopes are removed, and rules change in one step.
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
	if ch.Initial || len(ch.Repaired) == 0 {
		t.Errorf("%+v, want the tables and sets rebuilt", ch)
	}
	if s := leftover(t); strings.Contains(s, "sshd") || !strings.Contains(s, "bailiff6-web") {
		t.Errorf("sets:\n%s", s)
	}
	if err := next.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestLongBans: the kernel cuts timeouts at 24.8 days. They are renewed once half of that has passed.
func TestLongBans(t *testing.T) {
	b := newBackend(t, Options{})
	clean(t, b)
	long := firewall.Ban{Prefix: netip.MustParsePrefix("192.0.2.7/32"), Until: time.Now().Add(365 * 24 * time.Hour)}
	if _, err := b.Reconcile(t.Context(), []firewall.Ban{long}); err != nil {
		t.Fatal(err)
	}
	left := func() (left uint32) {
		if err := b.kernel.dump(t.Context(), "bailiff4", func(_ sets.Element, l uint32) { left = l }); err != nil {
			t.Fatal(err)
		}
		return left
	}
	if n := left(); n < maxTimeout-5 || n > maxTimeout {
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
	if n := left(); n < maxTimeout-5 {
		t.Errorf("the kernel counts %d s, want %d", n, maxTimeout)
	}
}

// TestWatch: a flush is noticed within a second (in fact within a millisecond); what others do elsewhere is not reported.
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

	// Watch is listening once it reports something: touch our table until it does.
	firewalltest.Wait(t, func() bool {
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

// TestCapabilities runs the backend with the privileges of the service.
func TestCapabilities(t *testing.T) { firewalltest.Bare(t, bare) }

func bare(t *testing.T) {
	for _, block := range []string{"drop", "reject"} {
		b, err := New(Options{Scopes: firewalltest.Scopes, Block: block})
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
		{Block: "tarpit"}, {Scopes: []firewall.Scope{{Name: "a"}, {Name: "a"}}},
	} {
		if b, err := New(o); err == nil {
			b.Close()
			t.Errorf("%+v was taken", o)
		} else {
			t.Log(err)
		}
	}
}

// TestParse: truncated data is no element, and no walk goes beyond its bytes.
func TestParse(t *testing.T) {
	p := netip.MustParsePrefix("2001:db8:a:1::/64")
	b := appendElement(nil, sets.ElementOf(p), func(sets.Element) uint32 { return 77 }, 1)
	n := 0
	for typ, v := range request.Attributes(b) {
		e, left, ok := parseElement(v)
		if !ok || e.Prefix() != p || left != 77 || typ != 7 {
			t.Errorf("%d: %v for %d s", typ, e.Prefix(), left)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d elements", n)
	}
	for i := range b {
		for _, v := range request.Attributes(b[:i]) {
			t.Errorf("of %d bytes: %x", i, v)
		}
		parseElement(b[4 : 4+min(i, len(b)-4)])
		if h := parseHeader(b[:i]); h != nil {
			t.Errorf("of %d bytes: %+v", i, h)
		}
	}
}
