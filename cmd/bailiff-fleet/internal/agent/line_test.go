package agent

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bailiff/policy/fleet"
	"bailiff/policy/state"
	"bailiff/units/hub"
)

// line is a path to the hub that can fail. It carries bytes.
type line struct {
	l      net.Listener
	target string
	rate   int // bytes a second from the hub; 0: as they come

	mu        sync.Mutex
	dark      bool // new connections get no answer
	pairs     []*pair
	swallowed atomic.Int64 // bytes
}

// pair is one connection.
type pair struct {
	ends [2]net.Conn
	dead atomic.Bool // what is sent over it is lost
}

// line makes the path that a host takes to the hub from now on.
func (h *testHub) line(host string) *line {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	p := &line{l: l, target: fmt.Sprint("127.0.0.1:", h.server.Port)}
	r := h.roster
	r.Servers = []string{hub.ServerURL("127.0.0.1", l.Addr().(*net.TCPAddr).Port)}
	sealed, err := r.Sign(h.op)
	if err != nil {
		h.t.Fatal(err)
	}
	data, err := json.Marshal(sealed)
	if err == nil {
		err = os.WriteFile(filepath.Join(h.stateDir(host), rosterName), data, 0o600)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	go p.accept()
	h.t.Cleanup(func() {
		l.Close()
		p.drop()
	})
	return p
}

func (p *line) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", p.target)
		if err != nil {
			c.Close()
			continue
		}
		x := &pair{ends: [2]net.Conn{c, up}}
		p.mu.Lock()
		x.dead.Store(p.dark)
		p.pairs = append(p.pairs, x)
		p.mu.Unlock()
		go p.carry(x, up, c, 0)
		go p.carry(x, c, up, p.rate)
	}
}

func (p *line) carry(x *pair, to, from net.Conn, rate int) {
	defer to.Close()
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		switch {
		case err != nil:
			return
		case x.dead.Load():
			p.swallowed.Add(int64(n))
			continue
		case rate > 0:
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// cut makes the path dark, or has it carry new connections again. Earlier connections remain dead.
func (p *line) cut(dark bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dark = dark
	for _, x := range p.pairs {
		x.dead.Store(true)
	}
}

// drop ends all connections.
func (p *line) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.pairs {
		for _, c := range x.ends {
			c.Close()
		}
	}
	p.pairs = nil
}

// TestLine: the agent does not wait for answers on a connection that has ended, however long answers may take; and it gives up a connection
// on which nothing arrives.
func TestLine(t *testing.T) {
	t.Parallel()
	h := newHub(t, "a", "b")
	h.answerTime = time.Hour
	p := h.line("b")
	a, b := newDaemon(t, rules()), newDaemon(t, rules("a"))
	h.run("a", a)
	agentB, _ := h.run("b", b)
	a.ban("192.0.2.1", time.Hour)
	b.wait("192.0.2.1")

	p.cut(true)
	a.ban("192.0.2.2", time.Hour)
	before := p.swallowed.Load()
	signal(agentB.reread)
	eventually(t, func() error {
		if p.swallowed.Load() < before+100 { // more than pings
			return fmt.Errorf("%d bytes are swallowed", p.swallowed.Load()-before)
		}
		return nil
	})
	p.cut(false)
	p.drop()
	b.wait("192.0.2.1", "192.0.2.2")

	p.cut(true)
	a.ban("192.0.2.3", time.Hour)
	p.cut(false)
	b.wait("192.0.2.1", "192.0.2.2", "192.0.2.3")
}

// TestSlowLine: a host on a slow line gets all of a long answer, even if that takes longer than a connection lives without a sign of life.
func TestSlowLine(t *testing.T) {
	t.Parallel()
	h := newHub(t, "a", "b")
	p := h.line("b")
	p.rate = 40 << 10
	a, b := newDaemon(t, rules()), newDaemon(t, rules("a"))
	var want []string
	for i := range fetchBatch + fetchBatch/2 {
		want = append(want, fmt.Sprintf("192.0.%d.%d", i/250, i%250))
		a.ban(want[i], time.Hour)
	}
	agentA, _ := h.run("a", a)
	eventually(t, func() error {
		if s := agentA.state(); s.Published != len(want) {
			return fmt.Errorf("state %+v", s)
		}
		return nil
	})
	h.run("b", b)
	b.wait(want...)
}

// TestFullHub: bans that the hub does not store wait, are shown as waiting, and are shared once it stores them.
func TestFullHub(t *testing.T) {
	t.Parallel()
	h := newHub(t, "a", "b")
	a, b := newDaemon(t, rules()), newDaemon(t, rules("a"))
	h.run("a", a)
	h.run("b", b)
	a.ban("192.0.2.1", time.Hour)
	b.wait("192.0.2.1")

	admin, err := Connect("test", h.admin.Servers, h.admin.CA, h.admin.NKey)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	js, err := jetstream.New(admin)
	if err != nil {
		t.Fatal(err)
	}
	full := streams(1, hasBatches(natsVersion(t, admin)))[0]
	full.Discard, full.MaxMsgs = jetstream.DiscardNew, 1
	if _, err := js.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	want := []string{"192.0.2.1"}
	for i := range 2*window + 7 {
		want = append(want, fmt.Sprintf("198.51.%d.%d", 100+i/250, i%250))
		a.ban(want[i+1], time.Hour)
	}
	shows := func(waiting int, problem string) {
		t.Helper()
		eventually(t, func() error {
			a.mu.Lock()
			defer a.mu.Unlock()
			if s := a.agent; s.Waiting != waiting || problem == "" && strings.Contains(s.Error, "does not store") || !strings.Contains(s.Error, problem) {
				return fmt.Errorf("state %+v", s)
			}
			return nil
		})
	}
	shows(2*window+7, "the hub does not store bans of this host, which wait here: maximum messages exceeded")
	full.MaxMsgs = -1
	if _, err := js.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	b.wait(want...)
	shows(0, "")

	// When nothing waits any more, the problem is over.
	full.MaxMsgs = 1
	if _, err := js.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	a.ban("192.0.2.2", 2*time.Second)
	shows(1, "the hub does not store")
	a.mu.Lock()
	delete(a.own, "192.0.2.2")
	a.mu.Unlock()
	shows(0, "")
}

// TestEnsure: streams keep their creation time when the hub restarts, but their configuration is updated.
func TestEnsure(t *testing.T) {
	h := newHub(t, "a")
	config := func(change func(js jetstream.JetStream)) *jetstream.StreamInfo {
		t.Helper()
		js := h.jetStream()
		change(js)
		s, err := js.Stream(t.Context(), streamName)
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo()
	}
	first := config(func(jetstream.JetStream) {})
	for range 3 {
		h.stop()
		h.start()
		if i := config(func(jetstream.JetStream) {}); !i.Created.Equal(first.Created) {
			t.Errorf("created at %v, then at %v", first.Created, i.Created)
		}
	}
	config(func(js jetstream.JetStream) {
		c := first.Config
		c.MaxAge = time.Hour
		if _, err := js.UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := MakeStream(t.Context(), h.admin); err != nil {
		t.Fatal(err)
	}
	if i := config(func(jetstream.JetStream) {}); i.Config.MaxAge != maxAge {
		t.Errorf("messages are kept for %v", i.Config.MaxAge)
	}
}

// remove deletes streams, and waits until their files are removed.
func (h *testHub) remove(js jetstream.JetStream, names ...string) {
	h.t.Helper()
	for _, name := range names {
		if err := js.DeleteStream(h.t.Context(), name); err != nil {
			h.t.Fatal(err)
		}
		eventually(h.t, func() error {
			if l, _ := filepath.Glob(filepath.Join(h.dir, "store/*/*/streams", name)); len(l) > 0 {
				return fmt.Errorf("%v is not removed yet", l)
			}
			return nil
		})
	}
}

// keeper is what keeps the hub's streams on one of its servers, with the hub's file as it is now.
func (h *testHub) keeper() *maker {
	h.t.Helper()
	file := *h.admin
	m, err := newMaker(&file)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(m.nc.Close)
	m.keep = true
	eventually(h.t, func() error { return m.nc.FlushTimeout(time.Second) })
	return m
}

// looks has the streams looked at, with this result.
func (m *maker) looks(t *testing.T, want string) {
	t.Helper()
	if said, err := m.look(t.Context()); err != nil || said != want {
		t.Fatalf("%q, %v, want %q", said, err, want)
	}
}

// TestKeep: a hub gets again the streams and the roster that it has lost, and hosts send their bans again. What another version of bailiff has
// changed stays.
func TestKeep(t *testing.T) {
	t.Parallel()
	h := newHub(t, "a", "b", "late")
	js := h.jetStream()
	m := h.keeper()
	a, b := newDaemon(t, rules()), newDaemon(t, rules("a"))
	h.run("a", a)
	h.run("b", b)
	a.ban("192.0.2.1", time.Hour)
	b.wait("192.0.2.1")
	m.looks(t, "")

	h.remove(js, streamName, rosterStream, shortStream)
	m.looks(t, "")
	m.looks(t, "stream BANS: 0 messages, roster 1 stored")
	a.ban("192.0.2.2", time.Hour)
	b.wait("192.0.2.1", "192.0.2.2")
	late := newDaemon(t, rules("a"))
	h.run("late", late)
	late.wait("192.0.2.1", "192.0.2.2")
	m.looks(t, "")

	roster, err := js.Stream(t.Context(), rosterStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := roster.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.looks(t, "")
	m.looks(t, "stream BANS: 2 messages, roster 1 stored")

	s, err := js.Stream(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	other := s.CachedInfo().Config
	other.MaxAge = time.Hour
	if _, err := js.UpdateStream(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	h.remove(js, shortStream)
	m.looks(t, "")
	m.looks(t, "stream BANS: 2 messages, roster 1")
	if _, err := js.Stream(t.Context(), shortStream); err != nil {
		t.Error(err)
	}
	if i, err := s.Info(t.Context()); err != nil || i.Config.MaxAge != time.Hour {
		t.Errorf("%+v, %v", i, err)
	}

	// A hub that does not answer has lost nothing.
	h.stop()
	m.looks(t, "")
	m.looks(t, "")
}

// TestKeepNewest: a hub that loses the list of hosts gets again the newest one that it had, not that of its file. One of an operator who was
// removed since is none.
func TestKeepNewest(t *testing.T) {
	h := newHub(t, "a")
	js := h.jetStream()
	m := h.keeper()
	stored := func(want uint64) {
		t.Helper()
		s, ok, err := h.reader("a").link.get(t.Context(), get{stream: rosterStream, Last: hub.Subject})
		r, e := (&hub.Sealed{Payload: s.payload}).Peek()
		if err != nil || e != nil || !ok || r.Serial != want {
			t.Errorf("the hub has %+v, want list %d: %v, %v", r, want, err, e)
		}
	}
	eve := h.op
	pub, bob, _ := ed25519.GenerateKey(nil)
	for _, to := range [][]hub.Operator{{h.trust.Operators[0], {Name: "bob", Key: hub.Key(pub)}}, {{Name: "bob", Key: hub.Key(pub)}}} {
		next, change, err := h.trust.Change("test", to, h.op)
		if err != nil {
			t.Fatal(err)
		}
		h.trust, h.roster.Changes, h.op = *next, append(h.roster.Changes, *change), bob
		h.roster.Serial++
	}
	before := h.roster
	before.Changes = before.Changes[:1]
	h.store(h.sign(), h.trust)
	m.looks(t, "")
	h.remove(js, rosterStream)
	m.looks(t, "")
	m.looks(t, "stream BANS: 0 messages, roster 3 (newer than that of the file) stored")
	stored(3)

	before.Serial = 1<<64 - 1
	hers, err := before.Sign(eve)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: hub.Subject, Data: hers.Payload, Header: nats.Header{hub.SignatureHeader: {base64.StdEncoding.EncodeToString(hers.Signature)}}}); err != nil {
		t.Fatal(err)
	}
	m.looks(t, "")
	h.remove(js, rosterStream)
	m.looks(t, "")
	m.looks(t, "stream BANS: 0 messages, roster 3 (newer than that of the file) stored")
	stored(3)
}

// TestMark: a message is distinguished from one with the same content that got its number later.
func TestMark(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	s := &stored{signature: "x", sent: at}
	for _, x := range []struct {
		mark mark
		want bool
	}{{mark{}, false}, {mark{"x", at}, true}, {mark{"x", time.Time{}}, true}, {mark{"y", at}, false}, {mark{"x", at.Add(1)}, false}} {
		if got := x.mark.is(s); got != x.want {
			t.Errorf("%+v: %v", x.mark, got)
		}
	}
	if m := (&mark{}); m.is(&stored{}) {
		t.Error("no message is one")
	}
}

func natsVersion(t *testing.T, nc *nats.Conn) string {
	t.Helper()
	eventually(t, func() error {
		if !nc.IsConnected() {
			return errors.New("not connected")
		}
		return nil
	})
	return nc.ConnectedServerVersion()
}

// TestAnswer: the hub's answers to a message, and their hints.
func TestAnswer(t *testing.T) {
	for data, want := range map[string]string{
		`{"stream":"BANS","seq":7}`: "",
		`{"error":{"code":503,"err_code":10077,"description":"write /x/1.blk: no space left on device"},"stream":"BANS","seq":0}`: "write /x/1.blk: no space left on device; free space in /var/lib/bailiff-hub on the hub",
		`{"error":{"code":503,"err_code":10023,"description":"insufficient resources"},"stream":"BANS","seq":0}`:                  "insufficient resources; free space in /var/lib/bailiff-hub on the hub",
		`{"error":{"code":503,"err_code":10047,"description":"insufficient storage resources available"}}`:                        "insufficient storage resources available; free space in /var/lib/bailiff-hub on the hub",
		`{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"BANS","seq":0}`:               "maximum messages exceeded",
		`nonsense`: "its answer cannot be read",
	} {
		got := ""
		if err := answer(&nats.Msg{Data: []byte(data)}); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", data, got, want)
		}
	}
	if err := answer(&nats.Msg{Header: nats.Header{"Status": {"503"}}}); err == nil || !strings.Contains(err.Error(), "systemctl reload nats-server") {
		t.Error(err)
	}
}

// numbered returns a's message about a ban of 192.0.X.Y, with the number in X and Y.
func (h *testHub) numbered(i int) *nats.Msg {
	p, now := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 32), time.Now()
	return h.message("a", &fleet.News{Host: "a", Prefix: p, Jail: "sshd", Since: now.Add(-time.Minute).UnixMicro(), Until: now.Add(time.Hour).UnixMicro(), Failures: 5, Reason: state.Failures})
}

// TestReplacedWhileRead: messages that are gone before they are read are not waited for.
func TestReplacedWhileRead(t *testing.T) {
	h := newHub(t, "a", "b")
	var l []*nats.Msg
	for i := range 50 {
		l = append(l, h.numbered(i))
	}
	h.publish("a", l...)
	admin, err := jetstream.New(h.connect(h.admin.NKey))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := admin.Stream(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	b := h.reader("b")
	defer b.link.nc.Close()
	b.link.answerTime, b.link.batch = time.Minute, 10
	var sent uint64 // by the server, when the others went
	read := 0
	err = b.link.fetch(t.Context(), span{1, uint64(len(l)), ">"}, func(batch []stored) error {
		if read += len(batch); sent > 0 {
			return nil
		}
		sent = batch[len(batch)-1].seq
		for i := int(sent); i < len(l); i++ {
			if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject(l[i].Subject)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || uint64(read) != sent || read == 0 || read == len(l) {
		t.Errorf("%d messages are read, %d were sent: %v", read, sent, err)
	}
}

// TestSparse: messages with many others around them that are gone are read, in the order of their numbers.
func TestSparse(t *testing.T) {
	h := newHub(t, "a", "b")
	var l []*nats.Msg
	for i := range 60 {
		l = append(l, h.numbered(i))
		for range i * i / 10 { // more and more are replaced
			l = append(l, h.numbered(0))
		}
		if i%20 == 19 {
			for k := range 50 {
				l = append(l, h.numbered(1000+50*i+k))
			}
		}
	}
	h.publish("a", l...)
	b := h.reader("b")
	defer b.link.nc.Close()
	for _, size := range []int{1, 10, 100} {
		b.link.batch = size
		var seqs []uint64
		subjects := map[string]bool{}
		if err := b.link.fetch(t.Context(), span{1, uint64(len(l)), ">"}, func(batch []stored) error {
			for _, s := range batch {
				seqs, subjects[s.subject] = append(seqs, s.seq), true
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if !slices.IsSorted(seqs) || len(seqs) != len(subjects) || len(subjects) != 60+3*50 {
			t.Errorf("batches of %d: %d messages, %d subjects: %v", size, len(seqs), len(subjects), seqs)
		}
	}
}

// TestAnsweredByOlder: while the servers of a hub are updated, one without batches may answer for one that has them but is behind. Its
// messages are read without waiting for the end of a batch, which never comes.
func TestAnsweredByOlder(t *testing.T) {
	h := newHub(t, "a", "b")
	var l []*nats.Msg
	for i := range 50 {
		l = append(l, h.numbered(i))
	}
	h.publish("a", l...)
	b := h.reader("b")
	defer b.link.nc.Close()
	version := natsVersion(t, b.link.nc)
	read := 0
	rest, err := b.link.fetchBatches(t.Context(), span{1, uint64(len(l)), ">"}, 20, func(batch []stored) error {
		read += len(batch)
		return nil
	})
	if err != nil || len(rest) > 0 || read != len(l) {
		t.Errorf("nats-server %s: %d messages of %d are read, then %d: %v", version, read, len(l), len(rest), err)
	}
}

// TestHole: behind a long stretch of numbers without messages, dense ones are read with few questions again.
func TestHole(t *testing.T) {
	h := newHub(t, "a", "b")
	const before, hole, behind = 100, 4000, 3000
	var l []*nats.Msg
	for i := range before {
		l = append(l, h.numbered(i))
	}
	for range hole {
		l = append(l, h.numbered(before))
	}
	for i := range behind {
		l = append(l, h.numbered(before+1+i))
	}
	h.publish("a", l...)
	b := h.reader("b")
	defer b.link.nc.Close()
	version := natsVersion(t, b.link.nc)
	b.link.batch = 100
	asked, read := b.link.nc.Stats().OutMsgs, 0
	if err := b.link.fetch(t.Context(), span{1, uint64(len(l)), ">"}, func(batch []stored) error {
		read += len(batch)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	asked = b.link.nc.Stats().OutMsgs - asked
	if read != before+1+behind || asked > uint64(2*read) {
		t.Errorf("nats-server %s: %d messages are read with %d questions", version, read, asked)
	} else {
		t.Logf("nats-server %s: %d messages are read with %d questions", version, read, asked)
	}
}

// TestLiveWhileRead: what hosts send while much is read is passed on at once, and is not read again.
func TestLiveWhileRead(t *testing.T) {
	h := newHub(t, "a", "b")
	const before = 2000
	var l []*nats.Msg
	for i := range before {
		l = append(l, h.numbered(i))
	}
	h.publish("a", l...)
	b := h.reader("b")
	defer b.link.nc.Close()
	b.link.batch, b.seed = 10, maphash.MakeSeed()
	b.readAll()
	ended := make(chan error)
	go func() { ended <- b.catchUp(t.Context(), t.Context()) }()
	given, sent, passed := 0, 0, 0 // passed: of those sent meanwhile, before all others were read
	for done := false; !done; {
		select {
		case <-b.seen: // the publisher's
		case news := <-b.toDaemon:
			for i := range news {
				a := news[i].Prefix.Addr().As4()
				if given++; int(a[2])<<8+int(a[3]) >= before && given <= before {
					passed++
				}
			}
			if sent < given/100 {
				h.publish("a", h.numbered(before+sent))
				sent++
			}
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		}
	}
	if passed == 0 {
		t.Errorf("none of %d bans was passed on while the others were read", sent)
	}
	// Those that have not arrived yet come as the others.
	for b.pos < uint64(before+sent) {
		select {
		case m := <-b.link.inbox:
			go func() { ended <- b.live(t.Context(), m) }()
			for done := false; !done; {
				select {
				case news := <-b.toDaemon:
					given += len(news)
				case <-ended:
					done = true
				}
			}
		case <-time.After(time.Minute):
			t.Fatalf("read up to %d of %d", b.pos, before+sent)
		}
	}
	close(b.toDaemon)
	for news := range b.toDaemon { // waiting there
		given += len(news)
	}
	if b.behind || given != before+sent {
		t.Errorf("the daemon was given %d bans of %d; to be read again: %v", given, before+sent, b.behind)
	}
}

// TestReadsNoFurther: a read ends although a host sends faster than others can read. What comes meanwhile reaches them as it comes.
func TestReadsNoFurther(t *testing.T) {
	h := newHub(t, "a", "b")
	sent := 0
	send := func(n int) {
		var l []*nats.Msg
		for range n {
			l = append(l, h.numbered(sent))
			sent++
		}
		h.publish("a", l...)
	}
	send(50)
	b := h.reader("b")
	defer b.link.nc.Close()
	b.link.batch = 10
	read := 0
	err := b.link.fetch(t.Context(), span{1, uint64(sent), ">"}, func(batch []stored) error {
		if read += len(batch); read > 200 {
			return errors.New("it goes on")
		}
		send(2 * len(batch))
		return nil
	})
	if err != nil || read < 50 || read > 60 {
		t.Errorf("%d messages are read of 50 when the read began and %d now: %v", read, sent, err)
	}
}
