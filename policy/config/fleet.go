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
