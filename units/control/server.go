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
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/user"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"bailiff/units/peer"
)

// Limits. They hold for root too: a script gone wild must not take the daemon's memory.
const (
	maxConns     = 64       // at once
	maxOthers    = 32       // of these, from users other than root: they cannot keep root out
	maxHeader    = 8 << 10  // bytes
	maxBody      = 64 << 10 // bytes: some 3,000 prefixes in one call
	defaultLimit = 1000     // bans a page
	maxLimit     = 10000

	headerTime = 5 * time.Second  // to send a request's head
	readTime   = 10 * time.Second // to send a request
	idleTime   = 10 * time.Second // between two requests on a connection
	callTime   = 30 * time.Second // the daemon's, to answer
	repairTime = 75 * time.Second // the same, of a repair: the firewall has a minute
	writeTime  = 30 * time.Second // to take the answer
)

// Options of a Server.
type Options struct {
	Group string       // whose members may look; default "bailiff"
	Log   func(string) // told of panics and failing connections; default: nobody
}

// Server answers on the control socket.
type Server struct {
	d      Daemon   // of NewServer
	c      Reporter // of NewReportServer
	calls  map[string]map[string]call
	unit   string
	log    func(string)
	self   uint32
	group  string
	gid    uint32
	hasGID bool
	http   *http.Server

	streams streams
}

// NewServer makes the daemon's server. A group that does not exist leaves root and the daemon's own user.
func NewServer(d Daemon, o Options) *Server {
	s := newServer(o)
	s.d, s.calls, s.unit = d, calls, "bailiff"
	return s
}

func newServer(o Options) *Server {
	s := &Server{log: o.Log, self: uint32(os.Geteuid()), group: o.Group}
	if s.log == nil {
		s.log = func(string) {}
	}
	if s.group == "" {
		s.group = "bailiff"
	}
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
		ErrorLog:          log.New(logWriter(s.log), "control: ", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, callerKey{}, c.(*conn).who)
		},
	}
	return s
}

// Serve answers until Shutdown; then it returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(newListener(l, s.log)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// Shutdown takes no more connections and lets the calls that run end, as long as ctx lasts. Those that come now wait in
// systemd's socket for the next daemon.
func (s *Server) Shutdown(ctx context.Context) error {
	s.streams.end()
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

type logWriter func(string)

func (w logWriter) Write(b []byte) (int, error) {
	w(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

type callerKey struct{}

// listener counts connections and knows each one's caller before a byte is read.
type listener struct {
	net.Listener
	log    func(string)
	slots  chan struct{}
	others chan struct{}
}

func newListener(l net.Listener, log func(string)) *listener {
	return &listener{l, log, make(chan struct{}, maxConns), make(chan struct{}, maxOthers)}
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
			refuse(c, &Error{Status: http.StatusServiceUnavailable, Message: "too many connections at once", Hint: "close some, or try again later"},
				time.Now().Add(50*time.Millisecond))
		}
	}
}

// refuse waits until the request begins, or until wait, then answers and drops the request. An answer that comes before the
// request is one to nothing: a client may take it for that and not look into it (net/http does). The deadline keeps
// a client that takes nothing from holding us up; the answer fits into the socket's buffer, so a real one gets it.
func refuse(c net.Conn, e *Error, wait time.Time) {
	defer c.Close()
	body, _ := json.Marshal(e)
	c.SetDeadline(wait)
	c.Read(make([]byte, 1)) // whatever comes of it, the answer is the same
	c.SetDeadline(time.Now().Add(100 * time.Millisecond))
	fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
		e.Status, http.StatusText(e.Status), len(body)+1, body)
	if u, ok := c.(*net.UnixConn); ok {
		// Closing with unread bytes would reset the connection and the answer with it.
		u.CloseWrite()
		io.Copy(io.Discard, io.LimitReader(c, maxHeader+maxBody))
	}
}

// Refuse tells everybody who waits in l why there will be no daemon, and returns after little more than 2 s at most.
// A daemon that cannot start (a configuration error) calls it before it exits: else systemd would find the callers still
// waiting and start it again, and they would never learn the reason.
func Refuse(l net.Listener, e Error) {
	type deadliner interface{ SetDeadline(time.Time) error }
	d, ok := l.(deadliner)
	if !ok {
		return
	}
	if e.Status == 0 {
		e.Status = http.StatusServiceUnavailable
	}
	end := time.Now().Add(2 * time.Second)
	var callers sync.WaitGroup // side by side: one that sends nothing keeps nobody from the reason
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

// right is what a call needs.
type right int

const (
	look   right = iota // root, the daemon's own user, the group
	reload              // root, the daemon's own user
	change              // root
)

// call is one method of one path.
type call struct {
	right right
	query []string // parameters that it knows
	body  bool
	run   func(s *Server, r *http.Request, q url.Values, by Peer) (any, error)
	limit time.Duration // to answer; 0: callTime
}

var calls = map[string]map[string]call{
	"/v1/status": {http.MethodGet: {right: look, run: (*Server).status}},
	"/v1/bans": {
		http.MethodGet:    {right: look, query: []string{"jail", "prefix", "observed", "limit", "after"}, run: (*Server).bans},
		http.MethodPost:   {right: change, body: true, run: (*Server).ban},
		http.MethodDelete: {right: change, query: []string{"prefix", "jail", "all"}, run: (*Server).unban},
	},
	"/v1/allow": {
		http.MethodGet:    {right: look, query: []string{"address"}, run: (*Server).allowed},
		http.MethodPost:   {right: change, body: true, run: (*Server).allow},
		http.MethodDelete: {right: change, query: []string{"prefix"}, run: (*Server).disallow},
	},
	"/v1/why":             {http.MethodGet: {right: look, query: []string{"address"}, run: (*Server).why}},
	"/v1/firewall":        {http.MethodGet: {right: look, run: (*Server).firewall}},
	"/v1/firewall/repair": {http.MethodPost: {right: change, query: []string{"force"}, run: (*Server).repairFirewall, limit: repairTime}},
	"/v1/events":          {http.MethodGet: {right: look, run: (*Server).events}},
	"/v1/config":          {http.MethodGet: {right: look, run: (*Server).config}},
	"/v1/reload":          {http.MethodPost: {right: reload, run: (*Server).reload}},
}

// ServeHTTP checks everything that can be checked before the daemon is asked.
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
		return nil, &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("no such path: %.100q", r.URL.Path), Hint: "there are " + strings.Join(s.paths(), ", ")}
	}
	c, ok := methods[r.Method]
	if !ok {
		allow := make([]string, 0, len(methods))
		for m := range methods {
			allow = append(allow, m)
		}
		slices.Sort(allow)
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
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	ctx, cancel := context.WithTimeout(r.Context(), cmp.Or(c.limit, callTime))
	defer cancel()
	return c.run(s, r.WithContext(ctx), q, Peer{PID: who.PID, UID: who.UID, GID: who.GID, User: userName(who.UID)})
}

// permit decides by the caller's credentials.
func (s *Server) permit(who *peer.Credentials, need right) error {
	switch {
	case who.UID == 0,
		need <= reload && who.UID == s.self,
		need == look && s.hasGID && who.In(s.gid):
		return nil
	case need == look:
		return &Error{Status: http.StatusForbidden, Message: fmt.Sprintf("user %s may not look", userName(who.UID)),
			Hint: "become root, or have an admin put you into group " + s.group}
	}
	return &Error{Status: http.StatusForbidden, Message: fmt.Sprintf("user %s may not change anything", userName(who.UID)), Hint: "only root may; try sudo"}
}

// answer writes a value, or an error with its status.
func (s *Server) answer(w http.ResponseWriter, v any, err error) {
	var b []byte
	kind, status := "application/json", http.StatusOK
	if err == nil {
		if text, ok := v.([]byte); ok {
			b, kind = text, "text/yaml; charset=utf-8"
		} else {
			b, err = encode(v)
		}
	}
	if err != nil {
		e := asError(err)
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
	var b bytes.Buffer
	j := json.NewEncoder(&b)
	j.SetEscapeHTML(false)
	if err := j.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// asError finds the HTTP status of an error.
func asError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		if http.StatusText(e.Status) == "" || e.Status < 400 {
			return &Error{Status: http.StatusInternalServerError, Message: err.Error(), Hint: e.Hint}
		}
		return e
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Error{Status: http.StatusGatewayTimeout, Message: "the daemon did not answer in time", Hint: "look at systemctl status bailiff"}
	}
	return &Error{Status: http.StatusInternalServerError, Message: err.Error()}
}

func badRequest(hint, format string, args ...any) error {
	return &Error{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...), Hint: hint}
}

func (s *Server) paths() []string {
	out := make([]string, 0, len(s.calls))
	for p := range s.calls {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// parameters reads the query: known names only, each once. A misspelt one must not make "unban this" "unban that".
func parameters(raw string, known []string) (url.Values, error) {
	hint := "this call takes no parameters"
	if len(known) > 0 {
		hint = "parameters are " + strings.Join(known, ", ")
	}
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest(hint, "query %.100q cannot be read", raw)
	}
	for name, values := range q {
		switch {
		case !slices.Contains(known, name):
			return nil, badRequest(hint, "unknown parameter %.50q", name)
		case len(values) > 1:
			return nil, badRequest("give it once", "parameter %q is given %d times", name, len(values))
		}
	}
	return q, nil
}

// body reads one JSON value, strictly.
func body(r *http.Request, v any) error {
	j := json.NewDecoder(r.Body)
	j.DisallowUnknownFields()
	err := j.Decode(v)
	if err == nil {
		if _, err = j.Token(); err == io.EOF {
			return nil
		} else if err == nil {
			return badRequest("send one JSON object", "the body goes on after its end")
		}
	}
	var big *http.MaxBytesError
	var typ *json.UnmarshalTypeError
	var syn *json.SyntaxError
	switch {
	case errors.As(err, &big):
		return &Error{Status: http.StatusRequestEntityTooLarge, Message: fmt.Sprintf("the body has more than %d bytes", big.Limit), Hint: "split it into several calls"}
	case errors.Is(err, io.EOF):
		return badRequest("send a JSON object", "the body is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return badRequest("send a whole JSON object", "the body ends in the middle")
	case errors.As(err, &typ):
		return badRequest("see bailiffd(8), control socket", "%s: a JSON %s, where %s belongs", typ.Field, typ.Value, typ.Type)
	case errors.As(err, &syn):
		return badRequest("send a JSON object", "the body is no JSON: byte %d: %v", syn.Offset, syn)
	case strings.HasPrefix(err.Error(), "json: "):
		return badRequest("see bailiffd(8), control socket", "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return badRequest("", "the body cannot be read: %v", err)
}

// prefix checks an address or a prefix, so that nonsense ends here. The daemon does the rest.
func prefix(name, s string) error {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" { // a zone may hold anything, a slash too
		return nil
	}
	if _, err := netip.ParsePrefix(s); err == nil {
		return nil
	}
	return badRequest("write 192.0.2.7, 192.0.2.0/24, 2001:db8::7 or 2001:db8::/64", "%s: %.100q is no address and no prefix", name, s)
}

func (s *Server) status(r *http.Request, _ url.Values, _ Peer) (any, error) {
	v, err := s.d.Status(r.Context())
	if err != nil {
		return nil, err
	}
	emptyStatus(v)
	return v, nil
}

func emptyStatus(v *Status) {
	list(&v.Problems)
	list(&v.Config)
	list(&v.Jails)
	list(&v.Lists)
	for i := range v.Jails {
		list(&v.Jails[i].Units)
	}
}

func (s *Server) bans(r *http.Request, q url.Values, _ Peer) (any, error) {
	limit := defaultLimit
	if l := q.Get("limit"); l != "" {
		n, err := strconv.Atoi(l)
		if err != nil || n < 1 || n > maxLimit {
			return nil, badRequest(fmt.Sprintf("a number from 1 to %d; go on with after=", maxLimit), "limit: %.20q", l)
		}
		limit = n
	}
	if p := q.Get("prefix"); p != "" {
		if err := prefix("prefix", p); err != nil {
			return nil, err
		}
	}
	v, err := s.d.Bans(r.Context(), BanQuery{Jail: q.Get("jail"), Prefix: q.Get("prefix"), Observed: q.Get("observed") == "true", Limit: limit, After: q.Get("after")})
	if err != nil {
		return nil, err
	}
	list(&v.Bans)
	return v, nil
}

func (s *Server) ban(r *http.Request, _ url.Values, by Peer) (any, error) {
	var req BanRequest
	if err := body(r, &req); err != nil {
		return nil, err
	}
	if len(req.Prefixes) == 0 {
		return nil, badRequest(`{"prefixes": ["192.0.2.7"]}`, "prefixes: there is none")
	}
	for i, p := range req.Prefixes {
		if err := prefix(fmt.Sprintf("prefixes[%d]", i), p); err != nil {
			return nil, err
		}
	}
	v, err := s.d.Ban(r.Context(), by, req)
	list(&v)
	return v, err
}

// yes reads a parameter that is true or false, which is also what it is when it is not given.
func yes(q url.Values, name string) (bool, error) {
	switch v := q.Get(name); v {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, badRequest(name+"=true", "%s: %.20q", name, v)
	}
}

func (s *Server) unban(r *http.Request, q url.Values, by Peer) (any, error) {
	p := q.Get("prefix")
	all, err := yes(q, "all")
	switch {
	case err != nil:
		return nil, err
	case all && p != "":
		return nil, badRequest("give one of the two", "both prefix and all")
	case !all && p == "":
		return nil, badRequest("prefix=192.0.2.7, or all=true", "neither prefix nor all")
	case !all:
		if err := prefix("prefix", p); err != nil {
			return nil, err
		}
	}
	return s.d.Unban(r.Context(), by, p, q.Get("jail"), all)
}

func (s *Server) allowed(r *http.Request, q url.Values, _ Peer) (any, error) {
	if q.Has("address") {
		if err := prefix("address", q.Get("address")); err != nil {
			return nil, err
		}
		v, err := s.d.AllowWhy(r.Context(), q.Get("address"))
		if err != nil {
			return nil, err
		}
		list(&v.Entries)
		list(&v.Expired)
		return v, nil
	}
	v, err := s.d.Allowed(r.Context())
	list(&v)
	return v, err
}

func (s *Server) allow(r *http.Request, _ url.Values, by Peer) (any, error) {
	var req AllowRequest
	if err := body(r, &req); err != nil {
		return nil, err
	}
	if err := prefix("prefix", req.Prefix); err != nil {
		return nil, err
	}
	return s.d.Allow(r.Context(), by, req)
}

func (s *Server) disallow(r *http.Request, q url.Values, by Peer) (any, error) {
	if err := prefix("prefix", q.Get("prefix")); err != nil {
		return nil, err
	}
	return s.d.Disallow(r.Context(), by, q.Get("prefix"))
}

func (s *Server) why(r *http.Request, q url.Values, _ Peer) (any, error) {
	if err := prefix("address", q.Get("address")); err != nil {
		return nil, err
	}
	v, err := s.d.Why(r.Context(), q.Get("address"))
	if err != nil {
		return nil, err
	}
	list(&v.Allowed)
	list(&v.Bans)
	list(&v.Counted)
	list(&v.History)
	for i := range v.Bans {
		list(&v.Bans[i].Evidence)
	}
	for i := range v.Counted {
		list(&v.Counted[i].Evidence)
	}
	return v, nil
}

func (s *Server) firewall(r *http.Request, _ url.Values, _ Peer) (any, error) {
	v, err := s.d.Firewall(r.Context())
	emptyFirewall(v)
	return v, err
}

func (s *Server) repairFirewall(r *http.Request, q url.Values, by Peer) (any, error) {
	force, err := yes(q, "force")
	if err != nil {
		return nil, err
	}
	v, err := s.d.RepairFirewall(r.Context(), by, force)
	if err != nil {
		return nil, err
	}
	list(&v.Repaired)
	list(&v.Evicted)
	emptyFirewall(v.Before)
	emptyFirewall(v.After)
	return v, nil
}

func emptyFirewall(v *Firewall) {
	if v == nil {
		return
	}
	list(&v.Parts)
	list(&v.Sets)
	for i := range v.Sets {
		s := &v.Sets[i]
		list(&s.Missing.Some)
		list(&s.Strange.Some)
		list(&s.Late.Some)
	}
}

func (s *Server) config(r *http.Request, _ url.Values, _ Peer) (any, error) {
	return s.d.Config(r.Context())
}

func (s *Server) reload(r *http.Request, _ url.Values, by Peer) (any, error) {
	v, err := s.d.Reload(r.Context(), by)
	if err != nil {
		return nil, err
	}
	list(&v.Jails)
	list(&v.Config)
	list(&v.Notices)
	return v, nil
}

// list makes [] of a list that is not there: null is one case more for every reader.
func list[S ~[]T, T any](s *S) {
	if *s == nil {
		*s = S{}
	}
}
