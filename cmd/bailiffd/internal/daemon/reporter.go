package daemon

import (
	"sync/atomic"
	"syscall"

	"bailiff/policy/config"
)

// reporter starts bailiff-report where destinations are configured: systemd does so when somebody connects to its socket. It then
// stays, and reads bans from the journal. A connection that fails costs no report: they wait in the journal.
type reporter struct {
	path   string
	wanted atomic.Bool // destinations are configured
}

// configure notes whether there is anything to report to.
func (r *reporter) configure(conf *config.Config) {
	wanted := false
	for i := range conf.Report.Destinations {
		wanted = wanted || conf.Report.Destinations[i].Enabled
	}
	r.wanted.Store(wanted)
}

// start connects to the socket and hangs up. It never waits: if the backlog is full, others have connected already.
func (r *reporter) start() {
	if !r.wanted.Load() {
		return
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer syscall.Close(fd)
	_ = syscall.Connect(fd, &syscall.SockaddrUnix{Name: r.path}) // no socket: bailiff-report is not installed, or its socket was stopped
}
