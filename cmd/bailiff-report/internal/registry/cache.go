package registry

import (
	"container/list"
	"net/netip"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
)

const maxCached = 4096 // networks: 4 KB each, mostly text

// cache holds answers by network, those used last longest.
type cache struct {
	entries map[netip.Prefix]*list.Element
	used    list.List // of *cached, the last used in front
}

type cached struct {
	network netip.Prefix
	until   time.Time
	w       *report.Whois
}

// get returns the answer for the narrowest network with addr in it.
func (c *cache) get(addr netip.Addr, now time.Time) *report.Whois {
	for bits := addr.BitLen(); bits >= 8 && len(c.entries) > 0; bits-- {
		p, _ := addr.Prefix(bits)
		e := c.entries[p]
		if e == nil {
			continue
		}
		x := e.Value.(*cached)
		if !now.Before(x.until) || x.w.Asked.After(now) { // or the clock was set back
			c.remove(e)
			continue
		}
		c.used.MoveToFront(e)
		return x.w
	}
	return nil
}

// put remembers an answer for its whole network, and a failure for a short while for the neighbours that asked.
func (c *cache) put(w *report.Whois, asked netip.Prefix, now time.Time, hold time.Duration) {
	network := w.Network
	if w.Failed != "" || !network.IsValid() {
		network, hold = asked, min(hold, failedFor)
	}
	if c.entries == nil {
		c.entries = make(map[netip.Prefix]*list.Element)
	}
	if old := c.entries[network]; old != nil {
		c.remove(old)
	}
	c.entries[network] = c.used.PushFront(&cached{network, now.Add(hold), w})
	for c.used.Len() > maxCached {
		c.remove(c.used.Back())
	}
}

func (c *cache) remove(e *list.Element) {
	delete(c.entries, e.Value.(*cached).network)
	c.used.Remove(e)
}
