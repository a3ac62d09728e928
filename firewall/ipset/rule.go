package ipset

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"bailiff/firewall"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/google/nftables/xt"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The rules that refer to the sets. nft's own language cannot match an ipset, but its kernel side can: as the xt match
// "set", through nft_compat, which is what iptables-nft writes too. It takes CAP_NET_ADMIN and AF_NETLINK, where iptables
// takes CAP_NET_RAW and a child process. The tables are ours alone, so that nobody's reload of his own rules takes ours
// along.

const (
	chainName = "prerouting"

	// mark begins the comment of every rule of ours. A table is ours when it holds nothing without it.
	mark = "bailiff: "

	matchName = "set"
	matchRev  = 1 // struct xt_set_info_match_v1 of uapi/linux/netfilter/xt_set.h: the first without the kernel's own pointers

	// reject with an answer, uapi/linux/netfilter/nf_tables.h, icmp.h and icmpv6.h
	rejectUnreach   = 0  // NFT_REJECT_ICMP_UNREACH
	rejectReset     = 1  // NFT_REJECT_TCP_RST
	icmpFiltered    = 13 // ICMP_PKT_FILTERED, administratively prohibited
	icmp6Prohibited = 1  // ICMPV6_ADM_PROHIBITED
)

// matchInfo is struct xt_set_info: index, dimension 1, flags "source of the first dimension"; xtables rounds up to eight.
func matchInfo(index uint16) *xt.Unknown {
	b := make(xt.Unknown, 8)
	binary.NativeEndian.PutUint16(b, index)
	b[2], b[3] = 1, 1<<1
	return &b
}

// rule is one rule of ours: expressions, and the comment that makes it known.
type rule struct {
	exprs   []expr.Any
	comment string
}

// rulesOf returns the rules of one family for all scopes. refs counts how often each set is referred to.
func (b *Backend) rulesOf(family uint8, index map[string]uint16) (rules []rule, refs map[string]uint32) {
	refs = make(map[string]uint32)
	for _, s := range b.scopes {
		name := b.setName(family, s.Name)
		what := s.Name
		if what == "" {
			what = "everything"
		}
		ports := s.Ports
		if len(ports) == 0 {
			ports = []firewall.Port{{}}
		}
		for _, p := range ports {
			head, text := portMatch(p)
			for _, v := range b.verdicts(family, p) {
				var e []expr.Any
				e = append(e, v.when...)
				e = append(e, head...)
				e = append(e, &expr.Match{Name: matchName, Rev: matchRev, Info: matchInfo(index[name])}, &expr.Counter{}, v.then)
				rules = append(rules, rule{e, mark + what + text})
				refs[name]++
			}
		}
	}
	return rules, refs
}

type verdict struct {
	when []expr.Any
	then expr.Any
}

// verdicts is what happens to a packet from a banned prefix. Reject answers a TCP segment with a reset and all else with
// ICMP; it is allowed at prerouting since Linux 5.9. Drop is the default, since an answer is work for us and news for them.
func (b *Backend) verdicts(family uint8, p firewall.Port) []verdict {
	if b.block == "drop" {
		return []verdict{{nil, &expr.Verdict{Kind: expr.VerdictDrop}}}
	}
	code := uint8(icmpFiltered)
	if family == unix.NFPROTO_IPV6 {
		code = icmp6Prohibited
	}
	reset := verdict{nil, &expr.Reject{Type: rejectReset}}
	unreach := verdict{nil, &expr.Reject{Type: rejectUnreach, Code: code}}
	switch p.Proto {
	case "tcp":
		return []verdict{reset}
	case "udp":
		return []verdict{unreach}
	}
	reset.when = protoMatch(unix.IPPROTO_TCP)
	return []verdict{reset, unreach}
}

func protoMatch(proto byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
	}
}

// portMatch stands before the look-up in the set, since it costs less. A fragment that is not the first has no port and
// passes; the first is stopped, so it is never put together.
func portMatch(p firewall.Port) ([]expr.Any, string) {
	if p.Proto == "" {
		return nil, ""
	}
	proto := byte(unix.IPPROTO_TCP)
	if p.Proto == "udp" {
		proto = unix.IPPROTO_UDP
	}
	e := append(protoMatch(proto), &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2})
	if p.From == p.To {
		return append(e, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: be16(p.From)}), fmt.Sprintf(" %d/%s", p.From, p.Proto)
	}
	return append(e,
		&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: be16(p.From)},
		&expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: be16(p.To)},
	), fmt.Sprintf(" %d-%d/%s", p.From, p.To, p.Proto)
}

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// nft returns a connection that gives up when ctx does. It opens its socket for each call; rules are rare.
func nft(ctx context.Context) (*nftables.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(answerLimit)
	}
	return nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error { return c.SetDeadline(end) }))
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
func (b *Backend) table(ctx context.Context, family uint8, want []rule) (state tableState, why string, err error) {
	name := "table " + tableName(family, b.prefix)
	fail := func(err error) (tableState, string, error) { return absent, "", fmt.Errorf("%s: look: %w", name, err) }
	foreign := func(format string, args ...any) (tableState, string, error) {
		return absent, "", &firewall.ForeignError{Name: name, Why: fmt.Sprintf(format, args...)}
	}
	c, err := nft(ctx)
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
		if ch.Name != chainName {
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
		if text, ok := userdata.GetString(r.UserData, userdata.TypeComment); !ok || !strings.HasPrefix(text, mark) {
			return foreign("chain %s holds a rule without our mark (handle %d)", chainName, r.Handle)
		}
	}
	based := chain.Hooknum != nil && *chain.Hooknum == *nftables.ChainHookPrerouting &&
		chain.Priority != nil && *chain.Priority == *nftables.ChainPriorityRaw && chain.Type == nftables.ChainTypeFilter
	open := chain.Policy == nil || *chain.Policy == nftables.ChainPolicyAccept
	switch {
	case !based && len(have) == 0:
		return foreign("chain %s is not at prerouting, priority raw", chainName)
	case !open && len(have) == 0:
		return foreign("chain %s drops everything", chainName)
	case !based:
		return ours, "chain is not at prerouting, priority raw", nil
	case !open:
		return ours, "chain drops everything", nil
	case t.Flags != 0:
		return ours, "table is dormant", nil
	case len(have) != len(want):
		return ours, fmt.Sprintf("holds %d rules, want %d", len(have), len(want)), nil
	}
	for i, r := range have {
		text, _ := userdata.GetString(r.UserData, userdata.TypeComment)
		if text != want[i].comment || !sameExprs(r.Exprs, want[i].exprs) {
			return ours, fmt.Sprintf("rule %d (%s) is not as we made it", i+1, text), nil
		}
	}
	return intact, "", nil
}

// sameExprs compares what a rule does: not what it has counted, nor the padding of the match.
func sameExprs(have, want []expr.Any) bool {
	if len(have) != len(want) {
		return false
	}
	for i := range have {
		h := have[i]
		switch x := h.(type) {
		case *expr.Counter:
			h = &expr.Counter{}
		case *expr.Match:
			if info, ok := x.Info.(*xt.Unknown); ok && len(*info) >= 4 {
				padded := make(xt.Unknown, 8)
				copy(padded, (*info)[:4])
				h = &expr.Match{Name: x.Name, Rev: x.Rev, Info: &padded}
			}
		}
		if !reflect.DeepEqual(h, want[i]) {
			return false
		}
	}
	return true
}

// setTable makes a family's table anew, in one transaction: a packet meets either the old rules or the new ones.
func (b *Backend) setTable(ctx context.Context, family uint8, rules []rule) error {
	name := "table " + tableName(family, b.prefix)
	c, err := nft(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	t := &nftables.Table{Name: b.prefix, Family: nftables.TableFamily(family)}
	c.AddTable(t) // adding what exists is no error, deleting what does not is one
	c.DelTable(t)
	c.AddTable(t)
	accept := nftables.ChainPolicyAccept
	chain := c.AddChain(&nftables.Chain{
		Name: chainName, Table: t, Type: nftables.ChainTypeFilter, Policy: &accept,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
	})
	for _, r := range rules {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: r.exprs, UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment)})
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
	c, err := nft(ctx)
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
