// Command demo boots a throw-away Debian, installs bailiff on it as `make install` would, attacks it with real ssh clients
// from another network namespace, and shows the ban, the packets that no longer arrive, and `bailiff why`. Nothing stays on
// this machine but the cached Debian root. `make demo` runs it from the top of the source tree, after `make build`.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"bailiff/units/control"
	"bailiff/units/e2e/host"
)

func main() {
	suite := flag.String("suite", host.Suites[0], "Debian `release` of the host")
	shell := flag.Bool("shell", false, "end with a shell on the host")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *suite, *shell); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

var (
	guesser4 = netip.MustParseAddr("198.51.100.7")
	guesser6 = netip.MustParseAddr("2001:db8:bad::7")
	cousin6  = netip.MustParseAddr("2001:db8:bad::8")
	friend   = netip.MustParseAddr("203.0.113.5")
)

func run(ctx context.Context, suite string, shell bool) (err error) {
	begin := time.Now()
	say("A throw-away Debian %s, with systemd, journald and sshd, in namespaces of its own", suite)
	if err := host.Possible(); err != nil {
		return err
	}
	root, err := host.Root(ctx, suite, os.Stdout)
	if err != nil {
		return err
	}
	tree, err := os.MkdirTemp("", "bailiff-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	if out, err := exec.CommandContext(ctx, "make", "--no-print-directory", "install", "DESTDIR="+tree).CombinedOutput(); err != nil {
		return fmt.Errorf("make install: %w\n%s", err, out)
	}
	h, err := host.Boot(ctx, root)
	if err != nil {
		return err
	}
	defer h.Stop()
	d := &demo{h, ctx}

	say("Install bailiff there, and start it; there is no configuration file")
	if err := h.Install(ctx, tree); err != nil {
		return err
	}
	if err := d.all(
		`systemd-sysusers && journalctl --update-catalog && systemctl daemon-reload`,
		`systemctl enable -q --now bailiff.service`,
		`systemctl status --no-pager -n 0 bailiff.service | head -12`,
		`bailiff status`,
	); err != nil {
		return err
	}

	say("From %s, an address like any other, port 22 answers", guesser4)
	greeting, err := d.knock(guesser4)
	if err != nil {
		return fmt.Errorf("before the attack %s should reach sshd: %w", guesser4, err)
	}
	fmt.Printf("  sshd says %q\n", greeting)

	say("Now guess passwords from there, and from %s: five logins each", guesser6)
	var wg sync.WaitGroup
	for _, a := range []netip.Addr{guesser4, guesser6} {
		for i := range 5 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				// A name of no account is used only once: two attempts with it within a second, as an address's first, would count as one.
				if h.SSH(ctx, a, []string{"root", "admin", "bob", "root", "bob"}[i], "letmein", 1) == nil {
					fmt.Printf("  %s was let in?!\n", a)
				}
			}()
		}
	}
	wg.Wait()
	if err := d.banned(guesser4, guesser6); err != nil {
		return err
	}
	if err := d.all(
		`journalctl -q -o short-precise --no-hostname -u ssh.service -g '198.51.100.7|2001:db8:bad'`,
		`journalctl -q -o short-precise --no-hostname -u bailiff.service`,
		`bailiff bans`,
	); err != nil {
		return err
	}
	for _, a := range []netip.Addr{guesser4, guesser6} {
		if err := d.howSoon(a); err != nil {
			return err
		}
	}

	say("The kernel holds both, and drops what they send before it reaches any service")
	if err := d.all(`for s in $(ipset list -n | grep ^bailiff); do ipset list $s | grep -E '^(Name|Number|[0-9a-f]+[.:])'; done`,
		`nft list table ip bailiff 2>/dev/null`); err != nil {
		return err
	}
	for _, a := range []netip.Addr{guesser4, guesser6, cousin6} {
		note := ""
		if a == cousin6 {
			note = " (never seen before, but of the same /64)"
		}
		if _, err := d.knock(a); err != nil {
			fmt.Printf("  %s%s tries port 22: %v\n", a, note, err)
		} else {
			return fmt.Errorf("%s still reaches sshd", a)
		}
	}
	if err := d.all(`nft list table ip bailiff 2>/dev/null | grep counter`); err != nil {
		return err
	}

	say("Why? The lines that led to the ban, from the journal")
	if err := d.all(`bailiff why `+guesser4.String(), `journalctl -q -x BAILIFF_ADDRESS=`+guesser4.String()); err != nil {
		return err
	}

	say("Somebody else mistypes once, then logs in; a local user forges sshd's lines and gets nowhere")
	h.SSH(ctx, friend, "bob", "wrong", 1)
	if err := h.SSH(ctx, friend, "bob", "correct-horse", 1); err != nil {
		return fmt.Errorf("%s should be let in: %w", friend, err)
	}
	fmt.Printf("  bob is in, from %s\n", friend)
	forge := `for i in 1 2 3 4 5 6; do logger -t sshd "Failed password for root from ` + friend.String() + ` port 22 ssh2"; done`
	fmt.Printf("  mallory$ %s\n", forge)
	if _, err := h.Unit(ctx, []string{"User=mallory"}, "/bin/sh", "-c", forge); err != nil {
		return err
	}
	if err := d.all(`bailiff why ` + friend.String()); err != nil {
		return err
	}

	if shell {
		say("A shell on the host; leave it to end the demo")
		cmd := exec.CommandContext(ctx, "nsenter", fmt.Sprintf("--target=%d", h.Leader()), "--all", "--", "/bin/bash", "-l")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.Run() // its status is that of the last command typed
	}
	say("Done in %.0f s; the host goes, and nothing of it stays", time.Since(begin).Seconds())
	return nil
}

func say(format string, args ...any) {
	fmt.Printf("\n=== "+format+"\n", args...)
}

type demo struct {
	h   *host.Host
	ctx context.Context
}

// all shows commands and what they print.
func (d *demo) all(scripts ...string) error {
	for _, s := range scripts {
		fmt.Printf("  victim# %s\n", s)
		ctx, cancel := context.WithTimeout(d.ctx, time.Minute)
		out, err := d.h.Sh(ctx, s)
		cancel()
		for line := range strings.Lines(out) {
			fmt.Print("    ", line)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// knock opens a connection to sshd and reads its greeting.
func (d *demo) knock(from netip.Addr) (string, error) {
	c, err := d.h.Dial(from, 22, 2*time.Second)
	if err != nil {
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			return "", errors.New("no answer")
		}
		return "", err
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 255)
	n, err := c.Read(buf)
	return strings.TrimSpace(string(buf[:n])), err
}

// howSoon prints how long after the last evidence a ban was in the journal, by journald's own clock.
func (d *demo) howSoon(a netip.Addr) error {
	ctx, cancel := context.WithTimeout(d.ctx, time.Minute)
	defer cancel()
	out, err := d.h.Run(ctx, "bailiff", "why", "--json", a.String())
	var why control.Why
	if err := errors.Join(err, json.Unmarshal([]byte(out), &why)); err != nil {
		return fmt.Errorf("bailiff why --json %s: %w", a, err)
	}
	if len(why.Bans) == 0 || len(why.Bans[0].Evidence) == 0 {
		return fmt.Errorf("bailiff why --json %s: no ban with evidence in %s", a, out)
	}
	ban := why.Bans[0]
	last := ban.Evidence[len(ban.Evidence)-1].Time
	if out, err = d.h.Sh(ctx, `journalctl --sync; journalctl -q -o json -n 1 BAILIFF_BAN_ID=`+ban.ID); err != nil {
		return err
	}
	var entry struct {
		Time int64 `json:"__REALTIME_TIMESTAMP,string"`
	}
	if err := json.Unmarshal([]byte(out), &entry); err != nil {
		return fmt.Errorf("journalctl BAILIFF_BAN_ID=%s: %w in %q", ban.ID, err, out)
	}
	fmt.Printf("  %s: banned %.1f ms after the entry that was one too many\n", a, float64(entry.Time-last.UnixMicro())/1000)
	return nil
}

// banned waits until the daemon bans all the addresses.
func (d *demo) banned(addrs ...netip.Addr) error {
	ctx, cancel := context.WithTimeout(d.ctx, 20*time.Second)
	defer cancel()
	for _, a := range addrs {
		for {
			out, err := d.h.Run(ctx, "bailiff", "why", "--json", a.String())
			if err == nil && strings.Contains(out, `"banned"`) {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s is not banned: %v\n%s", a, err, out)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}
