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

// header returns the last value of a header. A host can send headers with the names of the hub's own, which come after them.
func header(h nats.Header, name string) string {
	if v := h.Values(name); len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// storedOf reads what the hub says of a message in its headers.
func storedOf(m *nats.Msg, subject string) stored {
	s := stored{subject: subject, payload: m.Data, signature: header(m.Header, hub.SignatureHeader)}
	s.seq, _ = strconv.ParseUint(header(m.Header, "Nats-Sequence"), 10, 64)
	s.sent, _ = time.Parse(time.RFC3339Nano, header(m.Header, "Nats-Time-Stamp"))
	return s
}

// message is what its sender has signed. What is no base64 is no signature.
func (s *stored) message() fleet.Message {
	signature, _ := base64.StdEncoding.DecodeString(s.signature)
	return fleet.Message{Subject: s.subject, Payload: s.payload, Signature: signature}
}

// fetch calls take with the messages from sequence number first on whose subjects match, in batches, and returns at the last one. It
// leaves nothing behind in the hub.
func (l *link) fetch(ctx context.Context, js jetstream.JetStream, first uint64, subjects string, take func([]stored) error) error {
	if hasBatches(l.nc.ConnectedServerVersion()) {
		return l.fetchDirect(ctx, first, subjects, take)
	}
	return fetchConsumer(ctx, js, first, subjects, take)
}

// hasBatches reports whether a server knows direct gets of several messages: since 2.11. Earlier ones answer with one message, and
// no end.
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
func (l *link) fetchDirect(ctx context.Context, first uint64, subjects string, take func([]stored) error) error {
	inbox := nats.NewInbox()
	sub, err := l.nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	for {
		ask, err := json.Marshal(struct {
			Seq   uint64 `json:"seq"`
			Batch int    `json:"batch"`
			Next  string `json:"next_by_subj"`
		}{first, fetchBatch, subjects})
		if err != nil {
			return err
		}
		if err := l.nc.PublishRequest(apiPrefix+".DIRECT.GET."+streamName, inbox, ask); err != nil {
			return err
		}
		batch := make([]stored, 0, fetchBatch)
		for {
			m, err := nextMsg(ctx, sub)
			if err != nil {
				return fmt.Errorf("read from the hub: %w", err)
			}
			// The real end has neither subject nor data; a host can send the status of one.
			if subject := header(m.Header, "Nats-Subject"); subject != "" {
				if len(batch) == 2*fetchBatch {
					return errors.New("the hub sends more than it was asked for")
				}
				batch = append(batch, storedOf(m, subject))
				continue
			}
			status, pending := header(m.Header, "Status"), header(m.Header, "Nats-Num-Pending")
			if len(batch) > 0 {
				if err := take(batch); err != nil {
					return err
				}
				first = batch[len(batch)-1].seq + 1
			}
			switch {
			case status == "404" && len(batch) == 0, status == "204" && (pending == "0" || len(batch) == 0):
				return nil
			case status != "204":
				return fmt.Errorf("read from the hub: %s %s", status, header(m.Header, "Description"))
			}
			break
		}
	}
}

func nextMsg(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

// fetchConsumer reads by an ordered consumer that is gone at the end. The hub permits so many at a time: the caller tries again.
func fetchConsumer(ctx context.Context, js jetstream.JetStream, first uint64, subjects string, take func([]stored) error) error {
	asked, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	conf := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first, InactiveThreshold: 30 * time.Second, MaxResetAttempts: 2}
	if subjects != ">" {
		conf.FilterSubjects = []string{subjects}
	}
	c, err := js.OrderedConsumer(asked, streamName, conf)
	if err != nil {
		return fmt.Errorf("read from the hub: %w", err)
	}
	info := c.CachedInfo()
	if info != nil {
		defer func() {
			c, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTime)
			defer cancel()
			_ = js.DeleteConsumer(c, streamName, info.Name) // else the hub does it
		}()
		if info.NumPending == 0 {
			return nil
		}
	}
	it, err := c.Messages(jetstream.PullMaxMessages(fetchBatch))
	if err != nil {
		return fmt.Errorf("read from the hub: %w", err)
	}
	defer it.Stop()
	batch := make([]stored, 0, fetchBatch)
	for {
		m, err := it.Next(jetstream.NextMaxWait(fetchTime))
		if err != nil {
			return fmt.Errorf("read from the hub: %w", err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read from the hub: %w", err)
		}
		h := m.Headers()
		batch = append(batch, stored{subject: m.Subject(), seq: meta.Sequence.Stream, sent: meta.Timestamp, payload: m.Data(), signature: header(h, hub.SignatureHeader)})
		if len(batch) == fetchBatch || meta.NumPending == 0 {
			if err := take(batch); err != nil {
				return err
			}
			batch = make([]stored, 0, fetchBatch)
		}
		if meta.NumPending == 0 {
			return nil
		}
	}
}
