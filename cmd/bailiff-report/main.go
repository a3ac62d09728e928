// Command bailiff-report tells the world about bans: it follows the daemon's audit entries in the journal and delivers a
// report of each to whom the administrator wants. It is a process and a user of its own, since what sends mail and speaks
// with strangers shall not be able to touch the firewall; a ban never waits for it.
//
// It is started with the daemon and by a connection to its socket, and ends when there is nothing to do. What it does is
// cmd/internal/courier's; this file wires it. bailiff-report(8) describes it from outside.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bailiff/cmd/internal/build"
	"bailiff/cmd/internal/complain"
	"bailiff/cmd/internal/courier"
	"bailiff/cmd/internal/deliver"
	"bailiff/cmd/internal/deliver/all"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/policy/config"
	"bailiff/policy/config/yamldoc"
	"bailiff/units/activation"
	"bailiff/units/control"
)

// Exit statuses, as systemd.exec(5) "Process Exit Codes" has them (LSB). The unit does not restart after 2 and 6.
const (
	exitOK            = 0
	exitFailure       = 1
	exitUsage         = 2
	exitNotConfigured = 6
)

type options struct {
	config  string
	state   string
	socket  string
	journal string
	audit   string
	daemon  string
	idle    time.Duration
	retry   time.Duration
	settle  time.Duration
}

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, stderr io.Writer) int {
	var o options
	f := flag.NewFlagSet("bailiff-report", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.config, "config", "", "this configuration `file` in place of the installed ones")
	f.StringVar(&o.state, "state", "", "`folder` of the queue (default: $STATE_DIRECTORY, else /var/lib/bailiff-report)")
	f.StringVar(&o.socket, "socket", control.CourierPath, "`path` of the control socket, where systemd does not pass one")
	f.StringVar(&o.journal, "journal", "", "read the journal files of this `folder` in place of the host's journal")
	f.StringVar(&o.audit, "audit", audit.Socket, "`path` of journald's native socket, which takes the audit trail")
	f.StringVar(&o.daemon, "daemon", "bailiff", "`user` that the daemon runs as, a name or a number")
	f.DurationVar(&o.idle, "idle", 0, "end when there has been nothing to do for so `long` (default 5m; negative: never)")
	f.DurationVar(&o.retry, "retry", 0, "pause before the second attempt (default 30s); later ones are up to 120 times as long")
	f.DurationVar(&o.settle, "settle", 0, "after a crash in the middle of a delivery: how `long` the mail system must have been at work without a word of it before it is repeated (default 3m)")
	version := f.Bool("version", false, "print the version")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitOK
	} else if err != nil {
		return exitUsage
	}
	if f.NArg() > 0 {
		fmt.Fprintf(stderr, "bailiff-report: takes no arguments, but got %q\n", f.Arg(0))
		return exitUsage
	}
	if *version {
		fmt.Println("bailiff-report", build.String())
		return exitOK
	}
	if o.state == "" {
		o.state, _, _ = strings.Cut(os.Getenv("STATE_DIRECTORY"), ":")
	}
	if o.state == "" {
		o.state = "/var/lib/bailiff-report"
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	err := work(ctx, o)
	if err == nil {
		return exitOK
	}
	complain.Print(stderr, "bailiff-report", err)
	if bad := (*configError)(nil); errors.As(err, &bad) {
		return exitNotConfigured
	}
	return exitFailure
}

// configError is an error of the configuration: a restart would only meet it again.
type configError struct{ err error }

func (e *configError) Error() string { return e.err.Error() }
func (e *configError) Unwrap() error { return e.err }

func work(ctx context.Context, o options) error {
	uids, err := daemonUsers(o.daemon)
	if err != nil {
		return err
	}
	src := journal.Host("")
	if o.journal != "" {
		src = journal.Dir(o.journal)
	}
	aud := audit.Open(audit.Options{Socket: o.audit, Identifier: courier.Identifier, Stderr: audit.Stderr()})
	defer func() {
		c, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := aud.Close(c); err != nil {
			complain.Print(os.Stderr, "bailiff-report", err)
		}
	}()
	ln, from, err := activation.Listener("control", o.socket)
	if err != nil {
		return err
	}
	var pauses courier.Pauses
	if o.retry > 0 {
		pauses = courier.Pauses{First: o.retry, Most: 120 * o.retry}
	}
	e, err := courier.New(courier.Options{
		Dir: o.state, Source: src, Daemon: uids, Self: uint32(os.Geteuid()), Audit: aud, Pauses: pauses, Idle: o.idle, SettleFor: o.settle,
		Load: func() (*config.Config, error) {
			var l config.Loader
			if o.config != "" {
				return l.LoadFile(o.config)
			}
			return l.Load()
		},
		New: all.New,
		Env: func(c *config.Config) (deliver.Env, error) { return all.Env(c, o.state) },
	})
	if err != nil {
		control.Refuse(ln, control.Error{Message: "the courier cannot start: " + err.Error(), Hint: "bailiff check tells more; then systemctl restart bailiff-report.service"})
		ln.Close()
		var bad *yamldoc.Error
		if errors.As(err, &bad) {
			return &configError{err}
		}
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	go func() {
		for range hup {
			e.Reload()
		}
	}()
	calls := &door{ln, e.Stir}
	srv := control.NewCourierServer(&courier.Asker{E: e, Started: time.Now()}, control.Options{Log: func(s string) { aud.Log(audit.Warning, "control socket: "+s) }})
	go srv.Serve(calls)

	err = e.Run(ctx)

	c, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	srv.Shutdown(c)
	if err == nil && ctx.Err() == nil && e.Again() && strings.HasPrefix(from, "systemd: ") {
		// Somebody knocked too late, or a ban came: the socket is systemd's, which starts the next courier.
		if again, err := net.Dial("unix", ln.Addr().String()); err == nil {
			again.Close()
		}
	}
	return err
}

// door tells of each connection, which the daemon makes when it has banned somebody.
type door struct {
	net.Listener
	knock func()
}

func (d *door) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	if err == nil {
		d.knock()
	}
	return c, err
}

// daemonUsers are the users whose entries in the daemon's unit are believed: the daemon's, and root.
func daemonUsers(name string) ([]uint32, error) {
	id := name
	if _, err := strconv.ParseUint(name, 10, 32); err != nil {
		u, err := user.Lookup(name)
		if err != nil {
			return nil, fmt.Errorf("the user that the daemon runs as: %w", err)
		}
		id = u.Uid
	}
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("the user that the daemon runs as: %w", err)
	}
	if n == 0 {
		return []uint32{0}, nil
	}
	return []uint32{uint32(n), 0}, nil
}
