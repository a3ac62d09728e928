package agent

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/policy/fleet"
	"bailiff/units/hub"
)

// Names in the hub.
const (
	streamName   = "BANS"
	rosterStream = "ROSTER"
	shortStream  = "SHORT"
	apiPrefix    = "hub"    // of JetStream's calls, as the account of a host imports them
	republished  = "fleet." // before the subject of a message that the hub has stored
)

const (
	fetchBatch = 1000             // messages
	leastBatch = 32               // 20 kB, a second of a slow line
	fetchTime  = 10 * time.Second // without a message, until a read is given up
)

// stored is a message that the hub holds.
type stored struct {
	subject   string
	seq       uint64
	sent      time.Time // zero: not known
	payload   []byte
	signature string // base64
}

// header returns the last value of a header. A host can forge the hub's headers, but the hub's own come last.
func header(h nats.Header, name string) string {
	if v := h.Values(name); len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// storedOf reads a message and the hub's headers about it.
func storedOf(m *nats.Msg, subject string) stored {
	s := stored{subject: subject, payload: m.Data, signature: header(m.Header, hub.SignatureHeader)}
	s.seq, _ = strconv.ParseUint(header(m.Header, "Nats-Sequence"), 10, 64)
	s.sent, _ = time.Parse(time.RFC3339Nano, header(m.Header, "Nats-Time-Stamp"))
	return s
}

// message is what its sender has signed. If the header is not base64, there is no signature, and the message is refused.
func (s *stored) message() fleet.Message {
	signature, _ := base64.StdEncoding.DecodeString(s.signature)
	return fleet.Message{Subject: s.subject, Payload: s.payload, Signature: signature}
}

// span says which messages are read.
type span struct {
	first, last uint64 // sequence numbers; the last batch may go further
	subjects    string
}

// fetch calls take with batches of messages. What the hub stores meanwhile is left to others: the reader would never end while a host sends
// as fast as it can. What arrived of an interrupted batch is taken too: a slow line interrupts every long batch, so the next ones are shorter.
//
// The hub keeps no state for it. With consumers, it would: hosts that may create these can use up all there may be, and have the hub itself
// publish their messages under other subjects.
func (l *link) fetch(ctx context.Context, what span, take func([]stored) error) error {
	fetch := l.fetchParts
	if hasBatches(l.nc.ConnectedServerVersion()) {
		fetch = l.fetchBatches
	}
	rest, err := fetch(ctx, what, l.batch, take)
	if err == nil {
		l.batch = min(2*l.batch, fetchBatch)
		return nil
	}
	l.batch = max(l.batch/4, leastBatch)
	if len(rest) > 0 {
		err = errors.Join(err, take(rest))
	}
	return err
}

// hasBatches reports whether a server supports direct gets of several messages: since 2.11. Earlier ones answer with one message and no
// end.
func hasBatches(version string) bool {
	part := strings.SplitN(version, ".", 3)
	if len(part) < 2 {
		return false
	}
	major, _ := strconv.Atoi(part[0])
	minor, _ := strconv.Atoi(part[1])
	return major > 2 || major == 2 && minor >= 11
}

// gets asks for messages by direct gets (ADR-31). nats.go's own calls would mistake a host's message for an answer without responders, which is
// a matter of its header.
type gets struct {
	nc      *nats.Conn
	sub     *nats.Subscription
	inbox   string // before the number of a question, in the subject of its answers
	answers chan *nats.Msg
	within  time.Duration
}

// newGets returns gets for questions that have at most this many answers at a time.
func (l *link) newGets(answers int) (*gets, error) {
	g := &gets{nc: l.nc, inbox: nats.NewInbox() + ".", answers: make(chan *nats.Msg, answers), within: l.answerTime}
	var err error
	g.sub, err = l.nc.ChanSubscribe(g.inbox+"*", g.answers)
	return g, err
}

// end has the hub forget the questions.
func (g *gets) end() { _ = g.sub.Unsubscribe() }

// get is a question: for the message of a stream with a number or, with subjects, the first one from that number on, and those that follow it,
// up to the size of a batch. With last, it is for the latest message of that subject.
type get struct {
	stream, last string

	Seq      uint64 `json:"seq"`
	Batch    int    `json:"batch,omitempty"`
	Subjects string `json:"next_by_subj,omitempty"`
}

func (g *gets) ask(number int, q *get) (err error) {
	subject, data := apiPrefix+".DIRECT.GET."+q.stream, []byte(nil)
	if q.last != "" {
		subject += "." + q.last
	} else if data, err = json.Marshal(q); err != nil {
		return err
	}
	return g.nc.PublishRequest(subject, g.inbox+strconv.Itoa(number), data)
}

// next returns an answer and the number of its question.
func (g *gets) next(ctx context.Context) (m *nats.Msg, number int, err error) {
	late := time.NewTimer(g.within)
	defer late.Stop()
	select {
	case m = <-g.answers:
		number, err = strconv.Atoi(strings.TrimPrefix(m.Subject, g.inbox))
	case <-ctx.Done():
		err = ctx.Err()
	case <-late.C:
		err = context.DeadlineExceeded
	}
	if err != nil {
		err = fmt.Errorf("read from the hub: %w", err)
	}
	return m, number, err
}

// held returns the message of an answer that is one. Others have neither subject nor data; a host can forge their status.
func held(m *nats.Msg) (s stored, ok bool) {
	subject := header(m.Header, "Nats-Subject")
	return storedOf(m, subject), subject != ""
}

// errAnswer is an answer of the hub that is neither a message nor the end.
func errAnswer(m *nats.Msg) error {
	return fmt.Errorf("read from the hub: %s %s", header(m.Header, "Status"), header(m.Header, "Description"))
}

// each asks questions that have one answer, all at once. It calls take with each answer, which is a message if there is one; take returns the
// next question in its place, or nil.
func (g *gets) each(ctx context.Context, questions []get, take func(i int, s stored, ok bool) (*get, error)) error {
	open, asked := len(questions), make([]bool, len(questions))
	for i := range questions {
		if err := g.ask(i, &questions[i]); err != nil {
			return err
		}
		asked[i] = true
	}
	for open > 0 {
		m, i, err := g.next(ctx)
		if err != nil {
			return err
		}
		if i < 0 || i >= len(asked) || !asked[i] {
			return errUnasked
		}
		s, ok := held(m)
		if !ok && header(m.Header, "Status") != "404" {
			return errAnswer(m)
		}
		q, err := take(i, s, ok)
		if err == nil && q != nil {
			err = g.ask(i, q)
		}
		if err != nil {
			return err
		}
		if q == nil {
			asked[i] = false
			open--
		}
	}
	return nil
}

var errUnasked = errors.New("the hub sends what it was not asked for")

// get asks one question.
func (l *link) get(ctx context.Context, q get) (s stored, ok bool, err error) {
	g, err := l.newGets(1)
	if err != nil {
		return s, false, err
	}
	defer g.end()
	err = g.each(ctx, []get{q}, func(_ int, x stored, held bool) (*get, error) {
		s, ok = x, held
		return nil, nil
	})
	return s, ok, err
}

// fetchBatches reads batches, each of which answers one question.
func (l *link) fetchBatches(ctx context.Context, what span, size int, take func([]stored) error) (rest []stored, err error) {
	g, err := l.newGets(2*size + 1)
	if err != nil {
		return nil, err
	}
	defer g.end()
	for {
		if err := g.ask(0, &get{stream: streamName, Seq: what.first, Batch: size, Subjects: what.subjects}); err != nil {
			return nil, err
		}
		batch := make([]stored, 0, size)
		for {
			m, _, err := g.next(ctx)
			if err != nil {
				return batch, err
			}
			if s, ok := held(m); ok {
				if len(batch) == 2*size {
					return nil, errUnasked
				}
				batch = append(batch, s)
				continue
			}
			status, pending := header(m.Header, "Status"), header(m.Header, "Nats-Num-Pending")
			if len(batch) > 0 {
				if err := take(batch); err != nil {
					return nil, err
				}
				what.first = batch[len(batch)-1].seq + 1
			}
			switch {
			case what.first > what.last:
				return nil, nil
			case status == "404" && len(batch) == 0, status == "204" && (pending == "0" || len(batch) == 0):
				return nil, nil
			case status != "204":
				return nil, errAnswer(m)
			}
			break
		}
	}
}

// maxWidth bounds the numbers that fetchParts divides, where most messages are gone.
const maxWidth = 1 << 32

// fetchParts reads from servers before 2.11, which answer each question with one message. It divides the next numbers into parts and asks for
// the first message of each part at once, then for the one after it.
func (l *link) fetchParts(ctx context.Context, what span, size int, take func([]stored) error) (rest []stored, err error) {
	asked := false // again, about the end
	for width := uint64(size); what.first <= what.last; {
		these, parts := what, size
		if what.last-what.first >= width {
			these.last = what.first + width - 1
		}
		if width > uint64(size) { // each is likely to have several
			parts = max(size/4, 1)
		}
		batch, next, over, mean, err := l.fetchNumbers(ctx, these, parts, 2*size)
		if err != nil {
			return batch, err
		}
		if len(batch) > 0 {
			if err := take(batch); err != nil {
				return nil, err
			}
		}
		what.first = next
		if over && asked {
			return nil, nil
		} else if over { // the server that answered may be behind the others for a moment
			asked = true
			sleep(ctx, firstPause)
		}
		width = min(max(uint64(size), uint64(size)*mean), 2*width, maxWidth)
	}
	return nil, nil
}

// pagesOfHost is how many pages of a host are asked for at once, in a fleet of few hosts.
const pagesOfHost = 16

// fetchPages calls take with the pages of hosts, in no order. Servers before 2.11 would search all other messages for the next page, so these
// are asked for the latest message of each page's subject: a host numbers its pages from 0 on.
func (l *link) fetchPages(ctx context.Context, hosts []string, last uint64, take func([]stored) error) error {
	if hasBatches(l.nc.ConnectedServerVersion()) {
		return l.fetch(ctx, span{1, last, fleet.PagesSubject}, take)
	}
	var batch []stored
	for some := range slices.Chunk(hosts, l.batch) {
		step := min(max(l.batch/len(some), 1), pagesOfHost)
		page := func(host string, number int) get {
			return get{stream: streamName, last: fleet.PageSubject(host, number)}
		}
		var first []get
		for i := range step * len(some) {
			first = append(first, page(some[i/step], i%step))
		}
		g, err := l.newGets(len(first))
		if err != nil {
			return err
		}
		read := make([]int, len(first))
		err = g.each(ctx, first, func(i int, s stored, ok bool) (*get, error) {
			if !ok {
				return nil, nil
			}
			if batch = append(batch, s); len(batch) == fetchBatch {
				if err := take(batch); err != nil {
					return nil, err
				}
				batch = nil
			}
			read[i]++
			if number := i%step + step*read[i]; number < fleet.MaxPages {
				q := page(some[i/step], number)
				return &q, nil
			}
			return nil, nil
		})
		g.end()
		if err != nil {
			return err
		}
	}
	if len(batch) == 0 {
		return nil
	}
	return take(batch)
}

// part is a part of the numbers.
type part struct {
	next, last uint64   // what is not read yet
	found      []stored // in what is
	none       bool     // there are no messages from next on, a server says
}

// fetchNumbers reads a span in this many parts, and asks no more after most messages. It returns the messages up to a number without a gap, even
// after an error, and the next number; over says that there are no more messages. mean is how many of the numbers in all parts there are for a
// message, those of the gap included: where messages are dense again, the caller asks for fewer at once.
func (l *link) fetchNumbers(ctx context.Context, what span, parts, most int) (batch []stored, next uint64, over bool, mean uint64, err error) {
	g, err := l.newGets(parts)
	if err != nil {
		return nil, 0, false, 0, err
	}
	defer g.end()
	var all []part
	var first []get
	ask := func(seq uint64) get { return get{stream: streamName, Seq: seq, Subjects: what.subjects} }
	step := (what.last-what.first)/uint64(parts) + 1
	for left := what; ; left.first += step {
		first = append(first, ask(left.first))
		if left.last-left.first < step {
			all = append(all, part{next: left.first, last: left.last})
			break
		}
		all = append(all, part{next: left.first, last: left.first + step - 1})
	}
	found := 0
	err = g.each(ctx, first, func(i int, s stored, ok bool) (*get, error) {
		p := &all[i]
		switch {
		case !ok:
			p.none = true
			return nil, nil
		case s.seq > p.last:
			p.next = p.last + 1
			return nil, nil
		case s.seq < p.next:
			return nil, errUnasked
		}
		p.found, p.next = append(p.found, s), s.seq+1
		if found++; p.next > p.last || found >= most {
			return nil, nil
		}
		q := ask(p.next)
		return &q, nil
	})
	seen := uint64(0)
	for i := range all {
		seen += min(all[i].next, all[i].last+1) - first[i].Seq
	}
	mean = seen / uint64(max(found, 1))
	for i := range all {
		p := &all[i]
		batch = append(batch, p.found...)
		if p.none { // unless another server knows of more
			over = !slices.ContainsFunc(all[i+1:], func(q part) bool { return len(q.found) > 0 })
		}
		if p.next <= p.last {
			return batch, p.next, over, mean, err
		}
	}
	return batch, what.last + 1, false, mean, err
}
