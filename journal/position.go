package journal

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
)

// Position is how far a reader has read: the entry it returned last, and the last entry of each origin (see origin). One journald writes
// the files of an origin one after another, so only entries after the origin's last entry have not been read.
//
// An entry counts as read if it does not come after the origin's last entry: by sequence number if the same journald numbered both, or by
// the monotonic clock within one boot. So copies are recognized, also in files that appear later and across restarts: journalctl --flush
// copies entries from /run to /var, and systemd 254 and later renumbers them. Entries of the running boot are new to a position from an
// earlier boot, and entries of earlier boots are old to a position from the running one. In all other cases, the realtime clock decides.
//
// Only root can mislead this comparison: journald stamps both clocks, and only root can set the realtime clock or put files into the
// journal's folders. If root sets the clock back between two boots that both end before the reader returns, entries of the second boot are
// taken for old ones.
type Position struct {
	last  Cursor
	marks map[string]Cursor // by origin
}

// maxMarks bounds a position: the number of origins in a followed folder has no limit.
const maxMarks = 256

// ParsePosition reads what String wrote. The text of a single cursor is a position as well.
func ParsePosition(s string) (p Position, err error) {
	first, rest, _ := strings.Cut(s, " ")
	if p.last, err = ParseCursor(first); err != nil {
		return Position{}, err
	}
	for w := range strings.FieldsSeq(rest) {
		key, text, _ := strings.Cut(w, ":")
		key, err := url.QueryUnescape(key)
		c := p.last
		if err == nil && text != "" {
			c, err = ParseCursor(text)
		}
		if err != nil {
			return Position{}, fmt.Errorf("position %q: %w", clip(w), err)
		}
		if p.marks == nil {
			p.marks = map[string]Cursor{}
		}
		p.marks[key] = c
	}
	return p, nil
}

// String returns the last cursor, followed by ORIGIN:CURSOR for each origin; a CURSOR that equals the last one is left out.
func (p Position) String() string {
	b := p.last.Append(nil)
	for _, k := range slices.Sorted(maps.Keys(p.marks)) {
		b = append(append(append(b, ' '), url.QueryEscape(k)...), ':')
		if c := p.marks[k]; c != p.last {
			b = c.Append(b)
		}
	}
	return string(b)
}

// IsZero reports whether nothing was read.
func (p Position) IsZero() bool { return p.last.IsZero() }

// Last is the cursor of the entry that was read last.
func (p Position) Last() Cursor { return p.last }

// mark returns the position up to which an origin was read; own is false if nothing of the origin was read yet.
func (p *Position) mark(origin string) (c Cursor, own bool) {
	if c, own = p.marks[origin]; own {
		return c, true
	}
	return p.last, false
}

// reached reports whether an entry of an origin does not come after a mark. own says that the mark is of the same origin.
func reached(m *Cursor, own bool, origin string, l *location) bool {
	sameBoot := m.hasMonotonic() && l.BootID == m.BootID
	switch {
	case m.hasSeqnum() && l.SeqnumID == m.SeqnumID:
		if l.Seqnum <= m.Seqnum {
			return true
		}
		return sameBoot && ordered(origin) && copied(l, m)
	case sameBoot:
		return l.Monotonic <= m.Monotonic
	case m.hasMonotonic() && l.BootID == currentBoot():
		return false
	case own && m.hasMonotonic() && m.BootID == currentBoot():
		return true // its boot is over, and was before this one
	}
	return m.hasRealtime() && l.Realtime <= m.Realtime
}

// currentBoot is CurrentBoot, read once. A service with ProcSubset=pid cannot read the id from /proc; its unit sets BootVariable.
var currentBoot = sync.OnceValue(func() ID128 {
	id, err := ParseID128(os.Getenv(BootVariable))
	if err != nil {
		b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
		id, _ = ParseID128(strings.TrimSpace(string(b)))
	}
	return id
})

// BootVariable is the environment variable in which a unit passes the id of the running boot (%b in systemd.unit(5)).
const BootVariable = "BAILIFF_BOOT_ID"

// CurrentBoot is the id of the running boot, or zero if it is not known.
func CurrentBoot() ID128 { return currentBoot() }

// mark is the position up to which a reader has read one origin.
type mark struct {
	origin  string
	ordered bool   // see ordered
	cursor  Cursor // from SeekPosition, until loc is set
	loc     location
	f       *file // file of loc; nil: loc is not set
}

// known returns the position up to which the origin was read, and whether anything of it was.
func (m *mark) known() (Cursor, bool) {
	if m.f != nil {
		return m.loc.Cursor, true
	}
	return m.cursor, !m.cursor.IsZero()
}

// repeats reports whether an entry of file f was returned before, from another file of the same origin.
func (m *mark) repeats(f *file, l *location) bool {
	return m.f != nil && m.f != f && m.ordered && l.BootID == m.loc.BootID && copied(l, &m.loc.Cursor)
}

// copied reports whether an entry of an ordered origin was stored before the entry c or is a copy of it, whatever its sequence number: a
// copy is renumbered, but keeps its clocks. Two equal entries within one microsecond differ only in the number, but the second directly
// follows the first, unlike a copy.
func copied(l *location, c *Cursor) bool {
	if l.Monotonic != c.Monotonic {
		return l.Monotonic < c.Monotonic
	}
	next := c.hasSeqnum() && l.SeqnumID == c.SeqnumID && l.Seqnum == c.Seqnum+1
	return l.Realtime == c.Realtime && l.XorHash == c.XorHash && !next
}

// saveMark updates the mark of the current entry's origin. It is called only when the mark is needed, since most entries come from one file.
func (r *Reader) saveMark() {
	if r.have && r.curFile != nil {
		r.curFile.mark.loc, r.curFile.mark.f = r.loc, r.curFile
	}
}

// Position returns how far the reader has read going down.
func (r *Reader) Position() Position {
	r.saveMark()
	p := Position{last: r.start.cursor, marks: map[string]Cursor{}}
	if r.have {
		p.last = r.loc.Cursor
	}
	for _, m := range r.marks {
		if c, ok := m.known(); ok {
			p.marks[m.origin] = c
		}
	}
	if len(p.marks) > maxMarks {
		keys := slices.SortedFunc(maps.Keys(p.marks), func(a, b string) int { return cmp.Compare(p.marks[b].Realtime, p.marks[a].Realtime) })
		for _, k := range keys[maxMarks:] {
			delete(p.marks, k)
		}
	}
	return p
}

// SeekPosition goes to a position: Next returns the entries that had not been read there, including those in files that appear later.
func (r *Reader) SeekPosition(p Position) {
	r.seek(target{atPosition, p.last})
	for key, c := range p.marks {
		r.markOf(key).cursor = c
	}
}

// Reached reports whether the current entry had been read at a position.
func (r *Reader) Reached(p Position) bool {
	if r.curFile == nil {
		return false
	}
	m, own := p.mark(r.curFile.mark.origin)
	return reached(&m, own, r.curFile.mark.origin, &r.loc)
}

// markOf returns the mark of an origin.
func (r *Reader) markOf(origin string) *mark {
	m := r.marks[origin]
	if m == nil {
		m = &mark{origin: origin, ordered: ordered(origin)}
		r.marks[origin] = m
	}
	return m
}
