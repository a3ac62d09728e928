package daemon

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"bailiff/journal/audit"
	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/policy/operator"
	"bailiff/units/control"
)

func (a *controlAPI) Allowed(ctx context.Context) (l []control.AllowEntry, err error) {
	var entries []allow.Entry
	var from *origins
	err = a.do(ctx, func() { entries, from = a.d.eng.Allow().Entries(), a.d.origins() })
	if err != nil {
		return nil, err
	}
	return from.all(entries), nil
}

func (a *controlAPI) AllowWhy(ctx context.Context, p netip.Prefix) (*control.AllowWhy, error) {
	w := &control.AllowWhy{Address: audit.Address(p)}
	err := a.do(ctx, func() {
		now := time.Now().UnixMicro()
		l, from := a.d.eng.Allow(), a.d.origins()
		hit := l.Overlapping(p, now)
		w.Allowed = len(hit) > 0 && hit[0].Prefix.Bits() <= p.Bits() // wider ones come first
		w.Entries, w.Expired = from.all(hit), from.all(l.Expired(p, now))
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// origins is what is known about where allow entries come from.
type origins struct {
	now      time.Time
	files    []string // of the configuration
	lists    map[string]allow.Published
	sessions map[netip.Addr]operator.Session
}

func (d *daemon) origins() *origins {
	o := &origins{now: time.Now(), files: slices.Clone(d.conf.Files), lists: d.lists.Files(), sessions: make(map[netip.Addr]operator.Session)}
	if d.ops != nil {
		for _, s := range d.ops.Sessions() {
			if _, ok := o.sessions[s.Addr]; !ok { // the oldest one, as in Entries
				o.sessions[s.Addr] = s
			}
		}
	}
	return o
}

func (o *origins) all(entries []allow.Entry) []control.AllowEntry {
	l := make([]control.AllowEntry, 0, len(entries))
	for _, e := range entries {
		l = append(l, o.entry(e))
	}
	return l
}

func (o *origins) entry(e allow.Entry) control.AllowEntry {
	c := control.AllowEntry{Prefix: audit.Address(e.Prefix), Origin: e.Where(), Source: e.Origin, Comment: e.Comment}
	c.Until, c.Expired = control.Moment(e.Until), !e.Until.IsZero() && !o.now.Before(e.Until)
	switch e.Origin {
	case allow.OriginSelf, allow.OriginRuntime, allow.OriginFleet:
	case operator.Origin:
		if s, ok := o.sessions[e.Prefix.Addr()]; ok && c.Until == nil {
			c.Session = &control.AllowSession{User: s.User, Why: s.Why, PID: s.PID, TTY: s.TTY, ID: s.ID, Since: time.UnixMicro(s.Since)}
		}
	default:
		c.Source = "file"
		if slices.Contains(o.files, e.Origin) {
			c.Source = "config"
		} else if p, ok := o.lists[e.Origin]; ok {
			c.Source, c.List, c.URLs = "list", p.Name, p.URLs
		}
	}
	return c
}

func (a *controlAPI) Allow(ctx context.Context, by control.Peer, req control.AllowRequest, p netip.Prefix) (*control.AllowResult, error) {
	if p.Bits() == 0 {
		return nil, badRequest("to stop banning, disable the jails or stop the service", "%s is every address", p)
	}
	var until time.Time
	if req.Duration != "" {
		long, err := config.ParseDuration(req.Duration)
		if err != nil {
			return nil, badRequest("write 10m, 48h, 4w or forever", "duration: %v", err)
		}
		if long != config.Forever {
			until = time.Now().Add(long)
		}
	}
	r := &control.AllowResult{}
	err := a.change(ctx, func() error {
		d := a.d
		entry := allow.Entry{Prefix: p, Origin: allow.OriginRuntime, Comment: req.Comment, Until: until}
		if !d.state.Allow(entry) {
			return &control.Error{Status: http.StatusConflict, Message: "the run-time allow list is full", Hint: "write the addresses to a file in /etc/bailiff/allow.d"}
		}
		lifted := d.refreshAllow(time.Now())
		d.aud.Allow(audit.AllowEvent{Prefix: p, Until: until, Comment: req.Comment, By: by.User, Lifted: len(lifted)})
		r.Lifted = len(lifted)
		r.Entry = d.origins().entry(entry)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (a *controlAPI) Disallow(ctx context.Context, by control.Peer, p netip.Prefix) (*control.Removed, error) {
	err := a.change(ctx, func() error {
		d := a.d
		if !d.state.Disallow(p) {
			if e, ok := d.eng.Allow().Contains(p.Addr(), time.Now().UnixMicro()); ok {
				return &control.Error{Status: http.StatusConflict, Message: fmt.Sprintf("%s was not allowed at run time: it is covered by %s in %s", p, e.Prefix, e.Where()), Hint: "change it there, then run bailiff reload"}
			}
			return &control.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("%s is not on the allow list", p)}
		}
		d.refreshAllow(time.Now())
		d.aud.Disallow(audit.AllowEvent{Prefix: p, By: by.User})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &control.Removed{Removed: 1}, nil
}
