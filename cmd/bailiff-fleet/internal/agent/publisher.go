package agent

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/policy/fleet"
	"bailiff/policy/prefix"
	"bailiff/units/hub"
)

const (
	// window is how many messages may be in flight to the hub. The hub drops what it cannot store soon.
	window = 256

	// Limits of pages: how often all are written, and how many at once.
	pageInterval = time.Minute
	pagesAtOnce  = 64

	// lostAfter is when messages count as lost if none has come back from the hub. It doubles each time, since sending again makes a slow
	// line even slower.
	lostAfter   = 3 * time.Second
	longestLost = time.Minute

	// Longest pause before a hub that stores nothing gets a message again.
	longestRefused = time.Second
)

// seenNews is what the reader saw of this host's own messages.
type seenNews struct {
	news     *fleet.News
	page     *fleet.Page
	seq      uint64
	sent     time.Time
	reset    bool   // everything is read again from here on
	complete bool   // everything has been read
	first    uint64 // the number of the first message that the hub holds, if complete
}

// publisher sends this host's bans to the other hosts. The daemon's bans are the wanted state, the stream is the actual one; the publisher
// sends the difference, and changes at once. A message is stored once the hub sends it back.
type publisher struct {
	*Agent
	own      *own
	have     bool                // the daemon's bans are known
	complete bool                // what the hub holds is known
	backlog  []fleet.News        // to be sent, the last one first
	sent     map[ownKey]sentNews // not yet seen
	toPage   []pagedBan          // bans to be written to pages
	page     int                 // number of the next page
	paged    time.Time           // when the pages were begun
	back     time.Time           // when the hub last said anything about a message
	lostWait time.Duration
	refused  bool             // the hub stores nothing: single messages show when it does again
	retry    <-chan time.Time // when the next one is sent
	pause    time.Duration
}

type sentNews struct {
	since int64
	at    time.Time
}

func (p *publisher) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-p.changes:
			p.change(&c)
		case l := <-p.lifted:
			p.own.liftedBefore(l, time.Now().UnixMicro())
			p.reconcile()
		case err := <-p.link.answers:
			p.answered(err)
		case <-p.retry:
			p.retry = nil
			p.reconcile()
			if len(p.backlog) == 0 {
				p.answered(nil)
			}
		case s := <-p.seen:
			p.see(&s)
		case <-tick.C:
			p.alive.Store(time.Now().UnixNano())
			p.lost()
			p.writePages()
		}
		p.pump()
		p.waiting.Store(int64(len(p.backlog) + len(p.sent)))
		p.held.Store(int64(len(p.own.held)))
	}
}

func (p *publisher) change(c *ownChange) {
	now := time.Now().UnixMicro()
	if c.all != nil {
		p.own.want(c.all, now)
		p.have = true
		p.reconcile()
	} else if n, ok := p.own.changed(c.event, c.event.Jail, now); ok && !p.refused {
		p.publish(&n)
	}
}

func (p *publisher) see(s *seenNews) {
	switch {
	case s.reset:
		p.own.reset(time.Now().UnixMicro())
		p.complete, p.backlog = false, nil
	case s.complete:
		p.complete = true
		p.own.dropped(s.first, time.Now().UnixMicro())
		p.reconcile()
	case s.page != nil:
		p.own.seenPage(s.page)
	default:
		sent := s.sent
		if now := time.Now(); sent.IsZero() || sent.After(now) {
			sent = now
		}
		p.own.seen(s.news, s.seq, sent.UnixMicro())
		p.answered(nil)
		k := ownKey{prefix.OfPrefix(s.news.Prefix), s.news.Jail}
		if x, ok := p.sent[k]; ok && x.since == s.news.Since {
			delete(p.sent, k)
		}
	}
}

// reconcile computes what is to be sent.
func (p *publisher) reconcile() {
	if p.have && p.complete {
		clear(p.sent)
		p.backlog = p.own.difference(time.Now().UnixMicro())
	}
}

// answered handles the hub's answer to a message; nil: stored.
func (p *publisher) answered(err error) {
	p.back = time.Now()
	switch {
	case err == nil:
		p.lostWait = lostAfter
		if p.refused {
			p.refused, p.retry, p.pause = false, nil, 0
			p.storeErr.set(nil)
			p.reconcile()
		}
	case p.retry == nil: // otherwise it is one of many in flight
		p.refused = true
		p.pause = min(max(2*p.pause, firstPause), longestRefused)
		p.retry = time.After(p.pause)
		p.storeErr.set(fmt.Errorf("the hub does not store bans of this host, which wait here: %w", err))
	}
}

// lost starts over when none of the sent messages comes back.
func (p *publisher) lost() {
	if !p.link.connected() {
		return
	}
	for _, x := range p.sent {
		if at := time.Now(); at.Sub(x.at) > p.lostWait && at.Sub(p.back) > p.lostWait {
			p.lostWait = min(2*p.lostWait, longestLost)
			p.reconcile()
			return
		}
	}
}

// pump sends what the window permits of the backlog.
func (p *publisher) pump() {
	n := window
	if p.refused {
		n = 1
	}
	for len(p.backlog) > 0 && len(p.sent) < n && p.link.connected() {
		news := p.backlog[len(p.backlog)-1]
		p.backlog = p.backlog[:len(p.backlog)-1]
		if !p.publish(&news) {
			p.backlog = append(p.backlog, news)
			return
		}
	}
}

// publish sends a message and reports whether it is on its way. If not, the comparison at the next connection finds it missing.
func (p *publisher) publish(n *fleet.News) bool {
	m, err := fleet.Sign(n, p.key)
	if err != nil {
		p.Log(err.Error())
		return true // it can never be sent
	}
	if !p.send(m, n.Until, p.link.replies) {
		return false
	}
	p.sent[ownKey{prefix.OfPrefix(n.Prefix), n.Jail}] = sentNews{n.Since, time.Now()}
	return true
}

// send sends a message that the hub may drop after until, in µs.
func (p *publisher) send(m *fleet.Message, until int64, reply string) bool {
	h := nats.Header{hub.SignatureHeader: {base64.StdEncoding.EncodeToString(m.Signature)}}
	if left := time.Until(time.UnixMicro(until)); p.ttl.Load() && until != fleet.Forever && left < maxAge {
		h.Set("Nats-TTL", strconv.Itoa(max(1, int(left.Seconds()+1)))+"s")
	}
	return p.link.nc.PublishMsg(&nats.Msg{Subject: m.Subject, Reply: reply, Data: m.Payload, Header: h}) == nil
}

// writePages sends pages with this host's bans that the hub holds, for hosts that will read all of them. Pages that name a ban which was
// lifted are written again, until the hub has them; for the others, losing one does no harm. Called once a second, it sends some at a time.
func (p *publisher) writePages() {
	if !p.have || !p.complete || len(p.backlog)+len(p.sent) > 0 || p.refused || !p.link.connected() {
		return
	}
	now := time.Now()
	if len(p.toPage) == 0 && now.Sub(p.paged) >= p.pageInterval {
		p.toPage, p.page, p.paged = p.own.toPage(now.UnixMicro()), 0, now
	}
	left := pagesAtOnce
	p.own.findStale(now.UnixMicro())
	for number, at := range p.own.stale {
		if left > 0 && now.Sub(at) > lostAfter {
			p.own.stale[number] = now
			p.writePage(number, p.own.paged[number]) // again, if it is lost
			left--
		}
	}
	for ; left > 0 && len(p.toPage) > 0; left-- {
		n, sent := p.writePage(p.page, p.toPage)
		if !sent {
			return
		}
		p.toPage, p.page = p.toPage[n:], p.page+1
	}
}

// writePage sends a page of the first of these bans, as many as fit, and returns how many those are. Bans that have ended are left out.
func (p *publisher) writePage(number int, l []pagedBan) (n int, sent bool) {
	some := p.own.onPage(l[:min(len(l), fleet.PageNews)])
	m, n, err := fleet.SignPage(p.own.host, number, some, p.key)
	if err != nil {
		p.Log(err.Error())
		return len(l), true // it can never be sent
	}
	until := time.Now().UnixMicro()
	for _, x := range some[:n] {
		until = max(until, x.Until)
	}
	sent = p.send(m, until, "")
	if n == len(some) {
		return min(len(l), fleet.PageNews), sent
	}
	last := ownKey{prefix.OfPrefix(some[n-1].Prefix), some[n-1].Jail}
	return 1 + slices.IndexFunc(l, func(b pagedBan) bool { return b.ownKey == last }), sent
}
