package agent

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"bailiff/policy/fleet"
	"bailiff/policy/prefix"
	"bailiff/policy/state"
	"bailiff/units/control"
)

// TestOwn: whatever happens to a host's bans, and whatever the hub loses meanwhile, after a comparison the hub's messages make another host
// ban exactly what is in force here; and a second comparison finds nothing. Pages, which may be lost as well, change nothing about that.
// With every second seed the host's clock is set time and again, and bans last long.
func TestOwn(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		o := newOwn("h")
		held := map[ownKey]fleet.News{} // in the hub, which keeps the latest message of each subject
		pages := map[int]*fleet.Page{}  // likewise
		other := fleet.New(fleet.Rules{Hosts: map[string]string{"h": "h"}, MaxBans: 1 << 20, Longest: 1 << 62}, nil)
		real, seq := int64(1e15), uint64(0)
		var past []liftedBan  // bans that were lifted
		var late []fleet.News // on their way
		long, ahead := int64(100e6), int64(0)
		steps := seed%2 == 1
		if steps {
			long = 1e12
		}
		send := func(n fleet.News) {
			k := ownKey{prefix.OfPrefix(n.Prefix), n.Jail}
			held[k] = n
			seq++
			o.seen(&n, seq, real)
			other.Apply(n, real, false)
		}
		page := func(number int, l []pagedBan) {
			p := &fleet.Page{Number: number, News: o.onPage(l)}
			pages[number] = p
			o.seenPage(p)
		}
		key := func() ownKey {
			return ownKey{prefix.OfAddr(netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(4))})), []string{"sshd", "manual"}[r.IntN(2)]}
		}
		for range 60 {
			real += r.Int64N(20e6)
			if steps && r.IntN(5) == 0 {
				ahead = r.Int64N(3600e6) - 1800e6
			}
			now := real + ahead
			for k, b := range o.wanted {
				if b.until <= now {
					delete(o.wanted, k)
				}
			}
			k := key()
			// tell sends a message, drops it, or leaves it to a connection whose end the hub sees later.
			tell := func(n fleet.News) {
				switch r.IntN(3) {
				case 0:
					send(n)
				case 1:
					late = append(late, n)
				}
			}
			switch r.IntN(9) {
			case 0, 1, 2: // a ban, told or not
				b := ownBan{since: now, until: now + long/100 + r.Int64N(long), failures: 5, reason: state.Failures}
				if old, ok := o.wanted[k]; ok && (steps || r.IntN(2) == 0) { // prolonged
					b.since, b.until = old.since, old.until+r.Int64N(10e6)
				} else if ok {
					b.until = max(b.until, old.until)
				}
				tell(o.banned(k, b, now))
			case 3: // lifted, told or not
				if b, ok := o.wanted[k]; ok {
					id := (&state.Ban{Prefix: k.prefix.Prefix(), Jail: k.jail, Since: b.since}).ID()
					if _, early := o.ended(k, "another", now); early {
						t.Fatal("another ban's end is taken for this one's")
					}
					past = append(past, liftedBan{k, ownBan{since: b.since, until: b.until}})
					if n, early := o.ended(k, id, now); early {
						tell(n)
					}
				}
			case 4: // the hub loses something, or everything
				for k := range held {
					if r.IntN(2) == 0 {
						delete(held, k)
					}
				}
				o.reset(now) // everything is read again
				for _, n := range held {
					seq++
					o.seen(&n, seq, real)
				}
				for number, p := range pages {
					if r.IntN(2) == 0 {
						delete(pages, number)
					} else {
						o.seenPage(p)
					}
				}
			case 8: // pages are written; some are lost
				o.unpaged = 1000
				number := 0
				for l := range slices.Chunk(o.toPage(now), 2) {
					if r.IntN(4) > 0 {
						page(number, l)
					}
					number++
				}
			case 5: // the program ends and begins anew
				o.held, o.gone = map[ownKey]heldBan{}, map[ownKey]ownBan{}
				o.paged, o.stale, o.lifted = map[int][]pagedBan{}, map[int]time.Time{}, false
				for _, p := range pages {
					o.seenPage(p)
				}
				for _, n := range held {
					seq++
					o.seen(&n, seq, real)
				}
				for k, b := range o.wanted {
					b.told = 0
					o.wanted[k] = b
				}
				o.liftedBefore(past[:r.IntN(len(past)+1)], now)
				o.liftedBefore(past, now)
			case 7: // the daemon was away; maybe a ban was lifted and made again meanwhile
				all := make(map[ownKey]ownBan)
				for k, b := range o.wanted {
					b.told = 0
					if r.IntN(4) == 0 {
						past = append(past, liftedBan{k, ownBan{since: b.since, until: b.until}})
						if b.since, b.until = now, max(b.until, now+long/100+r.Int64N(long)); r.IntN(2) == 0 {
							continue
						}
					}
					all[k] = b
				}
				o.want(all, now)
			case 6:
				r.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
				for _, n := range late {
					send(n)
				}
				late = nil
				for _, n := range o.difference(now) {
					send(n)
				}
				if l := o.difference(now); len(l) > 0 {
					t.Fatalf("seed %d: a second comparison finds %+v", seed, l)
				}
				o.findStale(now)
				for number := range o.stale {
					page(number, o.paged[number])
				}
				if o.findStale(now); len(o.stale) > 0 {
					t.Fatalf("seed %d: written again, but still stale: %v", seed, o.stale)
				}
				late := fleet.New(fleet.Rules{Hosts: map[string]string{"h": "h"}, MaxBans: 1 << 20, Longest: 1 << 62}, nil)
				for number, p := range pages {
					for _, n := range p.News {
						if n.Until > now && !o.wants(ownKey{prefix.OfPrefix(n.Prefix), n.Jail}) {
							t.Fatalf("seed %d: page %d names %s, which is not banned", seed, number, n.Prefix)
						}
						late.Apply(n, real, false)
					}
				}
				for _, n := range held {
					late.Apply(n, real, false)
				}
				for _, host := range []*fleet.Bans{late, other} {
					want := map[netip.Prefix]bool{}
					for k := range o.wanted {
						want[k.prefix.Prefix()] = true
					}
					for c := range host.Effects(real) {
						if !want[c.Prefix] {
							t.Fatalf("seed %d: %s is banned by others, but not here", seed, c.Prefix)
						}
						delete(want, c.Prefix)
					}
					if len(want) > 0 {
						t.Fatalf("seed %d: %v is not banned by others", seed, want)
					}
				}
			}
		}
	}
}

// TestTold: others know a ban with a later time than this host, whose clock was set back. Only the hub remembers that time, and loses it.
// The end of the ban is sent with a later time than others know.
func TestTold(t *testing.T) {
	const hour = int64(3600e6)
	k := ownKey{prefix.OfPrefix(netip.MustParsePrefix("192.0.2.1/32")), "sshd"}
	since := int64(1_800_000_000_000_000)
	b := ownBan{since: since, until: since + 24*hour}
	id := (&state.Ban{Prefix: k.prefix.Prefix(), Jail: k.jail, Since: b.since}).ID()
	for name, lose := range map[string]func(*own, int64){
		"everything":   func(o *own, now int64) { o.reset(now) },
		"the first":    func(o *own, now int64) { o.dropped(8, now) },
		"nothing":      func(*own, int64) {},
		"a new stream": func(o *own, now int64) { o.reset(now); o.dropped(1, now) },
	} {
		o := newOwn("h") // a program that has just started
		o.want(map[ownKey]ownBan{k: b}, since)
		told := b
		told.since += hour / 2
		n := o.news(k, told, false)
		o.seen(&n, 7, since)
		if l := o.difference(since); len(l) != 0 {
			t.Errorf("%s: %+v", name, l)
		}
		lose(o, since)
		for _, n := range o.difference(since) {
			if n.Since < told.since {
				t.Errorf("lost %s: the ban is sent again as %+v", name, n)
			}
			o.seen(&n, 9, since)
		}
		if n, early := o.ended(k, id, since); !early || n.Since < told.since || !n.Lifted {
			t.Errorf("lost %s: its end is %+v", name, n)
		}
	}
}

// TestEvents: the daemon's events become messages without operators' texts.
func TestEvents(t *testing.T) {
	o := newOwn("h")
	since := time.UnixMicro(1_800_000_000_000_000)
	until := since.Add(time.Hour)
	e := control.Event{Kind: "ban", Time: since, Prefix: "192.0.2.1/32", Jail: "sshd", Until: &until, Failures: 5, Reason: "customer 4711 called", By: "ann"}
	n, ok := o.changed(&e, e.Jail, since.UnixMicro())
	if want := (fleet.News{Host: "h", Prefix: netip.MustParsePrefix("192.0.2.1/32"), Jail: "sshd", Since: since.UnixMicro(), Until: until.UnixMicro(), Failures: 5, Reason: byHand}); !ok || n != want {
		t.Errorf("%+v, %v", n, ok)
	}
	e.Reason, e.By, e.Until = "unheard of", "", nil
	if n, ok = o.changed(&e, e.Jail, since.UnixMicro()); !ok || n.Reason != "" || n.Until != fleet.Forever {
		t.Errorf("%+v, %v", n, ok)
	}
	if _, ok := o.changed(&control.Event{Kind: "ban", Prefix: "x"}, "sshd", 0); ok {
		t.Error("no prefix")
	}
	e = control.Event{Kind: "unban", Prefix: "192.0.2.1/32", Jail: "sshd", ID: (&state.Ban{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Jail: "sshd", Since: since.UnixMicro()}).ID()}
	if n, ok = o.changed(&e, e.Jail, since.UnixMicro()); !ok || !n.Lifted {
		t.Errorf("%+v, %v", n, ok)
	}
	// A ban that expired is not sent as lifted. A ban of long ago is sent again before the hub removes it.
	o.wanted[ownKey{prefix.OfPrefix(n.Prefix), "sshd"}] = ownBan{since: 1, until: 2}
	if l := o.difference(since.UnixMicro()); len(l) != 0 {
		t.Errorf("%+v", l)
	}
	k := ownKey{prefix.OfPrefix(n.Prefix), "sshd"}
	o.wanted[k] = ownBan{since: since.UnixMicro(), until: fleet.Forever}
	o.seen(&fleet.News{Prefix: n.Prefix, Jail: "sshd", Since: since.UnixMicro(), Until: fleet.Forever}, 7, since.UnixMicro())
	if l := o.difference(since.Add(refreshAge - time.Second).UnixMicro()); len(l) != 0 {
		t.Errorf("%+v", l)
	}
	if l := o.difference(since.Add(refreshAge).UnixMicro()); len(l) != 1 {
		t.Errorf("%+v", l)
	}
	o.dropped(8, since.UnixMicro())
	if l := o.difference(since.UnixMicro()); len(l) != 1 {
		t.Errorf("%+v", l)
	}
}

func TestFloods(t *testing.T) {
	var f floods
	now := time.Unix(1_800_000_000, 0)
	for range floodLimit.Size {
		if !f.admit("a", now) {
			t.Fatal("too early")
		}
	}
	if f.admit("a", now) || f.worst != "a" || !f.admit("b", now) {
		t.Errorf("%+v", f)
	}
	if now = now.Add(time.Second); !f.admit("a", now) {
		t.Error("for ever")
	}
	pages := 0
	for f.admitPage("c", now) {
		pages++
	}
	if pages != floodLimit.Size/fleet.PageNews || f.admit("c", now) {
		t.Errorf("%d pages", pages)
	}
	for i := range maxFlooders + 10 {
		f.admit(string(rune('a'+i%26))+time.Duration(i).String(), now)
	}
	if len(f.hosts) > maxFlooders {
		t.Error(len(f.hosts))
	}
}

func TestVersions(t *testing.T) {
	for v, want := range map[string]bool{"2.9.10": false, "2.10.27": false, "2.11.0": true, "2.15.1-RC.1": true, "3.0.0": true, "": false, "x.y": false} {
		if hasBatches(v) != want {
			t.Error(v)
		}
	}
}

func TestPollInterval(t *testing.T) {
	for hosts, want := range map[int]time.Duration{0: 4 * time.Second, 3: 4 * time.Second, 1000: 6 * time.Second, 10_000: time.Minute} {
		if d := pollInterval(hosts); d != want {
			t.Errorf("%d hosts: %v, want %v", hosts, d, want)
		}
	}
}
