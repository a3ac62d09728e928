// Package notify tells systemd how the daemon is (sd_notify(3)): ready, reloading, stopping, alive, and one line of
// status. Without $NOTIFY_SOCKET every call does nothing. It never decides what is healthy: the loop that owns the
// state pings.
package notify

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/daemon"
)

// maxStatus bounds STATUS=: systemctl shows it in one line.
const maxStatus = 512

// Ready says that the start or a reload is over. A reload that was refused ends with Ready too, with the reason as
// status: without it the unit would stay "reloading" for ever.
func Ready(status string) error { return send(daemon.SdNotifyReady, statusLine(status)) }

// Reloading says that a reload begins. The time goes in the same datagram: under Type=notify-reload systemd tells by it
// whether the answer belongs to its own SIGHUP, and without it `systemctl reload` hangs (systemd.service(5), since 253).
func Reloading(status string) error {
	usec := strings.TrimSuffix(daemon.SdNotifyMonotonicUsec(), "\n")
	if usec == "" {
		return errors.New("notify: the monotonic clock cannot be read")
	}
	return send(daemon.SdNotifyReloading, usec, statusLine(status))
}

// Stopping says that the daemon ends.
func Stopping(status string) error { return send(daemon.SdNotifyStopping, statusLine(status)) }

// Status sets the line that systemctl status shows.
func Status(status string) error { return send(statusLine(status)) }

// Ping feeds the watchdog.
func Ping() error { return send(daemon.SdNotifyWatchdog) }

// Extend asks for more time to start, reload or stop: the unit's time limit counts d from now on.
func Extend(d time.Duration) error {
	return send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", max(d, 0).Microseconds()))
}

// Watchdog returns how often to Ping, half of what the unit's WatchdogSec= allows, and whether to do so at all.
// An error means that the environment makes no sense; then there is nothing to feed.
func Watchdog() (interval time.Duration, ok bool, err error) {
	d, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0, false, fmt.Errorf("notify: watchdog: %w", err)
	}
	return d / 2, d > 0, nil
}

func send(lines ...string) error {
	var b strings.Builder
	for _, l := range lines {
		if l != "" {
			b.WriteString(l)
			b.WriteByte('\n')
		}
	}
	// go-systemd opens a socket for each call; net takes a leading @ as the abstract name space, as sd_notify does.
	if _, err := daemon.SdNotify(false, b.String()); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}

// statusLine makes one line of valid UTF-8 of what may hold anything: a line break would end STATUS= and begin an
// assignment of the attacker's.
func statusLine(s string) string {
	if s == "" {
		return ""
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
	if len(s) > maxStatus {
		n := maxStatus
		for !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "…"
	}
	return "STATUS=" + s
}
