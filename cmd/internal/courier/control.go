package courier

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/internal/build"
	"bailiff/journal/audit"
	"bailiff/policy/report"
	"bailiff/units/control"
)

// Asker answers on the control socket.
type Asker struct {
	E       *Engine
	Started time.Time
}

// Status says what the courier does.
func (a *Asker) Status(context.Context) (*control.CourierStatus, error) {
	e := a.E
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	s := &control.CourierStatus{Version: build.String(), PID: os.Getpid(), Started: a.Started, Problems: slices.Clone(e.problems), Delivered: e.delivered, CaughtUp: e.caughtUp, Cursor: e.pos.Cursor, QueueBytes: e.q.wal.end}
	if e.confErr != "" {
		s.Problems = append(s.Problems, "the configuration was not reloaded: "+e.confErr)
	}
	if e.fullSaid {
		s.Problems = append(s.Problems, "the queue cannot grow: new bans wait in the journal")
	}
	for _, d := range e.destinations() {
		x := control.DestinationStatus{Name: d.name, Waiting: len(d.items) + len(d.gather), Sent: d.sentLately(now)}
		s.Waiting += x.Waiting
		if d.hold != nil {
			x.Held = d.hold.Why
		}
		if r := d.run; r != nil {
			x.Type, x.Quota, x.LastError = r.conf.Type, r.conf.Quota, r.lastErr
			x.LastOK, x.LastFailed = when(r.lastOK), when(r.lastFail)
			if r.until.After(now) {
				x.Paused = when(r.until)
			}
		} else if x.Waiting == 0 {
			continue
		}
		s.Destinations = append(s.Destinations, x)
	}
	return s, nil
}

func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.Round(0)
	return &t
}

func (e *Engine) destinations() []*dest {
	all := make([]*dest, 0, len(e.q.dest))
	for _, d := range e.q.dest {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b *dest) int { return strings.Compare(a.name, b.name) })
	return all
}

func (e *Engine) known(name string) error {
	if d := e.q.dest[name]; d != nil && (d.run != nil || len(d.items)+len(d.gather) > 0) {
		return nil
	}
	names := []string{}
	for _, d := range e.destinations() {
		if d.run != nil {
			names = append(names, d.name)
		}
	}
	hint := "none is configured: see report.destinations in bailiff.yaml(5)"
	if len(names) > 0 {
		hint = "there are " + strings.Join(names, ", ")
	}
	return &control.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no destination %.50q", name), Hint: hint}
}

// queued describes what waits.
func queued(d *dest, it *item, rp *rep) control.QueuedReport {
	q := control.QueuedReport{ID: rp.ID, Address: rp.Address.String(), Jail: rp.Jail, Time: time.UnixMicro(rp.Time), Destination: d.name, State: "digest"}
	if it != nil {
		q.Item, q.State, q.Attempts, q.Error = it.key, "waiting", it.attempts, it.err
		if it.due.After(time.Now()) {
			q.Next = when(it.due)
		}
		switch {
		case it.begun != 0:
			q.State = "delivering"
		case it.doubt != 0:
			q.State = "in doubt"
		}
	}
	if d.hold != nil && q.State != "delivering" {
		q.State = "held"
	}
	if d.run == nil {
		q.State = "not configured"
	}
	return q
}

// each gives what waits: all of one destination or of all, of a ban, an address, or all of them.
func (e *Engine) each(destination, id string, yield func(*dest, *item, *rep)) {
	addr, _ := netip.ParseAddr(id)
	is := func(rp *rep) bool {
		return id == "" || rp.ID == id || rp.Key == id || addr.IsValid() && rp.Address == addr.Unmap()
	}
	for _, d := range e.destinations() {
		if destination != "" && d.name != destination {
			continue
		}
		for _, it := range d.sorted() {
			for _, rp := range it.reps {
				if is(rp) {
					yield(d, it, rp)
				}
			}
		}
		for _, rp := range slices.Clone(d.gather) {
			if is(rp) {
				yield(d, nil, rp)
			}
		}
	}
}

// Reports lists what waits.
func (a *Asker) Reports(_ context.Context, destination string, limit int) (*control.ReportList, error) {
	e := a.E
	e.mu.Lock()
	defer e.mu.Unlock()
	if destination != "" {
		if err := e.known(destination); err != nil {
			return nil, err
		}
	}
	l := &control.ReportList{}
	e.each(destination, "", func(d *dest, it *item, rp *rep) {
		if l.Total++; len(l.Reports) < limit {
			l.Reports = append(l.Reports, queued(d, it, rp))
		}
	})
	slices.SortStableFunc(l.Reports, func(a, b control.QueuedReport) int { return a.Time.Compare(b.Time) })
	return l, nil
}

// Report shows the newest report of a ban or about an address.
func (a *Asker) Report(_ context.Context, id, destination string) (*control.ReportShow, error) {
	e := a.E
	e.mu.Lock()
	defer e.mu.Unlock()
	var newest *rep
	e.each(destination, id, func(_ *dest, _ *item, rp *rep) {
		if newest == nil || rp.seq > newest.seq {
			newest = rp
		}
	})
	if newest == nil {
		return nil, &control.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("no report of %.100q waits", id),
			Hint: "bailiff report list shows what waits; of what was delivered the journal tells: journalctl BAILIFF_BAN_ID=…"}
	}
	r, err := e.q.Report(newest)
	if err != nil {
		return nil, err
	}
	s := &control.ReportShow{Report: r}
	e.each(destination, newest.Key, func(d *dest, it *item, rp *rep) {
		x := control.Delivery{QueuedReport: queued(d, it, rp)}
		what := &report.Item{Key: itemKey(rp.Key, d.name), Reports: []*report.Report{r}, Attempt: 1}
		var err error
		if it != nil && it.digest {
			what, err = e.assemble(it)
		}
		switch {
		case err != nil:
			x.Failed = err.Error()
		case d.run == nil:
			x.Failed = "the destination is not configured"
		default:
			// One of its own: that of the runner may be at work.
			dst, err := e.o.New(&d.run.conf, e.env)
			if err == nil {
				var b []byte
				b, err = dst.Render(what)
				x.Preview = string(b)
			}
			if err != nil {
				x.Failed = err.Error()
			}
		}
		s.Deliveries = append(s.Deliveries, x)
	})
	return s, nil
}

// Retry has what waits tried at once.
func (a *Asker) Retry(_ context.Context, by control.Peer, req control.ReportsRequest) (*control.ReportsResult, error) {
	e := a.E
	e.mu.Lock()
	defer e.mu.Unlock()
	if req.Destination != "" {
		if err := e.known(req.Destination); err != nil {
			return nil, err
		}
	}
	n := 0
	free := map[*dest]bool{}
	now := time.Now()
	e.each(req.Destination, req.ID, func(d *dest, it *item, _ *rep) {
		n++
		free[d] = true
		if it != nil && d.run != nil && it.begun == 0 && !it.taken {
			d.run.remove(it)
			it.due, it.asked = now, false
			d.run.push(it)
		}
	})
	if d := e.q.dest[req.Destination]; d != nil {
		free[d] = true
	}
	for d := range free {
		if d.hold != nil {
			if err := e.q.write(frHold, recHold{Dest: d.name, Time: now.UnixMicro()}); err != nil {
				e.trouble(err)
				return nil, err
			}
			e.o.Audit.Event(audit.KindReportsFree, fmt.Sprintf("reports to %s are tried again: %s asks for it", d.name, by.User),
				audit.Field{Name: audit.FieldDestination, Value: d.name}, audit.Field{Name: audit.FieldBy, Value: by.User})
		}
		if d.run != nil {
			d.run.until, d.run.failures = time.Time{}, 0
			d.run.nudge()
		}
	}
	e.stir()
	if n == 0 && len(free) == 0 {
		return nil, &control.Error{Status: http.StatusNotFound, Message: "no such report waits", Hint: "bailiff report list shows what waits"}
	}
	return &control.ReportsResult{Reports: n}, nil
}

// Drop gives up what waits. What is being delivered at the moment is not meant.
func (a *Asker) Drop(_ context.Context, by control.Peer, req control.ReportsRequest) (*control.ReportsResult, error) {
	e := a.E
	e.mu.Lock()
	defer e.mu.Unlock()
	if req.Destination != "" {
		if err := e.known(req.Destination); err != nil {
			return nil, err
		}
	}
	n := 0
	why := "dropped by " + by.User
	var failed bool
	done := map[*item]bool{}
	e.each(req.Destination, req.ID, func(d *dest, it *item, rp *rep) {
		switch {
		case failed || it != nil && (it.begun != 0 || it.taken || done[it]):
			return
		case it == nil:
			failed = !e.dropGathered(d, []*rep{rp}, why)
			n++
		default:
			n += len(it.reps)
			done[it] = true
			failed = !e.drop(d, it, why)
		}
	})
	switch {
	case failed:
		return nil, &control.Error{Status: http.StatusInsufficientStorage, Message: "the queue cannot be written", Hint: "look at the disk that holds /var/lib/bailiff-report"}
	case n == 0 && !req.All:
		return nil, &control.Error{Status: http.StatusNotFound, Message: "no such report waits", Hint: "bailiff report list shows what waits"}
	}
	if err := e.q.Sync(); err != nil {
		e.die(err)
		return nil, err
	}
	return &control.ReportsResult{Reports: n}, nil
}

// TestAddress is of a network for documentation (RFC 5737): it belongs to nobody.
var TestAddress = netip.MustParseAddr("192.0.2.1")

// TestItem makes the item of a test delivery.
func TestItem(dest, host string, now time.Time) *report.Item {
	id := fmt.Sprintf("test%012x", now.UnixMicro())
	return &report.Item{Key: itemKey(id, dest), Test: true, Attempt: 1, Reports: []*report.Report{{
		ID: id, Time: now, Prefix: netip.PrefixFrom(TestAddress, 32), Address: TestAddress, Jail: "sshd", Service: "sshd",
		First: now.Add(-time.Minute), Since: now, Until: now.Add(10 * time.Minute), Failures: 5, Count: 1, Reason: "failures", Ports: []uint16{22}, Host: host,
		Lines: []report.Line{{Time: now, Hostname: host, Identifier: "sshd", PID: 1, Unit: "ssh.service", Pattern: "failed-unknown",
			Message: []byte("Failed password for invalid user test from 192.0.2.1 port 40000 ssh2"), Source: TestAddress, Port: 40000, Account: []byte("test")}},
		Whois: &report.Whois{Asked: now, Failed: "192.0.2.1 is an address for documentation and belongs to nobody"},
	}}}
}

// Test delivers a made-up report now, and returns what the destination said.
func (a *Asker) Test(ctx context.Context, by control.Peer, req control.TestRequest) (*control.TestResult, error) {
	e := a.E
	e.mu.Lock()
	e.stir()
	if err := e.known(req.Destination); err != nil {
		e.mu.Unlock()
		return nil, err
	}
	r := e.q.dest[req.Destination].run
	host := e.env.Host
	e.mu.Unlock()
	if r == nil {
		return nil, &control.Error{Status: http.StatusConflict, Message: req.Destination + " is not configured any more", Hint: "enable it, and reload"}
	}
	select {
	case r.hand <- struct{}{}:
	case <-ctx.Done():
		return nil, &control.Error{Status: http.StatusConflict, Message: "a report is being delivered to " + req.Destination + ", and does not come to an end", Hint: "bailiff report list tells more"}
	}
	defer func() { <-r.hand }()
	it := TestItem(req.Destination, host, time.Now())
	c, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	receipt, err := r.dst.Deliver(c, it)
	if err != nil {
		return nil, &control.Error{Status: http.StatusBadGateway, Message: fmt.Sprintf("%s did not take it: %v", req.Destination, err), Hint: "nothing is kept of a test: mend it and test again"}
	}
	e.o.Audit.Log(audit.Info, fmt.Sprintf("test report to %s, asked for by %s: delivered (%s)", req.Destination, by.User, cut(receipt.Answer)),
		audit.Field{Name: audit.FieldDestination, Value: req.Destination}, audit.Field{Name: audit.FieldBy, Value: by.User})
	return &control.TestResult{Item: it.Key, Answer: receipt.Answer}, nil
}
