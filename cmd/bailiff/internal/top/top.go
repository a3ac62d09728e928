// Package top is `bailiff top`: a live view of attacks, bans and jails on a terminal. The daemon sends events as they
// happen; its own numbers are asked for every few seconds. One goroutine owns the view; it reads no clock and no terminal itself.
// Start reading with Command.
package top

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/units/control"
)

// Command is `bailiff top`.
func Command() *cli.Command {
	return cli.New("top", "", "show attacks, bans and jails live; q leaves").WithJSON().WithSocket(control.DefaultPath).Does(func(e *cli.Env, _ []string) error {
		client := control.Dial(e.Socket)
		if e.JSON {
			err := client.Events(e.Ctx, func(x *control.Event) error { return cli.WriteJSON(e.Out, x) })
			if e.Ctx.Err() != nil {
				return nil
			}
			return err
		}
		// Asked before the screen is taken over, so that an error stays readable.
		s, err := client.Status(e.Ctx)
		if err != nil {
			return err
		}
		out, ok := e.Out.(*os.File)
		in, ok2 := e.In.(*os.File)
		if !ok || !ok2 {
			return cli.Usagef("top: needs a terminal; --json prints the events")
		}
		screen, err := openScreen(in, out)
		if errors.Is(err, errNoTerminal) {
			return cli.Usagef("top: %v; --json prints the events", err)
		} else if err != nil {
			return err
		}
		defer screen.close()
		// Signals that would end the program without restoring the terminal.
		ctx, stop := signal.NotifyContext(e.Ctx, syscall.SIGHUP, syscall.SIGQUIT)
		defer stop()
		t := &top{Env: e, screen: screen, client: client, view: newView(s, time.Now())}
		return t.run(ctx)
	})
}

// Pauses of the view: between two drawings, between two tries to reach a daemon that is away, and between two looks at the numbers of
// the daemon that no event tells, such as those of tracked prefixes. The last is the status page's, too.
const (
	framePause  = 200 * time.Millisecond
	retryPause  = time.Second
	statusPause = 15 * time.Second
)

// top connects the terminal, the daemon's events and the clock. The goroutine of run owns the view.
type top struct {
	*cli.Env
	screen *screen
	client *control.Client
	view   *view
}

// message is sent by the goroutine that listens to the daemon.
type message struct {
	event *control.Event
	lost  error // the stream has ended
	fatal error
}

func (t *top) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := make(chan message, 256)
	go t.listen(ctx, events)
	fresh := make(chan *control.Status, 1)
	asking, asked := false, time.Now() // by Command
	ask := func() {
		if !asking {
			asking, asked = true, time.Now()
			go func() { fresh <- t.ask(ctx) }()
		}
	}
	clock := time.NewTimer(0)
	defer clock.Stop()
	var drawn time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case k, ok := <-t.screen.keys:
			if !ok || k == 'q' || k == 'Q' {
				return nil
			}
		case <-t.screen.resized:
			clock.Reset(0)
		case s := <-fresh:
			if asking = false; s != nil {
				t.view.status(s)
				clock.Reset(0)
			}
		case x := <-events:
			if x.fatal != nil {
				return x.fatal
			}
			if t.view.take(&x, time.Now()) {
				ask()
			}
			clock.Reset(max(0, framePause-time.Since(drawn)))
		case <-clock.C:
			now := time.Now()
			columns, lines := t.Size()
			if err := t.screen.draw(t.view.draw(t.Env, columns, lines, now)); err != nil {
				return nil // the terminal is gone
			}
			drawn = now
			if now.Sub(asked) >= statusPause {
				ask()
			}
			clock.Reset(t.view.pause(now))
		}
	}
}

// ask gets the daemon's numbers; nil if it does not answer, which shows on its stream as well.
func (t *top) ask(ctx context.Context) *control.Status {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := t.client.Status(ctx)
	if err != nil {
		return nil
	}
	return s
}

// listen reads the daemon's events, and connects again when it went away. A panic is handed to run, which restores the
// terminal first.
func (t *top) listen(ctx context.Context, to chan<- message) {
	send := func(x message) error {
		select {
		case to <- x:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() {
		if p := recover(); p != nil {
			send(message{fatal: fmt.Errorf("panic: %v\n%s", p, debug.Stack())})
		}
	}()
	for ctx.Err() == nil {
		err := t.client.Events(ctx, func(e *control.Event) error { return send(message{event: e}) })
		if send(message{lost: err}) != nil {
			return
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
		}
	}
}
