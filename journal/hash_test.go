package journal

import "testing"

// The vectors are those of the algorithms' authors: SipHash's paper, appendix A, and driver5 of lookup3.c.
func TestHash(t *testing.T) {
	var key ID128
	msg := make([]byte, 15)
	for i := range key {
		key[i] = byte(i)
	}
	for i := range msg {
		msg[i] = byte(i)
	}
	if h := hashData(true, key, msg); h != 0xa129ca6149be45e5 {
		t.Errorf("siphash24: %#x", h)
	}
	for _, c := range []struct {
		text string
		want uint64
	}{
		{"", 0xdeadbeefdeadbeef},
		{"Four score and seven years ago", 0x17770551ce7226e6},
	} {
		if h := hashData(false, key, []byte(c.text)); h != c.want {
			t.Errorf("lookup3 of %q: %#x, want %#x", c.text, h, c.want)
		}
	}
}
