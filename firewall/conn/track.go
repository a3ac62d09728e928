package conn

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"

	"bailiff/firewall/internal/request"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// From uapi/linux/netfilter/nfnetlink_conntrack.h.
const (
	ctNew    = 0 // IPCTNL_MSG_CT_NEW
	ctGet    = 1
	ctDelete = 2
	ctStats  = 5 // IPCTNL_MSG_CT_GET_STATS

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaID         = 12
	ctaZone       = 18

	ctaStatsEntries = 1 // CTA_STATS_GLOBAL_ENTRIES

	ctaTupleIP = 1
	ctaV4Src   = 1
	ctaV6Src   = 3
)

// tracker is a path that exists if conntrack is loaded. It is checked first because a request would load conntrack.
// (/proc/net/stat/nf_conntrack is hidden by ProcSubset=pid.) If its parent folder is missing, too, as in systemd-nspawn containers, the
// kernel must be asked.
var tracker = "/sys/module/nf_conntrack"

// Forget deletes every conntrack entry of banned prefixes, and returns how many there were: connections that begin in one of
// them and those that are answered from there, whatever the protocol. A firewall that accepts established connections or
// translates addresses (of containers, of forwarded ports) then treats their next packet as a new connection.
//
// It walks the table once, however many prefixes are given: a table of 100,000 takes 0.1 to 0.2 s, so use one call for a whole batch, and
// not too many of them. Without conntrack in the kernel it does nothing. Without CAP_NET_ADMIN the error is a *firewall.UnsupportedError.
//
// Close the connections of this host's own processes first (Kill): packets that these still send are tracked again.
func Forget(ctx context.Context, prefixes []netip.Prefix) (int, error) {
	_, loaded := os.Stat(tracker)
	_, shown := os.Stat(filepath.Dir(tracker))
	if len(prefixes) == 0 || loaded != nil && shown == nil {
		return 0, ctx.Err()
	}
	c := request.New(unix.NETLINK_NETFILTER)
	defer c.Close()
	if n, err := entries(ctx, c); err != nil || n == 0 {
		if shown != nil && errors.Is(err, unix.EINVAL) { // conntrack is not loaded
			err = nil
		}
		return 0, err
	}
	want := newMatcher(prefixes)
	var found []netlink.Message // requests to delete
	var err error
	if want.has4 {
		found, err = tracked(ctx, c, unix.AF_INET, want, found)
	}
	if err == nil && want.has6 {
		found, err = tracked(ctx, c, unix.AF_INET6, want, found)
	}
	if err != nil {
		return 0, err
	}
	return remove(ctx, c, found, refused)
}

// entries returns how many connections conntrack tracks in this network namespace.
func entries(ctx context.Context, c *request.Conn) (n uint32, err error) {
	err = c.Do(ctx, request.Netfilter(unix.NFNL_SUBSYS_CTNETLINK, ctStats, unix.AF_UNSPEC, 0, nil), func(_ netlink.HeaderType, data []byte) {
		for typ, v := range request.NetfilterAttributes(data) {
			if typ == ctaStatsEntries && len(v) == 4 {
				n = binary.BigEndian.Uint32(v)
			}
		}
	})
	return n, refused(err)
}

// refused describes the kernel's refusal.
func refused(err error) error {
	switch {
	case err == nil, errors.Is(err, request.ErrInterrupted): // connections opened meanwhile are blocked
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return unsupported("conntrack over netlink (CONFIG_NF_CT_NETLINK)", err)
	}
	return failed("forget connections", err)
}

// tracked appends requests that delete a family's conntrack entries of the prefixes in want.
func tracked(ctx context.Context, c *request.Conn, family uint8, want *matcher, found []netlink.Message) ([]netlink.Message, error) {
	err := c.Do(ctx, request.Netfilter(unix.NFNL_SUBSYS_CTNETLINK, ctGet, family, netlink.Dump, nil), func(typ netlink.HeaderType, data []byte) {
		if typ != unix.NFNL_SUBSYS_CTNETLINK<<8|ctNew || len(data) < request.NetfilterHeader {
			return
		}
		hit := false
		for typ, v := range request.NetfilterAttributes(data) {
			if typ == ctaTupleOrig || typ == ctaTupleReply {
				a, ok := source(v)
				hit = hit || ok && want.has(a)
			}
		}
		if !hit {
			return
		}
		var attributes []byte
		for typ, v := range request.NetfilterAttributes(data) {
			switch typ {
			case ctaTupleOrig:
				attributes = request.Append(attributes, typ|unix.NLA_F_NESTED, v...)
			case ctaID, ctaZone: // so that no other connection with the same addresses and ports is deleted
				attributes = request.Append(attributes, typ, v...)
			}
		}
		found = append(found, request.Netfilter(unix.NFNL_SUBSYS_CTNETLINK, ctDelete, data[0], 0, attributes))
	})
	return found, refused(err)
}

// source returns the source address of a tuple.
func source(tuple []byte) (netip.Addr, bool) {
	for typ, ip := range request.Attributes(tuple) {
		if typ != ctaTupleIP {
			continue
		}
		for typ, a := range request.Attributes(ip) {
			if typ == ctaV4Src || typ == ctaV6Src {
				return netip.AddrFromSlice(a)
			}
		}
	}
	return netip.Addr{}, false
}
