// Command bailiff-fetch downloads published lists for bailiff allow refresh and bailiff lists refresh, which run it with the same
// arguments. It is separate from bailiff because it speaks TLS with foreign servers; all of it is in package refresh.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/refresh"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(cli.Main(cli.NewEnv(ctx), refresh.Commands(), func([]string) string { return "" }, os.Args[1:]))
}
