package daemon

import (
	"context"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"bailiff/firewall"
	"bailiff/policy"
	"bailiff/policy/state"
	"bailiff/units/control"
	"bailiff/units/published"
	"bailiff/units/version"
)

// controlAPI answers the calls of the control socket. A call reads and changes the state on the owner's goroutine; slow work, such as
// reading the journal, runs afterwards on the call's own goroutine.
type controlAPI struct {
	d *daemon

	searches  chan struct{} // calls that hold a copy of all bans
	histories chan struct{} // searches in the audit trail
	matches   chan struct{} // lines that are tried on filters
	questions questions     // to other hosts

	geoErr atomic.Pointer[string] // logged last
}

func newControlAPI(d *daemon) *controlAPI {
	return &controlAPI{d: d, searches: make(chan struct{}, 1), histories: make(chan struct{}, 2), matches: make(chan struct{}, 1)}
}

// slot waits for one of a limited number of slots.
func slot(ctx context.Context, slots chan struct{}) (free func(), err error) {
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, errBusy
	}
}

// do runs f on the owner's goroutine. After an error the caller must not read what f writes: f may still be running.
func (a *controlAPI) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case a.d.calls <- func() { defer close(done); f() }:
	case <-ctx.Done():
		return errBusy
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return &control.Error{Status: http.StatusGatewayTimeout, Message: "the daemon is still working on this", Hint: "the request will be carried out; check bailiff status before you repeat it"}
	}
}

// ask returns the result of f, run on the owner's goroutine.
func ask[T any](ctx context.Context, a *controlAPI, f func(*daemon) T) (v T, err error) {
	answer := make(chan T, 1)
	if err = a.do(ctx, func() { answer <- f(a.d) }); err == nil {
		v = <-answer
	}
	return v, err
}

// carryOut runs an operator's command on the owner's goroutine, and saves the state before it returns.
func carryOut[T any](ctx context.Context, a *controlAPI, f func(*daemon) (T, error)) (v T, err error) {
	type result struct {
		v   T
		err error
	}
	r, err := ask(ctx, a, func(d *daemon) (r result) {
		if r.v, r.err = f(d); r.err != nil {
			return r
		}
		if err := d.saver.saveNow(); err != nil {
			r.err = &control.Error{Status: http.StatusInternalServerError, Message: "done, but the state cannot be saved: " + err.Error(),
				Hint: "free space on the file system of /var/lib/bailiff; the daemon tries again by itself, and a restart takes the change from the journal"}
		}
		return r
	})
	if err != nil {
		return v, err
	}
	return r.v, r.err
}

var errBusy = &control.Error{Status: http.StatusServiceUnavailable, Message: "the daemon did not answer in time, and nothing was done", Hint: "see journalctl -u bailiff; try again"}

func (a *controlAPI) Status(ctx context.Context) (s *control.Status, err error) {
	var jails []policy.JailInfo
	var backend firewall.Backend
	var perJail map[string]state.Count
	var unable string
	err = a.do(ctx, func() {
		d, now := a.d, time.Now()
		d.updateProblems(now)
		tracked, limit, widened := d.eng.Tracked()
		s = &control.Status{
			Version: version.String(), PID: os.Getpid(), Started: d.started, Problems: d.problems.now(now), Config: slices.Clone(d.conf.Files),
			ConfigErr: d.configErr, Journal: d.journal.status, Firewall: d.firewall.status, Bans: d.state.Len(), BansTotal: d.counts.made,
			Tracked: tracked, TrackedMax: limit, Widened: widened, Spread: control.SpreadStatus(d.eng.Distributed(time.Now().UnixMicro())), Allowed: d.eng.Allowed,
		}
		s.Journal.Problems = slices.Clone(d.journal.status.Problems)
		if !d.journal.pos.IsZero() {
			s.Journal.Cursor = d.journal.pos.Last().String()
		}
		s.Reloaded = control.Moment(d.reloaded)
		s.Lists = controlLists(d.lists.Status(d.conf.Allow.Lists))
		for i := range d.conf.Report.Destinations {
			if d.conf.Report.Destinations[i].Enabled {
				s.Reports++
			}
		}
		unable = d.noBlockLists()
		jails, backend, perJail = d.eng.Jails(), d.firewall.backend, d.state.Counts()
	})
	if err != nil {
		return nil, err
	}
	s.Memory = rssAnon()
	s.BlockLists = a.d.blocks.describe(ctx, unable).Lists
	s.Firewall.Stopped = stopped(ctx, backend)
	present := a.d.present(ctx, jails)
	for _, j := range jails {
		js := control.JailStatus{Name: j.Name, Filter: j.Filter.Name, Mode: j.Mode, Units: present(j), Failures: j.Failures, Bans: perJail[j.Name].IPv4 + perJail[j.Name].IPv6}
		js.Last, js.Containers = control.Moment(timeOf(j.Last)), j.Trust.Containers
		for _, u := range j.Trust.UserUnits {
			js.UserUnits = append(js.UserUnits, u.String())
		}
		if r := j.Refused; r.Entries > 0 {
			js.Refused = &control.RefusedStatus{Entries: r.Entries, Time: time.UnixMicro(r.Last), Exe: r.Why.Exe, Container: r.Why.Container, Line: r.Why.Line, Hint: r.Why.Hint(j.Name)}
		}
		s.Jails = append(s.Jails, js)
	}
	return s, nil
}

func controlLists(l []published.List) []control.ListStatus {
	out := make([]control.ListStatus, 0, len(l))
	for _, x := range l {
		out = append(out, control.ListStatus{Name: x.Name, Entries: x.Entries, Fetched: control.Moment(x.Fetched), Checked: control.Moment(x.Checked), Refused: x.Refused, Failed: x.Failed})
	}
	return out
}

// rssAnon is this process's own memory in bytes. Mapped pages of journal files do not count: they are the kernel's cache.
func rssAnon() uint64 {
	data, _ := os.ReadFile("/proc/self/status")
	for _, l := range strings.Split(string(data), "\n") {
		if v, ok := strings.CutPrefix(l, "RssAnon:"); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}

func (a *controlAPI) Config(ctx context.Context) ([]byte, error) {
	return ask(ctx, a, func(d *daemon) []byte { return d.conf.Render() })
}

func (a *controlAPI) Reload(ctx context.Context, by control.Peer) (r *control.Reloaded, err error) {
	var failed error
	err = a.do(ctx, func() { r, failed = a.d.reload(by.User) })
	if err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, &control.Error{Status: http.StatusUnprocessableEntity, Message: failed.Error(), Hint: "the running configuration stays in effect; see bailiff check"}
	}
	return r, nil
}
