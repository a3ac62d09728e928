// Command bailiff is the operator's command: it asks the daemon and gives it orders over the control socket, checks
// configuration and filters, and looks back at past journal entries. Results go to standard output, everything else to
// standard error. bailiff(1) documents commands, exit statuses and JSON.
//
// This package only lists the commands. Each is in the package that commands.go names; what they have in common is in
// internal/cli (arguments, options, errors) and internal/text (tables, times, counts).
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"bailiff/cmd/bailiff/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(cli.Main(cli.NewEnv(ctx), commands(), fromFail2ban, os.Args[1:]))
}
