package control

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/user"
	"reflect"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/units/peer"
)

// Limits. They apply to root, too: a broken script must not exhaust the daemon's memory.
const (
	maxConns     = 64       // at once
	maxOthers    = 32       // of these, from users other than root, so that root always gets through
	maxFleet     = 8        // of Options.Fleet beyond those: one reads events, others pass on bans
	maxRefused   = 16       // connections beyond these whose request is waited for before they are told so; others are told at once
	maxHeader    = 8 << 10  // bytes
	maxBody      = 64 << 10 // bytes: some 3,000 prefixes in one call
	defaultLimit = 1000     // bans a page
	maxLimit     = 10000

	headerTime = 5 * time.Second  // to send a request's head
	readTime   = 10 * time.Second // to send a request
	idleTime   = 10 * time.Second // between two requests on a connection
	callTime   = 30 * time.Second // for the daemon to answer
	repairTime = 75 * time.Second // the same for a repair: the firewall has a minute
	writeTime  = 30 * time.Second // to take the answer
)

// Options of a Server.
type Options struct {
	Group string       // whose members may read; default "bailiff"
	Fleet string       // the user who passes on the bans of other hosts; default FleetUser
	Log   func(string) // is called with panics and failed connections; default: nothing is
}

// Server answers calls on a control socket.
type Server struct {
	d      Daemon   // of NewServer
	c      Reporter // of NewReportServer
	calls  map[string]map[string]call
	unit   string
	log    func(string)
	self   uint32
	group  string
	fleet  string
	gid    uint32
	hasGID bool
	http   *http.Server

	streams streams
}

// NewServer makes the daemon's server. If the group does not exist, only root and the daemon's own user have access.
func NewServer(d Daemon, o Options) *Server {
	s := newServer(o)
	s.d, s.calls, s.unit = d, calls, "bailiff"
	return s
}

func newServer(o Options) *Server {
	s := &Server{log: o.Log, self: uint32(os.Geteuid()), group: o.Group, fleet: cmp.Or(o.Fleet, FleetUser)}
	if s.log == nil {
		s.log = func(string) {}
	}
	s.group = cmp.Or(s.group, "bailiff")
	if g, err := user.LookupGroup(s.group); err == nil {
		if gid, err := strconv.ParseUint(g.Gid, 10, 32); err == nil {
			s.gid, s.hasGID = uint32(gid), true
		}
	}
	s.streams.limit, s.streams.stop = eventTime, make(chan struct{})
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       readTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(LogWriter(s.log), "control: ", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, callerKey{}, c.(*conn).who)
		},
	}
	return s
}

// Serve answers until Shutdown; then it returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(newListener(l, s.log, s.isFleet)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// Shutdown accepts no more connections and waits for running calls until ctx ends. New callers wait in systemd's socket for
// the next daemon.
func (s *Server) Shutdown(ctx context.Context) error {
	s.streams.end()
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

// LogWriter passes the lines of a log.Logger on.
type LogWriter func(string)

func (w LogWriter) Write(b []byte) (int, error) {
	w(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

type callerKey struct{}

// right is what a call requires.
type right int

const (
	read      right = iota // root, the daemon's own user, the group
	reload                 // root, the daemon's own user
	fleetNews              // root, FleetUser
	admin                  // root
)

// call is one method of one path.
type call struct {
	right   right
	query   []string // known parameters
	body    bool
	maxBody int64 // bytes; 0: the constant maxBody
	run     handler
	limit   time.Duration // for the answer; 0: callTime
}

type handler func(s *Server, r *http.Request, q url.Values, by Peer) (any, error)

// plain is a call of a Daemon or a Reporter without arguments.
func plain[D, T any](do func(D, context.Context) (T, error)) handler {
	return func(s *Server, r *http.Request, _ url.Values, _ Peer) (any, error) {
		v, err := do(owner[D](s), r.Context())
		return v, err
	}
}

// about is a call about an address or a prefix, in the parameter called name.
func about[T any](name string, do func(Daemon, context.Context, netip.Prefix) (T, error)) handler {
	return func(s *Server, r *http.Request, q url.Values, _ Peer) (any, error) {
		p, err := prefix(name, q.Get(name))
		if err != nil {
			return nil, err
		}
		v, err := do(s.d, r.Context(), p)
		return v, err
	}
}

// taking is a call with a body.
func taking[D, Q, T any](do func(D, context.Context, Peer, Q) (T, error)) handler {
	return func(s *Server, r *http.Request, _ url.Values, by Peer) (any, error) {
		var req Q
		if err := body(r, &req); err != nil {
			return nil, err
		}
		v, err := do(owner[D](s), r.Context(), by, req)
		return v, err
	}
}

// owner is the Daemon or the Reporter that answers.
func owner[D any](s *Server) D {
	if s.d != nil {
		return s.d.(D)
	}
	return s.c.(D)
}

// ServeHTTP checks path, method, rights and parameters, and then calls the daemon.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			s.log(fmt.Sprintf("control: %s %s: panic: %v\n%s", r.Method, r.URL.Path, p, debug.Stack()))
			s.answer(w, nil, &Error{Status: http.StatusInternalServerError, Message: "internal error", Hint: "the journal has the details: journalctl -u " + s.unit})
		}
	}()
	v, err := s.handle(w, r)
	if write, ok := v.(streamed); ok && err == nil {
		write(w, r)
		return
	}
	s.answer(w, v, err)
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) (any, error) {
	methods, ok := s.calls[r.URL.Path]
	if !ok {
		return nil, &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("no such path: %.100q", r.URL.Path), Hint: "paths are " + strings.Join(slices.Sorted(maps.Keys(s.calls)), ", ")}
	}
	c, ok := methods[r.Method]
	if !ok {
		allow := slices.Sorted(maps.Keys(methods))
		w.Header().Set("Allow", strings.Join(allow, ", "))
		return nil, &Error{Status: http.StatusMethodNotAllowed, Message: fmt.Sprintf("%s does not take %.20q", r.URL.Path, r.Method), Hint: "it takes " + strings.Join(allow, ", ")}
	}
	who, ok := r.Context().Value(callerKey{}).(peer.Credentials)
	if !ok {
		return nil, errors.New("the caller is not known")
	}
	if err := s.permit(&who, c.right); err != nil {
		return nil, err
	}
	q, err := parameters(r.URL.RawQuery, c.query)
	if err != nil {
		return nil, err
	}
	if !c.body {
		if n, _ := io.ReadFull(r.Body, make([]byte, 1)); n > 0 {
			return nil, &Error{Status: http.StatusBadRequest, Message: r.Method + " " + r.URL.Path + " takes no body"}
		}
	}
	r.Body = http.MaxBytesReader(w, r.Body, cmp.Or(c.maxBody, maxBody))
	ctx, cancel := context.WithTimeout(r.Context(), cmp.Or(c.limit, callTime))
	defer cancel()
	by := Peer{PID: who.PID, UID: who.UID, GID: who.GID, User: userName(who.UID)}
	if by.User, err = onBehalf(by, r.Header.Get(userHeader)); err != nil {
		return nil, err
	}
	return c.run(s, r.WithContext(ctx), q, by)
}

// permit checks the caller's credentials.
func (s *Server) permit(who *peer.Credentials, need right) error {
	switch {
	case who.UID == 0,
		need <= reload && who.UID == s.self,
		need == fleetNews && s.isFleet(who.UID),
		need == read && s.hasGID && who.In(s.gid):
		return nil
	case need == read:
		return &Error{Status: http.StatusForbidden, Message: fmt.Sprintf("user %s may not read", userName(who.UID)),
			Hint: "become root, or have an admin put you into group " + s.group}
	}
	return &Error{Status: http.StatusForbidden, Message: fmt.Sprintf("user %s may not change anything", userName(who.UID)), Hint: "only root may; try sudo"}
}

// isFleet reports whether a user is Options.Fleet, whose account may be created while the daemon runs.
func (s *Server) isFleet(uid uint32) bool {
	u, err := user.Lookup(s.fleet)
	return err == nil && u.Uid == strconv.FormatUint(uint64(uid), 10)
}

// answer writes a value, or an error with its HTTP status.
func (s *Server) answer(w http.ResponseWriter, v any, err error) {
	var b []byte
	kind, status := "application/json", http.StatusOK
	if err == nil {
		if d, ok := v.(document); ok {
			b, kind = d.body, d.kind
		} else {
			b, err = encode(v)
		}
	}
	if err != nil {
		e := AsError(err)
		status = e.Status
		b, _ = encode(e)
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("X-Content-Type-Options", "nosniff")
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime))
	w.WriteHeader(status)
	w.Write(b)
}

func encode(v any) ([]byte, error) {
	v = withLists(v)
	var b bytes.Buffer
	j := json.NewEncoder(&b)
	j.SetEscapeHTML(false)
	if err := j.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// withLists returns an answer in which lists and maps that are nil are empty: JSON shows [] instead of null. Those marked null:"true"
// stay as they are.
func withLists(v any) any {
	if v == nil {
		return nil
	}
	x := reflect.New(reflect.TypeOf(v)).Elem()
	x.Set(reflect.ValueOf(v))
	fillLists(x)
	return x.Interface()
}

func fillLists(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fillLists(v.Elem())
		}
	case reflect.Map:
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
	case reflect.Slice:
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		if v.Type().Elem().Kind() == reflect.Struct {
			for i := range v.Len() {
				fillLists(v.Index(i))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("null") == "" && !strings.Contains(f.Tag.Get("json"), "omit") {
				fillLists(v.Field(i))
			}
		}
	}
}

// AsError is the error as an *Error, which has an HTTP status.
func AsError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		if http.StatusText(e.Status) == "" || e.Status < 400 {
			return &Error{Status: http.StatusInternalServerError, Message: err.Error(), Hint: e.Hint, cause: err}
		}
		return e
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Error{Status: http.StatusGatewayTimeout, Message: "the daemon did not answer in time", Hint: "see systemctl status bailiff", cause: err}
	}
	return &Error{Status: http.StatusInternalServerError, Message: err.Error(), cause: err}
}

// BadRequest is the error of a call that makes no sense.
func BadRequest(hint, format string, args ...any) error {
	return &Error{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...), Hint: hint}
}
