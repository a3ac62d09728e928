package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

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

// connected waits until all hosts are connected to one of these.
func (h *house) connected(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range h.names {
		eventually(t, func() error {
			s := h.members[name].status(t).Agent
			for _, to := range names {
				if s != nil && s.Hub == "tls://"+h.address(to)+":4222" {
					return nil
				}
			}
			return fmt.Errorf("%s: %+v, want a connection to %q", name, s, names)
		})
	}
}

// operators: a second operator removes the first one, and hosts follow by themselves. Then neither the hub nor the hosts accept anything
// from the first one.
func (h *house) operators(t *testing.T) {
	const ann, bob = "/root/fleet", "/root/bobs"
	old := h.file(t, "a")
	h.hub.sh(t, `bailiff fleet operator `+ann+` bob $(bailiff fleet key /root/bob.key); bailiff fleet publish `+ann+`
		cp -r `+ann+` `+bob+`; cp /root/bob.key `+bob+`/operator.key`)
	h.roster(t, h.file(t, "a").Serial)
	begin := time.Now()
	h.folder = bob
	t.Log(h.operate(t, `bailiff fleet operator --remove . root`))
	h.roster(t, h.file(t, "a").Serial)
	t.Logf("an operator is removed everywhere %.1f s after bailiff fleet operator was called", time.Since(begin).Seconds())
	for _, name := range h.names {
		if out := h.members[name].sh(t, `journalctl -u bailiff-fleet.service -o cat -g operators`); !strings.HasSuffix(out, "the operators of the fleet are now root, bob\nthe operators of the fleet are now bob\n") {
			t.Errorf("%s: %s", name, out)
		}
	}
	h.hub.sh(t, `bailiff fleet allow `+ann+` 198.51.100.55`)
	if out, err := h.hub.Sh(t.Context(), `bailiff fleet publish `+ann); err == nil || !strings.Contains(out+err.Error(), "Authorization Violation") {
		t.Errorf("who was removed: %s, %v", out, err)
	}
	h.members["b"].ban(t, "198.51.100.55")
	h.allEqual(t, "the removal of an operator")

	t.Log(h.operate(t, `bailiff fleet rotate --finish .`) + h.hub.sh(t, `bailiff fleet publish `+bob))
	h.roster(t, h.file(t, "a").Serial)
	h.connected(t, "hub")
	h.members["a"].ban(t, "198.51.100.56")
	h.allEqual(t, "new certificates of the hub")
	if _, err := h.client(t, old); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("the old authority is still that of the hub: %v", err)
	}
	if _, err := h.client(t, h.file(t, "a")); err != nil {
		t.Error(err)
	}
}

// moved: the hub of three servers, on the hosts, moves to one, and to three others. Hosts follow by themselves. A removed server keeps
// running, but nobody listens to it.
func (h *house) moved(t *testing.T) {
	a, b, c := h.members["a"], h.members["b"], h.members["c"]
	change := func(servers, install []string) {
		t.Helper()
		begin := time.Now()
		var l []string
		for _, s := range servers {
			l = append(l, h.address(s))
		}
		h.hub.sh(t, `bailiff fleet servers `+h.folder+` `+strings.Join(l, " "))
		h.install(t, install...)
		t.Log(h.hub.sh(t, `bailiff fleet publish `+h.folder))
		h.roster(t, h.file(t, "a").Serial)
		h.connected(t, servers...)
		t.Logf("all hosts are at the servers %q %.1f s after bailiff fleet servers was called", servers, time.Since(begin).Seconds())
	}
	change([]string{"hub"}, []string{"hub"})
	a.ban(t, "198.51.100.81")
	h.allEqual(t, "the move to one server")

	// Two of the old servers keep running and have a majority, with the hosts' accounts, certificates and the hub's old key.
	a.sh(t, `bailiff fleet hub --remove`)
	if got := a.sh(t, `systemctl is-enabled nats-server || :; ls -d /etc/bailiff-hub /var/lib/bailiff-hub /etc/systemd/system/nats-server.service.d 2>/dev/null || :`); got != "disabled\n" {
		t.Errorf("left on a server that is removed: %s", got)
	}
	h.hub.sh(t, `bailiff fleet rotate --finish `+h.folder+`; systemctl stop nats-server.service`)
	b.ban(t, "198.51.100.82")
	for _, m := range h.members {
		eventually(t, func() error {
			if s := m.status(t).Agent; s.Hub != "" || s.Error == "" {
				return fmt.Errorf("%s: %+v", m.name, s)
			}
			return nil
		})
	}
	b.sh(t, `systemctl is-active nats-server.service; systemctl restart bailiff-fleet.service`)
	c.sh(t, `systemctl is-active nats-server.service`)
	h.hub.sh(t, `systemctl start nats-server.service`)
	h.allEqual(t, "the return of the one server")
	h.connected(t, "hub")

	// From one server to three. One of them was a server before; the other old server tries to connect and is rejected.
	change([]string{"hub", "a", "b"}, []string{"a", "b", "hub"})
	a.ban(t, "198.51.100.83")
	h.allEqual(t, "the move to three servers")
	h.hub.sh(t, `systemctl stop nats-server.service`)
	h.connected(t, "a", "b")
	c.ban(t, "198.51.100.84")
	h.allEqual(t, "the loss of one of them")
	eventually(t, func() error {
		if out := a.sh(t, `journalctl -u nats-server.service -o cat -g '`+h.address("c")+`.*(uthentication|uthorization)' -n 1 || :`); !strings.Contains(out, "uth") {
			return fmt.Errorf("the removed server did not knock, or was let in: %s", out)
		}
		return nil
	})
	h.hub.sh(t, `systemctl start nats-server.service`)
	c.sh(t, `bailiff fleet hub --remove`)
}
