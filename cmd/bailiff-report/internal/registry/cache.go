package registry

import (
	"net/netip"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
)

const maxCached = 4096 // networks: 4 KB each, mostly text

// cache holds answers by network. What has expired goes first when it is full, then any.
type cache map[netip.Prefix]cached

type cached struct {
	until time.Time
	w     *report.Whois
}

// get returns the answer for the narrowest network with addr in it; nil: there is none.
func (c cache) get(addr netip.Addr, now time.Time) *report.Whois {
	for bits := addr.BitLen(); bits >= 8 && len(c) > 0; bits-- {
		p, _ := addr.Prefix(bits)
		x, ok := c[p]
		switch {
		case !ok:
		case x.expired(now):
			delete(c, p)
		default:
			return x.w
		}
	}
	return nil
}

// expired reports whether an answer no longer holds, or the clock was set back.
func (x cached) expired(now time.Time) bool { return !now.Before(x.until) || x.w.Asked.After(now) }

// put keeps an answer for its whole network. A failure is kept for the network that was asked about, and not for long.
func (c cache) put(w *report.Whois, asked netip.Prefix, now time.Time, hold time.Duration) {
	network := w.Network
	if w.Failed != "" || !network.IsValid() {
		network, hold = asked, min(hold, failedFor)
	}
	if len(c) >= maxCached {
		for p, x := range c {
			if x.expired(now) {
				delete(c, p)
			}
		}
	}
	for p := range c {
		if len(c) < maxCached {
			break
		}
		delete(c, p)
	}
	c[network] = cached{now.Add(hold), w}
}
