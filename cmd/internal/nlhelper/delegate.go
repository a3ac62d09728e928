// Package nlhelper lets a daemon that must not use netlink have done what takes it: Serve closes TCP connections, tells the
// host's own addresses, and removes what an earlier start left in the kernel's firewall; Client asks for it. Over a unix stream goes one request and one answer, each a JSON object. Serve does
// nothing else, and whoever may connect may ask: the socket's mode decides. Start reading at Client.
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
	// limit bounds what is read of either side: 64 Ki IPv6 prefixes, the most that wait for a firewall, are 3 MiB.
	limit = 8 << 20

	// patience is how long one request may take, with the kernel's answer; Serve's whole, not a part of it.
	patience = 15 * time.Second
)

// request asks for connections to be closed when it names prefixes, for rules to be removed when it says so, and for the
// host's own addresses else.
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

// Client asks the helper at a path.
type Client struct{ path string }

// New takes the path of the helper's socket.
func New(path string) *Client { return &Client{path} }

// Addresses returns the host's own addresses, of all interfaces.
func (c *Client) Addresses(ctx context.Context) ([]netip.Addr, error) {
	a, err := c.ask(ctx, request{})
	return a.Addresses, err
}

// Kill closes the open TCP connections of prefixes and returns how many there were: firewall/conn's Kill, done elsewhere.
func (c *Client) Kill(ctx context.Context, prefixes []netip.Prefix) (int, error) {
	if len(prefixes) == 0 {
		return 0, nil
	}
	a, err := c.ask(ctx, request{Close: prefixes})
	return a.Closed, err
}

// Remove removes the rules and sets of the backends that take netlink, and names those backends that had any.
func (c *Client) Remove(ctx context.Context) ([]string, error) {
	a, err := c.ask(ctx, request{Remove: true})
	return a.Removed, err
}

func (c *Client) ask(ctx context.Context, r request) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
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
	d := json.NewDecoder(io.LimitReader(r, limit))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// Hands are what Serve does when asked.
type Hands struct {
	Kill      func(context.Context, []netip.Prefix) (int, error)
	Addresses func() ([]netip.Addr, error)
	Remove    func(context.Context) ([]string, error)
}

// Serve answers one request after the other, until ctx ends or nobody has come for as long as idle. It closes ln.
func Serve(ctx context.Context, ln *net.UnixListener, idle time.Duration, h Hands) error {
	defer ln.Close()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for {
		ln.SetDeadline(time.Now().Add(idle))
		conn, err := ln.AcceptUnix()
		switch {
		case ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded):
			return nil // systemd starts us again when somebody comes
		case err != nil:
			return err
		}
		serve(ctx, conn, h)
	}
}

// serve answers. A caller that goes away or sends nonsense is its own affair: it is told where it still listens.
func serve(ctx context.Context, conn *net.UnixConn, h Hands) {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
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

func do(ctx context.Context, r request, h Hands) (a answer, err error) {
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
