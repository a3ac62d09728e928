// Package clitest runs a command in a test as it would be typed.
package clitest

import (
	"bytes"
	"strings"
	"testing"

	"bailiff/cmd/bailiff/internal/cli"
)

// Run runs a command with arguments, the first of which is its name, without a terminal, and returns what it wrote and its
// exit status.
func Run(t *testing.T, command *cli.Command, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, err bytes.Buffer
	e := &cli.Env{Ctx: t.Context(), In: strings.NewReader(""), Out: &out, Err: &err}
	status = cli.Main(e, []*cli.Command{command}, func([]string) string { return "" }, args)
	return out.String(), err.String(), status
}
