package daemon

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"bailiff/policy/diag"
	"bailiff/units/control"
)

const (
	// agentSilent is how long bailiff-fleet may be silent before it counts as gone. It reports every ten seconds.
	agentSilent = time.Minute

	// hubPatience is how long the hub may be away before that is a problem: after a restart it is back within seconds.
	hubPatience = 15 * time.Second
)

// SetFleetAgent records bailiff-fleet's own status report.
func (a *controlAPI) SetFleetAgent(ctx context.Context, s control.FleetAgent) (r *control.FleetAgentStatus, err error) {
	s.Hub, s.Error, s.Flooding = diag.Line(s.Hub, 200), diag.Line(s.Error, 300), diag.Line(s.Flooding, 64)
	err = a.do(ctx, func() {
		r = &control.FleetAgentStatus{FleetAgent: s, Heard: time.Now()}
		a.d.others.agent = r
	})
	return r, err
}

// agentProblems are what an operator should know about the connection to the other hosts.
func (o *otherHosts) agentProblems(now time.Time) (l []string) {
	s := o.agent
	if s == nil { // without bailiff-fleet, another program may pass on bans
		return nil
	}
	if now.Sub(s.Heard) > agentSilent {
		return []string{"bailiff-fleet does not report any more, so this host shares no bans: systemctl status bailiff-fleet"}
	}
	switch {
	case s.Hub == "" && now.Sub(s.Since) > hubPatience:
		l = append(l, fmt.Sprintf("the hub of the fleet cannot be reached since %s; this host goes on alone (%s): journalctl -u bailiff-fleet", s.Since.Local().Format(time.DateTime), cmp.Or(s.Error, "no answer")))
	case s.Hub != "" && s.Error != "":
		l = append(l, fmt.Sprintf("bailiff-fleet: %s", s.Error))
	}
	if s.Flooding != "" {
		l = append(l, fmt.Sprintf("host %s sends more to the fleet than is read: bailiff fleet status", s.Flooding))
	}
	return l
}
