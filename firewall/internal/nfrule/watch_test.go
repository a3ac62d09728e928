package nfrule

import (
	"testing"

	"bailiff/firewall/internal/request"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// TestConcerns: messages about other tables and families are none of our business.
func TestConcerns(t *testing.T) {
	msg := func(typ int, family uint8, table string) netlink.Message {
		ae := netlink.NewAttributeEncoder()
		ae.String(attrTable, table)
		b, err := ae.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return request.Netfilter(unix.NFNL_SUBSYS_NFTABLES, typ, family, 0, b)
	}
	mine := msg(unix.NFT_MSG_DELRULE, unix.NFPROTO_IPV6, "bailiff")
	short := mine
	short.Data = mine.Data[:len(mine.Data)-4]
	for _, c := range []struct {
		m    netlink.Message
		want bool
	}{
		{netlink.Message{}, false}, {mine, true}, {short, false}, {msg(unix.NFT_MSG_DELTABLE, unix.NFPROTO_IPV4, "filter"), false},
		{msg(unix.NFT_MSG_DELRULE, unix.NFPROTO_INET, "bailiff"), false}, {msg(unix.NFT_MSG_NEWGEN, unix.NFPROTO_IPV4, "bailiff"), false},
	} {
		if got := concerns(c.m, "bailiff", Families[:]); got != c.want {
			t.Errorf("%+v: %v, want %v", c.m, got, c.want)
		}
	}
}
