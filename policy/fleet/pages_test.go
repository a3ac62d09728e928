package fleet

import (
	"crypto/ed25519"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// TestPages: only a page that its host has signed says anything, and nothing that a message of the host could not say.
func TestPages(t *testing.T) {
	keys := map[string]ed25519.PublicKey{}
	private := map[string]ed25519.PrivateKey{}
	for _, host := range []string{"a", "liar", "gone"} {
		keys[host], private[host], _ = ed25519.GenerateKey(nil)
	}
	delete(keys, "gone")
	of := func(host string) []ed25519.PublicKey {
		if k, ok := keys[host]; ok {
			return []ed25519.PublicKey{k}
		}
		return nil
	}
	some := func(host string, n int) (l []News) {
		for i := range n {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32)
			if i%3 == 1 {
				p = netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::/48", i))
			}
			x := News{Host: host, Prefix: p, Jail: "sshd", Since: start + int64(i*i), Until: start + hour, Reason: "failures", Failures: 5}
			if i%5 == 2 {
				x.Until, x.Jail, x.Reason, x.Since = Forever, "postfix", "", start-int64(i)
			}
			l = append(l, x)
		}
		return l
	}
	page := func(host string, number int, l []News) Message {
		t.Helper()
		m, n, err := SignPage(host, number, l, private[host])
		if err != nil || n != len(l) {
			t.Fatal(n, err)
		}
		return *m
	}
	resign := func(m Message, host string) Message {
		m.Signature = ed25519.Sign(private[host], m.signed())
		return m
	}
	full := page("a", 4095, some("a", PageNews))
	t.Logf("%d bytes for %d bans", len(full.Payload), PageNews)
	forged := page("a", 1, some("a", 3))
	forged.Signature[0] ^= 1
	changed := page("a", 1, some("a", 3))
	changed.Payload = append(changed.Payload, 0)
	stolen := page("liar", 1, some("liar", 3))
	stolen.Subject = forged.Subject
	number := page("a", 4, some("a", 3))
	number.Subject = "ban.a.+page.04"
	jail := some("a", 1)
	jail[0].Jail = "a b"
	reason := some("a", 1)
	reason[0].Reason = strings.Repeat("x", MaxReason+1)
	early := some("a", 1)
	early[0].Since = -5
	long := page("a", 5, nil)
	many := make([]News, PageNews+1)
	for i := range many {
		many[i] = some("a", 1)[0]
	}
	long.Payload = encodePage(many)
	m, err := Sign(&some("a", 1)[0], private["a"])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		m    Message
		want []News
	}{
		{"a full one", full, some("a", PageNews)},
		{"without bans", page("a", 0, nil), nil},
		{"of another host", page("liar", 0, some("liar", 3)), some("liar", 3)},
		{"forged", forged, nil},
		{"changed", changed, nil},
		{"bytes behind the end", resign(changed, "a"), nil},
		{"cut off", resign(Message{Subject: full.Subject, Payload: full.Payload[:len(full.Payload)-1]}, "a"), nil},
		{"of another in this one's name", stolen, nil},
		{"signed by another in this one's name", resign(stolen, "liar"), nil},
		{"another number", resign(number, "a"), nil},
		{"of a host that is not known", page("gone", 1, some("gone", 3)), nil},
		{"the name of a jail", page("a", 6, jail), nil},
		{"a long reason", page("a", 6, reason), nil},
		{"before all time", page("a", 6, early), nil},
		{"too many bans", resign(long, "a"), nil},
		{"a ban without names", resign(Message{Subject: full.Subject, Payload: append([]byte{1, 0, 0, 1}, full.Payload[20:60]...)}, "a"), nil},
		{"another version", resign(Message{Subject: full.Subject, Payload: []byte{2, 0, 0, 0}}, "a"), nil},
		{"a message", *m, nil},
	} {
		accepted := c.want != nil || c.what == "without bans"
		for _, l := range [][]Message{{c.m}, {c.m, full, full, full, full, full, full, full, full}} { // alone, and in a batch
			pages, rejected := OpenPages(l, of)
			if rejected != len(l)-len(pages) || (len(pages) == len(l)) != accepted {
				t.Errorf("%s: %d pages, %d rejected of %d", c.what, len(pages), rejected, len(l))
			} else if accepted && len(c.want) > 0 && !reflect.DeepEqual(pages[0].News, c.want) {
				t.Errorf("%s:\n%v, want\n%v", c.what, pages[0].News, c.want)
			}
		}
	}
	if pages, _ := OpenPages([]Message{full}, of); pages[0].Number != 4095 {
		t.Error("number", pages[0].Number)
	}
	if _, err := Open(&full, of); err != ErrSubject {
		t.Errorf("a page as news: %v", err)
	}
	if _, _, err := SignPage("a", MaxPages, nil, private["liar"]); err == nil {
		t.Error("too many pages")
	}
	// What does not fit is left for the next page.
	wide := some("a", PageNews)
	for i := range wide {
		wide[i].Jail, wide[i].Reason = fmt.Sprintf("%032d", i), strings.Repeat("x", 32)+fmt.Sprint(i)
	}
	if m, n, err := SignPage("a", 0, wide, private["a"]); err != nil || n == 0 || n == PageNews || len(m.Payload) > MaxPage {
		t.Errorf("%d of them fit: %d bytes, %v", n, len(m.Payload), err)
	}
	if m, n, err := SignPage("a", 0, some("a", PageNews+5), private["a"]); err != nil || n != PageNews || len(m.Payload) > MaxPage {
		t.Errorf("%d of them fit: %v", n, err)
	}
}

// FuzzPage: nothing that a host signs does harm, and what is read can be written again.
func FuzzPage(f *testing.F) {
	f.Add(encodePage(nil))
	f.Add(encodePage([]News{news("a", "192.0.2.1/32", start, start+hour), news("a", "2001:db8::/64", start, Forever)}))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, l, err := openPage(&Message{Subject: "ban.a.+page.7", Payload: data})
		if err != nil {
			return
		}
		_, again, err := openPage(&Message{Subject: "ban.a.+page.7", Payload: encodePage(l)})
		if err != nil || !reflect.DeepEqual(l, again) {
			t.Errorf("%v\n%v\n%v", l, again, err)
		}
		for i := range l {
			if _, err := Unsigned(&l[i]); err != nil {
				t.Error(err)
			}
		}
	})
}
