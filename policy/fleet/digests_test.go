package fleet

import (
	"crypto/ed25519"
	"fmt"
	"net/netip"
	"testing"
)

// TestDigests: a message in a list that its host has signed needs no signature of its own, and nothing else does without one.
func TestDigests(t *testing.T) {
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
	message := func(host string, n int) Message {
		m, err := Unsigned(&News{Host: host, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 32), Jail: "sshd", Since: 1, Until: 2, Failures: 5})
		if err != nil {
			t.Fatal(err)
		}
		return *m
	}
	list := func(host string, number int, l ...Message) Message {
		m, err := SignDigests(host, number, l, private[host])
		if err != nil {
			t.Fatal(err)
		}
		return *m
	}
	good := message("a", 1)
	changed := good
	changed.Payload = append([]byte(" "), good.Payload...)
	elsewhere := good
	elsewhere.Subject = message("a", 9).Subject
	forged := list("a", 1, message("a", 2))
	forged.Signature[0] ^= 1
	longer := list("a", 2, message("a", 3))
	longer.Payload = append(longer.Payload, longer.Payload...)
	renamed := list("liar", 1, message("a", 4))
	renamed.Subject = list("a", 3).Subject
	number := list("a", 4, message("a", 5))
	number.Subject += "0000"
	other := message("a", 6)
	other.Signature = ed25519.Sign(private["a"], other.signed())

	var d Digests
	lists := []Message{list("a", 0, good), forged, longer, renamed, number, list("liar", 0, message("a", 7), message("liar", 8)), list("gone", 0, message("gone", 1)), other}
	if n := d.Add(lists, of); n != 6 {
		t.Errorf("%d lists are rejected, want 6", n)
	}
	for _, c := range []struct {
		what string
		m    Message
		ok   bool
	}{
		{"in a list", good, true},
		{"another payload", changed, false},
		{"another subject", elsewhere, false},
		{"in a forged list", message("a", 2), false},
		{"in a list that was changed", message("a", 3), false},
		{"in a list of another in this one's name", message("a", 4), false},
		{"in a list without a number", message("a", 5), false},
		{"in another's list", message("a", 7), false},
		{"in the liar's own", message("liar", 8), true},
		{"of a host that is not known", message("gone", 1), false},
		{"in no list, but signed", other, true},
	} {
		if news, errs := OpenAll([]Message{c.m}, of, &d); (errs[0] == nil) != c.ok || c.ok && news[0].Host != Sender(c.m.Subject) {
			t.Errorf("%s: %v", c.what, errs[0])
		}
	}
	delete(keys, "a") // revoked meanwhile
	if _, errs := OpenAll([]Message{good}, of, &d); errs[0] == nil {
		t.Error("a host is believed that was revoked")
	}

	if _, err := SignDigests("a", MaxPages, nil, private["liar"]); err == nil {
		t.Error("too many lists")
	}
	if _, err := SignDigests("a", 0, make([]Message, PageDigests+1), private["liar"]); err == nil {
		t.Error("a list that is too long")
	}
	if _, err := Open(&lists[0], of); err != ErrSubject {
		t.Errorf("a list as news: %v", err)
	}
	// What is kept is bounded.
	full := Digests{of: map[string]map[digest]bool{}}
	keys["a"] = private["a"].Public().(ed25519.PublicKey)
	for i := range MaxPages {
		l := make([]Message, PageDigests)
		for k := range l {
			l[k] = Message{Subject: fmt.Sprint(i, " ", k)}
		}
		m := list("a", i, l...)
		full.add(&m)
	}
	if full.n != maxDigests {
		t.Errorf("%d digests are kept", full.n)
	}
}
