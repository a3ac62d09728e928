package journal

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// ID128 is a 128-bit identifier as systemd has them: machine, boot, sequence-number and file ids.
type ID128 [16]byte

// String gives 32 lower-case hex digits.
func (id ID128) String() string { return hex.EncodeToString(id[:]) }

// ParseID128 reads 32 hex digits; the dashes of a UUID are allowed, as sd_id128_from_string allows them.
func ParseID128(s string) (ID128, error) {
	var id ID128
	h := s
	if len(h) == 36 && h[8] == '-' && h[13] == '-' && h[18] == '-' && h[23] == '-' {
		h = h[:8] + h[9:13] + h[14:18] + h[19:23] + h[24:]
	}
	if len(h) != 32 {
		return id, fmt.Errorf("%q is not a 128-bit id: want 32 hex digits", clip(s))
	}
	if _, err := hex.Decode(id[:], []byte(h)); err != nil {
		return ID128{}, fmt.Errorf("%q is not a 128-bit id: want 32 hex digits", clip(s))
	}
	return id, nil
}

// Parts says which parts of a Cursor are set.
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

// Cursor names one entry of a journal, in a way that outlives rotation and can be found in another copy of the journal too.
// Its text is libsystemd's, so journalctl --cursor and --after-cursor take it.
type Cursor struct {
	SeqnumID  ID128  // who counts the sequence numbers: one journald over all its files
	Seqnum    uint64 // from 1
	BootID    ID128
	Monotonic uint64 // µs since BootID's boot
	Realtime  uint64 // µs since 1970, UTC
	XorHash   uint64 // XOR of the hashes of the entry's fields
	Set       Parts  // which of these are set
}

// ParseCursor reads the text of a cursor. A partial one will do, as long as it says where to look: a sequence number with its
// id, a monotonic time with its boot, or a realtime.
func ParseCursor(s string) (Cursor, error) {
	var c Cursor
	for w := range strings.SplitSeq(s, ";") {
		key, val, ok := strings.Cut(w, "=")
		if !ok || len(key) != 1 {
			return Cursor{}, fmt.Errorf("cursor %q: %q is not KEY=VALUE", clip(s), clip(w))
		}
		var err error
		switch key[0] {
		case 's':
			c.SeqnumID, err = ParseID128(val)
			c.Set |= HasSeqnumID
		case 'i':
			c.Seqnum, err = parseHex(val)
			c.Set |= HasSeqnum
		case 'b':
			c.BootID, err = ParseID128(val)
			c.Set |= HasBootID
		case 'm':
			c.Monotonic, err = parseHex(val)
			c.Set |= HasMonotonic
		case 't':
			c.Realtime, err = parseHex(val)
			c.Set |= HasRealtime
		case 'x':
			c.XorHash, err = parseHex(val)
			c.Set |= HasXorHash
		default:
			// libsystemd passes over keys that it does not know, and so leaves itself room for more.
		}
		if err != nil {
			return Cursor{}, fmt.Errorf("cursor %q: %s=: %w", clip(s), key, err)
		}
	}
	if !c.findable() {
		return Cursor{}, fmt.Errorf("cursor %q says no place: want s= and i=, b= and m=, or t=", clip(s))
	}
	return c, nil
}

// String gives libsystemd's text of the parts that are set, the empty text for a Cursor without any.
func (c Cursor) String() string { return string(c.Append(nil)) }

// Append appends the cursor's text to b.
func (c Cursor) Append(b []byte) []byte {
	start := len(b)
	key := func(p Parts, k byte) bool {
		if c.Set&p == 0 {
			return false
		}
		if len(b) > start {
			b = append(b, ';')
		}
		b = append(b, k, '=')
		return true
	}
	if key(HasSeqnumID, 's') {
		b = hex.AppendEncode(b, c.SeqnumID[:])
	}
	if key(HasSeqnum, 'i') {
		b = strconv.AppendUint(b, c.Seqnum, 16)
	}
	if key(HasBootID, 'b') {
		b = hex.AppendEncode(b, c.BootID[:])
	}
	if key(HasMonotonic, 'm') {
		b = strconv.AppendUint(b, c.Monotonic, 16)
	}
	if key(HasRealtime, 't') {
		b = strconv.AppendUint(b, c.Realtime, 16)
	}
	if key(HasXorHash, 'x') {
		b = strconv.AppendUint(b, c.XorHash, 16)
	}
	return b
}

// IsZero says whether no part is set.
func (c Cursor) IsZero() bool { return c.Set == 0 }

// Names says whether every part that is set in c has the same value in full.
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

func parseHex(s string) (uint64, error) {
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a hex number of 64 bits", clip(s))
	}
	return v, nil
}

// clip keeps what somebody else wrote from flooding an error text.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
