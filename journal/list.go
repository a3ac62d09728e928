package journal

import "encoding/binary"

// list is a list of entries in the order in which they were written: of the whole file, or of one data object. The file stores it as a
// chain of arrays, each about twice as long as the previous one, so any index is found in a few steps.
//
// The offsets in a list are in ascending order. This is checked where it matters.
type list struct {
	payload []byte // FIELD=value; nil: all entries of the file
	data    uint64 // the data object; 0: none yet
	n       uint64 // number of entries when last counted
	blocks  []block
	b       int    // index of the block used last
	i       uint64 // index of cur
	cur     uint64 // offset of the entry found last; 0: none
}

// block is one array of the chain.
type block struct {
	items        uint64 // offset of its items
	first, count uint64 // indexes of its entries in the list
}

// count loads the number of entries in the list, at most what fits into the file.
func (l *list) count(f *file) uint64 {
	var n uint64
	switch {
	case l.payload == nil:
		n = f.word(hdrNEntries)
	case l.data != 0:
		n = f.word(l.data + dataNEntries)
	}
	if n != l.n {
		f.sync()
		l.n = min(n, f.limit/entryItems)
	}
	return l.n
}

// at returns the offset of the i-th entry, 0 if it is not written yet.
func (l *list) at(f *file, i uint64) (uint64, error) {
	if l.payload != nil {
		if i == 0 {
			return f.word(l.data + dataEntryOffset), nil
		}
		i--
	}
	if l.b >= len(l.blocks) || i < l.blocks[l.b].first || i-l.blocks[l.b].first >= l.blocks[l.b].count {
		ok, err := l.seekBlock(f, i)
		if !ok {
			return 0, err
		}
	}
	b := &l.blocks[l.b]
	k := i - b.first
	if f.compact {
		o := b.items + 4*k
		return uint64(binary.LittleEndian.Uint32(f.m[o : o+4])), nil
	}
	return f.word(b.items + 8*k), nil
}

// seekBlock makes l.b the block that holds item i. It follows the chain as far as needed.
func (l *list) seekBlock(f *file, i uint64) (bool, error) {
	for k := len(l.blocks) - 1; k >= 0; k-- {
		if b := &l.blocks[k]; i >= b.first {
			if i-b.first < b.count {
				l.b = k
				return true, nil
			}
			break
		}
	}
	for {
		var next, prev, first uint64
		if k := len(l.blocks); k == 0 {
			if l.payload == nil {
				next = f.word(hdrEntryArrayOffset)
			} else {
				next = f.word(l.data + dataEntryArray)
			}
		} else {
			last := &l.blocks[k-1]
			prev, first = last.items-arrayItems, last.first+last.count
			next = f.word(prev + arrayNext)
		}
		if next == 0 {
			return false, nil
		}
		if next <= prev {
			return false, f.corrupt(prev, "a chain of entry arrays goes back to %d", next)
		}
		size, err := f.object(next, objEntryArray, arrayItems)
		if err != nil {
			return false, err
		}
		width := uint64(8)
		if f.compact {
			width = 4
		}
		count := (size - arrayItems) / width
		if count == 0 {
			return false, f.corrupt(next, "an entry array has no room")
		}
		l.blocks = append(l.blocks, block{next + arrayItems, first, count})
		if i-first < count {
			l.b = len(l.blocks) - 1
			return true, nil
		}
	}
}

// reset forgets everything that was read of the list.
func (l *list) reset() {
	*l = list{payload: l.payload, blocks: l.blocks[:0]}
}

// seekGE returns the first entry at p or after it, 0 if there is none yet.
func (l *list) seekGE(f *file, p uint64) (uint64, error) {
	if l.payload != nil && l.data == 0 {
		return 0, nil
	}
	lo := uint64(0) // all items before lo are < p
	if l.cur != 0 && l.cur < p {
		lo = l.i + 1
		if lo < l.n { // the common case: the entry after the last one found
			o, err := l.at(f, lo)
			if err != nil {
				return 0, err
			}
			if o >= p {
				l.i, l.cur = lo, o
				return o, nil
			}
		}
	} else if l.cur >= p && l.cur != 0 {
		if l.i == 0 {
			return l.cur, nil
		}
		o, err := l.at(f, l.i-1)
		if err != nil {
			return 0, err
		}
		if o < p {
			return l.cur, nil
		}
	}
	n := l.count(f)
	// Double the step from lo, then halve: the entry is usually near.
	hi, step := lo, uint64(1)
	for hi < n {
		o, err := l.at(f, hi)
		if err != nil {
			return 0, err
		}
		if o == 0 || o >= p {
			break
		}
		lo = hi + 1
		hi += step
		step *= 2
	}
	hi = min(hi, n)
	for lo < hi {
		mid := lo + (hi-lo)/2
		o, err := l.at(f, mid)
		if err != nil {
			return 0, err
		}
		if o == 0 || o >= p { // 0: counted, but not written yet
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if lo >= n {
		return 0, nil
	}
	o, err := l.at(f, lo)
	if err != nil || o < p {
		return 0, err
	}
	l.i, l.cur = lo, o
	return o, nil
}

// seekLE returns the last entry at p or before it, 0 if there is none.
func (l *list) seekLE(f *file, p uint64) (uint64, error) {
	if l.payload != nil && l.data == 0 {
		return 0, nil
	}
	if l.cur > p && l.i > 0 { // the common case: the entry before the last one found
		o, err := l.at(f, l.i-1)
		if err != nil {
			return 0, err
		}
		if o <= p && o != 0 {
			l.i, l.cur = l.i-1, o
			return o, nil
		}
	}
	lo, hi := uint64(0), l.count(f) // the first after p is in [lo, hi]
	for lo < hi {
		mid := lo + (hi-lo)/2
		o, err := l.at(f, mid)
		if err != nil {
			return 0, err
		}
		if o == 0 || o > p {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if lo == 0 {
		return 0, nil
	}
	o, err := l.at(f, lo-1)
	if err != nil {
		return 0, err
	}
	l.i, l.cur = lo-1, o
	return o, nil
}

// search returns the index of the first entry for which before is false, n if there is none. Entries that cannot be read count as
// not before.
func (l *list) search(f *file, before func(*location) bool) (uint64, error) {
	if l.payload != nil && l.data == 0 {
		return 0, nil
	}
	var loc location
	lo, hi := uint64(0), l.count(f)
	for lo < hi {
		mid := lo + (hi-lo)/2
		o, err := l.at(f, mid)
		if err != nil {
			return 0, err
		}
		if o != 0 && f.entry(o, &loc) == nil && before(&loc) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, nil
}
