package daemon

import (
	"sync/atomic"
	"syscall"

	"bailiff/policy/config"
)

// reporter starts bailiff-report if destinations are configured, by connecting to its socket, which systemd holds. bailiff-report
// then keeps running and reads bans from the journal. If connecting fails no report is lost: the bans are in the journal.
type reporter struct {
	path   string
	wanted atomic.Bool // destinations are configured
}

// configure notes whether any destination is enabled.
func (r *reporter) configure(conf *config.Config) {
	wanted := false
	for i := range conf.Report.Destinations {
		wanted = wanted || conf.Report.Destinations[i].Enabled
	}
	r.wanted.Store(wanted)
}

// start connects to the socket and disconnects. It never waits: if the backlog is full, somebody has connected already.
func (r *reporter) start() {
	if !r.wanted.Load() {
		return
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer syscall.Close(fd)
	_ = syscall.Connect(fd, &syscall.SockaddrUnix{Name: r.path}) // without a socket bailiff-report is not installed, or stopped
}
