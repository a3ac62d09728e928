// Command bailiff-fleet shares the bans of this host with the other hosts of its fleet, through a hub that runs nats-server. It is a
// separate process, so that the daemon needs no network. It cannot change the firewall: it offers other hosts' bans to the daemon,
// which decides by the rules of this host.
//
// systemd starts it on hosts that have joined a fleet (bailiff fleet join); bailiff-fleet(8) describes what it does. On the hub,
// `bailiff-fleet stream` creates the streams that the hosts need. Start reading at internal/agent/agent.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"bailiff/cmd/bailiff-fleet/internal/agent"
	"bailiff/policy/diag"
	"bailiff/units/control"
	"bailiff/units/hub"
	"bailiff/units/notify"
	"bailiff/units/version"
)

// Exit statuses, as systemd.exec(5) defines them.
const (
	failure         = 1
	invalidArgument = 2
	notConfigured   = 6
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run runs the service, or prepares a hub.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "stream" {
		return stream(ctx, args[1:], stdout, stderr)
	}
	f := flag.NewFlagSet("bailiff-fleet", flag.ContinueOnError)
	f.SetOutput(stderr)
	member := f.String("member", "", "`FILE` that the host got to join (default: the credential "+hub.Credential+")")
	socket := f.String("control", control.DefaultPath, "`PATH` of the daemon's control socket")
	state := f.String("state", os.Getenv("STATE_DIRECTORY"), "`FOLDER` that keeps the newest list of hosts")
	show := f.Bool("version", false, "print the version")
	switch err := f.Parse(args); {
	case err == flag.ErrHelp:
		return 0
	case err != nil:
		return invalidArgument
	case f.NArg() > 0:
		fmt.Fprintf(stderr, "bailiff-fleet: unexpected argument %q\n", f.Arg(0))
		return invalidArgument
	case *show:
		fmt.Fprintln(stdout, "bailiff-fleet", version.String())
		return 0
	}
	file := *member
	if file == "" {
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			fmt.Fprintln(stderr, "bailiff-fleet: systemd passed no credential; to start it by hand: bailiff-fleet --member FILE")
			return notConfigured
		}
		file = filepath.Join(dir, hub.Credential)
	}
	m, err := hub.ReadMember(file)
	if err != nil {
		diag.Print(stderr, "bailiff-fleet", err)
		return notConfigured
	}
	log := func(s string) { fmt.Fprintln(stderr, strings.ToValidUTF8(diag.Line(s, 1000), "\uFFFD")) }
	if err := serve(ctx, agent.New(agent.Options{Member: m, State: *state, Daemon: control.Dial(*socket), Log: log})); err != nil {
		diag.Print(stderr, "bailiff-fleet", err)
		return failure
	}
	return 0
}

// serve runs the agent and tells systemd how it is.
func serve(ctx context.Context, a *agent.Agent) error {
	watchdog, watched, err := notify.Watchdog()
	if err != nil {
		return err
	}
	if err := notify.Ready("starting"); err != nil {
		return err
	}
	go func() {
		shown := ""
		for tick := time.NewTicker(time.Second); ; {
			select {
			case <-ctx.Done():
				_ = notify.Stopping("")
				return
			case <-tick.C:
			}
			if watched && a.Alive(watchdog) {
				_ = notify.Ping()
			}
			if s := a.Status(); s != shown {
				shown = s
				_ = notify.Status(s)
			}
		}
	}()
	return a.Run(ctx)
}

// stream makes or updates what the hosts need on a hub.
func stream(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("bailiff-fleet stream", flag.ContinueOnError)
	f.SetOutput(stderr)
	admin := f.String("admin", "", "`FILE` of the hub, as bailiff fleet init wrote it")
	wait := f.Duration("wait", 30*time.Second, "how long to wait for the hub, which may be starting")
	keep := f.Bool("keep", false, "run until stopped, and create again what the hub loses")
	switch err := f.Parse(args); {
	case err == flag.ErrHelp:
		return 0
	case err != nil:
		return invalidArgument
	case f.NArg() > 0 || *admin == "":
		fmt.Fprintln(stderr, "usage: bailiff-fleet stream --admin FILE [--wait TIME] [--keep]")
		return invalidArgument
	}
	h, err := hub.ReadAdmin(*admin)
	if err != nil {
		diag.Print(stderr, "bailiff-fleet", err)
		return notConfigured
	}
	say := func(s string) { fmt.Fprintln(stdout, diag.Line(s, 1000)) }
	if *keep {
		err = agent.KeepStream(ctx, h, *wait, say)
	} else {
		first, cancel := context.WithTimeout(ctx, *wait)
		defer cancel()
		var said string
		if said, err = agent.MakeStream(first, h); err == nil {
			say(said)
		}
	}
	if err != nil {
		diag.Print(stderr, "bailiff-fleet", err)
		if errors.Is(err, agent.ErrNotReady) {
			return hub.ExitNotReady
		}
		return failure
	}
	return 0
}
