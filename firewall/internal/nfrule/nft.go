// Package nfrule is what the backends share that stop packets by rules of nftables: the parts of a rule, how to tell a rule
// of ours, and how to hear that somebody changed one. It changes nothing by itself. Start reading at Verdicts.
package nfrule

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

const (
	// Chain is the name of our one chain in a table of ours. It stands at prerouting, before connection tracking, so that
	// no rule which lets established connections through is asked first.
	Chain = "prerouting"

	// mark begins the comment of every rule of ours. A table is ours when it holds nothing without it.
	mark = "bailiff: "

	// everything is what comments call the scope without a name. A scope of that name has ports, which its comments give.
	everything = "everything"

	// answerLimit is how long the kernel may take where a context has no deadline.
	answerLimit = 10 * time.Second

	// reject with an answer, uapi/linux/netfilter/nf_tables.h, icmp.h and icmpv6.h
	rejectUnreach   = 0  // NFT_REJECT_ICMP_UNREACH
	rejectReset     = 1  // NFT_REJECT_TCP_RST
	icmpFiltered    = 13 // ICMP_PKT_FILTERED, administratively prohibited
	icmp6Prohibited = 1  // ICMPV6_ADM_PROHIBITED
)

// Families are those of the packets that we stop.
var Families = [...]uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6}

// A Rule is one rule of ours: expressions, and the comment that makes it known.
type Rule struct {
	Exprs   []expr.Any
	Comment string
}

// Comment is the comment of a rule about a scope: what it stops, and where.
func Comment(scope, text string) string {
	if scope == "" {
		scope = everything
	}
	return mark + scope + text
}

// CommentOf returns the comment of a rule in the kernel; ok says whether it is one of ours.
func CommentOf(r *nftables.Rule) (text string, ok bool) {
	text, ok = userdata.GetString(r.UserData, userdata.TypeComment)
	return text, ok && strings.HasPrefix(text, mark)
}

// ScopeOf tells which scope a rule of ours in the kernel is about.
func ScopeOf(r *nftables.Rule) (scope string, ok bool) {
	text, ok := CommentOf(r)
	scope, ports, _ := strings.Cut(strings.TrimPrefix(text, mark), " ")
	if scope == everything && ports == "" {
		scope = ""
	}
	return scope, ok
}

// Add puts a rule at the end of a chain, in c's transaction.
func (r *Rule) Add(c *nftables.Conn, chain *nftables.Chain) {
	c.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: r.Exprs, UserData: userdata.AppendString(nil, userdata.TypeComment, r.Comment)})
}

// NewChain adds our chain to a table, in c's transaction.
func NewChain(c *nftables.Conn, t *nftables.Table) *nftables.Chain {
	accept := nftables.ChainPolicyAccept
	return c.AddChain(&nftables.Chain{
		Name: Chain, Table: t, Type: nftables.ChainTypeFilter, Policy: &accept,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
	})
}

// Unhooked says how a chain differs from NewChain's; "" when it does not.
func Unhooked(c *nftables.Chain) string {
	switch {
	case c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookPrerouting || c.Priority == nil ||
		*c.Priority != *nftables.ChainPriorityRaw || c.Type != nftables.ChainTypeFilter:
		return "is not at prerouting, priority raw"
	case c.Policy != nil && *c.Policy != nftables.ChainPolicyAccept:
		return "drops everything"
	}
	return ""
}

// A Verdict is what happens to a packet, if When holds.
type Verdict struct {
	When []expr.Any
	Then expr.Any
}

// Verdicts is what happens to a packet from a banned prefix, block being "drop" or "reject". Reject answers a TCP segment
// with a reset and all else with ICMP; it is allowed at prerouting since Linux 5.9. Drop is the default, since an answer is
// work for us and news for them.
func Verdicts(block string, family uint8, p firewall.Port) []Verdict {
	if block == "drop" {
		return []Verdict{{nil, &expr.Verdict{Kind: expr.VerdictDrop}}}
	}
	code := uint8(icmpFiltered)
	if family == unix.NFPROTO_IPV6 {
		code = icmp6Prohibited
	}
	reset := Verdict{nil, &expr.Reject{Type: rejectReset}}
	unreach := Verdict{nil, &expr.Reject{Type: rejectUnreach, Code: code}}
	switch p.Proto {
	case "tcp":
		return []Verdict{reset}
	case "udp":
		return []Verdict{unreach}
	}
	reset.When = protoMatch(unix.IPPROTO_TCP)
	return []Verdict{reset, unreach}
}

func protoMatch(proto byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
	}
}

// PortMatch matches a port, and says it in words. It stands before the look-up in a set, since it costs less. A fragment
// that is not the first has no port and passes; the first is stopped, so it is never put together.
func PortMatch(p firewall.Port) ([]expr.Any, string) {
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

// Same compares what a rule in the kernel does with what it should: not what it has counted, nor the padding of an xt
// match, nor the number that a set had in the transaction which made it.
func Same(have, want []expr.Any) bool {
	if len(have) != len(want) {
		return false
	}
	for i := range have {
		if !reflect.DeepEqual(plain(have[i]), plain(want[i])) {
			return false
		}
	}
	return true
}

func plain(e expr.Any) expr.Any {
	switch x := e.(type) {
	case *expr.Counter:
		return &expr.Counter{}
	case *expr.Lookup:
		y := *x
		y.SetID = 0
		return &y
	case *expr.Match:
		if info, ok := x.Info.(*xt.Unknown); ok && len(*info) >= 4 {
			padded := make(xt.Unknown, 8)
			copy(padded, (*info)[:4])
			return &expr.Match{Name: x.Name, Rev: x.Rev, Info: &padded}
		}
	}
	return e
}

// Open returns a connection that gives up when ctx does, with room for a transaction of that many bytes. It opens its
// socket for each call.
func Open(ctx context.Context, room int) (*nftables.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		if room > 0 { // a transaction is one datagram; CAP_NET_ADMIN may go beyond net.core.wmem_max
			if err := c.SetWriteBuffer(room); err != nil {
				return err
			}
		}
		return c.SetDeadline(deadline(ctx))
	}))
}

func deadline(ctx context.Context) time.Time {
	if end, ok := ctx.Deadline(); ok {
		return end
	}
	return time.Now().Add(answerLimit)
}

// Generation returns a number that every nftables transaction of this network namespace makes one larger.
func Generation(ctx context.Context) (gen uint32, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err == nil {
		defer c.Close()
		err = c.SetDeadline(deadline(ctx))
	}
	var answer []netlink.Message
	if err == nil {
		answer, err = c.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
			Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
		})
	}
	if err != nil {
		return 0, fmt.Errorf("nftables: ask for the generation: %w", err)
	}
	for _, m := range answer {
		if len(m.Data) < 4 {
			continue
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return 0, fmt.Errorf("nftables: ask for the generation: %w", err)
		}
		ad.ByteOrder = binary.BigEndian
		for ad.Next() {
			if ad.Type() == unix.NFTA_GEN_ID {
				return ad.Uint32(), ad.Err()
			}
		}
	}
	return 0, errors.New("nftables: ask for the generation: the kernel does not say")
}
