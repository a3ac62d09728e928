package agent

import (
	"cmp"
	"slices"
	"time"

	"bailiff/policy/fleet"
	"bailiff/policy/prefix"
	"bailiff/policy/state"
)

// byHand is the reason of a ban that an operator made. What the operator wrote stays on this host.
const byHand = "by hand"

// refreshAge is how old a message about a ban in force may become before it is sent again: the hub removes messages after MaxAge.
const refreshAge = maxAge / 3

// leastUnpaged is the fewest new messages worth writing pages: see policy/fleet.
const leastUnpaged = 16

// own compares the bans of this host with the hub's messages about them. It does no I/O.
type own struct {
	host   string
	wanted map[ownKey]ownBan // in force on this host
	held   map[ownKey]heldBan
	gone   map[ownKey]ownBan // ended early; kept until their original end, in case the hub loses its store

	unpaged int                // messages that the hub got since all pages were written
	paged   map[int][]pagedBan // pages in the hub
	stale   map[int]time.Time  // those to be written again, and when they were last sent
	lifted  bool               // a ban has ended early since findStale
}

// pagedBan is a ban on a page.
type pagedBan struct {
	ownKey
	until int64
}

type ownKey struct {
	prefix prefix.Key
	jail   string
}

// ownBan is a ban of this host. Times are microseconds since 1970.
type ownBan struct {
	since, until int64 // fleet.Forever: never
	failures     int
	reason       string
	told         int64 // the start sent to others, if later than since: see later
}

// began is the start of the ban as sent to others.
func (b *ownBan) began() int64 { return max(b.since, b.told) }

// heldBan is the latest message about a ban in the hub.
type heldBan struct {
	since, until int64
	lifted       bool
	seq          uint64
	sent         int64 // when the hub got it
}

func newOwn(host string) *own {
	return &own{host: host, wanted: make(map[ownKey]ownBan), held: make(map[ownKey]heldBan), gone: make(map[ownKey]ownBan), paged: make(map[int][]pagedBan), stale: make(map[int]time.Time)}
}

// counts reports whether others accept a message: not if it is from too far in the future.
func (h *heldBan) counts(now int64) bool { return h.since <= now+fleet.MaxAhead.Microseconds() }

// has reports whether the hub needs no new message about a ban in force.
func (h *heldBan) has(b *ownBan, now int64) bool {
	switch began := b.began(); {
	case h.since > began: // the clock was ahead then
		return h.counts(now) && !h.lifted && h.until >= b.until
	case h.since < began:
		return false
	case h.lifted: // no message about the same ban is later than its lifting
		return true
	}
	return h.until >= b.until && now-h.sent < refreshAge.Microseconds()
}

func (o *own) news(k ownKey, b ownBan, lifted bool) fleet.News {
	return fleet.News{
		Host: o.host, Prefix: k.prefix.Prefix(), Jail: k.jail, Since: b.began(), Until: b.until, Lifted: lifted,
		Reason: b.reason, Failures: b.failures,
	}
}

// later makes the message about a ban supersede all earlier ones about its prefix and jail. It does already, unless this host's clock was
// set back since.
func (o *own) later(k ownKey, b ownBan, now int64) ownBan {
	if h, ok := o.held[k]; ok && h.counts(now) && h.since >= b.began() {
		if b.told = h.since; h.lifted {
			b.told++
		}
	}
	if g, ok := o.gone[k]; ok && g.began() >= b.began() {
		b.told = g.began() + 1
	}
	return b
}

// difference returns the messages that would bring the hub up to date, the most urgent last: the end of a ban that the hub never knew can
// wait for everything else.
func (o *own) difference(now int64) (l []fleet.News) {
	var unknown []fleet.News
	for k, b := range o.wanted {
		if h, ok := o.held[k]; b.until > now && !(ok && h.has(&b, now)) {
			b = o.later(k, b, now)
			o.wanted[k] = b
			l = append(l, o.news(k, b, false))
		}
	}
	for k, b := range o.gone {
		_, again := o.wanted[k]
		h, ok := o.held[k]
		if began := b.began(); again || b.until <= now || ok && h.since > began {
			delete(o.gone, k)
		} else if !ok {
			unknown = append(unknown, o.news(k, b, true))
		} else if h.since < began || h.since == began && !h.lifted {
			l = append(l, o.news(k, b, true))
		}
	}
	for k, h := range o.held {
		if h.until <= now {
			delete(o.held, k)
			continue
		}
		if g, ok := o.gone[k]; !o.wants(k) && !h.lifted && !(ok && g.began() >= h.since) {
			l = append(l, o.news(k, ownBan{since: h.since, until: h.until}, true))
		}
	}
	slices.SortFunc(l, func(a, b fleet.News) int { return cmp.Compare(a.Since, b.Since) })
	return append(unknown, l...)
}

func (o *own) wants(k ownKey) bool { _, ok := o.wanted[k]; return ok }

// banned records a new or prolonged ban and returns the message about it.
func (o *own) banned(k ownKey, b ownBan, now int64) fleet.News {
	if old, ok := o.wanted[k]; ok && old.since == b.since {
		b.told = old.told
	} else {
		b = o.later(k, b, now)
	}
	o.wanted[k] = b
	return o.news(k, b, false)
}

// ended records the end of a ban and returns the message, if it ended early.
func (o *own) ended(k ownKey, id string, now int64) (n fleet.News, early bool) {
	b, ok := o.wanted[k]
	if !ok || (&state.Ban{Prefix: k.prefix.Prefix(), Jail: k.jail, Since: b.since}).ID() != id {
		return n, false
	}
	delete(o.wanted, k)
	if h, ok := o.held[k]; ok && h.counts(now) {
		b.told = max(b.told, h.since)
	}
	o.end(k, b, now)
	return o.news(k, b, true), b.until > now
}

// end remembers a ban that ended early.
func (o *own) end(k ownKey, b ownBan, now int64) {
	o.lifted = true
	if g := o.gone[k]; b.until > now && b.began() >= g.began() && len(o.gone) < maxOwn {
		o.gone[k] = b
	}
}

// want sets the bans that are in force.
func (o *own) want(all map[ownKey]ownBan, now int64) {
	for k, b := range o.wanted {
		if x, ok := all[k]; ok && x.since == b.since {
			x.told = b.told
			all[k] = x
		} else {
			o.end(k, b, now)
		}
	}
	for k, b := range all {
		if old, ok := o.wanted[k]; !ok || old.since != b.since {
			all[k] = o.later(k, b, now)
		}
	}
	o.wanted = all
}

// liftedBan is a ban that was lifted.
type liftedBan struct {
	key ownKey
	ban ownBan
}

// liftedBefore records bans lifted before this program started, oldest first. It may be called again.
func (o *own) liftedBefore(l []liftedBan, now int64) {
	latest := make(map[ownKey]ownBan)
	for _, x := range l {
		if before, ok := latest[x.key]; ok && before.began() >= x.ban.since { // the clock was set back in between
			x.ban.told = before.began() + 1
		}
		latest[x.key] = x.ban
	}
	for k, b := range latest {
		o.end(k, b, now)
		if w, ok := o.wanted[k]; ok { // banned again
			o.wanted[k] = o.later(k, w, now)
		}
	}
}

// remember keeps the start of a ban as sent to others, if that is later, before a message is forgotten.
func (o *own) remember(k ownKey, now int64) {
	if b, ok := o.wanted[k]; ok {
		o.wanted[k] = o.later(k, b, now)
	}
}

// reset forgets what the hub holds.
func (o *own) reset(now int64) {
	for k, h := range o.held {
		if o.remember(k, now); !o.wants(k) {
			o.end(k, ownBan{since: h.since, until: h.until}, now)
		}
	}
	clear(o.held)
	clear(o.paged)
	clear(o.stale)
}

// seen records a message of this host that the hub holds.
func (o *own) seen(n *fleet.News, seq uint64, sent int64) {
	k := ownKey{prefix.OfPrefix(n.Prefix), n.Jail}
	if h, ok := o.held[k]; ok && h.seq > seq {
		return
	}
	o.unpaged++
	o.held[k] = heldBan{since: n.Since, until: n.Until, lifted: n.Lifted, seq: seq, sent: sent}
}

// toPage returns the bans whose messages the hub holds, oldest first, once enough of them are new to write all pages again.
func (o *own) toPage(now int64) (l []pagedBan) {
	if o.unpaged < max(leastUnpaged, len(o.held)/4) {
		return nil
	}
	o.unpaged = 0
	for k, b := range o.wanted {
		if h, ok := o.held[k]; ok && !h.lifted && h.has(&b, now) {
			l = append(l, pagedBan{k, b.until})
		}
	}
	slices.SortFunc(l, func(a, b pagedBan) int { return cmp.Compare(o.held[a.ownKey].since, o.held[b.ownKey].since) })
	return l
}

// seenPage records a page of this host that the hub holds.
func (o *own) seenPage(p *fleet.Page) {
	l := make([]pagedBan, len(p.News))
	for i := range p.News {
		l[i] = pagedBan{ownKey{prefix.OfPrefix(p.News[i].Prefix), p.News[i].Jail}, p.News[i].Until}
	}
	o.paged[p.Number] = l
	delete(o.stale, p.Number)
	o.lifted = true // perhaps: an old page came back
}

// onPage returns what a page of these bans says: those that have ended are left out.
func (o *own) onPage(l []pagedBan) (news []fleet.News) {
	for _, p := range l {
		if b, ok := o.wanted[p.ownKey]; ok {
			news = append(news, o.news(p.ownKey, b, false))
		}
	}
	return news
}

// findStale finds pages with bans that have ended early.
func (o *own) findStale(now int64) {
	if !o.lifted {
		return
	}
	o.lifted = false
	for number, l := range o.paged {
		if _, known := o.stale[number]; !known && slices.ContainsFunc(l, func(b pagedBan) bool { return b.until > now && !o.wants(b.ownKey) }) {
			o.stale[number] = time.Time{}
		}
	}
}

// dropped forgets messages that the hub no longer holds: those before first.
func (o *own) dropped(first uint64, now int64) {
	for k, h := range o.held {
		if h.seq < first {
			o.remember(k, now)
			delete(o.held, k)
		}
	}
}

// micro is a time as in fleet.News.
func micro(t *time.Time) int64 {
	if t == nil {
		return fleet.Forever
	}
	return t.UnixMicro()
}
