// Package daemon is bailiffd: it reads the journal, lets the policy decide who attacks this host, and keeps those addresses out
// with the host's firewall. It decides nothing itself: policy does.
//
// One goroutine, the loop in loop.go, owns the policy's state. Everything that may block runs in goroutines of its own and talks
// to the loop over channels: the journal reader (reader.go), the firewall worker (firewall_worker.go), the audit queue
// (audit_queue.go), saving the state (saver.go) and the calls of the control socket (control.go). Start reading at daemon.go.
// bailiffd(8) describes the daemon from outside.
package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"bailiff/journal/audit"
	"bailiff/policy/diag"
	"bailiff/units/activation"
	"bailiff/units/allowlists"
	"bailiff/units/control"
	"bailiff/units/version"
)

// Exit statuses, as systemd.exec(5) "Process Exit Codes" has them (LSB). The unit does not restart after 2, 4 and 6.
const (
	exitOK            = 0
	exitFailure       = 1
	exitUsage         = 2 // wrong arguments
	exitNoRights      = 4
	exitNotConfigured = 6 // the configuration has an error
)

// options are the command line. Everything else stands in the configuration.
type options struct {
	config  string // one file in place of the installed configuration
	state   string // folder of the state file
	socket  string // control socket, where systemd does not hold one
	journal string // folder of journal files in place of the host's own
	backend string // overrides firewall.backend
	audit   string // journald's socket
	lists   string // folder of published allow lists
	report  string // socket of bailiff-report
}

// gcPercent is how much garbage may gather, in percent of what lives. The state is large tables without pointers, which
// cost the collector next to nothing to look through, so memory is the dearer of the two.
const gcPercent = 10

// Main runs bailiffd with a command line and returns its exit status.
func Main(args []string, stderr io.Writer) int {
	var o options
	f := flag.NewFlagSet("bailiffd", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.config, "config", "", "this configuration `file` in place of the installed ones")
	f.StringVar(&o.state, "state", "", "`folder` of the state file (default: $STATE_DIRECTORY, else /var/lib/bailiff)")
	f.StringVar(&o.socket, "socket", "/run/bailiff/control", "`path` of the control socket, where systemd does not pass one")
	f.StringVar(&o.journal, "journal", "", "read the journal files of this `folder` in place of the host's journal")
	f.StringVar(&o.backend, "firewall", "", "`backend` in place of the configured one: auto, firewalld, ipset, nftables, dryrun")
	f.StringVar(&o.audit, "audit", audit.Socket, "`path` of journald's native socket, which takes the audit trail")
	f.StringVar(&o.lists, "lists", allowlists.DefaultDir, "`folder` of the published allow lists, where bailiff allow refresh writes them")
	f.StringVar(&o.report, "report", control.ReportPath, "`path` of bailiff-report's socket, which is connected to at a start and at a reload if bans are reported")
	showVersion := f.Bool("version", false, "print the version")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitOK
	} else if err != nil {
		return exitUsage
	}
	if f.NArg() > 0 {
		fmt.Fprintf(stderr, "bailiffd: takes no arguments, but got %q\n", f.Arg(0))
		return exitUsage
	}
	if *showVersion {
		fmt.Println("bailiffd", version.String())
		return exitOK
	}
	if o.state == "" {
		o.state, _, _ = strings.Cut(os.Getenv("STATE_DIRECTORY"), ":") // systemd passes a list
	}
	if o.state == "" {
		o.state = "/var/lib/bailiff"
	}
	debug.SetGCPercent(gcPercent)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	d, err := newDaemon(o)
	if err != nil {
		refuse(err)
	} else {
		err = d.run(ctx)
	}
	if err == nil {
		return exitOK
	}
	diag.Print(stderr, "bailiffd", err)
	var bad *diag.Error
	switch {
	case errors.As(err, &bad):
		return exitNotConfigured
	case errors.Is(err, os.ErrPermission):
		return exitNoRights
	}
	return exitFailure
}

// refuse tells those who wait in the socket that systemd holds why there will be no daemon.
func refuse(err error) {
	if ln, _, e := activation.Listener("control", ""); e == nil {
		control.Refuse(ln, control.Error{Message: "the daemon cannot start: " + err.Error(), Hint: "bailiff check tells more; then systemctl restart bailiff.service"})
		ln.Close()
	}
}
