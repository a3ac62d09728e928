package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/firewall"
	"bailiff/journal/audit"
	"bailiff/policy/bucket"
	"bailiff/policy/fleet"
	"bailiff/units/atomicfile"
	"bailiff/units/control"
)

// fleetName is the file with the bans of other hosts. It is written rarely: bailiff-fleet passes on again what a crash loses.
const fleetName = "fleet"

// fleetSave is how often it is written at most.
const fleetSave = 5 * time.Minute

// clashLimit bounds the audit entries on bans of allowed addresses, per host: a compromised one can say so many a second that the journal
// loses everything else. All are counted.
var clashLimit = bucket.Limit{Size: 10, Every: 10 * time.Minute}

// maxFleetFile bounds the size of the file that is read: 1,000,000 bans take 40 MB.
const maxFleetFile = 256 << 20

// otherHosts are the bans of other hosts and the file that keeps them. It belongs to the owner's goroutine.
type otherHosts struct {
	bans  *fleet.Bans
	write func(data []byte) error // replaces the file
	done  chan error              // the result of a write in the background
	dirty bool
	joint bool // joint bans (counted together) have changed: no host sends these again

	saved  time.Time     // when the last save began
	cost   time.Duration // of encoding then
	saving bool          // in the background
	err    error         // of the last save
	failed int           // saves since the last one that succeeded

	tally fleet.Tally               // what bailiff-fleet sends to other hosts next
	agent *control.FleetAgentStatus // latest from bailiff-fleet; nil: none yet

	clashes map[string]*bucket.Bucket // audit entries on bans of allowed addresses, by host: see clashLimit
}

// load reads the file. The daemon starts even after an error: bailiff-fleet passes the bans on again.
func (o *otherHosts) load(dir string, r fleet.Rules, now time.Time) error {
	path := filepath.Join(dir, fleetName)
	o.write = func(data []byte) error { return atomicfile.Write(path, data, stateMode) }
	o.done, o.saved = make(chan error, 1), now
	o.bans = fleet.New(r, nil)
	if !r.Some() {
		return nil
	}
	data, err := atomicfile.Read(path, maxFleetFile, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		var b *fleet.Bans
		if b, err = fleet.Restore(data, r, nil, now.UnixMicro()); err == nil {
			o.bans = b
			return nil
		}
	}
	return fmt.Errorf("the bans of other hosts cannot be read from %s: %w", path, err)
}

// saveIfDue starts to write the file in the background if something has changed and it is time. One write runs at a time, so an older
// content never replaces a newer one. After failures the attempts become rarer: with many bans each one fills a disk that is nearly full.
func (o *otherHosts) saveIfDue(now time.Time) {
	wait := fleetSave
	if o.joint {
		wait = saveBans
	}
	if o.saving || !o.dirty && !o.joint || now.Sub(o.saved) < max(wait, saveShare*o.cost, backoff(o.failed)) {
		return
	}
	o.saved, o.saving = now, true
	data := o.snapshot()
	go func() { o.done <- o.write(data) }()
}

// saveSoon makes the next saveIfDue write the file.
func (o *otherHosts) saveSoon() { o.joint, o.saved = true, time.Time{} }

// saveNow writes what has changed, and returns when it is written. It ends the daemon's work.
func (o *otherHosts) saveNow() {
	if o.saving {
		o.finished(<-o.done)
	}
	if o.dirty || o.joint {
		o.finished(o.write(o.snapshot()))
	}
}

// snapshot returns what the file shall contain.
func (o *otherHosts) snapshot() []byte {
	begin := time.Now()
	data := o.bans.Append(nil)
	o.cost, o.dirty, o.joint = time.Since(begin), false, false
	return data
}

// finished takes the result of a write.
func (o *otherHosts) finished(err error) {
	o.saving, o.err = false, err
	if err == nil {
		o.failed = 0
		return
	}
	o.joint = true
	o.failed++
}

// tick removes expired bans, unless they are kept because the clock may be wrong, and saves the rest.
func (o *otherHosts) tick(now time.Time, kept bool) {
	if !kept && o.bans.Expire(now.UnixMicro()) > 0 {
		o.dirty = true
	}
	o.saveIfDue(now)
}

// configureFleet applies new rules or a new allow list.
func (d *daemon) configureFleet(now time.Time) {
	before := d.others.bans.Roster().Fleet
	l := d.others.bans.Configure(d.conf.Fleet, d.eng.Allow(), now.UnixMicro())
	if len(l) > 0 {
		d.others.dirty = true
	}
	if d.others.bans.Roster().Fleet != before { // this host has left: a restart must not bring it back
		d.others.saveSoon()
		d.others.saveIfDue(now)
	}
	switch {
	case !d.conf.Fleet.Some(): // the set is gone
	case d.clock.holding(): // by a clock that may be wrong, a ban that is kept has ended, and cannot change
		d.firewall.reconcile()
	default:
		d.firewall.fleetChanged(l...)
	}
}

// fleetBan is what the firewall should hold for a prefix that other hosts ban.
func (f *firewallControl) fleetBan(c fleet.Change) firewall.Ban {
	b := firewall.Ban{Prefix: c.Prefix, Scope: fleet.Scope}
	if c.Until != fleet.Forever {
		b.Until = f.clock.end(timeOf(c.Until))
	}
	return b
}

// fleetChanged puts changes of other hosts' bans into effect.
func (f *firewallControl) fleetChanged(l ...fleet.Change) {
	changes := make([]change, 0, len(l))
	for _, c := range l {
		changes = append(changes, change{remove: !c.Banned, ban: f.fleetBan(c)})
	}
	if len(changes) > 0 {
		f.worker.put(changes)
	}
}

// mayTell reports whether the audit trail gets an entry on a host's ban of an allowed address.
func (o *otherHosts) mayTell(host string, now time.Time) bool {
	b := o.clashes[host]
	if b == nil {
		if o.clashes == nil {
			o.clashes = make(map[string]*bucket.Bucket)
		}
		b = new(bucket.Bucket)
		o.clashes[host] = b
	}
	return b.Take(clashLimit, now) == 0
}

// problems are what an operator should know about other hosts.
func (o *otherHosts) problems() (l []string) {
	for _, h := range o.bans.Hosts() {
		if h.Clashes > 0 {
			l = append(l, fmt.Sprintf("host %s has banned what this host allows (%d times since the start): bailiff fleet status", h.Name, h.Clashes))
		}
		if h.Ahead > 0 {
			l = append(l, fmt.Sprintf("the clock of host %s is %s ahead of this one's: timedatectl", h.Name, h.Ahead.Round(time.Second)))
		}
		if n := h.Refused[fleet.ErrTooFast.Error()] + h.Refused[fleet.ErrTooMany.Error()]; n > 0 {
			l = append(l, fmt.Sprintf("host %s bans more than fleet.rate or fleet.max_bans permits: %d bans were refused since the start", h.Name, n))
		}
	}
	if o.err != nil {
		l = append(l, "the bans of other hosts cannot be saved: "+o.err.Error())
	}
	return l
}

// ApplyFleet applies other hosts' messages about bans. On return they are in effect or queued for the firewall.
func (a *controlAPI) ApplyFleet(ctx context.Context, news []fleet.News, live bool) (*control.FleetApplied, error) {
	r := &control.FleetApplied{Refused: map[string]int{}}
	err := a.do(ctx, func() {
		d, now := a.d, time.Now()
		var changes []fleet.Change
		for _, x := range news {
			c, changed, err := d.others.bans.Apply(x, now.UnixMicro(), live)
			if err != nil {
				r.Refused[err.Error()]++
				continue
			}
			r.Accepted++
			d.others.dirty = true
			if changed {
				changes = append(changes, c)
			}
			if c.Allowed && !x.Lifted && d.others.mayTell(x.Host, now) {
				d.problems.happened(audit.KindError, "fleet", fmt.Sprintf("host %s bans %s, which is not banned here: %s", x.Host, audit.Address(x.Prefix), allowedBy(d.eng.Allow(), x.Prefix, now)))
			}
		}
		r.Changed = len(changes)
		d.memory.noteAlloc()
		d.firewall.fleetChanged(changes...)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// SetFleetHosts sets the hosts of the fleet's roster. They are saved next, so they stay set across restarts.
func (a *controlAPI) SetFleetHosts(ctx context.Context, r fleet.Roster) (s *control.FleetHostsSet, err error) {
	var refused error
	err = a.do(ctx, func() {
		d, now := a.d, time.Now()
		var changes []fleet.Change
		allowed := d.others.bans.Roster().Allow
		if changes, refused = d.others.bans.SetRoster(r, now.UnixMicro()); refused == nil {
			d.firewall.fleetChanged(changes...)
			if d.conf.Fleet.Roster && !slices.Equal(allowed, r.Allow) {
				d.refreshAllow(now)
			}
			d.others.saveSoon()
			d.others.saveIfDue(now)
		}
		have := d.others.bans.Roster()
		s = &control.FleetHostsSet{Used: d.conf.Fleet.Roster, Fleet: have.Fleet, Serial: have.Serial, Hosts: len(have.Hosts)}
	})
	switch {
	case err != nil:
		return nil, err
	case errors.Is(refused, fleet.ErrOldRoster):
		return nil, &control.Error{Status: http.StatusConflict, Message: refused.Error()}
	case refused != nil:
		return nil, &control.Error{Status: http.StatusBadRequest, Message: refused.Error()}
	}
	return s, nil
}

// Fleet describes the bans of other hosts.
func (a *controlAPI) Fleet(ctx context.Context) (s *control.FleetStatus, err error) {
	err = a.do(ctx, func() {
		b, now := a.d.others.bans, time.Now().UnixMicro()
		r, together := b.Roster(), a.d.togetherStatus()
		s = &control.FleetStatus{Together: together, Agent: a.d.others.agent, Roster: control.FleetHostsSet{Used: a.d.conf.Fleet.Roster, Fleet: r.Fleet, Serial: r.Serial, Hosts: len(r.Hosts)}, Votes: a.d.conf.Fleet.Votes, Bans: b.Len()}
		for c := range b.Effects(now) {
			if c.Banned {
				s.InEffect++
			} else if s.Clashes.Count++; len(s.Clashes.Some) < firewall.MaxListed {
				s.Clashes.Some = append(s.Clashes.Some, c.Prefix.String())
			}
		}
		for _, h := range b.Hosts() {
			x := control.FleetHost{Name: h.Name, Group: h.Group, Bans: h.Bans, Ahead: h.Ahead.Seconds(), Clashes: h.Clashes, Refused: make(map[string]uint64, len(h.Refused))}
			for reason, n := range h.Refused {
				x.Refused[reason] = n
			}
			if h.Latest != 0 {
				t := time.UnixMicro(h.Latest)
				x.Latest = &t
			}
			s.Hosts = append(s.Hosts, x)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(s.Clashes.Some)
	return s, nil
}

// fleetWhy lists the bans of other hosts that cover an address or lie in a prefix, and reports whether any is in effect.
func (d *daemon) fleetWhy(p netip.Prefix, now int64) (l []control.FleetWhy, banned bool) {
	l = []control.FleetWhy{}
	for _, n := range d.others.bans.Overlapping(p, maxWhy) {
		if n.Host == "" { // see togetherWhy
			banned = banned || d.others.bans.Effect(n.Prefix, now).Banned
			continue
		}
		x := control.FleetWhy{Group: d.others.bans.Group(n.Host), FleetBan: control.FleetBan{
			Host: n.Host, Prefix: n.Prefix.String(), Jail: n.Jail, Since: time.UnixMicro(n.Since), Lifted: n.Lifted, Reason: n.Reason, Failures: n.Failures,
		}}
		if n.Until != fleet.Forever {
			t := time.UnixMicro(n.Until)
			x.Until = &t
		}
		l = append(l, x)
		banned = banned || d.others.bans.Effect(n.Prefix, now).Banned
	}
	slices.SortStableFunc(l, func(a, b control.FleetWhy) int { return strings.Compare(a.Host, b.Host) })
	return l, banned
}
