package nftables

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/internal/nfrule"
	"bailiff/firewall/internal/request"
	"bailiff/firewall/internal/sets"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// setName is v4-32, v6-64-sshd and so on: family, prefix length, scope.
func (b *Backend) setName(k setKey) string {
	name := fmt.Sprintf("v%s-%d", sets.Digit(k.family), k.bits)
	if scope := b.scopes[k.scope].Name; scope != "" {
		name += "-" + scope
	}
	return name
}

// parseName is the inverse of setName. known is false for a scope that no longer exists, ok for a name that cannot be ours.
func (b *Backend) parseName(name string) (k setKey, known, ok bool) {
	head, scope, _ := strings.Cut(name, "-")
	length, scope, _ := strings.Cut(scope, "-")
	bits, err := strconv.ParseUint(length, 10, 8)
	switch {
	case err != nil || strconv.FormatUint(bits, 10) != length:
		return k, false, false
	case head == "v4" && bits >= 1 && bits <= 32:
		k.family = unix.NFPROTO_IPV4
	case head == "v6" && bits >= 1 && bits <= 128:
		k.family = unix.NFPROTO_IPV6
	default:
		return k, false, false
	}
	k.bits = uint8(bits)
	k.scope = slices.IndexFunc(b.scopes, func(s firewall.Scope) bool { return s.Name == scope })
	return k, k.scope >= 0, true
}

// newSet returns a set as we create it. It has no size, so the kernel picks the hash that grows.
func (b *Backend) newSet(k setKey) *nftables.Set {
	return &nftables.Set{Table: b.table, Name: b.setName(k), KeyType: nfrule.KeyType(k.family), HasTimeout: true, KeyByteOrder: binaryutil.BigEndian}
}

// foreign says how a set in the kernel differs from newSet's; "" when it does not.
func foreign(s *nftables.Set, family uint8) string {
	want := nfrule.KeyType(family)
	switch {
	case s.KeyType.GetNFTMagic() != want.GetNFTMagic():
		return "holds " + s.KeyType.Name + ", ours " + want.Name
	case s.Interval || s.IsMap || s.Constant || s.Dynamic || s.Concatenation:
		return "is not a plain hash set"
	case !s.HasTimeout:
		return "elements have no timeouts"
	case s.Timeout != 0:
		return fmt.Sprintf("elements expire after %v by default, ours never", s.Timeout)
	}
	return ""
}

// rules returns the rules for sets, in the order of the chain, and the set of each rule.
func (b *Backend) rules(keys []setKey) (rules []nfrule.Rule, of []setKey) {
	sortKeys(keys)
	for _, k := range keys {
		lookup := append(nfrule.Source(k.family, int(k.bits)), &expr.Lookup{SourceRegister: 1, SetName: b.setName(k)})
		for _, r := range nfrule.Rules(b.scopes[k.scope], k.family, b.block, nfrule.Family(k.family), lookup) {
			rules, of = append(rules, r), append(of, k)
		}
	}
	return rules, of
}

// sortKeys sorts sets by scope, then family, then prefix length, longest first.
func sortKeys(keys []setKey) {
	slices.SortFunc(keys, func(x, y setKey) int {
		return cmp.Or(cmp.Compare(x.scope, y.scope), cmp.Compare(x.family, y.family), cmp.Compare(y.bits, x.bits))
	})
}

// found is what the kernel holds under our table's name.
type found struct {
	gen      uint32 // generation before reading, so that the next Verify finds later changes
	absent   bool
	problem  string // why the table must be replaced: it was flushed or changed, or is from an older version or for other scopes
	sets     map[setKey]*set
	counters map[setKey][]expr.Counter // of the rules, in their order
}

// find reads our table with all elements. If it holds anything foreign, the error is a *firewall.ForeignError.
func (b *Backend) find(ctx context.Context) (*found, error) {
	gen, err := nfrule.Generation(ctx)
	if err != nil {
		return nil, err
	}
	t, err := nfrule.ReadTable(ctx, b.table)
	if err != nil {
		return nil, err
	}
	f := &found{gen: gen, sets: make(map[setKey]*set), counters: make(map[setKey][]expr.Counter)}
	if t == nil {
		f.absent, f.problem = true, t.Problem(nil)
		return f, nil
	}
	var keys []setKey
	for _, s := range t.Sets {
		k, known, ok := b.parseName(s.Name)
		if !ok {
			return nil, &firewall.ForeignError{Name: "table " + b.name(), Why: "holds set " + s.Name}
		}
		if why := foreign(s, k.family); why != "" {
			return nil, &firewall.ForeignError{Name: "table " + b.name(), Why: "set " + s.Name + ": " + why}
		}
		if !known {
			f.problem = "holds a set of a jail that no longer exists, " + s.Name
			continue
		}
		s.Table = b.table
		keys = append(keys, k)
		f.sets[k] = &set{key: k, nft: s}
	}
	want, of := b.rules(keys)
	if f.problem == "" {
		f.problem = t.Problem(want)
	}
	if f.problem == "" {
		for i, r := range t.Rules {
			f.counters[of[i]] = append(f.counters[of[i]], *nfrule.CounterOf(r.Exprs))
		}
	}
	for _, s := range f.sets {
		if err := b.read(ctx, s); err != nil {
			return nil, fmt.Errorf("table %s: set %s: read: %w", b.name(), s.nft.Name, err)
		}
	}
	return f, nil
}

// A dump skips elements while the kernel's hash grows or shrinks, which it does in the background after many elements were
// added or removed. A set that shows fewer than it must hold is read again.
const (
	dumps    = 6
	dumpTick = 20 * time.Millisecond
)

// read reads a set's elements.
func (b *Backend) read(ctx context.Context, s *set) error {
	var known sets.Elements
	if old := b.sets[s.key]; old != nil {
		known = old.elements
	}
	for attempt := 1; ; attempt++ {
		now := time.Now()
		s.elements = make(sets.Elements, len(known))
		err := b.dump(ctx, s.nft.Name, func(addr []byte, left uint32) {
			if e, ok := sets.ElementFrom(addr, int(s.key.bits)); ok {
				s.elements[e] = b.deadlines.FromKernel(left, now)
			}
		})
		interrupted := errors.Is(err, request.ErrInterrupted)
		switch {
		case err != nil && !interrupted:
			return err
		case attempt == dumps, !interrupted && len(s.elements) >= known.Alive(b.deadlines.Now(now)):
			return nil
		}
		select {
		case <-time.After(dumpTick):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// dump calls f with the address of each element in a set of ours and the seconds that the element has left, 0 for never. f
// must not keep the address.
func (b *Backend) dump(ctx context.Context, set string, f func(addr []byte, left uint32)) error {
	a := request.AppendString(nil, unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
	a = request.AppendString(a, unix.NFTA_SET_ELEM_LIST_SET, set)
	c := request.New(unix.NETLINK_NETFILTER)
	defer c.Close()
	m := request.Netfilter(unix.NFNL_SUBSYS_NFTABLES, unix.NFT_MSG_GETSETELEM, unix.NFPROTO_INET, netlink.Dump, a)
	return c.Do(ctx, m, func(_ netlink.HeaderType, data []byte) { parseElements(data, f) })
}

// parseElements parses one message of a dump.
func parseElements(data []byte, f func(addr []byte, left uint32)) {
	for typ, list := range request.NetfilterAttributes(data) {
		if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		for _, e := range request.Attributes(list) {
			if addr, left := parseElement(e); addr != nil {
				f(addr, left)
			}
		}
	}
}

func parseElement(data []byte) (addr []byte, left uint32) {
	forever, ms := true, uint64(0)
	for typ, v := range request.Attributes(data) {
		switch typ {
		case unix.NFTA_SET_ELEM_KEY:
			for typ, v := range request.Attributes(v) {
				if typ == unix.NFTA_DATA_VALUE {
					addr = v
				}
			}
		case unix.NFTA_SET_ELEM_TIMEOUT:
			forever = len(v) != 8 || binary.BigEndian.Uint64(v) == 0
		case unix.NFTA_SET_ELEM_EXPIRATION:
			if len(v) == 8 {
				ms = binary.BigEndian.Uint64(v)
			}
		}
	}
	if forever {
		return addr, 0
	}
	return addr, uint32(max((ms+999)/1000, 1))
}
