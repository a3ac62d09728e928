package web

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// quiet closes over when no connection has been open on any of its servers for a while. A connection that comes while the process
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

// count is the ConnState of a server.
func (q *quiet) count(_ net.Conn, s http.ConnState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch s {
	case http.StateNew:
		q.open++
	case http.StateClosed:
		q.open--
	default:
		return
	}
	if q.timer == nil {
		return
	}
	if q.open == 0 {
		q.timer.Reset(q.limit)
	} else {
		q.timer.Stop()
	}
}
