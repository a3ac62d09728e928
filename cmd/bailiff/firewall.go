package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"bailiff/units/control"
)

// runFirewall looks after what the firewall holds of ours. Without a word it is status.
func runFirewall(e *env, args []string) error {
	f := e.flags("firewall")
	socket, asJSON := daemonFlags(f)
	force := f.Bool("force", false, "repair and remove: take away, too, what has a name of ours but is not ours")
	stop := f.Bool("stop", false, "remove: stop the daemon before")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	verb := "status"
	if len(rest) > 0 {
		verb, rest = rest[0], rest[1:]
	}
	if err := want("firewall", rest, 0, 0); err != nil {
		return err
	}
	switch verb {
	case "status", "verify", "repair", "remove":
	default:
		return usagef("firewall: %q is none of status, verify, repair, remove (bailiff firewall -h)", verb)
	}
	switch {
	case *force && verb != "repair" && verb != "remove":
		return usagef("firewall: --force is for repair and remove")
	case *stop && verb != "remove":
		return usagef("firewall: --stop is for remove")
	}
	c := control.Dial(*socket)
	switch verb {
	case "repair":
		return repairFirewall(e, c, *force, *asJSON)
	case "remove":
		return removeFirewall(e, *stop, *force, *asJSON)
	}
	s, err := c.Firewall(e.ctx)
	if err != nil {
		return err
	}
	if *asJSON {
		if err := printJSON(e.out, s); err != nil {
			return err
		}
	} else if verb == "status" {
		e.firewallStatus(s)
	} else {
		e.firewallVerified(s)
	}
	if verb == "verify" && !s.Intact {
		return errSilent
	}
	return nil
}

func (e *env) firewallStatus(s *control.Firewall) {
	state := "bans are in effect"
	if !s.OK {
		state = e.paint(red, "NOT WORKING")
	}
	fmt.Fprintf(e.out, "%s (%s): %s; looked at %s, in %s", s.Backend, clean(s.Why), state, stamp(s.Looked), millis(s.Seconds))
	if s.Repaired > 0 {
		fmt.Fprintf(e.out, "; repaired %d times", s.Repaired)
	}
	fmt.Fprintln(e.out)
	if s.Error != "" {
		fmt.Fprintf(e.out, "  %s %s\n", e.paint(red, "!"), clean(s.Error))
	}
	for _, p := range s.Parts {
		switch {
		case p.Harm != "":
			fmt.Fprintf(e.out, "  %s %s %s\n", e.paint(red, "!"), clean(p.Name), clean(p.Harm))
		case p.Want != "":
			fmt.Fprintf(e.out, "  %s stands: %s\n", clean(p.Name), clean(p.Want))
		}
	}
	counted, empty := false, 0
	for i := range s.Sets {
		counted = counted || s.Sets[i].Packets != nil
	}
	head := []string{"SET", "STOPS", "BANS", "HELD", "FOR EVER", "NEXT END"}
	if counted {
		head = append(head, "PACKETS", "BYTES")
	}
	rows := [][]string{append(head, "DIFFERS")}
	for i := range s.Sets {
		x := &s.Sets[i]
		differs := e.differs(x)
		if x.Bans+x.Held == 0 && len(differs) == 0 && (x.Packets == nil || *x.Packets == 0) {
			empty++
			continue
		}
		next := "-"
		if x.Next != nil {
			next = stamp(*x.Next)
		}
		row := []string{x.Name, scopeName(x.Scope), fmt.Sprint(x.Bans), fmt.Sprint(x.Held), fmt.Sprint(x.Forever), next}
		if counted {
			packets, bytes := "-", "-"
			if x.Packets != nil {
				packets, bytes = fmt.Sprint(*x.Packets), fmt.Sprint(*x.Bytes)
			}
			row = append(row, packets, bytes)
		}
		short := "-"
		if len(differs) > 0 {
			short = fmt.Sprintf("%d missing, %d strange, %d with another end", x.Missing.Count, x.Strange.Count, x.Late.Count)
			if x.Harm != "" {
				short = clean(x.Harm)
			}
		}
		rows = append(rows, append(row, short))
	}
	fmt.Fprintln(e.out)
	if len(rows) > 1 {
		table(e.out, rows)
	}
	if empty > 0 {
		fmt.Fprintf(e.out, "%s without bans\n", plural(empty, "set"))
	}
	if !counted {
		fmt.Fprintf(e.out, "%s counts no packets\n", s.Backend)
	}
	if !s.Intact {
		fmt.Fprintln(e.err, "hint: bailiff firewall verify lists what differs, bailiff firewall repair mends it")
	}
}

// firewallVerified says what differs.
func (e *env) firewallVerified(s *control.Firewall) {
	if s.Intact {
		fmt.Fprintf(e.out, "%s: %s in %s: nothing differs (looked at in %s)\n", s.Backend, plural(s.Bans, "ban"), plural(len(s.Sets), "set"), millis(s.Seconds))
		return
	}
	hint := "bailiff firewall repair mends it"
	for _, l := range e.allDiffers(s) {
		fmt.Fprintln(e.out, l)
	}
	switch {
	case s.Error != "":
		hint = "systemctl status of the firewall's own service, and journalctl -u bailiff, tell more"
	case foreign(s):
		hint = "what is not ours is left alone: bailiff firewall repair --force takes it away"
	}
	fmt.Fprintf(e.err, "hint: %s\n", hint)
}

func foreign(s *control.Firewall) bool {
	for _, p := range s.Parts {
		if p.Foreign {
			return true
		}
	}
	for i := range s.Sets {
		if s.Sets[i].Foreign {
			return true
		}
	}
	return false
}

func (e *env) allDiffers(s *control.Firewall) (l []string) {
	if s.Error != "" {
		l = append(l, s.Backend+": "+clean(s.Error))
	}
	for _, p := range s.Parts {
		if p.Harm != "" {
			l = append(l, clean(p.Name)+": "+clean(p.Harm))
		}
	}
	for i := range s.Sets {
		l = append(l, e.differs(&s.Sets[i])...)
	}
	return l
}

// differs is what is wrong with a set, a line for each.
func (e *env) differs(x *control.FirewallSet) (l []string) {
	name := "set " + x.Name + ": "
	if x.Harm != "" {
		l = append(l, name+clean(x.Harm))
	}
	for _, d := range []struct {
		what string
		p    control.Prefixes
	}{{"missing", x.Missing}, {"should not be there", x.Strange}, {"with another end", x.Late}} {
		if d.p.Count == 0 {
			continue
		}
		some := d.p.Some
		more := ""
		if len(some) > 10 {
			some = some[:10]
		}
		if n := d.p.Count - len(some); n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		l = append(l, fmt.Sprintf("%s%d %s: %s%s", name, d.p.Count, d.what, strings.Join(some, " "), more))
	}
	return l
}

func repairFirewall(e *env, c *control.Client, force, asJSON bool) error {
	r, err := c.RepairFirewall(e.ctx, force)
	if err != nil {
		return err
	}
	if asJSON {
		if err := printJSON(e.out, r); err != nil {
			return err
		}
	} else {
		e.firewallRepaired(r)
	}
	if r.After == nil || !r.After.Intact {
		return errSilent
	}
	return nil
}

func (e *env) firewallRepaired(r *control.FirewallRepair) {
	if r.Before != nil && r.Before.Intact {
		fmt.Fprintf(e.out, "%s: nothing was wrong\n", r.After.Backend)
	}
	if r.Before != nil {
		for _, l := range e.allDiffers(r.Before) {
			fmt.Fprintln(e.out, "found: "+l)
		}
	}
	for _, x := range r.Evicted {
		fmt.Fprintf(e.out, "taken away by force: %s\n", clean(x))
	}
	for _, x := range r.Repaired {
		fmt.Fprintf(e.out, "made anew: %s\n", clean(x))
	}
	if r.Added+r.Removed+r.Refreshed > 0 {
		fmt.Fprintf(e.out, "%s put back, %d taken out, %d given their end\n", plural(r.Added, "ban"), r.Removed, r.Refreshed)
	}
	if r.After.Intact {
		fmt.Fprintf(e.out, "%s: %s in place, nothing differs\n", r.After.Backend, plural(r.After.Bans, "ban"))
		return
	}
	for _, l := range e.allDiffers(r.After) {
		fmt.Fprintln(e.out, e.paint(red, "still: ")+l)
	}
}

// millis writes a time that something took.
func millis(seconds float64) string {
	return fmt.Sprintf("%.1f ms", seconds*1e3)
}

// scopeName is what a set stops.
func scopeName(scope string) string {
	if scope == "" {
		return "everything"
	}
	return "ports of " + clean(scope)
}

// stoppedText sums up counters in a line; "" where there are none.
func stoppedText(l []control.Stopped) string {
	var packets, bytes uint64
	for _, s := range l {
		packets += s.Packets
		bytes += s.Bytes
	}
	if len(l) == 0 {
		return ""
	}
	return fmt.Sprintf("%d packets of banned addresses stopped (%.1f MiB), as the rules have counted since they were made", packets, float64(bytes)/(1<<20))
}

// askLimit bounds a question to the daemon that is asked by the way.
const askLimit = 5 * time.Second

// stoppedNow asks a daemon that runs what the firewall has stopped. nil where none does: asking would start it.
func stoppedNow(ctx context.Context) []control.Stopped {
	if pids, err := daemons(); err != nil || len(pids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	s, err := control.Dial("").Status(ctx)
	if err != nil {
		return nil
	}
	return s.Firewall.Stopped
}
