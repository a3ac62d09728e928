// Package service asks systemd whether units run, and stops them, over D-Bus. It is for commands that root gives; the
// daemon has no need of it. A host without systemd's bus is told by an error.
package service

import (
	"context"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Active tells which of the units run, are being started or are being stopped. A unit that the host does not have does not.
func Active(ctx context.Context, units ...string) ([]string, error) {
	c, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("systemd over D-Bus: %w", err)
	}
	defer c.Close()
	return active(ctx, c, units)
}

func active(ctx context.Context, c *dbus.Conn, units []string) (l []string, err error) {
	list, err := c.ListUnitsByNamesContext(ctx, units)
	if err != nil {
		return nil, fmt.Errorf("systemd over D-Bus: %w", err)
	}
	for _, u := range list {
		if u.ActiveState != "inactive" && u.ActiveState != "failed" {
			l = append(l, u.Name)
		}
	}
	return l, nil
}

// Stop stops units, those that run, and returns when they have.
func Stop(ctx context.Context, units ...string) error {
	c, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("systemd over D-Bus: %w", err)
	}
	defer c.Close()
	running, err := active(ctx, c, units)
	if err != nil {
		return err
	}
	for _, u := range running {
		done := make(chan string, 1)
		if _, err := c.StopUnitContext(ctx, u, "replace", done); err != nil {
			return fmt.Errorf("stop %s: %w", u, err)
		}
		select {
		case how := <-done:
			if how != "done" {
				return fmt.Errorf("stop %s: %s", u, how)
			}
		case <-ctx.Done():
			return fmt.Errorf("stop %s: %w", u, ctx.Err())
		}
	}
	return nil
}
