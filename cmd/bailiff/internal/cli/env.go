package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"bailiff/cmd/bailiff/internal/text"
)

// Env is what a command works with.
type Env struct {
	Ctx                   context.Context
	In                    io.Reader
	Out, Err              io.Writer // results; everything else
	InTTY, OutTTY, ErrTTY bool      // a person types or reads there

	JSON   bool   // --json was given
	Socket string // of --socket
}

// NewEnv is the environment of this process.
func NewEnv(ctx context.Context) *Env {
	return &Env{Ctx: ctx, In: os.Stdin, Out: os.Stdout, Err: os.Stderr, InTTY: Terminal(os.Stdin), OutTTY: Terminal(os.Stdout), ErrTTY: Terminal(os.Stderr)}
}

// Terminal reports whether a file is a terminal. /dev/null is not.
func Terminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Printf writes to standard output.
func (e *Env) Printf(format string, args ...any) { fmt.Fprintf(e.Out, format, args...) }

// Notef writes a remark to standard error.
func (e *Env) Notef(format string, args ...any) { fmt.Fprintf(e.Err, "note: "+format+"\n", args...) }

// Hintf writes what the user can do next to standard error.
func (e *Env) Hintf(format string, args ...any) { fmt.Fprintf(e.Err, "hint: "+format+"\n", args...) }

// Print writes a result: as JSON with --json, else by calling human.
func (e *Env) Print(v any, human func()) error {
	if e.JSON {
		return WriteJSON(e.Out, v)
	}
	human()
	return nil
}

// Answer is what a call has returned.
type Answer[T any] struct {
	v   T
	err error
}

// Got takes what a call returns.
func Got[T any](v T, err error) Answer[T] { return Answer[T]{v, err} }

// Print writes the result, as Env.Print does, or returns the call's error.
func (a Answer[T]) Print(e *Env, human func(*Env, T)) error {
	if a.err != nil {
		return a.err
	}
	return e.Print(a.v, func() { human(e, a.v) })
}

// WriteJSON writes one JSON value and a newline.
func WriteJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Buffered returns an environment that collects its output, for commands that write many lines, and the function that
// writes the rest.
func (e *Env) Buffered() (*Env, func() error) {
	w := bufio.NewWriterSize(e.Out, 64<<10)
	b := *e
	b.Out = w
	return &b, w.Flush
}

// Styles of Paint.
const (
	Bold  = "1"
	Faint = "2"
	Red   = "31"
	Green = "32"
)

// Paint puts a style around text if a person reads it and wants colours.
func (e *Env) Paint(style, s string) string {
	if !e.OutTTY || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return s
	}
	return "\x1b[" + style + "m" + s + "\x1b[0m"
}

// Size is the number of columns and lines of the terminal; 80 and 24 where there is none or it does not say.
func (e *Env) Size() (columns, lines int) {
	if f, ok := e.Out.(*os.File); ok && e.OutTTY {
		if w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && w.Col > 0 && w.Row > 0 {
			return int(w.Col), int(w.Row)
		}
	}
	return 80, 24
}

// Table writes a table to standard output.
func (e *Env) Table(rows [][]string) { text.Table(e.Out, rows) }

// TableFitted is Table with the last column shortened to fit a terminal. Other output gets all of it.
func (e *Env) TableFitted(rows [][]string) {
	if e.OutTTY {
		columns, _ := e.Size()
		last := len(rows[0]) - 1
		for i := range last {
			wide := 0
			for _, r := range rows {
				wide = max(wide, utf8.RuneCountInString(r[i]))
			}
			columns -= wide + 2
		}
		for _, r := range rows {
			r[last] = text.Clip(r[last], max(columns, len(rows[0][last])))
		}
	}
	e.Table(rows)
}

// Progress is a line on standard error that shows how far long work has come. It shows only on a terminal. Call Clear
// before anything else is written.
type Progress struct {
	w    io.Writer // nil: not a terminal
	last time.Time
	on   bool
}

// Progress returns a line that first shows when the work has taken a moment.
func (e *Env) Progress() *Progress {
	p := &Progress{last: time.Now()}
	if e.ErrTTY {
		p.w = e.Err
	}
	return p
}

// progressStep is the time between two versions of the line.
const progressStep = time.Second / 4

// Show replaces the line, at most four times a second.
func (p *Progress) Show(format string, args ...any) {
	if p.w == nil || time.Since(p.last) < progressStep {
		return
	}
	p.last, p.on = time.Now(), true
	fmt.Fprintf(p.w, "\r"+format+"\x1b[K", args...)
}

// Clear removes the line.
func (p *Progress) Clear() {
	if p.on {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.on = false
	}
}

// waitShown is how long a call may take before Waiting shows anything.
const waitShown = time.Second

// Waiting runs a call that may take long, and shows on a terminal what it waits for.
func Waiting[T any](e *Env, what string, call func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := call()
		done <- result{v, err}
	}()
	began, progress := time.Now(), e.Progress()
	defer progress.Clear()
	tick := time.NewTicker(waitShown)
	defer tick.Stop()
	for {
		select {
		case r := <-done:
			return r.v, r.err
		case <-tick.C:
			progress.Show("waiting for %s (%s)", what, text.Duration(time.Since(began)))
		}
	}
}

// Blocks reports whether block characters (U+2580 and up) can be shown: on a terminal with a UTF-8 locale.
func (e *Env) Blocks() bool {
	locale := cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_CTYPE"), os.Getenv("LANG"))
	locale = strings.ReplaceAll(strings.ToLower(locale), "-", "")
	return e.OutTTY && strings.HasSuffix(locale, "utf8")
}
