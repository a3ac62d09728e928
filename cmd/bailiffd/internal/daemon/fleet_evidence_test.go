package daemon

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"bailiff/policy/fleet"
	"bailiff/units/control"
)

// TestFleetEvidence: lines of an own ban are shown without names; lines of another host's ban come from that host or not at all.
func TestFleetEvidence(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.configure("jails: {sshd: {}}\nallow: {files: []}\nfleet: {hosts: {web1: a}}\n")
	b.echo = true
	b.start()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.failAs("hunter2", "203.0.113.7", 5)
	b.announced("203.0.113.7/32")
	v, err := b.client.FleetEvidence(ctx, "", "203.0.113.7", "sshd")
	if err != nil || len(v.Lines) != 5 || v.Withheld != 0 || v.Host != "" || v.Lines[0].Unit != "ssh.service" || v.Lines[0].Time.IsZero() {
		t.Fatalf("%+v, %v", v, err)
	}
	for _, l := range v.Lines {
		if !strings.HasPrefix(l.Message, "Failed password for <user> from 203.0.113.7 port ") {
			t.Errorf("%q", l.Message)
		}
	}
	for _, q := range [][2]string{{"203.0.113.9", "sshd"}, {"203.0.113.7", "postfix"}, {"203.0.113.0/24", "sshd"}} {
		if _, err := b.client.FleetEvidence(ctx, "", q[0], q[1]); control.AsError(err).Status != http.StatusNotFound {
			t.Errorf("%v: %v", q, err)
		}
	}
	if _, err := b.client.Ban(ctx, control.BanRequest{Prefixes: []string{"203.0.113.10"}, Reason: "secret"}); err != nil {
		t.Fatal(err)
	}
	if v, err := b.client.FleetEvidence(ctx, "", "203.0.113.10", "manual"); err != nil || len(v.Lines) != 0 {
		t.Errorf("%+v, %v", v, err)
	}

	// Another host's.
	until := time.Now().Add(time.Hour)
	if _, err := b.client.ApplyFleet(ctx, control.FleetNews{News: []control.FleetBan{{Host: "web1", Prefix: "203.0.113.20", Jail: "sshd", Since: time.Now(), Until: &until, Failures: 5}}}); err != nil {
		t.Fatal(err)
	}
	ask := func() (*control.FleetEvidence, error) {
		return b.client.FleetEvidence(ctx, "web1", "203.0.113.20", "sshd")
	}
	if v, err := ask(); err != nil || v.Error != "bailiff-fleet does not run on this host" {
		t.Errorf("%+v, %v", v, err)
	}
	agent := func(hub string) {
		if _, err := b.client.SetFleetAgent(ctx, control.FleetAgent{Hub: hub, Since: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	agent("")
	if v, err := ask(); err != nil || v.Error != "the hub of the fleet cannot be reached" {
		t.Errorf("%+v, %v", v, err)
	}
	agent("tls://192.0.2.1:4222")
	for _, q := range [][3]string{{"web2", "203.0.113.20", "sshd"}, {"web1", "203.0.113.20", "postfix"}, {"web1", "203.0.113.21", "sshd"}} {
		if _, err := b.client.FleetEvidence(ctx, q[0], q[1], q[2]); control.AsError(err).Status != http.StatusNotFound {
			t.Errorf("%v: %v", q, err)
		}
	}
	if v, err := ask(); err != nil || v.Error != "the host has not answered within 5 seconds" || v.Host != "web1" {
		t.Errorf("%+v, %v", v, err)
	}
	asked, ready := make(chan *control.Event, 4), make(chan bool)
	go b.client.Events(ctx, func(e *control.Event) error {
		switch e.Kind {
		case "status":
			close(ready)
		case "ask":
			asked <- e
		}
		return nil
	})
	<-ready
	type answer struct {
		v   *control.FleetEvidence
		err error
	}
	got := make(chan answer, 1)
	go func() { v, err := ask(); got <- answer{v, err} }()
	e := <-asked
	if e.Text != "web1" || e.Prefix != "203.0.113.20/32" || e.Jail != "sshd" || e.ID == "" {
		t.Errorf("%+v", e)
	}
	reply := control.FleetEvidence{ID: "another", Host: "web1", Lines: []control.FleetLine{{Message: "x"}}}
	if _, err := b.client.AnswerFleet(ctx, reply); control.AsError(err).Status != http.StatusNotFound {
		t.Error(err)
	}
	reply.ID, reply.Lines[0].Message, reply.Error = e.ID, "a\x1b[2Jb\u202e\nc", strings.Repeat("e", 1000)
	if _, err := b.client.AnswerFleet(ctx, reply); err != nil {
		t.Fatal(err)
	}
	x := <-got
	if x.err != nil || x.v.Host != "web1" || x.v.ID != "" || len(x.v.Lines) != 1 || len(x.v.Error) > fleet.MaxAnswerText+3 || strings.ContainsAny(x.v.Lines[0].Message, "\x1b\n") {
		t.Errorf("%+v, %v", x.v, x.err)
	}
	if _, err := b.client.AnswerFleet(ctx, reply); control.AsError(err).Status != http.StatusNotFound {
		t.Errorf("answered twice: %v", err)
	}
	// An answer in the name of a host that was not asked is ignored.
	go func() { v, err := ask(); got <- answer{v, err} }()
	reply.ID, reply.Host = (<-asked).ID, "web2"
	if _, err := b.client.AnswerFleet(ctx, reply); control.AsError(err).Status != http.StatusNotFound {
		t.Error(err)
	}
	if x := <-got; x.err != nil || !strings.HasPrefix(x.v.Error, "the host has not answered") {
		t.Errorf("%+v, %v", x.v, x.err)
	}
}
