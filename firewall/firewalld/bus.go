package firewalld

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"bailiff/firewall"

	"github.com/godbus/dbus/v5"
)

// firewalld's names on the bus (firewalld.dbus(5)).
const (
	busName           = "org.fedoraproject.FirewallD1"
	ipsetIface        = busName + ".ipset."
	policyIface       = busName + ".policy."
	zoneIface         = busName + ".zone."
	configIface       = busName + ".config."
	configSetIface    = busName + ".config.ipset."
	configPolicyIface = busName + ".config.policy."
	configZoneIface   = busName + ".config.zone."

	mainPath   = dbus.ObjectPath("/org/fedoraproject/FirewallD1")
	configPath = dbus.ObjectPath("/org/fedoraproject/FirewallD1/config")
)

// rightToUse is what a host lacks on which firewalld denies access.
const rightToUse = "the right to use firewalld"

// errAbsent says that firewalld is not running, or does not answer.
var errAbsent = fmt.Errorf("firewalld %w", firewall.ErrAbsent)

// connect opens a connection to the system bus. ctx limits only the opening; the connection outlives it.
func connect(ctx context.Context, opts ...dbus.ConnOption) (*dbus.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end) // for a bus that accepts the connection and then does not answer
	c, err := dbus.ConnectSystemBus(append(opts, dbus.WithContext(life))...)
	if err == nil && stop() {
		return c, nil
	}
	end()
	if err == nil {
		c.Close()
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return nil, fmt.Errorf("firewalld: system bus: %w", err)
}

// bus is a connection to the system bus that is reopened after it was closed.
type bus struct{ conn *dbus.Conn }

func (b *bus) open(ctx context.Context) (*dbus.Conn, error) {
	if b.conn != nil && b.conn.Connected() {
		return b.conn, ctx.Err()
	}
	b.close()
	c, err := connect(ctx)
	b.conn = c
	return c, err
}

func (b *bus) close() {
	if b.conn != nil {
		b.conn.Close()
		b.conn = nil
	}
}

// call calls a method and stores its answer in out. It never starts firewalld: an administrator may have stopped it.
func (b *bus) call(ctx context.Context, path dbus.ObjectPath, method string, out []any, args ...any) error {
	c, err := b.open(ctx)
	if err != nil {
		return err
	}
	call := c.Object(busName, path).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
	if call.Err != nil {
		return explain(method, call.Err)
	}
	if len(out) == 0 {
		return nil
	}
	if err := call.Store(out...); err != nil {
		return fmt.Errorf("firewalld: %s: %w", short(method), err)
	}
	return nil
}

func short(method string) string { return strings.TrimPrefix(method, busName+".") }

// fault is an error of firewalld's own: a word in capitals and an explanation.
type fault struct{ method, code, text string }

func (f *fault) Error() string {
	return fmt.Sprintf("firewalld: %s: %s", short(f.method), strings.TrimSuffix(f.code+": "+f.text, ": "))
}

// is reports whether err is a fault of firewalld's with one of the codes.
func is(err error, codes ...string) bool {
	var f *fault
	return errors.As(err, &f) && slices.Contains(codes, f.code)
}

// explain turns an error of the bus into one that says what is wrong.
func explain(method string, err error) error {
	var e dbus.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("firewalld: %s: %w", short(method), err)
	}
	text := ""
	if len(e.Body) > 0 {
		text, _ = e.Body[0].(string)
	}
	switch e.Name {
	case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner", "org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.Disconnected":
		return fmt.Errorf("%w (%s)", errAbsent, text)
	case "org.freedesktop.DBus.Error.UnknownMethod", "org.freedesktop.DBus.Error.UnknownInterface":
		return &firewall.UnsupportedError{
			What: "a firewalld with " + short(method), Hint: "update firewalld to 0.9 or newer, or write backend: nftables", Err: errors.New(text),
		}
	case busName + ".NotAuthorizedException", "org.freedesktop.DBus.Error.AccessDenied":
		return &firewall.UnsupportedError{
			What: rightToUse, Hint: "make sure that polkit runs and has bailiff's rule (/usr/share/polkit-1/rules.d/50-bailiff.rules), or write backend: nftables",
			Err: fmt.Errorf("%s: %s", short(method), text),
		}
	}
	code, rest, _ := strings.Cut(text, ":")
	if code == "" || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
		return fmt.Errorf("firewalld: %s: %s: %s", short(method), e.Name, text)
	}
	return &fault{method, code, strings.TrimSpace(rest)}
}
