package ipset

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"bailiff/firewall"
	"bailiff/firewall/internal/nfrule"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// The nft command cannot write a rule that matches an ipset, but the kernel has one: the xt match "set" through nft_compat, which
// iptables-nft uses as well. It needs only CAP_NET_ADMIN and AF_NETLINK, whereas iptables needs CAP_NET_RAW and a child process.
const (
	matchName = "set"
	matchRev  = 1 // struct xt_set_info_match_v1 of uapi/linux/netfilter/xt_set.h, the first without pointers of the kernel
)

// matchInfo is struct xt_set_info: index, dimension 1, flags "source of the first dimension"; xtables rounds up to eight.
func matchInfo(index uint16) *xt.Unknown {
	b := make(xt.Unknown, 8)
	binary.NativeEndian.PutUint16(b, index)
	b[2], b[3] = 1, 1<<1
	return &b
}

// table is our table for a family. It holds nothing else, so reloading other rules does not remove ours.
func (b *Backend) table(family uint8) *nftables.Table { return nfrule.NewTable(family, name) }

// rules returns the rules for one family, and the number of references to each set.
func (b *Backend) rules(family uint8, index map[string]uint16) (rules []nfrule.Rule, refs map[string]uint32) {
	refs = make(map[string]uint32)
	for _, s := range b.scopes {
		set := setName(family, s.Name)
		match := &expr.Match{Name: matchName, Rev: matchRev, Info: matchInfo(index[set])}
		l := nfrule.Rules(s, family, b.block, nil, []expr.Any{match})
		rules = append(rules, l...)
		refs[set] += uint32(len(l))
	}
	return rules, refs
}

// replaceTable rebuilds a family's table in one transaction, so a packet sees either the old rules or the new ones.
func (b *Backend) replaceTable(ctx context.Context, family uint8, rules []nfrule.Rule) error {
	c, err := nfrule.Open(ctx, 0)
	if err != nil {
		return err
	}
	chain := nfrule.Replace(c, b.table(family))
	for _, r := range rules {
		r.Add(c, chain)
	}
	err = c.Flush()
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP) && b.block == "drop":
		return unsupported("the match of nftables rules on ipsets", "nft_compat and xt_set", err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return nfrule.RejectUnsupported(err)
	case err != nil:
		return fmt.Errorf("table %s: write: %w", nfrule.Name(b.table(family)), err)
	}
	return nil
}

func unsupported(what, module string, err error) error {
	return &firewall.UnsupportedError{
		What: what,
		Hint: "load the kernel module (" + module + "), or write backend: nftables or firewalld",
		Err:  err,
	}
}

// Watch calls changed whenever our rules were changed. The kernel does not report changes to ipsets; Verify finds them.
func (b *Backend) Watch(ctx context.Context, changed func()) error {
	return nfrule.Watch(ctx, name, nfrule.Families[:], changed)
}

// DropCounters reads the counters of our rules. They restart at zero when the rules are rebuilt.
func (b *Backend) DropCounters(ctx context.Context) ([]firewall.DropCounter, error) {
	list := []firewall.DropCounter{}
	for _, family := range nfrule.Families {
		c, err := nfrule.Open(ctx, 0)
		if err != nil {
			return list, err
		}
		t := b.table(family)
		rules, err := c.GetRules(t, nfrule.Chain(t))
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return list, fmt.Errorf("table %s: read counters: %w", nfrule.Name(t), err)
		}
		sums := nfrule.Counters(rules)
		for _, s := range b.scopes {
			if n, ok := sums[s.Name]; ok {
				list = append(list, firewall.DropCounter{Set: setName(family, s.Name), Scope: s.Name, Packets: n.Packets, Bytes: n.Bytes})
			}
		}
	}
	return list, nil
}
