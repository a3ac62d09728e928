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
	maxRedirects = 5       // RIRs redirect to each other where networks were transferred: once, at most twice
	maxRDAP      = 1 << 20 // bytes of an answer; the largest seen have some 50 KB
)

// newClient makes a client that goes only where a chain may go. Connections are not kept: look-ups are rare, and what is
// dialled is judged each time.
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
	t.Proxy = nil // a proxy would go where dial does not see it
	t.MaxResponseHeaderBytes = 64 << 10
	return &http.Client{Transport: t, CheckRedirect: r.redirect}
}

// redirect follows from https to https alone, or from wherever the configured server is plain http, and asks each server no
// more than it may be asked.
func (r *Registry) redirect(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case req.URL.Scheme != "https" && (req.URL.Scheme != "http" || via[0].URL.Scheme != "http"):
		return fmt.Errorf("a redirect to %s: is not followed", req.URL.Scheme)
	case req.URL.User != nil, whois.Server(req.URL.Host) == "":
		return errors.New("a redirect to no plain host is not followed")
	}
	for _, v := range via {
		if v.URL.String() == req.URL.String() {
			return errors.New("redirects go round in a circle")
		}
	}
	if c, ok := req.Context().Value(chainKey{}).(*chain); ok {
		c.next()
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
	ctx, _ = begin(ctx)
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
		// The URL holds nothing but the address; what failed may be another server's doing, but that one is reached through
		// this one alone.
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		err = told(ctx, err)
		if !errors.Is(err, errLimit) {
			r.rest(first, restFor, err)
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
		r.rest(last, r.after(resp), err)
		return nil, fmt.Errorf("%s: %w", last, err)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %d %s", last, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	data, err := readAll(resp.Body, maxRDAP)
	if err != nil {
		err = told(ctx, err)
		r.rest(last, restFor, err)
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

// after is how long a server wants to be left alone.
func (r *Registry) after(resp *http.Response) time.Duration {
	s := resp.Header.Get("Retry-After")
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return max(restFor, min(time.Duration(n)*time.Second, maxRest))
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(restFor, min(t.Sub(r.now()), maxRest))
	}
	return restFor
}

// told puts the end of the time allowed into words.
func told(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	return err
}
