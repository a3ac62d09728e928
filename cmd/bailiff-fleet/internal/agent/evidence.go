package agent

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/policy/bucket"
	"bailiff/policy/fleet"
	"bailiff/units/control"
	"bailiff/units/hub"
)

const (
	// asksRate is how many questions of one host are answered in a minute, asksOfAll of all hosts. An answer reads the journal.
	asksRate, asksOfAll = 6, 30

	// answerTime is how long the daemon may take to answer. The asking host waits five seconds.
	answerTime = 5 * time.Second

	answering = 2                // answers that are prepared at a time
	openTime  = 30 * time.Second // after which a question is forgotten
	maxAsked  = 64
)

// exchangeEvidence asks other hosts for the lines of their bans when the daemon wants them, and answers the questions of others,
// until ctx ends.
func (a *Agent) exchangeEvidence(ctx context.Context) {
	type open struct {
		host string
		at   time.Time
	}
	asked, of, all := make(map[string]open), make(map[string]*bucket.Bucket), bucket.Bucket{}
	busy := make(chan struct{}, answering)
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-a.asks:
			p, err := netip.ParsePrefix(e.Prefix)
			if err != nil || !fleet.ValidHost(e.Text) {
				continue
			}
			for id, x := range asked {
				if time.Since(x.at) > openTime {
					delete(asked, id)
				}
			}
			if len(asked) < maxAsked {
				asked[e.ID] = open{e.Text, time.Now()}
				q := &fleet.Question{ID: e.ID, At: time.Now().UnixMicro(), Prefix: p, Jail: e.Jail}
				m, err := fleet.SignQuestion(a.Member.Host, e.Text, q, a.key)
				a.say(m, err)
			}
		case s := <-a.evidence:
			m := s.message()
			if fleet.IsAnswer(s.subject) {
				from, v, err := fleet.OpenAnswer(a.Member.Host, &m, a.roster.Load().of)
				if x, ok := asked[answerID(v)]; err != nil || !ok || x.host != from {
					a.rejected.Add(1)
					continue
				}
				delete(asked, v.ID)
				go a.passOn(ctx, from, v)
				continue
			}
			now := time.Now()
			from, q, err := fleet.OpenQuestion(a.Member.Host, &m, now.UnixMicro(), a.roster.Load().of)
			if err != nil {
				a.rejected.Add(1)
				continue
			}
			b := of[from]
			if b == nil {
				if len(of) > fleet.MaxHosts { // those that are no longer in the roster
					clear(of)
				}
				b = new(bucket.Bucket)
				of[from] = b
			}
			refusal := ""
			if b.Take(bucket.PerMinute(asksRate), now) > 0 || all.Take(bucket.PerMinute(asksOfAll), now) > 0 {
				refusal = fmt.Sprintf("asked too often: %d times a minute is the limit", asksRate)
			} else {
				select {
				case busy <- struct{}{}:
					go func() {
						defer func() { <-busy }()
						a.answer(ctx, from, q)
					}()
				default:
					refusal = "busy with other questions"
				}
			}
			if refusal != "" {
				m, err := fleet.SignAnswer(a.Member.Host, from, fleet.Answer{ID: q.ID, Error: refusal}, a.key)
				a.say(m, err)
			}
		}
	}
}

func answerID(v *fleet.Answer) string {
	if v == nil {
		return ""
	}
	return v.ID
}

// answer has the daemon read the lines of a ban and sends them.
func (a *Agent) answer(ctx context.Context, to string, q *fleet.Question) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	r := fleet.Answer{ID: q.ID}
	var v *control.FleetEvidence
	err := control.ErrNotRunning
	if a.daemonUp.Load() { // a call could start a daemon that was stopped
		v, err = a.Daemon.FleetEvidence(ctx, "", q.Prefix.String(), q.Jail)
	}
	switch {
	case err != nil && !a.daemonUp.Load():
		r.Error = "the daemon of the host does not run"
	case err != nil && control.AsError(err).Status == 404:
		r.Error = "the host no longer has this ban"
	case err != nil:
		r.Error = "the daemon of the host does not answer"
	default:
		r.Withheld = v.Withheld
		for _, l := range v.Lines[max(0, len(v.Lines)-fleet.MaxAnswerLines):] {
			r.Lines = append(r.Lines, fleet.AnswerLine{At: l.Time.UnixMicro(), Unit: fleet.ASCII(l.Unit), Text: fleet.ASCII(l.Message)})
		}
	}
	m, err := fleet.SignAnswer(a.Member.Host, to, r, a.key)
	a.say(m, err)
}

// passOn hands the daemon an answer.
func (a *Agent) passOn(ctx context.Context, from string, v *fleet.Answer) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	e := control.FleetEvidence{ID: v.ID, Host: from, Withheld: v.Withheld, Error: v.Error, Lines: []control.FleetLine{}}
	for _, l := range v.Lines {
		e.Lines = append(e.Lines, control.FleetLine{Time: time.UnixMicro(l.At).UTC(), Unit: l.Unit, Message: l.Text})
	}
	if a.daemonUp.Load() { // as above
		_, _ = a.Daemon.AnswerFleet(ctx, e) // the asker may have gone
	}
}

// say publishes a message. What does not arrive is not answered.
func (a *Agent) say(m *fleet.Message, err error) {
	if err == nil {
		err = a.link.nc.PublishMsg(&nats.Msg{Subject: m.Subject, Data: m.Payload, Header: nats.Header{hub.SignatureHeader: {base64.StdEncoding.EncodeToString(m.Signature)}}})
	}
	if err != nil && a.link.connected() {
		a.Log(fmt.Sprintf("a question to another host, or an answer, was not sent: %v", err))
	}
}
