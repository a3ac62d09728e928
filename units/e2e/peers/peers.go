// Package peers plays the services on the web that bailiff reports to: blocklist.de, AbuseIPDB, a webhook receiver, and ntfy.
// It checks every field that it receives, more strictly than the services do, answers as they do, and can be told to fail in every way
// that they fail. It never connects to the Internet.
//
// Command peers/serve runs it inside a host under test.
//
// Start reading at Peers; each service has a file of its own.
package peers

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Paths of the services, below the address that Peers listens on.
const (
	BlocklistPath = "/en/httpreports.html" // what `url` of a destination of type blocklist.de names
	AbuseIPDBPath = "/api/v2"              // abuseipdb: before /report and /bulk-report
	HookPath      = "/hook"                // webhook
	NtfyPath      = "/"                    // a notice in ntfy's form
	ModePath      = "/peers/mode"          // POST service=…&mode=…&times=…
	LogPath       = "/peers/log"           // GET: all entries so far, JSON lines
)

// Services.
const (
	Blocklist = "blocklist.de"
	AbuseIPDB = "abuseipdb"
	Hook      = "webhook"
	Ntfy      = "ntfy"
)

// Modes are the ways in which a service can answer. Modes of a single service are handled in its file.
const (
	Normal      = ""            // as the real service: accepts what is valid
	Error       = "error"       // 500 and a web page
	Unavailable = "unavailable" // 503 with Retry-After: 2
	Hang        = "hang"        // takes the report, and sends nothing until the caller leaves
	Cut         = "cut"         // takes the report, and closes the connection without an answer
	CutEarly    = "cut-early"   // closes it before the body is read
	Huge        = "huge"        // 200 and 64 MiB of letters
	Garbage     = "garbage"     // 200 and meaningless bytes
	Redirect    = "redirect"    // 302 to elsewhere, which must not be asked
	WrongKey    = "wrong-key"   // as if the key were wrong
	Refuse      = "refuse"      // as if the report made no sense
	Quota       = "quota"       // 429 with Retry-After: 3600
	Duplicate   = "duplicate"   // abuseipdb: 429, reported a moment ago
	Payment     = "payment"     // abuseipdb: 402
	Gone        = "gone"        // webhook: 410
)

// Modes lists all of them.
var Modes = []string{Normal, Error, Unavailable, Hang, Cut, CutEarly, Huge, Garbage, Redirect, WrongKey, Refuse, Quota, Duplicate, Payment, Gone}

// Entry is one request, as it is logged.
type Entry struct {
	Time    time.Time           `json:"time"`
	Service string              `json:"service"`
	Path    string              `json:"path"`
	Mode    string              `json:"mode,omitempty"`
	Status  int                 `json:"status,omitempty"` // answered; 0: none
	Faults  []string            `json:"faults,omitempty"` // what was wrong with it: must be empty
	Form    map[string][]string `json:"form,omitempty"`
	Rows    [][]string          `json:"rows,omitempty"`  // of a bulk report, its header among them
	ID      string              `json:"id,omitempty"`    // of a webhook
	Body    json.RawMessage     `json:"body,omitempty"`  // of a webhook, and of a notice
	Taken   []string            `json:"taken,omitempty"` // addresses that this request reported successfully, even if it got no answer
}

// Peers is a handler for all of the services.
type Peers struct {
	Key    string           // of blocklist.de and AbuseIPDB
	Server string           // as blocklist.de knows the host
	Secret []byte           // of the webhook, decoded
	Log    io.Writer        // JSON lines; nil: none
	Now    func() time.Time // nil: time.Now

	mu      sync.Mutex
	entries []Entry
	modes   map[string]mode
	seen    map[netip.Addr]time.Time // reported to AbuseIPDB
}

type mode struct {
	name string
	left int // requests that it applies to; -1: all
}

// SetMode sets how a service answers the next times requests, after which it answers as usual. With 0 the mode stays.
func (p *Peers) SetMode(service, name string, times int) error {
	if !slices.Contains([]string{Blocklist, AbuseIPDB, Hook, Ntfy}, service) {
		return fmt.Errorf("no service %q", service)
	}
	if !slices.Contains(Modes, name) {
		return fmt.Errorf("no mode %q", name)
	}
	times = cmp.Or(times, -1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.modes == nil {
		p.modes = map[string]mode{}
	}
	p.modes[service] = mode{name, times}
	return nil
}

// Entries returns what came so far.
func (p *Peers) Entries() []Entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.entries)
}

// mode returns the mode for the next request to a service, and counts that request.
func (p *Peers) mode(service string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.modes[service]
	switch {
	case m.left == 0:
		return Normal
	case m.left > 0:
		m.left--
		p.modes[service] = m
	}
	return m.name
}

func (p *Peers) now() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return time.Now()
}

func (p *Peers) note(e Entry) {
	e.Time = p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entries = append(p.entries, e)
	if p.Log != nil {
		write(p.Log, e)
	}
}

// write writes one line; the body of a webhook is kept unchanged.
func write(w io.Writer, e Entry) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.Encode(e) // a test sees what is missing
}

// maxRequest is more than any of the services takes.
const maxRequest = 16 << 20

// ServeHTTP serves all services, and the paths that control them.
func (p *Peers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
	switch r.URL.Path {
	case ModePath:
		times, err := strconv.Atoi("0" + r.FormValue("times"))
		if err == nil {
			err = p.SetMode(r.FormValue("service"), r.FormValue("mode"), times)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	case LogPath:
		for _, e := range p.Entries() {
			write(w, e)
		}
	case BlocklistPath:
		p.serve(w, r, Blocklist, p.blocklist)
	case AbuseIPDBPath + "/report":
		p.serve(w, r, AbuseIPDB, p.abuseipdb)
	case AbuseIPDBPath + "/bulk-report":
		p.serve(w, r, AbuseIPDB, p.bulk)
	case HookPath:
		p.serve(w, r, Hook, p.hook)
	case NtfyPath:
		p.serve(w, r, Ntfy, p.ntfy)
	default:
		p.note(Entry{Service: "none", Path: r.URL.Path, Status: 404, Faults: []string{"nobody is at " + r.URL.Path}})
		http.NotFound(w, r)
	}
}

// reply is what a service answers.
type reply struct {
	status int
	header map[string]string
	body   string
}

// serve does what all services have in common: checks of the request itself, and failures.
func (p *Peers) serve(w http.ResponseWriter, r *http.Request, service string, judge func(r *http.Request, mode string, e *Entry) reply) {
	e := Entry{Service: service, Path: r.URL.Path, Mode: p.mode(service)}
	if e.Mode == CutEarly {
		p.note(e)
		panic(http.ErrAbortHandler)
	}
	e.fault(r.Method != http.MethodPost, "method %s", r.Method)
	e.fault(r.URL.RawQuery != "", "a query in the URL, where logs keep it")
	e.fault(!strings.HasPrefix(r.UserAgent(), "bailiff/"), "User-Agent %q", r.UserAgent())
	e.fault(r.ContentLength < 0, "no Content-Length")
	for _, h := range []string{"Cookie", "Authorization", "Referer"} {
		e.fault(r.Header.Get(h) != "", "header %s", h)
	}
	a := judge(r, e.Mode, &e) // reads the body in every mode
	if a.status < 200 || a.status > 299 {
		e.Taken = nil
	}
	switch e.Mode {
	case Error:
		a = reply{500, map[string]string{"Content-Type": "text/html"}, "<!DOCTYPE html><title>500</title><h1>Internal Server Error</h1>"}
	case Unavailable:
		a = reply{503, map[string]string{"Retry-After": "2"}, "back soon"}
	case Redirect:
		a = reply{302, map[string]string{"Location": "/elsewhere"}, ""}
	case Garbage:
		a = reply{200, map[string]string{"Content-Type": "application/json"}, "\x00\xff{]\x1b[31m\u202e\"}"}
	case Huge:
		a = reply{status: 200}
	case Hang, Cut:
		a = reply{}
	}
	if e.broken() {
		e.Taken = nil
	}
	e.Status = a.status
	p.note(e)
	switch e.Mode {
	case Hang:
		<-r.Context().Done()
		return
	case Cut:
		panic(http.ErrAbortHandler)
	case Huge:
		block := []byte(strings.Repeat("x", 1<<16))
		for range 1 << 10 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
		return
	}
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(a.status)
	io.WriteString(w, a.body)
}

// fault notes what is wrong with a request.
func (e *Entry) fault(bad bool, format string, args ...any) {
	if bad {
		e.Faults = append(e.Faults, fmt.Sprintf(format, args...))
	}
}

// broken reports whether the service as a whole does not work, so that it has taken nothing.
func (e *Entry) broken() bool {
	return slices.Contains([]string{Error, Unavailable, Redirect, Garbage, Huge}, e.Mode)
}

func asJSON(status int, v any) reply {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return reply{status, map[string]string{"Content-Type": "application/json"}, string(b)}
}

// controls reports whether a text holds characters that do not belong in one line.
func controls(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufffd'
	})
}
