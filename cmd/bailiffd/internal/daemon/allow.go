package daemon

import (
	"context"
	"net/netip"
	"time"

	"bailiff/cmd/internal/nlhelper"
	"bailiff/journal/audit"
	"bailiff/policy/allow"
	"bailiff/policy/filter"
	"bailiff/policy/operator"
	"bailiff/policy/state"
	"bailiff/units/logind"
	"bailiff/units/operators"
)

// askLogind is how often logind is asked while an operator's session is open, for what it does not tell by itself.
const askLogind = time.Minute

// operatorWatch follows who is logged in and may mend this host. Nil: the configuration wants nobody to be spared for that.
type operatorWatch struct {
	*operator.Tracker
	from  chan []operator.Session
	watch *logind.Watcher
	asked time.Time
	stop  context.CancelFunc
}

// tryOperators follows operators, and tells when that is not possible.
func (d *daemon) tryOperators(now time.Time) {
	if err := d.followOperators(now); err != nil {
		d.problem(audit.KindError, "operators", "operators: "+err.Error())
	} else {
		d.solved("operators")
	}
}

// followOperators begins, changes or ends that as the configuration says.
func (d *daemon) followOperators(now time.Time) error {
	c := d.conf.Allow.Operators
	if !c.Enabled {
		d.leaveOperators()
		return nil
	}
	o := operators.Options(c)
	if d.ops != nil {
		d.leaveLogind()
		d.ops.Configure(o, now.UnixMicro())
	} else {
		t, err := operators.New(c)
		if err != nil {
			return err
		}
		d.ops = &operatorWatch{Tracker: t}
	}
	var ctx context.Context
	ctx, d.ops.stop = context.WithCancel(context.Background())
	d.ops.from = make(chan []operator.Session)
	d.ops.watch = logind.New(func(user string, uid int64) bool { _, ok := o.Member(user, uid); return ok })
	go d.ops.watch.Run(ctx, d.ops.from)
	return nil
}

func (d *daemon) leaveLogind() { d.ops.stop() }

func (d *daemon) leaveOperators() {
	if d.ops != nil {
		d.leaveLogind()
		d.ops = nil
	}
}

// sessions is where logind's word comes from; it blocks for ever when nobody listens.
func (d *daemon) sessions() <-chan []operator.Session {
	if d.ops == nil {
		return nil
	}
	return d.ops.from
}

// loggedIn takes logind's word.
func (d *daemon) loggedIn(open []operator.Session) {
	now := time.Now()
	if d.ops == nil {
		return
	}
	if d.ops.Logind(open, now.UnixMicro()); d.ops.Due(now.UnixMicro()) {
		d.refreshAllow(now)
	}
}

// loggedBy takes the journal's word. due says that the allow list must be made anew before the entry is judged.
func (d *daemon) loggedBy(e *filter.Entry) (due bool) {
	if d.ops == nil {
		return false
	}
	d.ops.Entry(e)
	return d.ops.Due(e.Realtime)
}

// tickAllow does what time brings to the allow list.
func (d *daemon) tickAllow(now time.Time) {
	stale := now.Sub(d.selfChecked) > selfEvery
	if stale && d.helper != nil {
		d.askSelf()
	}
	if d.ops != nil {
		d.ops.Expire(now.UnixMicro())
		stale = stale || d.ops.Stale()
		if d.ops.Open() && now.Sub(d.ops.asked) >= askLogind {
			d.ops.asked = now
			d.ops.watch.Ask()
		}
	}
	if d.lookAtLists() || stale {
		d.refreshAllow(now)
	}
}

// lookAtLists notices published lists that were fetched since.
func (d *daemon) lookAtLists() (changed bool) {
	notes, changed := d.lists.Look(d.conf.Allow.Lists)
	for _, n := range notes {
		k := audit.KindAllowList
		if n.Refused {
			k = audit.KindAllowListRefused
		}
		d.aud.Event(k, n.Text, audit.Field{Name: audit.FieldList, Value: n.Name})
	}
	return changed
}

// refreshAllow builds the allow list of configuration, published lists, run-time entries, operators' sessions and the
// host's own addresses.
func (d *daemon) refreshAllow(now time.Time) []state.Ban {
	d.selfChecked = now
	var entries []allow.Entry
	entries = append(entries, d.conf.Allow.Entries...)
	entries = append(entries, d.lists.Entries()...)
	entries = append(entries, d.led.Allowed()...)
	if d.ops != nil {
		entries = append(entries, d.ops.Entries()...)
	}
	var addrs []netip.Addr
	if d.conf.Allow.Self {
		if addrs = d.self.addrs; d.helper == nil {
			var err error
			if addrs, err = nlhelper.Addresses(); err != nil {
				d.problem(audit.KindError, "own addresses", "own addresses: "+err.Error())
			} else {
				d.solved("own addresses")
			}
		}
	}
	entries = append(entries, allow.SelfEntries(addrs)...) // loopback and link-local are allowed whatever allow.self says
	l := allow.NewList(entries)
	lifted := d.eng.SetAllow(l, now.UnixMicro())
	for i := range lifted {
		d.released(lifted[i:i+1], allowedBy(l, lifted[i].Prefix, now), "")
	}
	return lifted
}

// allowedBy is the reason why a prefix is not banned.
func allowedBy(l *allow.List, p netip.Prefix, now time.Time) string {
	text := "allowed"
	if hit := l.Overlapping(p, now.UnixMicro()); len(hit) > 0 {
		text += " by " + hit[0].Where()
		if c := hit[0].Comment; c != "" {
			text += ": " + c
		}
	}
	return text
}
