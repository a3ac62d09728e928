package journal

import "encoding/binary"

// list is a list of entries in the order in which they were written: of the whole file, or of one data object. It is kept in the
// file as a chain of arrays, each about twice as long as the one before, so that any index is found in a few steps.
//
// The items of a list grow towards the end of the file; that is checked where it is relied on.
type list struct {
	payload []byte // FIELD=value; nil: all entries of the file
	given   bool   // each of its entries is one to give: worth warming up
	data    uint64 // the data object; 0: none yet
	n       uint64 // how many entries, when looked last
	blocks  []block
	b       int    // the block used last
	i       uint64 // where cur stands
	cur     uint64 // the entry found last; 0: none
}

// block is one array of the chain.
type block struct {
	items        uint64 // where its items begin in the file
	first, count uint64 // which of the list's entries they are
}

// count loads how many entries the list has now. More cannot be than fit in the file.
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

// at gives the offset of the i-th entry, 0 when it is not there (yet).
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

// ahead is how many entries are touched at once. A processor keeps a dozen or two of loads under way.
const ahead = 16

// warm touches the entries from i on, which are read next, and the data objects that were written with each. Entries lie on pages of their
// own, so that a reader waits for memory several times at each; the loads here do not wait for one another. It is a hint
// and no more: nothing is concluded from what it reads, and it reads nothing outside the file.
//
// Addresses are gathered first and loaded then, in loops of a few instructions: a processor looks that far ahead for loads
// that it can begin, and no further.
func (l *list) warm(f *file, i uint64) {
	const (
		line = 64   // bytes that are loaded at once
		page = 4096 // what an entry brought with it lies closer than that
		own  = 3    // such objects, about: its message, its times
		more = 6    // objects that are not at hand, where several fields are wanted: its process as well
		some = 20   // items of an entry, about
	)
	width := uint64(16)
	if f.compact {
		width = 4
	}
	m, reach := f.m[:f.limit], entryItems+some*width
	var entries [ahead]uint64
	n := 0
	for k := range uint64(ahead) {
		if i+k >= l.n {
			break
		}
		o, err := l.at(f, i+k)
		if err != nil || o >= f.limit || f.limit-o < reach {
			break
		}
		if o > f.warmed { // else it is in another list, too
			entries[n] = o
			n++
		}
	}
	if n == 0 {
		return
	}
	f.warmed = entries[n-1]
	var sum byte
	for at := uint64(0); at < reach; at += line {
		for _, o := range entries[:n] {
			sum += m[o+at]
		}
	}
	for _, o := range entries[:n] {
		sum += m[o+reach-1]
	}
	var objects [ahead * more]uint64
	found := 0
	for _, o := range entries[:n] {
		end := o + binary.LittleEndian.Uint64(m[o+objSize:])
		if end < o+reach/2 || end > f.limit {
			continue
		}
		first, most := end-own*width, found+more
		if f.several {
			first = o + entryItems
		}
		for at := end - width; at >= first && found < most; at -= width {
			d := item(m[at:], int(width))
			if d < o && (o-d < page || f.several && !f.cache[slotOf(f, d)].is(f, d)) {
				objects[found] = d
				found++
			}
		}
	}
	for _, d := range objects[:found] {
		sum += m[d]
	}
	for _, d := range objects[:found] {
		sum += m[d+line]
	}
	for _, d := range objects[:found] {
		sum += m[d+2*line]
	}
	f.warmth = sum
}

// seekBlock makes l.b the block that holds item i, following the chain as far as needed.
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
			return false, f.corrupt(prev, "a chain of entry arrays that goes back to %d", next)
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
			return false, f.corrupt(next, "an entry array without room")
		}
		l.blocks = append(l.blocks, block{next + arrayItems, first, count})
		if i-first < count {
			l.b = len(l.blocks) - 1
			return true, nil
		}
	}
}

// reset forgets all but what the list is of.
func (l *list) reset() { *l = list{payload: l.payload, given: l.given, blocks: l.blocks[:0]} }

// seekGE gives the first entry at p or behind it, 0 when there is none yet.
func (l *list) seekGE(f *file, p uint64) (uint64, error) {
	if l.payload != nil && l.data == 0 {
		return 0, nil
	}
	lo := uint64(0) // all before it are < p
	if l.cur != 0 && l.cur < p {
		lo = l.i + 1
		if lo < l.n { // the common case: the one after the last
			if l.given && lo%ahead == 0 {
				l.warm(f, lo)
			}
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
	// Gallop from lo, then halve: what is sought is usually near.
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
		if o == 0 || o >= p { // 0: counted already, but not yet written
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

// seekLE gives the last entry at p or before it, 0 when there is none.
func (l *list) seekLE(f *file, p uint64) (uint64, error) {
	if l.payload != nil && l.data == 0 {
		return 0, nil
	}
	if l.cur > p && l.i > 0 { // the common case: the one before the last
		o, err := l.at(f, l.i-1)
		if err != nil {
			return 0, err
		}
		if o <= p && o != 0 {
			l.i, l.cur = l.i-1, o
			return o, nil
		}
	}
	lo, hi := uint64(0), l.count(f) // the first behind p is in [lo, hi]
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

// search gives the index of the first entry of the list for which before is false; entries that cannot be read count as
// behind. n: there is none.
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
