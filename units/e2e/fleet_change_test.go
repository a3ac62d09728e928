package e2e

import (
	"os/exec"
	"sync"
	"testing"

	"bailiff/units/e2e/host"
)

// address is where a host, or the hub, is reached by the others.
func (h *house) address(name string) string {
	if name == "hub" {
		return host.Member(1).String()
	}
	return host.Member(h.members[name].number).String()
}

func (h *house) on(name string) *victim {
	if name == "hub" {
		return h.hub
	}
	return h.members[name].victim
}

// install installs the files of servers on hosts, at the same time: the first ones wait for the others.
func (h *house) install(t *testing.T, names ...string) {
	t.Helper()
	var all sync.WaitGroup
	for _, name := range names {
		m := h.on(name)
		m.sh(t, `rm -rf /root/server`)
		if out, err := exec.Command("cp", "-r", h.hub.Path(h.folder+"/servers/"+h.address(name)), m.Path("/root/server")).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		all.Add(1)
		go func() {
			defer all.Done()
			if out, err := m.Sh(t.Context(), `bailiff fleet hub /root/server`); err != nil {
				t.Errorf("%s: %v: %s", name, err, out)
			}
		}()
	}
	all.Wait()
}
