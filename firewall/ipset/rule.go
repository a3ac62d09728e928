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

// The rules that refer to the sets. nft's own language cannot match an ipset, but its kernel side can: as the xt match
// "set", through nft_compat, which is what iptables-nft writes too. It takes CAP_NET_ADMIN and AF_NETLINK, where iptables
// takes CAP_NET_RAW and a child process. The tables are ours alone, so that nobody's reload of his own rules takes ours
// along.

const (
	matchName = "set"
	matchRev  = 1 // struct xt_set_info_match_v1 of uapi/linux/netfilter/xt_set.h: the first without the kernel's own pointers
)

// matchInfo is struct xt_set_info: index, dimension 1, flags "source of the first dimension"; xtables rounds up to eight.
func matchInfo(index uint16) *xt.Unknown {
	b := make(xt.Unknown, 8)
	binary.NativeEndian.PutUint16(b, index)
	b[2], b[3] = 1, 1<<1
	return &b
}

// rulesOf returns the rules of one family for all scopes. refs counts how often each set is referred to.
func (b *Backend) rulesOf(family uint8, index map[string]uint16) (rules []nfrule.Rule, refs map[string]uint32) {
	refs = make(map[string]uint32)
	for _, s := range b.scopes {
		name := b.setName(family, s.Name)
		ports := s.Ports
		if len(ports) == 0 {
			ports = []firewall.Port{{}}
		}
		for _, p := range ports {
			head, text := nfrule.PortMatch(p)
			for _, v := range nfrule.Verdicts(b.block, family, p) {
				var e []expr.Any
				e = append(e, v.When...)
				e = append(e, head...)
				e = append(e, &expr.Match{Name: matchName, Rev: matchRev, Info: matchInfo(index[name])}, &expr.Counter{}, v.Then)
				rules = append(rules, nfrule.Rule{Exprs: e, Comment: nfrule.Comment(s.Name, text)})
				refs[name]++
			}
		}
	}
	return rules, refs
}

func tableName(family uint8, name string) string {
	if family == unix.NFPROTO_IPV4 {
		return "ip " + name
	}
	return "ip6 " + name
}

// tableState is what stands in the kernel under the name of our table.
type tableState int

const (
	absent tableState = iota
	ours              // made by us, but not as wanted: flushed, by an older version, or for other scopes
	intact
)

// table looks at one family's table. why tells for ours what is not as wanted. Something foreign is a *ForeignError.
func (b *Backend) table(ctx context.Context, family uint8, want []nfrule.Rule) (state tableState, why string, err error) {
	name := "table " + tableName(family, b.prefix)
	fail := func(err error) (tableState, string, error) { return absent, "", fmt.Errorf("%s: look: %w", name, err) }
	foreign := func(format string, args ...any) (tableState, string, error) {
		return absent, "", &firewall.ForeignError{Name: name, Why: fmt.Sprintf(format, args...)}
	}
	c, err := nfrule.Open(ctx, 0)
	if err != nil {
		return fail(err)
	}
	t, err := c.ListTableOfFamily(b.prefix, nftables.TableFamily(family))
	switch {
	case errors.Is(err, unix.ENOENT):
		return absent, "is gone", nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP): // nfnetlink has no such subsystem, or no such family
		return absent, "", unsupported("nftables", "nf_tables", err)
	case err != nil:
		return fail(err)
	}
	all, err := c.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return fail(err)
	}
	var chain *nftables.Chain
	for _, ch := range all {
		if ch.Table.Name != b.prefix {
			continue
		}
		if ch.Name != nfrule.Chain {
			return foreign("holds chain %s", ch.Name)
		}
		chain = ch
	}
	sets, err := c.GetSets(t)
	if err != nil {
		return fail(err)
	}
	if len(sets) > 0 {
		return foreign("holds set %s", sets[0].Name)
	}
	if chain == nil {
		return ours, "has no chain", nil
	}
	have, err := c.GetRules(t, chain)
	if err != nil {
		return fail(err)
	}
	for _, r := range have {
		if _, ok := nfrule.CommentOf(r); !ok {
			return foreign("chain %s holds a rule without our mark (handle %d)", nfrule.Chain, r.Handle)
		}
	}
	unhooked := nfrule.Unhooked(chain)
	switch {
	case unhooked != "" && len(have) == 0:
		return foreign("chain %s %s", nfrule.Chain, unhooked)
	case unhooked != "":
		return ours, "chain " + unhooked, nil
	case t.Flags != 0:
		return ours, "table is dormant", nil
	case len(have) != len(want):
		return ours, fmt.Sprintf("holds %d rules, want %d", len(have), len(want)), nil
	}
	for i, r := range have {
		text, _ := nfrule.CommentOf(r)
		if text != want[i].Comment || !nfrule.Same(r.Exprs, want[i].Exprs) {
			return ours, fmt.Sprintf("rule %d (%s) is not as we made it", i+1, text), nil
		}
	}
	return intact, "", nil
}

// setTable makes a family's table anew, in one transaction: a packet meets either the old rules or the new ones.
func (b *Backend) setTable(ctx context.Context, family uint8, rules []nfrule.Rule) error {
	name := "table " + tableName(family, b.prefix)
	c, err := nfrule.Open(ctx, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	t := &nftables.Table{Name: b.prefix, Family: nftables.TableFamily(family)}
	c.AddTable(t) // adding what exists is no error, deleting what does not is one
	c.DelTable(t)
	c.AddTable(t)
	chain := nfrule.NewChain(c, t)
	for _, r := range rules {
		r.Add(c, chain)
	}
	err = c.Flush()
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP) && b.block == "drop":
		return unsupported("the match of nftables rules on ipsets", "nft_compat and xt_set", err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return &firewall.UnsupportedError{What: "reject at prerouting", Hint: "write block: drop, or use Linux 5.9 or newer", Err: err}
	case err != nil:
		return fmt.Errorf("%s: write: %w", name, err)
	}
	return nil
}

// dropTable takes a family's table off the host.
func (b *Backend) dropTable(ctx context.Context, family uint8) error {
	c, err := nfrule.Open(ctx, 0)
	if err == nil {
		c.DelTable(&nftables.Table{Name: b.prefix, Family: nftables.TableFamily(family)})
		err = c.Flush()
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("table %s: delete: %w", tableName(family, b.prefix), err)
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
