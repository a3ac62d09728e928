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

func (a *controlAPI) Allowed(ctx context.Context) ([]control.AllowEntry, error) {
	return ask(ctx, a, func(d *daemon) []control.AllowEntry { return d.origins().all(d.eng.Allow().Entries()) })
}

func (a *controlAPI) AllowWhy(ctx context.Context, p netip.Prefix) (*control.AllowWhy, error) {
	return ask(ctx, a, func(d *daemon) *control.AllowWhy {
		now := time.Now().UnixMicro()
		l, from := d.eng.Allow(), d.origins()
		hit := l.Overlapping(p, now)
		return &control.AllowWhy{
			Address: audit.Address(p), Allowed: len(hit) > 0 && hit[0].Prefix.Bits() <= p.Bits(), // wider ones come first
			Entries: from.all(hit), Expired: from.all(l.Expired(p, now)),
		}
	})
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
		return nil, control.BadRequest("to stop banning, disable the jails or stop the service", "%s is every address", p)
	}
	var until time.Time
	if req.Duration != "" {
		long, err := config.ParseDuration(req.Duration)
		if err != nil {
			return nil, control.BadRequest("write 10m, 48h, 4w or forever", "duration: %v", err)
		}
		if long != config.Forever {
			until = time.Now().Add(long)
		}
	}
	return carryOut(ctx, a, func(d *daemon) (*control.AllowResult, error) {
		entry := allow.Entry{Prefix: p, Origin: allow.OriginRuntime, Comment: req.Comment, Until: until}
		if !d.state.Allow(entry) {
			return nil, &control.Error{Status: http.StatusConflict, Message: "the run-time allow list is full", Hint: "write the addresses to a file in /etc/bailiff/allow.d"}
		}
		lifted := d.refreshAllow(time.Now())
		d.aud.Allow(audit.AllowEvent{Prefix: p, Until: until, Comment: req.Comment, By: by.User, Lifted: len(lifted)})
		return &control.AllowResult{Entry: d.origins().entry(entry), Lifted: len(lifted)}, nil
	})
}

func (a *controlAPI) Disallow(ctx context.Context, by control.Peer, p netip.Prefix) (*control.Removed, error) {
	return carryOut(ctx, a, func(d *daemon) (*control.Removed, error) {
		if !d.state.Disallow(p) {
			if e, ok := d.eng.Allow().Contains(p.Addr(), time.Now().UnixMicro()); ok {
				return nil, &control.Error{Status: http.StatusConflict, Message: fmt.Sprintf("%s was not allowed at run time: it is covered by %s in %s", p, e.Prefix, e.Where()), Hint: "change it there, then run bailiff reload"}
			}
			return nil, &control.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("%s is not on the allow list", p)}
		}
		d.refreshAllow(time.Now())
		d.aud.Disallow(audit.AllowEvent{Prefix: p, By: by.User})
		return &control.Removed{Removed: 1}, nil
	})
}
