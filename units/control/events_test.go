package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// stream opens an event stream by hand and reads its first line.
func stream(t *testing.T, path string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	fmt.Fprint(c, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
	c.SetDeadline(time.Now().Add(time.Minute))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%+v, %v", res, err)
	}
	r := bufio.NewReader(res.Body)
	if l, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(l, `{"kind":"status",`) {
		t.Fatalf("%q, %v", l, err)
	}
	return c, r
}

func TestEvents(t *testing.T) {
	needRoot(t)
	f := &fake{happens: make(chan Event, 10)}
	c := Dial(serve(t, f, Options{}))
	f.happens <- Event{Kind: "failure", Jail: "sshd", Address: "192.0.2.7", Count: 2, MaxRetry: 5}
	f.happens <- Event{Kind: "ban", Prefix: "192.0.2.7/32"}
	var got []string
	enough := errors.New("enough")
	err := c.Events(timeout(t, time.Minute), func(e *Event) error {
		got = append(got, e.Kind)
		switch {
		case e.Kind == "status" && (e.Status == nil || e.Status.Bans != 3 || e.Status.Problems == nil):
			t.Errorf("%+v", e.Status)
		case e.Kind == "failure" && (e.Address != "192.0.2.7" || e.MaxRetry != 5):
			t.Errorf("%+v", e)
		case e.Kind == "ban":
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || strings.Join(got, " ") != "status failure ban" {
		t.Errorf("%v: %v", got, err)
	}
	// A daemon that ends, a daemon that has no events to give, and no daemon.
	close(f.happens)
	var e *Error
	if err := c.Events(timeout(t, time.Minute), func(*Event) error { return nil }); !errors.As(err, &e) || e.Message != "the daemon has stopped" {
		t.Error(err)
	}
	f.err = &Error{Status: 409, Message: "busy"}
	if err := c.Events(timeout(t, time.Minute), func(*Event) error { return nil }); !errors.As(err, &e) || e.Message != "busy" {
		t.Error(err)
	}
	if err := Dial(t.TempDir()+"/none").Events(timeout(t, time.Minute), nil); !errors.Is(err, ErrNotRunning) {
		t.Error(err)
	}
}

// TestStreamsAreBounded: streams beyond the limit are refused, and a stream that is closed gives its place back even if nothing happens.
func TestStreamsAreBounded(t *testing.T) {
	needRoot(t)
	f := &fake{happens: make(chan Event)}
	path := serve(t, f, Options{})
	var conns []net.Conn
	for range maxStreams {
		c, _ := stream(t, path)
		conns = append(conns, c)
	}
	var e *Error
	if err := Dial(path).Events(timeout(t, time.Minute), func(*Event) error { return nil }); !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable || e.Hint == "" {
		t.Fatal(err)
	}
	if _, err := Dial(path).Status(timeout(t, time.Minute)); err != nil {
		t.Errorf("other calls: %v", err)
	}
	conns[0].Close()
	seen := errors.New("seen")
	for limit := time.Now().Add(time.Minute); ; {
		if err := Dial(path).Events(timeout(t, time.Minute), func(*Event) error { return seen }); errors.Is(err, seen) {
			break
		} else if time.Now().After(limit) {
			t.Fatalf("the place is not given back: %v", err)
		}
	}
	s := streams{}
	for i := range maxOtherStreams {
		if _, ok := s.open(false); !ok {
			t.Errorf("no place %d for others", i)
		}
	}
	if _, ok := s.open(false); ok {
		t.Error("others may take all places")
	}
	if _, ok := s.open(true); !ok {
		t.Error("root is kept out")
	}
}

// TestSlowClient: a client that reads nothing is dropped.
func TestSlowClient(t *testing.T) {
	needRoot(t)
	f := &fake{happens: make(chan Event, 1)}
	l, path := listenAt(t)
	s := NewServer(f, Options{})
	s.streams.limit = 100 * time.Millisecond
	go s.Serve(l)
	defer s.Shutdown(context.Background())
	c, r := stream(t, path)
	e := Event{Kind: "failure", Reason: strings.Repeat("x", 64<<10)}
	dropped := time.After(time.Minute)
	for {
		s.streams.mu.Lock()
		open := s.streams.all
		s.streams.mu.Unlock()
		if open == 0 {
			break
		}
		select {
		case f.happens <- e:
		case <-dropped:
			t.Fatal("the client is still there")
		case <-time.After(time.Millisecond): // nobody takes it: look again
		}
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, r); err == nil {
		t.Error("the stream ended as if nothing were missing")
	}
}

// TestShutdownEndsStreams: an idle stream does not delay the daemon's stop.
func TestShutdownEndsStreams(t *testing.T) {
	needRoot(t)
	f := &fake{happens: make(chan Event)}
	l, path := listenAt(t)
	s := NewServer(f, Options{})
	go s.Serve(l)
	_, r := stream(t, path)
	if err := s.Shutdown(timeout(t, time.Minute)); err != nil {
		t.Error(err)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("the stream: %v", err)
	}
}

// TestQuietStreamLasts: the limits of a request are not those of a stream.
func TestQuietStreamLasts(t *testing.T) {
	needRoot(t)
	f := &fake{happens: make(chan Event)}
	l, path := listenAt(t)
	s := NewServer(f, Options{})
	s.http.ReadTimeout, s.http.IdleTimeout = 50*time.Millisecond, 50*time.Millisecond
	go s.Serve(l)
	defer s.Shutdown(context.Background())
	c, r := stream(t, path)
	c.SetReadDeadline(time.Now().Add(400 * time.Millisecond))
	var n net.Error
	if _, err := r.ReadByte(); !errors.As(err, &n) || !n.Timeout() {
		t.Errorf("after eight times the limit of a request: %v", err)
	}
}
