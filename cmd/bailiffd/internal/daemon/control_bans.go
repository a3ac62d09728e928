package daemon

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"bailiff/journal/audit"
	"bailiff/policy/config"
	"bailiff/policy/state"
	"bailiff/units/control"
)

func banKey(b *state.Ban) string { return b.Prefix.String() + " " + b.Jail }

func controlBan(b *state.Ban) control.Ban {
	return control.Ban{ID: b.ID(), Prefix: b.Prefix.String(), Jail: b.Jail, Since: time.UnixMicro(b.Since), Until: control.Moment(timeOf(b.Until)),
		Ports: strings.ReplaceAll(b.Scope, ";", ","), Failures: b.Failures, Count: b.Count, Reason: b.Reason, By: b.By}
}

// jailManual is the jail of bans by hand that name none. They block all traffic.
const jailManual = "manual"

// Shortest prefix lengths of a ban by hand without force.
const (
	minBits4 = 8
	minBits6 = 32
)

func (a *controlAPI) Ban(ctx context.Context, by control.Peer, req control.BanRequest, ps []netip.Prefix) ([]control.Ban, error) {
	for _, p := range ps {
		minBits := minBits6
		if p.Addr().Is4() {
			minBits = minBits4
		}
		if p.Bits() == 0 || p.Bits() < minBits && !req.Force {
			return nil, control.BadRequest("--force bans it, unless it is everything", "%s is wider than /%d", p, minBits)
		}
	}
	name := cmp.Or(req.Jail, jailManual)
	return carryOut(ctx, a, func(d *daemon) (out []control.Ban, err error) {
		long := d.conf.Defaults.BanTime
		if j, ok := d.eng.Jail(name); ok {
			long = j.BanTime
		} else if name != jailManual {
			return nil, &control.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no jail %q", name), Hint: "jails are " + strings.Join(d.jailNames(), ", ") + "; without a jail all traffic is blocked"}
		}
		if req.Duration != "" {
			if long, err = config.ParseDuration(req.Duration); err != nil {
				return nil, control.BadRequest("write 10m, 48h, 4w or forever", "duration: %v", err)
			}
		}
		now := time.Now().UnixMicro()
		for _, p := range ps {
			if hit := d.eng.Allow().Overlapping(p, now); len(hit) > 0 {
				return nil, &control.Error{Status: http.StatusConflict, Message: fmt.Sprintf("%s is not banned: %s is allowed (%s)", p, hit[0].Prefix, hit[0].Where()), Hint: "remove it from the allow list first"}
			}
		}
		for _, p := range ps {
			b := state.Ban{Prefix: p, Jail: name, Since: now, Reason: req.Reason, By: by.User, Scope: d.eng.Scope(name)}
			if long != config.Forever {
				b.Until = now + long.Microseconds()
			}
			kind := audit.KindBan
			if old, ok := d.state.Get(p, name); ok {
				kind = audit.KindExtend
				b.Count, b.Failures, b.Scope = old.Count, old.Failures, state.JoinScopes(old.Scope, b.Scope)
			} else {
				_, b.Count = d.state.Escalate(p, now, long, 1, 0, d.conf.Escalate.Forget, 0)
			}
			d.state.Add(b)
			d.firewall.worker.put(d.firewall.additions(nil, &b, b.Since))
			d.counts.ban(&b)
			d.record(auditRecord{kind: kind, ban: banEvent(&b, d.firewall.status.Backend)})
			out = append(out, controlBan(&b))
		}
		return out, nil
	})
}

func (a *controlAPI) Unban(ctx context.Context, by control.Peer, p netip.Prefix, jail string) (*control.Removed, error) {
	all := !p.IsValid()
	return carryOut(ctx, a, func(d *daemon) (*control.Removed, error) {
		var gone []state.Ban
		for b := range d.state.All() {
			// An address also lifts the wider ban that covers it: unban 2001:db8::7 lifts the ban of its /64.
			if (all || p.Overlaps(b.Prefix) && (b.Prefix.Bits() >= p.Bits() || p.IsSingleIP())) && (jail == "" || b.Jail == jail) {
				gone = append(gone, b)
			}
		}
		now := time.Now()
		for _, b := range gone {
			d.state.Remove(b.Prefix, b.Jail)
			d.pardon(b.Prefix, now)
		}
		n := len(gone)
		if !all {
			d.pardon(p, now)
			if d.pardonTogether(p, now) {
				n++
			}
		}
		d.released(gone, liftedByHand, by.User)
		return &control.Removed{Removed: n}, nil
	})
}

// pardon clears what counts against a prefix up to now.
func (d *daemon) pardon(p netip.Prefix, now time.Time) { d.eng.Pardon(p, d.entryTime(now).UnixMicro()) }
