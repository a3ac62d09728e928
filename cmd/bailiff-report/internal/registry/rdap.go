package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/registry/rdap"
	"bailiff/cmd/bailiff-report/internal/registry/whois"
	"bailiff/cmd/bailiff-report/internal/report"
)

const (
	maxRedirects = 5       // registries redirect once or twice if a network was transferred
	maxRDAP      = 1 << 20 // bytes of an answer; the largest seen have some 50 KB
)

// newClient makes a client that connects only where a chain may go. Connections are not reused: lookups are rare, and each
// connection is checked.
func (r *Registry) newClient(like *http.Client) *http.Client {
	t, ok := http.DefaultTransport.(*http.Transport)
	if like != nil {
		if own, is := like.Transport.(*http.Transport); is {
			t, ok = own, true
		}
	}
	if !ok {
		t = new(http.Transport)
	}
	t = t.Clone()
	t.DisableKeepAlives = true
	t.DialContext = dial
	t.Proxy = nil // a proxy would connect where dial does not see it
	t.MaxResponseHeaderBytes = 64 << 10
	return &http.Client{Transport: t, CheckRedirect: r.redirect}
}

// redirect decides whether a redirect is followed: to https, or to http if the configured server has http, and within the limits of
// the server that it leads to.
func (r *Registry) redirect(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case req.URL.Scheme != "https" && (req.URL.Scheme != "http" || via[0].URL.Scheme != "http"):
		return fmt.Errorf("a redirect to %s: is not followed", req.URL.Scheme)
	case req.URL.User != nil, whois.Server(req.URL.Host) == "":
		return errors.New("a redirect to something other than a plain host is not followed")
	}
	for _, v := range via {
		if v.URL.String() == req.URL.String() {
			return errors.New("redirects lead in a circle")
		}
	}
	if c, ok := req.Context().Value(chainKey{}).(*chain); ok {
		c.refer()
	}
	if req.URL.Host != via[len(via)-1].URL.Host {
		return r.take(req.URL.Host)
	}
	return nil
}

// rdap asks the servers of an address in turn.
func (r *Registry) rdap(ctx context.Context, addr netip.Addr) (*report.Whois, error) {
	var errs []error
	for _, base := range r.bootstrap.Servers(addr) {
		w, err := r.get(ctx, base, addr)
		if err == nil {
			return w, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if errs == nil {
		return nil, errors.New("RDAP: no server is known")
	}
	return nil, errors.Join(errs...)
}

func (r *Registry) get(ctx context.Context, base string, addr netip.Addr) (*report.Whois, error) {
	ctx, _ = newChain(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"ip/"+addr.String(), nil)
	if err != nil {
		return nil, err
	}
	first := req.URL.Host
	if err := r.take(first); err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/rdap+json")
	req.Header.Set("User-Agent", r.agent)
	resp, err := r.client.Do(req)
	if err != nil {
		// Another server of the redirects may have failed, but it is reached through this one alone.
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		err = timeoutErr(ctx, err)
		if !errors.Is(err, errLimit) {
			r.pause(first, pauseTime, err)
		}
		return nil, fmt.Errorf("%s: %w", first, err)
	}
	defer resp.Body.Close()
	last := resp.Request.URL.Host
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s: knows nothing about %s", last, addr)
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode >= 500:
		err := errors.New(strings.TrimSpace(strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode)))
		r.pause(last, r.after(resp), err)
		return nil, fmt.Errorf("%s: %w", last, err)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %d %s", last, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	data, err := readAll(resp.Body, maxRDAP)
	if err != nil {
		err = timeoutErr(ctx, err)
		r.pause(last, pauseTime, err)
		return nil, fmt.Errorf("%s: %w", last, err)
	}
	w, err := rdap.ParseNetwork(data, addr)
	if err == nil && !usable(w.Network) {
		err = fmt.Errorf("says no more than %s", w.Network)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", last, err)
	}
	w.Source, w.Asked = last, r.now()
	return w, nil
}

// after is how long a server asks not to be asked (Retry-After).
func (r *Registry) after(resp *http.Response) time.Duration {
	s := resp.Header.Get("Retry-After")
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return max(pauseTime, min(time.Duration(n)*time.Second, maxPause))
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(pauseTime, min(t.Sub(r.now()), maxPause))
	}
	return pauseTime
}

// timeoutErr replaces the error of a lookup whose time is over.
func timeoutErr(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	return err
}
