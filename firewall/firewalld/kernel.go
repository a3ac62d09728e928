package firewalld

import (
	"context"
	"errors"
	"fmt"

	"bailiff/firewall"
	"bailiff/firewall/internal/nfrule"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// tableName is firewalld's own table, with its backend nftables.
const tableName = "firewalld"

// flushed returns what is wrong with firewalld's table in the kernel; "" when nothing is. firewalld itself does not notice if somebody
// flushes the ruleset. If the kernel cannot be asked (without CAP_NET_ADMIN and AF_NETLINK), or firewalld uses iptables, only firewalld's
// answers are checked.
func (b *Backend) flushed(ctx context.Context) (problem string, err error) {
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
	problem, err = b.unreferenced(ctx)
	switch {
	case err != nil: // the next Verify tries again
		return "", ctx.Err()
	case problem == "":
		b.gen = gen
	}
	return problem, nil
}

// unreferenced looks for sets of ours to which no rule in the kernel refers.
func (b *Backend) unreferenced(ctx context.Context) (string, error) {
	sets, err := nfrule.Lookups(ctx, unix.NFPROTO_INET, tableName)
	if err != nil {
		return "", err
	}
	if len(sets) == 0 {
		return "is gone from the kernel, or empty: somebody flushed it", nil
	}
	if b.method != "policy" {
		return "", nil // a zone without interfaces has no rules
	}
	for _, k := range b.keys() {
		if name := b.setName(k); sets[name] == 0 {
			return "has no rule in the kernel that looks into set " + name, nil
		}
	}
	return "", nil
}

// held returns err, or another error if err says that firewalld denies access although rules in the kernel refer to our sets: the right to
// use firewalld was lost, and what is in it remains in effect. Without such rules the error is a *firewall.UnsupportedError.
func held(ctx context.Context, err error) error {
	var lack *firewall.UnsupportedError
	if !errors.As(err, &lack) || lack.What != rightToUse {
		return err
	}
	sets, e := nfrule.Lookups(ctx, unix.NFPROTO_INET, tableName)
	if e != nil {
		return err
	}
	for name := range sets {
		if ourName(name) {
			return fmt.Errorf("%v; table inet %s still has rules that look into our sets", lack, tableName)
		}
	}
	return err
}

// askBackendType asks for firewalld's own backend, nftables or iptables.
func (b *Backend) askBackendType(ctx context.Context) (name string, err error) {
	var v dbus.Variant
	if err := b.bus.call(ctx, configPath, "org.freedesktop.DBus.Properties.Get", []any{&v}, busName+".config", "FirewallBackend"); err != nil {
		return "", err
	}
	name, _ = v.Value().(string)
	return name, nil
}
