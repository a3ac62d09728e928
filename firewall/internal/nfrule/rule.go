// Package nfrule is shared by the backends that use nftables rules: it builds and recognizes our rules, reads a table of ours and compares
// it with what it should be, and watches it for changes. It decides nothing about sets. Start reading at Rules, then Table.
//
// Rules, sets and transactions are those of google/nftables. Lookups, Generation and Watch send or read messages of their own,
// because that library has no requests for them.
package nfrule

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"bailiff/firewall"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

const (
	// mark begins the comment of every rule of ours. A table counts as ours only if every rule in it carries this comment.
	mark = "bailiff: "

	// everything stands in comments for the scope without a name. A scope that has this name also has ports, which follow it.
	everything = "everything"

	// flags of TCP: RFC 9293, 3.1
	tcpSYN = 0x02
	tcpACK = 0x10

	// answers of reject: uapi/linux/netfilter/nf_tables.h, icmp.h and icmpv6.h
	rejectUnreach   = 0  // NFT_REJECT_ICMP_UNREACH
	rejectReset     = 1  // NFT_REJECT_TCP_RST
	icmpFiltered    = 13 // ICMP_PKT_FILTERED, administratively prohibited
	icmp6Prohibited = 1  // ICMPV6_ADM_PROHIBITED
)

// What rules do besides "drop" and "reject".
const (
	Accept = "accept" // no later rule in the table sees the packet
	Count  = "count"  // the packet passes on to later rules
)

// Families are the families of the packets that are blocked.
var Families = [...]uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6}

// Rule is one rule of ours: expressions, and the comment that marks it.
type Rule struct {
	Exprs   []expr.Any
	Comment string
}

// Rules returns the rules that block one family of packets in a scope: one for each range of ports, or two where block is
// "reject" and answers TCP and other protocols differently. A rule begins with first and tests the ports, which is cheap; then
// match looks up the source address. Every rule counts.
func Rules(scope firewall.Scope, family uint8, block string, first, match []expr.Any) (rules []Rule) {
	ports := scope.Ports
	if len(ports) == 0 {
		ports = []firewall.Port{{}}
	}
	for _, p := range ports {
		test, text := portMatch(p)
		for _, v := range verdicts(block, family, p) {
			var e []expr.Any
			for _, part := range [][]expr.Any{first, v.when, test, match, {&expr.Counter{}}} {
				e = append(e, part...)
			}
			if v.then != nil {
				e = append(e, v.then)
			}
			rules = append(rules, Rule{Exprs: e, Comment: comment(scope.Name, text)})
		}
	}
	return rules
}

// Opening is like Rules, but its rules for TCP match only packets that open a connection. Other protocols have no such packets, so all of
// theirs match.
func Opening(scope firewall.Scope, family uint8, block string, first, match []expr.Any) (rules []Rule) {
	tcp, other := slices.Concat(first, protoMatch(unix.IPPROTO_TCP)), slices.Concat(first, protoMatch(unix.IPPROTO_TCP))
	other[len(other)-1].(*expr.Cmp).Op = expr.CmpOpNeq
	tcp = append(tcp,
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{tcpSYN | tcpACK}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{tcpSYN}},
	)
	one := func(s firewall.Scope, proto string) {
		if proto != "udp" {
			rules = append(rules, Rules(s, family, block, tcp, match)...)
		}
		if proto != "tcp" {
			rules = append(rules, Rules(s, family, block, other, match)...)
		}
	}
	for _, p := range scope.Ports {
		one(firewall.Scope{Name: scope.Name, Ports: []firewall.Port{p}}, p.Proto)
	}
	if len(scope.Ports) == 0 {
		one(scope, "")
	}
	return rules
}

// comment is the comment of a rule: its scope and ports.
func comment(scope, ports string) string {
	return mark + cmp.Or(scope, everything) + ports
}

// Scope returns the scope of a rule made by Rules.
func (r *Rule) Scope() string { return scopeIn(r.Comment) }

func scopeIn(comment string) string {
	scope, ports, _ := strings.Cut(strings.TrimPrefix(comment, mark), " ")
	if scope == everything && ports == "" {
		return ""
	}
	return scope
}

// CommentOf returns the comment of a rule in the kernel; ours reports whether the rule is one of ours.
func CommentOf(r *nftables.Rule) (text string, ours bool) {
	text, ok := userdata.GetString(r.UserData, userdata.TypeComment)
	return text, ok && strings.HasPrefix(text, mark)
}

// CounterOf returns the counter of a rule, or nil.
func CounterOf(exprs []expr.Any) *expr.Counter {
	for _, e := range exprs {
		if c, ok := e.(*expr.Counter); ok {
			return c
		}
	}
	return nil
}

// Counters returns the sums of our rules' counters, by scope.
func Counters(rules []*nftables.Rule) map[string]expr.Counter {
	sums := make(map[string]expr.Counter)
	for _, r := range rules {
		if text, ours := CommentOf(r); ours {
			scope := scopeIn(text)
			if n := CounterOf(r.Exprs); n != nil {
				sums[scope] = expr.Counter{Packets: sums[scope].Packets + n.Packets, Bytes: sums[scope].Bytes + n.Bytes}
			}
		}
	}
	return sums
}

// Add appends a rule to a chain, in c's transaction.
func (r *Rule) Add(c *nftables.Conn, chain *nftables.Chain) {
	c.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: r.Exprs, UserData: userdata.AppendString(nil, userdata.TypeComment, r.Comment)})
}

// verdict is what happens to a packet that matches when. If then is nil, the packet passes on to later rules.
type verdict struct {
	when []expr.Any
	then expr.Any
}

// verdicts returns what happens to packets from a banned prefix. Reject answers TCP with a reset and other protocols with ICMP; the kernel
// allows it at prerouting since Linux 5.9.
func verdicts(block string, family uint8, p firewall.Port) []verdict {
	switch block {
	case "drop":
		return []verdict{{nil, &expr.Verdict{Kind: expr.VerdictDrop}}}
	case Accept:
		return []verdict{{nil, &expr.Verdict{Kind: expr.VerdictAccept}}}
	case Count:
		return []verdict{{}}
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

// portMatch matches a range of destination ports; text is how comments write it. Later fragments have no port and pass, but the first is
// blocked, so the packet is never reassembled.
func portMatch(p firewall.Port) (e []expr.Any, text string) {
	if p.Proto == "" {
		return nil, ""
	}
	proto := byte(unix.IPPROTO_TCP)
	if p.Proto == "udp" {
		proto = unix.IPPROTO_UDP
	}
	e = append(protoMatch(proto), &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2})
	if p.From == p.To {
		return append(e, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: be16(p.From)}), fmt.Sprintf(" %d/%s", p.From, p.Proto)
	}
	return append(e,
		&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: be16(p.From)},
		&expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: be16(p.To)},
	), fmt.Sprintf(" %d-%d/%s", p.From, p.To, p.Proto)
}

// Source loads the first bits of a packet's source address into register 1.
func Source(family uint8, bits int) []expr.Any {
	load := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4} // RFC 791, 3.1
	if family == unix.NFPROTO_IPV6 {
		load.Offset, load.Len = 8, 16 // RFC 8200, 3
	}
	if bits == int(8*load.Len) {
		return []expr.Any{load}
	}
	mask := make([]byte, load.Len)
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{load, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: load.Len, Mask: mask, Xor: make([]byte, load.Len)}}
}

// Family tests the family of a packet, in a table of family inet.
func Family(family uint8) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
	}
}

// KeyType is the type of a set of source addresses.
func KeyType(family uint8) nftables.SetDatatype {
	if family == unix.NFPROTO_IPV4 {
		return nftables.TypeIPAddr
	}
	return nftables.TypeIP6Addr
}

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// same compares what a rule in the kernel does with what it should do. It ignores counts, the padding of an xt match, and the id of a set
// within the transaction that created it.
func same(have, want []expr.Any) bool {
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
