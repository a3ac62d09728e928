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

	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/policy/diag"
	"bailiff/units/activation"
	"bailiff/units/control"
	"bailiff/units/published"
	"bailiff/units/version"
)

// Exit statuses, as defined by LSB (systemd.exec(5), "Process Exit Codes"). The unit does not restart after 2, 4 and 6.
const (
	exitOK            = 0
	exitFailure       = 1
	exitUsage         = 2 // wrong arguments
	exitNoRights      = 4
	exitNotConfigured = 6 // the configuration has an error
)

// options are the command line. Everything else is in the configuration.
type options struct {
	config  string // one file instead of the installed configuration
	state   string // folder of the state file
	socket  string // control socket, if systemd does not pass one
	journal string // folder of journal files instead of the host's journal
	backend string // overrides firewall.backend
	audit   string // journald's socket
	lists   string // folder of published allow lists
	blocks  string // folder of published block lists
	report  string // socket of bailiff-report
}

func (o *options) source() journal.Source {
	if o.journal != "" {
		return journal.Dir(o.journal)
	}
	return journal.Host("")
}

// Main runs bailiffd with a command line and returns its exit status.
func Main(args []string, stderr io.Writer) int {
	var o options
	f := flag.NewFlagSet("bailiffd", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.config, "config", "", "use this configuration `file` instead of the installed ones")
	f.StringVar(&o.state, "state", "", "`folder` of the state file (default: $STATE_DIRECTORY, else /var/lib/bailiff)")
	f.StringVar(&o.socket, "socket", "/run/bailiff/control", "`path` of the control socket, if systemd does not pass one")
	f.StringVar(&o.journal, "journal", "", "read the journal files in this `folder` instead of the host's journal")
	f.StringVar(&o.backend, "firewall", "", "use this `backend` instead of the configured one: auto, firewalld, ipset, nftables, dryrun")
	f.StringVar(&o.audit, "audit", audit.Socket, "`path` of journald's native socket, to which the audit trail is written")
	f.StringVar(&o.lists, "lists", published.AllowDir, "`folder` of the published allow lists, as written by bailiff allow refresh")
	f.StringVar(&o.blocks, "blocklists", published.BlockDir, "`folder` of the published block lists, as written by bailiff lists refresh")
	f.StringVar(&o.report, "report", control.ReportPath, "`path` of bailiff-report's socket, to connect to at start and reload if bans are reported")
	remove := f.Bool("remove-rules", false, "remove everything of bailiff's from every firewall, print what that was as JSON, and end")
	force := f.Bool("force", false, "with --remove-rules: also remove objects with bailiff's names that others have made")
	showVersion := f.Bool("version", false, "print the version")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitOK
	} else if err != nil {
		return exitUsage
	}
	if f.NArg() > 0 {
		fmt.Fprintf(stderr, "bailiffd: unexpected argument %q\n", f.Arg(0))
		return exitUsage
	}
	if *showVersion {
		fmt.Println("bailiffd", version.String())
		return exitOK
	}
	if *force && !*remove {
		fmt.Fprintln(stderr, "bailiffd: --force needs --remove-rules")
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if *remove {
		return exitStatus(stderr, removeRules(ctx, os.Stdout, *force))
	}
	if o.state == "" {
		o.state, _, _ = strings.Cut(os.Getenv("STATE_DIRECTORY"), ":") // systemd passes a list
	}
	if o.state == "" {
		o.state = "/var/lib/bailiff"
	}
	debug.SetGCPercent(gcPercent)
	d, err := newDaemon(o)
	if err != nil {
		refuse(err)
	} else {
		err = d.run(ctx)
	}
	return exitStatus(stderr, err)
}

// exitStatus reports an error.
func exitStatus(stderr io.Writer, err error) int {
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

// refuse answers clients that wait in systemd's socket: it reports why the daemon does not start.
func refuse(err error) {
	if ln, _, e := activation.Listener("control", ""); e == nil {
		control.Refuse(ln, control.Error{Message: "the daemon cannot start: " + err.Error(), Hint: "see bailiff check; then systemctl restart bailiff.service"})
		ln.Close()
	}
}
