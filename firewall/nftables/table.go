package nftables

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/internal/nfrule"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// setName is v4-32, v6-64-sshd and so on: family, length of prefix, scope.
func (b *Backend) setName(k setKey) string {
	name := fmt.Sprintf("v%s-%d", digit(k.family), k.bits)
	if scope := b.scopes[k.scope].Name; scope != "" {
		name += "-" + scope
	}
	return name
}

func digit(family uint8) string {
	if family == unix.NFPROTO_IPV4 {
		return "4"
	}
	return "6"
}

// parseName is the reverse. known is false for a scope that is not ours any more, ok for what is no name of ours at all.
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

// newSet is a set as we make it. Without a size the kernel picks the hash that grows.
func (b *Backend) newSet(k setKey) *nftables.Set {
	s := &nftables.Set{
		Table: b.table, Name: b.setName(k), KeyType: nftables.TypeIPAddr, HasTimeout: true, KeyByteOrder: binaryutil.BigEndian,
	}
	if k.family == unix.NFPROTO_IPV6 {
		s.KeyType = nftables.TypeIP6Addr
	}
	return s
}

// foreign tells how a set in the kernel differs from newSet's; "" when it does not.
func foreign(s, want *nftables.Set) string {
	switch {
	case s.KeyType.GetNFTMagic() != want.KeyType.GetNFTMagic():
		return "holds " + s.KeyType.Name + ", ours " + want.KeyType.Name
	case s.Interval || s.IsMap || s.Constant || s.Dynamic || s.Concatenation:
		return "is no plain hash set"
	case !s.HasTimeout:
		return "elements have no timeouts"
	case s.Timeout != 0:
		return fmt.Sprintf("elements expire after %v if not told otherwise, ours never", s.Timeout)
	}
	return ""
}

// rulesOf returns the rules about the sets, in their order in the chain.
func (b *Backend) rulesOf(keys []setKey) (rules []nfrule.Rule, of []setKey) {
	slices.SortFunc(keys, func(x, y setKey) int {
		return cmp.Or(cmp.Compare(x.scope, y.scope), cmp.Compare(x.family, y.family), cmp.Compare(y.bits, x.bits))
	})
	for _, k := range keys {
		s := b.scopes[k.scope]
		ports := s.Ports
		if len(ports) == 0 {
			ports = []firewall.Port{{}}
		}
		for _, p := range ports {
			head, text := nfrule.PortMatch(p)
			for _, v := range nfrule.Verdicts(b.block, k.family, p) {
				e := []expr.Any{
					&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
					&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{k.family}},
				}
				e = append(append(e, v.When...), head...)
				e = append(append(e, source(k)...), &expr.Lookup{SourceRegister: 1, SetName: b.setName(k)}, &expr.Counter{}, v.Then)
				rules = append(rules, nfrule.Rule{Exprs: e, Comment: nfrule.Comment(s.Name, text)})
				of = append(of, k)
			}
		}
	}
	return rules, of
}

// source loads as much of a packet's source address as the set's prefixes are long.
func source(k setKey) []expr.Any {
	width := uint32(k.width())
	load := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: width} // RFC 791, 3.1
	if k.family == unix.NFPROTO_IPV6 {
		load.Offset = 8 // RFC 8200, 3
	}
	if uint32(k.bits) == 8*width {
		return []expr.Any{load}
	}
	mask := make([]byte, width)
	for i := range int(k.bits) {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{load, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: width, Mask: mask, Xor: make([]byte, width)}}
}

// standing is what the kernel holds under our table's name.
type standing struct {
	gen      uint32 // before we looked: what changed since is seen the next time
	absent   bool
	harm     string // why the table must be made anew: flushed, changed, of an older version or for other scopes; "" when right
	sets     map[setKey]*set
	counters map[setKey][]expr.Counter // of the rules, in their order
}

// look reads our table with all elements. Something foreign is a *ForeignError.
func (b *Backend) look(ctx context.Context) (*standing, error) {
	name := "table " + b.name()
	fail := func(err error) (*standing, error) { return nil, fmt.Errorf("%s: look: %w", name, err) }
	foreigner := func(format string, args ...any) (*standing, error) {
		return nil, &firewall.ForeignError{Name: name, Why: fmt.Sprintf(format, args...)}
	}
	gen, err := nfrule.Generation(ctx)
	if errors.Is(err, unix.EINVAL) {
		return nil, unsupported(err)
	} else if err != nil {
		return nil, err
	}
	have := &standing{gen: gen, sets: make(map[setKey]*set), counters: make(map[setKey][]expr.Counter)}
	c, err := nfrule.Open(ctx, 0)
	if err != nil {
		return fail(err)
	}
	t, err := c.ListTableOfFamily(b.table.Name, b.table.Family)
	switch {
	case errors.Is(err, unix.ENOENT):
		have.absent, have.harm = true, "is gone"
		return have, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return nil, unsupported(err)
	case err != nil:
		return fail(err)
	}

	all, err := c.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return fail(err)
	}
	var chain *nftables.Chain
	for _, ch := range all {
		if ch.Table.Name != t.Name {
			continue
		}
		if ch.Name != nfrule.Chain {
			return foreigner("holds chain %s", ch.Name)
		}
		chain = ch
	}
	objects, err := c.GetObjects(t)
	if err != nil {
		return fail(err)
	}
	if len(objects) > 0 {
		return foreigner("holds %d objects", len(objects))
	}
	sets, err := c.GetSets(t)
	if err != nil {
		return fail(err)
	}
	var rules []*nftables.Rule
	if chain != nil {
		if rules, err = c.GetRules(t, chain); err != nil {
			return fail(err)
		}
	}
	for _, r := range rules {
		if _, ok := nfrule.CommentOf(r); !ok {
			return foreigner("chain %s holds a rule without our mark (handle %d)", nfrule.Chain, r.Handle)
		}
	}
	var keys []setKey
	for _, s := range sets {
		k, known, ok := b.parseName(s.Name)
		if !ok {
			return foreigner("holds set %s", s.Name)
		}
		if why := foreign(s, (&Backend{scopes: []firewall.Scope{{}}, table: b.table}).newSet(setKey{family: k.family, bits: k.bits})); why != "" {
			return foreigner("set %s: %s", s.Name, why)
		}
		if !known {
			have.harm = "holds a set of a jail that is gone, " + s.Name
			continue
		}
		keys = append(keys, k)
		s.Table = b.table
		have.sets[k] = &set{key: k, nft: s}
	}
	want, of := b.rulesOf(keys)
	switch {
	case chain == nil:
		have.harm = "has no chain"
	case nfrule.Unhooked(chain) != "" && len(rules) == 0:
		return foreigner("chain %s %s", nfrule.Chain, nfrule.Unhooked(chain))
	case nfrule.Unhooked(chain) != "":
		have.harm = "chain " + nfrule.Unhooked(chain)
	case t.Flags != 0:
		have.harm = "is dormant"
	case have.harm != "":
	case len(rules) != len(want):
		have.harm = fmt.Sprintf("holds %d rules, want %d", len(rules), len(want))
	}
	for i, r := range rules {
		if have.harm != "" {
			break
		}
		if text, _ := nfrule.CommentOf(r); text != want[i].Comment || !nfrule.Same(r.Exprs, want[i].Exprs) {
			have.harm = fmt.Sprintf("rule %d (%s) is not as we made it", i+1, text)
			break
		}
		for _, e := range r.Exprs {
			if n, ok := e.(*expr.Counter); ok {
				have.counters[of[i]] = append(have.counters[of[i]], *n)
			}
		}
	}
	for _, s := range have.sets {
		if err := b.read(ctx, s); err != nil {
			return nil, fmt.Errorf("%s: set %s: read: %w", name, s.nft.Name, err)
		}
	}
	return have, nil
}

// A dump passes over elements while the kernel's hash grows or shrinks, which it does in the background after many of them
// came or went: a set that shows fewer than it must hold is read again.
const (
	dumps    = 6
	dumpTick = 20 * time.Millisecond
)

// read fills in a set's elements.
func (b *Backend) read(ctx context.Context, s *set) error {
	for attempt := 1; ; attempt++ {
		now := b.ends.Now(time.Now())
		s.ends = make(map[element]uint32)
		if known := b.sets[s.key]; known != nil {
			s.ends = make(map[element]uint32, len(known.ends))
		}
		var odd error
		err := b.dump(ctx, s.nft.Name, func(key []byte, left uint32) {
			var e element
			if len(key) != s.key.width() {
				odd = fmt.Errorf("an element of %d bytes", len(key))
				return
			}
			copy(e[:], key)
			end := uint32(0)
			if left != 0 {
				end = now + left
			}
			s.ends[e] = end
		})
		if err := cmp.Or(err, odd); err != nil {
			return err
		}
		least := 0
		if known := b.sets[s.key]; known != nil {
			least = known.alive(now)
		}
		if len(s.ends) >= least || attempt == dumps {
			return nil
		}
		select {
		case <-time.After(dumpTick):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// alive counts the elements that cannot have run out.
func (s *set) alive(now uint32) (n int) {
	for _, end := range s.ends {
		if end == 0 || end > now+2 {
			n++
		}
	}
	return n
}

func unsupported(err error) error {
	return &firewall.UnsupportedError{What: "nftables", Hint: "load the kernel module nf_tables, or write backend: ipset or firewalld", Err: err}
}

// tx is one transaction, and what it makes of our knowledge once it is through.
type tx struct {
	b     *Backend
	conn  *nftables.Conn
	busy  bool            // it holds any message
	sets  map[setKey]*set // as they will stand
	moved bool            // sets came or went: the rules are to be written
	gone  []*set
	done  []func() // after the commit
}

func (b *Backend) begin(ctx context.Context, lists ...map[setKey]map[element]uint32) (*tx, error) {
	n := 0
	for _, l := range lists {
		for _, s := range l {
			n += len(s)
		}
	}
	for _, s := range b.sets {
		n += len(s.ends) // may have to go
	}
	c, err := nfrule.Open(ctx, min(messageRoom+3*n*elementRoom, b.room))
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", b.name(), err)
	}
	t := &tx{b: b, conn: c, sets: maps.Clone(b.sets)}
	if t.sets == nil {
		t.sets = make(map[setKey]*set)
	}
	return t, nil
}

// anew begins with an empty table.
func (t *tx) anew() {
	t.conn.AddTable(t.b.table) // adding what exists is no error, deleting what does not is one
	t.conn.DelTable(t.b.table)
	t.conn.AddTable(t.b.table)
	nfrule.NewChain(t.conn, t.b.table)
	t.sets = make(map[setKey]*set)
	t.busy, t.moved = true, true
}

// set finds or makes a set.
func (t *tx) set(k setKey) *set {
	if s := t.sets[k]; s != nil {
		return s
	}
	s := &set{key: k, nft: t.b.newSet(k), ends: make(map[element]uint32)}
	t.conn.AddSet(s.nft, nil) // its errors are about anonymous and concatenated sets
	t.sets[k] = s
	t.busy, t.moved = true, true
	return s
}

// want makes a set hold what l says; have is what it holds now, nil where it does not stand.
func (t *tx) want(k setKey, have *set, l map[element]uint32, ch *firewall.Change) {
	if have == nil {
		delete(t.sets, k)
		s := t.set(k)
		s.ends = l
		t.add(s, l)
		ch.Added += len(l)
		return
	}
	t.sets[k] = have
	now := t.b.ends.Now(time.Now())
	next := make(map[element]uint32, len(l))
	fresh, stale, gone := make(map[element]uint32), make(map[element]uint32), make(map[element]uint32)
	for e, end := range l {
		old, ok := have.ends[e]
		switch {
		case !ok:
			fresh[e] = end
		case outdated(old, end, now):
			stale[e] = end
		default:
			end = old
		}
		next[e] = end
	}
	for e := range have.ends {
		if _, ok := l[e]; !ok {
			gone[e] = 0
		}
	}
	t.add(have, fresh)
	t.remove(have, gone)
	t.remove(have, stale)
	t.add(have, stale)
	t.done = append(t.done, func() { have.ends = next })
	ch.Added += len(fresh)
	ch.Refreshed += len(stale)
	ch.Removed += len(gone)
}

// outdated tells whether the kernel's end is to be set anew. One that is cut to the longest time is left until half of it
// is over, or every Reconcile would set it.
func outdated(have, want, now uint32) bool {
	switch {
	case have == 0 || want == 0:
		return have != want
	case int64(want)-int64(now) >= int64(longest/time.Second):
		return int64(have)-int64(now) < int64(longest/time.Second/2)
	}
	return max(have, want)-min(have, want) > slack
}

// put adds elements to a set, with new ends where they are in it; fresh says that the set is new.
func (t *tx) put(k setKey, l map[element]uint32) (fresh bool) {
	fresh = t.sets[k] == nil
	s := t.set(k)
	known := make(map[element]uint32)
	for e, end := range l {
		if _, ok := s.ends[e]; ok {
			known[e] = end
		}
	}
	t.remove(s, known) // before Linux 6.12 an end stays as it is
	t.add(s, l)
	t.done = append(t.done, func() { maps.Copy(s.ends, l) })
	return fresh
}

// take removes elements from a set, those that are in it.
func (t *tx) take(k setKey, l map[element]uint32) {
	s := t.sets[k]
	if s == nil {
		return
	}
	known := make(map[element]uint32)
	for e := range l {
		if _, ok := s.ends[e]; ok {
			known[e] = 0
		}
	}
	t.remove(s, known)
	t.done = append(t.done, func() {
		for e := range known {
			delete(s.ends, e)
		}
	})
}

// drop takes a whole set away.
func (t *tx) drop(s *set) {
	delete(t.sets, s.key)
	t.gone = append(t.gone, s)
	t.moved = true
}

func (t *tx) add(s *set, l map[element]uint32) {
	now := time.Now()
	t.each(s, l, t.conn.SetAddElements, func(x *nftables.SetElement, end uint32) {
		x.Timeout = time.Duration(t.b.ends.Left(end, now)) * time.Second
	})
}

// remove takes out elements which are in the set, or were a moment ago: removing what has run out would undo the whole
// transaction, so each is put in before. No packet sees that.
func (t *tx) remove(s *set, l map[element]uint32) {
	t.each(s, l, t.conn.SetAddElements, func(*nftables.SetElement, uint32) {})
	t.each(s, l, t.conn.SetDeleteElements, func(*nftables.SetElement, uint32) {})
}

func (t *tx) each(s *set, l map[element]uint32, do func(*nftables.Set, []nftables.SetElement) error, shape func(*nftables.SetElement, uint32)) {
	batch := make([]nftables.SetElement, 0, min(len(l), perMessage))
	flush := func() {
		if len(batch) > 0 {
			do(s.nft, batch) // its errors are about anonymous sets and odd keys
			t.busy = true
			batch = batch[:0]
		}
	}
	for e, end := range l {
		x := nftables.SetElement{Key: append([]byte(nil), e[:s.key.width()]...)}
		shape(&x, end)
		if batch = append(batch, x); len(batch) == perMessage {
			flush()
		}
	}
	flush()
}

// rules writes the rules anew where sets came or went. What they have counted goes on.
func (t *tx) rules(have *standing) {
	if !t.moved {
		return
	}
	t.busy = true
	chain := &nftables.Chain{Name: nfrule.Chain, Table: t.b.table}
	t.conn.FlushChain(chain)
	for _, s := range t.gone {
		t.conn.DelSet(s.nft)
	}
	rules, of := t.b.rulesOf(slices.Collect(maps.Keys(t.sets)))
	nth := make(map[setKey]int)
	for i, r := range rules {
		k := of[i]
		if old := have.counters[k]; nth[k] < len(old) {
			for _, e := range r.Exprs {
				if n, ok := e.(*expr.Counter); ok {
					*n = old[nth[k]]
				}
			}
		}
		nth[k]++
		r.Add(t.conn, chain)
	}
}

// commit sends the transaction and learns whether anybody else made one since: base is the generation that it was made up
// at, 0 for what we knew.
func (t *tx) commit(ctx context.Context, base uint32) error {
	b := t.b
	if base == 0 {
		base = b.gen
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := t.conn.Flush()
	switch {
	case errors.Is(err, unix.EOPNOTSUPP) && b.block == "reject":
		return &firewall.UnsupportedError{What: "reject at prerouting", Hint: "write block: drop, or use Linux 5.9 or newer", Err: err}
	case errors.Is(err, unix.EOPNOTSUPP):
		return unsupported(err)
	case err != nil:
		return fmt.Errorf("table %s: write: %w", b.name(), err)
	}
	for _, f := range t.done {
		f()
	}
	b.sets = t.sets
	if t.busy && base != 0 {
		base++
	}
	b.gen = 0
	gen, err := nfrule.Generation(ctx)
	if err == nil && gen == base {
		b.gen = gen
	}
	return err
}
