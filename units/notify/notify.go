// Package notify reports the daemon's state to systemd (sd_notify(3)): ready, reloading, stopping, alive, and one line of status.
// Without $NOTIFY_SOCKET every call does nothing. It is a thin layer over go-systemd's daemon package that makes status lines safe
// and gets Type=notify-reload right.
package notify

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"bailiff/policy/diag"
)

// maxStatus bounds STATUS=: systemctl shows it in one line.
const maxStatus = 512

// Ready reports that the start or a reload is over. A rejected reload ends with Ready, too: without it the unit would stay in the
// state "reloading".
func Ready(status string) error { return send(daemon.SdNotifyReady, statusLine(status)) }

// Reloading reports that a reload begins. The datagram contains the time, from which systemd sees that this answers its SIGHUP.
// Without it `systemctl reload` hangs under Type=notify-reload (systemd.service(5), since 253).
func Reloading(status string) error {
	usec := strings.TrimSuffix(daemon.SdNotifyMonotonicUsec(), "\n")
	if usec == "" {
		return errors.New("notify: the monotonic clock cannot be read")
	}
	return send(daemon.SdNotifyReloading, usec, statusLine(status))
}

// Stopping reports that the daemon is stopping.
func Stopping(status string) error { return send(daemon.SdNotifyStopping, statusLine(status)) }

// Status sets the line that systemctl status shows.
func Status(status string) error { return send(statusLine(status)) }

// Ping resets the watchdog's timer.
func Ping() error { return send(daemon.SdNotifyWatchdog) }

// Extend asks for more time to start, reload or stop: at least d from now.
func Extend(d time.Duration) error {
	return send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", max(d, 0).Microseconds()))
}

// Watchdog returns how often to Ping, which is half of the unit's WatchdogSec=, and whether to do so at all. An error means that
// the environment is invalid; then there is no watchdog.
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
	if _, err := daemon.SdNotify(false, b.String()); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}

// statusLine is STATUS= with any text. A line break would begin another assignment.
func statusLine(s string) string {
	if s == "" {
		return ""
	}
	return "STATUS=" + diag.Line(s, maxStatus)
}
