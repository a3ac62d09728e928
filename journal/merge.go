package journal

import (
	"errors"
	"os"
	"slices"
)

// How a step works: each file's next matching entry is its candidate, and the step returns the candidate that comes first. Files whose
// headers show that all their entries come later are not mapped until they are needed.

// move makes one step.
func (r *Reader) move(d direction) bool {
	if d != r.dir {
		r.dir, r.dirty = d, true
	}
	if r.dirty {
		r.restart()
	}
	r.began = true
	if f := r.leader; f != nil {
		if r.leaderSteps++; r.leaderSteps < maxLeaderSteps && r.ready(f) && (r.runnerUp == nil || r.before(&f.cand, &r.runnerUp.cand)) &&
			(len(r.deferred) == 0 || d.before(f.cand.Seqnum, r.deferredSeqnum)) {
			return r.give(f)
		}
		if r.leaderSteps >= maxLeaderSteps && r.watcher.changed() {
			r.refresh() // files may appear and be vacuumed while old ones are read
		}
	}
	for {
		if f := r.pick(); f != nil {
			return r.give(f)
		}
		if r.dir == up || !r.watcher.changed() || !r.refresh() {
			return false
		}
	}
}

// maxLeaderSteps is the number of entries read from one file before the others are looked at again.
const maxLeaderSteps = 1024

// restart marks all files to be positioned again, after a seek or a change of direction.
func (r *Reader) restart() {
	r.saveMark()
	if r.have {
		r.start = target{atLocation, r.loc.Cursor}
	}
	r.active, r.deferred = r.active[:0], r.deferred[:0]
	for _, f := range r.files {
		if !f.dead {
			f.state, f.late, f.deferred = unplaced, false, false
			r.active = append(r.active, f)
		}
	}
	for _, g := range r.groups {
		g.state, g.late = unplaced, false
		r.active = append(r.active, g)
	}
	r.dirty, r.leader, r.runnerUp, r.curFile = false, nil, nil, nil
}

// give makes a file's candidate the current entry.
func (r *Reader) give(f *file) bool {
	f.state = taken
	if f != r.curFile {
		r.saveMark()
	}
	r.loc, r.curFile, r.have = f.cand, f, true
	r.start.kind = atLocation
	r.steps++
	if f.via != nil {
		r.entry = *f.via.proc.x.Entry()
		return true
	}
	if r.entry.all != r.own { // the last one came from journalctl
		r.entry = Entry{values: r.values.out, all: r.own}
	}
	r.load(f, &r.loc, &r.entry, &r.values)
	return true
}

// pick returns the file with the next entry, in state ready; nil if there is none.
func (r *Reader) pick() *file {
	r.saveMark()
	r.leader, r.runnerUp, r.leaderSteps = nil, nil, 0
	for i := 0; i < len(r.active); i++ {
		f := r.active[i]
		if f.state == unplaced && !f.deferred && f.m == nil && f.via == nil {
			switch r.headerRange(f) {
			case noneAhead:
				r.retire(f)
			case allAhead:
				f.deferred = true
				r.deferred = append(r.deferred, f)
				r.active[i] = r.active[len(r.active)-1]
				r.active = r.active[:len(r.active)-1]
				i--
				continue
			}
		}
		if r.parsing = f; f.state == atEnd && r.dir == down && f.via == nil && f.more(&r.z) {
			f.state = taken
		}
		r.ready(f)
	}
	r.active = slices.DeleteFunc(r.active, func(f *file) bool { return f.state == done })

	var best *file
	for {
		best = r.pickDeferred(r.first(nil))
		if best == nil {
			return nil
		}
		if r.dir == up || !best.mark.repeats(best, &best.cand) {
			break
		}
		best.state = taken // a copy with new numbers
		r.ready(best)
	}
	for _, f := range r.active { // the same entry in other files is returned once
		for f != best && f.state == ready && compare(&f.cand, &best.cand) == 0 {
			f.state = taken
			r.ready(f)
		}
	}
	r.leader, r.runnerUp = best, r.first(best)
	return best
}

// first is the active file whose candidate comes first, except other.
func (r *Reader) first(other *file) (best *file) {
	for _, f := range r.active {
		if f != other && f.state == ready && (best == nil || r.before(&f.cand, &best.cand)) {
			best = f
		}
	}
	return best
}

// pickDeferred makes the deferred files active that may hold an entry before the best one so far, and returns the new best.
func (r *Reader) pickDeferred(best *file) *file {
	for {
		i := r.nextDeferred(best)
		if i < 0 {
			return best
		}
		f := r.deferred[i]
		r.deferred = slices.Delete(r.deferred, i, i+1)
		r.active = append(r.active, f)
		if r.ready(f) && (best == nil || r.before(&f.cand, &best.cand)) {
			best = f
		}
	}
}

// nextDeferred returns the index of a deferred file that may hold an entry before the best one so far; -1 if there is none. In that case
// the sequence numbers of all deferred files come after the best's, and r.deferredSeqnum is set to the first of them.
func (r *Reader) nextDeferred(best *file) int {
	next := -1
	for i, f := range r.deferred {
		k := f.firstSeqnum(r.dir)
		switch {
		case best != nil && (f.seqnumID != best.seqnumID || !r.dir.before(best.cand.Seqnum, k)):
			return i
		case best == nil && next >= 0 && f.seqnumID != r.deferred[next].seqnumID:
		case next < 0 || r.dir.before(k, r.deferredSeqnum):
			next, r.deferredSeqnum = i, k
		}
	}
	if best != nil {
		return -1
	}
	return next
}

// firstSeqnum is the sequence number that a reader going in direction d meets first in a file.
func (f *file) firstSeqnum(d direction) uint64 {
	if d == down {
		return f.ends.headSeq
	}
	return f.ends.tailSeq
}

// before reports whether a comes before b in the reader's direction.
func (r *Reader) before(a, b *location) bool {
	if r.dir == down {
		return compare(a, b) < 0
	}
	return compare(a, b) > 0
}

// entryRange says where the entries of a file lie relative to the target of a step.
type entryRange uint8

const (
	rangeUnknown entryRange = iota // the file must be mapped to find out
	noneAhead                      // no entry lies in the direction of the step
	allAhead                       // all entries lie in the direction of the step
)

// headerRange determines from the header of a file where its entries lie, so that the file need not be mapped.
func (r *Reader) headerRange(f *file) entryRange {
	e := &f.ends
	if e.n == 0 || f.late || !e.archived && r.dir == up {
		return rangeUnknown
	}
	c := &r.start.cursor
	if r.start.kind == atPosition {
		if m, ok := f.mark.known(); ok {
			c = &m
		}
	}
	var before, after bool // the whole file lies before the target, or after it
	switch {
	case r.start.kind == atHead:
		after = true
	case r.start.kind == atTail:
		before = e.archived
	case c.hasSeqnum() && c.SeqnumID == f.seqnumID:
		before, after = e.archived && e.tailSeq < c.Seqnum, e.headSeq > c.Seqnum
	case !c.hasMonotonic() && c.hasRealtime():
		before, after = e.archived && e.tailReal < c.Realtime, e.headReal > c.Realtime
	}
	switch {
	case before && r.dir == down, after && r.dir == up:
		return noneAhead
	case before, after:
		return allAhead
	}
	return rangeUnknown
}

// ready makes a file's next entry its candidate, and reports whether there is one.
func (r *Reader) ready(f *file) bool {
	r.parsing = f
	if f.via != nil {
		return r.readyVia(f)
	}
	for {
		switch f.state {
		case ready:
			return true
		case atEnd, done:
			return false
		case unplaced:
			if !r.startFile(f) {
				return false
			}
		}
		if f.mustRemap {
			if err := r.prepare(f); err != nil {
				r.fail(f, err)
				return false
			}
		}
		// In this order: a file that is archived now will not grow any more.
		archived := f.archived()
		o, err := f.seek(f.from, r.dir, &r.z)
		if err != nil {
			r.fail(f, err)
			return false
		}
		if f.syncErr != nil {
			r.damaged(f, f.syncErr)
			f.syncErr = nil
		}
		if o != 0 {
			err = f.entry(o, &f.cand)
		}
		if o == 0 || o >= f.limit && r.dir == down { // nothing is written beyond the limit yet
			if f.word(0) == 0 && r.vacuumed(f) {
				return false
			}
			if err != nil {
				r.damaged(f, err)
			}
			f.state, f.readTo = atEnd, f.ends.tailSeq
			if archived || r.dir == up {
				r.retire(f)
			}
			return false
		}
		f.from = o + uint64(r.dir)
		if err != nil {
			r.damaged(f, err)
			continue
		}
		f.readTo = f.cand.Seqnum
		if !r.isNew(f) {
			continue
		}
		f.state = ready
		return true
	}
}

// isNew reports whether a candidate comes after the entries read before the seek.
func (r *Reader) isNew(f *file) bool {
	if r.start.kind == atCursor && r.start.cursor.Names(f.cand.Cursor) {
		return false
	}
	if f.checked {
		return true
	}
	c, ok := r.passed(f)
	if _, own := f.mark.known(); ok && reached(&c, own, f.mark.origin, &f.cand) {
		return false
	}
	f.checked = true // later entries of the file are newer
	return true
}

// passed returns the position up to which the entries of a file count as read, for a file that appeared late or for any file after
// SeekPosition. It returns false for other files.
func (r *Reader) passed(f *file) (Cursor, bool) {
	if r.dir == up || !f.late && r.sought.kind != atPosition {
		return Cursor{}, false
	}
	if c, ok := f.mark.known(); ok {
		return c, true
	}
	switch r.sought.kind {
	case atPosition, atCursor:
		return r.sought.cursor, true
	case atRealtime: // the entry of exactly this time is wanted
		return Cursor{Realtime: r.sought.cursor.Realtime - 1, Set: HasRealtime}, r.sought.cursor.Realtime > 0
	}
	return Cursor{}, false
}

// retire marks a file as read to its end. The file stays known, so that it is not taken for a new one.
func (r *Reader) retire(f *file) {
	f.state = done
	if f.m != nil {
		f.loadEnds(f.m)
		f.ends.archived = f.archived()
	}
	if f.ends.archived && !r.found.holds(f) {
		f.close()
	}
}

// startFile finds where in a file to begin.
func (r *Reader) startFile(f *file) bool {
	if err := r.prepare(f); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			f.state = done // vacuumed after it was read
		} else {
			r.fail(f, err)
		}
		return false
	}
	err := f.lookup(&r.z)
	if err != nil {
		r.fail(f, err)
		return false
	}
	f.checked = false
	passed, known := r.passed(f)
	switch kind := r.start.kind; {
	case r.dir == down && f.deferred, kind == atHead, f.late && !known:
		f.from = 0
	case known && (f.late || !r.have):
		f.from, err = f.unreadFrom(&passed, &r.z)
	case kind == atTail || f.deferred:
		f.from = 1 << 63
		if r.dir == down { // after what is there now
			f.from, err = f.all.seekLE(f, f.from)
			f.from++
		}
	default:
		f.from, err = f.seekTo(&f.all, &r.start.cursor, r.dir, &r.z)
		for err == nil && r.have {
			var o uint64
			var l location
			if o, err = f.seek(f.from, r.dir, &r.z); err != nil || o == 0 || o >= f.limit || f.entry(o, &l) == nil && r.before(&r.loc, &l) {
				break
			}
			f.from = o + uint64(r.dir)
		}
	}
	if err != nil {
		r.fail(f, err)
		return false
	}
	f.state, f.deferred = taken, false
	return true
}

// prepare opens, maps and indexes a file.
func (r *Reader) prepare(f *file) error {
	if f.m != nil && !f.mustRemap {
		return nil
	}
	if err := f.reopen(); err != nil {
		return err
	}
	if err := f.remap(); err != nil {
		return err
	}
	if f.hashOffset > f.limit || f.hashItems > (f.limit-f.hashOffset)/16 {
		return f.corrupt(hdrDataHashOffset, "the data hash table lies outside the file")
	}
	f.all.reset()
	f.setMatches(r.o.Matches)
	f.mustRemap = false
	return f.lookup(&r.z)
}
