package journal

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Stream is what a follower needs of a reader. Reader and Child are Streams.
type Stream interface {
	// Next goes to the next entry; false when there is none now (call Wait).
	Next() bool
	// Entry is the entry that Next went to, borrowed until the next call of Next.
	Entry() *Entry
	// Wait returns when there may be more, at the latest after max; its error is the context's or says why there will be nothing more.
	Wait(ctx context.Context, max time.Duration) error
	// Problems are what was noticed and survived, the latest last.
	Problems() []error
	Close() error
}

// Restarts of a child that ended: at first after backoffMin, then twice as long each time, up to backoffMax; an entry read means it
// works again. A journalctl that cannot start costs nothing that way, and one that was killed is back before anybody notices.
const (
	backoffMin = 100 * time.Millisecond
	backoffMax = 10 * time.Second

	maxProblems = 16
	maxLine     = 512 // of what the child says on stderr
)

// ChildOptions say what a Child reads.
type ChildOptions struct {
	Options
	Command string // journalctl by default, looked up in PATH
	After   Cursor // begin behind this entry, or at the closest following one if it is gone; zero: at the beginning
	Since   uint64 // without After: begin at this time, µs since 1970
	Follow  bool   // go on when the journal's end is reached
}

// Child reads the journal through a journalctl process, in the export format. It is the way for files that Reader cannot read: those with
// flags of a later systemd, or readable for journalctl alone. It costs about twelve times as much CPU as Reader, and entries come
// up to half a second late, since journalctl itself waits that long.
//
// A process that ends is started again behind the last entry given, with a growing delay, and what it said on stderr becomes one of Problems.
type Child struct {
	o      ChildOptions
	args   []string
	cancel context.CancelFunc
	done   chan struct{} // closed when the process is gone and the pump with it

	ready  chan *Entry   // the pump's: an entry that holds until resume
	resume chan struct{} // ours: done with it
	entry  *Entry        // current
	ahead  *Entry        // received by Wait, not given yet
	last   Cursor        // of the entry given last; the pump reads it only between resume and ready

	mu       sync.Mutex
	problems []error
	err      error // why there is nothing more
}

// NewChild starts reading src. The process is killed when ctx is done or by Close.
func NewChild(ctx context.Context, src Source, o ChildOptions) (*Child, error) {
	if o.Command == "" {
		o.Command = "journalctl"
	}
	if err := o.Matches.check(); err != nil {
		return nil, err
	}
	if len(src.dirs) > 1 {
		return nil, fmt.Errorf("%s: journalctl reads one folder at a time: follow each with its own Child", src)
	}
	path, err := exec.LookPath(o.Command)
	if err != nil {
		return nil, fmt.Errorf("the journal cannot be read through journalctl: %w", err)
	}
	o.Command = path
	ctx, cancel := context.WithCancel(ctx)
	c := &Child{o: o, args: childArgs(src, o), cancel: cancel, done: make(chan struct{}),
		ready: make(chan *Entry), resume: make(chan struct{}), last: o.After}
	go c.pump(ctx)
	return c, nil
}

// childArgs are journalctl's arguments but for where to begin and the matches, which come last.
func childArgs(src Source, o ChildOptions) []string {
	args := append([]string{"--quiet", "--no-pager", "--no-tail", "--output=export"}, src.journalctl()...)
	if o.Follow {
		args = append(args, "--follow")
	}
	if len(o.Fields) > 0 {
		args = append(args, "--output-fields="+strings.Join(o.Fields, ","))
	}
	return args
}

func (c *Child) command(ctx context.Context) *exec.Cmd {
	args := append([]string(nil), c.args...)
	switch {
	case !c.last.IsZero():
		// Not --after-cursor: before systemd 256 it skips one entry more where the cursor's own does not match
		// (systemd issue 30288). The entry of the cursor itself is dropped in run.
		args = append(args, "--cursor="+c.last.String())
	case c.o.Since > 0:
		args = append(args, fmt.Sprintf("--since=@%d.%06d", c.o.Since/1e6, c.o.Since%1e6))
	}
	for i, g := range c.o.Matches {
		if i > 0 {
			args = append(args, "+")
		}
		for _, m := range g {
			args = append(args, m.Field+"="+m.Value)
		}
	}
	cmd := exec.CommandContext(ctx, c.o.Command, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_LOG_LEVEL=warning")
	cmd.WaitDelay = time.Second // nothing else holds the pipes, but a hung Wait would hang Close
	return cmd
}

// pump keeps a process running and hands on what it writes, one entry at a time.
func (c *Child) pump(ctx context.Context) {
	defer close(c.done)
	delay := backoffMin
	for {
		n, err := c.run(ctx)
		if ctx.Err() != nil {
			c.fail(ctx.Err())
			return
		}
		if err == nil && !c.o.Follow {
			c.fail(io.EOF)
			return
		}
		if err == nil {
			err = errors.New("it ended by itself")
		}
		if n > 0 {
			delay = backoffMin
		}
		c.problem(fmt.Errorf("%s: %w; starting it again in %v", c.o.Command, err, delay))
		select {
		case <-ctx.Done():
			c.fail(ctx.Err())
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, backoffMax)
	}
}

// run runs one process to its end and says how many entries it gave.
func (c *Child) run(ctx context.Context) (n int, err error) {
	cmd := c.command(ctx)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	said := &lastLine{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	x := NewExport(out, Options{Fields: c.o.Fields, MaxValue: c.o.MaxValue})
	for skip := c.last; x.Next(); skip = (Cursor{}) { // only the first can be the one we have
		if !skip.IsZero() && skip.Names(x.Entry().Cursor()) {
			continue
		}
		select {
		case c.ready <- x.Entry():
			n++
			select {
			case <-c.resume:
				continue
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
		break
	}
	broken := x.Err()
	if broken != nil { // what follows cannot be trusted, so the process has nothing more to say
		cmd.Process.Kill()
	}
	err = cmd.Wait()
	switch {
	case errors.Is(broken, io.ErrUnexpectedEOF) && err != nil: // it died while writing: that is the cause
	case broken != nil:
		err = broken
	}
	if err != nil && said.String() != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return n, err
}

// Next goes to the next entry. With Follow, false means that none has come yet: call Wait. Without, it waits for the process, and false is the end.
func (c *Child) Next() bool {
	if c.entry != nil {
		c.last, c.entry = c.entry.Cursor(), nil
		select {
		case c.resume <- struct{}{}:
		case <-c.done:
			return false
		}
	}
	if c.ahead != nil {
		c.entry, c.ahead = c.ahead, nil
		return true
	}
	if c.o.Follow {
		select {
		case c.entry = <-c.ready:
		default:
		}
	} else {
		select {
		case c.entry = <-c.ready:
		case <-c.done:
		}
	}
	return c.entry != nil
}

// Entry is the entry that Next went to, borrowed until the next call of Next.
func (c *Child) Entry() *Entry { return c.entry }

// Wait waits for the next entry, at most for max. After the end it gives io.EOF, or the context's error after Close.
func (c *Child) Wait(ctx context.Context, max time.Duration) error {
	if c.ahead != nil || c.entry != nil {
		return nil
	}
	timer := time.NewTimer(max)
	defer timer.Stop()
	select {
	case c.ahead = <-c.ready:
		return nil
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.err
	}
}

// Problems are why processes ended, the latest last, sixteen at most.
func (c *Child) Problems() []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]error(nil), c.problems...)
}

// Close kills the process and waits for its end.
func (c *Child) Close() error {
	c.cancel()
	<-c.done
	return nil
}

func (c *Child) problem(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.problems) == maxProblems {
		c.problems = c.problems[1:]
	}
	c.problems = append(c.problems, err)
}

func (c *Child) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// lastLine keeps the last line that was written to it. It is read when the writer is gone.
type lastLine struct{ line []byte }

func (l *lastLine) Write(b []byte) (int, error) {
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(make([]byte, 0, maxLine), maxLine)
	for s.Scan() {
		if len(bytes.TrimSpace(s.Bytes())) > 0 {
			l.line = append(l.line[:0], s.Bytes()...)
		}
	}
	return len(b), nil
}

func (l *lastLine) String() string {
	if len(l.line) == 0 {
		return ""
	}
	return strconv.QuoteToGraphic(string(l.line))
}
