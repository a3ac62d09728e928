package agent

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/policy/fleet"
	"bailiff/policy/prefix"
	"bailiff/units/control"
	"bailiff/units/hub"
)

// counting is a fake daemon that counts failures together with others.
type counting struct {
	*fakeDaemon
	tally   fleet.Tally
	on      bool
	refused map[string]int
	calls   int
	busy    bool // an address fails before each call
}

func newCounting(t *testing.T, hosts ...string) *counting {
	r := rules(hosts...)
	r.Together = fleet.Together{Hosts: len(hosts), Failures: 2 * len(hosts)}
	d := &counting{fakeDaemon: stoppedDaemon(t, r), on: true, refused: map[string]int{}}
	d.answers = d
	d.start()
	return d
}

func (d *counting) CountFleet(_ context.Context, req control.FleetSummaries) (*control.FleetSummariesTaken, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.on {
		return &control.FleetSummariesTaken{}, nil
	}
	now := time.Now().UnixMicro()
	count := func(host string, payload []byte) {
		s, err := fleet.ParseSummary(payload)
		if err == nil {
			_, err = d.others.Count(host, s, now)
		}
		if err != nil {
			d.refused[host+": "+err.Error()]++
		}
	}
	for _, x := range req.Summaries {
		count(x.Host, x.Payload)
	}
	r := &control.FleetSummariesTaken{On: true}
	if d.calls++; d.busy {
		d.tally.Add(netip.AddrFrom4([4]byte{192, 0, 2, byte(d.calls)}), "sshd", 1, fleet.SeenFailure{At: now})
	}
	if req.More {
		return r, nil
	}
	if s := d.tally.Take(now, time.Hour, func(prefix.Key) bool { return false }); s != nil {
		r.Summary = s.Encode()
		count(req.Host, r.Summary)
	}
	return r, nil
}

// fails has an address fail on a host.
func (d *counting) fails(addr string, accounts ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, user := range accounts {
		d.tally.Add(netip.MustParseAddr(addr), "sshd", 1, fleet.SeenFailure{At: time.Now().UnixMicro(), Account: fleet.AccountCode("test", []byte(user))})
	}
}

// hosts returns those that have counted failures of an address.
func (d *counting) hosts(addr string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, _ := d.others.Counted(fleet.SummaryPrefix(netip.MustParseAddr(addr)).Prefix(), time.Now().UnixMicro())
	return c.Hosts
}

// TestTogether: the failures that hosts count reach the daemons of all, and forged ones do not.
func TestTogether(t *testing.T) {
	names := []string{"a", "b", "c"}
	h := newHub(t, names...)
	all := map[string]*counting{}
	for _, name := range names {
		all[name] = newCounting(t, names...)
	}
	for _, name := range names[:2] {
		h.run(name, all[name].fakeDaemon)
	}
	for _, name := range names[:2] {
		d := all[name]
		eventually(t, func() error { // before a host has connected, it misses what others send
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.agent.Hub == "" {
				return fmt.Errorf("%s is not connected: %+v", name, d.agent)
			}
			return nil
		})
	}
	all["a"].fails("192.0.2.1", "root", "admin")
	all["b"].fails("192.0.2.1", "root", "test")
	for _, d := range all {
		if d == all["c"] {
			continue
		}
		eventually(t, func() error {
			if got := d.hosts("192.0.2.1"); !slices.Equal(got, []string{"a", "b"}) {
				return fmt.Errorf("counted by %q", got)
			}
			return nil
		})
	}

	// c was taken over. It can send only in its own name.
	nc := h.client("c")
	summary := func(signer, host, addr string) *nats.Msg {
		now := time.Now().UnixMicro()
		s := &fleet.Summary{At: now, Seen: []fleet.Seen{{Prefix: fleet.SummaryPrefix(netip.MustParseAddr(addr)), Jail: "sshd", Failures: []fleet.SeenFailure{{At: now}}}}}
		m := fleet.SignSummary(host, s.Encode(), h.members[signer].Key.Private())
		return &nats.Msg{Subject: m.Subject, Data: m.Payload, Header: nats.Header{hub.SignatureHeader: {base64.StdEncoding.EncodeToString(m.Signature)}}}
	}
	send := func(m *nats.Msg) {
		t.Helper()
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	send(summary("c", "b", "192.0.2.2"))                                                // in another's name: the hub does not forward it,
	send(summary("c", "b", "192.0.2.2"))                                                // nor under
	for _, subject := range []string{"fleet.count.b", "hub.count.b", "ban.c.count.b"} { // other subjects
		m := summary("c", "b", "192.0.2.2")
		m.Subject = subject
		send(m)
	}
	for _, reply := range []string{"count.b", "fleet.count.b"} {
		m := summary("c", "b", "192.0.2.2")
		m.Subject, m.Reply = "count.c", reply
		send(m)
	}
	unsigned := summary("b", "c", "192.0.2.3") // not signed with its own key
	send(unsigned)
	huge := summary("c", "c", "192.0.2.4")
	huge.Data = append(huge.Data, make([]byte, 3600)...)
	send(huge)
	garbage := fleet.SignSummary("c", []byte{1, 2, 3}, h.members["c"].Key.Private())
	send(&nats.Msg{Subject: garbage.Subject, Data: garbage.Payload, Header: nats.Header{hub.SignatureHeader: {base64.StdEncoding.EncodeToString(garbage.Signature)}}})
	honest := summary("c", "c", "192.0.2.9")
	send(honest)
	send(honest) // again
	send(summary("c", "c", "192.0.2.10"))
	for _, name := range names[:2] {
		d := all[name]
		eventually(t, func() error {
			if got := d.hosts("192.0.2.10"); !slices.Equal(got, []string{"c"}) {
				return fmt.Errorf("counted by %q", got)
			}
			return nil
		})
		if got := d.hosts("192.0.2.9"); !slices.Equal(got, []string{"c"}) {
			t.Errorf("%s: counted by %q", name, got)
		}
		for _, no := range []string{"192.0.2.2", "192.0.2.3", "192.0.2.4"} {
			if got := d.hosts(no); len(got) > 0 {
				t.Errorf("%s: %s is counted by %q", name, no, got)
			}
		}
		d.mu.Lock()
		if d.refused["c: "+fleet.ErrOld.Error()] != 1 || d.refused["c: "+fleet.ErrSummary.Error()] != 1 || len(d.refused) != 2 {
			t.Errorf("%s: refused %v", name, d.refused)
		}
		d.mu.Unlock()
	}

	// Off: nothing is sent, and what comes is dropped.
	all["a"].mu.Lock()
	all["a"].on = false
	all["a"].mu.Unlock()
	all["a"].fails("192.0.2.20", "root")
	all["b"].fails("192.0.2.21", "root")
	eventually(t, func() error {
		if got := all["b"].hosts("192.0.2.21"); !slices.Equal(got, []string{"b"}) {
			return fmt.Errorf("counted by %q", got)
		}
		return nil
	})
	if a, b := all["a"].hosts("192.0.2.21"), all["b"].hosts("192.0.2.20"); len(a)+len(b) > 0 {
		t.Errorf("counted by %q and %q", a, b)
	}
}

// TestManySummaries: in a large fleet, the daemon takes the summaries of others in several calls, and has counted a little meanwhile each time.
// A host sends one summary nevertheless, since others read some twenty a minute.
func TestManySummaries(t *testing.T) {
	h := newHub(t, "a", "b")
	d := newCounting(t, "a", "b")
	d.busy = true
	a := h.reader("a")
	defer a.link.nc.Close()
	a.Daemon = control.Dial(d.path)
	eventually(t, func() error {
		if !a.link.connected() {
			return errors.New("not connected")
		}
		return nil
	})
	nc := h.client("b")
	sub, err := nc.SubscribeSync(republished + "count.a")
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	if !a.exchange(t.Context(), make([]control.FleetSummary, 1000)) || a.countErr.get() != nil {
		t.Fatal(a.countErr.get())
	}
	h.publish("a", &nats.Msg{Subject: "count.a", Data: []byte("end")})
	for n := 0; ; n++ {
		m, err := sub.NextMsg(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Data) == "end" {
			if n != 1 {
				t.Errorf("%d summaries were sent, want 1", n)
			}
			break
		}
	}
	if d.calls < 1000/control.MaxFleetSummaries {
		t.Errorf("%d calls of the daemon", d.calls)
	}
}

// TestSummaryShare: a host that sends more summaries than a daemon takes leaves room for those of others.
func TestSummaryShare(t *testing.T) {
	r := &reader{Agent: &Agent{Options: Options{Member: &hub.Member{Host: "a"}}, link: &link{}, summaries: make(chan stored, 1024)}}
	r.roster.Store(&roster{groups: map[string]string{"a": "a", "b": "b", "c": "c"}})
	for i := range 2000 {
		m := &nats.Msg{Subject: republished + "count.c", Header: nats.Header{"Nats-Stream": {shortStream}}}
		if i == 1999 {
			m.Subject = republished + "count.b"
		}
		if err := r.live(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	close(r.summaries)
	got := map[string]int{}
	for s := range r.summaries {
		got[fleet.Sender(s.subject)]++
	}
	if got["b"] != 1 || got["c"] == 0 || got["c"] > 100 {
		t.Errorf("waiting: %v", got)
	}
}
