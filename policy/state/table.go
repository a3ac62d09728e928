package state

import (
	"cmp"
	"math/bits"
	"slices"
	"unsafe"
)

// table keeps rows sorted by key, in blocks of up to blockRows: whoever wants all of them in order (a snapshot, the
// firewall's wanted set, a page of a listing) need not sort, and an insertion moves half a block at most. Rows have no
// pointers, so the garbage collector does not look at them.
type table[V any] struct {
	blocks []block[V]
	n      int
	hand   int // which block nextBlock gives
}

type block[V any] struct {
	first key   // of rows: finding a block touches only the headers, which lie side by side
	due   int64 // not before that moment is any of the rows over; what it means is the user's
	rows  []row[V]
}

type row[V any] struct {
	key key
	v   V
}

// blockRows is how many rows a block has at most: 12 KiB of bans, moved in 0.2 µs.
const blockRows = 256

// word is a number that rises with the key: its family and the upper half of its address. By it most of a search is done
// without jumps, half of which a processor would guess wrong, before keys as a whole are looked at.
func (k *key) word() uint64 {
	w := k.hi >> 1
	if k.v6 {
		w |= 1 << 63
	}
	return w
}

// seek finds where k stands or would stand: block b, row i.
func (t *table[V]) seek(k key) (b, i int, ok bool) {
	w := k.word()
	lo, n := 0, len(t.blocks) // the first block that begins at w or behind it is one of n from lo on, or behind them
	for n > 0 {
		half := (n + 1) / 2
		_, less := bits.Sub64(t.blocks[lo+half-1].first.word(), w, 0)
		lo += half & -int(less)
		n -= half
	}
	for hi := len(t.blocks); lo < hi && t.blocks[lo].first.word() == w; { // the first behind k
		if m := (lo + hi) / 2; t.blocks[m].first.compare(k) <= 0 {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo == 0 {
		return 0, 0, false
	}
	b = lo - 1
	rows := t.blocks[b].rows
	lo, n = 0, len(rows)
	for n > 0 {
		half := (n + 1) / 2
		_, less := bits.Sub64(rows[lo+half-1].key.word(), w, 0)
		lo += half & -int(less)
		n -= half
	}
	for hi := len(rows); lo < hi && rows[lo].key.word() == w; {
		if m := (lo + hi) / 2; rows[m].key.compare(k) < 0 {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return b, lo, lo < len(rows) && rows[lo].key == k
}

// get returns the value of a key, or nil. It is valid until the table changes.
func (t *table[V]) get(k key) *V {
	if b, i, ok := t.seek(k); ok {
		return &t.blocks[b].rows[i].v
	}
	return nil
}

// put returns the value of a key, made if need be, and the block that it is in. They are valid until the table changes.
func (t *table[V]) put(k key) (v *V, in *block[V], made bool) {
	b, i, ok := t.seek(k)
	if ok {
		return &t.blocks[b].rows[i].v, &t.blocks[b], false
	}
	if len(t.blocks) == 0 {
		t.blocks = append(t.blocks, block[V]{due: never})
	}
	x := &t.blocks[b]
	if len(x.rows) == blockRows {
		// In order, as a snapshot is read, blocks are left full; else they are cut in half.
		next := block[V]{due: never, rows: make([]row[V], 0, blockRows)}
		if b < len(t.blocks)-1 || i < blockRows {
			const half = blockRows / 2
			next = block[V]{first: x.rows[half].key, due: x.due, rows: slices.Clone(x.rows[half:])}
			x.rows = slices.Clone(x.rows[:half])
		}
		t.blocks = slices.Insert(t.blocks, b+1, next)
		if x = &t.blocks[b]; i > len(x.rows) || len(x.rows) == blockRows {
			i -= len(x.rows)
			x = &t.blocks[b+1]
		}
	}
	if len(x.rows) == cap(x.rows) {
		// append would double: an eighth more keeps what is not used small.
		rows := make([]row[V], len(x.rows), min(blockRows, len(x.rows)+len(x.rows)/8+4))
		copy(rows, x.rows)
		x.rows = rows
	}
	x.rows = slices.Insert(x.rows, i, row[V]{key: k})
	x.first = x.rows[0].key
	t.n++
	return &x.rows[i].v, x, true
}

// delete takes a key out.
func (t *table[V]) delete(k key) bool {
	b, i, ok := t.seek(k)
	if ok {
		t.blocks[b].rows = slices.Delete(t.blocks[b].rows, i, i+1)
		t.n--
		t.tidy(b)
	}
	return ok
}

// tidy puts block b in order after rows were taken out: an empty one goes, and two small neighbours become one.
func (t *table[V]) tidy(b int) {
	x := &t.blocks[b]
	for _, n := range []int{b + 1, b - 1} {
		if n < 0 || n == len(t.blocks) || len(x.rows)+len(t.blocks[n].rows) > blockRows/2 {
			continue
		}
		l := min(b, n)
		left, right := &t.blocks[l], &t.blocks[l+1]
		left.rows = slices.Concat(left.rows, right.rows)
		left.due = min(left.due, right.due)
		t.blocks = slices.Delete(t.blocks, l+1, l+2)
		b = l
		break
	}
	if x = &t.blocks[b]; len(x.rows) > 0 {
		x.first = x.rows[0].key
		return
	}
	t.blocks = slices.Delete(t.blocks, b, b+1)
	if len(t.blocks) == 0 {
		t.blocks = nil // after a storm the memory goes back
	}
}

// from goes through the rows from k on, in order.
func (t *table[V]) from(k key, yield func(key, *V) bool) bool {
	b, i, _ := t.seek(k)
	for ; b < len(t.blocks); b++ {
		rows := t.blocks[b].rows
		for ; i < len(rows); i++ {
			if !yield(rows[i].key, &rows[i].v) {
				return false
			}
		}
		i = 0
	}
	return true
}

// all goes through all rows in order.
func (t *table[V]) all(yield func(key, *V) bool) { t.from(key{}, yield) }

// trim takes the rows that are over out of a block and says which they were.
func (t *table[V]) trim(b int, over func(key, *V) bool) {
	x := &t.blocks[b]
	kept := 0
	for i := range x.rows {
		if !over(x.rows[i].key, &x.rows[i].v) {
			x.rows[kept] = x.rows[i]
			kept++
		}
	}
	if n := len(x.rows) - kept; n > 0 {
		x.rows = x.rows[:kept]
		t.n -= n
		t.tidy(b)
	}
}

// trimNext trims one block, each time another.
func (t *table[V]) trimNext(over func(key, *V) bool) {
	if len(t.blocks) == 0 {
		return
	}
	t.hand = (t.hand + 1) % len(t.blocks)
	t.trim(t.hand, over)
}

// evict takes out one row to make room: of a block picked by chance, the one that old gives the least for. Whoever
// fills the table cannot choose whom it forgets, and it costs no more than a block.
func (t *table[V]) evict(chance uint64, old func(*V) int64) key {
	b := int(chance % uint64(len(t.blocks)))
	rows := t.blocks[b].rows
	least := 0
	for i := range rows {
		if old(&rows[i].v) < old(&rows[least].v) {
			least = i
		}
	}
	k := rows[least].key
	t.delete(k)
	return k
}

// bytes is the memory that the table has taken.
func (t *table[V]) bytes() int {
	n := cap(t.blocks) * int(unsafe.Sizeof(block[V]{}))
	for i := range t.blocks {
		n += cap(t.blocks[i].rows) * int(unsafe.Sizeof(row[V]{}))
	}
	return n
}

// compare sorts IPv4 before IPv6, then by address, wide before narrow, then by jail.
func (k key) compare(o key) int {
	switch {
	case k.v6 != o.v6:
		return cmp.Compare(k.family(), o.family())
	case k.hi != o.hi:
		return cmp.Compare(k.hi, o.hi)
	case k.lo != o.lo:
		return cmp.Compare(k.lo, o.lo)
	case k.bits != o.bits:
		return cmp.Compare(k.bits, o.bits)
	}
	return cmp.Compare(k.jail, o.jail)
}
