package client

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/diag"
	"bailiff/units/control"
	"bailiff/units/version"
)

// Exit statuses of `bailiff status`, for monitoring.
const (
	NotInEffect cli.ExitStatus = 4 // bans are not in effect
	HasProblems cli.ExitStatus = 5
)

// Status is `bailiff status`. reports describes reporting to this many configured destinations, and whether somebody should act.
func Status(reports func(ctx context.Context, destinations int) (line string, bad bool)) *cli.Command {
	c := command("status", "", "show what the daemon does, problems first")
	all := c.Flags.Bool("all", false, "also show jails that have nothing to watch on this host")
	return c.Does(func(e *cli.Env, _ []string) error {
		// A daemon that starts answers when it has recovered its state.
		s, err := cli.Waiting(e, "the daemon to answer", func() (*control.Status, error) { return dial(e).Status(e.Ctx) })
		if err == nil {
			s, err = watchCatchUp(e, s)
		}
		if err != nil {
			return err
		}
		if s.Firewall.Backend == "firewalld" {
			s.Firewall.Open = containerNetworks()
		}
		err = e.Print(s, func() {
			printSummary(e, s)
			if s.Version != version.String() {
				e.Notef("this command is version %s: systemctl restart bailiff after an update", version.String())
			}
			line, bad := reports(e.Ctx, s.Reports)
			if bad {
				line = e.Paint(cli.Red, line)
			}
			item(e, "reports", "%s", line)
			e.Printf("\n")
			printJails(e, s, *all)
		})
		return cmp.Or(err, state(s))
	})
}

// state is the exit status.
func state(s *control.Status) error {
	switch {
	case !s.Firewall.OK:
		return NotInEffect
	case len(s.Problems) > 0:
		return HasProblems
	}
	return nil
}

// catchUpShown is how long a terminal shows the progress of a daemon that is far behind, before its status.
const catchUpShown = 5 * time.Second

// watchCatchUp shows on a terminal how a daemon catches up with the journal, for a while, and returns its latest status.
func watchCatchUp(e *cli.Env, s *control.Status) (*control.Status, error) {
	progress := e.Progress()
	defer progress.Clear()
	lag := func() time.Duration { return time.Duration(s.Journal.Lag * float64(time.Second)) }
	for end := time.Now().Add(catchUpShown); e.ErrTTY && !e.JSON && lag() >= farBehind && time.Now().Before(end); {
		progress.Show("catching up with the journal: %s read, %s behind", diag.Count(s.Journal.Entries, "entry"), text.Duration(lag()))
		select {
		case <-e.Ctx.Done():
			return s, nil
		case <-time.After(time.Second / 2):
		}
		var err error
		if s, err = dial(e).Status(e.Ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// item prints a line of the summary, wrapped to the width of a terminal. An empty name continues the item before.
func item(e *cli.Env, name, format string, args ...any) {
	const indent = 12
	lines := []string{fmt.Sprintf(format, args...)}
	if e.OutTTY {
		columns, _ := e.Size()
		lines = text.Wrap(lines[0], max(columns-indent, indent))
	}
	for _, l := range lines {
		e.Printf("  %-9s %s\n", name, l)
		name = ""
	}
}

func printSummary(e *cli.Env, s *control.Status) {
	working := e.Paint(cli.Green, "working")
	if len(s.Problems) > 0 {
		working = e.Paint(cli.Red, diag.Count(len(s.Problems), "problem"))
	}
	e.Printf("bailiff %s: %s, running since %s (pid %d, %s)\n", s.Version, working, text.Time(s.Started), s.PID, text.Bytes(s.Memory))
	for _, p := range s.Problems {
		e.Printf("  %s %s (since %s)\n", e.Paint(cli.Red, "!"), text.Clean(p.Text), text.Time(p.Since))
	}
	item(e, "bans", "%d in effect, %d made since start", s.Bans, s.BansTotal)
	printFirewallItem(e, &s.Firewall)
	item(e, "journal", "%s", journalText(&s.Journal))
	tracked := fmt.Sprintf("%s with failures (limit %d)", diag.Count(s.Tracked, "prefix"), s.TrackedMax)
	if s.Allowed > 0 {
		tracked += fmt.Sprintf("; %s of allowed addresses ignored", diag.Count(s.Allowed, "failure"))
	}
	if s.Widened > 0 {
		tracked += fmt.Sprintf("; %s counted on a wider prefix", diag.Count(s.Widened, "failure"))
	}
	item(e, "tracked", "%s", tracked)
	if p := s.Spread; p.Attacked+p.Networks > 0 {
		item(e, "attacks", "%s under attack by many addresses; parts of %s attacking", diag.Count(p.Attacked, "account"), diag.Count(p.Networks, "network"))
	}
	if p := s.Spread; p.Crowded+p.Cut+p.Displaced > 0 {
		item(e, "memory", "%s dropped, %s cut short, %s dropped to make room",
			diag.Count(p.Crowded, "account"), diag.Count(p.Cut, "slow window"), diag.Count(p.Displaced, "login record"))
	}
	for _, l := range s.Lists {
		list := fmt.Sprintf("list %s: %s", l.Name, diag.Count(l.Entries, "entry"))
		item(e, "allowed", "%s", list+text.With(" from ", text.TimeOr(l.Fetched, ""))+text.With(", last checked ", text.TimeOr(l.Checked, "")))
	}
	for _, l := range s.BlockLists {
		line := fmt.Sprintf("list %s: %s", l.Name, diag.Count(l.Entries, "entry")+text.With(", ", l.Holds))
		if l.Mode == "double" {
			line += ", failures from there weigh double"
		}
		if l.Packets != nil {
			line += fmt.Sprintf(", %s %s", diag.Count(*l.Packets, "packet"), map[string]string{"log": "counted"}[l.Mode]+map[string]string{"drop": "stopped"}[l.Mode])
		}
		item(e, "blocked", "%s", line+text.With(", last checked ", text.TimeOr(l.Checked, "")))
	}
}

func inEffect(e *cli.Env, ok bool) string {
	if ok {
		return "bans are in effect"
	}
	return e.Paint(cli.Red, "NOT WORKING")
}

func printFirewallItem(e *cli.Env, f *control.FirewallStatus) {
	line := fmt.Sprintf("%s (%s): %s, checked %s", f.Backend, text.Clean(f.Why), inEffect(e, f.OK), text.Time(f.Checked))
	if f.Repaired > 0 {
		line += ", repaired " + text.Times(f.Repaired)
	}
	item(e, "firewall", "%s", line)
	if stopped := StoppedText(f.Stopped); stopped != "" {
		item(e, "", "%s", stopped)
	}
	if len(f.Open) > 0 {
		item(e, "", "%s ports published by containers (%s) stay open to banned addresses: firewalld accepts them before any policy; firewall: {backend: nftables} closes them",
			e.Paint(cli.Red, "!"), strings.Join(f.Open, ", "))
	}
}

// farBehind is when a lag in the journal is shown as catching up.
const farBehind = time.Minute

// journalText is how far the journal has been read.
func journalText(j *control.JournalStatus) string {
	if j.Time.IsZero() || j.Entries == 0 {
		return "nothing read yet"
	}
	read := fmt.Sprintf("%s read, the last from %s", diag.Count(j.Entries, "entry"), text.Time(j.Time))
	switch lag := time.Duration(j.Lag * float64(time.Second)); {
	case lag >= farBehind:
		read += fmt.Sprintf("; catching up, %s behind", text.Duration(lag))
	case lag > time.Second:
		read += fmt.Sprintf(", %s behind", text.Duration(lag))
	}
	return read
}

func printJails(e *cli.Env, s *control.Status, all bool) {
	rows := [][]string{{"JAIL", "MODE", "FAILURES", "BANS", "LAST FAILURE", "UNITS"}}
	idle := 0
	for i := range s.Jails {
		j := &s.Jails[i]
		if !all && IdleJail(j) {
			idle++
			continue
		}
		rows = append(rows, []string{j.Name, j.Mode, fmt.Sprint(j.Failures), fmt.Sprint(j.Bans), text.TimeOr(j.Last, "-"), jailUnits(j)})
	}
	if len(rows) > 1 {
		e.TableFitted(rows)
	}
	if idle > 0 {
		e.Printf("%s with nothing to watch on this host: bailiff status --all\n", diag.Count(idle, "more jail"))
	}
	for _, j := range s.Jails {
		if r := j.Refused; r != nil {
			e.Printf("\n  %s: %s not counted, the last at %s: %s\n", text.Clean(j.Name), diag.Count(r.Entries, "entry"), text.Time(r.Time), text.Clean(r.Hint))
		}
	}
}

func jailUnits(j *control.JailStatus) string {
	units := strings.Join(j.Units, " ")
	for _, c := range j.Containers {
		units += " container " + c
	}
	for _, u := range j.UserUnits {
		units += " user unit " + u
	}
	return cmp.Or(strings.TrimSpace(units), "(none on this host)")
}

// IdleJail reports whether a jail has nothing to watch on this host.
func IdleJail(j *control.JailStatus) bool {
	return len(j.Units)+len(j.Containers)+len(j.UserUnits) == 0 && j.Failures == 0 && j.Bans == 0
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

// containerBridge matches the names that Docker, netavark and CNI give to their bridges.
var containerBridge = regexp.MustCompile(`^(docker0|br-[0-9a-f]{12}|(cni-)?podman[0-9]+)$`)
