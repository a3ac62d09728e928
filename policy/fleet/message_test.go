package fleet

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func key(host string) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(host, 32)[:32]))
}

func publicKeys(host string) []ed25519.PublicKey {
	if host != "h0" && host != "h1" {
		return nil
	}
	return []ed25519.PublicKey{key("next " + host).Public().(ed25519.PublicKey), key(host).Public().(ed25519.PublicKey)}
}

func TestMessage(t *testing.T) {
	for _, p := range []string{"192.0.2.1", "2001:db8::/64", "2001:db8::1"} {
		n := news("h0", p, start, start+hour)
		m, err := Sign(&n, key("h0"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Open(m, publicKeys); err != nil || *got != n {
			t.Errorf("%s: %+v, %v", m.Subject, got, err)
		}
		t.Log(m.Subject, string(m.Payload))
		n.Until, n.Lifted = Forever, true
		if m, err = Sign(&n, key("h0")); err != nil {
			t.Fatal(err)
		}
		if got, err := Open(m, publicKeys); err != nil || *got != n {
			t.Errorf("%s: %+v, %v", m.Subject, got, err)
		}
	}
}

// TestForgedMessages: what a host, or a hub, may do with messages.
func TestForgedMessages(t *testing.T) {
	n, other := news("h0", "192.0.2.1", start, start+hour), news("h1", "192.0.2.1", start, start+hour)
	for _, c := range []struct {
		name string
		do   func(m *Message)
		err  error
	}{
		{"another host's subject", func(m *Message) { m.Subject = strings.Replace(m.Subject, "h0", "h1", 1) }, ErrSignature},
		{"an unknown host", func(m *Message) { m.Subject = strings.Replace(m.Subject, "h0", "h2", 1) }, ErrHost},
		{"another prefix", func(m *Message) { m.Subject = strings.Replace(m.Subject, "192_0_2_1", "192_0_2_2", 1) }, ErrSignature},
		{"another jail", func(m *Message) { m.Subject = strings.Replace(m.Subject, "sshd", "postfix", 1) }, ErrSignature},
		{"a later end", func(m *Message) { m.Payload = bytes.Replace(m.Payload, []byte("1800003600"), []byte("1900003600"), 1) }, ErrSignature},
		{"no signature", func(m *Message) { m.Signature = nil }, ErrSignature},
		{"another host's signature", func(m *Message) { o, _ := Sign(&other, key("h1")); m.Signature = o.Signature }, ErrSignature},
		{"a long payload", func(m *Message) { m.Payload = append(m.Payload, bytes.Repeat([]byte(" "), MaxPayload)...) }, ErrSignature},
		{"a wildcard", func(m *Message) { m.Subject = "ban.*.sshd.192_0_2_1/32" }, ErrSubject},
		{"more parts", func(m *Message) { m.Subject += ".x" }, ErrSubject},
		{"dots", func(m *Message) { m.Subject = "ban.h0.sshd.192.0.2.1/32" }, ErrSubject},
		{"another spelling", func(m *Message) { m.Subject = "ban.h0.sshd.2001:DB8::1/128" }, ErrSubject},
		{"a zone", func(m *Message) { m.Subject = "ban.h0.sshd.fe80::1%eth0/64" }, ErrSubject},
		{"no host", func(m *Message) { m.Subject = "ban..sshd.192_0_2_1/32" }, ErrSubject},
		{"something else", func(m *Message) { m.Subject = "unban.h0.sshd.192_0_2_1/32" }, ErrSubject},
	} {
		m, err := Sign(&n, key("h0"))
		if err != nil {
			t.Fatal(err)
		}
		c.do(m)
		if got, err := Open(m, publicKeys); !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	for _, payload := range []string{``, `{}`, `null`, `[]`, `{"v":2,"since":1,"until":2}`, `{"v":1,"since":1,"until":2,"prefix":"0.0.0.0/0"}`, `{"v":1}{"v":1}`, `{"v":1,"since":1e99}`, "{\"v\":1,\"reason\":\"\x00\"}"} {
		m := &Message{Subject: "ban.h0.sshd.192_0_2_1/32", Payload: []byte(payload)}
		m.Signature = ed25519.Sign(key("h0"), m.signed())
		if got, err := Open(m, publicKeys); !errors.Is(err, ErrPayload) {
			t.Errorf("%s: %+v, %v", payload, got, err)
		}
	}
	for _, host := range []string{"", "a.b", "*", ">", "a b", strings.Repeat("a", 65), "é"} {
		n := news(host, "192.0.2.1", start, start+hour)
		if m, err := Sign(&n, key("h0")); err == nil {
			t.Errorf("%q: %+v", host, m)
		}
	}
}

// TestOpenAll: many messages at once are judged as each of them is, wherever the bad one stands.
func TestOpenAll(t *testing.T) {
	one := func(host string) []ed25519.PublicKey {
		if host != "h0" && host != "h1" && host != "h2" {
			return nil
		}
		return []ed25519.PublicKey{key(host).Public().(ed25519.PublicKey)}
	}
	var good []Message
	for i := range 3*batchSize + 5 {
		n := news(fmt.Sprint("h", i%3), fmt.Sprintf("192.0.2.%d", i%250), start+int64(i), start+hour)
		m, err := Sign(&n, key(n.Host))
		if err != nil {
			t.Fatal(err)
		}
		good = append(good, *m)
	}
	if !verifyBatch(good[:batchSize], one) || verifyBatch(good[:batchSize], publicKeys) {
		t.Error("a good batch, and one of hosts with two keys")
	}
	for name, do := range map[string]func(m *Message){
		"none":            func(*Message) {},
		"s":               func(m *Message) { m.Signature = slices.Clone(m.Signature); m.Signature[40] ^= 1 },
		"R":               func(m *Message) { m.Signature = slices.Clone(m.Signature); m.Signature[0] ^= 1 },
		"a large s":       func(m *Message) { m.Signature = slices.Clone(m.Signature); m.Signature[63] |= 0xf0 },
		"short":           func(m *Message) { m.Signature = m.Signature[:63] },
		"payload":         func(m *Message) { m.Payload = append([]byte(" "), m.Payload...) },
		"subject":         func(m *Message) { m.Subject = strings.Replace(m.Subject, "_2_", "_3_", 1) },
		"another host":    func(m *Message) { m.Subject = strings.Replace(m.Subject, ".h", ".h1", 1) },
		"unknown host":    func(m *Message) { m.Subject = "ban.h9.sshd.192_0_2_1/32" },
		"no subject":      func(m *Message) { m.Subject = "" },
		"other's message": func(m *Message) { m.Payload = good[1].Payload },
		"swapped":         func(m *Message) { m.Signature = good[1].Signature },
	} {
		for _, at := range []int{0, batchSize - 1, batchSize, len(good) - 1} {
			l := slices.Clone(good)
			do(&l[at])
			got, errs := OpenAll(l, one)
			for i := range l {
				want, err := Open(&l[i], one)
				if err != errs[i] || (want == nil) != (got[i] == nil) || want != nil && *want != *got[i] {
					t.Errorf("%s at %d: %d: %+v, %v; alone %+v, %v", name, at, i, got[i], errs[i], want, err)
				}
				if (err != nil) != (i == at && name != "none") {
					t.Errorf("%s at %d: %d: %v", name, at, i, err)
				}
			}
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	n := news("h0", "192.0.2.1", start, start+hour)
	m, err := Sign(&n, key("h0"))
	if err != nil {
		b.Fatal(err)
	}
	one := []ed25519.PublicKey{key("h0").Public().(ed25519.PublicKey)}
	keys := func(string) []ed25519.PublicKey { return one }
	l := make([]Message, batchSize)
	for i := range l {
		l[i] = *m
	}
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			if _, err := Open(m, keys); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("of a batch", func(b *testing.B) {
		for i := 0; i < b.N; i += len(l) {
			if _, errs := OpenAll(l, keys); errs[0] != nil {
				b.Fatal(errs[0])
			}
		}
	})
}
