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
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of reading through journalctl.
const (
	journalctlPoll    = 250 * time.Millisecond // between two checks of files that journalctl reads: journald reports changes no sooner (POST_CHANGE_TIMER_INTERVAL_USEC)
	maxRuns           = 3                      // attempts to continue after a run that failed
	journalctlTimeout = 2 * time.Minute        // a run without output for this long is ended
	maxStderrLine     = 512                    // bytes kept of a line on stderr
)

// FallbackError says that a file is read through journalctl, and why.
type FallbackError struct{ Err error }

func (e *FallbackError) Error() string {
	return e.Err.Error() + ": read through journalctl, which is slower"
}

func (e *FallbackError) Unwrap() error { return e.Err }

// otherFile is a file that journalctl reads.
type otherFile struct {
	path, origin string
	fd           *os.File // open, so that its inode is not reused
	listed       bool
	refused      bool // journalctl cannot read it either
}

// journalctl reads those files of one origin that this package cannot parse, in the export format. A run goes from the reader's start
// position to the end of the files; when a file has changed, another run continues after the last entry. It costs about twelve times as
// much as reading with this package.
type journalctl struct {
	paths []string
	state string    // state of the files when the last run began
	next  time.Time // when to check them again
	last  Cursor    // of the last entry; zero: none yet
	runs  int       // failed runs since the last entry
	more  bool      // a file was added since the run began
	proc  *process  // nil: not running
}

// adopt makes journalctl read a file, and reports whether it was added. The file has a flag of a later systemd (refresh in known.go), or
// could not be read after several attempts (retryFailed in problems.go).
func (r *Reader) adopt(path string, key inode, why error) bool {
	r.problem(problem{path: path, err: &FallbackError{why}})
	if o := r.other[key]; o != nil {
		o.path, o.listed = path, true // renamed
		return false
	}
	fd, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		r.watcher.soon()
		return false
	}
	r.other[key] = &otherFile{path: path, origin: origin(path), fd: fd, listed: true}
	r.regroup()
	return true
}

// regroup puts the files that journalctl reads into one group for each origin.
func (r *Reader) regroup() {
	paths := map[string][]string{}
	for k, o := range r.other {
		if !o.listed {
			o.fd.Close()
			delete(r.other, k)
		} else if !o.refused {
			paths[o.origin] = append(paths[o.origin], o.path)
		}
	}
	r.groups = slices.DeleteFunc(r.groups, func(g *file) bool {
		if len(paths[g.mark.origin]) > 0 {
			return false
		}
		g.via.stop()
		r.active = slices.DeleteFunc(r.active, func(f *file) bool { return f == g })
		return true
	})
	for key, l := range paths {
		slices.Sort(l)
		i := slices.IndexFunc(r.groups, func(g *file) bool { return g.mark.origin == key })
		if i < 0 {
			r.serial++
			g := &file{path: key, mark: r.markOf(key), serial: r.serial, late: r.began, via: &journalctl{paths: l}}
			r.groups, r.active = append(r.groups, g), append(r.active, g)
			continue
		}
		if g := r.groups[i]; !slices.Equal(g.via.paths, l) {
			g.via.paths, g.via.more = l, true
		}
	}
}

// readyVia is ready for files that journalctl reads.
func (r *Reader) readyVia(g *file) bool {
	v := g.via
	for {
		switch g.state {
		case ready:
			return true
		case atEnd, done:
			return false
		case unplaced:
			v.stop()
			v.last, v.runs, g.state, g.checked = Cursor{}, 0, taken, false
		}
		if v.proc == nil {
			v.state, v.next, v.more = v.look(), time.Now().Add(journalctlPoll), false
			p, err := r.run(g)
			if err != nil {
				r.problem(problem{file: g, err: err})
				g.state = atEnd
				return false
			}
			v.proc = p
		}
		if !v.proc.x.Next() {
			err := v.proc.end()
			v.proc = nil
			if err == nil {
				r.dropProblems(func(p *problem) bool { return p.file == g })
			} else if v.runs++; v.runs < maxRuns || r.refuse(g, err) {
				continue
			}
			if v.runs = 0; v.more {
				continue
			}
			g.state = atEnd
			if r.dir == down {
				g.late = true // files found from now on begin after what was read
			}
			return false
		}
		v.proc.alive()
		v.runs = 0
		e := v.proc.x.Entry()
		g.cand = location{Cursor: e.Cursor}
		again := v.last == e.Cursor
		v.last = e.Cursor
		if !g.checked && !g.late && r.have && r.start.kind == atLocation && !r.before(&r.loc, &g.cand) {
			continue // after a turn
		}
		if again || !r.isNew(g) {
			continue
		}
		g.state = ready
		return true
	}
}

// refuse finds out which files journalctl cannot read, after it failed on several, so that one bad file does not cost the others. It reports
// whether any are left.
func (r *Reader) refuse(g *file, err error) bool {
	v := g.via
	left := v.paths[:0:0]
	for _, path := range v.paths {
		p, e := start([]string{path}, Options{}, "--lines=1")
		if e == nil {
			for p.x.Next() {
			}
			e = p.end()
		}
		if e == nil {
			left = append(left, path)
			continue
		}
		r.problem(problem{path: path, err: fmt.Errorf("%s: not read: journalctl cannot read it either: %w", path, e)})
		for _, o := range r.other {
			if o.path == path {
				o.refused = true
			}
		}
	}
	if len(left) == len(v.paths) { // none of the files is to blame
		r.problem(problem{file: g, err: fmt.Errorf("%s: %w", strings.Join(v.paths, ", "), err)})
		return false
	}
	v.runs, v.paths = 0, left
	return len(left) > 0
}

// run starts journalctl at the position where reading continues.
func (r *Reader) run(g *file) (*process, error) {
	var args []string
	if r.dir == up {
		args = append(args, "--reverse")
	}
	v, t := g.via, r.start
	if c, ok := r.passed(g); ok {
		t = target{atCursor, c}
	} else if g.late {
		t = target{kind: atHead}
	}
	switch {
	case !v.last.IsZero():
		t = target{atCursor, v.last}
	case t.kind == atTail && r.dir == down: // after the last entry that exists now
		p, err := start(v.paths, Options{}, "--reverse")
		if err != nil {
			return nil, err
		}
		if p.x.Next() {
			v.last = p.x.Entry().Cursor
		}
		_ = p.kill()
		t = target{atCursor, v.last}
		if v.last.IsZero() {
			t.kind = atHead
		}
	}
	switch c := &t.cursor; {
	case t.kind == atHead && r.dir == up:
		args = append(args, "--lines=0")
	case t.kind == atHead, t.kind == atTail:
	case t.kind == atRealtime || !c.hasSeqnum() && !c.hasMonotonic():
		from := "--since"
		if r.dir == up {
			from = "--until"
		}
		args = append(args, fmt.Sprintf("%s=@%d.%06d", from, c.Realtime/1e6, c.Realtime%1e6))
	default:
		// Not --after-cursor: before systemd 256 it skips one entry too many if the cursor's own does not match
		// (systemd issue 30288). The entry of the cursor itself is skipped by isNew.
		args = append(args, "--cursor="+c.String())
	}
	return start(v.paths, r.o, args...)
}

// changed reports whether a file has changed since the last run began.
func (v *journalctl) changed() bool {
	if v.more {
		return true
	}
	if now := time.Now(); now.Before(v.next) {
		return false
	} else {
		v.next = now.Add(journalctlPoll)
	}
	return v.look() != v.state
}

// look describes the state of the files. journald updates their time of modification a quarter of a second after a write.
func (v *journalctl) look() string {
	var b []byte
	for _, p := range v.paths {
		var st unix.Stat_t
		if unix.Stat(p, &st) == nil {
			b = fmt.Appendf(b, "%d %d %d %d\n", st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec)
		}
	}
	return string(b)
}

func (v *journalctl) stop() {
	if v.proc != nil {
		_ = v.proc.kill()
		v.proc = nil
	}
}

// process is one run of journalctl.
type process struct {
	cmd     *exec.Cmd
	x       *ExportReader
	stderr  lastLine
	timeout *time.Timer
	cancel  context.CancelFunc
}

// start runs journalctl over files. Options select matches and fields; the entries hold all fields.
func start(paths []string, o Options, args ...string) (*process, error) {
	all := append([]string{"--quiet", "--no-pager", "--no-tail", "--all", "--output=export"}, args...)
	for _, p := range paths {
		all = append(all, "--file="+p)
	}
	for i, g := range o.Matches {
		if i > 0 {
			all = append(all, "+")
		}
		for _, m := range g {
			all = append(all, m.Field+"="+m.Value)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cmd: exec.CommandContext(ctx, "journalctl", all...), cancel: cancel}
	p.cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_LOG_LEVEL=warning")
	p.cmd.WaitDelay = time.Second // nothing else holds the pipes, but if Wait hung, so would the reader
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("cannot run journalctl, which must read these files: %w", err)
	}
	p.timeout = time.AfterFunc(journalctlTimeout, cancel)
	p.x = NewExport(out, Options{Fields: o.Fields, MaxValue: o.MaxValue})
	p.x.all = true
	return p, nil
}

// alive restarts the timeout.
func (p *process) alive() { p.timeout.Reset(journalctlTimeout) }

// end waits for a process that has no more output, and returns why it failed.
func (p *process) end() error {
	broken := p.x.Err()
	if broken != nil { // what follows cannot be trusted
		p.cancel()
	}
	err := p.cmd.Wait()
	p.timeout.Stop()
	p.cancel()
	switch {
	case errors.Is(broken, io.ErrUnexpectedEOF) && err != nil: // it died while writing: its exit status is the cause
	case broken != nil:
		err = broken
	}
	if err == nil {
		return nil
	}
	if text := p.stderr.String(); text != "" {
		return fmt.Errorf("journalctl: %w: %s", err, text)
	}
	return fmt.Errorf("journalctl: %w", err)
}

// kill ends a process whose output is no longer needed.
func (p *process) kill() error {
	p.cancel()
	return p.end()
}

// lastLine keeps the last line written to it. It is read after the writer has ended.
type lastLine struct{ line []byte }

func (l *lastLine) Write(b []byte) (int, error) {
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(make([]byte, 0, maxStderrLine), maxStderrLine)
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
