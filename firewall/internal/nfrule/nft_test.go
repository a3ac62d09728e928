package nfrule

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestConcerns: messages about other tables and families are none of our business.
func TestConcerns(t *testing.T) {
	msg := func(typ uint16, family byte, table string) []byte {
		body := append([]byte{family, 0, 0, 0, byte(unix.SizeofNlAttr + len(table) + 1), 0, attrTable, 0}, table+"\x00"...)
		for len(body)%unix.NLMSG_ALIGNTO != 0 {
			body = append(body, 0)
		}
		m := make([]byte, unix.SizeofNlMsghdr)
		m[0], m[4], m[5] = byte(len(m)+len(body)), byte(typ), unix.NFNL_SUBSYS_NFTABLES
		return append(m, body...)
	}
	other := msg(unix.NFT_MSG_DELTABLE, unix.NFPROTO_IPV4, "filter")
	mine := msg(unix.NFT_MSG_DELRULE, unix.NFPROTO_IPV6, "bailiff")
	for _, c := range []struct {
		m    []byte
		want bool
	}{
		{nil, false}, {other, false}, {mine, true}, {append(other, mine...), true}, {mine[:10], false}, {mine[:len(mine)-4], false},
		{msg(unix.NFT_MSG_DELRULE, unix.NFPROTO_INET, "bailiff"), false}, {msg(unix.NFT_MSG_NEWGEN, unix.NFPROTO_IPV4, "bailiff"), false},
	} {
		if got := concerns(c.m, "bailiff", Families[:]); got != c.want {
			t.Errorf("%x: %v, want %v", c.m, got, c.want)
		}
	}
}
