// Command bailiff-report reports bans: it follows the daemon's audit entries in the journal and delivers a report of each ban to the
// destinations in the configuration. It is a separate process with its own user, because a program that sends mail and talks to the
// network must not be able to change the firewall. A ban never waits for it.
//
// systemd starts it when a program connects to its socket. The daemon does so when it starts or reloads and destinations are
// configured. It runs while there are any. bailiff-report(8) describes what it does; start reading at internal/dispatch.
//
// Other programs of bailiff run it for what only it can do: `bailiff report --dry-run` runs "preview", `bailiff check` runs
// "check-templates", and bailiff-report-exec@.service runs "exec".
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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bailiff/cmd/bailiff-report/internal/destinations"
	"bailiff/cmd/bailiff-report/internal/dispatch"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/units/activation"
	"bailiff/units/configdir"
	"bailiff/units/control"
	"bailiff/units/version"
)

// Exit statuses, as in systemd.exec(5), "Process Exit Codes". The unit does not restart after 2 and 6.
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
	linger  time.Duration
	retry   time.Duration
	settle  time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run runs the service, or one of the commands that other programs use.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	what, rest := "", args
	if len(args) > 0 {
		what, rest = args[0], args[1:]
	}
	var err error
	switch what {
	case "preview":
		err = preview(ctx, rest, stdout, stderr)
	case "check-templates":
		err = checkTemplates(rest, stdout)
	case "exec":
		err = serveExec(ctx)
	default:
		err = serve(ctx, args, stdout, stderr)
	}
	switch bad := (*configError)(nil); {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case err == errUsage:
		return exitUsage
	case errors.As(err, &bad):
		diag.Print(stderr, "bailiff-report", err)
		return exitNotConfigured
	}
	diag.Print(stderr, "bailiff-report", err)
	return exitFailure
}

// errUsage is the error of a wrong command line. It has been printed.
var errUsage = errors.New("wrong usage")

// parse reads options. It prints errors.
func parse(f *flag.FlagSet, args []string) error {
	err := f.Parse(args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return errUsage // which f has printed
	}
	return err
}

// serve reads the options of the service and runs it.
func serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	f := flag.NewFlagSet("bailiff-report", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.config, "config", "", "use this configuration `file` instead of the installed configuration")
	f.StringVar(&o.state, "state", "", "`folder` of the queue (default: $STATE_DIRECTORY, else /var/lib/bailiff-report)")
	f.StringVar(&o.socket, "socket", control.ReportPath, "`path` of the control socket if systemd passes none")
	f.StringVar(&o.journal, "journal", "", "read the journal files in this `folder` instead of the host's journal")
	f.StringVar(&o.audit, "audit", audit.Socket, "`path` of journald's native socket, for the audit trail")
	f.StringVar(&o.daemon, "daemon", "bailiff", "`user` of the daemon, a name or a number")
	f.DurationVar(&o.linger, "linger", 0, "without destinations, end this `long` after the last call on the control socket (default 5s)")
	f.DurationVar(&o.retry, "retry", 0, "pause before the second attempt (default 30s); later ones are up to 120 times as long")
	f.DurationVar(&o.settle, "settle", 0, "wait this `long` for the mail log before an interrupted mail is sent again (default 3m)")
	showVersion := f.Bool("version", false, "print the version")
	if err := parse(f, args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		fmt.Fprintf(stderr, "bailiff-report: unexpected argument %q\n", f.Arg(0))
		return errUsage
	}
	if *showVersion {
		fmt.Fprintln(stdout, "bailiff-report", version.String())
		return nil
	}
	if o.state == "" {
		o.state, _, _ = strings.Cut(os.Getenv("STATE_DIRECTORY"), ":")
	}
	if o.state == "" {
		o.state = "/var/lib/bailiff-report"
	}
	return work(ctx, o)
}

// configError is an error in the configuration, after which a restart would not help.
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
	aud := audit.Open(audit.Options{Socket: o.audit, Identifier: dispatch.Identifier, Stderr: audit.Stderr()})
	defer func() {
		c, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := aud.Close(c); err != nil {
			diag.Print(os.Stderr, "bailiff-report", err)
		}
	}()
	ln, from, err := activation.Listener("control", o.socket)
	if err != nil {
		return err
	}
	var pauses dispatch.Pauses
	if o.retry > 0 {
		pauses = dispatch.Pauses{First: o.retry, Max: 120 * o.retry}
	}
	d, err := dispatch.New(dispatch.Options{
		Dir: o.state, Source: src, Daemon: uids, Self: uint32(os.Geteuid()), Audit: aud, Pauses: pauses, Linger: o.linger, SettleFor: o.settle, Load: func() (*config.Config, error) { return load(o.config) },
		New: destinations.New,
		Env: (&destinations.Envs{State: o.state}).Env,
	})
	if err != nil {
		control.Refuse(ln, control.Error{Message: "bailiff-report cannot start: " + err.Error(), Hint: "repair what bailiff check reports, then: systemctl restart bailiff-report.service"})
		ln.Close()
		var bad *diag.Error
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
			_ = d.Reload(ctx) // status and the journal show the error
		}
	}()
	srv := control.NewReportServer(d, control.Options{Log: func(s string) { aud.Log(audit.Warning, "control socket: "+s) }})
	go srv.Serve(ln)

	err = d.Run(ctx)

	c, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	srv.Shutdown(c)
	if err != nil || ctx.Err() != nil || !strings.HasPrefix(from, "systemd: ") {
		return err
	}
	// The process ends because there are no destinations. If there are now, the daemon may have connected while this process still
	// listened. A new connection makes systemd, which owns the socket, start the next process.
	if conf, err := load(o.config); err == nil && slices.ContainsFunc(conf.Report.Destinations, func(d config.Destination) bool { return d.Enabled }) {
		if again, err := net.Dial("unix", ln.Addr().String()); err == nil {
			again.Close()
		}
	}
	return nil
}

// load reads a configuration file, or the installed configuration if none is named.
func load(file string) (*config.Config, error) { return new(configdir.Loader).LoadFile(file) }

// daemonUsers returns the users whose entries in the daemon's unit are trusted: the daemon's and root.
func daemonUsers(name string) ([]uint32, error) {
	if u, err := user.Lookup(name); err == nil {
		name = u.Uid
	}
	n, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user of the daemon: there is no user %q", name)
	}
	return []uint32{uint32(n), 0}, nil
}
