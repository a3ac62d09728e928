package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/journal/audit"
	"bailiff/policy/fleet"
	"bailiff/units/control"
)

// noSet is what holdsOfFleet expects of a firewall without a set for a fleet.
const noSet = -1

// holdsOfFleet expects want bans of other hosts in the firewall.
func (b *bench) holdsOfFleet(want int) {
	b.t.Helper()
	f, err := b.client.Firewall(b.t.Context())
	b.did(f, err)
	held := noSet
	for _, s := range f.Sets {
		if s.Scope == "fleet" {
			if held = s.Held; s.Missing.Count+s.Unexpected.Count > 0 {
				b.t.Errorf("the firewall differs: %+v", s)
			}
		}
	}
	if held != want {
		b.t.Errorf("the firewall holds %d, want %d", held, want)
	}
}

// applyFleet passes other hosts' messages to the daemon.
func (b *bench) applyFleet(n control.FleetNews) *control.FleetApplied {
	b.t.Helper()
	r, err := b.client.ApplyFleet(b.t.Context(), n)
	b.did(r, err)
	return r
}

// TestFleet: bans of other hosts take effect within the limits, never for allowed addresses, and survive a restart.
func TestFleet(t *testing.T) {
	b := newBench(t)
	b.configure("jails: {sshd: {}}\nallow: {addresses: [203.0.113.99], files: []}\nfleet: {hosts: {web1: a, web2: b}, rate: 3}\n")
	b.start()
	ctx := context.Background()
	since := time.Now().Truncate(time.Microsecond)
	until := since.Add(time.Hour)
	say := func(live bool, host string, lifted bool, prefixes ...string) *control.FleetApplied {
		t.Helper()
		n := control.FleetNews{Live: live}
		for _, p := range prefixes {
			n.News = append(n.News, control.FleetBan{Host: host, Prefix: p, Jail: "sshd", Since: since, Until: &until, Lifted: lifted, Reason: "failures", Failures: 5})
		}
		return b.applyFleet(n)
	}
	if r := say(true, "web1", false, "203.0.113.1", "2001:db8:1::/64"); r.Accepted != 2 || r.Changed != 2 || len(r.Refused) != 0 {
		t.Errorf("%+v", r)
	}
	b.holdsOfFleet(2)
	// They change no own bans, counts or commands.
	if got := b.banned(ctx); len(got) != 0 {
		t.Errorf("own bans: %v", got)
	}
	w, err := b.client.Why(ctx, "2001:db8:1::7")
	if err != nil || w.State != "banned" || len(w.Bans) != 0 || len(w.Fleet) != 1 || w.Fleet[0].Host != "web1" || w.Fleet[0].Group != "a" || !w.Fleet[0].Until.Equal(until) || !w.Fleet[0].Since.Equal(since) {
		t.Errorf("%+v, %v", w, err)
	}
	if r := say(true, "web1", false, "203.0.113.99"); r.Accepted != 1 || r.Changed != 0 {
		t.Errorf("allowed: %+v", r)
	}
	if r := say(true, "web1", false, "203.0.113.3", "203.0.113.4"); r.Refused["the host bans too fast"] != 2 {
		t.Errorf("too fast: %+v", r)
	}
	if m := b.scrape(); m[`bailiff_fleet_bans{peer="web1"}`] != 3 || m[`bailiff_fleet_refused_bans_total{peer="web1"}`] != 2 || m[`bailiff_fleet_latest_timestamp_seconds{peer="web1"}`] == 0 || m[`bailiff_fleet_bans{peer="web2"}`] != 0 {
		t.Errorf("metrics: %v", m)
	}
	if r := say(false, "web3", false, "203.0.113.3"); r.Refused["the host is not accepted"] != 1 {
		t.Errorf("a stranger: %+v", r)
	}
	for _, p := range []string{"0.0.0.0/0", "127.0.0.1", "203.0.113.0/24"} {
		if r := say(false, "web2", false, p); r.Accepted != 0 || len(r.Refused) != 1 {
			t.Errorf("%s: %+v", p, r)
		}
	}
	b.holdsOfFleet(2)
	s, err := b.client.Fleet(ctx)
	if err != nil || s.Bans != 3 || s.InEffect != 2 || s.Clashes.Count != 1 || s.Clashes.Some[0] != "203.0.113.99/32" || len(s.Hosts) != 2 || s.Hosts[0].Clashes != 1 || s.Hosts[0].Latest == nil || len(s.Hosts[1].Refused) != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	st, err := b.client.Status(ctx)
	if err != nil || st.Bans != 0 {
		t.Errorf("%+v, %v", st, err)
	}
	for _, want := range []string{"host web1 bans 203.0.113.99, which is not banned here: allowed by", "host web1 has banned what this host allows", "host web1 bans more than fleet.rate"} {
		if !slices.ContainsFunc(st.Problems, func(p control.Problem) bool { return strings.Contains(p.Text, want) }) {
			t.Errorf("no problem %q: %+v", want, st.Problems)
		}
	}

	// An operator allows one of them, then revokes that.
	b.did(b.client.Allow(ctx, control.AllowRequest{Prefix: "203.0.113.1"}))
	b.holdsOfFleet(1)
	b.did(b.client.Disallow(ctx, "203.0.113.1"))
	b.holdsOfFleet(2)

	// They survive a restart.
	b.stop()
	if _, err := os.Stat(filepath.Join(b.state, "fleet")); err != nil {
		t.Error(err)
	}
	b.start()
	b.holdsOfFleet(2)
	// If the state is lost, they do not become own bans.
	b.stop()
	if err := os.Remove(filepath.Join(b.state, "state")); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.holdsOfFleet(2)
	if got := b.banned(ctx); len(got) != 0 {
		t.Errorf("own bans: %v", got)
	}
	// A damaged file does not prevent a start.
	b.stop()
	if err := os.WriteFile(filepath.Join(b.state, "fleet"), []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.holdsOfFleet(0)
	if st := b.status(); !slices.ContainsFunc(st.Problems, func(p control.Problem) bool { return strings.Contains(p.Text, "they send them again") }) {
		t.Errorf("%+v, %v", st.Problems, err)
	}
	say(false, "web1", false, "203.0.113.1", "203.0.113.2")
	b.holdsOfFleet(2)
	if r := say(false, "web1", true, "203.0.113.1"); r.Changed != 1 {
		t.Errorf("lifted: %+v", r)
	}
	b.holdsOfFleet(1)

	// web1 is no longer trusted; then no host is.
	b.reload("jails: {sshd: {}}\nfleet: {hosts: {web2: b}}\n")
	b.holdsOfFleet(0)
	say(false, "web2", false, "203.0.113.1")
	b.holdsOfFleet(1)
	b.reload("jails: {sshd: {}}\n")
	b.holdsOfFleet(noSet)
	if r := say(false, "web2", false, "203.0.113.1"); r.Accepted != 0 {
		t.Errorf("%+v", r)
	}
	if _, err := b.client.ApplyFleet(ctx, control.FleetNews{News: []control.FleetBan{{Host: "web2", Prefix: "example.org"}}}); control.AsError(err).Status != http.StatusBadRequest {
		t.Error(err)
	}
}

// TestFleetClashes: a host that bans allowed addresses all the time does not fill the audit trail. All its bans are counted, and those of
// other hosts are written as before.
func TestFleetClashes(t *testing.T) {
	b := newBench(t)
	b.configure("jails: {sshd: {}}\nallow: {addresses: [2001:db8:1::/64], files: []}\nfleet: {hosts: {web1: a, web2: b}}\n")
	b.start()
	const updates = 1000
	begin := time.Now().Add(-time.Hour).Truncate(time.Microsecond)
	until := begin.Add(24 * time.Hour)
	clash := func(host string, from, to int) {
		t.Helper()
		var x control.FleetNews
		for i := from; i < to; i++ {
			p := netip.PrefixFrom(netip.MustParseAddr("2001:db8:1::"), 64+i%65).String()
			x.News = append(x.News, control.FleetBan{Host: host, Prefix: p, Jail: "sshd", Since: begin.Add(time.Duration(i) * time.Microsecond), Until: &until, Reason: "failures", Failures: 5})
		}
		if r := b.applyFleet(x); r.Accepted != to-from {
			t.Errorf("%s: %+v", host, r)
		}
	}
	clash("web1", 0, updates/2)
	clash("web1", updates/2, updates)
	clash("web2", 0, 1)
	if s, err := b.client.Fleet(t.Context()); err != nil || s.Hosts[0].Clashes != updates || s.Hosts[1].Clashes != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	b.stop()
	told := map[string]int{}
	for m := range b.entries {
		if m[audit.FieldProblem] == "fleet" {
			host, _, _ := strings.Cut(strings.TrimPrefix(m["MESSAGE"], "host "), " ")
			told[host]++
		}
		if m["MESSAGE_ID"] == audit.KindStop.ID() {
			break
		}
	}
	if told["web1"] < 1 || told["web1"] > 2*clashLimit.Size || told["web2"] != 1 {
		t.Errorf("audit entries of hosts: %v", told)
	}
}

// TestFleetFileBlocks: a disk that hangs while the bans of other hosts are written does not hold up the daemon. The writes keep their order,
// and the last one is awaited.
func TestFleetFileBlocks(t *testing.T) {
	var o otherHosts
	now := time.Now()
	if err := o.load(t.TempDir(), fleet.Rules{Hosts: map[string]string{"web1": "a"}}, now); err != nil {
		t.Fatal(err)
	}
	begun, disk := make(chan []byte, 4), make(chan error)
	o.write = func(data []byte) error {
		begun <- data
		return <-disk
	}
	ban := func(addr string) {
		t.Helper()
		n := fleet.News{Host: "web1", Prefix: netip.MustParsePrefix(addr), Jail: "sshd", Since: now.UnixMicro(), Until: now.Add(time.Hour).UnixMicro()}
		if _, _, err := o.bans.Apply(n, now.UnixMicro(), false); err != nil {
			t.Fatal(err)
		}
		o.joint = true
	}
	returns := func(what string, f func()) {
		t.Helper()
		done := make(chan struct{})
		go func() {
			f()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatal(what, "waits for the disk")
		}
	}
	ban("203.0.113.1/32")
	first := o.bans.Append(nil)
	returns("a tick", func() { o.tick(now.Add(saveBans), false) })
	if got := <-begun; !bytes.Equal(got, first) {
		t.Errorf("%q is written, not %q", got, first)
	}
	ban("203.0.113.2/32")
	returns("a second tick", func() { o.tick(now.Add(10*fleetSave), false) })
	if len(begun) != 0 {
		t.Error("a second write has begun before the first has ended")
	}
	end := make(chan struct{})
	go func() {
		o.saveNow()
		close(end)
	}()
	disk <- errors.New("disk full")
	if got := <-begun; !bytes.Equal(got, o.bans.Append(nil)) || bytes.Equal(got, first) {
		t.Errorf("%q is written last", got)
	}
	select {
	case <-end:
		t.Error("the end does not wait for the last write")
	default:
	}
	disk <- nil
	<-end
	if o.err != nil || o.dirty || o.joint || len(begun) != 0 {
		t.Errorf("%+v", o)
	}

	// What could not be written is written again.
	ban("203.0.113.3/32")
	o.tick(now.Add(20*fleetSave), false)
	<-begun
	disk <- errors.New("disk full")
	if o.finished(<-o.done); o.err == nil {
		t.Error("no error")
	}
	o.tick(now.Add(30*fleetSave), false)
	if got := <-begun; !bytes.Equal(got, o.bans.Append(nil)) {
		t.Errorf("%q is written", got)
	}
	disk <- nil
	if o.finished(<-o.done); o.err != nil {
		t.Error(o.err)
	}
}

// TestFleetFileBackoff: while the file cannot be written, attempts become rarer. A roster is written at once nevertheless, and after a success
// the next one has its usual time.
func TestFleetFileBackoff(t *testing.T) {
	var o otherHosts
	now := time.Now()
	if err := o.load(t.TempDir(), fleet.Rules{Hosts: map[string]string{"web1": "a"}}, now); err != nil {
		t.Fatal(err)
	}
	full, writes := errors.New("disk full"), 0
	disk := full
	o.write = func([]byte) error {
		writes++
		return disk
	}
	pass := func(d time.Duration) {
		for end := now.Add(d); now.Before(end); {
			now = now.Add(time.Second)
			o.tick(now, false)
			if o.saving {
				o.finished(<-o.done)
			}
		}
	}
	o.joint = true
	if pass(minPause); writes == 0 || o.err == nil {
		t.Fatalf("%d attempts, %v", writes, o.err)
	}
	writes = 0
	pass(time.Hour)
	if least, most := int(time.Hour/maxPause)-2, int(time.Hour/maxPause)+6; writes < least || writes > most {
		t.Errorf("%d attempts in an hour, want %d to %d", writes, least, most)
	}
	writes = 0
	o.saveSoon()
	if pass(time.Second); writes != 1 {
		t.Errorf("%d attempts for a roster", writes)
	}
	disk = nil
	if pass(maxPause + time.Second); o.err != nil || o.joint || o.dirty {
		t.Errorf("not written when there is room: %v", o.err)
	}
	writes, o.joint = 0, true
	if pass(saveBans); writes != 1 {
		t.Errorf("%d attempts after a success", writes)
	}
}

// TestFleetRoster: with fleet.hosts: roster the hosts of the latest roster are trusted, also after a restart.
func TestFleetRoster(t *testing.T) {
	b := newBench(t)
	b.configure("jails: {sshd: {}}\nfleet: {hosts: roster}\n")
	b.start()
	ctx := context.Background()
	set := func(serial uint64, hosts ...string) (*control.FleetHostsSet, error) {
		h := control.FleetHosts{Fleet: "shop", Serial: serial, Hosts: map[string]string{}}
		for _, name := range hosts {
			h.Hosts[name] = "berlin"
		}
		return b.client.SetFleetHosts(ctx, h)
	}
	ban := func(host, prefix string) *control.FleetApplied {
		t.Helper()
		return b.applyFleet(control.FleetNews{News: []control.FleetBan{{Host: host, Prefix: prefix, Jail: "sshd", Since: time.Now()}}})
	}
	if r := ban("web1", "203.0.113.1"); r.Accepted != 0 {
		t.Errorf("before any roster: %+v", r)
	}
	if s, err := set(7, "web1", "web2"); err != nil || *s != (control.FleetHostsSet{Used: true, Fleet: "shop", Serial: 7, Hosts: 2}) {
		t.Errorf("%+v, %v", s, err)
	}
	ban("web1", "203.0.113.1")
	ban("web2", "203.0.113.2")
	b.holdsOfFleet(2)
	b.stop()
	b.start()
	b.holdsOfFleet(2)
	if s, err := b.client.Fleet(ctx); err != nil || s.Roster.Serial != 7 || len(s.Hosts) != 2 || s.Hosts[0].Group != "berlin" {
		t.Errorf("%+v, %v", s, err)
	}
	if w, err := b.client.Why(ctx, "203.0.113.2"); err != nil || len(w.Fleet) != 1 || w.Fleet[0].Group != "berlin" {
		t.Errorf("%+v, %v", w, err)
	}
	// An operator allows an address that web2 bans and one that this host bans. Both bans end, and the trail names the operator.
	b.did(b.client.Ban(ctx, control.BanRequest{Prefixes: []string{"203.0.113.9"}}))
	h := control.FleetHosts{Fleet: "shop", Serial: 8, Hosts: map[string]string{"web1": "berlin", "web2": "berlin"}, Allow: []control.FleetAllowed{
		{Prefix: "203.0.113.2", By: "ann"}, {Prefix: "203.0.113.9", By: "ann", Comment: "customer"},
	}}
	b.did(b.client.SetFleetHosts(ctx, h))
	b.holdsOfFleet(1)
	b.stop()
	b.start()
	b.holdsOfFleet(1)
	if got := b.banned(ctx); len(got) != 0 {
		t.Errorf("own bans: %v", got)
	}
	if w, err := b.client.AllowWhy(ctx, "203.0.113.9"); err != nil || len(w.Entries) != 1 || w.Entries[0].Source != "fleet" || w.Entries[0].Comment != "operator ann of fleet shop: customer" {
		t.Errorf("%+v, %v", w, err)
	}
	h.Allow[0].Prefix = "0.0.0.0/0"
	if _, err := b.client.SetFleetHosts(ctx, h); control.AsError(err).Status != http.StatusBadRequest {
		t.Error("everything is allowed:", err)
	}
	if _, err := set(8, "web2"); err != nil { // web1 is revoked, and nothing is allowed any more
		t.Error(err)
	}
	b.holdsOfFleet(1)
	if w, err := b.client.Why(ctx, "203.0.113.2"); err != nil || w.State != "banned" {
		t.Errorf("%+v, %v", w, err)
	}
	if _, err := set(7, "web1", "web2"); control.AsError(err).Status != http.StatusConflict || !strings.Contains(err.Error(), "serial number 8, then 7") {
		t.Error("an old roster:", err)
	}
	if _, err := set(9, "web 1"); control.AsError(err).Status != http.StatusBadRequest {
		t.Error("a wrong name:", err)
	}
	b.holdsOfFleet(1)

	// The configuration names hosts again: the roster is kept, but not used.
	b.reload("jails: {sshd: {}}\nfleet: {hosts: {web3: a}}\n")
	b.holdsOfFleet(0)
	if s, err := set(9, "web2"); err != nil || s.Used {
		t.Errorf("%+v, %v", s, err)
	}
	ban("web3", "203.0.113.3")
	b.holdsOfFleet(1)

	// The metrics of a large fleet are still few.
	b.reload("jails: {sshd: {}}\nfleet: {hosts: roster}\n")
	var names []string
	for i := range maxPeers + 2 {
		names = append(names, fmt.Sprintf("h%03d", i))
	}
	if _, err := set(10, names...); err != nil {
		t.Fatal(err)
	}
	for i := range names {
		ban(names[i], "203.0.113.3")
	}
	if m := b.scrape(); m[`bailiff_fleet_bans{peer="h000"}`] != 1 || m[`bailiff_fleet_bans{peer="(other)"}`] != 2 || m[`bailiff_fleet_latest_timestamp_seconds{peer="(other)"}`] == 0 {
		t.Errorf("of %d peers the rest has %v bans", len(names), m[`bailiff_fleet_bans{peer="(other)"}`])
	}
}

// TestFleetLeave: a host that has left its fleet accepts the list of hosts of a new one with the same name, whatever number the last one had.
func TestFleetLeave(t *testing.T) {
	b := newBench(t)
	const alone, member = "jails: {sshd: {}}\n", "jails: {sshd: {}}\nfleet: {hosts: roster}\n"
	b.configure(member)
	b.start()
	set := func(serial uint64, allow ...control.FleetAllowed) {
		t.Helper()
		if s, err := b.client.SetFleetHosts(t.Context(), control.FleetHosts{Fleet: "shop", Serial: serial, Hosts: map[string]string{"web1": "berlin"}, Allow: allow}); err != nil || s.Serial != serial {
			t.Errorf("%+v, %v", s, err)
		}
	}
	set(math.MaxUint64, control.FleetAllowed{Prefix: "203.0.113.0/24", By: "thief"})
	b.reload(alone)
	b.reload(member)
	if w, err := b.client.AllowWhy(t.Context(), "203.0.113.9"); err != nil || len(w.Entries) != 0 {
		t.Errorf("still allowed: %+v, %v", w, err)
	}
	set(1)
	set(math.MaxUint64)
	b.reload(alone)
	b.until("the file has no list of hosts", func(context.Context) bool {
		saved, err := os.ReadFile(filepath.Join(b.state, fleetName))
		if err != nil {
			t.Fatal(err)
		}
		r, err := fleet.Restore(saved, fleet.Rules{Roster: true}, nil, time.Now().UnixMicro())
		if err != nil {
			t.Fatal(err)
		}
		return r.Roster().Fleet == ""
	})
}

// TestFleetAgent: whatever keeps bailiff-fleet from working is a problem of this host while it lasts.
func TestFleetAgent(t *testing.T) {
	b := newBench(t)
	b.start()
	const refused = "the hub does not store bans of this host, which wait here: no space left on device"
	for _, want := range []string{refused, ""} {
		if _, err := b.client.SetFleetAgent(t.Context(), control.FleetAgent{Hub: "tls://hub:4222", Since: time.Now(), Error: want, Waiting: 3}); err != nil {
			t.Fatal(err)
		}
		b.untilStatus("the problem is shown, and no longer", func(s *control.Status) bool {
			return (want != "") == slices.ContainsFunc(s.Problems, func(p control.Problem) bool { return p.Text == "bailiff-fleet: "+refused })
		})
	}
}

// TestFleetLeft: after this host has left its fleet, nothing is expected of bailiff-fleet any more. A reload within a fleet changes nothing.
func TestFleetLeft(t *testing.T) {
	b := newBench(t)
	const member = "jails: {sshd: {}}\nfleet: {hosts: roster}\n"
	b.configure(member)
	b.start()
	b.did(b.client.SetFleetAgent(t.Context(), control.FleetAgent{Hub: "tls://hub:4222", Since: time.Now()}))
	b.reload(member)
	if s, err := b.client.Fleet(t.Context()); err != nil || s.Agent == nil {
		t.Errorf("%+v, %v", s, err)
	}
	b.reload("jails: {sshd: {}}\n")
	if s, err := b.client.Fleet(t.Context()); err != nil || s.Agent != nil {
		t.Errorf("bailiff-fleet is still expected to report: %+v, %v", s, err)
	}
}
