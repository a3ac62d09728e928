package refresh

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/policy/allow"
	"bailiff/policy/blocklist"
	"bailiff/policy/config"
	"bailiff/units/published"
)

// publisher is a real server that publishes lists.
type publisher struct {
	*httptest.Server
	mu    sync.Mutex
	pages map[string]http.HandlerFunc
	asked []string // path and answer, in order
}

func publish(t *testing.T) *publisher {
	t.Helper()
	p := &publisher{pages: make(map[string]http.HandlerFunc)}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		page := p.pages[r.URL.Path]
		p.mu.Unlock()
		rec := &recorder{ResponseWriter: w, code: 200}
		if page == nil {
			http.NotFound(rec, r)
		} else {
			page(rec, r)
		}
		p.mu.Lock()
		p.asked = append(p.asked, fmt.Sprintf("%s %d", r.URL.Path, rec.code))
		p.mu.Unlock()
	}))
	t.Cleanup(p.Close)
	return p
}

type recorder struct {
	http.ResponseWriter
	code int
}

func (r *recorder) WriteHeader(code int) { r.code = code; r.ResponseWriter.WriteHeader(code) }

// text sets what a page answers from now on; with etag "" it never says whether it has changed.
func (p *publisher) text(path, etag, body string) {
	p.page(path, func(w http.ResponseWriter, r *http.Request) {
		if etag != "" {
			w.Header().Set("ETag", etag)
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(body))
	})
}

func (p *publisher) page(path string, f http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pages[path] = f
}

// answers returns the requests since the last call, with their answers.
func (p *publisher) answers() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := strings.Join(p.asked, ", ")
	p.asked = nil
	return s
}

// fetcher is a refresh that trusts the server's certificate.
type fetcher struct {
	*refresh
	t        *testing.T
	out, err bytes.Buffer
	clock    time.Time
	lists    []allow.Published
	blocks   []blocklist.List
}

func newFetcher(t *testing.T, p *publisher, names map[string][]string) *fetcher {
	f := &fetcher{t: t, clock: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	t.Setenv("JOURNAL_STREAM", "")
	f.refresh = newRefresh(&cli.Env{Ctx: t.Context(), Out: &f.out, Err: &f.err}, allowLists, filepath.Join(t.TempDir(), "lists"))
	roots := x509.NewCertPool()
	roots.AddCert(p.Certificate())
	f.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	f.now = func() time.Time { return f.clock }
	for _, name := range []string{"a", "b"} {
		if urls := names[name]; urls != nil {
			x := allow.NewPublished(name)
			for _, u := range urls {
				x.URLs = append(x.URLs, p.URL+u)
			}
			x.MinPrefix4 = 24
			f.lists = append(f.lists, x)
		}
	}
	return f
}

func (f *fetcher) config() *config.Config {
	return &config.Config{Allow: config.Allow{Lists: f.lists}, Lists: f.blocks}
}

// want runs a refresh and compares what it says; %URL% stands for the server.
func (f *fetcher) want(p *publisher, out, stderr string, args ...string) {
	f.t.Helper()
	f.out.Reset()
	f.err.Reset()
	err := f.run(f.config(), args)
	if (err != nil) != (stderr != "") {
		f.t.Errorf("error %v, stderr %q", err, &f.err)
	}
	for _, c := range []struct{ what, got, want string }{{"stdout", f.out.String(), out}, {"stderr", strings.ReplaceAll(f.err.String(), p.URL, "%URL%"), stderr}} {
		if c.got != c.want {
			f.t.Errorf("%s is\n%swant\n%s", c.what, c.got, c.want)
		}
	}
}

func (f *fetcher) held(name string) string {
	f.t.Helper()
	b, err := os.ReadFile(f.store.File(name))
	if err != nil {
		return ""
	}
	var l []string
	for _, line := range strings.Split(string(b), "\n") {
		if line != "" && line[0] != '#' {
			l = append(l, line)
		}
	}
	return strings.Join(l, " ")
}

func TestRefresh(t *testing.T) {
	p := publish(t)
	f := newFetcher(t, p, map[string][]string{"a": {"/4", "/6"}, "b": {"/b"}})
	p.text("/4", `"one"`, "192.0.2.1\r\n192.0.2.2\r\n192.0.2.3 # probe 3\r\n")
	p.text("/6", `"six"`, "2001:db8::1\n")
	p.text("/b", "", "198.51.100.0/24\n")
	f.want(p, "a: new, 4 entries\nb: new, 1 entry\n", "")
	if got := f.held("a"); got != "192.0.2.1 192.0.2.2 192.0.2.3 # probe 3 2001:db8::1" {
		t.Errorf("list %q", got)
	}
	text, _ := os.ReadFile(f.store.File("a"))
	for _, want := range []string{"# list: a\n", "# from: " + p.URL + "/4\n# from: " + p.URL + "/6\n", "# fetched: 2026-11-22T12:00:00Z\n# entries: 4\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if st, err := os.Stat(f.store.File("a")); err != nil || st.Mode().Perm() != 0o644 {
		t.Errorf("the daemon, another user, cannot read it: %v", st.Mode())
	}
	p.answers()

	// Not before its time.
	f.clock = f.clock.Add(23 * time.Hour)
	f.want(p, "a: waiting, 4 entries\nb: waiting, 1 entry\n", "")
	if got := p.answers(); got != "" {
		t.Errorf("asked %s", got)
	}
	// Then the server is asked whether the list has changed; a list without ETag is compared.
	f.clock = f.clock.Add(time.Hour)
	before, _ := os.Stat(f.store.File("b"))
	f.want(p, "a: unchanged, 4 entries\nb: unchanged, 1 entry\n", "")
	if got := p.answers(); got != "/4 304, /6 304, /b 200" {
		t.Errorf("asked %s", got)
	}
	if after, _ := os.Stat(f.store.File("b")); !os.SameFile(before, after) {
		t.Error("an unchanged list was written anew, which wakes the daemon up")
	}
	if st := f.store.ReadState("b"); !st.Good.Equal(f.clock) || st.Fetched.Equal(f.clock) {
		t.Errorf("%+v", st)
	}
	// One of two has changed: both are fetched.
	p.text("/6", `"seven"`, "2001:db8::1\n2001:db8::2\n")
	f.clock = f.clock.Add(25 * time.Hour)
	f.want(p, "a: new, 5 entries\n", "", "a")
	if got := p.answers(); got != "/4 304, /6 200, /4 200" {
		t.Errorf("asked %s", got)
	}
	// By force, and as JSON.
	f.force, f.JSON = true, true
	f.want(p, `{"list":"a","result":"unchanged","entries":5}`+"\n"+`{"list":"b","result":"unchanged","entries":1}`+"\n", "")
}

func TestRefreshRefuses(t *testing.T) {
	p := publish(t)
	f := newFetcher(t, p, map[string][]string{"a": {"/a"}})
	good := "192.0.2.1\n192.0.2.2\n192.0.2.3\n192.0.2.4\n"
	p.text("/a", "", good)
	f.want(p, "a: new, 4 entries\n", "")
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	const stays = "; keeping the previous list (4 entries)\n"
	for name, tt := range map[string]struct {
		page   http.HandlerFunc
		stderr string
	}{
		"empty":   {say(""), "bailiff: allow list a: refused: is empty" + stays},
		"remarks": {say("# under construction\n\n"), "bailiff: allow list a: refused: is empty" + stays},
		"smaller": {say("192.0.2.1\n"), "bailiff: allow list a: refused: has 1 entry, less than 50 % of the 4 that it had" + stays + "hint: if that is right: bailiff allow refresh --accept a\n"},
		"wider":   {say(good + "198.51.100.0/23\n"), "bailiff: allow list a: refused: has 198.51.100.0/23 in line 5, which is wider than /24" + stays},
		"all":     {say(good + "0.0.0.0/0\n"), "bailiff: allow list a: refused: %URL%/a:5:1: 0.0.0.0/0 is too wide to be allowed: at most /8 for IPv4, /16 for IPv6" + stays + "hint: to disable a jail, write jails.NAME.enabled: false\n"},
		"no address": {say(good + "<html>\n"), "bailiff: allow list a: refused: %URL%/a:5:1: \"<html>\" is neither an address nor a prefix" + stays +
			"hint: write 192.0.2.7, 192.0.2.0/24, 2001:db8::7 or 2001:db8::/48\n"},
		"escapes":      {say("\x1b[2J\n"), "bailiff: allow list a: refused: %URL%/a:1:1: control character U+001B" + stays},
		"not found":    {http.NotFound, "bailiff: allow list a: failed: %URL%/a: the answer is \"404 Not Found\"" + stays},
		"not asked":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }, "bailiff: allow list a: failed: %URL%/a: the answer is \"304 Not Modified\"" + stays},
		"unencrypted":  {redirect(plain.URL + "/a"), "bailiff: allow list a: failed: %URL%/a: redirected to " + plain.URL + "/a, which is not encrypted" + stays},
		"a file":       {redirect("file:///etc/passwd"), "bailiff: allow list a: failed: %URL%/a: redirected to file:///etc/passwd, which is not encrypted" + stays},
		"in a circle":  {redirect("/a"), "bailiff: allow list a: failed: %URL%/a: more than 5 redirections" + stays},
		"large":        {pour(http.ResponseWriter.Write), "bailiff: allow list a: refused: %URL%/a: has more than 8388608 bytes" + stays},
		"large inside": {bomb, "bailiff: allow list a: refused: %URL%/a: has more than 8388608 bytes" + stays},
		"cut":          {cut, "bailiff: allow list a: failed: %URL%/a: unexpected EOF" + stays},
	} {
		t.Run(name, func(t *testing.T) {
			f.t = t
			p.page("/a", tt.page)
			f.clock = f.clock.Add(48 * time.Hour)
			f.want(p, "", tt.stderr)
			if got := f.held("a"); got != "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4" {
				t.Errorf("the last good list is gone: %q", got)
			}
			st := f.store.ReadState("a")
			if st.Refused == "" && st.Failed == "" || st.Refused != "" && st.Failed != "" || st.Count != 4 || st.Good.Equal(f.clock) {
				t.Errorf("%+v", st)
			}
			// The next run tries again, whatever the interval, and then all is well.
			p.text("/a", "", good)
			f.clock = f.clock.Add(time.Hour)
			f.want(p, "a: unchanged, 4 entries\n", "")
			if st := f.store.ReadState("a"); st.Refused != "" || st.Failed != "" || !st.Good.Equal(f.clock) {
				t.Errorf("%+v", st)
			}
		})
	}
	f.t = t

	// A list that fails does not hold up the others.
	f.lists = append(newFetcher(t, p, map[string][]string{"a": {"/none"}}).lists, f.lists...)
	f.lists[0].Name = "z"
	f.clock = f.clock.Add(48 * time.Hour)
	f.want(p, "a: unchanged, 4 entries\n", "bailiff: allow list z: failed: %URL%/none: the answer is \"404 Not Found\"; no previous list\n")
	f.lists = f.lists[1:]

	// An admin can accept any size, and nothing else.
	f.accept = []string{"a"}
	p.page("/a", say(""))
	f.want(p, "", "bailiff: allow list a: refused: is empty"+stays)
	p.page("/a", say("192.0.2.9\n"))
	f.want(p, "a: new, 1 entry\n", "")
	f.accept = nil

	// A server that is not who it says it is.
	f.client.Transport.(*http.Transport).TLSClientConfig = nil
	f.clock = f.clock.Add(48 * time.Hour)
	if err := f.run(f.config(), nil); err == nil || !strings.Contains(f.err.String(), "certificate") {
		t.Errorf("%v: %s", err, &f.err)
	}
	if err := f.run(f.config(), []string{"nosuch"}); err == nil {
		t.Error("a list that is not configured was fetched")
	}
}

func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(text)) }
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
}

// pour sends more than the limit.
func pour(write func(http.ResponseWriter, []byte) (int, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		line := bytes.Repeat([]byte("192.0.2.1\n"), 1000)
		for sent := 0; sent < 2*int(allowLists.size); sent += len(line) {
			if _, err := write(w, line); err != nil {
				return
			}
		}
	}
}

// bomb does so in a few kilobytes.
func bomb(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	pour(func(_ http.ResponseWriter, b []byte) (int, error) { return z.Write(b) })(w, r)
	z.Close()
}

// cut ends in the middle.
func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	w.Write([]byte("192.0.2.1\n"))
}

// The refresh gives up on a server that never answers, and can be interrupted meanwhile.
func TestRefreshHangs(t *testing.T) {
	p := publish(t)
	f := newFetcher(t, p, map[string][]string{"a": {"/a"}})
	ctx, cancel := context.WithCancel(t.Context())
	f.Ctx = ctx
	p.page("/a", func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	f.want(p, "", "bailiff: allow list a: failed: %URL%/a: context canceled; no previous list\n")
	if f.client.Timeout <= 0 || f.client.Timeout > time.Minute {
		t.Errorf("time limit %s", f.client.Timeout)
	}
}

// Files of this host, JSON, and a state that was lost.
func TestRefreshFile(t *testing.T) {
	p := publish(t)
	f := newFetcher(t, p, nil)
	source := filepath.Join(t.TempDir(), "a list.json")
	write := func(v any) {
		b, _ := json.Marshal(v)
		if err := os.WriteFile(source, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(map[string]any{"prefixes": []any{map[string]string{"ip_prefix": "192.0.2.1/32"}, map[string]string{"ip_prefix": "192.0.2.2/32"}, map[string]string{"ip_prefix": "192.0.2.3/32"}}})
	x := allow.NewPublished("office")
	x.URLs, x.Format, x.Pointers = []string{"file://" + strings.ReplaceAll(source, " ", "%20")}, allow.FormatJSON, []string{"/prefixes/*/ip_prefix"}
	f.lists = []allow.Published{x}
	f.want(p, "office: new, 3 entries\n", "")
	if err := os.Remove(filepath.Join(f.store.Dir, "office.json")); err != nil {
		t.Fatal(err)
	}
	write(map[string]any{"prefixes": []any{map[string]string{"ip_prefix": "192.0.2.1/32"}}})
	f.want(p, "", "bailiff: allow list office: refused: has 1 entry, less than 50 % of the 3 that it had; keeping the previous list (3 entries)\nhint: if that is right: bailiff allow refresh --accept office\n")
	// In the journal such a line is a warning.
	f.mark = "<4>"
	os.Remove(source)
	f.want(p, "", "<4>bailiff: allow list office: failed: open "+source+": no such file or directory; keeping the previous list (3 entries)\n")
	// The daemon accepts what was written.
	if entries, err := (published.Store{Dir: f.store.Dir}).ReadAll(f.lists); err != nil || len(entries) != 3 || entries[0].Origin != f.store.File("office") {
		t.Errorf("%+v, %v", entries, err)
	}
}
