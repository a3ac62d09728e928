package agent

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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
	askAfter   = time.Second      // without a message, until the hub is asked whether there are more
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
// as fast as it can. It leaves nothing behind in the hub. What arrived of an interrupted batch is taken too: a slow line interrupts every
// long batch, so the next ones are shorter.
func (l *link) fetch(ctx context.Context, js jetstream.JetStream, what span, take func([]stored) error) error {
	fetch := l.fetchConsumer
	if hasBatches(l.nc.ConnectedServerVersion()) {
		fetch = l.fetchDirect
	}
	rest, err := fetch(ctx, js, what, l.batch, take)
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

// fetchDirect reads by batched direct gets (ADR-31), for which the hub keeps no state.
func (l *link) fetchDirect(ctx context.Context, _ jetstream.JetStream, what span, size int, take func([]stored) error) (rest []stored, err error) {
	inbox := nats.NewInbox()
	sub, err := l.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	for {
		ask, err := json.Marshal(struct {
			Seq   uint64 `json:"seq"`
			Batch int    `json:"batch"`
			Next  string `json:"next_by_subj"`
		}{what.first, size, what.subjects})
		if err != nil {
			return nil, err
		}
		if err := l.nc.PublishRequest(apiPrefix+".DIRECT.GET."+streamName, inbox, ask); err != nil {
			return nil, err
		}
		batch := make([]stored, 0, size)
		for {
			m, err := l.nextMsg(ctx, sub)
			if err != nil {
				return batch, fmt.Errorf("read from the hub: %w", err)
			}
			// The real end has neither subject nor data; a host can forge its status.
			if subject := header(m.Header, "Nats-Subject"); subject != "" {
				if len(batch) == 2*size {
					return nil, errors.New("the hub sends more than it was asked for")
				}
				batch = append(batch, storedOf(m, subject))
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
				return nil, fmt.Errorf("read from the hub: %s %s", status, header(m.Header, "Description"))
			}
			break
		}
	}
}

func (l *link) nextMsg(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, l.answerTime)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

// fetchConsumer reads with an ordered consumer, deleted at the end. The hub limits their number, so the caller tries again.
func (l *link) fetchConsumer(ctx context.Context, js jetstream.JetStream, what span, size int, take func([]stored) error) (rest []stored, err error) {
	asked, cancel := context.WithTimeout(ctx, l.answerTime)
	defer cancel()
	conf := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: what.first, InactiveThreshold: 30 * time.Second, MaxResetAttempts: 2}
	if what.subjects != ">" {
		conf.FilterSubjects = []string{what.subjects}
	}
	c, err := js.OrderedConsumer(asked, streamName, conf)
	if err != nil {
		return nil, fmt.Errorf("read from the hub: %w", err)
	}
	info := c.CachedInfo()
	if info != nil {
		defer func() {
			c, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTime)
			defer cancel()
			_ = js.DeleteConsumer(c, streamName, info.Name) // else the hub does it
		}()
		if info.NumPending == 0 {
			return nil, nil
		}
	}
	it, err := c.Messages(jetstream.PullMaxMessages(size))
	if err != nil {
		return nil, fmt.Errorf("read from the hub: %w", err)
	}
	defer it.Stop()
	batch := make([]stored, 0, size)
	next := func(wait time.Duration) (jetstream.Msg, error) {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		return it.Next(jetstream.NextContext(ctx))
	}
	last := uint64(0) // of the messages that this consumer was sent
	for {
		m, err := next(min(askAfter, l.answerTime))
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			// A message that was replaced after the hub had counted it never comes.
			asked, cancel := context.WithTimeout(ctx, l.answerTime)
			now, infoErr := c.Info(asked)
			cancel()
			if infoErr == nil && now.NumPending == 0 && now.Delivered.Consumer == last {
				if len(batch) > 0 {
					return nil, take(batch)
				}
				return nil, nil
			}
			m, err = next(l.answerTime)
		}
		if err != nil {
			return batch, fmt.Errorf("read from the hub: %w", err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return batch, fmt.Errorf("read from the hub: %w", err)
		}
		last = meta.Sequence.Consumer
		h := m.Headers()
		batch = append(batch, stored{subject: m.Subject(), seq: meta.Sequence.Stream, sent: meta.Timestamp, payload: m.Data(), signature: header(h, hub.SignatureHeader)})
		end := meta.NumPending == 0 || meta.Sequence.Stream >= what.last
		if len(batch) == size || end {
			if err := take(batch); err != nil {
				return nil, err
			}
			batch = make([]stored, 0, size)
		}
		if end {
			return nil, nil
		}
	}
}
