// Command bailiffd is the daemon. All of it is in internal/daemon, where tests can start it.
package main

import (
	"os"

	"bailiff/cmd/bailiffd/internal/daemon"
)

func main() { os.Exit(daemon.Main(os.Args[1:], os.Stderr)) }
