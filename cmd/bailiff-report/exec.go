package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"

	"bailiff/cmd/bailiff-report/internal/deliver/exec"
	"bailiff/policy/config"
	"bailiff/units/configdir"
)

// serviceUser is the user of bailiff-report.service.
const serviceUser = "bailiff-report"

// serveExec is what bailiff-report-exec@.service runs, with a connection of bailiff-report.service as standard input: it runs the
// program of a destination of type exec.
func serveExec(ctx context.Context) error {
	c, err := net.FileConn(os.Stdin)
	if err != nil {
		return errors.New("exec: standard input is not a connection; only bailiff-report-exec@.service runs this")
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("exec: standard input is not a unix socket")
	}
	s := exec.Server{
		Load: func() (*config.Report, error) {
			c, err := (&configdir.Loader{Jails: []string{}}).Load()
			if err != nil {
				return nil, err
			}
			return &c.Report, nil
		},
		Allowed: func(uid uint32) bool {
			u, err := user.Lookup(serviceUser)
			return err == nil && u.Uid == strconv.FormatUint(uint64(uid), 10)
		},
		Env: exec.Environment(),
	}
	if err := s.Serve(ctx, u); err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	return nil
}
