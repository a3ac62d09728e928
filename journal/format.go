package journal

import (
	"encoding/binary"
	"fmt"
)

// The layout of journal files, from systemd.io/JOURNAL_FILE_FORMAT and journal-def.h of systemd 258. All integers are little
// endian, and all objects begin at multiples of 8.

// signature begins every journal file.
const signature = "LPKSHHRH"

// Offsets in the header.
const (
	hdrIncompatible      = 12
	hdrState             = 16
	hdrFileID            = 24
	hdrSeqnumID          = 72
	hdrHeaderSize        = 88
	hdrArenaSize         = 96
	hdrDataHashOffset    = 104 // of the table's items, not of its object
	hdrDataHashSize      = 112 // in bytes
	hdrTailObjectOffset  = 136
	hdrNEntries          = 152
	hdrTailEntrySeqnum   = 160
	hdrHeadEntrySeqnum   = 168
	hdrEntryArrayOffset  = 176
	hdrHeadEntryRealtime = 184
	hdrTailEntryRealtime = 192
	hdrMinSize           = 208 // before systemd 187; 272 since 254
)

// Incompatible flags: a reader that does not know one cannot read the file.
const (
	incompatXZ    = 1 << 0
	incompatLZ4   = 1 << 1
	incompatKeyed = 1 << 2 // hash tables use siphash24, keyed with the file id (246)
	incompatZSTD  = 1 << 3 // 246

	incompatCompact = 1 << 4 // 32-bit offsets in entries and entry arrays (252)

	incompatKnown = incompatXZ | incompatLZ4 | incompatKeyed | incompatZSTD | incompatCompact
)

// Compatible flags (SEALED, SEALED_CONTINUOUS, TAIL_ENTRY_BOOT_ID) can be ignored: this reader skips tag objects and does not use the
// boot id in the header.

// States of a file.
const (
	stateArchived = 2 // final; 0 is offline, 1 online
)

// Object types.
const (
	objData       = 1
	objEntry      = 3
	objEntryArray = 6
)

// Offsets in objects. An object begins with its type (1 byte), flags (1 byte), 6 reserved bytes, and its size (8 bytes), which includes
// these 16 bytes.
const (
	objSize = 8

	dataHash          = 16
	dataNextHash      = 24
	dataEntryOffset   = 40 // the first entry that refers to it
	dataEntryArray    = 48 // the others
	dataNEntries      = 56
	dataPayload       = 64
	dataPayloadPacked = 72 // in compact files, after two more 32-bit words

	entrySeqnum    = 16
	entryRealtime  = 24
	entryMonotonic = 32
	entryBootID    = 40
	entryXorHash   = 56
	entryItems     = 64 // {offset, hash} of 8 bytes each; compact files: an offset of 4 bytes

	arrayNext  = 16
	arrayItems = 24 // offsets of 8 bytes; compact files: 4 bytes
)

// Object flags of data objects: the payload is compressed.
const (
	compressedXZ   = 1 << 0
	compressedLZ4  = 1 << 1
	compressedZSTD = 1 << 2
	compressedAny  = compressedXZ | compressedLZ4 | compressedZSTD
)

// UnknownFlagsError says that a file was written by a newer systemd. Its journalctl can read the file.
type UnknownFlagsError struct {
	Path  string
	Flags uint32 // the unknown incompatible flags
}

func (e *UnknownFlagsError) Error() string {
	return fmt.Sprintf("%s: written by a newer systemd (unknown incompatible flags %#x)", e.Path, e.Flags)
}

// CorruptError says where a file is damaged, and how.
type CorruptError struct {
	Path   string
	Offset uint64 // in the file
	What   string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s: offset %d: %s", e.Path, e.Offset, e.What)
}

// header is the part of a file header that never changes.
type header struct {
	fileID, seqnumID      ID128
	size                  uint64 // of the header: objects begin here
	hashOffset, hashItems uint64
	keyed, compact        bool
}

// parseHeader reads the first bytes of a file. errIncomplete means that journald has not finished writing them.
func parseHeader(path string, b []byte) (header, error) {
	var h header
	if len(b) < hdrMinSize {
		return h, errIncomplete
	}
	le := binary.LittleEndian
	if string(b[:8]) != signature {
		if string(b[:8]) == "\x00\x00\x00\x00\x00\x00\x00\x00" {
			return h, errIncomplete
		}
		return h, &CorruptError{path, 0, "not a journal file: the signature is missing"}
	}
	flags := le.Uint32(b[hdrIncompatible:])
	if u := flags &^ incompatKnown; u != 0 {
		return h, &UnknownFlagsError{path, u}
	}
	h.keyed, h.compact = flags&incompatKeyed != 0, flags&incompatCompact != 0
	if s := b[hdrState]; s > stateArchived {
		return h, &CorruptError{path, hdrState, fmt.Sprintf("unknown state %d", s)}
	}
	copy(h.fileID[:], b[hdrFileID:])
	copy(h.seqnumID[:], b[hdrSeqnumID:])
	h.size = le.Uint64(b[hdrHeaderSize:])
	if h.size < hdrMinSize || h.size%8 != 0 || h.size > 1<<16 {
		return h, &CorruptError{path, hdrHeaderSize, fmt.Sprintf("header size %d", h.size)}
	}
	h.hashOffset = le.Uint64(b[hdrDataHashOffset:])
	n := le.Uint64(b[hdrDataHashSize:])
	if h.hashOffset == 0 && n == 0 {
		return h, errIncomplete // the tables are created right after the header
	}
	if h.hashOffset%8 != 0 || h.hashOffset < h.size || n < 16 || n%16 != 0 {
		return h, &CorruptError{path, hdrDataHashOffset, fmt.Sprintf("data hash table of %d bytes at %d", n, h.hashOffset)}
	}
	h.hashItems = n / 16
	return h, nil
}
