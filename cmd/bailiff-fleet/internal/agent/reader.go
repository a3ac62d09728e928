package agent

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bailiff/policy/fleet"
	"bailiff/units/hub"
)

const (
	// The reader asks for the stream's position to find missed messages: every leastPoll in a small fleet, else every pollPerHost for each
	// host of the fleet, but at least every longestPoll. Attempts after a failed read are as far apart at most.
	leastPoll, longestPoll = 4 * time.Second, time.Minute
	pollPerHost            = 6 * time.Millisecond

	// readAgain is how often everything is read again, to find what the hub has lost silently.
	readAgain = 12 * time.Hour

	// The roster has no numbers that would show a gap. It is read every leastRoster in a small fleet, else every rosterPerHost for each host: the
	// hub sends 200 kB a second then for each 1,000 hosts, since a roster has 100 bytes for each host.
	leastRoster   = 5 * time.Minute
	rosterPerHost = 500 * time.Millisecond

	// leastPaged is the number of messages above which pages are read first.
	leastPaged = 1000

	// maxHanded bounds the messages that are recognized when the hub sends them again, as it does after the loss of its data. Others are
	// checked and handed on again.
	maxHanded = 1 << 18

	firstPause = 250 * time.Millisecond // after a read that failed
)

// pollInterval is how long a host waits between two questions, in a fleet of this many hosts.
func pollInterval(hosts int) time.Duration {
	return min(max(leastPoll, time.Duration(hosts)*pollPerHost), longestPoll)
}

// rosterInterval is how long a host waits before it reads the roster again, in a fleet of this many hosts.
func rosterInterval(hosts int) time.Duration {
	return max(leastRoster, time.Duration(hosts)*rosterPerHost)
}

// reader reads what the hub holds, from the first message to the latest, and what it republishes from then on. It checks
// signatures and hands the news on: others' to the daemon, this host's own to the publisher.
//
// Every message that the hub stores is republished with its number in the stream. A gap in the numbers shows that messages were missed,
// which are then read from the stream. The roster has a stream of its own, and is read again at an interval. Order does not matter to
// the daemon, so messages republished meanwhile are passed on at once.
type reader struct {
	*Agent
	js      jetstream.JetStream
	ready   bool      // the daemon has been there, so that it takes what is read
	pos     uint64    // every message up to this one was handed on
	mark    mark      // of that message
	ahead   run       // handed on as well
	created time.Time // of the stream
	anew    bool      // whole is to be set
	whole   bool      // to be read from the first message on
	behind  bool      // to be read from pos on
	again   bool      // a connection was made, or messages were dropped: is the stream the same?
	list    bool      // the roster is to be read
	pause   time.Duration
	due     time.Time // of the next attempt
	told    time.Time // when the publisher was last told what the hub holds
	floods  floods
	handed  map[uint64]struct{} // sums of messages whose news the daemon has been given since readAll
	seed    maphash.Seed
}

// run is a part of the stream without a gap.
type run struct {
	first, last uint64
	mark        mark // of the last message
}

// join moves pos to the end of the messages that were handed on as the hub republished them, if none is missing in between.
func (r *reader) join() {
	switch {
	case r.ahead.last <= r.pos:
	case r.whole, r.again, r.ahead.first > r.pos+1:
		r.behind = true
	default:
		r.pos, r.mark = r.ahead.last, r.ahead.mark
		r.read.Store(r.pos)
	}
}

// readAll has everything read and handed on, even what the daemon has been given before: it may have lost it, or now accept what it refused.
func (r *reader) readAll() { r.whole, r.handed = true, make(map[uint64]struct{}) }

// run reads until ctx ends.
func (r *reader) run(ctx context.Context) error {
	var err error
	if r.js, err = jetstream.NewWithAPIPrefix(r.link.nc, apiPrefix, jetstream.WithDefaultTimeout(fetchTime)); err != nil {
		return err
	}
	r.seed = maphash.MakeSeed()
	r.readAll()
	poll, whole := time.NewTimer(0), time.NewTicker(readAgain/2+rand.N(readAgain/2))
	list := time.NewTimer(r.rosterPause())
	defer poll.Stop()
	defer whole.Stop()
	defer list.Stop()
	polled := uint64(0) // pos then
	for ctx.Err() == nil {
		if r.anew {
			r.anew = false
			r.readAll()
		}
		var retry <-chan time.Time
		if r.ready && (r.whole || r.behind || r.again || r.list) && r.link.connected() {
			if wait := time.Until(r.due); wait > 0 {
				retry = time.After(wait)
			} else {
				r.attempt(ctx)
				continue
			}
		}
		select {
		case <-ctx.Done():
		case m := <-r.link.inbox:
			if err := r.live(ctx, m); err != nil {
				return err
			}
		case <-r.link.again:
			r.again, r.pause, r.due = true, 0, time.Time{}
		case <-r.reread:
			r.ready = true
			r.readAll()
		case <-whole.C:
			r.readAll()
		case <-list.C:
			r.list = true
			list.Reset(r.rosterPause())
		case <-poll.C:
			every := r.pollInterval()
			if r.pos != polled && time.Since(r.told) < longestPoll {
				every /= 4 // messages come, and a gap between them would show
			} else {
				r.behind = true
			}
			polled = r.pos
			poll.Reset(every*9/10 + rand.N(every/5))
		case <-retry:
		}
	}
	return nil
}

// attempt catches up, or sets the time of the next attempt.
func (r *reader) attempt(ctx context.Context) {
	conn, cancel := r.link.during(ctx)
	defer cancel()
	err := r.catchUp(ctx, conn)
	switch {
	case ctx.Err() != nil, conn.Err() != nil: // the next connection starts another attempt
		r.due = time.Now().Add(firstPause)
		return
	case err == nil:
		r.pause, r.due = 0, time.Now().Add(firstPause) // a hub that lies about numbers is not asked without a pause
	case r.link.connected(): // else the link has reported why
		r.readErr.set(err)
		fallthrough
	default:
		r.pause = min(max(2*r.pause, firstPause), r.pollInterval()/2)
		r.due = time.Now().Add(r.pause + rand.N(r.pause))
		return
	}
	r.readErr.set(nil)
}

// rosterPause is the interval of reading the roster, spread over the hosts.
func (r *reader) rosterPause() time.Duration {
	d := r.rosterInterval(len(r.roster.Load().groups))
	return d*9/10 + rand.N(d/5)
}

func (r *reader) pollInterval() time.Duration { return pollInterval(len(r.roster.Load().groups)) }

// live takes a republished message and those that wait behind it.
func (r *reader) live(ctx context.Context, m *nats.Msg) error {
	var l []stored
	for {
		s := storedOf(m, strings.TrimPrefix(m.Subject, republished))
		switch {
		case !intact(m): // its number is not known
			r.behind = true
		case s.subject != hub.Subject && r.roster.Load().groups == nil: // its sender's keys are not known
			r.behind = true
		case fleet.IsSummary(s.subject):
			if !r.isOwn(s.subject) && r.floods.admitSummary(fleet.Sender(s.subject), time.Now()) {
				select {
				case r.summaries <- s:
				default: // addresses that fail again are reported again
				}
			}
		case fleet.IsQuestion(s.subject), fleet.IsAnswer(s.subject):
			if r.floods.admit(fleet.Sender(s.subject), time.Now()) {
				select {
				case r.evidence <- s:
				default: // nobody waits for long
				}
			}
		case s.subject == hub.Subject:
			if r.takeRoster(&s) { // it may add hosts that have sent messages
				r.anew = true
			}
		case s.seq == 0 || s.seq <= r.pos && !r.again: // read already
		default:
			if s.seq != r.ahead.last+1 {
				r.ahead.first = s.seq
			}
			r.ahead.last, r.ahead.mark = s.seq, markOf(&s)
			r.join()
			l = append(l, s)
		}
		if len(l) == maxBatch {
			break
		}
		select {
		case m = <-r.link.inbox:
			continue
		default:
		}
		break
	}
	return r.handOn(ctx, l)
}

// catchUp reads what was missed, or everything if the stream is another one. conn ends with the connection.
func (r *reader) catchUp(ctx, conn context.Context) error {
	asked, cancel := context.WithTimeout(conn, r.link.answerTime)
	defer cancel()
	stream, err := r.js.Stream(asked, streamName)
	if err != nil {
		return fmt.Errorf("the stream of the hub: %w", err)
	}
	info := stream.CachedInfo()
	r.ttl.Store(info.Config.AllowMsgTTL)
	last := info.State.LastSeq
	if r.ahead.last > last { // of another stream
		r.ahead = run{}
	}
	if !r.whole && (!info.Created.Equal(r.created) || last < r.pos) {
		r.Log("the hub has another stream than before; all of it is read")
		r.whole = true
	}
	if r.again && !r.whole && r.pos > 0 {
		same, err := r.sameStream(asked)
		if err != nil {
			return err
		}
		r.whole = !same
	}
	if !r.whole && !r.again && !r.list && last == r.pos && time.Since(r.told) < longestPoll { // nothing is new
		r.behind = false
		return nil
	}
	first := max(r.pos+1, info.State.FirstSeq)
	if r.whole || r.again || r.list {
		if err := r.fetchRoster(asked); err != nil {
			return err
		}
	}
	if r.whole {
		r.created, r.pos, r.mark, first = info.Created, 0, mark{}, max(info.State.FirstSeq, 1)
		r.floods.reset()
		r.hubBanned.set(nil)
		if err := r.tell(ctx, seenNews{reset: true}); err != nil {
			return err
		}
	}
	r.last.Store(last)
	if last-first > leastPaged && r.whole {
		r.fetchPages(ctx, conn, last)
	}
	if first <= last {
		if err := r.fetched(ctx, conn, first, last); err != nil {
			return err
		}
	}
	if r.pos < last { // the last ones were removed from the stream
		r.pos, r.mark = last, mark{}
	}
	r.whole, r.behind, r.again, r.list = false, false, false, false
	r.read.Store(r.pos)
	r.join()
	r.told = time.Now()
	return r.tell(ctx, seenNews{first: info.State.FirstSeq, complete: true})
}

// fetched reads from one sequence number to another, and passes on what is republished meanwhile. The hub sends a batch while the previous
// one is checked.
func (r *reader) fetched(ctx, conn context.Context, first, last uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, cancelled := context.WithCancel(conn)
	defer cancelled()
	batches, failed := make(chan []stored, 2), make(chan error, 1)
	go func() {
		defer close(batches)
		failed <- r.link.fetch(conn, span{first, last, ">"}, func(l []stored) error {
			select {
			case batches <- l:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	for {
		select {
		case m := <-r.link.inbox:
			if err := r.live(ctx, m); err != nil {
				return err
			}
		case l, more := <-batches:
			if !more {
				return <-failed
			}
			if err := r.handOn(ctx, l); err != nil {
				return err
			}
			if end := &l[len(l)-1]; end.seq > r.pos {
				r.pos, r.mark = end.seq, markOf(end)
				r.read.Store(r.pos)
			}
		}
	}
}

// fetchPages reads the bans of other hosts that are in pages and hands them on: the messages, which are read next, need not be checked then.
// Without pages it only takes longer.
func (r *reader) fetchPages(ctx, conn context.Context, last uint64) {
	_ = r.link.fetchPages(conn, slices.Collect(maps.Keys(r.roster.Load().groups)), last, func(l []stored) error {
		some, now := make([]fleet.Message, 0, len(l)), time.Now()
		for i := range l {
			if !r.isOwn(l[i].subject) && r.floods.admitPage(fleet.Sender(l[i].subject), now) { // its own come again
				some = append(some, l[i].message())
			}
		}
		pages, rejected := fleet.OpenPages(some, r.roster.Load().of)
		r.rejected.Add(int64(rejected))
		for some := range slices.Chunk(pages, maxBatch/fleet.PageNews) {
			var news []fleet.News
			var sums []uint64
			for _, p := range some {
				for i := range p.News {
					m, err := fleet.Unsigned(&p.News[i])
					if err != nil {
						continue
					}
					sum := r.sum(m.Subject, m.Payload)
					if _, handed := r.handed[sum]; !handed {
						news, sums = append(news, p.News[i]), append(sums, sum)
					}
				}
			}
			if err := r.give(ctx, news, sums); err != nil {
				return err
			}
		}
		return nil
	})
}

// sameStream reports whether the hub still holds the message at pos. A hub that was restored from an old copy, or has lost unwritten
// messages, uses the same numbers for others.
func (r *reader) sameStream(ctx context.Context) (bool, error) {
	s, ok, err := r.link.get(ctx, get{stream: streamName, Seq: r.pos})
	return ok && s.seq == r.pos && r.mark.is(&s), err
}

// mark distinguishes a message from one with the same number in another stream, even with the same content: by its signature, and by when
// the hub stored it, which republished messages say since nats-server 2.10.
type mark struct {
	signature string // "": none
	sent      time.Time
}

func markOf(s *stored) mark { return mark{s.signature, s.sent} }

func (m *mark) is(s *stored) bool {
	return m.signature != "" && m.signature == s.signature && (m.sent.IsZero() || m.sent.Equal(s.sent))
}

// fetchRoster takes the roster that the hub holds, if any. Otherwise the present one stays in use; having none is an error.
func (r *reader) fetchRoster(ctx context.Context) error {
	s, ok, err := r.link.get(ctx, get{stream: rosterStream, Last: hub.Subject})
	if err != nil {
		r.rosterErr.set(fmt.Errorf("the roster: %w", err))
	} else if ok && s.subject == hub.Subject && r.takeRoster(&s) {
		r.readAll()
	}
	switch {
	case r.roster.Load().groups != nil:
		return nil
	case r.rosterErr.get() != nil:
		return r.rosterErr.get()
	}
	return errors.New("the hub has no list of hosts yet, or an old one; on the hub: bailiff fleet hub DIR")
}

// opened is what a message turned out to be.
type opened struct {
	news *fleet.News
	err  error
}

// handOn checks messages and passes their content on.
func (r *reader) handOn(ctx context.Context, l []stored) error {
	if len(l) == 0 {
		return nil
	}
	keep := l[:0:0]
	var sums []uint64
	for _, s := range l {
		sum := r.sum(s.subject, s.payload)
		if _, handed := r.handed[sum]; handed {
			continue
		}
		switch own := r.isOwn(s.subject); {
		case fleet.IsPage(s.subject):
			if own {
				if err := r.ownPage(ctx, s.message()); err != nil {
					return err
				}
			}
		case own, r.floods.admit(fleet.Sender(s.subject), time.Now()):
			keep, sums = append(keep, s), append(sums, sum)
		}
	}
	r.flooding.Store(r.floods.worst)
	news, given := make([]fleet.News, 0, len(keep)), make([]uint64, 0, len(keep))
	for i, o := range r.openAll(keep) {
		switch {
		case o.err != nil:
			r.rejected.Add(1)
		case o.news.Host == r.Member.Host:
			if err := r.tell(ctx, seenNews{news: o.news, seq: keep[i].seq, sent: keep[i].sent}); err != nil {
				return err
			}
		default:
			news, given = append(news, *o.news), append(given, sums[i])
		}
	}
	return r.give(ctx, news, given)
}

// ownPage tells the publisher what a page of this host says.
func (r *reader) ownPage(ctx context.Context, m fleet.Message) error {
	pages, rejected := fleet.OpenPages([]fleet.Message{m}, r.roster.Load().of)
	r.rejected.Add(int64(rejected))
	for i := range pages {
		if err := r.tell(ctx, seenNews{page: &pages[i]}); err != nil {
			return err
		}
	}
	return nil
}

// give hands news of other hosts to the daemon and remembers the sums of their messages.
func (r *reader) give(ctx context.Context, all []fleet.News, sums []uint64) error {
	news, given, now := make([]fleet.News, 0, len(all)), make([]uint64, 0, len(all)), time.Now().UnixMicro()
	for i := range all {
		switch n := &all[i]; {
		case n.Until <= now && n.Since < n.Until: // it is over; hubs before 2.11 hold it for a month
		case !n.Lifted && r.link.needs(n.Prefix):
			r.rejected.Add(1)
			r.hubBanned.set(fmt.Errorf("host %s bans %s, an address of the hub or of a name server, which is not passed on", n.Host, n.Prefix))
		default:
			news, given = append(news, *n), append(given, sums[i])
		}
	}
	if len(news) == 0 {
		return nil
	}
	select {
	case r.toDaemon <- news:
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, sum := range given {
		if len(r.handed) < maxHanded {
			r.handed[sum] = struct{}{}
		}
	}
	return nil
}

// sum stands for what a message says: once its host has proven it, it needs no other proof. Only this process knows the seed, so nobody can
// make two messages with one sum.
func (r *reader) sum(subject string, payload []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(r.seed)
	h.WriteString(subject)
	h.WriteByte(0)
	h.Write(payload)
	return h.Sum64()
}

// openAll checks the signatures, on all processors if there are many.
func (r *reader) openAll(l []stored) []opened {
	out := make([]opened, len(l))
	keys := r.roster.Load().of
	part := func(from, to int) {
		messages := make([]fleet.Message, 0, to-from)
		for i := from; i < to; i++ {
			messages = append(messages, l[i].message())
		}
		news, errs := fleet.OpenAll(messages, keys)
		for i := range news {
			out[from+i] = opened{news[i], errs[i]}
		}
	}
	n := min(runtime.GOMAXPROCS(0), 1+len(l)/16)
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			part(i*len(l)/n, (i+1)*len(l)/n)
		}()
	}
	wg.Wait()
	return out
}

func (r *reader) isOwn(subject string) bool { return fleet.Sender(subject) == r.Member.Host }

// tell passes something on to the publisher.
func (r *reader) tell(ctx context.Context, s seenNews) error {
	select {
	case r.seen <- s:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fault is an error that lasts.
type fault struct {
	mu  sync.Mutex
	err error
	log func(string)
}

// set records the outcome of an attempt. It logs an error once, and its end.
func (f *fault) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err != nil && f.err == nil:
		f.log(err.Error())
	case err == nil && f.err != nil:
		f.log("no longer: " + f.err.Error())
	}
	f.err = err
}

func (f *fault) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
