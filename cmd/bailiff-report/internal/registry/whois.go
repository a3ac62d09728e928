package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/registry/whois"
	"bailiff/cmd/bailiff-report/internal/report"
)

const (
	maxReferrals = 3        // from IANA to a registry, to a provider's own server, and one more
	maxWhois     = 64 << 10 // bytes of an answer that are read; the longest of ARIN's about one address have 15 KB
)

// whois follows referrals from server to server and returns the answer of the last one that knew the network. The holder of a network
// chooses the server that its registry refers to, so an answer about a larger network than the one before is ignored: it would be
// cached for addresses of others. If a server that one refers to cannot be asked, the answer so far comes with that error.
func (r *Registry) whois(ctx context.Context, addr netip.Addr) (*report.Whois, error) {
	ctx, c := newChain(ctx)
	var known *report.Whois
	var asked []string
	for at := whois.Server(r.cfg.WhoisServer); ; {
		asked = append(asked, at)
		w, next, err := r.query(ctx, at, addr)
		switch {
		case err != nil:
			return known, err
		case w != nil && (known == nil || w.Network.Bits() >= known.Network.Bits()): // both contain addr
			known = w
		}
		if next == "" || slices.Contains(asked, next) || len(asked) > maxReferrals {
			break
		}
		c.refer()
		at = next
	}
	if known == nil {
		return nil, fmt.Errorf("%s: names no network that contains %s", short(asked[len(asked)-1]), addr)
	}
	return known, nil
}

// query asks one server. The answer is nil if it is only a referral, as IANA's is; next is the server it refers to.
func (r *Registry) query(ctx context.Context, server string, addr netip.Addr) (w *report.Whois, next string, err error) {
	if err := r.take(server); err != nil {
		return nil, "", err
	}
	data, err := exchange(ctx, server, whois.Query(server, addr)+"\r\n")
	if err != nil {
		err = timeoutErr(ctx, err)
		r.pause(server, pauseTime, err)
		return nil, "", fmt.Errorf("%s: %w", short(server), err)
	}
	next = whois.Referral(data)
	w = whois.Parse(data, addr)
	if !w.Network.IsValid() || !usable(w.Network) || next != "" && ofRegistry(w.Network) {
		return nil, next, nil
	}
	w.Source, w.Asked = short(server), r.now()
	return w, next, nil
}

// ofRegistry reports whether a network is as large as the address space that IANA gives to registries: with a referral, it is that of the
// registry that it refers to. IANA's smallest for IPv6 are /23.
func ofRegistry(p netip.Prefix) bool {
	return p.Addr().Is4() && p.Bits() <= 8 || p.Addr().Is6() && p.Bits() <= 23
}

// exchange sends a question and reads the answer, to the end or to maxWhois bytes.
func exchange(ctx context.Context, server, question string) ([]byte, error) {
	conn, err := dial(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // on an open connection it does not fail
	defer stop()
	if _, err := conn.Write([]byte(question)); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(conn, maxWhois))
	if len(data) == 0 && err == nil {
		err = io.EOF
	}
	if len(data) == 0 || ctx.Err() != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	return data, nil // some servers reset the connection after their answer
}

// short leaves out the port that all servers have.
func short(server string) string {
	host, port, err := net.SplitHostPort(server)
	if err != nil || port != strconv.Itoa(whois.Port) {
		return server
	}
	return strings.Trim(host, "[]")
}
