// Command bailiff-netlink does for a bailiffd that has no network what takes netlink: it closes the TCP connections of banned
// prefixes, tells the host's own addresses, and removes rules that a bailiffd with another backend has left. systemd starts it when the daemon asks (bailiff-netlink.socket); it reads
// nothing but the daemon's requests, and ends when none came for a while. bailiffd(8), "FIREWALLD ALONE", describes it.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"bailiff/cmd/internal/nlhelper"
	"bailiff/firewall"
	"bailiff/firewall/conn"
	"bailiff/firewall/ipset"
	"bailiff/firewall/nftables"
	"bailiff/units/activation"
)

// idle is after how long without a request it ends: an attack's bans come closer together, and to start takes milliseconds.
const idle = time.Minute

// cut closes the connections of this host's processes, then has conntrack forget those that pass through.
func cut(ctx context.Context, prefixes []netip.Prefix) (int, error) {
	n, err := conn.Kill(ctx, prefixes)
	_, bad := conn.Forget(ctx, prefixes)
	return n, errors.Join(err, bad)
}

// remove takes away what the backends have that the daemon cannot use without netlink.
func remove(ctx context.Context) (removed []string, err error) {
	everything := []firewall.Scope{{}}
	one, err := ipset.New(ipset.Options{Scopes: everything})
	if err != nil {
		return nil, err
	}
	defer one.Close()
	two, err := nftables.New(nftables.Options{Scopes: everything})
	if err != nil {
		return nil, err
	}
	defer two.Close()
	for _, be := range []firewall.Backend{one, two} {
		found, bad := firewall.RemoveLeftovers(ctx, be)
		if found && bad == nil {
			removed = append(removed, be.Name())
		}
		err = errors.Join(err, bad)
	}
	return removed, err
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bailiff-netlink:", err)
		os.Exit(1)
	}
}

func run() error {
	l, _, err := activation.Listener("netlink", "")
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	return nlhelper.Serve(ctx, l.(*net.UnixListener), idle, nlhelper.Hands{Kill: cut, Addresses: nlhelper.Addresses, Remove: remove})
}
