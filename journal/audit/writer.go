package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"

	"bailiff/policy/diag"
)

// Socket is journald's socket for the native protocol.
const Socket = "/run/systemd/journal/socket"

// Limits of the queue, which bound the memory needed while journald is stopped. A ban with 100 cursors takes 16 KiB, so 8 MiB hold
// about 500 of the largest entries or 8,192 usual ones. SendWait fills half of the queue only, which leaves room for Send. The last
// quarter is reserved for entries with a MESSAGE_ID, so that log messages never displace the record of a ban.
const (
	maxEntries = 8192
	maxBytes   = 8 << 20
	maxEntry   = 32 << 10 // size of the next entry that Busy assumes
)

// Delays between attempts while journald is not running.
const (
	retryFirst = 50 * time.Millisecond
	retryMax   = 5 * time.Second
)

// Options of a Writer. The zero value writes to the host's journald as "bailiffd".
type Options struct {
	Socket     string    // default Socket
	Identifier string    // SYSLOG_IDENTIFIER, default "bailiffd"
	Stderr     io.Writer // for a daemon started by hand: every message is also printed here, and log messages only here; nil: none are
}

// UnderSystemd reports whether stderr is connected to the journal, so that log messages belong there with their fields.
func UnderSystemd() bool {
	ok, err := journal.StderrIsJournalStream()
	return err == nil && ok
}

// Stats counts entries by outcome.
type Stats struct {
	Sent    uint64
	Waiting int
	Lost    uint64 // not written, because the queue was full or the writer was closed first
	Err     string // why the oldest waiting entry could not be sent; empty: no error
}

// Writer sends entries to journald in order. Its methods are safe for concurrent use. SendWait, Wait, Flush and Close block.
type Writer struct {
	opt  Options
	wake chan struct{}
	stop chan struct{} // closed by Close
	gone chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	queue    [][]byte
	bytes    int
	freed    chan struct{} // closed when an entry has left the queue; nil: no goroutine waits
	stats    Stats
	reported uint64 // number of stats.Lost that entries of KindAuditLost have reported
	closed   bool
}

// Open starts a writer. journald need not be running.
func Open(o Options) *Writer {
	o.Socket, o.Identifier = cmp.Or(o.Socket, Socket), cmp.Or(o.Identifier, "bailiffd")
	w := &Writer{opt: o, wake: make(chan struct{}, 1), stop: make(chan struct{}), gone: make(chan struct{})}
	go w.run()
	return w
}

// Send queues an entry. It is lost if the queue is full.
func (w *Writer) Send(e Entry) {
	if w.printed(&e) {
		return
	}
	data := e.encode(w.opt.Identifier)
	w.mu.Lock()
	defer w.mu.Unlock()
	entries, bytes := maxEntries, maxBytes
	if e.Kind == KindLog {
		entries, bytes = entries/4*3, bytes/4*3
	}
	if w.closed || len(w.queue) >= entries || w.bytes+len(data) > bytes {
		w.stats.Lost++
		return
	}
	w.put(data)
}

// printed prints the message if Options.Stderr is set, and reports whether the entry must not be sent as well.
func (w *Writer) printed(e *Entry) bool {
	if w.opt.Stderr == nil {
		return false
	}
	fmt.Fprintf(w.opt.Stderr, "%s\n", oneLine(e.Message))
	return e.Kind == KindLog
}

// put appends to the queue. w.mu is held.
func (w *Writer) put(data []byte) {
	w.queue = append(w.queue, data)
	w.bytes += len(data)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// busy reports whether another n bytes exceed the half of the queue that SendWait may fill. w.mu is held.
func (w *Writer) busy(n int) bool {
	return len(w.queue) >= maxEntries/2 || len(w.queue) > 0 && w.bytes+n > maxBytes/2
}

// Busy reports whether SendWait would block. A goroutine that must not block checks it before work that writes an entry.
func (w *Writer) Busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.busy(maxEntry)
}

// SendWait queues an entry, and blocks while half of the queue is in use. So it waits for a stopped or slow journald, where Send would lose
// the entry. It returns an error, and the entry is lost, if ctx ends or the writer is closed.
func (w *Writer) SendWait(ctx context.Context, e Entry) error {
	if w.printed(&e) {
		return nil
	}
	data := e.encode(w.opt.Identifier)
	err := w.await(ctx, func() bool {
		if w.closed || w.busy(len(data)) {
			return false
		}
		w.put(data)
		return true
	})
	if err != nil {
		w.mu.Lock()
		w.stats.Lost++
		w.mu.Unlock()
	}
	return err
}

// Wait blocks while Busy, until ctx ends or the writer is closed.
func (w *Writer) Wait(ctx context.Context) error {
	return w.await(ctx, func() bool { return !w.closed && !w.busy(maxEntry) })
}

// Flush blocks until everything queued now has been sent, ctx ends or the writer is closed.
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	all := w.stats.Sent + uint64(len(w.queue))
	w.mu.Unlock()
	return w.await(ctx, func() bool { return w.stats.Sent >= all })
}

var errClosed = errors.New("audit: the writer is closed")

// await blocks until ready returns true. It calls ready again after each entry that was sent, with w.mu held.
func (w *Writer) await(ctx context.Context, ready func() bool) error {
	for {
		w.mu.Lock()
		done, closed := ready(), w.closed
		if !done && w.freed == nil {
			w.freed = make(chan struct{})
		}
		freed := w.freed
		w.mu.Unlock()
		switch {
		case done:
			return nil
		case closed:
			return errClosed
		}
		select {
		case <-freed:
		case <-w.stop:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Event queues an entry of a kind at the kind's usual priority.
func (w *Writer) Event(k Kind, message string, fields ...Field) {
	w.Send(Event(k, message, fields...))
}

// Log queues an ordinary log message.
func (w *Writer) Log(p Priority, message string, fields ...Field) {
	w.Send(Entry{Priority: p, Message: message, Fields: fields})
}

// Allow queues the record of an address that was allowed at run time.
func (w *Writer) Allow(e AllowEvent) { w.Send(e.Entry(KindAllow)) }

// Disallow queues the record of an address that is no longer allowed.
func (w *Writer) Disallow(e AllowEvent) { w.Send(e.Entry(KindDisallow)) }

// Stats returns the counters.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Waiting = len(w.queue)
	return s
}

// Close sends what is queued, until ctx ends, and stops the writer. The error says how many entries were lost.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return errClosed
	}
	w.closed = true
	w.mu.Unlock()
	close(w.stop)
	select {
	case <-w.gone:
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.queue); n > 0 {
		w.stats.Lost += uint64(n)
		w.queue, w.bytes = nil, 0
		return fmt.Errorf("audit: %d entries could not be written to the journal: %s", n, w.stats.Err)
	}
	return nil
}

// run sends the queue, oldest first. A failed entry stays at the head until it is sent: order is kept, and nothing is lost while journald restarts.
func (w *Writer) run() {
	defer close(w.gone)
	var c *conn
	defer func() {
		if c != nil {
			c.close()
		}
	}()
	delay := retryFirst
	for {
		w.mu.Lock()
		var data []byte
		if len(w.queue) > 0 {
			data = w.queue[0]
		} else if n := w.stats.Lost - w.reported; n > 0 && !w.closed {
			w.reported = w.stats.Lost
			e := Event(KindAuditLost, fmt.Sprintf("%d audit entries were lost: journald did not accept them in time", n),
				Field{"BAILIFF_LOST", strconv.FormatUint(n, 10)})
			data = e.encode(w.opt.Identifier)
			w.queue, w.bytes = append(w.queue, data), w.bytes+len(data)
		}
		closed := w.closed
		w.mu.Unlock()
		if data == nil {
			if closed {
				return
			}
			select {
			case <-w.wake:
			case <-w.stop:
			}
			continue
		}
		var err error
		if c == nil {
			c, err = dial(w.opt.Socket)
		}
		if err == nil {
			err = c.send(data)
		}
		if w.sent(err) {
			delay = retryFirst
			continue
		}
		if closed && !errors.Is(err, unix.EAGAIN) {
			return // journald is not running; waiting would only delay the stop
		}
		if errors.Is(err, unix.EAGAIN) {
			continue // the socket has waited
		}
		t := time.NewTimer(delay)
		select {
		case <-t.C:
		case <-w.stop:
		}
		t.Stop()
		delay = min(2*delay, retryMax)
	}
}

// sent updates queue and counters after an attempt to send the oldest entry, and reports whether it was sent.
func (w *Writer) sent(err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.stats.Err = err.Error()
		return false
	}
	w.stats.Sent++
	w.stats.Err = ""
	if len(w.queue) == 0 { // Close gave up meanwhile
		return true
	}
	w.bytes -= len(w.queue[0])
	w.queue[0] = nil
	w.queue = w.queue[1:]
	if len(w.queue) == 0 {
		w.queue = nil
	}
	if w.freed != nil {
		close(w.freed)
		w.freed = nil
	}
	return true
}

// oneLine is for a part of a message.
func oneLine(s string) string { return diag.Line(s, 8<<10) }

// Stderr is the value of Options.Stderr for a daemon: os.Stderr, or nil if UnderSystemd.
func Stderr() io.Writer {
	if UnderSystemd() {
		return nil
	}
	return os.Stderr
}
