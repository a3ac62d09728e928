// Package journaltest makes real journal files for tests. Gen writes entries in the export format, Write makes systemd-journal-remote
// convert an export stream to files, Recompress changes such a file to a compressor that the installed systemd no longer writes, and
// Newer to the format of a later systemd. The package is for tests only and never reads the host's own journal.
//
// Start reading at Need and Write.
package journaltest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

// remote is the path on Debian, Fedora and Arch. By design it is not in PATH (systemd-journal-remote.service(8)).
const remote = "/usr/lib/systemd/systemd-journal-remote"

// Missing returns why journal files cannot be written on this host; "" if they can.
func Missing() string {
	if _, err := os.Stat(remote); err != nil {
		return fmt.Sprintf("systemd-journal-remote is not installed (%v): apt-get install systemd-journal-remote", err)
	}
	return ""
}

// Need skips the test if no files can be written. With CI=true it fails instead, since no test may be skipped there.
func Need(t testing.TB) {
	t.Helper()
	why := Missing()
	if why == "" {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// Journald listens at a socket in journald's place, until the test ends.
func Journald(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Receive calls f with each entry that comes in one datagram, until the socket is closed.
func Receive(c *net.UnixConn, f func(map[string]string)) {
	buf := make([]byte, 1<<20)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		m := map[string]string{}
		for rest := string(buf[:n]); rest != ""; {
			line, more, _ := strings.Cut(rest, "\n")
			rest = more
			if k, v, ok := strings.Cut(line, "="); ok {
				m[k] = v
			} else { // a value with newlines follows its length
				size := binary.LittleEndian.Uint64([]byte(rest[:8]))
				m[line], rest = rest[8:8+size], rest[8+size+1:]
			}
		}
		f(m)
	}
}

// Layout is the format of a file. The zero value is systemd's default: compact, keyed hash, zstd.
type Layout struct {
	Regular    bool // 64-bit offsets as before systemd 252
	Jenkins    bool // lookup3 hashes without a key, as before systemd 246
	Plain      bool // no compression
	Compressor Compressor
}

func (l Layout) String() string {
	s := "compact"
	if l.Regular {
		s = "regular"
	}
	if l.Jenkins {
		s += "-jenkins"
	}
	switch {
	case l.Plain:
		s += "-plain"
	case l.Compressor != "":
		s += "-" + string(l.Compressor)
	default:
		s += "-zstd"
	}
	return s
}

// Compressor is a compression of values in journal files. Empty is the default of systemd-journal-remote, zstd.
type Compressor string

// The compressors of the journal file format.
const (
	XZ   Compressor = "xz"
	LZ4  Compressor = "lz4"
	ZSTD Compressor = "zstd"
)

// Layouts are all formats that systemd 229 to 258 have written.
func Layouts() []Layout {
	return []Layout{
		{},
		{Plain: true},
		{Regular: true},
		{Regular: true, Jenkins: true, Plain: true},
		{Regular: true, Jenkins: true, Compressor: XZ},
		{Regular: true, Jenkins: true, Compressor: LZ4},
		{Regular: true, Compressor: LZ4},
		{Compressor: XZ},
		{Compressor: LZ4},
	}
}

// Write makes systemd-journal-remote write export text to path, which must end in .journal, and returns the paths of all files, oldest
// first. It rotates to NAME@….journal in the same folder when a hash table is three quarters full (about 70,000 entries).
func Write(t testing.TB, path string, l Layout, export io.WriterTo) []string {
	t.Helper()
	Need(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := Remote(path, l)
	cmd.Stdin = r
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	_, werr := export.WriteTo(w)
	w.Close()
	if err := cmd.Wait(); err != nil || werr != nil {
		t.Fatalf("%v: %v, %v: %s", cmd, err, werr, stderr.Bytes())
	}
	files := Files(path)
	if len(files) == 0 {
		t.Fatalf("%v wrote no file: %s", cmd, stderr.Bytes())
	}
	if l.Compressor != "" && !l.Plain {
		for _, f := range files {
			if _, err := Recompress(f, l.Compressor); err != nil {
				t.Fatal(err)
			}
		}
	}
	return files
}

// Start runs Remote with the default layout. end waits until everything is in the file; so does the end of the test.
func Start(t testing.TB, path string) (in io.Writer, end func()) {
	t.Helper()
	cmd := Remote(path, Layout{})
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	pipe, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		pipe.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, &stderr)
		}
	})
	t.Cleanup(end)
	return pipe, end
}

// Remote is the command that reads export text from its standard input and appends it to the file at path as it arrives. If the layout has
// a Compressor, the command writes without compression, for Recompress to add it.
func Remote(path string, l Layout) *exec.Cmd {
	yes := func(b bool) string {
		if b {
			return "yes"
		}
		return "no"
	}
	cmd := exec.Command(remote, "--output="+path, "--compress="+yes(!l.Plain && l.Compressor == ""), "-")
	cmd.Env = append(os.Environ(),
		"SYSTEMD_JOURNAL_COMPACT="+yes(!l.Regular),
		"SYSTEMD_JOURNAL_KEYED_HASH="+yes(!l.Jenkins),
		"SYSTEMD_LOG_LEVEL=warning")
	return cmd
}

// Files are the file at path and the files rotated from it, oldest first.
func Files(path string) []string {
	stem := path[:len(path)-len(filepath.Ext(path))]
	files, _ := filepath.Glob(stem + "@*.journal")
	sort.Slice(files, func(i, j int) bool { return head(files[i]) < head(files[j]) })
	if _, err := os.Stat(path); err == nil {
		files = append(files, path)
	}
	return files
}

// Offsets in the header and in objects: https://systemd.io/JOURNAL_FILE_FORMAT/
const (
	offIncompatible = 12
	offHeaderSize   = 88
	offTailObject   = 136
	offHeadSeqnum   = 168

	objectHeader   = 16
	objectData     = 1
	dataPayload    = 64
	dataCompact    = 72
	flagCompact    = 16
	minCompressed  = 512 // journald compresses values from this size on (DEFAULT_COMPRESS_THRESHOLD)
	maxObjectCount = 1 << 24
)

var flags = map[Compressor]struct{ file, object byte }{XZ: {1, 1}, LZ4: {2, 2}, ZSTD: {8, 4}}

func head(path string) uint64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	var b [8]byte
	if _, err := f.ReadAt(b[:], offHeadSeqnum); err != nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b[:])
}

// Recompress compresses the values of 512 bytes and more in an uncompressed file in place, as a systemd built with c would have written
// them, and returns how many. It leaves the space saved as a hole after each object: only journalctl --verify reads objects one
// after another. It is needed because systemd 252 as packaged writes zstd only.
func Recompress(path string, c Compressor) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	payload := uint64(dataPayload)
	if b[offIncompatible]&flagCompact != 0 {
		payload = dataCompact
	}
	n := 0
	at, tail := le.Uint64(b[offHeaderSize:]), le.Uint64(b[offTailObject:])
	for i := 0; at <= tail && i < maxObjectCount; i++ {
		size := le.Uint64(b[at+8:])
		if size < objectHeader || at+size > uint64(len(b)) {
			return n, fmt.Errorf("%s: object at %d: size %d", path, at, size)
		}
		if b[at] == objectData && size-payload >= minCompressed && b[at+1] == 0 {
			z, err := compress(c, b[at+payload:at+size])
			if err != nil {
				return n, fmt.Errorf("%s: object at %d: %w", path, at, err)
			}
			if uint64(len(z)) < size-payload {
				clear(b[at+payload+uint64(copy(b[at+payload:], z)) : at+size])
				b[at+1] = flags[c].object
				le.PutUint64(b[at+8:], payload+uint64(len(z)))
				n++
			}
		}
		at += (size + 7) &^ 7
	}
	b[offIncompatible] |= flags[c].file
	return n, os.WriteFile(path, b, 0o640)
}

func compress(c Compressor, v []byte) ([]byte, error) {
	switch c {
	case XZ: // one stream without check, as compress_blob_xz writes it
		var out bytes.Buffer
		w, err := xz.WriterConfig{NoCheckSum: true}.NewWriter(&out)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(v); err != nil {
			return nil, err
		}
		err = w.Close()
		return out.Bytes(), err
	case LZ4: // the size in 8 bytes, then one block (compress_blob_lz4)
		out := make([]byte, 8+lz4.CompressBlockBound(len(v)))
		binary.LittleEndian.PutUint64(out, uint64(len(v)))
		n, err := lz4.CompressBlock(v, out[8:], nil)
		if n == 0 && err == nil {
			return v, nil // does not shrink: the caller keeps the value as it is
		}
		return out[:8+n], err
	case ZSTD:
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer w.Close()
		return w.EncodeAll(v, nil), nil
	}
	return nil, fmt.Errorf("unknown compressor %q", c)
}

// Field appends a field in the export format: as NAME=VALUE, or with its length if the value is not plain text.
func Field(b []byte, name string, value []byte) []byte {
	if plain(value) {
		return append(append(append(append(b, name...), '='), value...), '\n')
	}
	b = append(append(b, name...), '\n')
	b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	return append(append(b, value...), '\n')
}

// plain reports whether journalctl writes a value as text: no control characters except tab (utf8_is_printable without newlines).
func plain(v []byte) bool {
	for _, c := range v {
		if c < ' ' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}
