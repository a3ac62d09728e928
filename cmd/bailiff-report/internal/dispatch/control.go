package dispatch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/journal/audit"
	"bailiff/policy/bucket"
	"bailiff/units/control"
	"bailiff/units/version"
)

// The exported methods in this file answer calls of the control socket, in goroutines of their own.
var _ control.Reporter = (*Dispatcher)(nil)

// ask has the dispatcher run f. f must not change values that it has returned.
func ask[T any](ctx context.Context, d *Dispatcher, f func() (T, error)) (answer T, err error) {
	if e := d.call(ctx, func() {
		d.active = d.o.Now()
		answer, err = f()
	}); e != nil {
		var none T
		hint := "try again; systemctl status bailiff-report shows more"
		if errors.Is(e, errUnsaved) {
			hint = "check the disk of /var/lib/bailiff-report"
		}
		return none, &control.Error{Status: http.StatusServiceUnavailable, Message: e.Error(), Hint: hint}
	}
	return answer, err
}

// Status returns the state of the process.
func (d *Dispatcher) Status(ctx context.Context) (*control.ReporterStatus, error) {
	return ask(ctx, d, func() (*control.ReporterStatus, error) { return d.report(), nil })
}

func (d *Dispatcher) report() *control.ReporterStatus {
	now := d.o.Now()
	s := &control.ReporterStatus{Version: version.String(), PID: os.Getpid(), Started: d.began, Delivered: d.count, CaughtUp: d.caughtUp, Cursor: d.pos.Cursor, QueueBytes: d.q.log.end}
	for _, p := range d.problems {
		s.Problems = append(s.Problems, p.text)
	}
	if d.confErr != "" {
		s.Problems = append(s.Problems, "the configuration was not reloaded: "+d.confErr)
	}
	if d.noRoom != "" {
		s.Problems = append(s.Problems, d.noRoom+": new bans wait in the journal")
	}
	for _, x := range d.q.sorted() {
		y := control.DestinationStatus{Name: x.name, Waiting: len(x.all), Sent: x.sentLately(now), Held: x.held(), Behind: x.behind != nil}
		s.Waiting += y.Waiting
		if x.ep != nil {
			y.Type, y.Quota, y.LastError = x.ep.conf.Type, x.ep.conf.Quota, x.lastErr
			y.LastOK, y.LastFailed = control.Moment(x.lastOK), control.Moment(x.lastFail)
			if x.pausedUntil.After(now) {
				y.Paused = control.Moment(x.pausedUntil)
			}
			if x.busy {
				y.Delivering = control.Moment(x.busySince)
			}
		} else if y.Waiting == 0 {
			continue
		}
		s.Destinations = append(s.Destinations, y)
	}
	return s
}

// find returns a destination, or an error that lists the existing ones.
func (d *Dispatcher) find(name string) (*destination, error) {
	x := d.q.dests[name]
	if x != nil && (x.ep != nil || len(x.all) > 0) {
		return x, nil
	}
	names := []string{}
	for _, x := range d.q.sorted() {
		if x.ep != nil {
			names = append(names, x.name)
		}
	}
	hint := "no destination is configured: see report.destinations in bailiff.yaml(5)"
	if len(names) > 0 {
		hint = "there are " + strings.Join(names, ", ")
	}
	return nil, &control.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no destination %.50q", name), Hint: hint}
}

// queued describes a report in a delivery.
func (d *Dispatcher) queued(it *delivery, rp *queuedReport) control.QueuedReport {
	q := control.QueuedReport{ID: rp.ID, Address: rp.about(), Jail: rp.Jail, Time: time.UnixMicro(rp.Time), Destination: it.dest.name,
		State: it.state.String(), Attempts: it.attempts, Error: it.lastErr}
	if it.state == collecting {
		q.State = "digest"
	} else {
		q.Item = it.key
	}
	if it.state == waiting && it.notBefore.After(d.o.Now()) {
		q.Next = control.Moment(it.notBefore)
	}
	switch {
	case it.dest.ep == nil:
		q.State = "not configured"
	case it.dest.held() != "" && it.state != delivering:
		q.State = "held"
	}
	return q
}

// eachQueued yields the waiting reports of one destination or of all, and of a ban, about an address, or all.
func (d *Dispatcher) eachQueued(destination, id string, yield func(*delivery, *queuedReport)) {
	addr, _ := netip.ParseAddr(id)
	for _, x := range d.q.sorted() {
		if destination != "" && x.name != destination {
			continue
		}
		for _, it := range x.sorted() {
			for _, rp := range it.reports {
				if id == "" || rp.ID == id || rp.Key == id || addr.IsValid() && rp.Address == addr.Unmap() {
					yield(it, rp)
				}
			}
		}
	}
}

// Reports lists waiting reports.
func (d *Dispatcher) Reports(ctx context.Context, destination string, limit int) (*control.ReportList, error) {
	return ask(ctx, d, func() (*control.ReportList, error) {
		if destination != "" {
			if _, err := d.find(destination); err != nil {
				return nil, err
			}
		}
		l := &control.ReportList{}
		d.eachQueued(destination, "", func(it *delivery, rp *queuedReport) {
			if l.Total++; len(l.Reports) < limit {
				l.Reports = append(l.Reports, d.queued(it, rp))
			}
		})
		slices.SortStableFunc(l.Reports, func(a, b control.QueuedReport) int { return a.Time.Compare(b.Time) })
		return l, nil
	})
}

// Report returns the newest waiting report of a ban or about an address, with previews.
func (d *Dispatcher) Report(ctx context.Context, id, destination string) (*control.ReportShow, error) {
	type render struct { // rendered here, not in the dispatcher, since it takes a while
		at   int
		ep   *endpoint
		what *report.Item
	}
	type answer struct {
		show    *control.ReportShow
		renders []render
		set     *configuration
	}
	a, err := ask(ctx, d, func() (answer, error) {
		var newest *queuedReport
		d.eachQueued(destination, id, func(_ *delivery, rp *queuedReport) {
			if newest == nil || rp.seq > newest.seq {
				newest = rp
			}
		})
		if newest == nil {
			return answer{}, &control.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("no report of %.100q waits", id),
				Hint: "bailiff report list shows waiting reports; journalctl BAILIFF_BAN_ID=… shows those that were delivered"}
		}
		r, err := d.q.report(newest)
		if err != nil {
			return answer{}, err
		}
		a := answer{show: &control.ReportShow{Report: r}, set: d.set}
		for _, it := range newest.in {
			if destination != "" && it.dest.name != destination {
				continue
			}
			y := control.Delivery{QueuedReport: d.queued(it, newest)}
			what := &report.Item{Key: itemKey(newest.Key, it.dest.name), Reports: []*report.Report{r}, Attempt: 1}
			if it.digest {
				what.Key, what.Digest, what.Reports = it.key, true, nil
				for _, rp := range it.reports {
					r, e := d.q.report(rp)
					if err = errors.Join(err, e); e == nil {
						what.Reports = append(what.Reports, r)
					}
				}
			}
			switch ep := it.dest.ep; {
			case err != nil:
				y.Failed = err.Error()
			case ep == nil:
				y.Failed = "the destination is not configured"
			default:
				a.renders = append(a.renders, render{len(a.show.Deliveries), ep, what})
			}
			a.show.Deliveries = append(a.show.Deliveries, y)
		}
		return a, nil
	})
	if err != nil {
		return nil, err
	}
	for _, r := range a.renders {
		y := &a.show.Deliveries[r.at]
		dst, err := d.o.New(&r.ep.conf, a.set.env) // a new one: the other may be in use
		if err == nil {
			var b []byte
			b, err = dst.Render(r.what)
			y.Preview = string(b)
		}
		if err != nil {
			y.Failed = err.Error()
		}
	}
	return a.show, nil
}

// lookupLimit is how often addresses are looked up for callers of the control socket. The registries limit how often one host may
// ask, and most of that is kept for reports.
var lookupLimit = bucket.Limit{Size: 10, Every: 10 * time.Second}

// Whois asks the registries about an address, for an operator. The answer comes from the same cache as those of reports.
func (d *Dispatcher) Whois(ctx context.Context, addr netip.Addr) (*control.Whois, error) {
	lookup, err := ask(ctx, d, func() (func(context.Context, netip.Addr) *report.Whois, error) {
		if d.set.env.Lookup == nil {
			return nil, &control.Error{Status: http.StatusConflict, Message: "no registry is configured", Hint: "report.lookup in bailiff.yaml(5)"}
		}
		if wait := d.callers.Take(lookupLimit, d.o.Now()); wait > 0 {
			return nil, &control.Error{Status: http.StatusTooManyRequests, Message: "too many addresses were looked up", Hint: fmt.Sprintf("try again in %d s", int(wait.Seconds())+1)}
		}
		return d.set.env.Lookup, nil
	})
	if err != nil {
		return nil, err
	}
	return lookup(ctx, addr), nil
}

// writable returns an error if the queue cannot be written.
func (d *Dispatcher) writable() error {
	if !d.diskFull {
		return nil
	}
	return &control.Error{Status: http.StatusInsufficientStorage, Message: "the queue cannot be written", Hint: "check the disk of /var/lib/bailiff-report"}
}

func noneWaits() error {
	return &control.Error{Status: http.StatusNotFound, Message: "no such report is waiting", Hint: "bailiff report list shows waiting reports"}
}

// Retry has waiting deliveries made at once. A destination that is held is tried again; one that cannot work as configured is set up
// again.
func (d *Dispatcher) Retry(ctx context.Context, by control.Peer, req control.ReportsRequest) (*control.ReportsResult, error) {
	broken := false
	r, err := ask(ctx, d, func() (r *control.ReportsResult, err error) {
		r, broken, err = d.retry(by, req)
		return r, err
	})
	if err == nil && broken {
		err = d.Reload(ctx)
	}
	return r, err
}

// retry implements Retry. broken reports whether a destination cannot work as configured.
func (d *Dispatcher) retry(by control.Peer, req control.ReportsRequest) (r *control.ReportsResult, broken bool, err error) {
	if err := d.writable(); err != nil {
		return nil, false, err
	}
	n, now := 0, d.o.Now()
	free := map[*destination]bool{}
	if req.Destination != "" {
		x, err := d.find(req.Destination)
		if err != nil {
			return nil, false, err
		}
		free[x] = true
	}
	d.eachQueued(req.Destination, req.ID, func(it *delivery, _ *queuedReport) {
		n++
		free[it.dest] = true
		if it.state == waiting || it.state == lookingUp {
			it.postpone(now, false)
		}
	})
	for x := range free {
		broken = broken || x.ep != nil && x.ep.err != nil
		if x.hold != nil {
			d.q.write(kindHold, recHold{Dest: x.name, Time: now.UnixMicro()}, nil)
			d.event(audit.KindReportsResumed, fmt.Sprintf("reports to %s are tried again: requested by %s", x.name, by.User),
				audit.Field{Name: audit.FieldDestination, Value: x.name}, audit.Field{Name: audit.FieldBy, Value: by.User}, audit.Field{Name: audit.FieldProblem, Value: holdOf(x.name)})
		}
		x.pausedUntil, x.failures = time.Time{}, 0
	}
	if n == 0 && len(free) == 0 {
		return nil, false, noneWaits()
	}
	return &control.ReportsResult{Reports: n}, broken, nil
}

// Drop gives up waiting deliveries, but not those under way. It works in parts, so that the audit trail has room for every entry.
func (d *Dispatcher) Drop(ctx context.Context, by control.Peer, req control.ReportsRequest) (*control.ReportsResult, error) {
	total := 0
	for {
		if err := d.o.Audit.Wait(ctx); err != nil {
			return nil, &control.Error{Status: http.StatusServiceUnavailable, Message: fmt.Sprintf("journald does not accept entries: %d reports were dropped", total), Hint: "systemctl status systemd-journald"}
		}
		n, err := ask(ctx, d, func() (int, error) {
			if req.Destination != "" && total == 0 {
				if _, err := d.find(req.Destination); err != nil {
					return 0, err
				}
			}
			if err := d.writable(); err != nil {
				return 0, err
			}
			return d.dropSome(by, req), nil
		})
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		total += n
	}
	if total == 0 && !req.All {
		return nil, noneWaits()
	}
	return &control.ReportsResult{Reports: total}, nil
}

// dropSome drops up to maxDrops deliveries and returns how many reports they contain.
func (d *Dispatcher) dropSome(by control.Peer, req control.ReportsRequest) (n int) {
	var some []*delivery
	d.eachQueued(req.Destination, req.ID, func(it *delivery, _ *queuedReport) {
		if it.state != delivering && len(some) < maxDrops && !slices.Contains(some[max(0, len(some)-1):], it) {
			some = append(some, it)
		}
	})
	for _, it := range some {
		n += len(it.reports)
		d.drop(it, "dropped by "+by.User)
	}
	return n
}

// TestAddress is reserved for documentation (RFC 5737), so it belongs to nobody.
var TestAddress = netip.MustParseAddr("192.0.2.1")

// TestItem returns the item of a test delivery.
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

// Test delivers a made-up report at once and returns the destination's answer.
func (d *Dispatcher) Test(ctx context.Context, by control.Peer, req control.TestRequest) (*control.TestResult, error) {
	t := &test{ctx: ctx, done: make(chan testResult, 1)}
	if _, err := ask(ctx, d, func() (bool, error) {
		x, err := d.find(req.Destination)
		switch {
		case err != nil:
			return false, err
		case x.ep == nil:
			return false, &control.Error{Status: http.StatusConflict, Message: req.Destination + " is no longer configured", Hint: "enable it and reload"}
		case x.ep.err != nil:
			return false, &control.Error{Status: http.StatusConflict, Message: x.ep.err.Error(), Hint: "repair that first"}
		}
		t.item = TestItem(req.Destination, d.set.env.Host, d.o.Now())
		x.tests = append(x.tests, t)
		return true, nil
	}); err != nil {
		return nil, err
	}
	var r testResult
	select {
	case r = <-t.done:
	case <-ctx.Done():
		return nil, &control.Error{Status: http.StatusConflict, Message: "another delivery to " + req.Destination + " has not ended", Hint: "bailiff report list shows more"}
	case <-d.ended:
		return nil, &control.Error{Status: http.StatusServiceUnavailable, Message: errEnded.Error(), Hint: "try again"}
	}
	if r.err != nil {
		return nil, &control.Error{Status: http.StatusBadGateway, Message: fmt.Sprintf("%s did not accept the test: %v", req.Destination, r.err), Hint: "repair that and test again"}
	}
	d.log(audit.Info, fmt.Sprintf("test report to %s, requested by %s: delivered (%s)", req.Destination, by.User, oneLine(r.receipt.Answer)),
		audit.Field{Name: audit.FieldDestination, Value: req.Destination}, audit.Field{Name: audit.FieldBy, Value: by.User})
	return &control.TestResult{Item: t.item.Key, Answer: r.receipt.Answer}, nil
}
