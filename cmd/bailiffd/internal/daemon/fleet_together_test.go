package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/policy/fleet"
	"bailiff/policy/prefix"
	"bailiff/units/control"
)

// TestTogether: failures here that lead to no ban are sent once, excused ones are not sent, and what other hosts have seen counts.
func TestTogether(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.configure("jails: {sshd: {}}\nallow: {addresses: [203.0.113.99], files: []}\nfleet: {hosts: {here: a, web1: b, web2: c}, together: {hosts: 3, failures: 6, accounts: 1}}\n")
	b.start()
	ctx := context.Background()
	eventually := func(f func() error) {
		t.Helper()
		for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			err := f()
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	exchange := func(l ...control.FleetSummary) (*control.FleetSummariesTaken, *fleet.Summary) {
		t.Helper()
		r, err := b.client.CountFleet(ctx, control.FleetSummaries{Host: "here", Summaries: l})
		if err != nil || !r.On {
			t.Fatalf("%+v, %v", r, err)
		}
		if r.Summary == nil {
			return r, nil
		}
		s, err := fleet.ParseSummary(r.Summary)
		if err != nil {
			t.Fatal(err)
		}
		return r, s
	}
	b.say(70001, "Accepted password for ann from 203.0.113.50 port 40022 ssh2")
	b.failAs("root", "203.0.113.1", 2)    // counts
	b.failAs("root", "203.0.113.99", 2)   // is allowed
	b.failAs("ann", "203.0.113.3", 2)     // might be ann
	b.failAs("nobody", "203.0.113.50", 2) // somebody logged in from there
	b.failAs("root", "203.0.113.4", 5)    // is banned here
	b.failAs("root", "203.0.113.5", 1)
	b.awaitBan("203.0.113.4/32")
	var seen []string
	eventually(func() error {
		if _, s := exchange(); s != nil {
			for _, x := range s.Seen {
				seen = append(seen, fmt.Sprint(x.Prefix.Prefix(), " ", x.Jail, " ", len(x.Failures)))
			}
		}
		if len(seen) < 2 {
			return fmt.Errorf("told: %q", seen)
		}
		return nil
	})
	if !slices.Equal(seen, []string{"203.0.113.1/32 sshd 2", "203.0.113.5/32 sshd 1"}) {
		t.Errorf("told: %q", seen)
	}
	if _, s := exchange(); s != nil {
		t.Errorf("told again: %+v", s)
	}

	// Other hosts have seen the same address, one that this host knows as good, and one that it allows.
	at := time.Now().UnixMicro()
	of := func(host string, addrs ...string) control.FleetSummary {
		at++
		s := &fleet.Summary{At: at}
		for _, a := range addrs {
			s.Seen = append(s.Seen, fleet.Seen{Prefix: fleet.SummaryPrefix(netip.MustParseAddr(a)), Jail: "sshd", Failures: []fleet.SeenFailure{{At: at}, {At: at}}})
		}
		return control.FleetSummary{Host: host, Payload: s.Encode()}
	}
	again := of("web1", "203.0.113.1", "203.0.113.50", "203.0.113.99")
	r, objection := exchange(again, again, of("web2", "203.0.113.1"), of("web3", "203.0.113.1"), control.FleetSummary{Host: "web2", Payload: []byte{7}})
	if r.Refused[fleet.ErrOld.Error()] != 1 || r.Refused[fleet.ErrHost.Error()] != 1 || r.Refused[fleet.ErrSummary.Error()] != 1 || len(r.Refused) != 3 {
		t.Errorf("%+v", r)
	}
	if objection == nil || len(objection.Seen) != 0 || len(objection.Good) != 2 {
		t.Errorf("%+v", objection)
	}
	w, err := b.client.Why(ctx, "203.0.113.50")
	if err != nil || w.Together == nil || !slices.Equal(w.Together.Good, []string{"here"}) {
		t.Errorf("%+v, %v", w, err)
	}
	eventually(func() error {
		w, err := b.client.Why(ctx, "203.0.113.1")
		if err != nil || w.State != "banned" || w.Together == nil || !w.Together.Banned || !slices.Equal(w.Together.Hosts, []string{"here", "web1", "web2"}) || len(w.Bans)+len(w.Fleet) != 0 {
			return fmt.Errorf("%+v, %v", w, err)
		}
		return nil
	})
	b.holdsOfFleet(1)
	eventually(func() error { // soon, because the others do not send it again
		data, err := os.ReadFile(filepath.Join(b.state, fleetName))
		if err == nil && !bytes.Contains(data, []byte(fleet.JailTogether)) {
			err = errors.New("the ban is not saved")
		}
		return err
	})
	if m := b.scrape(); m["bailiff_fleet_together_bans"] != 1 || m["bailiff_fleet_together_prevented_bans_total"] != 0 {
		t.Errorf("metrics: %v, %v", m["bailiff_fleet_together_bans"], m["bailiff_fleet_together_prevented_bans_total"])
	}
	if got := b.banned(ctx); len(got) != 1 {
		t.Errorf("own bans: %v", got)
	}
	s, err := b.client.Fleet(ctx)
	if err != nil || s.Together == nil || s.Together.Bans != 1 || s.Together.Good != 2 || s.InEffect != 1 {
		t.Errorf("%+v %+v, %v", s, s.Together, err)
	}
	if l := s.Together.Latest; len(l) != 1 || l[0].Prefix != "203.0.113.1/32" || l[0].Hosts != 3 || l[0].Groups != 3 || l[0].Failures < 3 || !l[0].Until.After(l[0].Since) {
		t.Errorf("%+v", l)
	}
	if n, err := b.client.Unban(ctx, "203.0.113.1", "", false); err != nil || n.Removed != 1 {
		t.Errorf("%+v, %v", n, err)
	}
	if r, err := b.client.CountFleet(ctx, control.FleetSummaries{Host: "here", More: true}); err != nil || !r.On || r.Summary != nil {
		t.Errorf("%+v, %v", r, err)
	}
	if _, s := exchange(); s == nil || len(s.Good) != 1+len(objection.Good) || s.Good[0] != (prefix.OfAddr(netip.MustParseAddr("203.0.113.1"))) {
		t.Errorf("%+v", s)
	}
	b.holdsOfFleet(0)
	// Off again, at once.
	b.configure("jails: {sshd: {}}\nfleet: {hosts: {web1: b}}\n")
	if _, err := b.client.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	if r, err := b.client.CountFleet(ctx, control.FleetSummaries{Host: "here"}); err != nil || r.On {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := b.client.CountFleet(ctx, control.FleetSummaries{Host: "no host"}); err == nil || !strings.Contains(err.Error(), "not the name of a host") {
		t.Error(err)
	}
}
