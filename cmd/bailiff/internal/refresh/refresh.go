// Package refresh is `bailiff allow refresh` and `bailiff lists refresh`: it downloads published lists into a folder that the daemon
// reads. bailiff-allow-refresh.service and bailiff-lists-refresh.service run it; they are the only parts of bailiff that fetch lists,
// and can do nothing else. A list that fails its checks never replaces the last good one. The program is bailiff-fetch. Start reading
// with Commands; feed.go has the differences between allow lists and block lists.
package refresh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/fetch"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/units/atomicfile"
	"bailiff/units/published"
	"bailiff/units/version"
)

// Limits of a download.
const (
	maxRedirects  = 5
	maxHeaderSize = 64 << 10
)

// Commands are those of bailiff-fetch, which has the same arguments as bailiff.
func Commands() []*cli.Command {
	return []*cli.Command{
		cli.Group("allow", "published allow lists", fetch.Command(allowLists.dir, allowLists.refresh)),
		cli.Group("lists", "published block lists", fetch.Command(blockLists.dir, blockLists.refresh)),
	}
}

func (k *kind) refresh(e *cli.Env, o *fetch.Options) error {
	loaded, err := settings.Load(o.Config)
	if err != nil {
		return err
	}
	r := newRefresh(e, k, o.Dir)
	r.force, r.accept = o.Force, o.Accept
	return r.run(loaded, o.Lists)
}

// refresh fetches lists into a folder.
type refresh struct {
	*cli.Env
	kind   *kind
	store  published.Store
	client *http.Client
	now    func() time.Time
	force  bool     // fetch before their time
	accept []string // lists that may have shrunk
	mark   string   // begins lines about a failure
}

// refreshed is the line of a list with --json. bailiff(1) documents its keys, which do not change.
type refreshed struct {
	List    string `json:"list"`
	Result  string `json:"result"`  // "new", "unchanged", "waiting", "refused" or "failed"
	Entries int    `json:"entries"` // in force
	Error   string `json:"error,omitempty"`
}

func newRefresh(e *cli.Env, k *kind, dir string) *refresh {
	r := &refresh{Env: e, kind: k, store: published.Store{Dir: dir}, client: newClient(k.time), now: time.Now}
	if os.Getenv("JOURNAL_STREAM") != "" {
		r.mark = "<4>" // a warning, as systemd reads it (SyslogLevelPrefix= in systemd.exec(5))
	}
	return r
}

// newClient makes a client with bounds. It follows redirections, but never from https to http.
func newClient(limit time.Duration) *http.Client {
	return &http.Client{
		Timeout:       limit,
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeaderSize},
		CheckRedirect: checkRedirect,
	}
}

func checkRedirect(to *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirections", maxRedirects)
	case to.URL.Scheme != "https" && (to.URL.Scheme != "http" || via[len(via)-1].URL.Scheme != "http"):
		return fmt.Errorf("redirected to %s, which is not encrypted", to.URL.Redacted())
	}
	return nil
}

// run fetches the lists of the configuration, or those that are named. A failure of one does not stop the others.
func (r *refresh) run(conf *config.Config, names []string) error {
	all := r.kind.feeds(conf, r.store)
	for _, name := range append(slices.Clone(names), r.accept...) {
		if !slices.ContainsFunc(all, func(f feed) bool { return f.conf().Name == name }) {
			return fmt.Errorf("%s refresh: the configuration has no list %q; bailiff config shows %s", r.kind.verb, name, r.kind.key)
		}
	}
	if len(all) == 0 {
		if !r.JSON {
			r.Printf("the configuration names no published %s (%s in bailiff.yaml(5))\n", r.kind.noun, r.kind.key)
		}
		return nil
	}
	if err := os.MkdirAll(r.store.Dir, 0o755); err != nil {
		return err
	}
	failed := false
	for _, f := range all {
		if len(names) > 0 && !slices.Contains(names, f.conf().Name) {
			continue
		}
		if err := r.Ctx.Err(); err != nil {
			return err
		}
		x, err := r.one(f)
		if err != nil {
			failed = true
			x.Error = err.Error()
			fmt.Fprintf(r.Err, "%sbailiff: %s %s: %s: %s; %s\n", r.mark, r.kind.noun, x.List, x.Result, text.Clean(x.Error), keeping(x.Entries))
			if y := diag.Errors(err)[0]; y.Hint != "" {
				fmt.Fprintf(r.Err, "%shint: %s\n", r.mark, y.Hint)
			}
		}
		if err == nil || r.JSON {
			err = r.Print(x, func() { r.Printf("%s: %s, %s\n", x.List, x.Result, diag.Count(x.Entries, "entry")) })
			if err != nil {
				return err
			}
		}
	}
	if failed {
		return cli.ErrSilent
	}
	return nil
}

// keeping says what stays in effect after a failure.
func keeping(entries int) string {
	if entries == 0 {
		return "no previous list"
	}
	return fmt.Sprintf("keeping the previous list (%s)", diag.Count(entries, "entry"))
}

// one fetches a list if its time has come. An error says why the list was refused or could not be fetched.
func (r *refresh) one(f feed) (refreshed, error) {
	p := f.conf()
	st := r.store.ReadState(p.Name)
	x := refreshed{List: p.Name, Entries: st.Count}
	held, err := f.held() // fails also if the list no longer passes its checks
	have := err == nil
	if !have {
		st.Count, x.Entries = 0, 0
	} else if st.Count == 0 {
		st.Count, x.Entries = held, held // the state file was lost
	}
	now := r.now()
	same := have && slices.EqualFunc(st.Sources, p.URLs, func(s published.Source, u string) bool { return s.URL == u })
	accepted := slices.Contains(r.accept, p.Name)
	// After a failure it is tried again at each run of the timer. A clock that was set back does not delay it.
	if age := now.Sub(st.Checked); same && !r.force && !accepted && st.Failed == "" && st.Refused == "" && age >= 0 && age < p.Interval {
		x.Result = "waiting"
		return x, nil
	}
	st.Checked = now
	changed, sources, err := r.fetch(f, st.Sources, same && !accepted)
	if err == nil && changed {
		former := st.Count
		if accepted {
			former = 0
		}
		if e := f.check(former); e != nil {
			err = &refusedError{e}
			if f.check(0) == nil {
				err = &refusedError{(&diag.Error{Text: e.Error()}).WithHint("if that is right: bailiff %s refresh --accept %s", r.kind.verb, p.Name)}
			}
		}
	}
	var bad *refusedError
	switch {
	case errors.As(err, &bad):
		x.Result = "refused"
		st.Refused, st.Failed = err.Error(), ""
		return x, errors.Join(err, r.store.WriteState(p.Name, st))
	case err != nil:
		x.Result = "failed"
		st.Failed = err.Error()
		return x, errors.Join(err, r.store.WriteState(p.Name, st))
	}
	st.Good, st.Refused, st.Failed = now, "", ""
	if changed {
		st.Sources = sources
	}
	if !changed || have && f.same() { // the latter from sources without ETag and Last-Modified
		x.Result = "unchanged"
		return x, r.store.WriteState(p.Name, st)
	}
	st.Fetched, st.Count = now, f.count()
	if err := f.write(st); err != nil {
		x.Result = "failed"
		return x, err
	}
	x.Result, x.Entries = "new", st.Count
	return x, nil
}

// refusedError is a list that was fetched and fails its checks.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// fetch gets all URLs of a list. It returns whether any has changed, which is asked only if ask is set.
func (r *refresh) fetch(f feed, known []published.Source, ask bool) (changed bool, sources []published.Source, err error) {
	urls := f.conf().URLs
	bodies := make([][]byte, len(urls))
	sources = make([]published.Source, len(urls))
	changed = !ask
	for i, u := range urls {
		was := published.Source{}
		if ask {
			was = known[i]
		}
		if bodies[i], sources[i], err = r.get(f, u, was); err != nil {
			return false, nil, err
		}
		changed = changed || bodies[i] != nil
	}
	if !changed {
		return false, nil, nil
	}
	for i, u := range urls {
		if bodies[i] == nil { // another one has changed, and the list is written as a whole
			if bodies[i], sources[i], err = r.get(f, u, published.Source{}); err != nil {
				return false, nil, err
			}
		}
		if err := f.parse(u, bodies[i]); err != nil {
			return false, nil, &refusedError{diag.Errors(err)[0]} // a web page has a hundred of them
		}
		bodies[i] = nil
	}
	return true, sources, nil
}

// get fetches one URL. A nil body: it has not changed since was.
func (r *refresh) get(f feed, u string, was published.Source) (body []byte, is published.Source, err error) {
	is.URL = u
	if path, ok := filePath(u); ok {
		if mapped(f) {
			fd, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
			if err != nil {
				return nil, is, err
			}
			return []byte{}, is, fd.Close()
		}
		body, err = atomicfile.Read(path, r.kind.size, 0)
		if errors.Is(err, atomicfile.ErrTooLarge) {
			err = &refusedError{err}
		}
		return body, is, err
	}
	ctx, cancel := context.WithTimeout(r.Ctx, r.kind.time)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, is, fmt.Errorf("%s: %w", u, err)
	}
	req.Header.Set("User-Agent", "bailiff/"+version.Release)
	if was.ETag != "" {
		req.Header.Set("If-None-Match", was.ETag)
	}
	if was.Modified != "" {
		req.Header.Set("If-Modified-Since", was.Modified)
	}
	client := *r.client
	secret, err := f.prepare(req)
	if err != nil {
		return nil, is, fmt.Errorf("%s: %w", u, err)
	}
	if secret {
		client.CheckRedirect = sameHost
	}
	res, err := client.Do(req)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return nil, is, fmt.Errorf("%s: %w", u, err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusNotModified && (was.ETag != "" || was.Modified != ""):
		return nil, was, nil
	case res.StatusCode != http.StatusOK:
		return nil, is, fmt.Errorf("%s: the answer is %.100q", u, res.Status)
	}
	body, err = io.ReadAll(io.LimitReader(res.Body, r.kind.size+1))
	if err == nil {
		err = ctx.Err() // a server that saw the client disconnect may end its response cleanly
	}
	if err != nil {
		return nil, is, fmt.Errorf("%s: %w", u, err)
	}
	if int64(len(body)) > r.kind.size {
		return nil, is, &refusedError{fmt.Errorf("%s: has more than %d bytes", u, r.kind.size)}
	}
	is.ETag, is.Modified = validator(res.Header.Get("ETag")), validator(res.Header.Get("Last-Modified"))
	return body, is, nil
}

// filePath is the path of a URL file://; ok is false for others.
func filePath(u string) (path string, ok bool) {
	path, ok = strings.CutPrefix(u, "file://")
	if p, err := url.PathUnescape(path); err == nil {
		path = p
	}
	return path, ok
}

// sameHost follows redirections of a request that carries a key.
func sameHost(to *http.Request, via []*http.Request) error {
	if to.URL.Host != via[0].URL.Host {
		return fmt.Errorf("redirected to %s, which must not get the key", to.URL.Redacted())
	}
	return checkRedirect(to, via)
}

// validator is an ETag or Last-Modified to send the next time, if it is short enough to be kept.
func validator(s string) string {
	if len(s) > 256 {
		return ""
	}
	return s
}
