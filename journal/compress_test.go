package journal

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"
)

// A value of 200 MiB is a few KiB in the file. Reading its beginning costs what the beginning costs.
func TestInflateBomb(t *testing.T) {
	const size, want = 200 << 20, 4096
	// A frame whose window is the whole value, as encoders of a whole value write it: header, then blocks of one byte repeated.
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0}
	frame = binary.LittleEndian.AppendUint64(frame, size)
	for n := 0; n < size; n += 128 << 10 {
		h := uint32(128<<10)<<3 | 1<<1 // RLE
		if n+128<<10 >= size {
			h |= 1
		}
		frame = append(frame, byte(h), byte(h>>8), byte(h>>16), 'a')
	}
	// The same in LZ4's form: one byte, and a match of all the rest.
	lz4 := append(binary.LittleEndian.AppendUint64(nil, size), 0x1f, 'a', 1, 0)
	lz4 = append(lz4, bytes.Repeat([]byte{255}, size/255)...)
	lz4 = append(lz4, 0)
	for _, c := range []struct {
		name  string
		flags byte
		data  []byte
	}{{"zstd", compressedZSTD, frame}, {"lz4", compressedLZ4, lz4}} {
		var z inflater
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := z.inflate(c.flags, c.data, want)
		runtime.ReadMemStats(&after)
		if err != nil || !bytes.Equal(got, bytes.Repeat([]byte{'a'}, want)) {
			t.Errorf("%s: %d bytes, %v", c.name, len(got), err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
			t.Errorf("%s: %d bytes of memory for %d bytes of a value", c.name, used, want)
		}
		if got, err = z.inflate(c.flags, c.data, 1<<30); err != nil || len(got) != maxInflate {
			t.Errorf("%s: %d bytes of all, %v; want %d", c.name, len(got), err, maxInflate)
		}
	}
}
