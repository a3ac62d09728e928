package daemon

import (
	"fmt"
	"slices"
	"strings"

	"bailiff/journal/audit"
	"bailiff/policy/diag"
)

// handle takes what the firewall worker reports.
func (f *firewallControl) handle(e firewallEvent) {
	switch {
	case e.notice != nil:
		f.problems.begin(audit.KindError, e.source, e.notice.Error())
		return
	case e.solved:
		f.problems.end(e.source)
		return
	case e.connections != nil:
		if f.helper() == nil { // else that is known to be the cause
			f.problems.happened(audit.KindError, "connections", "open connections of banned addresses stay open: "+e.connections.Error())
		}
		return
	case e.removed != "":
		f.event(audit.KindFirewallChanged, f.status.Backend, fmt.Sprintf("removed the rules and sets of the %s backend that an earlier start had left (the backend is %s now)", e.removed, f.status.Backend))
		return
	}
	f.status.Checked, f.status.OK, f.status.Error = e.checked, e.err == nil, ""
	if e.err != nil {
		f.status.Error = e.err.Error()
		if e.backend != f.status.Backend {
			f.status.Error = "the " + e.backend + " backend cannot take over: " + f.status.Error
		}
	}
	if e.needFull {
		f.reconcile()
	}
	if e.change == nil {
		return
	}
	switch {
	case e.err == nil:
		f.announced = false
		if e.backend == f.chosen {
			f.status.Backend, f.status.Why = f.chosen, f.why
		}
		if e.replaced != "" {
			f.event(audit.KindFirewallChanged, e.backend, fmt.Sprintf("firewall backend changed from %s to %s (%s)", e.replaced, e.backend, f.why))
		}
		f.repaired(&e)
		f.newRules = false
	case f.unsupported(e.backend, e.err):
	case !f.announced: // once, not at each attempt
		f.announced = true
		f.problems.tell(audit.KindFirewallError, "firewall", "firewall: "+f.status.Error, audit.Field{Name: audit.FieldBackend, Value: e.backend})
	}
	f.starting = false
}

// repaired records what a reconcile has repaired, if anything.
func (f *firewallControl) repaired(e *firewallEvent) {
	ch := e.change
	rebuilt := slices.Concat(e.evicted, ch.Repaired)
	rules := len(rebuilt) > 0 && !ch.Initial && e.replaced == "" && !f.newRules
	elements := ch.Added+ch.Removed+ch.Refreshed > 0
	why := e.reason
	switch {
	case e.by != "" && !rules && !elements:
		why = "nothing was wrong"
	case why != "":
	case rules:
		why = "rules or sets were missing"
	case e.by != "":
		why = "the sets did not hold what they should"
	default:
		return
	}
	text := "firewall repaired: " + why
	fields := []audit.Field{{Name: audit.FieldBackend, Value: f.status.Backend}}
	if e.by != "" {
		text = "firewall repaired by " + e.by + ": " + why
		fields = append(fields, audit.Field{Name: audit.FieldBy, Value: e.by})
	}
	if e.by == "" || rules || elements {
		f.status.Repaired++
	}
	details := []string{}
	if len(rebuilt) > 0 {
		details = append(details, "rebuilt "+strings.Join(rebuilt, ", "))
	}
	if elements {
		details = append(details, fmt.Sprintf("%s added, %d removed", diag.Count(ch.Added, "ban"), ch.Removed))
	}
	if len(details) > 0 {
		text += " (" + strings.Join(details, "; ") + ")"
	}
	f.aud.Event(audit.KindFirewallRepaired, text, fields...)
}

func (f *firewallControl) event(k audit.Kind, backend, text string) {
	f.aud.Event(k, text, audit.Field{Name: audit.FieldBackend, Value: backend})
}

// connectionsStay records that open connections cannot be closed. It is called by the connection closer's goroutine.
func (f *firewallControl) connectionsStay(err error) { f.events <- firewallEvent{connections: err} }
