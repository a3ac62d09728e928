package daemon

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/journal/audit"
	"bailiff/policy/allow"
	"bailiff/policy/blocklist"
	"bailiff/policy/config"
	"bailiff/policy/prefix"
	"bailiff/units/control"
	"bailiff/units/published"
)

// blockBench is a daemon with the list "mine", in a network namespace of its own.
type blockBench struct {
	*bench
	*space
	store published.Store
}

const blockConf = "lists: {mine: {url: 'https://lists.example.org/mine'}}\n"

func newBlockBench(t *testing.T) *blockBench {
	s := newSpace(t)
	b := &blockBench{newBench(t), s, published.Store{Dir: t.TempDir()}}
	b.before, b.args = []string{"nsenter", s.net}, []string{"--firewall", "nftables", "--blocklists", b.store.Dir}
	b.configure(blockConf)
	return b
}

func (b *blockBench) put(prefixes ...netip.Prefix) {
	b.bench.t.Helper()
	now := time.Now()
	p := blocklist.List{Published: allow.Published{Name: "mine", URLs: []string{"https://lists.example.org/mine"}}}
	if err := b.store.WriteBlock(&p, prefix.Compact(prefixes), published.State{Checked: now, Good: now, Fetched: now, Count: len(prefixes), LeftOut: 2}); err != nil {
		b.bench.t.Fatal(err)
	}
}

func (b *blockBench) table() string {
	out, _ := b.try("nft", "list", "table", "inet", "bailiff-lists")
	return out
}

// awaitList waits until the list is as it should be.
func (b *blockBench) awaitList(what string, ok func(l *control.BlockList) bool) (l control.BlockList) {
	b.bench.t.Helper()
	b.long(what, func(ctx context.Context) bool {
		x, err := b.client.BlockLists(ctx)
		if err != nil || len(x.Lists) != 1 {
			return false
		}
		l = x.Lists[0]
		return ok(&l)
	})
	return l
}

// long is until with more time: lists are checked every five seconds.
func (b *blockBench) long(what string, ok func(context.Context) bool) {
	b.bench.t.Helper()
	for end := time.Now().Add(5 * time.Minute); !ok(context.Background()); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			x, err := b.client.BlockLists(context.Background())
			b.bench.t.Fatalf("%s: %+v, %v\n%s", what, x, err, b.table())
		}
	}
}

func (b *blockBench) reloaded(text string) {
	b.bench.t.Helper()
	b.configure(text)
	if _, err := b.client.Reload(context.Background()); err != nil {
		b.bench.t.Fatal(err)
	}
}

func (b *blockBench) problem(want string) {
	b.bench.t.Helper()
	b.long("problem "+want, func(ctx context.Context) bool {
		s, err := b.client.Status(ctx)
		return err == nil && strings.Contains(s.Problems.String(), want)
	})
}

// TestBlockLists follows a list from its first fetch to its end: the list on disk takes effect within seconds, beside the bans, and allowed
// addresses pass.
func TestBlockLists(t *testing.T) {
	t.Parallel()
	b := newBlockBench(t)
	conf := "allow: {addresses: [198.51.100.0/24]}\n" + blockConf
	b.configure(conf)
	b.start()
	ctx := context.Background()
	b.problem("block list mine: never fetched: systemctl enable --now bailiff-lists-refresh.timer")

	b.put(netip.MustParsePrefix("192.0.2.0/25"), netip.MustParsePrefix("198.51.100.7/32"), netip.MustParsePrefix("2001:db8::/32"))
	l := b.awaitList("loaded", func(l *control.BlockList) bool { return l.Entries == 3 })
	if l.Allowed != 1 || l.LeftOut != 2 || l.Loaded == nil || l.Packets == nil || l.Mode != "drop" || l.Ports != "jails" {
		t.Errorf("%+v", l)
	}
	if m := b.told(audit.KindBlockList); m["MESSAGE"] != "block list mine: 3 entries in effect, 1 for addresses that are allowed here, which pass" {
		t.Errorf("%v", m)
	}
	table := b.table()
	accept, drop := strings.Index(table, "accept comment"), strings.Index(table, "drop comment")
	if accept < 0 || drop < accept || !strings.Contains(table, "198.51.100.0/24") || !strings.Contains(table, "2001:db8::/32") {
		t.Errorf("table\n%s", table)
	}
	if bans, err := b.client.Bans(ctx, control.BanQuery{}); err != nil || len(bans.Bans) != 0 {
		t.Errorf("%+v, %v", bans, err)
	}
	if m, err := b.client.Metrics(ctx, false); err != nil || !strings.Contains(string(m), `bailiff_block_list_entries{list="mine"} 3`) || !strings.Contains(string(m), `bailiff_block_list_packets_total{list="mine",mode="drop"} 0`) {
		t.Errorf("metrics %v\n%s", err, m)
	}

	// `bailiff why` shows the list for an address.
	for addr, want := range map[string]string{"192.0.2.7": "[{mine  192.0.2.0/25 drop jails []}]", "192.0.2.128": "[]", "2001:db8:7::1": "[{mine  2001:db8::/32 drop jails []}]", "203.0.113.9": "[]"} {
		if w, err := b.client.Why(ctx, addr); err != nil || fmt.Sprint(w.Lists) != want {
			t.Errorf("%s: %v, want %s", addr, err, want)
		}
	}

	// What is allowed at run time passes at once.
	b.did(b.client.Allow(ctx, control.AllowRequest{Prefix: "192.0.2.7"}))
	b.long("allowed", func(context.Context) bool {
		return strings.Contains(b.table(), "192.0.2.7,") || strings.Contains(b.table(), "192.0.2.7 }")
	})

	// What somebody else removes comes back.
	b.run("nft", "delete", "table", "inet", "bailiff-lists")
	b.long("repaired", func(context.Context) bool { return strings.Contains(b.table(), "192.0.2.0/25") })
	if m := b.told(audit.KindFirewallRepaired); !strings.Contains(m["MESSAGE"], "block lists loaded again: table inet bailiff-lists: is gone") {
		t.Errorf("%v", m)
	}

	// A compromised fetch process can block no more than is configured.
	for _, bad := range []string{"192.0.2.9/32\n0.0.0.0/0\n", "# nothing\n"} {
		if err := os.WriteFile(filepath.Join(b.store.Dir, "mine.list"), []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		l := b.awaitList("rejected "+bad, func(l *control.BlockList) bool { return l.Rejected != "" })
		if l.Entries != 3 {
			t.Errorf("%q: %+v", bad, l)
		}
		if m := b.told(audit.KindBlockListRefused); !strings.Contains(m["MESSAGE"], "keeping the previous list (3 entries)") || m[audit.FieldList] != "mine" {
			t.Errorf("%v", m)
		}
		b.problem("block list mine: not used: ")
		b.put(netip.MustParsePrefix("192.0.2.0/25"), netip.MustParsePrefix("198.51.100.7/32"), netip.MustParsePrefix("2001:db8::/32"))
		b.awaitList("good again", func(l *control.BlockList) bool { return l.Rejected == "" })
	}

	// A list that only counts; the same list at all ports; none.
	b.reloaded("lists: {mine: {url: 'https://lists.example.org/mine', mode: log}}\n")
	b.long("only counted", func(context.Context) bool {
		s := b.table()
		return strings.Contains(s, "mine-") && !strings.Contains(s, " drop ")
	})
	b.reloaded("lists: {mine: {url: 'https://lists.example.org/mine', ports: all}}\n")
	b.long("all ports", func(context.Context) bool {
		s := b.table()
		return strings.Contains(s, " drop ") && !strings.Contains(s, "dport")
	})
	b.reloaded("jails: {sshd: {}}\n")
	b.long("gone", func(context.Context) bool { return !strings.Contains(b.dump(), "bailiff-lists") })
	b.stop()
}

// TestBlockListsStop: lists stay over a restart, or go with the bans.
func TestBlockListsStop(t *testing.T) {
	b := newBlockBench(t)
	b.put(netip.MustParsePrefix("192.0.2.0/25"))
	b.start()
	b.awaitList("loaded", func(l *control.BlockList) bool { return l.Entries == 1 })
	b.stop()
	if s := b.table(); !strings.Contains(s, "192.0.2.0/25") {
		t.Errorf("gone with the daemon:\n%s", s)
	}
	b.configure("firewall: {keep_on_stop: false}\n" + blockConf)
	b.start()
	b.awaitList("loaded", func(l *control.BlockList) bool { return l.Entries == 1 })
	b.stop()
	if s := b.dump(); strings.Contains(s, "bailiff") {
		t.Errorf("left:\n%s", s)
	}
	// A start without lists removes what an earlier start left behind.
	b.configure(blockConf)
	b.start()
	b.awaitList("loaded", func(l *control.BlockList) bool { return l.Entries == 1 })
	b.kill()
	b.configure("jails: {sshd: {}}\n")
	b.start()
	b.long("gone", func(context.Context) bool { return !strings.Contains(b.dump(), "bailiff-lists") })
}

// TestBlockListsStopHanging: lists go even if the firewall that holds the bans does not answer.
func TestBlockListsStopHanging(t *testing.T) {
	t.Parallel()
	b := newBlockBench(t)
	b.put(netip.MustParsePrefix("192.0.2.0/25"))
	b.configure("firewall: {keep_on_stop: false}\n" + blockConf)
	b.before = append(b.before, "env", hangingBus(t))
	b.args = []string{"--firewall", "firewalld", "--blocklists", b.store.Dir}
	b.launch()
	b.long("loaded", func(context.Context) bool { return strings.Contains(b.table(), "192.0.2.0/25") })
	b.untilStatus("the firewall is told to hang", func(s *control.Status) bool { return !s.Firewall.OK })
	b.stop()
	if s := b.dump(); strings.Contains(s, "bailiff") {
		t.Errorf("left:\n%s", s)
	}
	if m := b.told(audit.KindStop); !strings.Contains(m["MESSAGE"], "not removed: the firewall failed") {
		t.Errorf("told: %q", m["MESSAGE"])
	}
}

// TestBlockListsDry: a daemon that has no firewall says why lists are not in effect.
func TestBlockListsDry(t *testing.T) {
	b := newBlockBench(t)
	b.args = []string{"--blocklists", b.store.Dir}
	b.put(netip.MustParsePrefix("192.0.2.0/25"))
	b.start()
	b.problem("block lists: not in effect: the firewall is dryrun")
	if x, err := b.client.BlockLists(context.Background()); err != nil || x.Error == "" || len(x.Lists) != 1 || x.Lists[0].Entries != 0 {
		t.Errorf("%+v, %v", x, err)
	}
	if s := b.dump(); strings.Contains(s, "bailiff") {
		t.Errorf("holds\n%s", s)
	}
}

// TestBlockListsToDryrun: a daemon that is configured to block nothing removes the lists; a trial run leaves those of the real daemon alone.
func TestBlockListsToDryrun(t *testing.T) {
	t.Parallel()
	b := newBlockBench(t)
	args := func(backend string) []string {
		return []string{"--firewall", backend, "--blocklists", b.store.Dir}
	}
	const (
		blocks  = "firewall: {backend: nftables}\n" + blockConf
		dry     = "firewall: {backend: dryrun}\n" + blockConf
		dryGone = "firewall: {backend: dryrun, keep_on_stop: false}\n" + blockConf
	)
	b.put(netip.MustParsePrefix("192.0.2.0/25"))
	b.configure(blocks)
	b.args = args("")
	b.start()
	loaded := func() {
		t.Helper()
		b.awaitList("loaded", func(l *control.BlockList) bool { return l.Entries == 1 })
	}
	gone := func() {
		t.Helper()
		b.long("gone", func(context.Context) bool { return !strings.Contains(b.dump(), "bailiff-lists") })
		b.awaitList("nothing in effect", func(l *control.BlockList) bool { return l.Entries == 0 })
		b.problem("block lists: not in effect: the firewall is dryrun")
	}
	loaded()
	b.stop()

	b.args = args("dryrun")
	for _, conf := range []string{blocks, dry, dryGone} {
		b.configure(conf)
		b.start()
		b.problem("block lists: not in effect: the firewall is dryrun")
		b.stop()
		if s := b.table(); !strings.Contains(s, "192.0.2.0/25") {
			t.Fatalf("removed by a trial run:\n%s", s)
		}
	}

	b.args = args("")
	b.configure(blocks)
	b.start()
	loaded()
	b.reloaded(dry)
	gone()
	b.reloaded(blocks)
	loaded()
	b.stop()
	b.configure(dry)
	b.start()
	gone()

	// It stops right after the reload.
	b.reloaded(blocks)
	loaded()
	b.reloaded(dryGone)
	b.stop()
	if s := b.dump(); strings.Contains(s, "bailiff-lists") {
		t.Errorf("left:\n%s", s)
	}
}

// TestBlockListMemory: the daemon keeps less than 40 bytes for each prefix of a long list.
func TestBlockListMemory(t *testing.T) {
	const many, most = 1_000_000, 40
	b := newBlockBench(t)
	b.start()
	ctx := context.Background()
	rss := func() uint64 {
		s, err := b.client.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return s.Memory
	}
	before := rss()
	l := make([]netip.Prefix, 0, many)
	for i := range uint32(many) {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 0x0b000000+i*117) // 11.0.0.0 to 17.249.74.0
		l = append(l, netip.PrefixFrom(netip.AddrFrom4(a), 32))
	}
	b.put(l...)
	most0 := uint64(0)
	x := b.awaitList("loaded", func(l *control.BlockList) bool { most0 = max(most0, rss()); return l.Entries == many })
	fmt.Printf("%d prefixes: %.1f bytes each at most (%d KiB before, %d while loading, %d after)\n", many, float64(max(most0, before)-before)/many, before>>10, most0>>10, rss()>>10)
	if most0 > before+many*most {
		t.Errorf("grown from %d to %d KiB: %+v", before>>10, most0>>10, x)
	}
	m, err := b.client.Why(ctx, "11.0.0.117")
	if err != nil || m.State != "unknown" {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestCarry: without netlink the backend gets the lists that fit, less what is allowed, in scopes that it knows.
func TestCarry(t *testing.T) {
	w := newBlockWorker(t.TempDir(), t.TempDir())
	conf, err := config.Parse("x", []byte(`jails: {sshd: {ports: [ssh]}}
lists:
  all: {url: "https://example.org/", ports: all}
  counts: {url: "https://example.org/", mode: log}
  long: {url: "https://example.org/"}
  short: {url: "https://example.org/"}
`))
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string, prefixes ...netip.Prefix) {
		t.Helper()
		if err := w.store.WriteBlock(&blocklist.List{Published: allow.Published{Name: name}}, prefix.Compact(prefixes), published.State{}); err != nil {
			t.Fatal(err)
		}
	}
	var long []netip.Prefix
	for i := range maxCarried + 1 {
		long = append(long, netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), 32))
	}
	put("all", netip.MustParsePrefix("192.0.2.0/25"), netip.MustParsePrefix("198.51.100.0/24"))
	put("counts", netip.MustParsePrefix("203.0.113.1/32"))
	put("long", long...)
	put("short", netip.MustParsePrefix("192.0.2.0/25"), netip.MustParsePrefix("2001:db8::/32"))
	w.want = blockWanted{lists: conf.Lists, carry: true, allow: []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")}}
	w.look(t.Context(), true)
	w.publish()
	const want = "[{192.0.2.0/25 -all 0001-01-01 00:00:00 +0000 UTC} {192.0.2.0/25 -jails 0001-01-01 00:00:00 +0000 UTC} {2001:db8::/32 -jails 0001-01-01 00:00:00 +0000 UTC}]"
	got := <-w.carry
	slices.SortStableFunc(got, func(a, b firewall.Ban) int {
		return cmp.Or(prefix.Compare(a.Prefix, b.Prefix), cmp.Compare(a.Scope, b.Scope))
	})
	if fmt.Sprint(got) != want {
		t.Errorf("carried %v\nwant %s", got, want)
	}
	status := ""
	for _, l := range w.describe(t.Context(), "").Lists {
		status += fmt.Sprintf("%s %d %d %.30s|", l.Name, l.Entries, l.Allowed, l.Rejected)
	}
	if status != "all 1 1 |counts 0 0 firewalld cannot count the pac|long 0 0 does not fit: without netlink,|short 2 0 |" {
		t.Errorf("status %s", status)
	}
	w.look(t.Context(), true)
	select {
	case l := <-w.carry:
		t.Errorf("the same again: %v", l)
	default:
	}
	// Scopes that the backend does not know yet are left for later.
	f := &firewallControl{carried: got, scopes: newScopes(&config.Config{}, nil, true)}
	if l := f.carriedNow(); l != nil {
		t.Errorf("%v", l)
	}
	f.scopes = newScopes(conf, nil, true)
	if l := f.carriedNow(); len(l) != 3 {
		t.Errorf("%v", l)
	}
	if err := firewall.CheckOptions(f.scopes.list, "drop"); err != nil {
		t.Error(err)
	}
}
