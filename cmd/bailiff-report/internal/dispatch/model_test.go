package dispatch

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/policy/config"
	"bailiff/units/control"
)

// history makes random things happen to a dispatcher, in a random order, and records what the dispatcher must agree with: what the journal
// holds, what destinations received, what the audit trail says.
type history struct {
	t     testing.TB
	r     *rand.Rand
	clock clock
	dir   string
	d     *Dispatcher

	bans     []*Ban            // the journal
	jobs     []job             // workers that are at work
	events   []func()          // events that the workers sent
	main     *intake           // the intake of the reader, until it is done
	catchers []*catcher        // readers for one destination
	modes    map[string]string // what a destination does with what it gets
	off      map[string]bool   // not configured
	broken   map[string]bool   // cannot work as configured
	damaged  bool              // the file will be damaged: then lost reports are found again only for destinations that are configured
	turned   int               // how often the configuration was changed permanently
	set      bool              // the clock is set now and then, so the length of a day is unknown
	crashed  bool              // in the last step
	crashes  int

	received map[string]int             // by destination and report
	at       map[string]map[string]bool // by destination: the deliveries it received
	times    []time.Time                // when the destination with a quota received a report
	trail    map[string]bool            // deliveries and reports in the audit trail, by doneKey
	dropped  map[string]bool            // by destination and report
	queued   map[string]bool            // all that ever were in the queue, by destination and report
}

// job is a worker. After a crash it may have done its work without having said so.
type job struct{ work func() }

type catcher struct {
	set      *configuration
	conf     *config.Destination
	at, stop position
	in       *intake
}

// Destinations of the model: each is another case.
var modelled = []config.Destination{
	{Name: "mail", Type: config.TypeMail, Include: []string{config.IncludeWhois}}, // leaves a trace, and waits for the registries
	{Name: "prog", Type: config.TypeExec},                                         // leaves none
	{Name: "digest", Type: config.TypeExec, Digest: "hourly"},
	{Name: "quota", Type: config.TypeExec, Quota: 5},
	{Name: "quick", Type: config.TypeExec, RetryFor: time.Hour},
}

func pair(dest, key string) string { return dest + " " + key }

func newHistory(t testing.TB, seed uint64) *history {
	t.Helper()
	h := &history{t: t, r: rand.New(rand.NewPCG(seed, 1)), clock: clock{time.Unix(1_800_000_000, 0)}, dir: memoryDir(t), set: seed%2 == 1,
		modes: map[string]string{}, off: map[string]bool{}, broken: map[string]bool{}, received: map[string]int{}, at: map[string]map[string]bool{},
		trail: map[string]bool{}, dropped: map[string]bool{}, queued: map[string]bool{}}
	h.start()
	t.Cleanup(func() { h.d.q.close() })
	return h
}

// memoryDir is a folder in memory, if there is one: what is synced there is not waited for.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "reporter-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Send and what follows are the audit trail.
func (h *history) Send(e audit.Entry) {
	if e.Kind != audit.KindReported && e.Kind != audit.KindReportDropped {
		return
	}
	dest := ""
	for _, f := range e.Fields {
		switch f.Name {
		case audit.FieldDestination:
			dest = f.Value
		case audit.FieldItem:
			h.trail[doneKey(dest, f.Value)] = true
		case audit.FieldBanID:
			h.trail[doneKey(dest, itemKey(f.Value, dest))] = true
			if e.Kind == audit.KindReportDropped {
				h.dropped[pair(dest, f.Value)] = true
			}
		}
	}
}
func (h *history) Busy() bool                 { return h.r.IntN(20) == 0 }
func (h *history) Wait(context.Context) error { return nil }

// peer is a destination.
type peer struct {
	h    *history
	name string
}

func (p *peer) Render(*report.Item) ([]byte, error) { return nil, nil }

func (p *peer) take(it *report.Item) {
	h := p.h
	if h.at[p.name] == nil {
		h.at[p.name] = map[string]bool{}
	}
	h.at[p.name][it.Key] = true
	for _, r := range it.Reports {
		h.received[pair(p.name, r.ID)]++
		if p.name == "quota" {
			h.times = append(h.times, h.clock.t)
		}
	}
}

func (p *peer) Deliver(ctx context.Context, it *report.Item) (report.Receipt, error) {
	err := errors.New("451 later")
	mode := p.h.modes[p.name]
	if mode == "flaky" {
		mode = []string{"", "fails", "refuses", "own", "quota", "waits"}[p.h.r.IntN(6)]
	}
	switch mode {
	case "":
		p.take(it)
		return report.Receipt{Answer: "taken"}, nil
	case "refuses":
		return report.Receipt{}, &report.Refused{Err: err}
	case "holds":
		return report.Receipt{}, &report.Refused{All: true, Err: err}
	case "own":
		return report.Receipt{}, &report.Retry{Own: true, Err: err}
	case "quota":
		return report.Receipt{}, &report.Retry{Quota: true, Err: err}
	case "waits":
		return report.Receipt{}, &report.Retry{After: time.Minute, Err: err}
	case "late": // with an unknown outcome
		if ctx.Err() == nil {
			return report.Receipt{}, err // it has a new limit meanwhile
		}
		if p.h.r.IntN(2) == 0 {
			p.take(it)
		}
		return report.Receipt{}, ctx.Err()
	}
	return report.Receipt{}, err
}

type tracedPeer struct{ peer }

func (*tracedPeer) Trace(it *report.Item) string { return it.Key }

// start starts a dispatcher over what is on the disk.
func (h *history) start() {
	d, err := New(Options{
		Dir: h.dir, Audit: h, Now: h.clock.now, MaxCount: 12, MaxBytes: 12 << 10, Pauses: Pauses{time.Second, time.Minute},
		Load: func() (*config.Config, error) {
			c := &config.Config{Report: config.Report{RetryFor: 10_000 * time.Hour, Host: fmt.Sprint(h.turned)}}
			for _, x := range modelled {
				if x.Enabled = !h.off[x.Name]; x.Enabled {
					c.Report.Destinations = append(c.Report.Destinations, x)
				}
			}
			return c, nil
		},
		Env: func(c *config.Config) (deliver.Env, error) {
			return deliver.Env{Config: &c.Report, Lookup: func(context.Context, netip.Addr) *report.Whois { return &report.Whois{Holder: "somebody"} }}, nil
		},
		New: func(c *config.Destination, _ deliver.Env) (deliver.Destination, error) {
			if h.broken[c.Name] {
				return nil, errors.New("no key")
			}
			if c.Type == config.TypeMail {
				return &tracedPeer{peer{h, c.Name}}, nil
			}
			return &peer{h, c.Name}, nil
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.d, h.jobs, h.events, h.main, h.catchers = d, nil, nil, nil, nil
	d.caughtUp = true
	d.spawn = func(f func()) { h.jobs = append(h.jobs, job{f}) }
	d.post = func(f func()) { h.events = append(h.events, f) }
	d.probe = h.probe
	d.startCatchUp = func(set *configuration, conf *config.Destination, from, stop position) {
		h.catchers = append(h.catchers, &catcher{set: set, conf: conf, at: from, stop: stop})
	}
	if d.q.rebuild != 0 {
		known := map[string]int64{}
		for k := range h.trail {
			known[k] = h.clock.t.UnixMicro()
		}
		d.remember(known)
	}
}

// probe is the mail log.
func (h *history) probe(_ *mailLog, all []search) (*mailLog, map[string]outcome, error) {
	v := map[string]outcome{}
	for _, s := range all {
		switch {
		case h.r.IntN(3) == 0: // not known yet
		case h.at["mail"][s.trace]:
			v[s.key] = wasTaken
		default:
			v[s.key] = wasLost
		}
	}
	return nil, v, nil
}

func posOf(i int) position {
	if i == 0 {
		return position{}
	}
	return position{Cursor: fmt.Sprint(i), Realtime: uint64(1_700_000_000_000_000 + i)}
}

func index(p position) (i int) {
	fmt.Sscan(p.Cursor, &i)
	return i
}

// entries reads the journal behind a place.
func (h *history) entries(from, to int) (bans []builtReport) {
	for i := from; i < to; i++ {
		b := h.bans[i]
		r := &report.Report{ID: b.ID, Address: b.Prefix.Addr(), Lines: []report.Line{{Message: make([]byte, 300)}}}
		body, err := json.Marshal(r)
		if err != nil {
			h.t.Fatal(err)
		}
		bans = append(bans, builtReport{ban: b, before: posOf(i), report: r, body: body})
	}
	return bans
}

// read has the reader do something.
func (h *history) read() {
	if h.main != nil {
		select {
		case <-h.main.done:
			h.main = nil
		default:
			return
		}
	}
	from := index(h.d.pos)
	to := min(len(h.bans), from+1+h.r.IntN(4))
	if from == to {
		return
	}
	h.main = &intake{set: h.d.set, pos: posOf(to), bans: h.entries(from, to), done: make(chan bool, 1)}
	in := h.main
	h.events = append(h.events, func() { h.d.intakes = append(h.d.intakes, in) })
}

// catch has a reader for one destination do something.
func (h *history) catch(i int) {
	c := h.catchers[i]
	end := func(ok bool) {
		h.catchers = append(h.catchers[:i], h.catchers[i+1:]...)
		h.events = append(h.events, func() { h.d.caught(c.conf.Name, c.stop, ok, nil) })
	}
	if c.in != nil {
		select {
		case ok := <-c.in.done:
			if c.at = c.in.pos; !ok || c.at == c.stop {
				end(ok)
				return
			}
			c.in = nil
		default:
			return
		}
	}
	from := index(c.at)
	to := min(index(c.stop), from+1+h.r.IntN(4))
	c.in = &intake{set: c.set, only: c.conf.Name, pos: posOf(to), bans: h.entries(from, max(from, to)), done: make(chan bool, 1)}
	if to <= from {
		c.in.pos = c.stop
	}
	in := c.in
	h.events = append(h.events, func() { h.d.intakes = append(h.d.intakes, in) })
}

// turn has the dispatcher do what it can, after some of the events.
func (h *history) turn() {
	for len(h.events) > 0 && h.r.IntN(4) > 0 {
		i := h.r.IntN(len(h.events))
		f := h.events[i]
		h.events = append(h.events[:i], h.events[i+1:]...)
		f()
	}
	if _, err := h.d.turn(); err != nil {
		h.t.Fatal(err)
	}
	for _, x := range h.d.q.dests {
		for _, it := range x.all {
			for _, rp := range it.reports {
				h.queued[pair(x.name, rp.Key)] = true
			}
		}
	}
}

func (h *history) runJob() {
	if len(h.jobs) == 0 {
		return
	}
	i := h.r.IntN(len(h.jobs))
	j := h.jobs[i]
	h.jobs = append(h.jobs[:i], h.jobs[i+1:]...)
	j.work()
}

// crash ends the process as kill -9 does: workers may have done their work, but nobody learns it.
func (h *history) crash() {
	for len(h.jobs) > 0 && h.r.IntN(3) > 0 {
		h.runJob()
	}
	h.d.q.close()
	h.crashed = true
	h.crashes++
}

func (h *history) file() []byte {
	data, err := os.ReadFile(h.d.q.log.path)
	if err != nil {
		h.t.Fatal(err)
	}
	return data
}

// reopen describes the queue that is read from the bytes of a file.
func (h *history) reopen(data []byte) string {
	dir := memoryDir(h.t)
	if err := os.WriteFile(filepath.Join(dir, "queue"), data, 0o600); err != nil {
		h.t.Fatal(err)
	}
	os.WriteFile(filepath.Join(dir, "queue.new"), data[:len(data)/2], 0o600) // a compaction that a crash ended
	q, err := openQueue(dir, h.clock.now)
	if err != nil {
		h.t.Fatal(err)
	}
	defer q.close()
	if len(q.news) > 0 {
		h.t.Fatal(q.news)
	}
	return dump(q)
}

// damage damages the file, but not the last frame, where damage looks like a crash.
func (h *history) damage() {
	h.crash()
	h.clock.t = h.clock.t.Add(time.Second) // each damaged file has a name of its own
	data := h.file()
	last := len(logHead)
	for at := last; at+frameHead < len(data); {
		last = at
		at += frameHead + int(binary.LittleEndian.Uint32(data[at:]))
	}
	data[h.r.IntN(last)] ^= 0x55
	if err := os.WriteFile(h.d.q.log.path, data, 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.start()
	if len(h.d.q.news) != 1 {
		h.t.Fatalf("the damage was not noticed: %v", h.d.q.news)
	}
}

// some picks a destination.
func (h *history) some() string { return modelled[h.r.IntN(len(modelled))].Name }

// step does one thing.
func (h *history) step() {
	switch op := h.r.IntN(100); {
	case op < 15: // attacks
		for range 1 + h.r.IntN(3) {
			i := len(h.bans)
			a := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
			h.bans = append(h.bans, &Ban{BanEvent: audit.BanEvent{Prefix: netip.PrefixFrom(a, 32), Jail: "sshd", ID: fmt.Sprintf("%016x", i), Failures: 5},
				Cursor: journal.Cursor{}, Time: time.UnixMicro(1_700_000_000_000_001 + int64(i))})
		}
	case op < 35:
		h.read()
	case op < 45 && len(h.catchers) > 0:
		h.catch(h.r.IntN(len(h.catchers)))
	case op < 68:
		h.runJob()
	case op < 74:
		h.clock.t = h.clock.t.Add(time.Duration(h.r.Int64N(int64(20 * time.Minute))))
	case op < 75: // the clock is set
		if h.set {
			h.clock.t = h.clock.t.Add(time.Duration(h.r.Int64N(int64(4*time.Hour))) - 2*time.Hour)
		}
	case op < 81:
		modes := []string{"", "", "fails", "flaky", "holds", "late"}
		name, mode := h.some(), modes[h.r.IntN(len(modes))]
		if mode == "late" && name != "mail" {
			mode = "fails"
		}
		h.modes[name] = mode
		if ep := h.d.set.endpoints["mail"]; ep != nil && name == "mail" {
			ep.limit = time.Hour
			if mode == "late" {
				ep.limit = 0 // its time is over at once
			}
		}
	case op < 85: // reload
		name := h.some()
		h.off[name] = !h.damaged && h.r.IntN(4) == 0 && (name == "quota" || name == "digest")
		h.broken[name] = h.r.IntN(4) == 0
		h.turned += h.r.IntN(2)
		s, err := h.d.load()
		if err != nil {
			h.t.Fatal(err)
		}
		h.d.configure(s)
	case op < 88:
		if h.d.writable() == nil {
			h.d.retry(control.Peer{User: "root"}, control.ReportsRequest{Destination: []string{"", h.some()}[h.r.IntN(2)], All: true})
		}
	case op < 89:
		if h.d.writable() == nil && len(h.bans) > 0 {
			h.d.dropSome(control.Peer{User: "root"}, control.ReportsRequest{ID: h.bans[h.r.IntN(len(h.bans))].ID})
		}
	case op < 92: // the disk is full, or has room again
		h.d.q.log.limit = maxFile
		if h.r.IntN(2) == 0 {
			h.d.q.log.limit = h.d.q.log.end + h.r.Int64N(reserve+4000)
		}
		if h.r.IntN(4) == 0 {
			h.d.q.log.limit = h.d.q.log.end + h.r.Int64N(500)
		}
	case op < 93:
		if len(h.d.q.pending) == 0 {
			if err := h.d.q.compact(); err != nil {
				h.t.Fatal(err)
			}
		}
	case op < 95:
		if h.r.IntN(2) == 0 { // killed after the commit, before anything was begun
			h.d.spawn = func(func()) {}
			h.turn()
		}
		h.crash()
		h.start()
	}
	h.turn()
}

// agree compares the dispatcher with the books.
func (h *history) agree() error {
	for p, n := range h.received {
		dest, _, _ := strings.Cut(p, " ")
		if n > 1 && (dest == "mail" || n > 1+h.crashes) {
			return fmt.Errorf("%s was delivered %d times with %d crashes", p, n, h.crashes)
		}
	}
	return nil
}

// heal ends all trouble, and waits until the queue is empty.
func (h *history) heal() error {
	h.modes, h.off, h.broken = map[string]string{}, map[string]bool{}, map[string]bool{}
	h.d.q.log.limit = maxFile
	h.turned++
	s, err := h.d.load()
	if err != nil {
		return err
	}
	h.d.configure(s)
	for range 20_000 {
		h.read()
		for i := len(h.catchers) - 1; i >= 0; i-- {
			h.catch(i)
		}
		for len(h.jobs) > 0 {
			h.runJob()
		}
		h.turn()
		h.clock.t = h.clock.t.Add(10 * time.Minute)
		if len(h.d.q.reports) == 0 && len(h.events)+len(h.catchers) == 0 && index(h.d.pos) == len(h.bans) && h.main == nil {
			behind := false
			for _, x := range h.d.q.dests {
				behind = behind || x.behind != nil
			}
			if !behind {
				return nil
			}
		}
	}
	return fmt.Errorf("after all trouble %d reports still wait, %d of %d bans read, intake %v\n%s", len(h.d.q.reports), index(h.d.pos), len(h.bans), h.main, dump(h.d.q))
}

// TestModel: whatever happens, in whatever order, each report is delivered once, or dropped with an entry that says so. Mails are never
// sent twice; deliveries without a trace are repeated at most once for each crash.
func TestModel(t *testing.T) {
	seeds, steps := uint64(200), 400
	if testing.Short() {
		seeds = 30
	}
	total, repeated := 0, 0
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			h := newHistory(t, seed)
			h.damaged = seed%4 == 3
			for i := range steps {
				h.step()
				if h.damaged && i%100 == 50 {
					h.damage()
				}
				if err := check(h.d.q); err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
				if err := h.agree(); err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
			}
			if err := h.heal(); err != nil {
				t.Fatal(err)
			}
			if err := h.agree(); err != nil {
				t.Fatal(err)
			}
			for _, b := range h.bans {
				for _, name := range []string{"mail", "prog", "quick"} { // always configured
					h.queued[pair(name, b.ID)] = true
				}
			}
			for p := range h.queued {
				total++
				if n := h.received[p]; n == 0 && !h.dropped[p] {
					t.Errorf("%s is lost", p)
				} else if n > 1 {
					repeated++
				}
			}
			for i := range h.times { // 24 h by slots of 6 minutes; a crash may have cut one off that had been received
				n := 0
				for _, at := range h.times[i:] {
					if d := at.Sub(h.times[i]); d >= 0 && d < 24*time.Hour-2*slot {
						n++
					}
				}
				if limit := modelled[3].Quota + h.crashes; n > limit && !h.set && !h.damaged {
					t.Errorf("%d reports within a day, and a quota of %d", n, limit)
				}
			}
		})
	}
	t.Logf("%d reports in %d histories, %d repeated", total, seeds, repeated)
}
