package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/blocklist"
	"bailiff/policy/config"
	"bailiff/policy/prefix"
	"bailiff/units/control"
	"bailiff/units/published"
)

// made writes the list of a configuration as the command that fetches lists would.
func (b *blockBench) made(conf string, prefixes ...string) {
	b.bench.t.Helper()
	c, err := config.Parse("x", []byte(conf))
	if err != nil {
		b.bench.t.Fatal(err)
	}
	var l []netip.Prefix
	for _, p := range prefixes {
		l = append(l, netip.MustParsePrefix(p))
	}
	now := time.Now()
	if err := b.store.WriteBlock(&c.Lists[0], prefix.Compact(l), published.State{Checked: now, Good: now, Fetched: now, Count: len(l)}); err != nil {
		b.bench.t.Fatal(err)
	}
}

// TestCountryList: only some countries reach the ports of a jail, what is open stays, and a list that would lock an operator out is not used
// until the configuration is loaded again.
func TestCountryList(t *testing.T) {
	t.Parallel()
	b := newBlockBench(t)
	const grace = "allow: {operators: {grace: none}}\n"
	const database = grace + "jails: {sshd: {ports: [ssh]}, postfix: {ports: [smtp]}}\nlists: {mine: {url: 'file:///x.mmdb', "
	only := database + "countries: [DE], others: true, jails: [sshd]}}\n"
	b.configure(only)
	b.start()
	ctx := context.Background()
	b.problem("block list mine: never fetched: ")
	b.made(only, "192.0.2.0/25", "198.51.100.0/24", "2001:db8::/32")
	l := b.awaitList("loaded", func(l *control.BlockList) bool { return l.Entries == 3 })
	if l.Holds != "all but countries DE" || fmt.Sprint(l.Jails) != "[sshd]" {
		t.Errorf("%+v", l)
	}
	if s := b.table(); !strings.Contains(s, "dport 22") || strings.Contains(s, "dport 25") || !strings.Contains(s, "tcp flags") {
		t.Errorf("table\n%s", s)
	}
	w, err := b.client.Why(ctx, "192.0.2.7")
	if err != nil || fmt.Sprint(w.Lists) != "[{mine all but countries DE 192.0.2.0/25 drop jails [sshd]}]" {
		t.Errorf("%+v, %v", w, err)
	}

	// A list made for other countries is not used even for a moment, whatever the new configuration does with it.
	b.reloaded(database + "countries: [FR]}}\n")
	l = b.awaitList("made for others", func(l *control.BlockList) bool {
		return strings.Contains(l.Rejected, "was made for another configuration")
	})
	if s := b.table(); l.Entries != 0 || strings.Contains(s, "192.0.2.0/25") {
		t.Errorf("%+v\n%s", l, s)
	}
	b.reloaded(only)
	b.awaitList("again", func(l *control.BlockList) bool { return l.Entries == 3 && l.Rejected == "" })

	// An operator is logged in from an address that the list would block.
	b.say(70001, "Accepted publickey for root from 198.51.100.9 port 40000 ssh2: ED25519 SHA256:Zm9v")
	const barred = "holds 198.51.100.9, from where an operator was logged in: add it to allow.addresses, or name the jails that the list is for, and reload"
	b.awaitList("refused", func(l *control.BlockList) bool { return l.Entries == 0 && l.Rejected == barred })
	b.problem("block list mine: not used: " + barred)
	if s := b.table(); strings.Contains(s, "192.0.2.0/25") {
		t.Errorf("in effect\n%s", s)
	}
	// It is still refused when they have logged out, even if the list is fetched again.
	b.say(70001, "pam_unix(sshd:session): session closed for user root")
	b.until("the session's end", func(context.Context) bool { return !b.how("198.51.100.9").Allowed })
	b.made(only, "192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32")
	b.made(only, "192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32", "2001:db9::/32")
	b.settled()
	refused := func(l *control.BlockList) bool { return l.Entries == 0 && l.Rejected == barred }
	b.awaitList("still refused", refused)
	// The same holds after a restart, until the address is allowed.
	b.stop()
	b.start()
	b.awaitList("refused after a restart", refused)
	if _, err := b.client.Allow(ctx, control.AllowRequest{Prefix: "198.51.100.9"}); err != nil {
		t.Fatal(err)
	}
	b.awaitList("allowed by hand", func(l *control.BlockList) bool { return l.Entries == 4 && l.Rejected == "" })
	if _, err := b.client.Disallow(ctx, "198.51.100.9"); err != nil {
		t.Fatal(err)
	}
	b.say(70003, "Accepted publickey for root from 198.51.100.9 port 40000 ssh2: ED25519 SHA256:Zm9v")
	b.awaitList("refused again", refused)
	b.say(70003, "pam_unix(sshd:session): session closed for user root")
	// The same list for the other jail would lock nobody out.
	mail := strings.Replace(only, "jails: [sshd]", "jails: [postfix]", 1)
	b.reloaded(mail)
	b.awaitList("for mail", func(l *control.BlockList) bool { return l.Entries == 4 && l.Rejected == "" })
	if s := b.table(); !strings.Contains(s, "dport 25") || strings.Contains(s, "dport 22") {
		t.Errorf("table\n%s", s)
	}
	// Nor is it refused for an address that is allowed anyway.
	b.reloaded(strings.Replace(only, "allow: {", "allow: {addresses: [198.51.100.9], ", 1))
	b.say(70002, "Accepted publickey for root from 198.51.100.9 port 40000 ssh2: ED25519 SHA256:Zm9v")
	b.settled()
	b.awaitList("allowed", func(l *control.BlockList) bool { return l.Entries == 4 && l.Rejected == "" })
	// A list for a disabled jail closes no port, instead of all ports.
	b.reloaded(strings.Replace(only, "sshd: {ports: [ssh]}", "sshd: {enabled: false}", 1))
	b.awaitList("no jail", func(l *control.BlockList) bool {
		return l.Entries == 0 && l.Rejected == "no jail that it is for is enabled"
	})
	if s := b.table(); strings.Contains(s, " drop ") {
		t.Errorf("table\n%s", s)
	}
	b.stop()
}

// TestDoubleList: failures from a list weigh double in its jails, from the first entry on, with any firewall.
func TestDoubleList(t *testing.T) {
	t.Parallel()
	b := newBlockBench(t)
	b.args = []string{"--blocklists", b.store.Dir} // dryrun
	conf := "lists: {mine: {url: 'file:///x.mmdb', systems: [AS64496], jails: [sshd], mode: double}}\n"
	b.configure(conf)
	b.made(conf, "192.0.2.0/25", "2001:db8::/32")
	b.start()
	b.fail("192.0.2.7", 3)
	if x := b.awaitBan("192.0.2.7/32"); x.Failures != 3 {
		t.Errorf("%+v", x)
	}
	b.fail("192.0.2.200", 4)
	b.settled()
	if m := b.scrape(); m["bailiff_doubled_failures_total"] != 3 {
		t.Errorf("%v failures weighed double", m["bailiff_doubled_failures_total"])
	}
	if _, ok := b.banned(context.Background())["192.0.2.200/32"]; ok {
		t.Error("banned, and not on the list")
	}
	b.awaitList("entries", func(l *control.BlockList) bool { return l.Entries == 2 && l.Packets == nil })
	if w, err := b.client.Why(context.Background(), "2001:db8::9"); err != nil || fmt.Sprint(w.Lists) != "[{mine systems AS64496 2001:db8::/32 double jails [sshd]}]" {
		t.Errorf("%+v, %v", w, err)
	}
	// A new version is used without a reload; none is used once the list is gone from the configuration.
	b.made(conf, "192.0.2.0/25", "198.51.100.0/24", "2001:db8::/32")
	b.awaitList("anew", func(l *control.BlockList) bool { return l.Entries == 3 })
	b.fail("198.51.100.7", 3)
	b.awaitBan("198.51.100.7/32")
	b.reloaded("jails: {sshd: {}}\n")
	b.fail("198.51.100.8", 4)
	b.settled()
	if _, ok := b.banned(context.Background())["198.51.100.8/32"]; ok {
		t.Error("banned by a list that is gone")
	}
	b.stop()
}

// TestBarredSaveFails: which lists would lock operators out is saved as soon as the disk has room again. The error is returned once.
func TestBarredSaveFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	b := loadBarred(dir)
	conf := &blocklist.List{Published: allow.Published{Name: "mine"}}
	held := map[string]*blockHeld{"mine": {blockStatus: blockStatus{conf: conf}, barred: netip.MustParsePrefix("198.51.100.9/32")}}
	if first, second := b.save(held), b.save(held); first == nil || second != nil {
		t.Errorf("without a folder: %v, then %v", first, second)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := b.save(held); err != nil {
		t.Error(err)
	}
	if after := loadBarred(dir); !after.of(conf).IsValid() {
		t.Error("not saved")
	}
}
