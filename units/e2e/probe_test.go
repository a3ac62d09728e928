package e2e

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"bailiff/units/e2e/host"
)

// A prober sends datagrams at a steady pace from each address that it watches, and sees which arrive. So it knows exactly when an address
// was kept out, whatever the firewall. The packets of an address are numbered: what counts is when the first missing one was sent, however
// late the others are read.
type prober struct {
	in   *net.UDPConn
	out  *host.Sender
	pace time.Duration
	stop chan struct{}
	done sync.WaitGroup

	mu   sync.Mutex
	of   map[netip.Addr]*probe
	live []netip.Addr
}

type probe struct {
	sent  []time.Time
	first int // number of the first packet that arrived; -1: none
	last  int // number of the last packet that arrived; -1: none
	count int // packets that arrived
}

// probePort is where the datagrams go.
const probePort = 4444

func (v *victim) prober(t *testing.T, pace time.Duration) *prober {
	t.Helper()
	p := &prober{pace: pace, stop: make(chan struct{}), of: make(map[netip.Addr]*probe)}
	var err error
	if p.in, err = v.ListenUDP(probePort); err != nil {
		t.Fatal(err)
	}
	if p.out, err = v.Sender(probePort); err != nil {
		t.Fatal(err)
	}
	p.done.Add(2)
	go p.receive()
	go p.send(t)
	t.Cleanup(p.close)
	return p
}

func (p *prober) close() {
	select {
	case <-p.stop:
		return
	default:
	}
	close(p.stop)
	p.in.Close()
	p.done.Wait()
	p.out.Close()
}

func (p *prober) receive() {
	defer p.done.Done()
	var b [16]byte
	for {
		n, from, err := p.in.ReadFromUDPAddrPort(b[:])
		if err != nil {
			return
		}
		p.mu.Lock()
		if q := p.of[from.Addr().Unmap()]; q != nil && n == 4 {
			q.last = max(q.last, int(binary.BigEndian.Uint32(b[:])))
			q.count++
			if q.first < 0 {
				q.first = q.last
			}
		}
		p.mu.Unlock()
	}
}

func (p *prober) send(t *testing.T) {
	defer p.done.Done()
	for tick := time.NewTicker(p.pace); ; <-tick.C {
		select {
		case <-p.stop:
			return
		default:
		}
		p.mu.Lock()
		for _, a := range p.live {
			q := p.of[a]
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], uint32(len(q.sent)))
			q.sent = append(q.sent, time.Now())
			if err := p.out.Send(a, b[:]); err != nil {
				t.Errorf("probe from %s: %v", a, err)
				p.live = nil
				break
			}
		}
		p.mu.Unlock()
	}
}

// watch starts watching addresses, anew if it watches them already.
func (p *prober) watch(addrs ...netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range addrs {
		if p.of[a] == nil {
			p.live = append(p.live, a)
		}
		p.of[a] = &probe{first: -1, last: -1}
	}
}

// leave stops watching all addresses.
func (p *prober) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live, p.of = nil, make(map[netip.Addr]*probe)
}

// quiet is how long nothing must have arrived from an address before it counts as kept out.
const quiet = 300 * time.Millisecond

// blocked returns when the first packet after the last arrival was sent; ok is false while packets still arrive. through reports whether
// any arrived before.
func (p *prober) blocked(a netip.Addr) (at time.Time, through, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.of[a]
	if q == nil || q.last+1 >= len(q.sent) || time.Since(q.sent[q.last+1]) < quiet {
		return at, false, false
	}
	return q.sent[q.last+1], q.first >= 0, true
}

// lost returns how many packets of an address did not arrive, of those sent more than a second ago.
func (p *prober) lost(a netip.Addr) (lost, sent int) {
	time.Sleep(time.Second)
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.of[a]
	for sent = len(q.sent); sent > 0 && time.Since(q.sent[sent-1]) < time.Second; sent-- {
	}
	return max(0, sent-q.count), sent
}
