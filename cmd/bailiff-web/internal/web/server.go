// Package web is the server of the status page: it passes the read calls of the control sockets on to a browser, and serves the
// page's files. It decides and changes nothing, keeps no state, and knows no more than group bailiff may read.
//
// Callers on the unix socket are members of the group, which the socket's mode checks. Callers over TCP may be any user of the host:
// they get the page's files and the metrics, which name no address and no account; for anything else they need the token that the
// unix socket gives. Every request is checked against DNS rebinding and against other pages in the same browser. Start reading at
// Server.ServeHTTP.
package web

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"bailiff/units/control"
)

// Limits. Those of calls and streams stay below what the control socket grants to all users but root, so that bailiff(1) gets
// through whatever the page does.
const (
	maxConns   = 64 // at once, of each listener
	maxCalls   = 8  // that wait for the daemon's answer
	maxEvents  = 5  // event streams, of the control socket's 8
	maxHistory = 1  // searches in the journal, of the daemon's 2
	maxScrapes = 2

	maxHeader  = 16 << 10 // bytes
	maxQuery   = 6 << 10  // bytes: the control socket takes 8 KiB of head
	headerTime = 5 * time.Second
	idleTime   = 30 * time.Second // between two requests on a connection
	callTime   = 40 * time.Second // for the daemon's answer, and to take it
	eventTime  = 10 * time.Second // for a browser to take an event
	queueTime  = 5 * time.Second  // to wait for one of maxCalls
)

// policy lets the page load its own files only, run no inline script or style, and be shown in no frame. Trusted Types make every
// attempt to turn text into markup an error.
const policy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Options of a Server.
type Options struct {
	Control *control.Client
	Report  *control.ReportClient
	Token   string        // that callers over TCP need
	Hosts   []string      // names by which browsers may call the server, besides those of the loopback interface
	Page    fs.FS         // the files
	Idle    time.Duration // without a connection, after which Serve returns; 0: never
	Log     func(string)
}

// Server answers browsers and Prometheus.
type Server struct {
	Options
	files                           map[string]file // by path
	calls, events, history, scrapes chan struct{}
	addr                            atomic.Pointer[string] // of the TCP listener
	stop                            context.Context        // ends streams
}

// New makes a server.
func New(o Options) (*Server, error) {
	s := &Server{Options: o, stop: context.Background(),
		calls: make(chan struct{}, maxCalls), events: make(chan struct{}, maxEvents), history: make(chan struct{}, maxHistory), scrapes: make(chan struct{}, maxScrapes)}
	if s.Log == nil {
		s.Log = func(string) {}
	}
	var err error
	s.files, err = load(o.Page)
	return s, err
}

// trustedKey marks requests that came over the unix socket.
type trustedKey struct{}

// Serve answers on the listeners until ctx ends or nobody has been connected for the time Idle; then it returns nil.
func (s *Server) Serve(ctx context.Context, listeners []net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.stop = ctx
	quiet := newQuiet(s.Idle)
	failed := make(chan error, len(listeners))
	var servers []*http.Server
	for _, l := range listeners {
		trusted := l.Addr().Network() == "unix"
		if !trusted {
			a := l.Addr().String()
			s.addr.Store(&a)
		}
		h := &http.Server{
			Handler:           s,
			ReadHeaderTimeout: headerTime,
			ReadTimeout:       headerTime,
			IdleTimeout:       idleTime,
			MaxHeaderBytes:    maxHeader,
			ErrorLog:          log.New(control.LogWriter(s.Log), "", 0),
			ConnState:         quiet.count,
			BaseContext:       func(net.Listener) context.Context { return context.WithValue(ctx, trustedKey{}, trusted) },
		}
		servers = append(servers, h)
		go func() { failed <- h.Serve(netutil.LimitListener(l, maxConns)) }()
	}
	var err error
	select {
	case err = <-failed:
	case <-quiet.over:
	case <-ctx.Done():
	}
	cancel() // streams end
	end, done := context.WithTimeout(context.Background(), 2*time.Second)
	defer done()
	for _, h := range servers {
		h.Shutdown(end)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// ServeHTTP checks where a request comes from and what it asks for, and answers it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	if err := s.permit(r); err != nil {
		fail(w, err)
		return
	}
	if f, ok := s.files[r.URL.Path]; ok {
		f.serve(w, r)
		return
	}
	http.NewResponseController(w).SetReadDeadline(time.Time{}) // that of the head would end a long call, and hide that the browser left
	if r.URL.Path == "/metrics" {
		s.metrics(w, r)
		return
	}
	if !s.knows(r) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		fail(w, &control.Error{Status: http.StatusUnauthorized, Message: "this call needs the token of this host's status page", Hint: "bailiff web prints a link with it, for root and members of group bailiff"})
		return
	}
	switch path := r.URL.Path; {
	case path == "/token":
		s.token(w, r)
	case path == "/v1/events":
		s.stream(w, r, s.events)
	case path == "/v1/history":
		s.stream(w, r, s.history)
	case calls[path]:
		s.pass(w, r, s.calls, s.Control.Open, path)
	case reportCalls[path]:
		s.pass(w, r, s.calls, s.Report.Open, strings.TrimPrefix(path, "/report"))
	default:
		fail(w, &control.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("no such path: %.100q", path)})
	}
}

// calls are the read calls of the daemon's control socket that are passed on. The comparison with the kernel's sets is not one of
// them: while it runs, no ban is carried out.
var calls = map[string]bool{
	"/v1/status": true, "/v1/bans": true, "/v1/allow": true, "/v1/why": true, "/v1/config": true, "/v1/filters": true, "/v1/match": true,
	"/v1/fleet": true,
}

// reportCalls are those of bailiff-report's control socket, which asks the registries.
var reportCalls = map[string]bool{"/report/v1/status": true, "/report/v1/report": true, "/report/v1/reports": true, "/report/v1/whois": true}

// secure sets the headers of every answer.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// permit refuses requests that a browser sends for someone else's page. A name that an attacker's DNS server points at this host is not one
// of ours (DNS rebinding), and a request from another origin says so in Origin or Sec-Fetch-Site. Following a link to the page itself is no
// such request.
func (s *Server) permit(r *http.Request) *control.Error {
	forbidden := func(format string, args ...any) *control.Error {
		return &control.Error{Status: http.StatusForbidden, Message: fmt.Sprintf(format, args...)}
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return &control.Error{Status: http.StatusMethodNotAllowed, Message: "this server changes nothing: it takes GET only", Hint: "bailiff(1) bans, unbans and allows"}
	}
	if !s.isOurs(r.Host) {
		e := forbidden("%.100q is not a name of this server", r.Host)
		e.Hint = "call it localhost, or start it with --host NAME: bailiff-web(8)"
		return e
	}
	if o := r.Header.Get("Origin"); o != "" && o != "http://"+r.Host && o != "https://"+r.Host {
		return forbidden("requests from %.100q are refused", o)
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); {
	case site == "" || site == "none" || site == "same-origin":
	case r.URL.Path == "/" && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document":
	default:
		return forbidden("requests of other sites are refused (Sec-Fetch-Site: %.20s)", site)
	}
	if len(r.URL.RawQuery) > maxQuery {
		return &control.Error{Status: http.StatusRequestURITooLong, Message: fmt.Sprintf("the query has more than %d bytes", maxQuery)}
	}
	if r.ContentLength != 0 {
		return &control.Error{Status: http.StatusBadRequest, Message: "GET takes no body"}
	}
	return nil
}

// isOurs reports whether a Host header names this server. The port does not matter: it may be forwarded.
func (s *Server) isOurs(host string) bool {
	name := host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return false
		}
		name = h
	}
	name = strings.Trim(name, "[]")
	for _, ours := range append([]string{"localhost", "127.0.0.1", "::1"}, s.Hosts...) {
		if strings.EqualFold(name, ours) {
			return true
		}
	}
	return false
}

// knows reports whether the caller may see what group bailiff sees.
func (s *Server) knows(r *http.Request) bool {
	if trusted, _ := r.Context().Value(trustedKey{}).(bool); trusted {
		return true
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && s.Token != "" && subtle.ConstantTimeCompare([]byte(token), []byte(s.Token)) == 1
}

// token answers GET /token: the token, and where to use it. Who knows it already may ask for it.
func (s *Server) token(w http.ResponseWriter, _ *http.Request) {
	answer := struct {
		Token   string  `json:"token"`
		Address *string `json:"address"` // null: there is no TCP socket
	}{s.Token, s.addr.Load()}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}

// fail answers with an error, in the form of the control socket's.
func fail(w http.ResponseWriter, e *control.Error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	json.NewEncoder(w).Encode(e)
}
