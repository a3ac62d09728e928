package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/blocklists"
	"bailiff/journal/audit"
	"bailiff/policy"
	"bailiff/policy/allow"
	"bailiff/policy/blocklist"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/policy/operator"
	"bailiff/policy/prefix"
	"bailiff/units/control"
	"bailiff/units/published"
)

const (
	// loadLimit bounds loading all lists. A million prefixes take two seconds, but far longer on a slow machine that is busy.
	loadLimit = 10 * time.Minute

	// allowedName names the list of allowed prefixes. No block list can have this name.
	allowedName = "(allowed)"
)

// blockWanted is the wanted state of block lists. The owner of the state builds it; it never changes afterwards.
type blockWanted struct {
	lists  []blocklist.List
	closes map[string]closing // by list
	block  string             // firewall.block
	allow  []netip.Prefix     // allowed; sorted, without overlaps
	unable string             // why this daemon loads no lists
	trial  bool               // the table is another daemon's
	carry  bool               // the backend holds the lists: there is no netlink

	operators []netip.Prefix // those of allow that are allowed only because an operator is logged in from there; sorted
}

// closing is what a list closes.
type closing struct {
	ports []firewall.Port // none: all
	none  bool            // nothing: none of the list's jails is enabled
	ssh   bool            // operators could not log in
}

// blockNote is something that the worker reports: a list was loaded or rejected, or the table was repaired.
type blockNote struct {
	kind       audit.Kind
	list, text string
}

// blockWorker loads block lists into the firewall, in its own goroutine, since that takes time. Only double lists stay in memory.
type blockWorker struct {
	store  published.Store
	wanted chan blockWanted // the latest
	notes  chan blockNote
	done   chan struct{} // closed when run has ended
	again  chan struct{} // load all lists again
	carry  chan []firewall.Ban
	double chan []policy.Double // lists with that mode, in memory

	mu     sync.Mutex
	status []blockStatus // in the order of the configuration
	err    error         // of the table as a whole

	// The rest belongs to the goroutine in run.
	table    *blocklists.Table
	want     blockWanted
	held     map[string]*blockHeld
	barred   barredLists
	carried  []firewall.Ban // what was sent to carry last
	failures int
	retryAt  time.Time
}

// blockStatus is the state of a list.
type blockStatus struct {
	conf     *blocklist.List
	state    published.State
	have     bool // it is on disk
	entries  int  // in effect
	allowed  int  // of these, overlapping what was allowed at the time of loading
	loaded   time.Time
	rejected string // why the file on disk is not in effect
}

// isSource reports whether a list that drops packets is made from countries or AS numbers: it may hold anyone.
func isSource(l *blocklist.List) bool { return l.Selects() != "" && l.Mode == blocklist.ModeDrop }

// blockHeld is a list as last seen on disk.
type blockHeld struct {
	blockStatus
	file, stateFile os.FileInfo
	read            time.Time // when it was last read to be loaded
	unfit           error     // why it is not loaded at all

	set        *prefix.Set // with mode double
	setVersion string

	barred  netip.Prefix // an operator's address that the list would lock out; kept until the next configuration
	checked string       // the version and the operators that were last compared
}

// newBlockWorker makes a worker for the lists of a folder. state is the daemon's own.
func newBlockWorker(dir, state string) *blockWorker {
	return &blockWorker{
		store: published.Store{Dir: dir}, barred: loadBarred(state), table: blocklists.New(), held: make(map[string]*blockHeld),
		wanted: make(chan blockWanted, 1), notes: make(chan blockNote, 64), again: make(chan struct{}, 1), carry: make(chan []firewall.Ban, 1), double: make(chan []policy.Double, 1), done: make(chan struct{}),
	}
}

// set replaces what is wanted. It never blocks; only the owner calls it.
func (w *blockWorker) set(b blockWanted) {
	select {
	case <-w.wanted:
	default:
	}
	w.wanted <- b
}

// reload loads all lists again, whatever the firewall seems to hold.
func (w *blockWorker) reload() {
	select {
	case w.again <- struct{}{}:
	default:
	}
}

// run works until ctx ends.
func (w *blockWorker) run(ctx context.Context) {
	defer close(w.done)
	changed := make(chan struct{}, 1)
	notice := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	var stop context.CancelFunc // of the Watch
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		due := false
		select {
		case w.want = <-w.wanted:
			due = true
		case <-w.again:
			w.table, due = blocklists.New(), true
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
			if stop != nil {
				stop()
			}
			return
		}
		watching := len(w.want.lists) > 0 && w.want.unable == "" && !w.want.carry
		if watching && stop == nil {
			var c context.Context
			c, stop = context.WithCancel(ctx)
			go blocklists.Watch(c, notice) // without it, changes are noticed at each tick
		} else if !watching && stop != nil {
			stop()
			stop = nil
		}
		w.look(ctx, due)
		if err := w.barred.save(w.held); err != nil {
			w.note(audit.KindError, "", "block lists: "+err.Error())
		}
		w.publish()
	}
}

// look compares files and firewall with what is wanted, and loads what differs.
func (w *blockWorker) look(ctx context.Context, due bool) {
	due = w.see() || due
	now := time.Now()
	if due {
		w.loadDouble(now)
	}
	if w.want.trial || w.want.carry && w.want.unable != "" {
		return
	}
	if w.want.carry {
		if due {
			w.carryLists(now)
		}
		return
	}
	reason := ""
	if err := w.verify(ctx); err != nil && !errors.Is(err, firewall.ErrNotReady) {
		due, reason = true, err.Error()
	}
	if w.failures > 0 {
		due = !now.Before(w.retryAt)
	}
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	failed, err := w.table.Apply(ctx, w.lists(now))
	if ctx.Err() != nil && err == nil && len(failed) > 0 {
		err = ctx.Err()
	}
	var lack *firewall.UnsupportedError
	if (len(w.want.lists) == 0 || w.want.unable != "") && errors.As(err, &lack) { // then there is nothing to remove
		err = nil
	}
	w.mu.Lock()
	w.err = err
	w.mu.Unlock()
	if err != nil {
		w.failures++
		w.retryAt = time.Now().Add(backoff(w.failures))
		if w.failures == 1 {
			w.note(audit.KindFirewallError, "", "block lists: "+err.Error())
		}
		return
	}
	w.failures = 0
	if reason != "" {
		w.note(audit.KindFirewallRepaired, "", "block lists loaded again: "+reason)
	}
	w.took(failed, now)
}

func (w *blockWorker) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, batchLimit)
	defer cancel()
	return w.table.Verify(ctx)
}

// see looks at the files, and reports whether any list has changed.
func (w *blockWorker) see() (changed bool) {
	named := make(map[string]bool)
	for i := range w.want.lists {
		l := &w.want.lists[i]
		named[l.Name] = true
		h := w.held[l.Name]
		if h == nil {
			h = &blockHeld{}
			w.held[l.Name] = h
		}
		if h.conf != l {
			h.barred, h.checked = netip.Prefix{}, ""
			if h.conf == nil {
				h.barred = w.barred.of(l)
			}
			h.conf = l
		}
		if st, same := published.Unchanged(w.store.File(l.Name), h.file); !same {
			h.file, h.have, changed = st, st != nil, true
		}
		if st, same := published.Unchanged(w.store.StateFile(l.Name), h.stateFile); !same {
			before := h.state.Refused
			h.stateFile, h.state = st, w.store.ReadState(l.Name)
			if r := h.state.Refused; r != "" && r != before {
				w.note(audit.KindBlockListRefused, l.Name, fmt.Sprintf("block list %s: new version rejected: %s; %s", l.Name, r, published.Keeping(h.entries)))
			}
		}
	}
	for name := range w.held {
		if !named[name] {
			delete(w.held, name)
		}
	}
	if len(named) > 0 {
		w.barred.known = nil // from now on, held has it
	}
	return changed
}

// lists is what the table should hold: allowed prefixes, then the lists on disk.
func (w *blockWorker) lists(now time.Time) (all []blocklists.List) {
	if w.want.unable != "" {
		return nil
	}
	for i := range w.want.lists {
		conf := &w.want.lists[i]
		h := w.held[conf.Name]
		if h.file == nil || conf.Mode == blocklist.ModeDouble {
			continue
		}
		if h.unfit = w.fit(h); h.unfit != nil {
			continue
		}
		x := blocklists.List{Name: conf.Name, Block: w.want.block, Ports: w.want.closes[conf.Name].ports, Version: versionOf(h.file, conf), Places: conf.Selects() != ""}
		if conf.Mode == blocklist.ModeLog {
			x.Block = blocklists.Count
		}
		x.Each = func(f func(netip.Prefix) error) error {
			b, err := w.store.OpenBlock(conf)
			if err != nil {
				return err
			}
			defer b.Close()
			h.read, h.allowed = now, 0
			allowed := overlaps(w.want.allow)
			return b.Each(func(p netip.Prefix) error {
				if allowed(p) {
					h.allowed++
				}
				return f(p)
			})
		}
		all = append(all, x)
	}
	if len(all) == 0 {
		return nil
	}
	allowed := blocklists.List{Name: allowedName, Block: blocklists.Accept, Version: hashOf(w.want.allow), Each: func(f func(netip.Prefix) error) error {
		for _, p := range w.want.allow {
			if err := f(p); err != nil {
				return err
			}
		}
		return nil
	}}
	return append([]blocklists.List{allowed}, all...)
}

// versionOf identifies the file on disk, and the limits that it has passed.
func versionOf(st os.FileInfo, l *blocklist.List) string {
	return fmt.Sprintf("%d %d %d %d %s", st.ModTime().UnixNano(), st.Size(), l.MinPrefix4, l.MinPrefix6, l.Selects())
}

func hashOf(l []netip.Prefix) string {
	h := sha256.New()
	var buf []byte
	for _, p := range l {
		buf = append(p.AppendTo(buf[:0]), '\n')
		h.Write(buf)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// took records which lists were loaded at a given time, and which failed.
func (w *blockWorker) took(failed map[string]error, at time.Time) {
	if err := failed[allowedName]; err != nil {
		w.note(audit.KindFirewallError, "", "block lists: what is allowed cannot be put before them: "+err.Error())
	}
	entries := w.table.Entries()
	for name, h := range w.held {
		if h.conf.Mode == blocklist.ModeDouble {
			continue
		}
		before := h.rejected
		h.entries, h.rejected = entries[name], ""
		err := failed[name]
		if h.unfit != nil && h.file != nil {
			err = h.unfit
		}
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed a moment ago
		case err != nil:
			if h.rejected = err.Error(); h.rejected != before {
				w.noteRejected(name, h.rejected, published.Keeping(h.entries))
			}
		case h.read.Equal(at) && h.file != nil:
			h.loaded = at
			w.noteLoaded(h)
		}
	}
}

func (w *blockWorker) noteRejected(name, why, keeping string) {
	w.note(audit.KindBlockListRefused, name, fmt.Sprintf("block list %s: not loaded: %s; %s", name, why, keeping))
}

func (w *blockWorker) noteLoaded(h *blockHeld) {
	text := fmt.Sprintf("block list %s: %s in effect", h.conf.Name, diag.Count(h.entries, "entry"))
	if h.allowed > 0 {
		text += fmt.Sprintf(", %d for addresses that are allowed here, which pass", h.allowed)
	}
	w.note(audit.KindBlockList, h.conf.Name, text)
}

// note sends a note to the owner, or drops it if the owner does not read.
func (w *blockWorker) note(k audit.Kind, list, text string) {
	select {
	case w.notes <- blockNote{k, list, text}:
	default:
	}
}

// publish copies the status for others.
func (w *blockWorker) publish() {
	l := make([]blockStatus, 0, len(w.want.lists))
	for i := range w.want.lists {
		l = append(l, w.held[w.want.lists[i].Name].blockStatus)
	}
	w.mu.Lock()
	w.status = l
	w.mu.Unlock()
}

// now returns the status of all lists, and why none is in effect.
func (w *blockWorker) now() ([]blockStatus, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.status), w.err
}

// problems are what an operator should know about block lists.
func (w *blockWorker) problems(unable string, now time.Time) (l []string) {
	all, err := w.now()
	switch {
	case len(all) == 0:
		return nil
	case err != nil:
		l = append(l, "block lists: "+err.Error())
	case unable != "":
		return []string{"block lists: " + unable}
	}
	for i := range all {
		s := &all[i]
		if text := published.Problem(&s.conf.Published, s.state, s.have, s.rejected, published.Keeping(s.entries), "bailiff-lists-refresh.timer", now); text != "" {
			l = append(l, "block list "+s.conf.Name+": "+text)
		}
	}
	return l
}

// configureBlocks passes on a new configuration or a new allow list.
func (d *daemon) configureBlocks(now time.Time) {
	b := blockWanted{lists: d.conf.Lists, block: d.conf.Firewall.Block, unable: d.noBlockLists(), trial: d.firewall.trial(), carry: d.firewall.host.confined}
	if len(b.lists) > 0 {
		b.allow = prefix.Compact(d.eng.Allow().Prefixes(now.UnixMicro()))
		b.closes = make(map[string]closing)
		for i := range b.lists {
			b.closes[b.lists[i].Name] = closes(d.conf, &b.lists[i])
		}
		b.operators = d.onlyOperators(now)
	}
	d.blocks.set(b)
	d.setDouble(d.double)
}

// onlyOperators are the addresses that are allowed only because an operator is logged in from there.
func (d *daemon) onlyOperators(now time.Time) (l []netip.Prefix) {
	if d.ops == nil {
		return nil
	}
	for _, e := range d.ops.Entries() {
		hit := d.eng.Allow().Overlapping(e.Prefix, now.UnixMicro())
		if !slices.ContainsFunc(hit, func(x allow.Entry) bool { return x.Origin != operator.Origin }) {
			l = append(l, e.Prefix)
		}
	}
	return prefix.Compact(l)
}

// noBlockLists says why this daemon loads no lists; "" if it does.
func (d *daemon) noBlockLists() string {
	if d.firewall.chosen == "dryrun" {
		return "not in effect: the firewall is dryrun"
	}
	return ""
}

// closes says what a list closes.
func closes(c *config.Config, l *blocklist.List) closing {
	if l.Ports == blocklist.PortsAll {
		return closing{ssh: true}
	}
	all := closing{none: true}
	every := false
	for i := range c.Jails {
		j := &c.Jails[i]
		if !j.Enabled || len(l.Jails) > 0 && !slices.Contains(l.Jails, j.Name) {
			continue
		}
		all.none = false
		every = every || len(j.Ports) == 0
		all.ssh = all.ssh || every || j.Filter.Name == operator.Filter
		for _, p := range j.Ports {
			if x := (firewall.Port{Proto: p.Proto, From: p.From, To: p.To}); !slices.Contains(all.ports, x) {
				all.ports = append(all.ports, x)
			}
		}
	}
	if every {
		all.ports = nil
	}
	return all
}

// blockNoted writes what the worker reports to the audit trail.
func (d *daemon) blockNoted(n blockNote) {
	var fields []audit.Field
	if n.list != "" {
		fields = append(fields, audit.Field{Name: audit.FieldList, Value: n.list})
	}
	d.aud.Event(n.kind, n.text, fields...)
}

// BlockLists describes the block lists.
func (a *controlAPI) BlockLists(ctx context.Context) (b *control.BlockLists, err error) {
	var unable string
	if err := a.do(ctx, func() { unable = a.d.noBlockLists() }); err != nil {
		return nil, err
	}
	return a.d.blocks.describe(ctx, unable), nil
}

// describe is what the control socket shows; it may be called from any goroutine. unable says why this daemon loads no lists.
func (w *blockWorker) describe(ctx context.Context, unable string) *control.BlockLists {
	all, failed := w.now()
	b := &control.BlockLists{Lists: []control.BlockList{}, Error: unable}
	if len(all) > 0 && failed != nil {
		b.Error = failed.Error()
	}
	var counters map[string]blocklists.Counter
	if len(all) > 0 && unable == "" {
		ctx, cancel := context.WithTimeout(ctx, stoppedLimit)
		defer cancel()
		counters, _ = blocklists.Counters(ctx) // errors are reported elsewhere
	}
	for i := range all {
		s := &all[i]
		l := control.BlockList{
			Name: s.conf.Name, Sources: slices.Clone(s.conf.URLs), Holds: s.conf.Selects(), Mode: s.conf.Mode, Ports: s.conf.Ports, Jails: slices.Clone(s.conf.Jails), Entries: s.entries, LeftOut: s.state.LeftOut, Allowed: s.allowed,
			Fetched: control.Moment(s.state.Fetched), Good: control.Moment(s.state.Good), Checked: control.Moment(s.state.Checked), Loaded: control.Moment(s.loaded),
			Refused: s.state.Refused, Failed: s.state.Failed, Rejected: s.rejected,
		}
		if n, ok := counters[l.Name]; ok {
			l.Packets, l.Bytes = &n.Packets, &n.Bytes
		}
		b.Lists = append(b.Lists, l)
	}
	return b
}

// errFound ends reading a list early.
var errFound = errors.New("found")

// holding returns the lists in effect that hold an address, or overlap a prefix. It reads the lists, 0.2 s for a million prefixes; it may
// be called from any goroutine.
func (w *blockWorker) holding(ctx context.Context, p netip.Prefix) []control.BlockHolding {
	l := []control.BlockHolding{}
	all, _ := w.now()
	for i := range all {
		s := &all[i]
		if s.entries == 0 || ctx.Err() != nil {
			continue
		}
		b, err := w.store.OpenBlock(s.conf)
		if err != nil {
			continue
		}
		var found netip.Prefix
		_ = b.Each(func(x netip.Prefix) error { // a list that is not in order is not in effect
			switch {
			case x.Overlaps(p):
				found = x
				return errFound
			case x.Addr().Compare(p.Addr()) > 0: // the list is in order
				return errFound
			}
			return nil
		})
		b.Close()
		if found.IsValid() {
			l = append(l, control.BlockHolding{
				List: s.conf.Name, Holds: s.conf.Selects(), Prefix: found.String(), Mode: s.conf.Mode, Ports: s.conf.Ports, Jails: slices.Clone(s.conf.Jails),
			})
		}
	}
	return l
}
