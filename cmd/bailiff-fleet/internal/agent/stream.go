package agent

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bailiff/policy/fleet"
	"bailiff/units/hub"
)

// Bounds of the stream. A ban takes 400 bytes.
const (
	// maxAge is when the hub removes a message without a time to live of its own (any before nats-server 2.11). A ban that lasts longer is
	// sent again before.
	maxAge         = 31 * 24 * time.Hour
	maxStreamBytes = 256 << 20
	maxMessage     = max(fleet.MaxPayload, fleet.MaxPage) + 1024 // with subject and headers
	maxShortBytes  = 8 << 20
)

// streams are the latest message about each ban, the roster, and summaries of failures. What the hub stores, it republishes with its
// number. The roster has a stream of its own, since it is much larger than what hosts may send. Summaries need no storage, but only a
// stream carries them from one host's account to the others.
func streams(replicas int, ttl bool) []jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: streamName, Description: "bans of the hosts of a bailiff fleet", Subjects: []string{"ban.*.*.*"},
		Storage: jetstream.FileStorage, Replicas: replicas, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
		MaxMsgs: -1, MaxMsgsPerSubject: 1, MaxAge: maxAge, MaxBytes: maxStreamBytes, MaxMsgSize: maxMessage,
		AllowDirect: true, DenyDelete: true, AllowMsgTTL: ttl,
		RePublish: &jetstream.RePublish{Source: ">", Destination: republished + ">"},
	}
	r := c
	r.Name, r.Description, r.Subjects = rosterStream, "hosts of a bailiff fleet, signed by an operator", []string{hub.Subject}
	r.Discard, r.MaxMsgs = jetstream.DiscardNew, 1 // only a roster replaces a roster
	r.MaxAge, r.MaxBytes, r.MaxMsgSize, r.AllowMsgTTL = 0, 4*hub.MaxRoster, hub.MaxRoster+maxMessage, false
	s := c
	s.Name, s.Description, s.Subjects = shortStream, "what hosts of a bailiff fleet say to each other and nobody has to keep", []string{"count.*", "ask.*.*", "tell.*.*"}
	s.Storage, s.MaxAge, s.MaxBytes, s.MaxMsgSize, s.AllowMsgTTL = jetstream.MemoryStorage, time.Minute, maxShortBytes, fleet.MaxSummary+1024, false
	return []jetstream.StreamConfig{c, r, s}
}

// ErrNotReady is in the error of MakeStream if a server of the hub answers, but does nothing yet: it has just started, or most of the
// hub's servers have to find each other first.
var ErrNotReady = errors.New("it is not ready")

// notReady are the codes of JetStream's errors "no suitable peers for placement", "system temporarily unavailable" and "server can not
// handle request" (it is not the leader).
var notReady = []jetstream.ErrorCode{10005, 10008, 10009}

// MakeStream creates or updates the streams of a hub and stores the roster, unless it has a newer one. It retries until ctx ends, since the
// hub may be starting. The text says what was done.
func MakeStream(ctx context.Context, h *hub.Admin) (string, error) {
	m, err := newMaker(h)
	if err != nil {
		return "", err
	}
	defer m.nc.Close()
	return m.try(ctx)
}

// KeepStream does what MakeStream does, within wait, and then creates again what a hub loses, until ctx ends: nats-server can lose streams that
// several servers have just created, and somebody may delete them. Streams that exist are not changed any more, since a server with another
// version of bailiff would change them back. log gets what was done.
func KeepStream(ctx context.Context, h *hub.Admin, wait time.Duration, log func(string)) error {
	m, err := newMaker(h)
	if err != nil {
		return err
	}
	defer m.nc.Close()
	m.log = log
	first, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	said, err := m.try(first)
	if err != nil {
		return err
	}
	log(said)
	m.keep = true
	for failed := ""; ; {
		sleep(ctx, checkEvery+rand.N(checkEvery)) // not all servers of a hub at the same time
		said, err := m.look(ctx)
		const lost = "the hub has lost streams or the list of hosts"
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && said != "":
			log(lost + "; now: " + said)
			failed = ""
		case err != nil && err.Error() != failed:
			failed = err.Error()
			log(lost + ": " + failed + "; trying again until it has them")
		}
	}
}

// checkEvery is how often KeepStream looks, at most.
const checkEvery = 5 * time.Second

// maker makes the streams of a hub.
type maker struct {
	hub *hub.Admin
	nc  *nats.Conn
	js  jetstream.JetStream

	roster hub.Sealed // the newest one that the hub's file or the hub has had
	serial uint64     // of it
	file   uint64     // serial number of that of the hub's file
	trust  *hub.Trust // who may sign the next one

	log     func(string) // nil: not kept
	keep    bool         // only create what is missing
	missing bool         // at the latest look
}

func newMaker(h *hub.Admin) (*maker, error) {
	r, trust, err := h.Trust.Open(h.Fleet, &h.Roster)
	if err != nil {
		return nil, err
	}
	nc, err := Connect("bailiff-fleet stream", h.Servers, h.CA, h.NKey, nats.ReconnectErrHandler(func(*nats.Conn, error) {}))
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &maker{hub: h, nc: nc, js: js, roster: h.Roster, serial: r.Serial, file: r.Serial, trust: trust}, nil
}

// try makes the streams until that succeeds or ctx ends.
func (m *maker) try(ctx context.Context) (said string, failed error) {
	for {
		if m.nc.IsConnected() {
			if said, failed = m.make(ctx); failed == nil {
				return said, nil
			}
		}
		select {
		case <-ctx.Done():
			if failed == nil {
				failed = m.nc.LastError()
			}
			if failed == nil {
				failed = errors.New("it does not answer")
			}
			var a *jetstream.APIError
			if m.nc.IsConnected() && (errors.Is(failed, context.DeadlineExceeded) || errors.As(failed, &a) && slices.Contains(notReady, a.ErrorCode)) {
				failed = fmt.Errorf("%w: %w", ErrNotReady, failed)
			}
			return "", fmt.Errorf("the hub %v: %w", m.hub.Servers, failed)
		case <-time.After(firstWait):
		}
	}
}

// look makes again what was missing at the look before, too, and says what was done, if anything. nats-server may still be removing the files
// of a stream that has just been deleted: they would be those of the new one.
func (m *maker) look(ctx context.Context) (said string, err error) {
	m.clean(ctx)
	before := m.missing
	if m.missing = m.lost(ctx); !m.missing || !before {
		return "", nil
	}
	if said, err = m.make(ctx); err == nil {
		m.missing = false
	}
	return said, err
}

// lost reports whether the hub says that it has no such stream, or no roster. A hub that does not answer has lost nothing.
func (m *maker) lost(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	for _, name := range []string{streamName, rosterStream, shortStream} {
		s, err := m.js.Stream(ctx, name)
		if err == nil && name == rosterStream {
			_, err = m.stored(ctx, s)
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrMsgNotFound) {
			return true
		}
	}
	return false
}

// clean deletes consumers of the bans. Hosts of this version need none, those of earlier ones need one while they read. A hub that was set up by
// an earlier version lets hosts create others: as many as there may be, and some that have the hub publish bans under any subject.
func (m *maker) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	s, err := m.js.Stream(ctx, streamName)
	if err != nil || s.CachedInfo().State.Consumers == 0 {
		return
	}
	var names []string
	for c := range s.ListConsumers(ctx).Info() {
		if c.Config.DeliverSubject != "" || c.Config.Durable != "" || time.Since(c.Created) > longestRead {
			names = append(names, c.Name)
		}
	}
	for _, name := range names { // those that remain are deleted at the next look
		if err := s.DeleteConsumer(ctx, name); err != nil {
			return
		}
	}
	if len(names) > 0 && m.log != nil {
		m.log(fmt.Sprintf("deleted %d consumers that a host has created; bailiff fleet publish, then bailiff fleet hub on the hub's servers, prevent these", len(names)))
	}
}

// longestRead is how long a host of an earlier version may take to read everything.
const longestRead = 10 * time.Minute

// ensure creates a stream, or updates it if its configuration differs. An update without changes would make the server claim, after its
// next start, that the stream was just created; all hosts would read all of it.
func (m *maker) ensure(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := m.js.Stream(ctx, c.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return m.js.CreateStream(ctx, c)
	}
	if err != nil || m.keep {
		return s, err
	}
	is := s.CachedInfo().Config
	want := is // with what the server adds
	want.Description, want.Subjects, want.Storage, want.Replicas, want.Retention, want.Discard = c.Description, c.Subjects, c.Storage, c.Replicas, c.Retention, c.Discard
	want.MaxMsgs, want.MaxMsgsPerSubject, want.MaxAge, want.MaxBytes, want.MaxMsgSize = c.MaxMsgs, c.MaxMsgsPerSubject, c.MaxAge, c.MaxBytes, c.MaxMsgSize
	want.AllowDirect, want.DenyDelete, want.AllowMsgTTL, want.RePublish = c.AllowDirect, c.DenyDelete, c.AllowMsgTTL, c.RePublish
	if reflect.DeepEqual(want, is) {
		return s, nil
	}
	return m.js.UpdateStream(ctx, c)
}

// make makes all streams and stores the roster, once.
func (m *maker) make(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	said := ""
	var roster jetstream.Stream
	for _, c := range streams(m.hub.Replicas, hasBatches(m.nc.ConnectedServerVersion())) { // both since 2.11
		s, err := m.ensure(ctx, c)
		if err != nil {
			return "", fmt.Errorf("stream %s: %w", c.Name, err)
		}
		switch c.Name {
		case rosterStream:
			roster = s
		case streamName:
			said = fmt.Sprintf("stream %s: %d messages", c.Name, s.CachedInfo().State.Msgs)
		}
	}
	m.clean(ctx)
	there, err := m.stored(ctx, roster)
	none := errors.Is(err, jetstream.ErrMsgNotFound)
	if err != nil && !none {
		return "", err
	}
	info, err := roster.Info(ctx)
	if err != nil {
		return "", err
	}
	if info.State.Msgs > 1 || info.State.Msgs > 0 && none { // others, which a host had the hub publish
		if err := roster.Purge(ctx); err != nil {
			return "", fmt.Errorf("stream %s: %w", rosterStream, err)
		}
		there = false
	}
	said = fmt.Sprintf("%s, roster %d", said, m.serial)
	if m.serial > m.file {
		said += " (newer than that of the file)"
	}
	if there {
		return said, nil
	}
	msg := &nats.Msg{Subject: hub.Subject, Data: m.roster.Payload, Header: nats.Header{hub.SignatureHeader: {base64.StdEncoding.EncodeToString(m.roster.Signature)}}}
	if _, err := m.js.PublishMsg(ctx, msg); err != nil {
		return "", fmt.Errorf("store the roster: %w", err)
	}
	return said + " stored", nil
}

// stored reports whether the hub holds the newest roster that is known. A newer one becomes that. One that no operator has signed is none,
// whatever its number.
func (m *maker) stored(ctx context.Context, s jetstream.Stream) (bool, error) {
	latest, err := s.GetLastMsgForSubject(ctx, hub.Subject)
	if err != nil {
		return false, err
	}
	signature, err := base64.StdEncoding.DecodeString(header(latest.Header, hub.SignatureHeader))
	if err != nil {
		return false, nil
	}
	its := hub.Sealed{Payload: latest.Data, Signature: signature}
	r, trust, err := m.trust.Open(m.hub.Fleet, &its)
	if err != nil || r.Serial < m.serial {
		return false, nil
	}
	m.roster, m.serial, m.trust = its, r.Serial, trust
	return true, nil
}
