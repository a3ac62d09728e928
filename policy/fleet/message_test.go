package fleet

import (
	"bytes"
	"crypto/ed25519"
	"errors"
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
