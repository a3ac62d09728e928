package agent

import (
	"context"
	"encoding/base64"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/policy/fleet"
	"bailiff/policy/prefix"
	"bailiff/units/hub"
)

const (
	// window is how many messages are on their way to the hub at a time. The hub drops what it cannot store soon.
	window = 256

	// Lists of digests are written at most so often, and so many at once.
	listInterval = time.Minute
	listsAtOnce  = 64

	// lostAfter is when a message that has not come back from the hub is taken for lost.
	lostAfter = 3 * time.Second
)

// seenNews is what the reader saw of this host's own messages.
type seenNews struct {
	news     *fleet.News
	seq      uint64
	sent     time.Time
	reset    bool   // everything is read again from here on
	complete bool   // everything has been read
	first    uint64 // the number of the first message that the hub holds, if complete
}

// publisher tells the other hosts of this host's bans. The daemon's bans are what is wanted, the stream is what is; the publisher
// sends the difference, and what changes at once. That a message was stored shows by its return from the hub.
type publisher struct {
	*Agent
	own      *own
	have     bool                // the daemon's bans are known
	complete bool                // what the hub holds is known
	backlog  []fleet.News        // to be sent, the last one first
	sent     map[ownKey]sentNews // not yet seen
	toList   []ownKey            // whose digests are to be listed
	list     int                 // number of the next list
	listed   time.Time           // when the lists were begun
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
		case all := <-p.snapshot:
			p.own.want(all, time.Now().UnixMicro())
			p.have = true
			p.reconcile()
		case l := <-p.lifted:
			p.own.liftedBefore(l, time.Now().UnixMicro())
			p.reconcile()
		case e := <-p.changes:
			if n, ok := p.own.changed(e, e.Jail, time.Now().UnixMicro()); ok {
				p.publish(&n)
			}
		case s := <-p.seen:
			p.see(&s)
		case <-tick.C:
			p.alive.Store(time.Now().UnixNano())
			p.lost()
			p.writeLists()
		}
		p.pump()
		p.waiting.Store(int64(len(p.backlog) + len(p.sent)))
		p.held.Store(int64(len(p.own.held)))
	}
}

func (p *publisher) see(s *seenNews) {
	switch {
	case s.reset:
		p.own.reset(time.Now().UnixMicro())
		p.complete, p.backlog = false, nil
	case s.complete:
		p.complete = true
		p.own.dropped(s.first)
		p.reconcile()
	default:
		sent := s.sent
		if now := time.Now(); sent.IsZero() || sent.After(now) {
			sent = now
		}
		p.own.seen(s.news, s.seq, sent.UnixMicro())
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

// lost begins anew when something that was sent does not come back.
func (p *publisher) lost() {
	if len(p.backlog) > 0 || !p.link.connected() {
		return
	}
	for _, x := range p.sent {
		if time.Since(x.at) > lostAfter {
			p.reconcile()
			return
		}
	}
}

// pump sends of the backlog what the window permits.
func (p *publisher) pump() {
	for len(p.backlog) > 0 && len(p.sent) < window && p.link.connected() {
		n := p.backlog[len(p.backlog)-1]
		p.backlog = p.backlog[:len(p.backlog)-1]
		if !p.publish(&n) {
			p.backlog = append(p.backlog, n)
			return
		}
	}
}

// publish sends news and reports whether it is on its way. What is not is found missing by the comparison at the next connection.
func (p *publisher) publish(n *fleet.News) bool {
	m, err := fleet.Sign(n, p.key)
	if err != nil {
		p.Log(err.Error())
		return true // and never will be
	}
	if !p.send(m, n.Until) {
		return false
	}
	p.sent[ownKey{prefix.OfPrefix(n.Prefix), n.Jail}] = sentNews{n.Since, time.Now()}
	return true
}

// send sends a message that the hub need not keep after a time.
func (p *publisher) send(m *fleet.Message, until int64) bool {
	h := nats.Header{hub.SignatureHeader: {base64.StdEncoding.EncodeToString(m.Signature)}}
	if left := time.Until(time.UnixMicro(until)); p.ttl.Load() && until != fleet.Forever && left < maxAge {
		h.Set("Nats-TTL", strconv.Itoa(max(1, int(left.Seconds()+1)))+"s")
	}
	return p.link.nc.PublishMsg(&nats.Msg{Subject: m.Subject, Data: m.Payload, Header: h}) == nil
}

// writeLists sends lists of digests of what the hub holds of this host, for hosts that will read all of it. That one is lost does no
// harm. Called once a second, it sends some at a time.
func (p *publisher) writeLists() {
	if !p.have || !p.complete || len(p.backlog)+len(p.sent) > 0 || !p.link.connected() {
		return
	}
	now := time.Now()
	if len(p.toList) == 0 && now.Sub(p.listed) >= p.listInterval {
		p.toList, p.list, p.listed = p.own.toList(now.UnixMicro()), 0, now
	}
	for range listsAtOnce {
		if len(p.toList) == 0 {
			return
		}
		n := min(len(p.toList), fleet.PageDigests)
		var l []fleet.Message
		var until int64
		for _, k := range p.toList[:n] {
			b, ok := p.own.wanted[k]
			if !ok {
				continue
			}
			news := p.own.news(k, b, false)
			if m, err := fleet.Unsigned(&news); err == nil {
				l, until = append(l, *m), max(until, b.until)
			}
		}
		m, err := fleet.SignDigests(p.own.host, p.list, l, p.key)
		if err != nil || !p.send(m, until) {
			return
		}
		p.toList, p.list = p.toList[n:], p.list+1
	}
}
