package nfrule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"bailiff/firewall/internal/request"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	groupNftables = 7 // NFNLGRP_NFTABLES, uapi/linux/netfilter/nfnetlink.h

	// attrTable is the first attribute of the kernel's messages about tables, chains, rules and sets: NFTA_TABLE_NAME, NFTA_CHAIN_TABLE,
	// NFTA_RULE_TABLE and NFTA_SET_TABLE are all 1.
	attrTable = 1
)

// Watch calls changed within about a millisecond whenever the named table in one of the families was changed, by us or others. It also
// calls changed when the kernel had to drop notifications, and after Quiet. It returns when ctx is done, or with the error that ended it.
func Watch(ctx context.Context, table string, families []uint8, changed func()) error {
	err := listen(ctx, table, families, func() {}, changed)
	for errors.Is(err, errQuiet) {
		err = listen(ctx, table, families, changed, changed) // something may have been changed meanwhile
	}
	return err
}

var (
	// listening is held for reading by each Watch while its socket is open.
	listening sync.RWMutex

	// leave is closed to make each Watch close its socket.
	leave   = make(chan struct{})
	leaveMu sync.Mutex

	errQuiet = errors.New("quiet")
)

// Quiet runs f while no Watch of this process listens. If anybody listens, the kernel builds a notification for each element that a
// transaction adds, so adding a million elements takes twenty times as long.
func Quiet(f func() error) error {
	leaveMu.Lock()
	defer leaveMu.Unlock()
	close(leave)
	listening.Lock()
	leave = make(chan struct{})
	defer listening.Unlock()
	return f()
}

// listen is Watch until Quiet ends it. It calls begun once it listens.
func listen(ctx context.Context, table string, families []uint8, begun, changed func()) error {
	listening.RLock()
	defer listening.RUnlock()
	quiet := leave
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: 1 << (groupNftables - 1)})
	if err != nil {
		return fmt.Errorf("nftables: watch: %w", err)
	}
	begun()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-ctx.Done():
		case <-quiet:
		case <-done:
		}
		c.Close()
	}()
	for {
		notified, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case isClosed(quiet):
			return errQuiet
		case errors.Is(err, unix.ENOBUFS):
			changed()
		case err != nil:
			return fmt.Errorf("nftables: watch: %w", err)
		case slices.ContainsFunc(notified, func(m netlink.Message) bool { return concerns(m, table, families) }):
			changed()
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
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
