package daemon

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"bailiff/cmd/internal/nlhelper"
	"bailiff/journal/audit"
)

const (
	// addressInterval is how often the host's addresses are read again; DHCP and the like change them.
	addressInterval = 5 * time.Minute

	// addressLimit bounds how long the helper may take to list them. systemd has to start it first.
	addressLimit = 5 * time.Second
)

// hostAddresses are the host's own addresses, which are never banned. A daemon that must not use netlink (firewalld-only.conf) asks
// the helper for them; while the helper does not answer, its last answer counts. It belongs to the owner's goroutine.
type hostAddresses struct {
	helper   *nlhelper.Client // nil: the daemon reads them itself
	problems *problemLog
	answers  chan addressAnswer

	addrs []netip.Addr
	err   error // of the last question to the helper
	asked bool  // the helper has not answered yet
	read  time.Time
}

type addressAnswer struct {
	addrs []netip.Addr
	err   error
}

// confined reports whether the unit denies netlink, as RestrictAddressFamilies=AF_UNIX does.
func confined() bool {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err == nil {
		syscall.Close(fd)
	}
	return errors.Is(err, syscall.EAFNOSUPPORT)
}

// ask asks the helper, if there is one, and does not wait. The answer comes over answers.
func (h *hostAddresses) ask() {
	if h.helper == nil || h.asked {
		return
	}
	h.asked = true
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), addressLimit)
		defer cancel()
		addrs, err := h.helper.Addresses(ctx)
		h.answers <- addressAnswer{addrs, err}
	}()
}

// take takes the helper's answer and returns whether the addresses have changed. It announces the first of several failures.
func (h *hostAddresses) take(a addressAnswer) (changed bool) {
	failing := h.err != nil
	h.asked, h.err = false, a.err
	if a.err != nil {
		if !failing {
			h.problems.tell(audit.KindError, "netlink helper", h.problem())
		}
		return false
	}
	changed = !slices.Equal(a.addrs, h.addrs)
	h.addrs = a.addrs
	return changed
}

// current returns the addresses. Without a helper it reads them now.
func (h *hostAddresses) current() []netip.Addr {
	if h.helper != nil {
		return h.addrs
	}
	addrs, err := nlhelper.Addresses()
	if err != nil {
		h.problems.begin(audit.KindError, "own addresses", "own addresses: "+err.Error())
		return nil
	}
	h.problems.end("own addresses")
	return addrs
}

// problem describes why the helper does not answer, and what that leads to; "" if it does.
func (h *hostAddresses) problem() string {
	if h.err == nil {
		return ""
	}
	text := "open connections of banned addresses stay open until it does"
	if len(h.addrs) == 0 {
		text = "the host's own addresses are unknown, so allow.self does not protect them, and " + text
	}
	return "the netlink helper is not answering (" + h.err.Error() + "); " + text + "; see systemctl status bailiff-netlink.socket"
}
