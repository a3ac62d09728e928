package agent

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"bailiff/units/hub"
)

// reads reports what a host is given that reads the whole hub, by address. It has the reader's fetched messages, not the pages.
func (h *testHub) reads(name string) (map[string]bool, error) {
	h.t.Helper()
	r := h.reader(name)
	defer r.link.nc.Close()
	r.seed = maphash.MakeSeed()
	r.readAll()
	given, ended := map[string]bool{}, make(chan error, 1)
	go func() { ended <- r.catchUp(h.t.Context(), h.t.Context()) }()
	for {
		select {
		case <-r.seen:
		case news := <-r.toDaemon:
			for i := range news {
				given[news[i].Prefix.Addr().String()] = true
			}
		case err := <-ended:
			for len(r.toDaemon) > 0 {
				for _, n := range <-r.toDaemon {
					given[n.Prefix.Addr().String()] = true
				}
			}
			return given, err
		}
	}
}

// TestMemberConsumers: a member cannot create consumers in the hub, with which it could have the hub's own account publish. What is left of
// hubs where it could goes away: one that replaces the list of hosts by other messages, and as many as there may be.
func TestMemberConsumers(t *testing.T) {
	h := newHub(t, "a", "b", "liar")
	h.publish("a", h.numbered(1))
	js := h.jetStream()
	config := func(name, deliver string) *jetstream.ConsumerConfig {
		return &jetstream.ConsumerConfig{Name: name, Durable: name, DeliverSubject: deliver, AckPolicy: jetstream.AckNonePolicy}
	}
	create := func(nc *nats.Conn, prefix string, c *jetstream.ConsumerConfig) error {
		ask, err := json.Marshal(map[string]any{"stream_name": streamName, "config": c})
		if err != nil {
			t.Fatal(err)
		}
		m, err := nc.Request(prefix+".CONSUMER.CREATE."+streamName+"."+c.Name, ask, time.Minute)
		if err == nil && strings.Contains(string(m.Data), `"error"`) {
			err = errors.New(string(m.Data))
		}
		return err
	}
	liar := h.client("liar")
	defer liar.Close()
	if err := create(liar, apiPrefix, config("push", hub.Subject)); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a member creates a consumer: %v", err)
	}

	// As a hub's own user, for what members could do earlier.
	m := h.keeper()
	admin := h.connect(h.admin.NKey)
	old := streams(1, false)[1] // as it was
	old.Discard, old.MaxMsgs = jetstream.DiscardOld, 0
	if _, err := js.UpdateStream(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if err := create(admin, "$JS.API", config("push", hub.Subject)); err != nil {
		t.Fatal(err)
	}
	for i := range 63 {
		if err := create(admin, "$JS.API", config(fmt.Sprint("pull", i), "")); err != nil {
			t.Fatal(err)
		}
	}
	var l []*nats.Msg
	for i := range 3000 {
		l = append(l, &nats.Msg{Subject: fmt.Sprint("ban.liar.sshd.x", i), Data: make([]byte, 3000)})
	}
	h.publish("liar", l...)
	roster, err := js.Stream(t.Context(), rosterStream)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if _, err := roster.GetLastMsgForSubject(t.Context(), hub.Subject); !errors.Is(err, jetstream.ErrMsgNotFound) {
			return fmt.Errorf("the roster is still there: %v", err)
		}
		return nil
	})
	for range 2 {
		said, err := m.look(t.Context())
		t.Logf("%q", said)
		if err != nil {
			t.Fatal(err)
		}
	}
	bans, err := js.Stream(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	if i, err := bans.Info(t.Context()); err != nil || i.State.Consumers != 0 {
		t.Errorf("%d consumers are left: %v", i.State.Consumers, err)
	}
	if i, err := roster.Info(t.Context()); err != nil || i.State.Msgs != 1 {
		t.Errorf("%d messages are with the list of hosts: %v", i.State.Msgs, err)
	}
	if given, err := h.reads("b"); err != nil || !given["192.0.0.1"] {
		t.Errorf("a new host is given %v: %v", given, err)
	}

	// A stream that is as it should be does not give up the list of hosts, whatever comes.
	if _, err := MakeStream(t.Context(), h.admin); err != nil {
		t.Fatal(err)
	}
	if err := create(admin, "$JS.API", config("push", hub.Subject)); err != nil {
		t.Fatal(err)
	}
	h.publish("liar", l[:100]...)
	eventually(t, func() error {
		c, err := js.PushConsumer(t.Context(), streamName, "push")
		if err != nil {
			return err
		}
		if i, err := c.Info(t.Context()); err != nil || i.NumPending > 0 {
			return fmt.Errorf("not all is delivered: %v", err)
		}
		return nil
	})
	if i, err := roster.Info(t.Context()); err != nil || i.State.Msgs != 1 {
		t.Errorf("%d messages are with the list of hosts: %v", i.State.Msgs, err)
	}
	h.roster.Serial++
	if said := h.store(h.sign(), h.trust); !strings.HasSuffix(said, "roster 2 stored") {
		t.Error(said)
	}
}

// TestStatusMessages: messages of a member that look like the hub's own answers keep nobody from reading the others.
func TestStatusMessages(t *testing.T) {
	h := newHub(t, "a", "b", "liar")
	h.publish("a", h.numbered(1))
	for i, status := range []string{"100", "204", "404", "408", "409", "503"} {
		h.publish("liar", &nats.Msg{Subject: fmt.Sprint("ban.liar.sshd.x", i), Header: nats.Header{"Status": {status}, "Description": {"Consumer Deleted"}}})
	}
	h.publish("a", h.numbered(2))
	given, err := h.reads("b")
	if err != nil || !given["192.0.0.1"] || !given["192.0.0.2"] {
		t.Errorf("a new host is given %v: %v", given, err)
	}
	b := h.reader("b")
	defer b.link.nc.Close()
	n := 0
	err = b.link.fetch(t.Context(), span{1, 8, ">"}, func(l []stored) error {
		for i := range l {
			n++
			b.pos, b.mark = l[i].seq, markOf(&l[i])
			if same, err := b.sameStream(t.Context()); err != nil || same != (b.mark.signature != "") {
				t.Errorf("message %d is still there: %v, %v", b.pos, same, err)
			}
		}
		return nil
	})
	if err != nil || n != 8 {
		t.Errorf("%d messages are read: %v", n, err)
	}
}

// hpub publishes messages with headers as they are, which nats.go would not write, and waits until the server has them.
func (h *testHub) hpub(host string, headers map[string]string) {
	h.t.Helper()
	must := func(err error) {
		h.t.Helper()
		if err != nil {
			h.t.Fatal(err)
		}
	}
	plain, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", h.server.Port))
	must(err)
	defer plain.Close()
	must(plain.SetDeadline(time.Now().Add(time.Minute)))
	line, err := bufio.NewReaderSize(plain, 1<<16).ReadString('\n')
	must(err)
	var info struct{ Nonce string }
	must(json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info))
	pool, err := hub.Pool(h.admin.CA)
	must(err)
	c := tls.Client(plain, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13})
	user, err := nkeys.FromSeed([]byte(h.members[host].NKey))
	must(err)
	public, err := user.PublicKey()
	must(err)
	signature, err := user.Sign([]byte(info.Nonce))
	must(err)
	fmt.Fprintf(c, "CONNECT {\"verbose\":false,\"nkey\":%q,\"sig\":%q,\"headers\":true,\"protocol\":1}\r\n", public, base64.RawURLEncoding.EncodeToString(signature))
	for subject, block := range headers {
		fmt.Fprintf(c, "HPUB %s %d %d\r\n%sx\r\n", subject, len(block), len(block)+1, block)
	}
	fmt.Fprint(c, "PING\r\n")
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		must(err)
		if strings.HasPrefix(line, "PONG") {
			return
		} else if strings.HasPrefix(line, "-ERR") {
			h.t.Fatal(line)
		}
	}
}

// TestHiddenHeaders: headers of a member that hide the hub's own, which come last, keep nobody from reading the messages of others.
func TestHiddenHeaders(t *testing.T) {
	const number = "Nats-Stream: BANS\r\nNats-Subject: ban.a.sshd.x\r\nNats-Sequence: 1000000\r\nNats-Time-Stamp: 2026-12-01T00:00:00Z\r\n"
	for name, block := range map[string]string{
		"no colon":   "NATS/1.0\r\nnothing\r\n\r\n",
		"end":        "NATS/1.0\r\nStatus: 204\r\nNats-Num-Pending: 0\r\n\r\nX: y\r\n\r\n",
		"inline":     "NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\nX: y\r\n\r\n",
		"none":       "NATS/1.0 404 Message Not Found\r\n\r\nX: y\r\n\r\n",
		"number":     "NATS/1.0\r\n" + number + "\r\nX: y\r\n\r\n",
		"blanks":     "NATS/1.0\r\n" + number + strings.Repeat("a:b\r\n", 300) + "\r\nX: y\r\n\r\n",
		"no version": "nothing\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t, "a", "b", "liar")
			for i := range 3 {
				h.publish("a", h.numbered(2*i))
				h.hpub("liar", map[string]string{fmt.Sprint("ban.liar.sshd.x", i): block})
				h.publish("a", h.numbered(2*i+1))
			}
			h.hpub("liar", map[string]string{"ban.liar.sshd.last": block})
			given, err := h.reads("b")
			if err != nil || len(given) != 6 {
				t.Errorf("a new host is given %v: %v", given, err)
			}
		})
	}
}
