package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"

	"bailiff/cmd/internal/deliver/exec"
	"bailiff/policy/config"
	"bailiff/policy/report"
)

// reportUser is the user of bailiff-report.service.
const reportUser = "bailiff-report"

// runReportExec is what bailiff-report-exec@.service runs, with bailiff-report's connection as standard input. It is no command for
// people, so help does not list it.
func runReportExec(e *env, args []string) error {
	if err := want("report-exec", args, 0, 0); err != nil {
		return err
	}
	c, err := net.FileConn(os.Stdin)
	if err != nil {
		return usagef("report-exec: standard input is no connection; bailiff-report-exec@.service runs this, not people")
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("report-exec: standard input is no unix socket")
	}
	s := exec.Server{
		Load: func() (*report.Config, error) {
			c, err := (&config.Loader{Jails: []string{}}).Load()
			if err != nil {
				return nil, err
			}
			return &c.Report, nil
		},
		Allowed: func(uid uint32) bool {
			u, err := user.Lookup(reportUser)
			return err == nil && u.Uid == strconv.FormatUint(uint64(uid), 10)
		},
		Env: exec.Environment(),
	}
	if err := s.Serve(e.ctx, u); err != nil {
		return fmt.Errorf("report-exec: %w", err)
	}
	return nil
}
