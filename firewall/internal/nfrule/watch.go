package nfrule

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"bailiff/firewall/internal/request"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	groupNftables = 7 // NFNLGRP_NFTABLES, uapi/linux/netfilter/nfnetlink.h

	// attrTable is the first attribute of what the kernel says about tables, chains, rules and sets: NFTA_TABLE_NAME,
	// NFTA_CHAIN_TABLE, NFTA_RULE_TABLE and NFTA_SET_TABLE are all 1.
	attrTable = 1
)

// Watch calls changed whenever the table of that name in one of the families was changed, by us or others, within about a
// millisecond. It also calls changed when so much happened that the kernel dropped some notifications. It returns when ctx is
// done, or with the error that ended it.
func Watch(ctx context.Context, table string, families []uint8, changed func()) error {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: 1 << (groupNftables - 1)})
	if err != nil {
		return fmt.Errorf("nftables: watch: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	for {
		notified, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, unix.ENOBUFS):
			changed()
		case err != nil:
			return fmt.Errorf("nftables: watch: %w", err)
		case slices.ContainsFunc(notified, func(m netlink.Message) bool { return concerns(m, table, families) }):
			changed()
		}
	}
}

// concerns reports whether a message is about our table.
func concerns(m netlink.Message, table string, families []uint8) bool {
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || m.Header.Type&0xff == unix.NFT_MSG_NEWGEN || len(m.Data) == 0 || !slices.Contains(families, m.Data[0]) {
		return false
	}
	for typ, v := range request.NetfilterAttributes(m.Data) {
		if typ == attrTable && request.String(v) == table {
			return true
		}
	}
	return false
}
