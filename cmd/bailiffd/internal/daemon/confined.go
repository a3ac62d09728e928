package daemon

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"bailiff/journal/audit"
	"bailiff/policy/diag"
)

// self is the host's own addresses where the daemon must not use netlink (firewalld-only.conf): a helper tells them, and until
// it does, those it told last count.
type self struct {
	addrs []netip.Addr
	err   error // of the last time that it was asked
	asked bool  // and has not answered yet
	from  chan selfAnswer
}

type selfAnswer struct {
	addrs []netip.Addr
	err   error
}

// confined tells whether the unit keeps the daemon from netlink, as RestrictAddressFamilies=AF_UNIX does.
func confined() bool {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err == nil {
		syscall.Close(fd)
	}
	return errors.Is(err, syscall.EAFNOSUPPORT)
}

// noNetlink is why a backend cannot be had where the daemon is confined.
func noNetlink(backend string) error {
	return &diag.Error{Text: "firewall backend " + backend + " takes netlink, which this unit keeps from bailiffd (drop-in firewalld-only.conf)",
		Hint: "write firewall: {backend: firewalld}, or take the drop-in away: rm /etc/systemd/system/bailiff.service.d/firewalld-only.conf && systemctl daemon-reload"}
}

// selfLimit is how long the start waits for the helper, which systemd starts meanwhile.
const selfLimit = 5 * time.Second

// askSelf asks the helper for the host's own addresses, and does not wait.
func (d *daemon) askSelf() {
	if d.self.asked {
		return
	}
	d.self.asked = true
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), selfLimit)
		defer cancel()
		addrs, err := d.helper.Addresses(ctx)
		d.self.from <- selfAnswer{addrs, err}
	}()
}

// knowSelf takes the helper's word, and tells whether the addresses are others now. Without a helper it says once what is
// missing.
func (d *daemon) knowSelf(a selfAnswer) (changed bool) {
	had := d.self.err
	d.self.asked, d.self.err = false, a.err
	if a.err != nil {
		if had == nil {
			d.aud.Event(audit.KindError, d.selfProblem())
		}
		return false
	}
	changed = !slices.Equal(a.addrs, d.self.addrs)
	d.self.addrs = a.addrs
	return changed
}

// selfProblem is what status says while the helper does not answer.
func (d *daemon) selfProblem() string {
	text := "connections that a banned address has open stay open"
	if len(d.self.addrs) == 0 {
		text = "own addresses are not known, so allow.self does not spare them, and " + text
	}
	return "this unit has no netlink (drop-in firewalld-only.conf), and who does what takes it does not answer: " + d.self.err.Error() + ": " + text +
		"; systemctl status bailiff-netlink.socket tells more"
}
