package daemon

import (
	"fmt"
	"slices"
	"strings"

	"bailiff/journal/audit"
)

// firewallEvent takes note of what the firewall worker tells.
func (d *daemon) firewallEvent(e firewallEvent) {
	switch {
	case e.notice != nil:
		d.problem(audit.KindError, e.source, e.notice.Error())
		return
	case e.solved:
		d.solved(e.source)
		return
	case e.connections != nil:
		if d.self.err == nil { // else the helper is not there, and that is told already
			d.happened(audit.KindError, "connections", "open connections of banned addresses stay open: "+e.connections.Error())
		}
		return
	case e.removed != "":
		d.aud.Event(audit.KindFirewallChanged, fmt.Sprintf("removed the rules and sets of the %s backend that were left from an earlier start (the backend is %s now)", e.removed, d.fw.Backend),
			audit.Field{Name: audit.FieldBackend, Value: d.fw.Backend})
		return
	}
	d.fw.Checked = e.checked
	wasOK := d.fw.OK
	d.fw.OK, d.fw.Error = e.err == nil, ""
	if e.err != nil {
		d.fw.Error = e.err.Error()
		if e.backend != d.fw.Backend {
			d.fw.Error = "the " + e.backend + " backend cannot take over: " + d.fw.Error
		}
	}
	if e.needFull {
		d.firewall.reconcile(d.wanted())
	}
	if e.change == nil {
		return
	}
	switch {
	case e.err == nil:
		if e.backend == d.chosen {
			d.fw.Backend, d.fw.Why = d.chosen, d.why
		}
		if e.replaced != "" {
			d.aud.Event(audit.KindFirewallChanged, fmt.Sprintf("firewall backend %s in place of %s (%s)", e.backend, e.replaced, d.why), audit.Field{Name: audit.FieldBackend, Value: e.backend})
		}
		d.repaired(&e)
		d.newRules = false
	case d.another(e.backend, e.err):
	case wasOK || d.fwFirst:
		d.aud.Event(audit.KindFirewallError, "firewall: "+d.fw.Error, audit.Field{Name: audit.FieldBackend, Value: e.backend})
	}
	d.fwFirst = false
}

// repaired tells the audit trail what a reconcile has put right.
func (d *daemon) repaired(e *firewallEvent) {
	ch := e.change
	anew := slices.Concat(e.evicted, ch.Repaired)
	mended := len(anew) > 0 && !ch.First && e.replaced == "" && !d.newRules
	elements := ch.Added+ch.Removed+ch.Refreshed > 0
	why := e.reason
	switch {
	case e.by != "" && !mended && !elements:
		why = "nothing was wrong"
	case why != "":
	case mended:
		why = "rules or sets were missing"
	case e.by != "":
		why = "the sets did not hold what they should"
	default:
		return
	}
	fields := []audit.Field{{Name: audit.FieldBackend, Value: d.fw.Backend}}
	text := "firewall repaired: "
	if e.by != "" {
		text = "firewall repaired, as " + e.by + " asked: "
		fields = append(fields, audit.Field{Name: audit.FieldBy, Value: e.by})
	}
	if e.by == "" || mended || elements {
		d.fw.Repaired++
	}
	d.aud.Event(audit.KindFirewallRepaired, fmt.Sprintf("%s%s (%s made anew; %d bans put back, %d removed)",
		text, why, or(strings.Join(anew, ", "), "elements"), ch.Added, ch.Removed), fields...)
}

// connectionsStay notes that open connections cannot be closed. It is called by another goroutine.
func (d *daemon) connectionsStay(err error) { d.firewallEvents <- firewallEvent{connections: err} }
