package main

import (
	"context"
	"sync/atomic"
	"syscall"
	"time"

	"bailiff/policy/config"
)

// courier is who tells of bans, in a process of its own that ends when there is nothing to tell. A connection to its socket,
// which systemd holds, starts it; nothing is said over it. What it reports it reads from the journal, so a knock that
// fails costs no report, and a courier that is away costs the daemon nothing.
type courier struct {
	path   string
	wanted atomic.Bool // reports are configured
	due    chan struct{}
}

// knockPause is the time between two knocks: in a storm of bans one a second is enough, since the courier stays for minutes.
const knockPause = time.Second

func newCourier(path string) *courier {
	return &courier{path: path, due: make(chan struct{}, 1)}
}

// configure says whether there is anything to report to.
func (c *courier) configure(conf *config.Config) {
	wanted := false
	for i := range conf.Report.Destinations {
		wanted = wanted || conf.Report.Destinations[i].Enabled
	}
	c.wanted.Store(wanted)
}

// wants says whether anybody is to be told of bans.
func (c *courier) wants() bool { return c != nil && c.wanted.Load() }

// call has the courier woken soon. It never waits.
func (c *courier) call() {
	if !c.wants() {
		return
	}
	select {
	case c.due <- struct{}{}:
	default:
	}
}

// run knocks when it was asked to.
func (c *courier) run(ctx context.Context) {
	for {
		select {
		case <-c.due:
			c.knock()
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(knockPause):
		case <-ctx.Done():
			return
		}
	}
}

// knock connects and hangs up. A full backlog means that others knocked already: then it fails at once, and that is fine.
func (c *courier) knock() {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer syscall.Close(fd)
	_ = syscall.Connect(fd, &syscall.SockaddrUnix{Name: c.path}) // no socket: bailiff-report is not installed, or its socket was stopped
}
