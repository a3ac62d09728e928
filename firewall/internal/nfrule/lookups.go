package nfrule

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Lookups tells how often the rules of a table, whosever it is, look something up in each set. It is empty where there is no
// such table.
func Lookups(ctx context.Context, family uint8, table string) (map[string]int, error) {
	fail := func(err error) (map[string]int, error) {
		return nil, fmt.Errorf("nftables: read the rules of table %s: %w", table, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fail(err)
	}
	defer c.Close()
	if err := c.SetDeadline(deadline(ctx)); err != nil {
		return fail(err)
	}
	name, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: append([]byte(table), 0)}})
	if err != nil {
		return fail(err)
	}
	for range dumpTries {
		answer, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE, Flags: netlink.Request | netlink.Dump},
			Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, name...),
		})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fail(err)
		}
		sets, whole := make(map[string]int), true
		for _, m := range answer {
			whole = whole && m.Header.Flags&unix.NLM_F_DUMP_INTR == 0
			if len(m.Data) >= 4 {
				lookups(m.Data[4:], table, sets)
			}
		}
		if whole {
			return sets, nil
		}
	}
	return fail(errors.New("they do not stop changing"))
}

// dumpTries is how often a dump is begun anew that a transaction of somebody's came into.
const dumpTries = 10

// lookups counts those of one rule.
func lookups(rule []byte, table string, sets map[string]int) {
	var list []byte
	for typ, v := range Attrs(rule) {
		switch typ {
		case unix.NFTA_RULE_TABLE:
			if CString(v) != table { // a kernel that gives more than was asked for
				return
			}
		case unix.NFTA_RULE_EXPRESSIONS:
			list = v
		}
	}
	for _, e := range Attrs(list) {
		name := ""
		for typ, v := range Attrs(e) {
			switch {
			case typ == unix.NFTA_EXPR_NAME:
				name = CString(v)
			case typ == unix.NFTA_EXPR_DATA && name == "lookup":
				for typ, v := range Attrs(v) {
					if typ == unix.NFTA_LOOKUP_SET {
						sets[CString(v)]++
					}
				}
			}
		}
	}
}
