package daemon

import (
	"context"
	"errors"
	"net/http"
	"time"

	"bailiff/firewall"
	"bailiff/units/control"
)

// Firewall compares what the firewall holds with what it should hold.
func (a *controlAPI) Firewall(ctx context.Context) (*control.Firewall, error) {
	f, r, err := a.inspect(ctx, inspectRequest{})
	if err != nil {
		return nil, err
	}
	if r.err != nil {
		f.OK, f.Intact, f.Error = false, false, r.err.Error()
		f.Looked, f.Seconds = r.at, r.took.Seconds()
		return f, nil
	}
	fill(f, r.before, r.at, r.took)
	return f, nil
}

// RepairFirewall makes the firewall hold what it should.
func (a *controlAPI) RepairFirewall(ctx context.Context, by control.Peer, force bool) (*control.FirewallRepair, error) {
	f, r, err := a.inspect(ctx, inspectRequest{repair: true, force: force, by: by.User})
	if err != nil {
		return nil, err
	}
	if r.err != nil {
		e := &control.Error{Status: http.StatusInternalServerError, Message: r.err.Error(), Hint: "see journalctl -u bailiff; the daemon tries again by itself"}
		var foreign *firewall.ForeignError
		var lack *firewall.UnsupportedError
		switch {
		case errors.As(r.err, &foreign):
			e.Status, e.Hint = http.StatusConflict, "look at it: if nobody needs it, bailiff firewall repair --force removes it"
		case errors.As(r.err, &lack):
			e.Hint = lack.Hint
		}
		return nil, e
	}
	out := &control.FirewallRepair{Added: r.change.Added, Removed: r.change.Removed, Refreshed: r.change.Refreshed, Repaired: r.change.Repaired, Evicted: r.evicted}
	if r.before != nil {
		before := *f
		fill(&before, r.before, r.at, r.took)
		out.Before = &before
	}
	f.OK, f.Error = true, ""
	fill(f, r.after, r.at, r.again)
	out.After = f
	return out, nil
}

// inspect sends a request to the firewall worker. One caller at a time: the full set of bans is large.
func (a *controlAPI) inspect(ctx context.Context, q inspectRequest) (*control.Firewall, *inspectResult, error) {
	select {
	case a.d.firewall.inspecting <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, errBusy
	}
	q.answer = make(chan inspectResult, 1)
	f := &control.Firewall{}
	if err := a.do(ctx, func() {
		q.want = a.d.firewall.wanted()
		f.FirewallStatus, f.Bans = a.d.firewall.status, len(q.want)
		a.d.firewall.worker.inspect(&q)
		if q.repair {
			a.d.blocks.reload()
		}
	}); err != nil {
		<-a.d.firewall.inspecting
		return nil, nil, err
	}
	select {
	case r := <-q.answer:
		<-a.d.firewall.inspecting
		return f, &r, nil
	case <-ctx.Done():
		go func() { <-q.answer; <-a.d.firewall.inspecting }() // the worker is still inspecting, and holds a full set
		return nil, nil, errBusy
	}
}

// fill copies an inspection into an answer.
func fill(f *control.Firewall, in *firewall.Inspection, at time.Time, took time.Duration) {
	f.Looked, f.Seconds, f.Intact = at, took.Seconds(), in.OK()
	part := func(p firewall.Object) control.FirewallPart {
		return control.FirewallPart{Name: p.Name, Want: p.Want, Present: p.Present, Problem: p.Problem, Foreign: p.Foreign}
	}
	f.Parts, f.Sets, f.Stopped = nil, nil, nil
	for _, p := range in.Objects {
		f.Parts = append(f.Parts, part(p))
	}
	for _, s := range in.Sets {
		c := control.FirewallSet{
			FirewallPart: part(s.Object), Scope: s.Scope, Bans: s.Want, Held: s.Have, Forever: s.Forever, Next: control.Moment(s.Next),
			Missing: prefixes(s.Missing), Unexpected: prefixes(s.Unexpected), WrongTimeout: prefixes(s.WrongTimeout),
		}
		if s.Counted {
			c.Packets, c.Bytes = &s.Packets, &s.Bytes
			f.Stopped = append(f.Stopped, control.Stopped{Set: s.Name, Scope: s.Scope, Packets: s.Packets, Bytes: s.Bytes})
		}
		f.Sets = append(f.Sets, c)
	}
}

func prefixes(p firewall.Prefixes) control.Prefixes {
	c := control.Prefixes{Count: p.N}
	for _, x := range p.Some {
		c.Some = append(c.Some, x.String())
	}
	return c
}

// stoppedLimit bounds how long status waits for counters.
const stoppedLimit = time.Second

// stopped reads the counters of a backend that has them. Errors are ignored: Verify reports what is wrong.
func stopped(ctx context.Context, be firewall.Backend) (l []control.Stopped) {
	ctx, cancel := context.WithTimeout(ctx, stoppedLimit)
	defer cancel()
	sums, _ := be.DropCounters(ctx)
	if sums != nil {
		l = []control.Stopped{}
	}
	for _, s := range sums {
		l = append(l, control.Stopped{Set: s.Set, Scope: s.Scope, Packets: s.Packets, Bytes: s.Bytes})
	}
	return l
}
