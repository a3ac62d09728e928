package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/diag"
	"bailiff/units/allowlists"
	"bailiff/units/version"
)

// Limits of a download. The longest list that is commonly allowed, a cloud provider's, has 2 MiB.
const (
	maxDownload   = 8 << 20 // bytes, after decompression
	downloadTime  = 30 * time.Second
	maxRedirects  = 5
	maxHeaderSize = 64 << 10
)

// refresh fetches published allow lists into a folder. It is what bailiff-allow-refresh.service runs: the one part of
// bailiff's allow lists that has the network, and it has nothing else.
type refresh struct {
	*env
	store  allowlists.Store
	client *http.Client
	now    func() time.Time
	force  bool     // whether their time has come or not
	accept []string // lists that may have shrunk
	json   bool
	mark   string // before lines that tell of a failure
}

// refreshed is the line of a list with --json; its keys are documented in bailiff(1) and stay.
type refreshed struct {
	List    string `json:"list"`
	Result  string `json:"result"`  // "new", "unchanged", "waiting", "refused" or "failed"
	Entries int    `json:"entries"` // in force
	Error   string `json:"error,omitempty"`
}

func newRefresh(e *env, dir string) *refresh {
	r := &refresh{env: e, store: allowlists.Store{Dir: dir}, client: newClient(), now: time.Now}
	if os.Getenv("JOURNAL_STREAM") != "" {
		r.mark = "<4>" // a warning, as systemd reads it (SyslogLevelPrefix= in systemd.exec(5))
	}
	return r
}

// newClient makes a client that keeps to what was asked: it follows a redirection elsewhere, but never out of encryption.
func newClient() *http.Client {
	return &http.Client{
		Timeout:       downloadTime,
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

// run fetches the lists of the configuration, or those that are named. A failure of one keeps none of the others.
func (r *refresh) run(all []allow.Published, names []string) error {
	for _, name := range append(slices.Clone(names), r.accept...) {
		if !slices.ContainsFunc(all, func(p allow.Published) bool { return p.Name == name }) {
			return fmt.Errorf("allow refresh: the configuration has no list %q; bailiff config shows allow.lists", name)
		}
	}
	if len(all) == 0 {
		if !r.json {
			fmt.Fprintln(r.out, "the configuration names no published list (allow.lists in bailiff.yaml(5))")
		}
		return nil
	}
	if err := os.MkdirAll(r.store.Dir, 0o755); err != nil {
		return err
	}
	failed := false
	for i := range all {
		if len(names) > 0 && !slices.Contains(names, all[i].Name) {
			continue
		}
		if err := r.ctx.Err(); err != nil {
			return err
		}
		x, err := r.one(&all[i])
		if err != nil {
			failed = true
			x.Error = err.Error()
			fmt.Fprintf(r.err, "%sbailiff: allow list %s: %s: %s; %s\n", r.mark, x.List, x.Result, clean(x.Error), kept(x.Entries))
			if y := diag.Errors(err)[0]; y.Hint != "" {
				fmt.Fprintf(r.err, "%shint: %s\n", r.mark, y.Hint)
			}
		}
		if r.json {
			if err := printJSON(r.out, x); err != nil {
				return err
			}
		} else if err == nil {
			fmt.Fprintf(r.out, "%s: %s, %s\n", x.List, x.Result, allow.Count(x.Entries))
		}
	}
	if failed {
		return errSilent
	}
	return nil
}

func kept(entries int) string {
	if entries == 0 {
		return "there is none before it"
	}
	return fmt.Sprintf("the one before stays (%s)", allow.Count(entries))
}

// one fetches a list, if its time has come. An error says why it is refused or cannot be fetched.
func (r *refresh) one(p *allow.Published) (refreshed, error) {
	st := r.store.ReadState(p.Name)
	x := refreshed{List: p.Name, Entries: st.Count}
	held, err := r.store.Read(p) // also whether it may still be believed
	have := err == nil
	if !have {
		st.Count, x.Entries = 0, 0
	} else if st.Count == 0 {
		st.Count = allow.Distinct(held) // its state was lost
		x.Entries = st.Count
	}
	now := r.now()
	same := have && slices.EqualFunc(st.Sources, p.URLs, func(s allowlists.Source, u string) bool { return s.URL == u })
	accepted := slices.Contains(r.accept, p.Name)
	// What went wrong is tried again each time the timer runs. A clock that was set back does not put it off.
	if age := now.Sub(st.Checked); same && !r.force && !accepted && st.Failed == "" && st.Refused == "" && age >= 0 && age < p.Interval {
		x.Result = "waiting"
		return x, nil
	}
	st.Checked = now
	entries, sources, err := r.fetch(p, st.Sources, same && !accepted)
	var bad *refusedError
	switch {
	case err == nil && entries == nil: // not modified
		x.Result = "unchanged"
		st.Good, st.Refused, st.Failed = now, "", ""
		return x, r.store.WriteState(p.Name, st)
	case err == nil:
		former := st.Count
		if accepted {
			former = 0
		}
		if e := p.Accept(entries, former); e != nil {
			err = &refusedError{e}
			if p.Check(entries) == nil {
				err = &refusedError{(&diag.Error{Text: e.Error()}).WithHint("if it is meant so: bailiff allow refresh --accept %s", p.Name)}
			}
		}
	}
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
	st.Good, st.Refused, st.Failed, st.Sources = now, "", "", sources
	if have && slices.EqualFunc(entries, held, equal) { // sources that do not say whether they have changed
		x.Result = "unchanged"
		return x, r.store.WriteState(p.Name, st)
	}
	st.Fetched, st.Count = now, allow.Distinct(entries)
	if err := r.store.Write(p, entries, st); err != nil {
		x.Result = "failed"
		return x, err
	}
	x.Result, x.Entries = "new", st.Count
	return x, nil
}

// equal compares entries but for the lines that they stand in.
func equal(a, b allow.Entry) bool {
	return a.Prefix == b.Prefix && a.Until.Equal(b.Until) && a.Comment == b.Comment
}

// refusedError is a list that came and is not to be believed.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// fetch asks all URLs of a list. No entries and no error: none has changed, which is asked only if ask is set.
func (r *refresh) fetch(p *allow.Published, known []allowlists.Source, ask bool) (all []allow.Entry, sources []allowlists.Source, err error) {
	bodies := make([][]byte, len(p.URLs))
	sources = make([]allowlists.Source, len(p.URLs))
	changed := !ask
	for i, u := range p.URLs {
		was := allowlists.Source{}
		if ask {
			was = known[i]
		}
		if bodies[i], sources[i], err = r.get(u, was); err != nil {
			return nil, nil, err
		}
		changed = changed || bodies[i] != nil
	}
	if !changed {
		return nil, nil, nil
	}
	all = []allow.Entry{}
	for i, u := range p.URLs {
		if bodies[i] == nil { // unchanged beside another that has: the list is written as a whole
			if bodies[i], sources[i], err = r.get(u, allowlists.Source{}); err != nil {
				return nil, nil, err
			}
		}
		entries, err := p.Parse(u, bodies[i])
		if err != nil {
			return nil, nil, &refusedError{diag.Errors(err)[0]} // the first of a web page's hundred will do
		}
		all = append(all, entries...)
	}
	return all, sources, nil
}

// get asks one URL. A nil body: it has not changed since was.
func (r *refresh) get(u string, was allowlists.Source) (body []byte, is allowlists.Source, err error) {
	is.URL = u
	if path, ok := strings.CutPrefix(u, "file://"); ok {
		if path, err = url.PathUnescape(path); err != nil {
			return nil, is, fmt.Errorf("%s: %w", u, err)
		}
		body, err = readFile(path)
		return body, is, err
	}
	ctx, cancel := context.WithTimeout(r.ctx, downloadTime)
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
	res, err := r.client.Do(req)
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
	body, err = io.ReadAll(io.LimitReader(res.Body, maxDownload+1))
	if err == nil {
		err = ctx.Err() // what a server sends to whom it saw hang up is no list
	}
	if err != nil {
		return nil, is, fmt.Errorf("%s: %w", u, err)
	}
	if len(body) > maxDownload {
		return nil, is, &refusedError{fmt.Errorf("%s: has more than %d bytes", u, maxDownload)}
	}
	is.ETag, is.Modified = validator(res.Header.Get("ETag")), validator(res.Header.Get("Last-Modified"))
	return nonNil(body), is, nil
}

// validator is what a server said to ask with the next time, if it is fit to be kept.
func validator(s string) string {
	if len(s) > 256 {
		return ""
	}
	return s
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("is not a file")}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxDownload+1))
	if err == nil && len(b) > maxDownload {
		err = &refusedError{fmt.Errorf("%s: has more than %d bytes", path, maxDownload)}
	}
	return nonNil(b), err
}
