package config

import (
	"strings"
	"testing"
)

// TestFleetHosts: the last file says whether the configuration or the roster names the hosts.
func TestFleetHosts(t *testing.T) {
	const some, roster = "fleet: {hosts: {web1: berlin}}\n", "fleet: {hosts: roster}\n"
	if c := build(t, some, roster); !c.Fleet.Roster || c.Fleet.Hosts != nil || !strings.Contains(string(c.Render()), "hosts: roster ") {
		t.Errorf("%+v\n%s", c.Fleet, c.Render())
	}
	if c := build(t, roster, some); c.Fleet.Roster || c.Fleet.Hosts["web1"] != "berlin" {
		t.Errorf("%+v", c.Fleet)
	}
	if c := build(t, roster, "fleet: {hosts: }\n"); c.Fleet.Some() {
		t.Errorf("%+v", c.Fleet)
	}
}
