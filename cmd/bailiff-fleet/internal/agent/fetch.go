package agent

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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

// header returns the last value of a header. A host can forge the hub's headers, but the hub's own come last, if they are there (intact).
func header(h nats.Header, name string) string {
	if v := h.Values(name); len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// mostHeaders is how many headers a message has at most, with those of the hub; hosts send one or two.
const mostHeaders = 32

// intact reports whether a message has the headers that the hub sent, all of them. nats.go reads them up to the first blank line and drops
// those that it does not understand. A host may put such a line into a message, and so hide the hub's headers, which come last, behind others.
// The size of what was sent shows it: the hub's take a hundred bytes, and the blanks that a host may save are one for each header.
func intact(m *nats.Msg) bool {
	const begin, blank, end = "NATS/1.0", ": ", "\r\n"
	n, size := 0, len(begin+end+end)
	for name, values := range m.Header {
		for _, v := range values {
			n++
			size += len(name + blank + v + end)
		}
	}
	sent := m.Size() - len(m.Subject) - len(m.Reply) - len(m.Data)
	if len(m.Header) == 0 || n > mostHeaders {
		return false
	}
	if sent == size {
		return true
	}
	// A status may be in the first line.
	for _, name := range []string{"Status", "Description"} {
		if v := m.Header.Values(name); len(v) > 0 {
			size -= len(name+blank+end) - len(" ")
		}
	}
	return sent == size
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
// up to the size of a batch. With Last, it is for the latest message of that subject. With whole, it is the call that answers in JSON, in which
// no header of a message can hide its number; the server that leads the stream answers it, and needs more time.
type get struct {
	stream string
	whole  bool

	Seq      uint64 `json:"seq,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	Subjects string `json:"next_by_subj,omitempty"`
	Last     string `json:"last_by_subj,omitempty"`
}

func (g *gets) ask(number int, q *get) (err error) {
	subject, data := apiPrefix+".DIRECT.GET."+q.stream, []byte(nil)
	if q.whole {
		subject = apiPrefix + ".STREAM.MSG.GET." + q.stream
	}
	if q.Last != "" && !q.whole {
		subject += "." + q.Last
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

// held returns the message of an intact answer that is one. Others have neither subject nor data; a host can forge their status.
func held(m *nats.Msg) (s stored, ok bool) {
	subject := header(m.Header, "Nats-Subject")
	return storedOf(m, subject), subject != ""
}

// heldWhole returns the message of an answer in JSON, without its signature: nobody accepts it, it only has a number.
func heldWhole(m *nats.Msg) (s stored, ok bool, err error) {
	var a struct {
		Message struct {
			Subject string
			Seq     uint64
			Time    time.Time
			Data    []byte
		}
		Error struct {
			Code        int
			Description string
		}
	}
	if len(m.Data) == 0 && header(m.Header, "Status") == "503" {
		return s, false, errNoCall
	} else if err := json.Unmarshal(m.Data, &a); err != nil {
		return s, false, fmt.Errorf("read from the hub: %w", err)
	}
	switch {
	case a.Error.Code == http.StatusNotFound:
		return s, false, nil
	case a.Error.Code != 0:
		return s, false, fmt.Errorf("read from the hub: %d %s", a.Error.Code, a.Error.Description)
	}
	return stored{subject: a.Message.Subject, seq: a.Message.Seq, sent: a.Message.Time, payload: a.Message.Data}, true, nil
}

// errAnswer is an answer of the hub that is neither a message nor the end.
func errAnswer(m *nats.Msg) error {
	return fmt.Errorf("read from the hub: %s %s", header(m.Header, "Status"), header(m.Header, "Description"))
}

// each asks questions that have one answer, all at once. It calls take with each answer, which is a message if there is one; take returns the
// next question in its place, or nil.
func (g *gets) each(ctx context.Context, questions []get, take func(i int, s stored, ok bool) (*get, error)) error {
	open, asked := len(questions), make([]*get, len(questions))
	for i := range questions {
		asked[i] = &questions[i]
		if err := g.ask(i, asked[i]); err != nil {
			return err
		}
	}
	for open > 0 {
		m, i, err := g.next(ctx)
		if err != nil {
			return err
		}
		if i < 0 || i >= len(asked) || asked[i] == nil {
			return errUnasked
		}
		var s stored
		var ok bool
		switch {
		case asked[i].whole:
			if s, ok, err = heldWhole(m); err != nil {
				return err
			}
		case !intact(m):
			again := *asked[i]
			again.whole, asked[i] = true, &again
			if err := g.ask(i, &again); err != nil {
				return err
			}
			continue
		default:
			if s, ok = held(m); !ok && header(m.Header, "Status") != "404" {
				return errAnswer(m)
			}
		}
		q, err := take(i, s, ok)
		if err == nil && q != nil {
			err = g.ask(i, q)
		}
		if err != nil {
			return err
		}
		if asked[i] = q; q == nil {
			open--
		}
	}
	return nil
}

// errNoCall: an earlier version has set up the hub, which does not permit the call.
var errNoCall = errors.New("a message in the hub hides its number, and those behind it cannot be read; run bailiff fleet publish, then bailiff fleet hub on the hub's servers")

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
	for what.first <= what.last {
		batch, end, err := l.fetchBatch(ctx, get{stream: streamName, Seq: what.first, Batch: size, Subjects: what.subjects})
		if err != nil {
			return batch, err
		}
		if len(batch) > 0 {
			if err := take(batch); err != nil {
				return nil, err
			}
			what.first = batch[len(batch)-1].seq + 1
		}
		if end == nil { // around the message, or the messages, with a question for each
			part := what
			part.last = min(what.last, what.first+uint64(size)-1)
			if rest, err := l.fetchParts(ctx, part, size, take); err != nil {
				return rest, err
			}
			what.first = part.last + 1
			continue
		}
		switch status, pending := header(end.Header, "Status"), header(end.Header, "Nats-Num-Pending"); {
		case status == "404" && len(batch) == 0, status == "204" && (pending == "0" || len(batch) == 0):
			return nil, l.ended(ctx, what)
		case status != "204":
			return nil, errAnswer(end)
		}
	}
	return nil, nil
}

// fetchBatch returns the messages of a batch and the answer that ends it, or those before a message whose headers hide its number, and nil. It
// does the same after the one message of a server before 2.11, which may answer in place of one that is behind.
func (l *link) fetchBatch(ctx context.Context, q get) (batch []stored, end *nats.Msg, err error) {
	g, err := l.newGets(2*q.Batch + 1)
	if err != nil {
		return nil, nil, err
	}
	defer g.end()
	if err := g.ask(0, &q); err != nil {
		return nil, nil, err
	}
	for next := q.Seq; ; {
		m, _, err := g.next(ctx)
		if err != nil || !intact(m) {
			return batch, nil, err
		}
		s, ok := held(m)
		if !ok {
			return batch, m, nil
		}
		if len(batch) == 2*q.Batch || s.seq < next {
			return nil, nil, errUnasked
		}
		batch, next = append(batch, s), s.seq+1
		if header(m.Header, "Nats-Num-Pending") == "" { // it does not know of batches
			return batch, nil, nil
		}
	}
}

// ended returns an error if there is another message of a span. The server that has answered may be behind the one that leads the stream, and
// miss messages that the hub has.
func (l *link) ended(ctx context.Context, what span) error {
	if what.first > what.last {
		return nil
	}
	s, ok, err := l.get(ctx, get{stream: streamName, whole: true, Seq: what.first, Subjects: what.subjects})
	switch {
	case errors.Is(err, errNoCall): // nobody can tell
		return nil
	case err == nil && ok && s.seq <= what.last:
		return errors.New("read from the hub: the server lacks messages that others have; trying again")
	}
	return err
}

// maxWidth bounds the numbers that fetchParts divides, where most messages are gone.
const maxWidth = 1 << 32

// fetchParts reads from servers before 2.11, which answer each question with one message. It divides the next numbers into parts and asks for
// the first message of each part at once, then for the one after it.
func (l *link) fetchParts(ctx context.Context, what span, size int, take func([]stored) error) (rest []stored, err error) {
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
		if over || next == what.first {
			what.first = next
			return nil, l.ended(ctx, what)
		}
		what.first = next
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
			return get{stream: streamName, Last: fleet.PageSubject(host, number)}
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
