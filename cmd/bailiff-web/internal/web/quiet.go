package web

import (
	"net"
	"sync"
	"time"
)

// quiet closes over when no connection has been open on any of its listeners for a while. A connection that comes while the process
// ends waits in systemd's socket for the next one.
type quiet struct {
	limit time.Duration
	over  chan struct{}
	mu    sync.Mutex
	open  int
	timer *time.Timer
	once  sync.Once
}

func newQuiet(limit time.Duration) *quiet {
	q := &quiet{limit: limit, over: make(chan struct{})}
	if limit > 0 {
		q.timer = time.AfterFunc(limit, q.end)
	}
	return q
}

func (q *quiet) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open == 0 {
		q.once.Do(func() { close(q.over) })
	}
}

func (q *quiet) add(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open += n
	if q.timer == nil {
		return
	}
	if q.open == 0 {
		q.timer.Reset(q.limit)
	} else {
		q.timer.Stop()
	}
}

// watch counts the connections of a listener, and accepts no more than maxConns at once.
func (q *quiet) watch(l net.Listener) net.Listener {
	return &watched{l, q, make(chan struct{}, maxConns), make(chan struct{}), sync.Once{}}
}

type watched struct {
	net.Listener
	q      *quiet
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (w *watched) Close() error {
	w.once.Do(func() { close(w.closed) })
	return w.Listener.Close()
}

func (w *watched) Accept() (net.Conn, error) {
	select {
	case w.slots <- struct{}{}:
	case <-w.closed:
		return nil, net.ErrClosed
	}
	c, err := w.Listener.Accept()
	if err != nil {
		<-w.slots
		return nil, err
	}
	w.q.add(1)
	return &counted{Conn: c, done: func() { w.q.add(-1); <-w.slots }}, nil
}

type counted struct {
	net.Conn
	once sync.Once
	done func()
}

func (c *counted) Close() error {
	c.once.Do(c.done)
	return c.Conn.Close()
}
