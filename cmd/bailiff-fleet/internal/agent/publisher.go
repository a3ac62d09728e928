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
	h := nats.Header{hub.SignatureHeader: {base64.StdEncoding.EncodeToString(m.Signature)}}
	if left := time.Until(time.UnixMicro(n.Until)); p.ttl.Load() && n.Until != fleet.Forever && left < maxAge {
		h.Set("Nats-TTL", strconv.Itoa(max(1, int(left.Seconds()+1)))+"s")
	}
	if err := p.link.nc.PublishMsg(&nats.Msg{Subject: m.Subject, Data: m.Payload, Header: h}); err != nil {
		return false
	}
	p.sent[ownKey{prefix.OfPrefix(n.Prefix), n.Jail}] = sentNews{n.Since, time.Now()}
	return true
}
