// Package httpclient is the HTTP client of destinations: it posts once and returns the answer, bounded. It follows no redirection, since a
// report goes to the configured URL and nowhere else, and its errors hold neither URL nor headers, which may hold a key.
//
// Start reading at Post; answer.go reads what is common to the answers of all services.
package httpclient

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"time"
)

const (
	dialTime  = 15 * time.Second
	idleTime  = 30 * time.Second
	maxHeader = 64 << 10 // bytes of an answer's
)

// NewClient returns the client of Env. It uses the proxy that the environment names (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), but not for
// this host.
func NewClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: dialTime}).DialContext,
			TLSHandshakeTimeout:    dialTime,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    1, // each destination delivers one item at a time
			IdleConnTimeout:        idleTime,
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Request is a POST request, or a PUT.
type Request struct {
	Method string // "": POST
	URL    string
	Header map[string]string // besides Content-Type and User-Agent
	Type   string            // of Body
	Body   []byte
	Agent  string
}

// Limit returns a context that ends after a while, with an error that says so.
func Limit(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
}

// Host returns the host of a URL, for messages.
func Host(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "its URL"
	}
	return u.Host
}

// Check returns an error unless the URL is https, or http to this host: reports must be encrypted.
func Check(rawURL string) error {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || u.Host == "":
		return errors.New("the URL is not valid")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%s to %s is not encrypted: use an https URL", u.Scheme, u.Host)
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// Post sends a request and reads the answer, up to MaxBody. After an error it is not known whether the other side accepted the
// request.
func Post(ctx context.Context, c *http.Client, r *Request) (*Answer, error) {
	req, err := http.NewRequestWithContext(ctx, cmp.Or(r.Method, http.MethodPost), r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return nil, errors.New("the URL is not valid")
	}
	for k, v := range r.Header {
		req.Header.Set(k, v)
	}
	req.Header.Set("Content-Type", r.Type)
	req.Header.Set("User-Agent", r.Agent)
	res, err := c.Do(req)
	if err != nil {
		return nil, failure(ctx, req.URL.Host, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxBody))
	if err != nil {
		return nil, failure(ctx, req.URL.Host, fmt.Errorf("its answer is incomplete: %w", err))
	}
	return &Answer{Status: res.StatusCode, Header: textproto.MIMEHeader(res.Header), Body: body}, nil
}

// failure returns the error without the URL that url.Error contains.
func failure(ctx context.Context, host string, err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("%s: %w", host, err)
}
