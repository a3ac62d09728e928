package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Event is one line of GET /v1/events: something that just happened. It contains no account name, since a mistyped one may
// be a password.
type Event struct {
	// Kind is "status" (the first line of each stream), "failure", "ban", "extend", "unban", "state" (the line in systemctl
	// status has changed, or the configuration was reloaded) or "missed" (events were left out, since this client is too slow or
	// there were too many in a second). "ask" is for bailiff-fleet: it should ask a host (Text) for the lines of a ban (Prefix, Jail).
	Kind     string     `json:"kind"`
	Time     time.Time  `json:"time"` // of the entry that led to it; of a state, now
	Jail     string     `json:"jail,omitempty"`
	Pattern  string     `json:"pattern,omitempty"`
	Address  string     `json:"address,omitempty"`
	Prefix   string     `json:"prefix,omitempty"`
	Attempts int        `json:"attempts,omitempty"`  // of a failure: that its line stands for
	Count    int        `json:"count,omitempty"`     // of a failure: weight of the prefix's window; of a ban: its number for this prefix
	MaxRetry int        `json:"max_retry,omitempty"` // of a failure: the count that leads to a ban
	Failures int        `json:"failures,omitempty"`  // of a ban: what led to it
	ID       string     `json:"id,omitempty"`        // of a ban
	Until    *time.Time `json:"until,omitempty"`     // of a ban; absent: forever
	Reason   string     `json:"reason,omitempty"`
	By       string     `json:"by,omitempty"`
	Text     string     `json:"text,omitempty"`   // of a state
	Missed   uint64     `json:"missed,omitempty"` // events
	Status   *Status    `json:"status,omitempty"`
}

// Bounds of event streams. Each costs a connection and a goroutine that sleep while nothing happens.
const (
	maxStreams      = 16
	maxOtherStreams = 8 // of these, of users other than root
	maxFleetStreams = 2 // more, of Options.Fleet: one, and an earlier one whose end is not yet noticed

	// eventTime is how long a client may take to read what was written, before it is disconnected.
	eventTime = 5 * time.Second
)

// streams counts the event streams.
type streams struct {
	limit       time.Duration // eventTime, except in tests
	mu          sync.Mutex
	all, others int
	fleet       int           // beside all
	stop        chan struct{} // closed: the server ends
	once        sync.Once
}

// open reserves a stream; the caller calls free at its end.
func (s *streams) open(root bool) (free func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == maxStreams || !root && s.others == maxOtherStreams {
		return nil, false
	}
	s.all++
	if !root {
		s.others++
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if !root {
			s.others--
		}
	}, true
}

// openFleet reserves one of the streams that only Options.Fleet may have.
func (s *streams) openFleet() (free func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fleet == maxFleetStreams {
		return nil, false
	}
	s.fleet++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fleet--
	}, true
}

func (s *streams) end() { s.once.Do(func() { close(s.stop) }) }

// streamed is an answer that writes itself.
type streamed func(w http.ResponseWriter, r *http.Request)

// events opens a stream. Its first line is asked for before the answer begins, so that an error has its HTTP status.
func (s *Server) events(r *http.Request, q url.Values, by Peer) (any, error) {
	quiet, err := yes(q, "quiet")
	if err != nil {
		return nil, err
	}
	free, ok := s.streams.open(by.UID == 0)
	if !ok && s.isFleet(by.UID) {
		free, ok = s.streams.openFleet()
	}
	if !ok {
		return nil, &Error{Status: http.StatusServiceUnavailable, Message: fmt.Sprintf("too many event streams at once: there are places for %d, %d of them for users other than root", maxStreams, maxOtherStreams), Hint: "close one, such as a bailiff top"}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context())) // without the time limit of a call
	ch, err := s.d.Events(ctx, quiet)
	var status *Status
	if err == nil {
		status, err = s.d.Status(r.Context())
	}
	if err != nil {
		cancel()
		free()
		return nil, err
	}
	status = withLists(status).(*Status)
	return streamed(func(w http.ResponseWriter, r *http.Request) {
		defer free()
		defer cancel()
		s.stream(w, r, ch, Event{Kind: "status", Time: time.Now(), Status: status})
	}), nil
}

// stream writes events until the client leaves or stops reading, or the server ends.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, ch <-chan Event, first Event) {
	l := s.newLines(w)
	if l.Encode(first) != nil || l.send() != nil || l.c.Flush() != nil {
		return
	}
	for {
		select {
		case e, ok := <-ch:
			if !ok {
				return
			}
			if l.Encode(e) != nil {
				return
			}
			for more := true; more && l.b.Len() < 32<<10; { // more events that are already queued
				select {
				case e, ok = <-ch:
					if more = ok; ok && l.Encode(e) != nil {
						return
					}
				default:
					more = false
				}
			}
			if l.send() != nil || l.c.Flush() != nil || !ok {
				return
			}
		case <-r.Context().Done():
			return
		case <-s.streams.stop:
			return
		}
	}
}

// lineWriter writes a growing answer: it encodes values, then sends them.
type lineWriter struct {
	*json.Encoder
	b     bytes.Buffer
	w     http.ResponseWriter
	c     *http.ResponseController
	limit time.Duration
	begun bool
}

func (s *Server) newLines(w http.ResponseWriter) *lineWriter {
	l := &lineWriter{w: w, c: http.NewResponseController(w), limit: s.streams.limit}
	l.c.SetReadDeadline(time.Time{}) // the request's deadline would hide the end of the connection
	l.Encoder = json.NewEncoder(&l.b)
	l.SetEscapeHTML(false)
	return l
}

func (l *lineWriter) send() error {
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "application/x-ndjson")
		l.w.Header().Set("X-Content-Type-Options", "nosniff")
	}
	l.c.SetWriteDeadline(time.Now().Add(l.limit))
	_, err := l.w.Write(l.b.Bytes())
	l.b.Reset()
	return err
}

// Events calls f with everything that happens until ctx ends, f returns an error, or the daemon stops. The first event is of
// kind "status".
func (c *Client) Events(ctx context.Context, f func(*Event) error) error { return c.follow(ctx, "", f) }

// QuietEvents is Events without failures. A flood of failures leaves no room for other events.
func (c *Client) QuietEvents(ctx context.Context, f func(*Event) error) error {
	return c.follow(ctx, "quiet=true", f)
}

func (c *Client) follow(ctx context.Context, query string, f func(*Event) error) error {
	if err := readLines(ctx, c, "/v1/events", query, f); err != nil {
		return err
	}
	return &Error{Status: http.StatusBadGateway, Message: "the daemon has stopped", Hint: "see systemctl status bailiff"}
}

// readLines calls f with each line of a growing answer.
func readLines[T any](ctx context.Context, c *Client, path, rawQuery string, f func(*T) error) error {
	res, err := c.Open(ctx, path, rawQuery, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		_, err := c.whole(res)
		return c.explain(err, http.MethodGet)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			return &Error{Status: http.StatusBadGateway, Message: fmt.Sprintf("a line of the daemon's answer cannot be read: %v", err),
				Hint: "the daemon may be of another version: systemctl restart bailiff", cause: err}
		}
		if err := f(&v); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return c.explain(err, http.MethodGet)
	}
	return nil
}
