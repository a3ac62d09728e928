package config

import (
	"bailiff/policy/diag"
	"bailiff/policy/fleet"
	"bailiff/policy/yamldoc"
)

// fleetHosts is a mapping of hosts to their groups.
func fleetHosts(dst *map[string]string) value {
	const hint = "write {web1: berlin, mail1: paris}: names of letters, digits, - and _"
	return table(dst, "mapping of hosts to groups", hint, fleet.ValidHost, func(n *yamldoc.Node) (string, *diag.Error) {
		if n.Kind != yamldoc.Scalar || !fleet.ValidHost(n.Value) {
			return "", diag.Errorf("a host needs the name of its group").WithHint("%s", hint)
		}
		return n.Value, nil
	}, func(s string) string { return s })
}
