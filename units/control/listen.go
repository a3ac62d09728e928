package control

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"bailiff/units/peer"
)

// listener limits the number of connections and determines each caller before a byte is read.
type listener struct {
	net.Listener
	log      func(string)
	slots    chan struct{}
	others   chan struct{}
	fleet    chan struct{} // of maxFleet
	isFleet  func(uid uint32) bool
	refusing chan struct{} // of maxRefused
}

func newListener(l net.Listener, log func(string), isFleet func(uid uint32) bool) *listener {
	return &listener{
		Listener: l, log: log, slots: make(chan struct{}, maxConns), others: make(chan struct{}, maxOthers),
		fleet: make(chan struct{}, maxFleet), isFleet: isFleet, refusing: make(chan struct{}, maxRefused),
	}
}

// full is the answer to a connection for which there is no place.
var full = Error{
	Status: http.StatusServiceUnavailable, Message: fmt.Sprintf("too many connections at once: users other than root have places for %d", maxOthers),
	Hint: "close some, or try again later",
}

type conn struct {
	net.Conn
	who  peer.Credentials
	once sync.Once
	free func()
}

func (c *conn) Close() error {
	c.once.Do(c.free)
	return c.Conn.Close()
}

func (l *listener) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			<-l.slots
			return nil, err
		}
		u, ok := c.(*net.UnixConn)
		if !ok {
			<-l.slots
			c.Close()
			return nil, fmt.Errorf("a %s connection, not a unix one", c.LocalAddr().Network())
		}
		who, err := peer.Of(u)
		if err != nil {
			c.Close()
			l.log(err.Error())
			continue
		}
		if who.UID == 0 {
			return &conn{Conn: c, who: who, free: func() { <-l.slots }}, nil
		}
		select {
		case l.others <- struct{}{}:
			return &conn{Conn: c, who: who, free: func() { <-l.others; <-l.slots }}, nil
		default:
		}
		if l.isFleet(who.UID) {
			select {
			case l.fleet <- struct{}{}:
				return &conn{Conn: c, who: who, free: func() { <-l.fleet; <-l.slots }}, nil
			default:
			}
		}
		select { // root may be the next to be accepted, so nobody is waited for
		case l.refusing <- struct{}{}:
			go func() {
				refuse(c, &full, time.Now().Add(50*time.Millisecond))
				<-l.refusing
			}()
		default: // the answer fits into the socket's buffer
			c.SetDeadline(time.Now().Add(100 * time.Millisecond))
			full.write(c)
			c.Close()
		}
	}
}

// refuse answers a connection with an error without reading the request. It first waits, until the time wait at most, for
// the request to begin: net/http's client ignores an answer that precedes its request. The deadline protects from clients that
// read nothing; the answer fits into the socket's buffer, so real clients receive it.
func refuse(c net.Conn, e *Error, wait time.Time) {
	defer c.Close()
	c.SetDeadline(wait)
	c.Read(make([]byte, 1)) // the answer does not depend on the result
	c.SetDeadline(time.Now().Add(100 * time.Millisecond))
	e.write(c)
	if u, ok := c.(*net.UnixConn); ok {
		// Closing with unread bytes would reset the connection and the answer with it.
		u.CloseWrite()
		io.Copy(io.Discard, io.LimitReader(c, maxHeader+maxBody))
	}
}

// write writes the error as a whole answer.
func (e *Error) write(w io.Writer) {
	body, _ := json.Marshal(e)
	fmt.Fprintf(w, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
		e.Status, http.StatusText(e.Status), len(body)+1, body)
}

// Refuse answers all callers waiting in l with the reason why the daemon does not start, for little more than 2 s at most.
// A daemon with a configuration error calls it before it exits. Otherwise systemd would start it again for the callers still
// waiting, and they would never learn the reason.
func Refuse(l net.Listener, e Error) {
	type deadliner interface{ SetDeadline(time.Time) error }
	d, ok := l.(deadliner)
	if !ok {
		return
	}
	e.Status = cmp.Or(e.Status, http.StatusServiceUnavailable)
	end := time.Now().Add(2 * time.Second)
	var callers sync.WaitGroup // concurrently: one that sends nothing must not delay the others
	defer callers.Wait()
	for time.Now().Before(end) {
		d.SetDeadline(time.Now().Add(20 * time.Millisecond))
		c, err := l.Accept()
		if err != nil {
			return
		}
		callers.Add(1)
		go func() {
			defer callers.Done()
			refuse(c, &e, end)
		}()
	}
}
