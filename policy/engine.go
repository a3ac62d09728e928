// Package policy decides who is banned. Entries, addresses and time come in as values; decisions go out as values: it
// reads no clock, no file and no socket, starts no goroutine and holds no lock, so the daemon and a replay of last
// week's journal decide the same.
//
// Start reading at Engine.Entry. What a line means stands in filter/, counting in jail/, bans in force and the history
// that escalation needs in ledger/, addresses that are never banned in allow/, settings in config/.
package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"net/netip"
	"sort"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/ledger"
)

// Engine holds the policy's whole state. One goroutine uses it.
type Engine struct {
	led    *ledger.Ledger
	allow  *allow.List
	esc    config.Escalate
	lines  int // of evidence kept of one ban
	budget *jail.Budget
	jails  []*cell          // sorted by name
	byName map[string]*cell //
	names  []string         // of jails, by the number that accounts know them by
	byUnit,
	bySlice map[string][]*cell
	byNone      []*cell // cells that take entries without a unit
	byContainer []*cell // cells that take lines of containers

	accounts *jail.Accounts
	logins   *jail.Logins
	attacked config.Accounts
	around   config.Neighbours
	nets     []*network

	// lapsed holds bans that are over by the clock, but not yet at the moment up to which the journal has been read: what
	// the entries to come say is judged as it would have been then.
	lapsed *ledger.Ledger

	seed     uint64 // of all hashes; it is saved with what they were made for
	hit      filter.Hit
	out      Outcome
	rebuild  bool
	restored bool // what is counted came with the ledger
	lost     error

	Allowed uint64 // failures passed over because their address is allowed
}

// cell is a jail at work.
type cell struct {
	conf     config.Jail
	matcher  *filter.Matcher
	counter  *jail.Counter
	attempts *jail.Attempts
	number   uint16 // in Engine.names
	failures uint64
	last     int64
	refused  Refused
}

// Failure is one attempt that counts against an address.
type Failure struct {
	Time     int64 // microseconds since 1970
	Jail     string
	Pattern  string
	Addr     netip.Addr
	Prefix   netip.Prefix // what is counted
	Port     uint16
	User     []byte // as logged: an attacker's text; borrowed from the entry
	Attempts int    // how many attempts this line is: more than one for "message repeated N times"
	Count    int    // what the prefix has in its window now, each failure with its pattern's weight
	Ref      jail.Ref
}

// Ban is a decision: keep Prefix out.
type Ban struct {
	ledger.Ban
	Addr     netip.Addr // whose failure was the one too many
	Evidence []jail.Failure
	Wide     bool           // a neighbourhood of addresses, because many of them attacked at once
	Parts    []netip.Prefix // of a ban of neighbours: those that attacked, as far as they are known
}

// Addresses are those of Parts, but for Addr.
func (b *Ban) Addresses() (l []netip.Addr) {
	for _, p := range b.Parts {
		if a := p.Addr(); a != b.Addr {
			l = append(l, a)
		}
	}
	return l
}

// Windows in which failures count, as Counted names them.
const (
	WindowNormal     = "normal"     // find_time of a jail
	WindowSlow       = "slow"       // slow.find_time of a jail
	WindowAccount    = "account"    // accounts.find_time: on one account that many addresses attack
	WindowNeighbours = "neighbours" // neighbours.find_time: of a network
)

// Outcome is what one entry led to. It is valid until the next call of Entry.
type Outcome struct {
	Hits     int // jails whose filter knew the line
	Failures []Failure
	Bans     []Ban
}

// New makes an engine over a ledger, which it then owns.
func New(c *config.Config, led *ledger.Ledger) (*Engine, error) {
	g := &Engine{led: led, seed: maphash.String(maphash.MakeSeed(), ""), allow: &allow.List{}, budget: jail.NewBudget(c.Limits.Tracked), lapsed: ledger.New()}
	saved := led.TakeCounts()
	if err := g.Configure(c); err != nil {
		return nil, err
	}
	if len(saved) > 0 {
		g.lost = g.restore(saved, c)
	}
	return g, nil
}

// Lost says why what was counted before could not be taken over with the ledger; nil when it could, or there was nothing.
func (g *Engine) Lost() error { return g.lost }

// Configure takes a new configuration. Jails that stay keep what they have counted. On an error nothing changes.
func (g *Engine) Configure(c *config.Config) error {
	var cells []*cell
	byName := make(map[string]*cell)
	for _, jc := range c.Jails {
		if !jc.Enabled {
			continue
		}
		m, err := jc.Filter.Mode(jc.Mode)
		if err != nil {
			return err
		}
		n := &cell{conf: jc, matcher: m}
		if old := g.byName[jc.Name]; old != nil {
			n.counter, n.attempts, n.number, n.failures, n.last, n.refused = old.counter, old.attempts, old.number, old.failures, old.last, old.refused
		} else {
			n.attempts = jail.NewAttempts()
			n.number = g.number(jc.Name)
		}
		cells = append(cells, n)
		byName[jc.Name] = n
	}
	sort.Slice(cells, func(i, j int) bool { return cells[i].conf.Name < cells[j].conf.Name })
	g.budget.SetLimit(c.Limits.Tracked)
	for name, old := range g.byName {
		if byName[name] == nil {
			old.counter.Close()
		}
	}
	for _, n := range cells {
		if o := g.options(&n.conf); n.counter == nil {
			n.counter = jail.NewCounter(o)
		} else {
			n.counter.Configure(o)
		}
	}
	g.configureSpread(c)
	g.jails, g.byName, g.esc, g.lines = cells, byName, c.Escalate, c.Limits.LinesPerBan
	g.listen(cells)
	return nil
}

// Entry judges one journal entry. ref is kept as evidence when the entry counts.
func (g *Engine) Entry(e *filter.Entry, ref jail.Ref) *Outcome {
	g.out.Hits, g.out.Failures, g.out.Bans = 0, g.out.Failures[:0], g.out.Bans[:0]
	g.dispatch(e, ref)
	return &g.out
}

func (g *Engine) judge(c *cell, e *filter.Entry, ref jail.Ref) {
	h := &g.hit
	if !c.matcher.Match(e, h) {
		return
	}
	g.out.Hits++
	at := e.Realtime
	addr := h.Addr
	if !addr.IsValid() {
		addr, _ = c.attempts.Known(e.Boot, e.PID, h.ID)
	}
	user := jail.Hash(h.User, g.seed)
	switch h.Kind {
	case filter.Join:
		c.attempts.Join(e.Boot, e.PID, h.ID, addr, at)
	case filter.Success:
		if addr.IsValid() {
			g.success(c, addr, user, at)
		}
		return
	case filter.Failure:
	default:
		return
	}
	if !addr.IsValid() {
		if h.Kind == filter.Failure {
			c.attempts.Wait(e.Boot, e.PID, h.ID, jail.Waiting{
				Pattern: h.Pattern.Name, Ref: ref, At: at, User: user, Weight: h.Pattern.Weight, Most: h.Pattern.MaxRetry, Unknown: h.Unknown,
				Repeat: max(1, h.Repeat), Step: h.Pattern.Step,
			})
		}
		return
	}
	if w, ok := c.attempts.Claim(e.Boot, e.PID, h.ID); ok {
		if c.attempts.See(e.Boot, e.PID, h.ID, addr, w.Step, w.At) {
			g.count(c, addr, &Failure{Time: w.At, Pattern: w.Pattern, Attempts: w.Repeat, Ref: w.Ref}, grade{w.User, w.Weight, w.Most, w.Unknown})
		}
	}
	if h.Kind == filter.Failure && c.attempts.See(e.Boot, e.PID, h.ID, addr, h.Pattern.Step, at) {
		g.count(c, addr, &Failure{Time: at, Pattern: h.Pattern.Name, Port: h.Port, User: h.User, Attempts: max(1, h.Repeat), Ref: ref}, grade{user, h.Pattern.Weight, h.Pattern.MaxRetry, h.Unknown})
	}
}

// grade is what makes one failure weigh more than another.
type grade struct {
	user    uint64 // hash of the account name, 0: not known
	weight  int    // of the pattern
	most    int    // so many such lines are too many; 0: as the jail says
	unknown bool   // there is no such account
}

// count has a failure count against an address, unless the address is allowed, out already, or forgiven.
func (g *Engine) count(c *cell, addr netip.Addr, f *Failure, w grade) {
	at := f.Time
	if _, ok := g.allow.Contains(addr, at); ok {
		g.Allowed++
		return
	}
	weight := max(1, w.weight)
	more := c.conf.Weights.Account
	if w.unknown {
		// Of both reasons to weigh more the heavier one holds: two slips of a name must not be a ban.
		more = max(0, weight+more-weight*c.conf.Weights.Unknown)
		weight *= c.conf.Weights.Unknown
	}
	personal := weight * f.Attempts
	if w.most > 0 {
		weight = max(weight, (c.conf.MaxRetry+w.most-1)/w.most)
	}
	x := jail.Failure{Ref: f.Ref, At: at, User: short(w.user), Weight: weight * f.Attempts, Pattern: f.Pattern}
	if g.rebuild && g.restored {
		g.recall(c, addr, x, w.user)
		return
	}
	if g.held(c, addr, at) || g.led.Pardoned(addr, at) {
		return
	}
	// Who logged in to the account from there lately is no stranger: he is not one that tries names, nor attacks the account.
	stranger := true
	if w.user != 0 && g.logins.Within(jail.Mix(w.user, g.narrow(c, addr), g.seed), at, g.attacked.Spare) {
		more, stranger = 0, false
	}
	v := c.counter.Add(addr, x, more)
	c.failures++
	c.last = max(c.last, at)
	f.Jail, f.Addr, f.Prefix, f.Count = c.conf.Name, addr, v.Prefix, v.Count
	g.out.Failures = append(g.out.Failures, *f)
	banned := false
	switch {
	case v.Tripped || w.most == 1:
		banned = g.ban(c, addr, v.Prefix, ledger.Failures, c.counter.Take(v.Prefix), v.Count, v.Wide, at)
	case v.Slow:
		banned = g.ban(c, addr, v.Prefix, ledger.Slow, c.counter.TakeSlow(v.Prefix), v.Long, false, at)
	}
	if x.Weight = personal; w.user != 0 && stranger {
		for _, p := range g.accounts.Add(w.user, g.narrow(c, addr), c.number, x) {
			g.convict(p, at)
		}
	}
	if banned || addr.Is6() {
		g.neighbours(c, addr, g.narrow(c, addr), x)
	}
}

// held says whether addr was banned before that moment in a way that stops what c watches: then the line comes from a
// connection that was open before, and is nothing new. The entry that led to the ban is not held by it: it must count
// again when it is read again.
func (g *Engine) held(c *cell, addr netip.Addr, at int64) bool {
	stops := func(jail string) bool { return jail == c.conf.Name || g.Scope(jail) == "" }
	return g.led.Held(addr, at, stops) || g.lapsed.Held(addr, at, stops)
}

// narrow is the prefix that one address is counted and banned by.
func (g *Engine) narrow(c *cell, addr netip.Addr) netip.Prefix {
	bits := c.conf.Prefix6
	if addr.Is4() {
		bits = c.conf.Prefix4
	}
	p, _ := addr.Prefix(bits)
	return p
}

// ban decides that a prefix is out, unless it holds an allowed address; then what addr can be banned by instead is. It
// says whether there is a ban. wide is of a prefix that is wider than its jail counts.
func (g *Engine) ban(c *cell, addr netip.Addr, prefix netip.Prefix, reason string, evidence []jail.Failure, count int, wide bool, at int64) bool {
	evidence = evidence[max(0, len(evidence)-g.lines):] // the newest: they led to the ban
	if wide && g.allow.Overlaps(prefix, at) {
		return false // the neighbourhood of an allowed address, and addr itself has not done enough for a ban of its own
	}
	// A prefix that holds an allowed address is not banned as a whole: first back to the attacker's own, then to the
	// bare address, which is not allowed (Entry looked).
	for _, p := range []netip.Prefix{g.narrow(c, addr), netip.PrefixFrom(addr, addr.BitLen())} {
		if !g.allow.Overlaps(prefix, at) {
			break
		}
		prefix = p
	}
	if g.rebuild {
		return false
	}
	// An entry may be read a second time after a crash, or after a ledger was rebuilt from the audit trail: the ban
	// that it led to stands already.
	if old, ok := g.led.Get(prefix, c.conf.Name); ok && old.Since >= at {
		return false
	}
	b := ledger.Ban{Prefix: prefix, Jail: c.conf.Name, Since: at, Failures: count, Reason: reason}
	long, times := g.led.Escalate(prefix, at, c.conf.BanTime, g.esc.Factor, g.esc.Max, g.esc.Forget, spread(&b, g.esc.Spread))
	b.Until, b.Count = end(at, long), times
	g.led.Add(b)
	g.out.Bans = append(g.out.Bans, Ban{Ban: b, Addr: addr, Evidence: evidence, Wide: wide})
	return true
}

// spread draws what is added to a ban's time. It follows from the ban's id, so that it is the same in a replay; whoever
// wants to foretell it has to know to the microsecond when journald received the line that led to the ban.
func spread(b *ledger.Ban, most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	h := sha256.Sum256([]byte("spread " + b.ID()))
	n, _ := bits.Mul64(binary.BigEndian.Uint64(h[:8]), uint64(most/time.Second)+1)
	return time.Duration(n) * time.Second
}

// end computes when a ban is over; 0 is never.
func end(at int64, long time.Duration) int64 {
	if long == config.Forever {
		return 0
	}
	return at + long.Microseconds()
}

// Rebuild says whether entries are only read again so that connections that go on are known, and the lines that failures
// stand in: what they led to was counted and decided before. Where the ledger came without what was counted (it is an
// old one), the windows are filled from them, too.
func (g *Engine) Rebuild(on bool) { g.rebuild = on }

// Expire takes out bans that are over at now, for the firewall and the audit, and gives memory back. read is up to when
// the journal has been read: while reading is behind, what is over by the clock still counts for the entries to come.
// 0: that is not known yet.
func (g *Engine) Expire(now, read int64) []ledger.Ban {
	if read != 0 {
		for _, c := range g.jails {
			c.counter.Expire(read, 4096)
			c.attempts.Expire(read)
		}
		for _, n := range g.nets {
			n.counter.Expire(read, 1024)
		}
		g.accounts.Expire(read, 256)
		g.lapsed.Expire(read, read)
	}
	over := g.led.Expire(now, read)
	for _, b := range over {
		if b.Until > read {
			g.lapsed.Add(b)
		}
	}
	return over
}

// Lapse takes out a ban that was over by the clock when it was decided: it was missed while nobody read the journal.
func (g *Engine) Lapse(b ledger.Ban) {
	if g.led.Remove(b.Prefix, b.Jail) {
		g.lapsed.Add(b)
	}
}

// SetAllow takes a new allow list and lifts the bans that it forbids: those of an allowed address, and those of a
// prefix that holds one.
func (g *Engine) SetAllow(l *allow.List, now int64) (lifted []ledger.Ban) {
	g.allow = l
	var gone []ledger.Ban
	for b := range g.led.All() {
		if l.Overlaps(b.Prefix, now) {
			gone = append(gone, b)
		}
	}
	for _, b := range gone {
		if g.led.Remove(b.Prefix, b.Jail) {
			lifted = append(lifted, b)
		}
	}
	return lifted
}

// Allow returns the allow list in force.
func (g *Engine) Allow() *allow.List { return g.allow }

// Ledger returns the bans in force.
func (g *Engine) Ledger() *ledger.Ledger { return g.led }

// Pardon forgets what all jails have against a prefix, and takes care that it stays forgotten when the journal is
// read again after a restart.
func (g *Engine) Pardon(prefix netip.Prefix, now int64) {
	for _, c := range g.jails {
		c.counter.Forget(prefix)
	}
	for _, n := range g.nets {
		if n.holds(prefix.Addr()) {
			n.counter.Forget(prefix)
		}
	}
	g.led.Pardon(prefix, now)
}

// Scope is the firewall scope of a jail's bans: "" is all traffic.
func (g *Engine) Scope(name string) string {
	if c := g.byName[name]; c != nil && len(c.conf.Ports) > 0 {
		return name
	}
	return ""
}

// connTime is how long the lines of one connection may be apart; see jail.Attempts.
const connTime = 5 * time.Minute

// Window is how far back the journal must be read at start: the longest find_time of any jail, and no less than is
// needed to know connections that go on. Longer windows come with the ledger.
func (g *Engine) Window() time.Duration {
	w := connTime
	for _, c := range g.jails {
		w = max(w, c.conf.FindTime)
	}
	return w
}

// Matchers returns what the enabled jails want to see.
func (g *Engine) Matchers() []*filter.Matcher {
	ms := make([]*filter.Matcher, 0, len(g.jails))
	for _, c := range g.jails {
		ms = append(ms, c.matcher)
	}
	return ms
}

// JailInfo is a jail as status shows it.
type JailInfo struct {
	config.Jail
	Trust    filter.Trust
	Failures uint64
	Last     int64 // of the last failure, 0: none
	Refused  Refused
}

// Jails returns the enabled jails by name.
func (g *Engine) Jails() []JailInfo {
	l := make([]JailInfo, 0, len(g.jails))
	for _, c := range g.jails {
		l = append(l, JailInfo{Jail: c.conf, Trust: c.matcher.Trust(), Failures: c.failures, Last: c.last, Refused: c.refused})
	}
	return l
}

// Jail returns a jail's settings.
func (g *Engine) Jail(name string) (config.Jail, bool) {
	if c := g.byName[name]; c != nil {
		return c.conf, true
	}
	return config.Jail{}, false
}

// Counted is what counts against an address in one window. A ban comes when Have reaches Need, and in the account window
// when Others reaches OthersNeed, too.
type Counted struct {
	Jail       string        // that counts; of accounts and neighbours the one of the latest failure
	Filter     string        // of the jail
	Window     string        // WindowNormal and so on
	Find       time.Duration // the length of the window
	Prefix     netip.Prefix  // what is counted as one, and would be banned
	Have, Need int           // failures, each with its weight; of neighbours: different parts of Prefix
	Others     int           // different addresses that failed on the account, this one included; 0 in other windows
	OthersNeed int
	Until      int64          // when the oldest of it ceases to count, microseconds since 1970
	Failures   []jail.Failure // those that are kept one by one, oldest first: in the slow window they may be fewer than Have
}

// Tracked is how many prefixes have failures in a window, Widened how many failures were counted on a wider prefix
// because the table was full.
func (g *Engine) Tracked() (n, limit int, widened uint64) {
	for _, c := range g.jails {
		n += c.counter.Tracked()
		widened += c.counter.Widened()
	}
	return n, g.budget.Limit(), widened
}
