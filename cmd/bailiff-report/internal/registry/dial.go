package registry

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"bailiff/cmd/bailiff-report/internal/report"
)

// chain is one way from server to server: the first is the administrator's or IANA's, the others are named by whoever
// answered. Those may lead into the host's own network only if the first stood there, too.
type chain struct {
	mu     sync.Mutex
	follow bool // beyond the first server
	inside bool // the first server was not a public one
}

type chainKey struct{}

// begin starts a chain.
func begin(ctx context.Context) (context.Context, *chain) {
	c := new(chain)
	return context.WithValue(ctx, chainKey{}, c), c
}

// next says that what is dialled from now on was named by a stranger.
func (c *chain) next() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.follow = true
}

// check judges the address that a connection is about to go to, after its name was resolved: a name says nothing.
func (c *chain) check(address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	outside := report.Public(to.Addr())
	switch {
	case !c.follow:
		c.inside = c.inside || !outside
	case !outside && !c.inside:
		return fmt.Errorf("a referral into the network of this host, to %s, is not followed", to.Addr())
	}
	return nil
}

// dial connects, if the chain of ctx allows it.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		if c, ok := ctx.Value(chainKey{}).(*chain); ok {
			return c.check(address)
		}
		return nil
	}}
	return d.DialContext(ctx, network, address)
}

// readAll reads to the end, and fails if that is further than most bytes.
func readAll(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("is longer than %d bytes", most)
	}
	return data, err
}
