package state

import (
	"cmp"
	"iter"
	"math/rand/v2"
	"slices"
	"sort"

	"bailiff/policy/prefix"
)

// table keeps rows sorted by key, in blocks of up to blockRows. It is not a Go map: with 100,000 bans and their history in maps, the idle
// daemon takes 57 MiB instead of less than 48, and must sort them for each save. Rows have no pointers, so the garbage collector does not
// scan them.
type table[V any] struct {
	blocks [][]row[V] // none is empty
	n      int
}

type row[V any] struct {
	key rowKey
	v   V
}

// rowKey is a prefix and, for a ban, the jail.
type rowKey struct {
	prefix prefix.Key
	jail   uint16
}

func (k *rowKey) compare(o *rowKey) int {
	if c := k.prefix.Compare(&o.prefix); c != 0 {
		return c
	}
	return cmp.Compare(k.jail, o.jail)
}

// blockRows is how many rows a block has at most: an insertion moves 12 KiB.
const blockRows = 256

// find returns the block and the index in it where a key is or would be.
func (t *table[V]) find(k rowKey) (b, i int, ok bool) {
	b = sort.Search(len(t.blocks), func(b int) bool { return t.blocks[b][0].key.compare(&k) > 0 }) - 1
	if b < 0 {
		return 0, 0, false
	}
	rows := t.blocks[b]
	i = sort.Search(len(rows), func(i int) bool { return rows[i].key.compare(&k) >= 0 })
	return b, i, i < len(rows) && rows[i].key == k
}

// get returns the value of a key, or nil. It is valid until the table changes.
func (t *table[V]) get(k rowKey) *V {
	if b, i, ok := t.find(k); ok {
		return &t.blocks[b][i].v
	}
	return nil
}

// set sets the value of a key, and reports whether the key is new.
func (t *table[V]) set(k rowKey, v V) (added bool) {
	b, i, ok := t.find(k)
	if ok {
		t.blocks[b][i].v = v
		return false
	}
	t.n++
	switch {
	case len(t.blocks) == 0:
		t.blocks = append(t.blocks, nil)
	case len(t.blocks[b]) < blockRows:
	case b == len(t.blocks)-1 && i == blockRows: // appended in order, as when a state file is read: blocks are left full
		t.blocks = append(t.blocks, nil)
		b, i = b+1, 0
	default:
		const half = blockRows / 2
		rows := t.blocks[b]
		t.blocks = slices.Insert(t.blocks, b+1, slices.Clone(rows[half:]))
		t.blocks[b] = slices.Clone(rows[:half])
		if i > half {
			b, i = b+1, i-half
		}
	}
	rows := t.blocks[b]
	if len(rows) == cap(rows) { // append would double the capacity; growing by an eighth wastes less
		rows = append(make([]row[V], 0, min(blockRows, len(rows)+len(rows)/8+4)), rows...)
	}
	t.blocks[b] = slices.Insert(rows, i, row[V]{k, v})
	return true
}

// delete removes a key.
func (t *table[V]) delete(k rowKey) bool {
	b, i, ok := t.find(k)
	if !ok {
		return false
	}
	t.n--
	t.blocks[b] = slices.Delete(t.blocks[b], i, i+1)
	if next := b + 1; next < len(t.blocks) && len(t.blocks[b])+len(t.blocks[next]) <= blockRows/2 {
		t.blocks[b] = slices.Concat(t.blocks[b], t.blocks[next])
		t.blocks = slices.Delete(t.blocks, next, next+1)
	} else if len(t.blocks[b]) == 0 {
		t.blocks = slices.Delete(t.blocks, b, b+1)
	}
	if t.n == 0 {
		t.blocks = nil // release the memory after a flood
	}
	return true
}

// deleteFunc removes the rows for which gone is true.
func (t *table[V]) deleteFunc(gone func(rowKey, *V) bool) {
	var keys []rowKey
	for k, v := range t.all() {
		if gone(k, v) {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		t.delete(k)
	}
}

// evict makes room: it removes the row with the smallest value of old from a block picked at random, so attackers who fill the table cannot
// choose what is forgotten.
func (t *table[V]) evict(old func(*V) int64) {
	rows := t.blocks[rand.IntN(len(t.blocks))]
	oldest := 0
	for i := range rows {
		if old(&rows[i].v) < old(&rows[oldest].v) {
			oldest = i
		}
	}
	t.delete(rows[oldest].key)
}

// from yields the rows from a key on, in order. The table must not be changed meanwhile.
func (t *table[V]) from(k rowKey) iter.Seq2[rowKey, *V] {
	return func(yield func(rowKey, *V) bool) {
		b, i, _ := t.find(k)
		for ; b < len(t.blocks); b, i = b+1, 0 {
			for ; i < len(t.blocks[b]); i++ {
				if r := &t.blocks[b][i]; !yield(r.key, &r.v) {
					return
				}
			}
		}
	}
}

// all yields all rows in order. The table must not be changed meanwhile.
func (t *table[V]) all() iter.Seq2[rowKey, *V] { return t.from(rowKey{}) }
