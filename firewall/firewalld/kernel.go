package firewalld

import (
	"context"

	"bailiff/firewall/internal/nfrule"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// tableName is firewalld's own table, with its backend nftables.
const tableName = "firewalld"

// flushed tells what is wrong with firewalld's table in the kernel; "" when nothing. firewalld itself does not notice that
// somebody flushed the ruleset, and answers as if all stood. Where the kernel may not be asked (the daemon without
// CAP_NET_ADMIN and AF_NETLINK), or firewalld uses iptables, firewalld's word has to do.
func (b *Backend) flushed(ctx context.Context) (harm string, err error) {
	gen, err := nfrule.Generation(ctx)
	switch {
	case ctx.Err() != nil:
		return "", err
	case err != nil, gen == b.gen && gen != 0:
		return "", nil
	}
	if b.backendType == "" {
		if b.backendType, err = b.askBackendType(ctx); err != nil {
			return "", err
		}
	}
	if b.backendType != "nftables" {
		b.gen = gen
		return "", nil
	}
	harm, err = b.unreferred(ctx)
	switch {
	case err != nil: // the next Verify looks again
		return "", ctx.Err()
	case harm == "":
		b.gen = gen
	}
	return harm, nil
}

// unreferred finds sets of ours that no rule in the kernel looks into.
func (b *Backend) unreferred(ctx context.Context) (string, error) {
	sets, err := nfrule.Lookups(ctx, unix.NFPROTO_INET, tableName)
	if err != nil {
		return "", err
	}
	if len(sets) == 0 {
		return "is gone from the kernel, or empty: somebody flushed it", nil
	}
	if b.method != "policy" {
		return "", nil // a zone that has no traffic has no rules either
	}
	for _, k := range b.keys() {
		if name := b.setName(k); sets[name] == 0 {
			return "has no rule in the kernel that looks into set " + name, nil
		}
	}
	return "", nil
}

// askBackendType asks for firewalld's own backend, nftables or iptables.
func (b *Backend) askBackendType(ctx context.Context) (kind string, err error) {
	var v dbus.Variant
	if err := b.bus.call(ctx, configPath, "org.freedesktop.DBus.Properties.Get", []any{&v}, busName+".config", "FirewallBackend"); err != nil {
		return "", err
	}
	kind, _ = v.Value().(string)
	return kind, nil
}
