package agent

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/policy/fleet"
	"bailiff/units/control"
	"bailiff/units/hub"
)

// maxSummaries is how many summaries of other hosts wait for the daemon. Further ones are dropped: an address that fails again is reported
// again. The reader bounds the share of each host.
const maxSummaries = 4096

// maxUnread is how many are kept unread until the daemon says whether to use them.
const maxUnread = 256

// countTogether exchanges summaries of failures between the daemon and other hosts, every few seconds until ctx ends. If failures are not
// counted together here, it drops summaries unread.
func (a *Agent) countTogether(ctx context.Context) {
	tick := time.NewTicker(a.countEvery*9/10 + rand.N(a.countEvery/5))
	defer tick.Stop()
	var unread []stored
	var wait []control.FleetSummary
	on := false
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-a.summaries:
			if on && len(wait) < maxSummaries {
				wait = a.openSummary(wait, &s)
			} else if !on && len(unread) < maxUnread {
				unread = append(unread, s)
			}
			continue
		case <-tick.C:
		}
		if !a.daemonUp.Load() || !a.link.connected() {
			continue // what this host has counted waits in the daemon
		}
		was := on
		on = a.exchange(ctx, wait)
		wait = nil
		if on && !was { // it counts from now on
			for i := range unread {
				wait = a.openSummary(wait, &unread[i])
			}
		}
		unread = nil
	}
}

// openSummary appends a summary if its host has signed it.
func (a *Agent) openSummary(l []control.FleetSummary, s *stored) []control.FleetSummary {
	m := s.message()
	host, err := fleet.OpenSummary(&m, a.roster.Load().of)
	if err != nil {
		a.rejected.Add(1)
		return l
	}
	return append(l, control.FleetSummary{Host: host, Payload: s.payload})
}

// exchange passes summaries to the daemon and publishes its own: one, however many calls that takes, since others read fleet.SummaryRate in a
// minute. It reports whether failures are counted together here.
func (a *Agent) exchange(ctx context.Context, l []control.FleetSummary) bool {
	for {
		n := min(len(l), control.MaxFleetSummaries)
		r, err := a.Daemon.CountFleet(ctx, control.FleetSummaries{Host: a.Member.Host, Summaries: l[:n], More: n < len(l)})
		switch {
		case ctx.Err() != nil:
			return true
		case err != nil:
			a.countErr.set(fmt.Errorf("the daemon takes no summaries of failures: %w", err))
			return true
		case !r.On:
			a.countErr.set(nil)
			return false
		}
		if len(r.Summary) > 0 {
			a.countErr.set(a.publishSummary(ctx, r.Summary))
		}
		if l = l[n:]; len(l) == 0 {
			return true
		}
	}
}

// publishSummary sends this host's summary to the others. It is lost if the hub is away just then; the next ones name the good prefixes again.
func (a *Agent) publishSummary(ctx context.Context, payload []byte) error {
	ctx, end := a.link.during(ctx)
	defer end()
	ctx, cancel := context.WithTimeout(ctx, a.link.answerTime)
	defer cancel()
	m := fleet.SignSummary(a.Member.Host, payload, a.key)
	msg := &nats.Msg{Subject: m.Subject, Data: m.Payload, Header: nats.Header{hub.SignatureHeader: {base64.StdEncoding.EncodeToString(m.Signature)}}}
	_, err := a.link.nc.RequestMsgWithContext(ctx, msg) // the hub's stream answers
	if errors.Is(err, nats.ErrNoResponders) {
		return errors.New("the hub takes no summaries of failures: it was set up by an earlier version; run bailiff fleet publish, then bailiff fleet hub on its servers")
	}
	if err != nil && a.link.connected() {
		return fmt.Errorf("publish a summary of failures: %w", err)
	}
	return nil
}
