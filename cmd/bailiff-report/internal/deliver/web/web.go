// Package web is the HTTP client of destinations: it posts once and returns the answer, bounded. It follows no redirection, since a
// report goes to the configured URL and nowhere else, and its errors hold neither URL nor headers, which may hold a key.
//
// Start reading at Post; answer.go reads what is common to the answers of all services.
package web

import (
	"bytes"
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

// NewClient makes the client that Env has. A proxy is used where the environment names one (HTTPS_PROXY, HTTP_PROXY, NO_PROXY),
// never for this host itself.
func NewClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: dialTime}).DialContext,
			TLSHandshakeTimeout:    dialTime,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    1, // a destination delivers one item after the other
			IdleConnTimeout:        idleTime,
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Request is what is posted.
type Request struct {
	URL    string
	Header map[string]string // beside Content-Type and User-Agent
	Type   string            // of Body
	Body   []byte
	Agent  string
}

// Limit ends a delivery after so long, with an error that says so.
func Limit(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
}

// Host is whom a URL speaks to, for people.
func Host(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "its URL"
	}
	return u.Host
}

// Check refuses a URL that the configuration would, whoever made it: reports travel encrypted, but within this host.
func Check(rawURL string) error {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || u.Host == "":
		return errors.New("the URL cannot be read")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%s to %s is not encrypted, write an https URL", u.Scheme, u.Host)
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// Post sends a request and reads the answer, of which what is beyond MaxBody is left out. An error says that there was
// none: whether the other side took what was sent is not known then.
func Post(ctx context.Context, c *http.Client, r *Request) (*Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return nil, errors.New("the URL cannot be read")
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
		return nil, failure(ctx, req.URL.Host, fmt.Errorf("its answer broke off: %w", err))
	}
	return &Answer{Status: res.StatusCode, Header: textproto.MIMEHeader(res.Header), Body: body}, nil
}

// failure tells what went wrong without the URL, which url.Error would name.
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
