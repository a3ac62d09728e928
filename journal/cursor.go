package journal

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// ID128 is a 128-bit id as systemd uses them for machines, boots, sequence numbers and files.
type ID128 [16]byte

// String returns 32 lower-case hex digits.
func (id ID128) String() string { return hex.EncodeToString(id[:]) }

// ParseID128 reads 32 hex digits. The dashes of a UUID are allowed, as in sd_id128_from_string.
func ParseID128(s string) (ID128, error) {
	var id ID128
	h := s
	if len(h) == 36 && h[8] == '-' && h[13] == '-' && h[18] == '-' && h[23] == '-' {
		h = h[:8] + h[9:13] + h[14:18] + h[19:23] + h[24:]
	}
	if len(h) != 32 {
		return id, fmt.Errorf("%q is not a 128-bit id: expected 32 hex digits", clip(s))
	}
	if _, err := hex.Decode(id[:], []byte(h)); err != nil {
		return ID128{}, fmt.Errorf("%q is not a 128-bit id: expected 32 hex digits", clip(s))
	}
	return id, nil
}

// Parts is a set of parts of a Cursor.
type Parts uint8

// The parts of a cursor, in the order of libsystemd's text.
const (
	HasSeqnumID  Parts = 1 << iota // s=
	HasSeqnum                      // i=
	HasBootID                      // b=
	HasMonotonic                   // m=
	HasRealtime                    // t=
	HasXorHash                     // x=

	HasAll = HasSeqnumID | HasSeqnum | HasBootID | HasMonotonic | HasRealtime | HasXorHash
)

// partKeys are the keys of the parts in a cursor's text.
const partKeys = "sibmtx"

// Cursor identifies one entry of a journal. It stays valid when files are rotated, and in a copy of the journal. Its text format is
// libsystemd's, so journalctl --cursor and --after-cursor accept it.
type Cursor struct {
	SeqnumID  ID128  // id of the journald that assigns the sequence numbers, across all its files
	Seqnum    uint64 // from 1
	BootID    ID128
	Monotonic uint64 // µs since the boot BootID
	Realtime  uint64 // µs since 1970, UTC: when journald received the entry
	XorHash   uint64 // XOR of the hashes of the entry's fields
	Set       Parts  // which of these are set
}

// ParseCursor reads the text of a cursor. It may be partial, but must identify a position: by a sequence number with its id, a monotonic
// time with its boot, or a realtime.
func ParseCursor(s string) (Cursor, error) {
	var c Cursor
	for w := range strings.SplitSeq(s, ";") {
		key, val, ok := strings.Cut(w, "=")
		if !ok || len(key) != 1 {
			return Cursor{}, fmt.Errorf("cursor %q: %q is not KEY=VALUE", clip(s), clip(w))
		}
		i := strings.IndexByte(partKeys, key[0])
		if i < 0 {
			continue // libsystemd ignores unknown keys as well
		}
		if err := c.parse(1<<i, val, 16); err != nil {
			return Cursor{}, fmt.Errorf("cursor %q: %s=: %w", clip(s), key, err)
		}
	}
	if err := c.check(); err != nil {
		return Cursor{}, err
	}
	return c, nil
}

// check returns an error if the cursor does not identify a position.
func (c Cursor) check() error {
	if !c.findable() {
		return fmt.Errorf("cursor %q does not identify a position: it needs s= and i=, b= and m=, or t=", c.String())
	}
	return nil
}

// parse sets one part from its text; numbers are in the given base.
func (c *Cursor) parse(p Parts, s string, base int) (err error) {
	if id := c.id(p); id != nil {
		*id, err = ParseID128(s)
	} else {
		*c.number(p), err = parseNumber(s, base)
	}
	c.Set |= p
	return err
}

// id returns a pointer to a part that is an id; nil for other parts.
func (c *Cursor) id(p Parts) *ID128 {
	switch p {
	case HasSeqnumID:
		return &c.SeqnumID
	case HasBootID:
		return &c.BootID
	}
	return nil
}

// number returns a pointer to a part that is a number.
func (c *Cursor) number(p Parts) *uint64 {
	switch p {
	case HasSeqnum:
		return &c.Seqnum
	case HasMonotonic:
		return &c.Monotonic
	case HasRealtime:
		return &c.Realtime
	}
	return &c.XorHash
}

// String returns libsystemd's text of the parts that are set; empty if none is.
func (c Cursor) String() string { return string(c.Append(nil)) }

// Append appends the cursor's text to b.
func (c Cursor) Append(b []byte) []byte {
	start := len(b)
	for i := range len(partKeys) {
		p := Parts(1) << i
		if c.Set&p == 0 {
			continue
		}
		if len(b) > start {
			b = append(b, ';')
		}
		b = append(b, partKeys[i], '=')
		if id := c.id(p); id != nil {
			b = hex.AppendEncode(b, id[:])
		} else {
			b = strconv.AppendUint(b, *c.number(p), 16)
		}
	}
	return b
}

// IsZero reports whether no part is set.
func (c Cursor) IsZero() bool { return c.Set == 0 }

// Names reports whether c identifies full: every part that is set in c has the same value in full.
func (c Cursor) Names(full Cursor) bool {
	if c.Set&^full.Set != 0 {
		return false
	}
	return (c.Set&HasSeqnumID == 0 || c.SeqnumID == full.SeqnumID) &&
		(c.Set&HasSeqnum == 0 || c.Seqnum == full.Seqnum) &&
		(c.Set&HasBootID == 0 || c.BootID == full.BootID) &&
		(c.Set&HasMonotonic == 0 || c.Monotonic == full.Monotonic) &&
		(c.Set&HasRealtime == 0 || c.Realtime == full.Realtime) &&
		(c.Set&HasXorHash == 0 || c.XorHash == full.XorHash)
}

func (c Cursor) hasSeqnum() bool { return c.Set&(HasSeqnumID|HasSeqnum) == HasSeqnumID|HasSeqnum }
func (c Cursor) hasMonotonic() bool {
	return c.Set&(HasBootID|HasMonotonic) == HasBootID|HasMonotonic
}
func (c Cursor) hasRealtime() bool { return c.Set&HasRealtime != 0 }
func (c Cursor) findable() bool    { return c.hasSeqnum() || c.hasMonotonic() || c.hasRealtime() }

func parseNumber(s string, base int) (uint64, error) {
	v, err := strconv.ParseUint(s, base, 64)
	if err != nil {
		kind := "decimal"
		if base == 16 {
			kind = "hexadecimal"
		}
		return 0, fmt.Errorf("%q is not a %s number of 64 bits", clip(s), kind)
	}
	return v, nil
}

// clip shortens untrusted text for an error message.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
