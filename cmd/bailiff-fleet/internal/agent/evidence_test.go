package agent

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/policy/fleet"
	"bailiff/units/control"
	"bailiff/units/hub"
)

// witness is a fake daemon with lines for its bans, and questions of its own.
type witness struct {
	*fakeDaemon
	lines   []control.FleetLine
	answers []control.FleetEvidence
	asked   int
}

func newWitness(t *testing.T, hosts ...string) *witness {
	d := &witness{fakeDaemon: stoppedDaemon(t, rules(hosts...))}
	d.fakeDaemon.answers = d
	d.start()
	return d
}

func (d *witness) FleetEvidence(_ context.Context, host string, p netip.Prefix, jail string) (*control.FleetEvidence, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if host != "" || p.String() != "192.0.2.1/32" || jail != "sshd" {
		return nil, &control.Error{Status: 404, Message: "no ban"}
	}
	return &control.FleetEvidence{Lines: d.lines, Withheld: 1}, nil
}

func (d *witness) AnswerFleet(_ context.Context, v control.FleetEvidence) (*control.FleetEvidence, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers = append(d.answers, v)
	return &v, nil
}

// wants has the daemon ask a host.
func (d *witness) wants(id, host, prefix string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.send(control.Event{Kind: "ask", ID: id, Prefix: prefix, Jail: "sshd", Text: host})
}

// got waits for an answer.
func (d *witness) got(id string) (v control.FleetEvidence) {
	d.t.Helper()
	eventually(d.t, func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, v = range d.answers {
			if v.ID == id {
				return nil
			}
		}
		return fmt.Errorf("no answer to %s: %+v", id, d.answers)
	})
	return v
}

// TestEvidence: a host answers another host's questions within a limit; nobody else can answer in its place, and an answer counts once.
func TestEvidence(t *testing.T) {
	names := []string{"a", "b", "c"}
	h := newHub(t, names...)
	a, b := newWitness(t, names...), newWitness(t, names...)
	at := time.Now().UTC().Truncate(time.Microsecond)
	for i := range 12 {
		b.lines = append(b.lines, control.FleetLine{Time: at, Unit: "ssh.service", Message: fmt.Sprintf("line %d \x1b[31m\n%s", i, strings.Repeat("x", 300))})
	}
	agent, _ := h.run("a", a.fakeDaemon)
	h.run("b", b.fakeDaemon)
	for _, d := range []*witness{a, b} {
		eventually(t, func() error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.agent.Hub == "" || len(d.subs) == 0 || d.serial == 0 { // without a roster it answers nobody
				return fmt.Errorf("not connected, or without a roster: %+v", d.agent)
			}
			return nil
		})
	}
	a.wants("q1", "b", "192.0.2.1/32")
	v := a.got("q1")
	if v.Host != "b" || v.Error != "" || len(v.Lines) != fleet.MaxAnswerLines || v.Withheld != 1 || !v.Lines[9].Time.Equal(at) || v.Lines[9].Unit != "ssh.service" ||
		!strings.HasPrefix(v.Lines[9].Message, "line 11 ?[31m?xxx") || len(v.Lines[9].Message) != fleet.MaxAnswerText {
		t.Errorf("%+v", v)
	}
	a.wants("q2", "b", "192.0.2.2/32")
	if v := a.got("q2"); v.Error != "the host no longer has this ban" || len(v.Lines) != 0 {
		t.Errorf("%+v", v)
	}

	// c was taken over, and a asks it. c's client sees the questions of a to c, and none of those to b.
	nc := h.client("c")
	asked := make(chan *nats.Msg, 16)
	if _, err := nc.Subscribe("fleet.>", func(m *nats.Msg) {
		if (fleet.IsQuestion(m.Subject[6:]) || fleet.IsAnswer(m.Subject[6:])) && m.Header.Get("Nats-Stream") != "" { // not what it sends itself
			asked <- m
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.lines = nil
	b.mu.Unlock()
	a.wants("q3", "b", "192.0.2.1/32")
	a.got("q3")
	answer := func(signer, from, id string, texts ...string) *nats.Msg {
		v := fleet.Answer{ID: id}
		for _, s := range texts {
			v.Lines = append(v.Lines, fleet.AnswerLine{At: 1, Text: s})
		}
		m, err := fleet.SignAnswer(from, "a", v, h.members[signer].Key.Private())
		if err != nil {
			t.Fatal(err)
		}
		return &nats.Msg{Subject: m.Subject, Data: m.Payload, Header: nats.Header{hub.SignatureHeader: {base64.StdEncoding.EncodeToString(m.Signature)}}}
	}
	send := func(m *nats.Msg) {
		t.Helper()
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	b.mu.Lock()
	b.lines = []control.FleetLine{{Time: at, Message: "true"}}
	b.mu.Unlock()
	// Answers in b's name, before b can know the question, by every way there is.
	for _, m := range []*nats.Msg{answer("c", "b", "q4", "forged"), answer("c", "c", "q4", "forged")} {
		send(m)
		for _, subject := range []string{"fleet.tell.a.b", "hub.tell.a.b", "ban.c.tell.b", "count.c", "tell.a.c"} {
			x := *m
			x.Subject = subject
			send(&x)
		}
		x := *m
		x.Subject, x.Reply = "tell.a.c", "tell.a.b"
		send(&x)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	a.wants("q4", "b", "192.0.2.1/32")
	if v := a.got("q4"); len(v.Lines) != 1 || v.Lines[0].Message != "true" {
		t.Errorf("%+v", v)
	}
	a.wants("q5", "c", "192.0.2.1/32")
	var m *nats.Msg
	select {
	case m = <-asked:
	case <-time.After(time.Minute):
		t.Fatal("c is not asked")
	}
	if m.Subject != "fleet.ask.c.a" {
		t.Errorf("c sees %s", m.Subject)
	}
	rejected := agent.rejected.Load()
	lines := make([]string, 11)
	for _, bad := range []*nats.Msg{
		answer("c", "c", "q1", "another question's"), answer("b", "c", "q5", "another's key"), answer("c", "c", "q5", lines...),
		answer("c", "c", "q5", strings.Repeat("x", 251)), answer("c", "c", "q5", "escape \x1b[2J"), answer("c", "c", "q5", "two\nlines"), answer("c", "c", "q5", "\u202e"),
	} {
		send(bad)
	}
	huge := answer("c", "c", "q5", "x")
	huge.Data = append(huge.Data, make([]byte, 4000)...)
	huge.Subject = "fleet." + huge.Subject // the hub would refuse it
	holder := h.connect(h.admin.NKey)
	if err := errors.Join(holder.PublishMsg(huge), holder.FlushTimeout(time.Minute)); err != nil {
		t.Fatal(err)
	}
	good := answer("c", "c", "q5", "true")
	send(good)
	send(good) // sent again
	if v := a.got("q5"); v.Host != "c" || len(v.Lines) != 1 || v.Lines[0].Message != "true" {
		t.Errorf("%+v", v)
	}
	a.wants("q6", "c", "192.0.2.1/32")
	<-asked
	send(good) // sent once more
	eventually(t, func() error {
		if n := agent.rejected.Load() - rejected; n < 9 {
			return fmt.Errorf("%d rejected", n)
		}
		return nil
	})
	a.mu.Lock()
	for _, v := range a.answers {
		if v.ID == "q6" || v.ID == "q5" && v.Lines[0].Message != "true" {
			t.Errorf("%+v", v)
		}
	}
	a.mu.Unlock()

	// c asks b. Old questions and questions of others are not answered, and answers are limited.
	ask := func(signer, from, id string, at time.Time) *nats.Msg {
		m, err := fleet.SignQuestion(from, "b", &fleet.Question{ID: id, At: at.UnixMicro(), Prefix: netip.MustParsePrefix("192.0.2.1/32"), Jail: "sshd"}, h.members[signer].Key.Private())
		if err != nil {
			t.Fatal(err)
		}
		return &nats.Msg{Subject: m.Subject, Data: m.Payload, Header: nats.Header{hub.SignatureHeader: {base64.StdEncoding.EncodeToString(m.Signature)}}}
	}
	b.mu.Lock()
	b.asked = 0
	b.mu.Unlock()
	send(ask("c", "c", "old", time.Now().Add(-time.Hour)))
	send(ask("c", "a", "forged", time.Now()))
	send(ask("a", "c", "forged", time.Now()))
	answered, refused := 0, 0
	for i := range 20 {
		send(ask("c", "c", fmt.Sprint("n", i), time.Now()))
		select {
		case m = <-asked:
		case <-time.After(time.Minute):
			t.Fatalf("no answer to question %d", i)
		}
		_, v, err := fleet.OpenAnswer("c", &fleet.Message{Subject: strings.TrimPrefix(m.Subject, "fleet."), Payload: m.Data, Signature: decoded(m)}, agent.roster.Load().of)
		switch {
		case err != nil || v.ID != fmt.Sprint("n", i):
			t.Fatalf("%s: %+v, %v", m.Subject, v, err)
		case v.Error == "":
			answered++
		case strings.HasPrefix(v.Error, "asked too often"):
			refused++
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if answered < asksRate || answered > asksRate+1 || answered+refused != 20 || b.asked != answered {
		t.Errorf("%d answered, %d refused, %d asked of the daemon", answered, refused, b.asked)
	}
}

func decoded(m *nats.Msg) []byte {
	b, _ := base64.StdEncoding.DecodeString(m.Header.Get(hub.SignatureHeader))
	return b
}
