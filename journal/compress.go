package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz/lzma"
)

// maxInflate is the limit of an inflated value, in bytes. journald accepts values of 768 MiB from any local user (DATA_SIZE_MAX), and
// 700 MiB of zeros take 60 KiB in the file.
const maxInflate = 64 << 20

// inflater inflates the beginnings of compressed values into one buffer. Whatever size a value claims, memory is limited to the number of
// bytes requested plus a block of 128 KiB.
type inflater struct {
	buf  []byte
	zstd *zstd.Decoder
	zhdr [6]byte
	zsrc zstdSource
}

var errCompressed = errors.New("compressed value cannot be inflated")

// inflate returns the first max bytes of a compressed payload, or all of it if it is shorter. They are valid until the next call.
func (z *inflater) inflate(flags byte, p []byte, max int) ([]byte, error) {
	if max > maxInflate {
		max = maxInflate
	}
	if cap(z.buf) > 1<<20 && max <= 1<<20 {
		z.buf = nil // release the memory of a single large value
	}
	switch flags & compressedAny {
	case compressedXZ:
		return z.xz(p, max)
	case compressedLZ4:
		return z.lz4(p, max)
	case compressedZSTD:
		return z.zst(p, max)
	}
	return nil, fmt.Errorf("%w: compression flags %#x", errCompressed, flags&compressedAny)
}

// fill reads up to max bytes into the buffer. Values are usually far shorter than max, so the buffer grows as needed.
func (z *inflater) fill(r io.Reader, max int) error {
	z.buf = z.buf[:0]
	for len(z.buf) < max {
		if len(z.buf) == cap(z.buf) {
			grown := make([]byte, len(z.buf), min(max, 2*cap(z.buf)+4096))
			copy(grown, z.buf)
			z.buf = grown
		}
		n, err := r.Read(z.buf[len(z.buf):min(cap(z.buf), max)])
		z.buf = z.buf[:len(z.buf)+n]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errCompressed, err)
		}
	}
	return nil
}

// zst inflates a zstd frame (RFC 8878). journald's encoder sets "single segment": the window is the whole value, and a decoder would
// allocate all of it in advance. Matches in the first max bytes cannot reach back further than max bytes, so the frame header is replaced
// by one with a window of that size.
func (z *inflater) zst(p []byte, max int) ([]byte, error) {
	if len(p) < 6 || binary.LittleEndian.Uint32(p) != 0xFD2FB528 {
		return nil, fmt.Errorf("%w: not a zstd frame", errCompressed)
	}
	fhd := p[4]
	single := fhd&0x20 != 0
	n := 5
	var window uint64
	if !single {
		exp, mant := p[5]>>3, uint64(p[5]&7)
		window = 1<<(10+exp) + mant<<(10+exp)/8
		n++
	}
	if fhd&0x0b != 0 { // a dictionary, or the reserved bit; journald uses neither
		return nil, fmt.Errorf("%w: zstd frame header %#x", errCompressed, fhd)
	}
	fcs := [4]int{0, 2, 4, 8}[fhd>>6]
	if fcs == 0 && single {
		fcs = 1
	}
	if len(p) < n+fcs {
		return nil, fmt.Errorf("%w: zstd frame header truncated", errCompressed)
	}
	if single {
		var b [8]byte
		copy(b[:], p[n:n+fcs])
		window = binary.LittleEndian.Uint64(b[:])
		if fcs == 2 {
			window += 256
		}
	}
	n += fcs
	need := min(window, uint64(max)+128<<10) // a block is inflated whole and has at most 128 KiB
	exp := 10                                // minimum: 1 KiB
	for uint64(1)<<exp < need {
		exp++
	}
	copy(z.zhdr[:4], p[:4])
	z.zhdr[4] = fhd & 0x04 // the checksum flag; neither single segment nor content size
	z.zhdr[5] = byte(exp-10) << 3
	z.zsrc.parts = [2][]byte{z.zhdr[:], p[n:]}
	var err error
	if z.zstd == nil {
		z.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(2*maxInflate), zstd.WithDecoderMaxMemory(2*maxInflate))
		if err != nil {
			return nil, err
		}
	}
	if err = z.zstd.Reset(&z.zsrc); err == nil {
		err = z.fill(z.zstd, max)
	} else {
		err = fmt.Errorf("%w: %w", errCompressed, err)
	}
	if need > 1<<20 {
		z.zstd.Close() // and with it a large window
		z.zstd = nil
	} else {
		_ = z.zstd.Reset(nil) // releases the file's mapping
	}
	z.zsrc.parts = [2][]byte{}
	return z.buf, err
}

// zstdSource reads two slices one after the other.
type zstdSource struct{ parts [2][]byte }

func (s *zstdSource) Read(p []byte) (int, error) {
	for i := range s.parts {
		if len(s.parts[i]) > 0 {
			n := copy(p, s.parts[i])
			s.parts[i] = s.parts[i][n:]
			return n, nil
		}
	}
	return 0, io.EOF
}

// xz inflates an .xz stream of one block with the LZMA2 filter, as journald writes it (https://tukaani.org/xz/xz-file-format.txt).
func (z *inflater) xz(p []byte, limit int) ([]byte, error) {
	bad := func(what string) ([]byte, error) { return nil, fmt.Errorf("%w: xz: %s", errCompressed, what) }
	if len(p) < 24 || string(p[:6]) != "\xfd7zXZ\x00" {
		return bad("no stream header")
	}
	b := p[12:]
	size := (int(b[0]) + 1) * 4
	if b[0] == 0 || len(b) < size {
		return bad("no block")
	}
	flags := b[1]
	if flags&0x3f != 0 {
		return bad("other filters than LZMA2")
	}
	i := 2
	for _, f := range []byte{0x40, 0x80} { // compressed and uncompressed size, in 7 bits a byte
		if flags&f == 0 {
			continue
		}
		for i < size && b[i]&0x80 != 0 {
			i++
		}
		i++
	}
	if i+3 > size || b[i] != 0x21 || b[i+1] != 1 || b[i+2] > 40 {
		return bad("other filters than LZMA2")
	}
	dict := uint64(2|b[i+2]&1) << (b[i+2]/2 + 11)
	if dict > maxInflate {
		return bad(fmt.Sprintf("a dictionary of %d bytes", dict))
	}
	// As with zstd, matches in the first limit bytes cannot reach back further, and a chunk has at most 2 MiB.
	dict = max(min(dict, uint64(limit)+2<<20), lzma.MinDictCap)
	r, err := lzma.Reader2Config{DictCap: int(dict)}.NewReader2(bytes.NewReader(b[size:]))
	if err != nil {
		return bad(err.Error())
	}
	err = z.fill(r, limit)
	return z.buf, err
}

// lz4 inflates journald's form of LZ4: the size in 8 bytes, then one raw block
// (https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md). It is written by hand because the library inflates whole blocks only.
func (z *inflater) lz4(p []byte, max int) ([]byte, error) {
	bad := func(at int) ([]byte, error) { return nil, fmt.Errorf("%w: lz4: byte %d", errCompressed, at) }
	if len(p) < 9 {
		return bad(0)
	}
	size := binary.LittleEndian.Uint64(p)
	if uint64(max) > size {
		max = int(size)
	}
	out := z.buf[:0]
	length := func(i, n int) (int, int) {
		if n != 15 {
			return i, n
		}
		for i < len(p) {
			c := p[i]
			i++
			if n += int(c); c != 255 || n > 2*maxInflate {
				break
			}
		}
		return i, n
	}
	for i := 8; len(out) < max; {
		if i >= len(p) {
			return bad(i)
		}
		token := p[i]
		i++
		var n int
		if i, n = length(i, int(token>>4)); n > len(p)-i {
			return bad(i)
		}
		out = append(out, p[i:i+min(n, max-len(out))]...)
		if i += n; i == len(p) || len(out) == max {
			break // the last sequence has no match
		}
		if len(p)-i < 2 {
			return bad(i)
		}
		back := int(binary.LittleEndian.Uint16(p[i:]))
		i += 2
		if i, n = length(i, int(token&15)); back == 0 || back > len(out) {
			return bad(i)
		}
		for n = min(n+4, max-len(out)); n > 0; { // may overlap itself
			k := min(n, back)
			out = append(out, out[len(out)-back:len(out)-back+k]...)
			n -= k
		}
	}
	z.buf = out
	if len(out) < max {
		return bad(len(p))
	}
	return out, nil
}
