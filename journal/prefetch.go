package journal

import "encoding/binary"

// prefetchCount is the number of entries prefetched at once. A processor keeps a dozen or two loads in flight.
const prefetchCount = 16

// prefetchState is what a file needs to prefetch.
type prefetchState struct {
	upTo       uint64 // offset of the last entry prefetched
	cache      []slot // of the reader
	manyFields bool   // more than one field is read
	sum        byte   // result of the loads, so that the compiler keeps them
}

// prefetch loads the entries from index i on, and the data objects written with each of them, into the processor's cache. Each entry
// lies on a page of its own, so a reader waits for memory several times per entry; the loads here do not wait for one another. Nothing
// is concluded from what they read, and they stay within the file.
//
// BenchmarkReader/MESSAGE reads 4.3 M entries per CPU-second with it and 2.4 M without; the fields of the daemon 2.2 M and 1.4 M.
//
// Addresses are collected first and loaded afterwards, in loops of a few instructions: a processor starts loads ahead of time only as
// far as it can see.
func (l *list) prefetch(f *file, i uint64) {
	const (
		line        = 64   // bytes per load
		near        = 4096 // objects written with an entry lie within this distance before it
		ownObjects  = 3    // objects written with an entry, usually: message and timestamps
		mostObjects = 6    // objects loaded per entry when several fields are read
		usualItems  = 20   // items in a usual entry
	)
	width := uint64(16)
	if f.compact {
		width = 4
	}
	m, reach := f.m[:f.limit], entryItems+usualItems*width
	var entries [prefetchCount]uint64
	n := 0
	for k := range uint64(prefetchCount) {
		if i+k >= l.n {
			break
		}
		o, err := l.at(f, i+k)
		if err != nil || o >= f.limit || f.limit-o < reach {
			break
		}
		if o > f.prefetch.upTo { // otherwise loaded for another list
			entries[n] = o
			n++
		}
	}
	if n == 0 {
		return
	}
	f.prefetch.upTo = entries[n-1]
	var sum byte
	for at := uint64(0); at < reach; at += line {
		for _, o := range entries[:n] {
			sum += m[o+at]
		}
	}
	for _, o := range entries[:n] {
		sum += m[o+reach-1]
	}
	var objects [prefetchCount * mostObjects]uint64
	found := 0
	for _, o := range entries[:n] {
		end := o + binary.LittleEndian.Uint64(m[o+objSize:])
		if end < o+reach/2 || end > f.limit {
			continue
		}
		first, most := end-ownObjects*width, found+mostObjects
		if f.prefetch.manyFields {
			first = o + entryItems
		}
		for at := end - width; at >= first && found < most; at -= width {
			d := item(m[at:], int(width))
			if d < o && (o-d < near || f.prefetch.manyFields && !f.prefetch.cache[slotOf(f, d)].is(f, d)) {
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
	f.prefetch.sum = sum
}
