// Package nlhelper is the protocol between a bailiffd that must not use netlink and its helper, bailiff-netlink: the helper closes
// TCP connections, lists the host's own addresses, and removes rules that an earlier start left in the kernel's firewall.
//
// A connection over a unix socket carries one request and one answer, each a JSON object. The helper does nothing else, and it
// trusts everyone who may connect: the socket's mode decides. Start reading at Client.
package nlhelper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"bailiff/firewall"
)

// Path is where bailiff-netlink.socket listens.
const Path = "/run/bailiff/netlink"

const (
	// maxMessage bounds a request or an answer, in bytes. 64 Ki IPv6 prefixes, the most that the daemon queues, are 3 MiB.
	maxMessage = 8 << 20

	// requestTimeout bounds one request, with the kernel's answer.
	requestTimeout = 15 * time.Second
)

// request asks to remove rules if Remove is set, to close connections if it has prefixes, else for the host's own addresses.
type request struct {
	Close  []netip.Prefix `json:"close,omitempty"`
	Remove bool           `json:"remove,omitempty"`
}

type answer struct {
	Closed    int          `json:"closed"`
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Removed   []string     `json:"removed,omitempty"`
	Error     string       `json:"error,omitempty"`
}

// Client sends requests to the helper. Its methods may be called from any goroutine.
type Client struct{ path string }

// New returns a Client for the socket at path.
func New(path string) *Client { return &Client{path} }

// Addresses returns the addresses of all interfaces of the host.
func (c *Client) Addresses(ctx context.Context) ([]netip.Addr, error) {
	a, err := c.ask(ctx, request{})
	return a.Addresses, err
}

// Kill closes the open TCP connections of prefixes, as firewall/conn's Kill does, and returns their number.
func (c *Client) Kill(ctx context.Context, prefixes []netip.Prefix) (int, error) {
	if len(prefixes) == 0 {
		return 0, nil
	}
	a, err := c.ask(ctx, request{Close: prefixes})
	return a.Closed, err
}

// Remove removes the rules and sets of the backends that need netlink, and returns the names of those that had any.
func (c *Client) Remove(ctx context.Context) ([]string, error) {
	a, err := c.ask(ctx, request{Remove: true})
	return a.Removed, err
}

func (c *Client) ask(ctx context.Context, r request) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.path)
	if err != nil {
		return a, fmt.Errorf("netlink helper: %w", err)
	}
	defer conn.Close()
	end, _ := ctx.Deadline()
	conn.SetDeadline(end)
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return a, fmt.Errorf("netlink helper: %w", err)
	}
	if err := decode(conn, &a); err != nil {
		return a, fmt.Errorf("netlink helper: %w", err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("netlink helper: %s", a.Error)
	}
	return a, nil
}

func decode(r io.Reader, v any) error {
	d := json.NewDecoder(io.LimitReader(r, maxMessage))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// Handlers do the work of Serve.
type Handlers struct {
	Kill      func(context.Context, []netip.Prefix) (int, error)
	Addresses func() ([]netip.Addr, error)
	Remove    func(context.Context) ([]string, error)
}

// Serve answers requests, one after the other, until ctx ends or none has come for the time idle. It closes ln.
func Serve(ctx context.Context, ln *net.UnixListener, idle time.Duration, h Handlers) error {
	defer ln.Close()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for {
		ln.SetDeadline(time.Now().Add(idle))
		conn, err := ln.AcceptUnix()
		switch {
		case ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded):
			return nil // systemd starts the helper again for the next request
		case err != nil:
			return err
		}
		serve(ctx, conn, h)
	}
}

// serve answers one request. Errors of the connection do not matter to the helper.
func serve(ctx context.Context, conn *net.UnixConn, h Handlers) {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	end, _ := ctx.Deadline()
	conn.SetDeadline(end)
	var r request
	var a answer
	err := decode(conn, &r)
	if err == nil {
		a, err = do(ctx, r, h)
	}
	if err != nil {
		a.Error = err.Error()
	}
	json.NewEncoder(conn).Encode(a)
}

func do(ctx context.Context, r request, h Handlers) (a answer, err error) {
	if r.Remove {
		a.Removed, err = h.Remove(ctx)
		return a, err
	}
	if len(r.Close) == 0 {
		a.Addresses, err = h.Addresses()
		return a, err
	}
	for _, p := range r.Close {
		if err := firewall.CheckPrefix(p); err != nil {
			return a, err
		}
	}
	a.Closed, err = h.Kill(ctx, r.Close)
	return a, err
}
