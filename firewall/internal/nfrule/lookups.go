package nfrule

import (
	"context"
	"errors"
	"fmt"

	"bailiff/firewall/internal/request"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// dumpTries is how often a dump is repeated after another transaction has interrupted it.
const dumpTries = 10

// Lookups counts how often the rules of a table, which need not be ours, refer to each set. It is empty if there is no such table.
func Lookups(ctx context.Context, family uint8, table string) (sets map[string]int, err error) {
	c := request.New(unix.NETLINK_NETFILTER)
	defer c.Close()
	name := request.AppendString(nil, unix.NFTA_RULE_TABLE, table)
	for range dumpTries {
		sets = make(map[string]int)
		err = c.Do(ctx, request.Netfilter(unix.NFNL_SUBSYS_NFTABLES, unix.NFT_MSG_GETRULE, family, netlink.Dump, name), func(_ netlink.HeaderType, data []byte) {
			countLookups(data, table, sets)
		})
		if !errors.Is(err, request.ErrInterrupted) {
			break
		}
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("nftables: read the rules of table %s: %w", table, err)
	}
	return sets, nil
}

// countLookups counts the lookups of one rule.
func countLookups(rule []byte, table string, sets map[string]int) {
	var list []byte
	for typ, v := range request.NetfilterAttributes(rule) {
		switch typ {
		case unix.NFTA_RULE_TABLE:
			if request.String(v) != table { // the kernel may return more than was requested
				return
			}
		case unix.NFTA_RULE_EXPRESSIONS:
			list = v
		}
	}
	for _, e := range request.Attributes(list) {
		name := ""
		for typ, v := range request.Attributes(e) {
			switch {
			case typ == unix.NFTA_EXPR_NAME:
				name = request.String(v)
			case typ == unix.NFTA_EXPR_DATA && name == "lookup":
				for typ, v := range request.Attributes(v) {
					if typ == unix.NFTA_LOOKUP_SET {
						sets[request.String(v)]++
					}
				}
			}
		}
	}
}
