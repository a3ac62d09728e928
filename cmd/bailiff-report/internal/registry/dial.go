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

// chain is the way from server to server of one question. The first server is configured or IANA's; the others are named by the
// answers. These may lead into the host's own network only if the first server is there, too.
type chain struct {
	mu       sync.Mutex
	referred bool // beyond the first server
	private  bool // the first server has no public address
}

type chainKey struct{}

// newChain returns a context whose connections form a chain.
func newChain(ctx context.Context) (context.Context, *chain) {
	c := new(chain)
	return context.WithValue(ctx, chainKey{}, c), c
}

// refer says that the next connections go to servers that an answer named.
func (c *chain) refer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.referred = true
}

// check decides whether a connection may be made. It gets the address after name resolution: a name proves nothing.
func (c *chain) check(address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	public := report.Public(to.Addr())
	switch {
	case !c.referred:
		c.private = c.private || !public
	case !public && !c.private:
		return fmt.Errorf("a referral into the network of this host, to %s, is not followed", to.Addr())
	}
	return nil
}

// dial connects if the chain of ctx allows it.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		if c, ok := ctx.Value(chainKey{}).(*chain); ok {
			return c.check(address)
		}
		return nil
	}}
	return d.DialContext(ctx, network, address)
}

// readAll reads to the end. More than limit bytes are an error.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("is longer than %d bytes", limit)
	}
	return data, err
}
