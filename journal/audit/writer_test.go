package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// journald is the other side of the native protocol: a datagram socket, and a decoder written from the protocol's text.
type journald struct {
	t   *testing.T
	c   *net.UnixConn
	buf []byte
}

func listen(t *testing.T, path string) *journald {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &journald{t, c, make([]byte, 1<<20)}
}

// next reads one entry; memory tells whether it came as a memory file.
func (j *journald) next() (fields []Field, memory bool) {
	j.t.Helper()
	data, oob := j.buf, make([]byte, 256)
	j.c.SetReadDeadline(time.Now().Add(time.Minute))
	n, on, _, _, err := j.c.ReadMsgUnix(data, oob)
	if err != nil {
		j.t.Fatal(err)
	}
	data = data[:n]
	if on > 0 {
		memory = true
		data = j.memory(oob[:on])
	}
	fields, err = decode(data)
	if err != nil {
		j.t.Fatalf("%v in %.200q", err, data)
	}
	return fields, memory
}

// memory reads a passed file and checks the seals that journald asks for (systemd's memfd_get_sealed).
func (j *journald) memory(oob []byte) []byte {
	j.t.Helper()
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) != 1 {
		j.t.Fatalf("%d control messages: %v", len(msgs), err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		j.t.Fatalf("%d descriptors: %v", len(fds), err)
	}
	const all = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if seals, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GET_SEALS, 0); err != nil || seals&all != all {
		j.t.Errorf("seals %#x: %v", seals, err)
	}
	f := os.NewFile(uintptr(fds[0]), "memory")
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		j.t.Fatal(err)
	}
	b := make([]byte, st.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		j.t.Fatal(err)
	}
	return b
}

func decode(b []byte) (fields []Field, err error) {
	for len(b) > 0 {
		line, rest, ok := bytes.Cut(b, []byte{'\n'})
		if !ok {
			return nil, errors.New("the last field has no end")
		}
		if name, value, ok := bytes.Cut(line, []byte{'='}); ok {
			fields, b = append(fields, Field{string(name), string(value)}), rest
			continue
		}
		if len(rest) < 8 {
			return nil, errors.New("no length")
		}
		n := binary.LittleEndian.Uint64(rest)
		rest = rest[8:]
		if uint64(len(rest)) < n+1 || rest[n] != '\n' {
			return nil, fmt.Errorf("a length of %d, with %d left", n, len(rest))
		}
		fields, b = append(fields, Field{string(line), string(rest[:n])}), rest[n+1:]
	}
	return fields, nil
}

func values(fields []Field, name string) (out []string) {
	for _, f := range fields {
		if f.Name == name {
			out = append(out, f.Value)
		}
	}
	return out
}

func closeWriter(t *testing.T, w *Writer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.Close(ctx); err != nil {
		t.Error(err)
	}
}

// until polls a condition that another goroutine brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestFieldsSurvive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	j := listen(t, path)
	w := Open(Options{Socket: path})
	defer closeWriter(t, w)
	long := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB: larger than any datagram
	for _, c := range []struct {
		name   string
		value  string
		memory bool
	}{
		{"plain", "x", false},
		{"empty", "", false},
		{"equals signs", "a=b=c", false},
		{"newline", "a\nMESSAGE_ID=" + KindBan.ID() + "\n_UID=0\n", false},
		{"ends in newline", "a\n", false},
		{"not UTF-8, NUL", "\x00\xff\x1b[2J", false},
		{"long", long, true},
		{"long with newlines", strings.Repeat("cursor\n", 1<<17), true},
	} {
		w.Event(KindError, c.name, Field{"BAILIFF_TEST", c.value})
		f, memory := j.next()
		if got := values(f, "BAILIFF_TEST"); len(got) != 1 || got[0] != c.value {
			t.Errorf("%s: %d values, first %.60q", c.name, len(got), got)
		}
		if memory != c.memory {
			t.Errorf("%s: as a memory file: %v, want %v", c.name, memory, c.memory)
		}
		for name, want := range map[string]string{"MESSAGE": c.name, "PRIORITY": "3", "SYSLOG_IDENTIFIER": "bailiffd", "MESSAGE_ID": KindError.ID()} {
			if got := values(f, name); !slices.Equal(got, []string{want}) {
				t.Errorf("%s: %s is %q, want %q", c.name, name, got, want)
			}
		}
		if len(f) != 5 {
			t.Errorf("%s: %d fields", c.name, len(f))
		}
	}
}

func TestFieldsRepeat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	j := listen(t, path)
	w := Open(Options{Socket: path, Identifier: "x"})
	defer closeWriter(t, w)
	w.Log(Info, "hello", Field{"BAILIFF_ADDRESS", "a"}, Field{"BAILIFF_ADDRESS", "b"},
		Field{"_UID", "0"}, Field{"lower", "no"}, Field{"A=B", "no"}, Field{"X\nMESSAGE", "no"}, Field{"", "no"}, Field{"9A", "no"}, Field{strings.Repeat("A", 65), "no"})
	f, _ := j.next()
	want := []Field{{"MESSAGE", "hello"}, {"PRIORITY", "6"}, {"SYSLOG_IDENTIFIER", "x"}, {"BAILIFF_ADDRESS", "a"}, {"BAILIFF_ADDRESS", "b"}}
	if !slices.Equal(f, want) {
		t.Errorf("got %q, want %q", f, want)
	}
}

// TestJournaldAway: what is written while journald is not there arrives when it comes, in order; and again after it went.
func TestJournaldAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	w := Open(Options{Socket: path})
	defer closeWriter(t, w)
	n := 0
	for round := range 2 {
		for range 3 {
			w.Event(KindBan, fmt.Sprint(n))
			n++
		}
		until(t, "a failed try", func() bool { return w.Stats().Err != "" })
		if s := w.Stats(); s.Waiting != 3 || s.Lost != 0 {
			t.Fatalf("round %d: %+v", round, s)
		}
		j := listen(t, path)
		for i := n - 3; i < n; i++ {
			f, _ := j.next()
			if got := values(f, "MESSAGE"); got[0] != fmt.Sprint(i) {
				t.Errorf("got entry %s, want %d", got[0], i)
			}
		}
		until(t, "the last one booked", func() bool { s := w.Stats(); return s.Waiting == 0 && s.Err == "" })
		j.c.Close()
		os.Remove(path)
	}
}

// TestBounded: while journald is away, the queue is bounded; bans still have room when log lines have none; and losses are
// reported.
func TestBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	w := Open(Options{Socket: path})
	defer closeWriter(t, w)
	for range maxEntries {
		w.Log(Info, "line")
	}
	if s := w.Stats(); s.Waiting != maxEntries/4*3 || s.Lost != maxEntries/4 {
		t.Fatalf("after log lines: %+v", s)
	}
	for range maxEntries/4 + 5 {
		w.Event(KindBan, "ban")
	}
	lost := uint64(maxEntries/4 + 5)
	if s := w.Stats(); s.Waiting != maxEntries || s.Lost != lost {
		t.Fatalf("after bans: %+v", s)
	}
	j := listen(t, path)
	bans := 0
	for range maxEntries {
		if f, _ := j.next(); values(f, "MESSAGE")[0] == "ban" {
			bans++
		}
	}
	f, _ := j.next()
	if got := values(f, "MESSAGE_ID"); bans != maxEntries/4 || !slices.Equal(got, []string{KindAuditLost.ID()}) || values(f, "BAILIFF_LOST")[0] != fmt.Sprint(lost) {
		t.Errorf("%d bans came through; the entry after them is %q", bans, f)
	}
}

func TestBoundedBytes(t *testing.T) {
	w := Open(Options{Socket: filepath.Join(t.TempDir(), "nobody")})
	big := strings.Repeat("x", 1<<20)
	for range 20 {
		w.Event(KindBan, big)
	}
	if s := w.Stats(); s.Waiting != 7 || s.Lost != 13 {
		t.Errorf("%+v", s)
	}
	if err := w.Close(context.Background()); err == nil || !strings.Contains(err.Error(), "7 entries") {
		t.Errorf("close without a journald: %v", err)
	}
}

// TestHanging: a journald that accepts nothing must not block us, neither during work nor at the end.
func TestHanging(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	listen(t, path) // and never reads
	w := Open(Options{Socket: path})
	for i := range 2000 { // more than any net.unix.max_dgram_qlen in use
		w.Event(KindBan, fmt.Sprint(i))
	}
	until(t, "the socket's queue to fill", func() bool { return w.Stats().Err != "" })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := w.Close(ctx); err == nil || !strings.Contains(err.Error(), "could not be written") {
		t.Errorf("close: %v", err)
	}
	if s := w.Stats(); s.Sent+s.Lost != 2000 {
		t.Errorf("not all are accounted for: %+v", s)
	}
	w.Event(KindBan, "too late")
	if s := w.Stats(); s.Sent+s.Lost != 2001 {
		t.Errorf("after close: %+v", s)
	}
}

func TestStderr(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	j := listen(t, path)
	var out bytes.Buffer
	w := Open(Options{Socket: path, Stderr: &out})
	w.Log(Warning, "a\x1b[2J\nb")
	w.Event(KindStart, "started")
	f, _ := j.next()
	closeWriter(t, w)
	if got := out.String(); got != "a [2J b\nstarted\n" {
		t.Errorf("stderr: %q", got)
	}
	if values(f, "MESSAGE")[0] != "started" || w.Stats().Sent != 1 {
		t.Errorf("the journal got %q, %+v", f, w.Stats())
	}
}

func BenchmarkBan(b *testing.B) {
	e := example()
	for b.Loop() {
		x := e.Entry(KindBan)
		x.encode("bailiffd")
	}
}

// TestSendWaitLosesNothing: a storm of the largest bans while journald is stopped waits for journald, in bounded memory, and
// leaves room for entries of callers that must not wait.
func TestSendWaitLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	j := listen(t, path)
	w := Open(Options{Socket: path})
	const n = 1500
	ban := BanEvent{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Jail: "sshd", Evidence: slices.Repeat([]string{strings.Repeat("c", 130)}, 100)}
	sent := make(chan error, 1)
	go func() {
		for i := range n {
			ban.ID = fmt.Sprint(i)
			if err := w.SendWait(t.Context(), ban.Entry(KindBan)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	until(t, "the writer to be busy", w.Busy)
	w.mu.Lock()
	bytes := w.bytes
	w.mu.Unlock()
	if bytes > maxBytes/2 {
		t.Errorf("%d bytes wait, more than half of the queue", bytes)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v", err)
	}
	w.Event(KindStart, "somebody who does not wait") // and has the other half
	seen := 0
	for other := false; seen < n || !other; {
		fields, _ := j.next()
		if id := values(fields, FieldBanID); len(id) == 1 {
			if id[0] != fmt.Sprint(seen) {
				t.Fatalf("ban %s in place %d", id[0], seen)
			}
			seen++
		} else {
			other = true
		}
	}
	if err := <-sent; err != nil || w.Stats().Lost != 0 {
		t.Errorf("SendWait: %v; %d lost", err, w.Stats().Lost)
	}
	closeWriter(t, w)
	if err := w.SendWait(t.Context(), ban.Entry(KindBan)); err == nil || w.Stats().Lost != 1 {
		t.Errorf("after Close: %v", err)
	}
}
