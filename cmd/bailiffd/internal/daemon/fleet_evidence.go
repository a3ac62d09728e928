package daemon

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"bailiff/cmd/internal/redact"
	"bailiff/journal"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/policy/fleet"
	"bailiff/policy/state"
	"bailiff/units/control"
)

const (
	// evidenceTime bounds another host's time to answer. An operator waits.
	evidenceTime = 5 * time.Second

	maxQuestions = 16 // at a time
)

// questions are the open questions to other hosts.
type questions struct {
	mu   sync.Mutex
	open map[string]question // by ID
}

type question struct {
	host   string
	answer chan control.FleetEvidence
}

func (q *questions) ask(host string) (id string, answer chan control.FleetEvidence, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.open) >= maxQuestions {
		return "", nil, false
	}
	if q.open == nil {
		q.open = make(map[string]question)
	}
	id, answer = rand.Text(), make(chan control.FleetEvidence, 1)
	q.open[id] = question{host, answer}
	return id, answer, true
}

// take removes a question.
func (q *questions) take(id string) (x question, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	x, ok = q.open[id]
	delete(q.open, id)
	return x, ok
}

// FleetEvidence returns the lines that led to a ban: of this host, or of another one, which bailiff-fleet asks.
func (a *controlAPI) FleetEvidence(ctx context.Context, host string, p netip.Prefix, jail string) (*control.FleetEvidence, error) {
	if host == "" {
		return a.ownEvidence(ctx, p, jail)
	}
	found, err := ask(ctx, a, func(d *daemon) (found struct {
		ban    bool
		reason string
	}) {
		found.ban = slices.ContainsFunc(d.others.bans.Of(p), func(n fleet.News) bool { return n.Host == host && n.Jail == jail })
		if s := d.others.agent; s == nil || time.Since(s.Heard) > agentSilent {
			found.reason = "bailiff-fleet does not run on this host"
		} else if s.Hub == "" {
			found.reason = "the hub of the fleet cannot be reached"
		}
		return found
	})
	switch {
	case err != nil:
		return nil, err
	case !found.ban:
		return nil, &control.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("host %s has told of no ban of %s by its jail %s", host, p, diag.Line(jail, 64)), Hint: "bailiff why shows the bans of other hosts"}
	case found.reason != "":
		return &control.FleetEvidence{Host: host, Error: found.reason}, nil
	}
	id, answer, ok := a.questions.ask(host)
	if !ok {
		return &control.FleetEvidence{Host: host, Error: "too many questions to other hosts wait for an answer"}, nil
	}
	defer a.questions.take(id)
	a.d.hub.send(control.Event{Kind: "ask", Time: time.Now(), ID: id, Prefix: p.String(), Jail: jail, Text: host})
	late := time.NewTimer(evidenceTime)
	defer late.Stop()
	select {
	case v := <-answer:
		return &v, nil
	case <-late.C:
		return &control.FleetEvidence{Host: host, Error: fmt.Sprintf("the host has not answered within %d seconds", evidenceTime/time.Second)}, nil
	case <-ctx.Done():
		return nil, errBusy
	}
}

// AnswerFleet takes another host's answer. If nobody waits for it, it is dropped.
func (a *controlAPI) AnswerFleet(_ context.Context, v control.FleetEvidence) (*control.FleetEvidence, error) {
	x, ok := a.questions.take(v.ID)
	if !ok || x.host != v.Host {
		return nil, &control.Error{Status: http.StatusNotFound, Message: "nobody waits for this answer"}
	}
	v.ID, v.Error = "", diag.Line(v.Error, fleet.MaxAnswerText)
	for i := range v.Lines {
		l := &v.Lines[i]
		l.Unit, l.Message = diag.Line(l.Unit, fleet.MaxAnswerText), diag.Line(l.Message, fleet.MaxAnswerText)
	}
	x.answer <- v
	return &v, nil
}

// ownEvidence returns the lines of a ban of this host, redacted as for third parties.
func (a *controlAPI) ownEvidence(ctx context.Context, p netip.Prefix, jail string) (*control.FleetEvidence, error) {
	type facts struct {
		ban    state.Ban
		ok     bool
		filter *filter.Filter
		match  *filter.Matcher
		own    []string
	}
	x, err := ask(ctx, a, func(d *daemon) (x facts) {
		x.ban, x.ok = d.state.Get(p, jail)
		if j, ok := d.eng.Jail(jail); ok && x.ok {
			x.filter = j.Filter
			x.match, _ = j.Filter.Mode(j.Mode)
		}
		for _, addr := range d.self.current() {
			x.own = append(x.own, addr.String())
		}
		return x
	})
	switch {
	case err != nil:
		return nil, err
	case !x.ok:
		return nil, &control.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("no ban of %s by jail %s", p, diag.Line(jail, 64))}
	case x.match == nil: // by hand, say
		return &control.FleetEvidence{}, nil
	}
	if name, err := os.Hostname(); err == nil && name != "localhost" {
		x.own = append(x.own, name)
	}
	free, err := slot(ctx, a.searches)
	if err != nil {
		return nil, err
	}
	defer free()
	found := journal.Finder{Source: a.d.source}
	defer found.Close()
	cursors := evidenceOf(ctx, a.d.source, []control.WhyBan{{Ban: controlBan(&x.ban)}})[x.ban.ID()]
	v, clean := &control.FleetEvidence{}, redact.New(x.own)
	for _, l := range lines(ctx, &found, cursors[max(0, len(cursors)-fleet.MaxAnswerLines):]) {
		var h filter.Hit
		if l.Missing != "" || !x.match.MatchMessage([]byte(l.Message), &h) {
			continue
		}
		text, ok := clean.Message(x.filter, h.Pattern.Name, []byte(l.Message))
		if !ok {
			continue
		}
		v.Lines = append(v.Lines, control.FleetLine{Time: l.Time.UTC(), Unit: clean.Unit(l.Unit), Message: string(text)})
	}
	v.Withheld = len(cursors) - len(v.Lines)
	return v, nil
}
