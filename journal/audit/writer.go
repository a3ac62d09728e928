package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"
)

// Socket is where journald takes entries.
const Socket = "/run/systemd/journal/socket"

// Limits of the queue, which bound the memory that a stopped journald costs. A ban with 100 cursors is 16 KiB, so 8 MiB hold
// about 500 of the largest entries or 8,192 of the usual ones. SendWait fills half of the queue, so that it never takes the
// room of Send. The last quarter is kept for entries that have a MESSAGE_ID, so that log lines never push out a ban's record.
const (
	maxEntries = 8192
	maxBytes   = 8 << 20
	maxEntry   = 32 << 10 // what Busy takes for the size of the next entry
)

// The wait between two tries when journald is not there. Nothing is tried while nothing waits.
const (
	retryFirst = 50 * time.Millisecond
	retryMost  = 5 * time.Second
)

// Options of a Writer. The zero value writes to the host's journald as "bailiffd".
type Options struct {
	Socket     string    // default Socket
	Identifier string    // SYSLOG_IDENTIFIER, default "bailiffd"
	Stderr     io.Writer // not nil: every message is printed there too, and log lines go only there. For a daemon run by hand.
}

// UnderSystemd tells whether our stderr is connected to the journal, so that log lines belong there with their fields.
func UnderSystemd() bool {
	ok, err := journal.StderrIsJournalStream()
	return err == nil && ok
}

// Stats counts what became of the entries.
type Stats struct {
	Sent    uint64
	Waiting int
	Lost    uint64 // not written because the queue was full, or the writer was closed too early
	Err     string // why the oldest waiting entry could not be sent yet; empty when all is well
}

// Writer sends entries to journald in the order in which they were given. Its methods may be called from any goroutine.
// Only SendWait and Close block.
type Writer struct {
	opt  Options
	wake chan struct{}
	stop chan struct{} // closed by Close
	gone chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	queue    [][]byte
	bytes    int
	freed    chan struct{} // closed when an entry has left the queue; nil: nobody waits for that
	stats    Stats
	reported uint64 // of stats.Lost, how many an entry of KindAuditLost has told
	closed   bool
}

// Open starts a writer. It does not need journald to be there.
func Open(o Options) *Writer {
	if o.Socket == "" {
		o.Socket = Socket
	}
	if o.Identifier == "" {
		o.Identifier = "bailiffd"
	}
	w := &Writer{opt: o, wake: make(chan struct{}, 1), stop: make(chan struct{}), gone: make(chan struct{})}
	go w.run()
	return w
}

// Send queues an entry.
func (w *Writer) Send(e Entry) {
	if w.opt.Stderr != nil {
		w.print(&e)
		if e.Kind == KindLog {
			return
		}
	}
	data := e.encode(w.opt.Identifier)
	w.mu.Lock()
	entries, bytes := maxEntries, maxBytes
	if e.Kind == KindLog {
		entries, bytes = entries/4*3, bytes/4*3
	}
	if full := len(w.queue) >= entries || w.bytes+len(data) > bytes; full || w.closed {
		w.stats.Lost++
	} else {
		w.put(data)
	}
	w.mu.Unlock()
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

// busy tells whether another n bytes would take more than the half of the queue that SendWait may fill. w.mu is held.
func (w *Writer) busy(n int) bool {
	return len(w.queue) >= maxEntries/2 || len(w.queue) > 0 && w.bytes+n > maxBytes/2
}

// Busy tells whether SendWait would block. A goroutine that must not block checks it before work that ends in an entry.
func (w *Writer) Busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.busy(maxEntry)
}

// SendWait queues an entry, and blocks while half of the queue is in use: where Send would lose an entry because journald is
// stopped or slow, SendWait waits for it. It returns an error, and the entry is lost, when ctx ends or the writer is closed.
func (w *Writer) SendWait(ctx context.Context, e Entry) error {
	if w.opt.Stderr != nil {
		w.print(&e)
		if e.Kind == KindLog {
			return nil
		}
	}
	data := e.encode(w.opt.Identifier)
	return w.wait(ctx, len(data), func() { w.put(data) })
}

// Wait blocks while Busy.
func (w *Writer) Wait(ctx context.Context) error { return w.wait(ctx, maxEntry, nil) }

func (w *Writer) wait(ctx context.Context, n int, then func()) error {
	for {
		w.mu.Lock()
		closed, busy := w.closed, w.busy(n)
		if !closed && !busy {
			if then != nil {
				then()
			}
			w.mu.Unlock()
			return nil
		}
		if closed {
			if then != nil {
				w.stats.Lost++
			}
			w.mu.Unlock()
			return errors.New("audit: the writer is closed")
		}
		if w.freed == nil {
			w.freed = make(chan struct{})
		}
		freed := w.freed
		w.mu.Unlock()
		select {
		case <-freed:
		case <-w.stop:
		case <-ctx.Done():
			if then != nil {
				w.mu.Lock()
				w.stats.Lost++
				w.mu.Unlock()
			}
			return ctx.Err()
		}
	}
}

// Flush blocks until what is queued now has been sent, or ctx ends, or the writer is closed.
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	all := w.stats.Sent + uint64(len(w.queue))
	w.mu.Unlock()
	for {
		w.mu.Lock()
		sent, closed := w.stats.Sent >= all, w.closed
		if w.freed == nil {
			w.freed = make(chan struct{})
		}
		freed := w.freed
		w.mu.Unlock()
		switch {
		case sent:
			return nil
		case closed:
			return errors.New("audit: the writer is closed")
		}
		select {
		case <-freed:
		case <-w.stop:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Event queues an entry of a kind at that kind's usual priority.
func (w *Writer) Event(k Kind, message string, fields ...Field) {
	w.Send(Event(k, message, fields...))
}

// Log queues an ordinary line of the log.
func (w *Writer) Log(p Priority, message string, fields ...Field) {
	w.Send(Entry{Priority: p, Message: message, Fields: fields})
}

// Ban queues the record of a ban.
func (w *Writer) Ban(e BanEvent) { w.Send(e.Entry(KindBan)) }

// Extend queues the record of a ban that lasts longer now.
func (w *Writer) Extend(e BanEvent) { w.Send(e.Entry(KindExtend)) }

// Unban queues the record of a ban that was lifted.
func (w *Writer) Unban(e UnbanEvent) { w.Send(e.Entry()) }

// Allow queues the record of an address that was allowed at run time.
func (w *Writer) Allow(e AllowEvent) { w.Send(e.Entry(KindAllow)) }

// Disallow queues the record of an address that is no longer allowed.
func (w *Writer) Disallow(e AllowEvent) { w.Send(e.Entry(KindDisallow)) }

func (w *Writer) print(e *Entry) {
	fmt.Fprintf(w.opt.Stderr, "%s\n", oneLine(e.Message))
}

// Stats returns the counters.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Waiting = len(w.queue)
	return s
}

// Close sends what waits, for as long as ctx lasts, and ends the writer. The error says how many entries were lost.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return errors.New("audit: the writer is closed already")
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

// run sends the queue, oldest first. A failed entry stays at the head until it is through: order is kept, and a journald
// that restarts costs nothing.
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
			e := Event(KindAuditLost, fmt.Sprintf("%d audit entries were lost: journald did not take them in time", n),
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
			return // nobody listens; waiting would only make the stop slow
		}
		if errors.Is(err, unix.EAGAIN) {
			continue // the socket has waited already
		}
		t := time.NewTimer(delay)
		select {
		case <-t.C:
		case <-w.stop:
		}
		t.Stop()
		delay = min(2*delay, retryMost)
	}
}

// sent books the try with the oldest entry and tells whether it is done with.
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

// oneLine makes a text safe to print where one line is one message: control characters become spaces, and what is not
// UTF-8 the replacement character.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
}

// Stderr is os.Stderr unless UnderSystemd: what Options.Stderr of a daemon should be.
func Stderr() io.Writer {
	if UnderSystemd() {
		return nil
	}
	return os.Stderr
}
