package main

import (
	"cmp"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"bailiff/policy/allow"
	"bailiff/units/control"
)

func runStatus(e *env, args []string) error {
	f := e.flags("status")
	socket, asJSON := daemonFlags(f)
	all := f.Bool("all", false, "also the jails that have nothing to watch on this host")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if err := want("status", rest, 0, 0); err != nil {
		return err
	}
	s, err := control.Dial(*socket).Status(e.ctx)
	if err != nil {
		return err
	}
	state := stateOf(s)
	if s.Firewall.Backend == "firewalld" {
		s.Firewall.Open = containerNetworks()
	}
	if *asJSON {
		return cmp.Or(printJSON(e.out, s), state)
	}
	working := e.paint(green, "working")
	if len(s.Problems) > 0 {
		working = e.paint(red, plural(len(s.Problems), "problem"))
	}
	fmt.Fprintf(e.out, "bailiff %s: %s, since %s (pid %d, %.1f MiB)\n", s.Version, working, stamp(s.Started), s.PID, float64(s.Memory)/(1<<20))
	for _, p := range s.Problems {
		fmt.Fprintf(e.out, "  %s %s (since %s)\n", e.paint(red, "!"), clean(p.Text), stamp(p.Since))
	}
	fw := "bans are in effect"
	if !s.Firewall.OK {
		fw = e.paint(red, "NOT WORKING")
	}
	fmt.Fprintf(e.out, "  firewall  %s (%s): %s, looked at %s", s.Firewall.Backend, s.Firewall.Why, fw, stamp(s.Firewall.Checked))
	if s.Firewall.Repaired > 0 {
		fmt.Fprintf(e.out, ", repaired %d times", s.Firewall.Repaired)
	}
	fmt.Fprintln(e.out)
	if text := stoppedText(s.Firewall.Stopped); text != "" {
		fmt.Fprintf(e.out, "            %s\n", text)
	}
	if len(s.Firewall.Open) > 0 {
		fmt.Fprintf(e.out, "            ports that containers publish stay open to banned addresses (%s): firewalld accepts them\n", strings.Join(s.Firewall.Open, ", "))
		fmt.Fprintf(e.out, "            before any policy; firewall: {backend: nftables} closes them beside it\n")
	}
	read := "nothing read yet"
	if !s.Journal.Time.IsZero() && s.Journal.Entries > 0 {
		read = fmt.Sprintf("%d entries read, the last of %s", s.Journal.Entries, stamp(s.Journal.Time))
	}
	if s.Journal.Lag > 1 {
		read += fmt.Sprintf(", %s behind", short(time.Duration(s.Journal.Lag*float64(time.Second))))
	}
	fmt.Fprintf(e.out, "  journal   %s\n", read)
	fmt.Fprintf(e.out, "  bans      %d in force, %d made since start\n", s.Bans, s.BansTotal)
	fmt.Fprintf(e.out, "  watched   %d prefixes of at most %d; %d failures of allowed addresses passed over", s.Tracked, s.TrackedMax, s.Allowed)
	if s.Widened > 0 {
		fmt.Fprintf(e.out, "; %d counted on a wider prefix", s.Widened)
	}
	fmt.Fprintln(e.out)
	if p := s.Spread; p != (control.SpreadStatus{}) {
		fmt.Fprintf(e.out, "  spread    %s under attack of %d that were failed on repeatedly; parts of %s attacked", plural(p.Attacked, "account"), p.Accounts, plural(p.Networks, "network"))
		if p.Crowded+p.Cut > 0 {
			fmt.Fprintf(e.out, "; for lack of room %d accounts were forgotten, %d slow windows and networks cut short", p.Crowded, p.Cut)
		}
		fmt.Fprintln(e.out)
	}
	for _, l := range s.Lists {
		fmt.Fprintf(e.out, "  allowed   list %s: %s", l.Name, allow.Count(l.Entries))
		if l.Fetched != nil {
			fmt.Fprintf(e.out, " of %s", stamp(*l.Fetched))
		}
		if l.Checked != nil {
			fmt.Fprintf(e.out, ", asked for anew %s", stamp(*l.Checked))
		}
		fmt.Fprintln(e.out)
	}
	text, bad := reportsText(askReports(e.ctx, s.Reports))
	if bad {
		text = e.paint(red, text)
	}
	fmt.Fprintf(e.out, "  reports   %s\n", text)
	fmt.Fprintln(e.out)
	rows := [][]string{{"JAIL", "MODE", "FAILURES", "BANS", "LAST FAILURE", "UNITS"}}
	idle := 0
	for _, j := range s.Jails {
		if !*all && idleJail(&j) {
			idle++
			continue
		}
		last, units := "-", strings.Join(j.Units, " ")
		if j.Last != nil {
			last = stamp(*j.Last)
		}
		for _, c := range j.Containers {
			units += " container " + c
		}
		for _, u := range j.UserUnits {
			units += " user unit " + u
		}
		if units = strings.TrimSpace(units); units == "" {
			units = "(none on this host)"
		}
		rows = append(rows, []string{j.Name, j.Mode, fmt.Sprint(j.Failures), fmt.Sprint(j.Bans), last, units})
	}
	if len(rows) > 1 {
		table(e.out, rows)
	}
	if idle > 0 {
		fmt.Fprintf(e.out, "%s with nothing to watch on this host: bailiff status --all\n", plural(idle, "more jail"))
	}
	for _, j := range s.Jails {
		if r := j.Refused; r != nil {
			fmt.Fprintf(e.out, "\n  %s: %d entries not counted, the last at %s: %s\n", clean(j.Name), r.Entries, stamp(r.Time), clean(r.Hint))
		}
	}
	return state
}

// idleJail says whether a jail has nothing to watch on this host.
func idleJail(j *control.JailStatus) bool {
	return len(j.Units)+len(j.Containers)+len(j.UserUnits) == 0 && j.Failures == 0 && j.Bans == 0
}

// stateOf is the exit status of status, for monitoring.
func stateOf(s *control.Status) error {
	switch {
	case !s.Firewall.OK:
		return exitStatus(exitNoFirewall)
	case len(s.Problems) > 0:
		return exitStatus(exitProblems)
	}
	return nil
}

// containerNetworks are the bridges of Docker and Podman that are up.
func containerNetworks() (names []string) {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range all {
		if i.Flags&net.FlagUp != 0 && containerBridge.MatchString(i.Name) {
			names = append(names, i.Name)
		}
	}
	return names
}

// containerBridge takes the names that Docker, netavark and CNI give to their bridges.
var containerBridge = regexp.MustCompile(`^(docker0|br-[0-9a-f]{12}|(cni-)?podman[0-9]+)$`)
