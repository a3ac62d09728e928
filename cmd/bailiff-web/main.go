// Command bailiff-web serves the status page and Prometheus metrics. It is a process of its own, so that neither a browser nor a
// scraper ever talks to the daemon: it passes read calls on to the control sockets, and can do no more than a member of group
// bailiff. systemd starts it at the first connection (bailiff-web.socket), and it ends when nobody has been connected for a while.
// All of it is in internal/web; page holds the files.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"bailiff/cmd/bailiff-web/internal/web"
	"bailiff/cmd/bailiff-web/page"
	"bailiff/units/activation"
	"bailiff/units/control"
	"bailiff/units/version"
)

// Exit statuses, as systemd.exec(5) defines them.
const (
	failure         = 1
	invalidArgument = 2
)

func main() {
	var o options
	if status, done := o.parse(os.Args[1:]); done {
		os.Exit(status)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bailiff-web:", err)
		os.Exit(failure)
	}
}

type options struct {
	listen, control, report string
	hosts                   []string
	idle                    time.Duration
}

// parse reads the command line. done means that there is nothing more to do.
func (o *options) parse(args []string) (status int, done bool) {
	f := flag.NewFlagSet("bailiff-web", flag.ContinueOnError)
	f.StringVar(&o.listen, "listen", "", "listen on this `ADDRESS` instead of the sockets from systemd, such as 127.0.0.1:8737")
	f.StringVar(&o.control, "control", control.DefaultPath, "`PATH` of the daemon's control socket")
	f.StringVar(&o.report, "report", control.ReportPath, "`PATH` of bailiff-report's control socket")
	f.DurationVar(&o.idle, "idle", 5*time.Minute, "end when nobody has been connected for this `TIME`; 0: never")
	f.Func("host", "a `NAME` by which browsers may call the server, besides localhost, 127.0.0.1 and [::1]; may be given several times", func(s string) error {
		o.hosts = append(o.hosts, s)
		return nil
	})
	show := f.Bool("version", false, "print the version")
	switch err := f.Parse(args); {
	case err == flag.ErrHelp:
		return 0, true
	case err != nil:
		return invalidArgument, true
	case f.NArg() > 0:
		fmt.Fprintf(os.Stderr, "bailiff-web: unexpected argument %q\n", f.Arg(0))
		return invalidArgument, true
	}
	if *show {
		fmt.Println("bailiff-web", version.String())
	}
	return 0, *show
}

func run(ctx context.Context, o options) error {
	listeners, err := activation.All("web")
	token := ""
	switch dir := os.Getenv("RUNTIME_DIRECTORY"); {
	case err != nil:
		return err
	case o.listen != "":
		l, err := net.Listen("tcp", o.listen)
		if err != nil {
			return err
		}
		listeners, token = []net.Listener{l}, web.NewToken()
		fmt.Fprintf(os.Stderr, "http://%s/#%s\n", l.Addr(), token)
	case len(listeners) == 0:
		return fmt.Errorf("systemd passed no socket; to start it by hand: bailiff-web --listen 127.0.0.1:8737")
	case dir != "":
		if token, err = web.Token(dir); err != nil {
			return err
		}
	}
	s, err := web.New(web.Options{
		Control: control.Dial(o.control), Report: control.DialReport(o.report), Token: token, Hosts: o.hosts, Page: page.Files, Idle: o.idle,
		Log: func(text string) { fmt.Fprintln(os.Stderr, strings.ToValidUTF8(text, "\uFFFD")) },
	})
	if err != nil {
		return err
	}
	return s.Serve(ctx, listeners)
}
