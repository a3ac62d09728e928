package main

import (
	"strings"
	"testing"

	"bailiff/policy/config"
)

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		configured, override, tool, lack string
		want, why                        string
	}{
		{"auto", "", "iptables", "", "ipset", "iptables is installed"},
		{"auto", "", "ipset", "", "ipset", "ipset is installed"},
		{"auto", "", "", "", "nftables", "neither"},
		{"auto", "", "iptables", "set type hash:net", "nftables", "lacks set type hash:net"},
		{"ipset", "", "", "set type hash:net", "ipset", "as configured"},
		{"nftables", "", "iptables", "", "nftables", "as configured"},
		{"nftables", "dryrun", "iptables", "", "dryrun", "command line"},
		{"nftables", "auto", "iptables", "", "ipset", "iptables is installed"},
	} {
		h := hostFacts{lacks: map[string]string{}, tools: func() string { return c.tool }}
		if c.lack != "" {
			h.lacks["ipset"] = c.lack
		}
		conf := &config.Config{Firewall: config.Firewall{Backend: c.configured}}
		if name, why := h.choose(conf, c.override); name != c.want || !strings.Contains(why, c.why) {
			t.Errorf("%+v: %s, because %s", c, name, why)
		}
	}
}
