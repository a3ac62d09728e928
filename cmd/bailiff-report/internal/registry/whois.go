package registry

import (
	"context"
	"errors"
	"fmt"
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
	maxReferrals = 3        // IANA, a registry, a provider's own server, and one to spare
	maxWhois     = 64 << 10 // bytes of an answer that are read; the longest of ARIN's about one address have 15 KB
)

// whois asks from server to server, and returns what the last one that knew the network said.
func (r *Registry) whois(ctx context.Context, addr netip.Addr) (*report.Whois, error) {
	ctx, c := begin(ctx)
	var known *report.Whois
	var asked []string
	for at := whois.Server(r.cfg.WhoisServer); ; {
		asked = append(asked, at)
		w, next, err := r.query(ctx, at, addr)
		switch {
		case err != nil && known == nil:
			return nil, err
		case err != nil: // a provider's server is out of reach; what its registry said holds
			return known, nil
		case w != nil:
			known = w
		}
		if next == "" || slices.Contains(asked, next) || len(asked) > maxReferrals {
			break
		}
		c.next()
		at = next
	}
	if known == nil {
		return nil, fmt.Errorf("%s: names no network with %s in it", short(asked[len(asked)-1]), addr)
	}
	return known, nil
}

// query asks one server. The answer is nil if it says nothing worth telling, as IANA's does, which says who to ask next.
func (r *Registry) query(ctx context.Context, server string, addr netip.Addr) (w *report.Whois, next string, err error) {
	if err := r.take(server); err != nil {
		return nil, "", err
	}
	data, err := exchange(ctx, server, whois.Query(server, addr)+"\r\n")
	if err != nil {
		err = told(ctx, err)
		r.rest(server, restFor, err)
		return nil, "", fmt.Errorf("%s: %w", short(server), err)
	}
	next = whois.Referral(data)
	w = whois.Parse(data, addr)
	// A network of /8 that comes with a referral is the registry's that the referral is to.
	if !w.Network.IsValid() || !usable(w.Network) || next != "" && w.Network.Bits() == 8 && w.Network.Addr().Is4() {
		return nil, next, nil
	}
	w.Source, w.Asked = short(server), r.now()
	return w, next, nil
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
	data := make([]byte, 0, 8<<10)
	for len(data) < maxWhois {
		data = slices.Grow(data, 1)
		n, err := conn.Read(data[len(data):min(cap(data), maxWhois)])
		data = data[:len(data)+n]
		if err == nil {
			continue
		}
		// Some servers cut the connection when they have said everything.
		if ctx.Err() != nil || len(data) == 0 {
			return nil, errors.Join(ctx.Err(), err)
		}
		break
	}
	return data, nil
}

// short leaves out the port that all of them have.
func short(server string) string {
	host, port, err := net.SplitHostPort(server)
	if err != nil || port != strconv.Itoa(whois.Port) {
		return server
	}
	return strings.Trim(host, "[]")
}
