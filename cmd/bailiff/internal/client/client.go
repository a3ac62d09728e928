// Package client holds the commands that ask the daemon or give it orders over its control socket: status, bans, ban,
// unban, allow, why, firewall, reload. It decides nothing and reads no journal, except for `why` about an address that the
// daemon does not know. Each command is a file of its own.
package client

import (
	"context"
	"fmt"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/diag"
	"bailiff/units/control"
)

// command makes a command that asks the daemon.
func command(name, args, short string) *cli.Command {
	return cli.New(name, args, short).WithJSON().WithSocket(control.DefaultPath)
}

func dial(e *cli.Env) *control.Client { return control.Dial(e.Socket) }

// AllBans asks for all pages of bans.
func AllBans(ctx context.Context, c *control.Client, q control.BanQuery) ([]control.Ban, error) {
	all := []control.Ban{}
	for {
		l, err := c.Bans(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, l.Bans...)
		if l.Next == "" {
			return all, nil
		}
		q.After = l.Next
	}
}

// askLimit bounds a secondary question to the daemon.
const askLimit = 5 * time.Second

// StoppedNow asks a running daemon what the firewall has dropped; nil if none runs. It never starts one.
func StoppedNow(ctx context.Context) []control.Stopped {
	if pids, err := daemons(); err != nil || len(pids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	s, err := control.Dial("").Status(ctx)
	if err != nil {
		return nil
	}
	return s.Firewall.Stopped
}

// StoppedText sums up counters; "" if there are none.
func StoppedText(l []control.Stopped) string {
	if len(l) == 0 {
		return ""
	}
	var packets, bytes uint64
	for _, s := range l {
		packets += s.Packets
		bytes += s.Bytes
	}
	return fmt.Sprintf("%s from banned addresses dropped (%s) since the rules were created", diag.Count(packets, "packet"), text.Bytes(bytes))
}

// ScopeName is what a set of the firewall blocks.
func ScopeName(scope string) string {
	if scope == "" {
		return "everything"
	}
	return "ports of " + text.Clean(scope)
}
