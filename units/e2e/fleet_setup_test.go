package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bailiff/units/control"
	"bailiff/units/hub"
	"bailiff/units/hub/login"
)

// file is what the operator made for a host.
func (h *house) file(t *testing.T, name string) *hub.Member {
	t.Helper()
	m, err := hub.ReadMember(h.hub.Path(h.folder + "/hosts/" + name + ".json"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// client connects to the hub with the keys of a host.
func (h *house) client(t *testing.T, m *hub.Member, o ...nats.Option) (*nats.Conn, error) {
	t.Helper()
	options, err := login.Options(m.CA, m.NKey)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(strings.Join(m.Servers, ","), append(append(options, nats.NoReconnect(), nats.Timeout(time.Minute), nats.SetCustomDialer(h.Network),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})), o...)...)
	if err == nil {
		t.Cleanup(nc.Close)
	}
	return nc, err
}

// forgeries: host a sends what only host b, an operator or the hub may send. Only its own messages are stored and delivered.
func (h *house) forgeries(t *testing.T) {
	member := func(name string) *nats.Conn {
		nc, err := h.client(t, h.file(t, name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return nc
	}
	liar, victim := member("a"), member("b")
	heard := make(chan *nats.Msg, 1000)
	if _, err := victim.ChanSubscribe("fleet.>", heard); err != nil {
		t.Fatal(err)
	}
	if err := victim.Flush(); err != nil {
		t.Fatal(err)
	}
	ask := func(nc *nats.Conn, subject, payload string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		m, err := nc.RequestWithContext(ctx, subject, []byte(payload))
		if err != nil {
			return err.Error()
		}
		return string(m.Data) + strings.Join(m.Header.Values("Status"), "")
	}
	// It may send a message of its own, which it and the other host can read.
	const own, others = "ban.a.sshd.203_0_113_7/32", "ban.b.sshd.203_0_113_8/32"
	if got := ask(liar, own, "mine"); !strings.Contains(got, `"stream":"BANS"`) {
		t.Fatalf("its own ban: %s", got)
	}
	if got := ask(victim, "hub.DIRECT.GET.BANS."+own, ""); got != "mine" {
		t.Fatalf("read by the other host: %s", got)
	}

	say := func(subject, reply, payload string) {
		t.Helper()
		if err := liar.PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Data: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
	}
	consumer, err := json.Marshal(map[string]any{"stream_name": "BANS", "config": map[string]any{"name": "x", "deliver_subject": "fleet." + others, "ack_policy": "none", "filter_subject": own, "deliver_policy": "all"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{others, "fleet." + others, "roster", "fleet.roster"} {
		say(reply, "", "forged")                       // directly
		say("hub.DIRECT.GET.BANS."+own, reply, "")     // the hub would send the payload of a there
		say(own, reply, "mine")                        // and here its acknowledgement
		say("hub.STREAM.INFO.BANS", reply, "")         // and here its answer
		say("$JS.API.DIRECT.GET.BANS."+own, reply, "") // by the name that the hub itself uses
	}
	say("hub.CONSUMER.CREATE.BANS.x."+own, "", string(consumer))
	for _, call := range []string{"STREAM.DELETE.BANS", "STREAM.PURGE.BANS", "STREAM.UPDATE.BANS", "STREAM.MSG.DELETE.BANS", "STREAM.CREATE.MINE", "CONSUMER.LIST.BANS"} {
		for _, prefix := range []string{"hub.", "$JS.API."} {
			if got := ask(liar, prefix+call, `{"name":"MINE","subjects":["ban.>"]}`); !strings.Contains(got, "no responders") && !strings.Contains(got, "not enabled") {
				t.Errorf("%s%s is answered: %s", prefix, call, got)
			}
		}
	}
	if got := ask(liar, own, "last"); !strings.Contains(got, `"stream":"BANS"`) {
		t.Fatalf("its own ban: %s", got)
	}

	// The hub keeps the order of what a has sent, so that all of it has arrived with the last message.
	end := time.After(time.Minute)
	for done := false; !done; {
		select {
		case m := <-heard:
			if m.Subject == "fleet."+others || m.Subject == "fleet.roster" {
				t.Errorf("the other host heard %s: %q, headers %v", m.Subject, m.Data, m.Header)
			}
			done = string(m.Data) == "last"
		case <-end:
			t.Fatal("the last message did not come")
		}
	}
	if got := ask(victim, "hub.DIRECT.GET.BANS."+others, ""); got != "404" {
		t.Errorf("stored in the name of b: %q", got)
	}
	if got := ask(victim, "hub.DIRECT.GET.ROSTER.roster", ""); !strings.Contains(got, `"serial"`) {
		t.Errorf("the roster is %q", got)
	}

	// A host has its bounds: large messages, and many connections.
	if got := ask(member("a"), own, strings.Repeat("x", 5000)); !strings.Contains(got, "aximum payload") && !strings.Contains(got, "connection closed") {
		t.Errorf("a large message: %.100s", got)
	}
	var failed []string
	for range 8 {
		if _, err := h.client(t, h.file(t, "a")); err != nil {
			failed = append(failed, err.Error())
		}
	}
	if len(failed) < 4 || slices.ContainsFunc(failed, func(s string) bool { return !strings.Contains(s, "maximum account active connections exceeded") }) {
		t.Errorf("many connections: %q", failed)
	}
}

// operate runs commands where the operator's folder is, and installs what they have written on the hub.
func (h *house) operate(t *testing.T, script string) string {
	t.Helper()
	return h.hub.sh(t, "cd "+h.folder+"\n"+script+"\nbailiff fleet hub "+h.folder+"/servers/*")
}

// rotated: a host gets new keys. It stays connected, and in the end the old keys no longer work.
func (h *house) rotated(t *testing.T) {
	a, b := h.members["a"], h.members["b"]
	old := h.file(t, "b")
	since := b.status(t).Agent.Since
	t.Log(h.operate(t, `bailiff fleet rotate . b`))
	serial := h.file(t, "b").Serial
	h.roster(t, serial)
	if s := b.status(t).Agent; s.Hub == "" || !s.Since.Equal(since) {
		t.Errorf("b has lost the connection by new keys: %+v", s)
	}
	b.ban(t, "198.51.100.41")
	a.has(t, h.others("a"))
	h.join(t, "b") // with the new ones
	b.ban(t, "198.51.100.42")
	h.allEqual(t, "new keys")
	h.operate(t, `bailiff fleet rotate --finish . b`)
	h.roster(t, serial+1)
	b.ban(t, "198.51.100.43")
	h.allEqual(t, "the end of the old keys")
	if _, err := h.client(t, old); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("the old nkey: %v", err)
	}
	if _, err := h.client(t, h.file(t, "b")); err != nil {
		t.Errorf("the new nkey: %v", err)
	}
}

// allowed: an operator allows an address that one host bans. It is banned nowhere then, and each host names the operator.
func (h *house) allowed(t *testing.T) {
	const address = "198.51.100.31"
	a := h.members["a"]
	a.ban(t, address)
	for _, name := range []string{"b", "c"} {
		h.members[name].has(t, h.others(name))
	}
	begin := time.Now()
	h.hub.sh(t, `bailiff fleet allow `+h.folder+` `+address+` --comment customer; bailiff fleet publish `+h.folder)
	a.mine = slices.DeleteFunc(a.mine, func(p string) bool { return p == address })
	for _, name := range h.names {
		m := h.members[name]
		eventually(t, func() error {
			if out, err := m.Sh(t.Context(), `bailiff allow why `+address); err != nil {
				return fmt.Errorf("%s: %s, %w", name, out, err)
			}
			return nil
		})
		m.has(t, h.others(name))
		if m.inKernel(t, netip.MustParseAddr(address)) {
			t.Errorf("%s still bans it", name)
		}
	}
	t.Logf("allowed everywhere %.1f s after bailiff fleet allow was called", time.Since(begin).Seconds())
	eventually(t, func() error { // the trail is written a moment later
		if out := a.sh(t, `journalctl -u bailiff.service -g `+address+` -o cat`); !strings.Contains(out, "operator root of fleet fleet: customer") {
			return fmt.Errorf("the trail does not name the operator: %s", out)
		}
		return nil
	})
	if out := h.members["b"].sh(t, `bailiff allow why `+address); !strings.Contains(out, "operator root of fleet fleet: customer") {
		t.Error(out)
	}
	h.hub.sh(t, `bailiff fleet allow --remove `+h.folder+` `+address+`; bailiff fleet publish `+h.folder)
}

// roster waits until all hosts have a roster at least as new.
func (h *house) roster(t *testing.T, serial uint64) {
	t.Helper()
	for _, name := range h.names {
		eventually(t, func() error {
			if r := h.members[name].status(t).Roster; !r.Used || r.Serial < serial {
				return fmt.Errorf("%s has roster %+v, want %d", name, r, serial)
			}
			return nil
		})
	}
}

// revoked: a lost host can no longer connect, and what it has banned ends on the others.
func (h *house) revoked(t *testing.T) {
	a, c := h.members["a"], h.members["c"]
	lost := netip.MustParseAddr("198.51.100.51")
	c.ban(t, lost.String())
	a.has(t, h.others("a"))
	if !a.inKernel(t, lost) {
		t.Error("not banned by the host that will be lost")
	}
	file := h.file(t, "c")
	begin := time.Now()
	h.operate(t, `bailiff fleet revoke . c`)
	eventually(t, func() error {
		if s := a.status(t); slices.ContainsFunc(s.Hosts, func(x control.FleetHost) bool { return x.Name == "c" }) || a.inKernel(t, lost) {
			return fmt.Errorf("c is still believed: roster %+v", s.Roster)
		}
		return nil
	})
	t.Logf("the bans of a revoked host have ended %.1f s after bailiff fleet revoke was called", time.Since(begin).Seconds())
	if _, err := h.client(t, file); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("the revoked host's nkey: %v", err)
	}
	eventually(t, func() error {
		if s := c.status(t).Agent; s.Hub != "" || s.Error == "" {
			return fmt.Errorf("the revoked host: %+v", s)
		}
		return nil
	})
	c.ban(t, "198.51.100.52") // it goes on alone
	c.mine = nil
	if out, err := c.Sh(t.Context(), `bailiff fleet join --wait 3s /root/fleet.json`); err == nil || !strings.Contains(out+err.Error(), "it is not connected to the hub yet") {
		t.Errorf("a revoked host joins: %s, %v", out, err)
	}
}

// left: a host leaves, and comes back. Wrong files change nothing.
func (h *house) left(t *testing.T) {
	a, b := h.members["a"], h.members["b"]
	b.sh(t, `bailiff fleet init /root/other --server 192.0.2.1 b`)
	for _, x := range []struct {
		on           *victim
		script, want string
	}{
		{b.victim, `bailiff fleet join /root/other/hosts/b.json`, "this host is b of fleet fleet"},
		{b.victim, `bailiff fleet join /etc/passwd`, "/etc/passwd: not a file of a fleet"},
		{h.hub, `bailiff fleet hub /root`, "/root is not the folder of a server"},
		{h.hub, `cp -r ` + h.folder + `/servers/* /root/spoilt; sed -i s/listen/lissen/ /root/spoilt/nats-server.conf; bailiff fleet hub /root/spoilt`, "nats-server refuses the configuration: "},
	} {
		if out, err := x.on.Sh(t.Context(), x.script); err == nil || !strings.Contains(out+err.Error(), x.want) {
			t.Errorf("%s: no %q in %s, %v", x.script, x.want, out, err)
		}
	}
	b.ban(t, "198.51.100.60")
	a.has(t, h.others("a"))
	out := b.sh(t, `bailiff fleet leave`)
	if !strings.Contains(out, "no longer part of fleet fleet") || !strings.Contains(out, "bailiff fleet revoke DIR b") {
		t.Error(out)
	}
	if s := b.status(t); s.InEffect != 0 || len(s.Hosts) != 0 || s.Roster.Used {
		t.Errorf("after leave: %+v", s)
	}
	if got := b.sh(t, `systemctl is-enabled bailiff-fleet.service || true; systemctl is-active bailiff-fleet.service || true; ls /etc/bailiff /etc/bailiff/bailiff.d; bailiff fleet status`); !strings.HasPrefix(got, "disabled\ninactive\n") ||
		strings.Contains(got, "fleet.json") || strings.Contains(got, "60-fleet") || !strings.Contains(got, "no other host is believed") {
		t.Error(got)
	}
	if out, err := b.Sh(t.Context(), `bailiff fleet leave`); err == nil || !strings.Contains(out+err.Error(), "belongs to no fleet") {
		t.Errorf("%s, %v", out, err)
	}
	a.has(t, h.others("a")) // until they end
	h.join(t, "b")
	b.ban(t, "198.51.100.61")
	a.has(t, h.others("a"))
	b.has(t, h.others("b"))
}

// servers: the hosts are the servers of another fleet's hub themselves, too. They find each other only when all of them have given up
// waiting once. The hub works while one of them is away.
func (h *house) servers(t *testing.T) {
	for _, m := range h.members {
		m.sh(t, `bailiff fleet leave; bailiff unban --all`)
		m.mine = nil
	}
	h.hub.sh(t, `systemctl disable -q --now nats-server.service`)
	h.folder = "/root/three"
	var addresses []string
	for _, name := range h.names {
		addresses = append(addresses, h.address(name))
	}
	h.hub.sh(t, `bailiff fleet init `+h.folder+` --server `+strings.Join(addresses, " --server ")+" "+strings.Join(h.names, " "))
	cut := func(off bool) {
		for _, m := range h.members {
			if err := h.Cut(t.Context(), m.number, off); err != nil {
				t.Fatal(err)
			}
		}
	}
	cut(true)
	h.install(t, h.names...)
	cut(false)
	begin := time.Now()
	for _, name := range h.names {
		h.join(t, name)
	}
	a, b, c := h.members["a"], h.members["b"], h.members["c"]
	a.ban(t, "198.51.100.71")
	h.allEqual(t, fmt.Sprintf("the meeting of three servers (%.0f s)", time.Since(begin).Seconds()))
	c.sh(t, `systemctl stop nats-server.service`)
	b.ban(t, "198.51.100.72")
	c.ban(t, "198.51.100.73")
	h.allEqual(t, "the loss of one of three servers")
	c.sh(t, `systemctl start nats-server.service`)
	a.sh(t, `systemctl stop nats-server.service`)
	a.ban(t, "198.51.100.74")
	h.allEqual(t, "the loss of another one")
	a.sh(t, `systemctl start nats-server.service`)

	// What the hub loses comes back without anybody's help, also after a server has crashed.
	c.sh(t, `systemctl kill --signal=KILL nats-server.service`)
	for _, m := range []*member{a, c} {
		eventually(t, func() error {
			_, err := m.Sh(t.Context(), `systemctl is-active nats-server.service bailiff-hub.service`)
			return err
		})
	}
	file, err := hub.ReadAdmin(a.Path("/etc/bailiff-hub/admin.json"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := h.client(t, &hub.Member{Servers: file.Servers, CA: file.CA, NKey: file.NKey})
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"BANS", "ROSTER"} {
		eventually(t, func() error { return js.DeleteStream(t.Context(), stream) })
	}
	b.ban(t, "198.51.100.75")
	h.allEqual(t, "the loss of all streams")
}
