// Command bailiff-netlink is the netlink helper of a bailiffd that is confined to unix sockets. It closes the TCP connections of
// banned prefixes, lists the host's own addresses, and removes rules that another backend has left. systemd starts it at the
// daemon's first request (bailiff-netlink.socket), and it ends when none has come for a while. It reads nothing but requests.
// bailiffd(8), "FIREWALLD ALONE", describes it; cmd/internal/nlhelper is the protocol.
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
	"bailiff/firewall/blocklists"
	"bailiff/firewall/conn"
	"bailiff/firewall/ipset"
	"bailiff/firewall/nftables"
	"bailiff/units/activation"
)

// idle is the time without a request after which the helper ends. Starting it takes milliseconds.
const idle = time.Minute

// closeConnections closes the connections of this host's processes, then deletes those that pass through from conntrack.
func closeConnections(ctx context.Context, prefixes []netip.Prefix) (int, error) {
	n, err := conn.Kill(ctx, prefixes)
	_, trackErr := conn.Forget(ctx, prefixes)
	return n, errors.Join(err, trackErr)
}

// remove removes the rules and sets of the backends that the daemon cannot use without netlink.
func remove(ctx context.Context) (removed []string, err error) {
	everything := []firewall.Scope{{}}
	ips, err := ipset.New(ipset.Options{Scopes: everything})
	if err != nil {
		return nil, err
	}
	defer ips.Close()
	nft, err := nftables.New(nftables.Options{Scopes: everything})
	if err != nil {
		return nil, err
	}
	defer nft.Close()
	for _, be := range []firewall.Backend{ips, nft} {
		found, removeErr := firewall.RemoveLeftovers(ctx, be)
		if found && removeErr == nil {
			removed = append(removed, be.Name())
		}
		err = errors.Join(err, removeErr)
	}
	found, removeErr := blocklists.New().Remove(ctx)
	if found && removeErr == nil {
		removed = append(removed, "block lists")
	}
	return removed, errors.Join(err, removeErr)
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
	return nlhelper.Serve(ctx, l.(*net.UnixListener), idle, nlhelper.Handlers{Kill: closeConnections, Addresses: nlhelper.Addresses, Remove: remove})
}
