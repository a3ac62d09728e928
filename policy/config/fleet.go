package config

import (
	"bailiff/policy/diag"
	"bailiff/policy/fleet"
	"bailiff/policy/yamldoc"
)

// useRoster in place of a mapping accepts the hosts of the fleet's roster.
const useRoster = "roster"

// fleetHosts is a mapping of hosts to their groups, or the word roster.
func fleetHosts(r *fleet.Rules) value {
	const hint = "write {web1: berlin, mail1: paris}: names of letters, digits, - and _; or roster, for the hosts of a fleet that this host has joined"
	v := table(&r.Hosts, "roster, or mapping of hosts to groups", hint, fleet.ValidHost, func(n *yamldoc.Node) (string, *diag.Error) {
		if n.Kind != yamldoc.Scalar || !fleet.ValidHost(n.Value) {
			return "", diag.Errorf("a host needs the name of its group").WithHint("%s", hint)
		}
		return n.Value, nil
	}, func(s string) string { return s })
	get, set := v.get, v.set
	v.get = func() any {
		if r.Roster {
			return useRoster
		}
		return get()
	}
	v.set = func(n *yamldoc.Node) *diag.Error {
		r.Roster = n.Kind == yamldoc.Scalar && n.Value == useRoster
		if r.Roster {
			r.Hosts = nil
			return nil
		}
		return set(n)
	}
	return v
}

// checkTogether refuses settings of fleet.together by which nothing is ever banned.
func (b *Builder) checkTogether(r *fleet.Rules) {
	t := &r.Together
	if !t.On() {
		return
	}
	fail := func(key string, err *diag.Error) {
		at := "fleet.together." + key
		b.fail(b.place(at, "fleet.together.hosts"), at, err)
	}
	switch {
	case t.Failures < t.Hosts || t.Failures > fleet.MaxSeen*t.Hosts:
		fail("failures", diag.Errorf("%d failures on %d hosts are not 1 to %d of each", t.Failures, t.Hosts, fleet.MaxSeen).WithHint("write hosts: 10, failures: 20, for example"))
	case !r.Some():
		fail("hosts", diag.Errorf("no host is believed").WithHint("write fleet: {hosts: roster}"))
	case !r.Roster && len(r.Hosts) < t.Hosts:
		fail("hosts", diag.Errorf("%d hosts must count failures, but fleet.hosts names %d", t.Hosts, len(r.Hosts)).WithHint("fleet.hosts must name this host, too"))
	}
}
