package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"bailiff/cmd/bailiff/internal/term"
	"bailiff/units/control"
)

func runTop(e *env, args []string) error {
	f := e.flags("top")
	socket := f.String("socket", control.DefaultPath, "`path` of the daemon's control socket")
	asJSON := f.Bool("json", false, "print the daemon's events as they come, one JSON object a line, until interrupted")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if err := want("top", rest, 0, 0); err != nil {
		return err
	}
	c := control.Dial(*socket)
	if *asJSON {
		err := c.Events(e.ctx, func(x *control.Event) error { return printJSON(e.out, x) })
		if e.ctx.Err() != nil {
			return nil
		}
		return err
	}
	// Asked first, so that an error is told on a terminal that is as it was.
	s, err := c.Status(e.ctx)
	if err != nil {
		return err
	}
	out, ok := e.out.(*os.File)
	in, ok2 := e.in.(*os.File)
	if !ok || !ok2 {
		return usagef("top: it needs a terminal; --json prints the events")
	}
	screen, err := term.Open(in, out)
	if errors.Is(err, term.ErrNone) {
		return usagef("top: %v; --json prints the events", err)
	} else if err != nil {
		return err
	}
	defer screen.Close()
	// A terminal that goes away, and what would end the program without a word.
	ctx, stop := signal.NotifyContext(e.ctx, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	t := &top{env: e, screen: screen, client: c, view: newTopView(s, time.Now())}
	return t.run(ctx)
}

// Pauses of the view: between two drawings, and between two tries to reach a daemon that is away.
const (
	topFrame = 200 * time.Millisecond
	topRetry = time.Second
)

// top joins the terminal, the daemon's events and the clock. One goroutine (run) owns the view.
type top struct {
	*env
	screen *term.Screen
	client *control.Client
	view   *topView
}

// topEvent is what the goroutine that listens to the daemon tells.
type topEvent struct {
	event *control.Event
	lost  error // the stream has ended
	fatal error
}

func (t *top) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := make(chan topEvent, 256)
	go t.listen(ctx, events)
	fresh := make(chan *control.Status, 1)
	asking := false
	clock := time.NewTimer(0)
	defer clock.Stop()
	var drawn time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case k, ok := <-t.screen.Keys():
			if !ok || k == 'q' || k == 'Q' {
				return nil
			}
		case <-t.screen.Resized():
			clock.Reset(0)
		case s := <-fresh:
			if asking = false; s != nil {
				t.view.status(s)
				clock.Reset(0)
			}
		case x := <-events:
			if x.fatal != nil {
				return x.fatal
			}
			if ask := t.view.take(&x, time.Now()); ask && !asking {
				asking = true
				go func() { fresh <- t.ask(ctx) }()
			}
			clock.Reset(max(0, topFrame-time.Since(drawn)))
		case <-clock.C:
			now := time.Now()
			columns, lines := t.screen.Size()
			if err := t.screen.Draw(t.view.draw(t.env, columns, lines, now)); err != nil {
				return nil // the terminal is gone
			}
			drawn = now
			clock.Reset(t.view.pause(now))
		}
	}
}

// ask gets the daemon's numbers; nil when it does not answer, which its stream tells as well.
func (t *top) ask(ctx context.Context) *control.Status {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := t.client.Status(ctx)
	if err != nil {
		return nil
	}
	return s
}

// listen reads the daemon's events, and looks for it again when it went away. A panic is handed to run, which gives the
// terminal back first.
func (t *top) listen(ctx context.Context, to chan<- topEvent) {
	send := func(x topEvent) error {
		select {
		case to <- x:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() {
		if p := recover(); p != nil {
			send(topEvent{fatal: fmt.Errorf("panic: %v\n%s", p, debug.Stack())})
		}
	}()
	for ctx.Err() == nil {
		err := t.client.Events(ctx, func(e *control.Event) error { return send(topEvent{event: e}) })
		if send(topEvent{lost: err}) != nil {
			return
		}
		select {
		case <-time.After(topRetry):
		case <-ctx.Done():
		}
	}
}

// Bounds of what the view keeps.
const (
	topWindow  = 60 // seconds: what "now" is
	topAttacks = 2048
	topBans    = 64
)

// topView is what is shown. It reads no clock: the time comes in.
type topView struct {
	s        control.Status
	began    time.Time
	away     error // the daemon does not answer
	attacks  map[topKey]*topAttack
	jails    map[string]*topRate
	failures topRate
	bans     topRate
	recent   []control.Event // bans, the newest first
	missed   uint64
	crowd    bool // more addresses attack than are kept
}

type topKey struct{ jail, prefix string }

type topAttack struct {
	rate       topRate
	last       time.Time
	count, max int
	pattern    string
	banned     bool
}

// topRate counts the last seconds.
type topRate struct {
	at  int64 // the second of the newest slot
	sum [topWindow]uint32
}

func (r *topRate) add(now int64, n int) {
	r.move(now)
	r.sum[now%topWindow] += uint32(n)
}

func (r *topRate) move(now int64) {
	if now-r.at >= topWindow {
		r.sum = [topWindow]uint32{}
		r.at = now
	}
	for r.at < now {
		r.at++
		r.sum[r.at%topWindow] = 0
	}
}

// in sums up the last n seconds.
func (r *topRate) in(now int64, n int) (sum int) {
	r.move(now)
	for i := range n {
		sum += int(r.sum[((now-int64(i))%topWindow+topWindow)%topWindow])
	}
	return sum
}

func newTopView(s *control.Status, now time.Time) *topView {
	v := &topView{began: now, attacks: make(map[topKey]*topAttack), jails: make(map[string]*topRate)}
	v.status(s)
	return v
}

// status takes numbers that count from the daemon's start.
func (v *topView) status(s *control.Status) {
	v.s = *s
	v.s.Jails = slices.Clone(s.Jails)
}

// take notes an event, and says whether the numbers should be asked anew.
func (v *topView) take(x *topEvent, now time.Time) (ask bool) {
	sec := now.Unix()
	if x.event == nil {
		v.away = x.lost
		return false
	}
	e := x.event
	jail := func() *control.JailStatus {
		for i := range v.s.Jails {
			if v.s.Jails[i].Name == e.Jail {
				return &v.s.Jails[i]
			}
		}
		return &control.JailStatus{} // one that came with a reload: its numbers are asked
	}
	switch e.Kind {
	case "status":
		v.away = nil
		v.status(e.Status)
	case "failure":
		n := max(1, e.Attempts)
		v.failures.add(sec, n)
		v.rate(e.Jail).add(sec, n)
		j := jail()
		j.Failures++
		at := e.Time
		j.Last = &at
		k := topKey{e.Jail, e.Prefix}
		a := v.attacks[k]
		if a == nil {
			if len(v.attacks) >= topAttacks {
				v.forget(sec)
			}
			if v.crowd = len(v.attacks) >= topAttacks; v.crowd {
				return false
			}
			a = &topAttack{}
			v.attacks[k] = a
		}
		a.rate.add(sec, n)
		a.last, a.count, a.max, a.pattern, a.banned = now, e.Count, e.MaxRetry, e.Pattern, false
	case "ban", "extend":
		v.bans.add(sec, 1)
		if e.Kind == "ban" {
			v.s.Bans++
			v.s.BansTotal++
			jail().Bans++
		}
		v.recent = slices.Insert(v.recent, 0, *e)
		v.recent = v.recent[:min(len(v.recent), topBans)]
		if a := v.attacks[topKey{e.Jail, e.Prefix}]; a != nil {
			a.banned = true
		}
	case "unban":
		v.s.Bans = max(0, v.s.Bans-1)
		j := jail()
		j.Bans = max(0, j.Bans-1)
		v.recent = slices.DeleteFunc(v.recent, func(b control.Event) bool { return b.ID == e.ID && b.Jail == e.Jail })
	case "missed":
		v.missed += e.Missed
		v.failures.add(sec, int(min(e.Missed, 1<<20)))
		return true
	case "state":
		return true
	}
	return false
}

func (v *topView) rate(jail string) *topRate {
	r := v.jails[jail]
	if r == nil {
		r = &topRate{}
		v.jails[jail] = r
	}
	return r
}

// forget drops attacks that are over.
func (v *topView) forget(sec int64) {
	for k, a := range v.attacks {
		if sec-a.last.Unix() >= topWindow {
			delete(v.attacks, k)
		}
	}
}

// pause is how long the view may stay as it is: a second while something goes on, longer when it is quiet.
func (v *topView) pause(now time.Time) time.Duration {
	if v.failures.in(now.Unix(), topWindow) > 0 || v.bans.in(now.Unix(), topWindow) > 0 || v.away != nil {
		return time.Second
	}
	return 15 * time.Second
}

// draw makes the lines of a screen.
func (v *topView) draw(e *env, columns, lines int, now time.Time) []string {
	sec := now.Unix()
	v.forget(sec)
	var l []string
	add := func(format string, args ...any) { l = append(l, clip(fmt.Sprintf(format, args...), columns)) }
	head := func(s string) { l = append(l, e.paint(bold, clip(s, columns))) }

	clock := now.Local().Format("15:04:05")
	title := "bailiff " + v.s.Version
	l = append(l, e.paint(bold, clip(title+strings.Repeat(" ", max(1, columns-utf8.RuneCountInString(title)-len(clock)))+clock, columns)))
	switch {
	case v.away != nil:
		l = append(l, e.paint(red, clip("THE DAEMON IS AWAY: "+clean(v.away.Error()), columns)))
	case !v.s.Firewall.OK:
		l = append(l, e.paint(red, clip("THE FIREWALL DOES NOT WORK: "+clean(v.s.Firewall.Error), columns)))
	case len(v.s.Problems) > 0:
		more := ""
		if n := len(v.s.Problems) - 1; n > 0 {
			more = fmt.Sprintf(" (and %d more: bailiff status)", n)
		}
		l = append(l, e.paint(red, clip("PROBLEM: "+clean(v.s.Problems[0].Text)+more, columns)))
	default:
		add("%s: bans are in effect; %d watched, journal %.0f s behind", v.s.Firewall.Backend, v.s.Tracked, v.s.Journal.Lag)
	}
	add("failures  %6d in 10 s  %7d in 1 min", v.failures.in(sec, 10), v.failures.in(sec, topWindow))
	add("bans      %6d in 10 s  %7d in 1 min  %7d in force, %d made", v.bans.in(sec, 10), v.bans.in(sec, topWindow), v.s.Bans, v.s.BansTotal)
	add("1 min ago |%s| now", v.failures.graph(sec))
	if lines < len(l)+6 || columns < 40 {
		return l[:min(len(l), lines)]
	}

	// What is left goes to the three lists: jails that do something, attacks, bans.
	room := lines - len(l) - 6 - 1 // headings with a line before each, and the last line
	type jailRow struct {
		s      *control.JailStatus
		minute int
	}
	var jails []jailRow
	for i := range v.s.Jails {
		j := &v.s.Jails[i]
		if idleJail(j) {
			continue
		}
		r := jailRow{s: j}
		if rate := v.jails[j.Name]; rate != nil {
			r.minute = rate.in(sec, topWindow)
		}
		jails = append(jails, r)
	}
	slices.SortStableFunc(jails, func(a, b jailRow) int {
		return cmp.Or(b.minute-a.minute, cmp.Compare(b.s.Failures, a.s.Failures), b.s.Bans-a.s.Bans, cmp.Compare(a.s.Name, b.s.Name))
	})
	type attackRow struct {
		topKey
		*topAttack
		minute int
	}
	var attacks []attackRow
	for k, a := range v.attacks {
		attacks = append(attacks, attackRow{k, a, a.rate.in(sec, topWindow)})
	}
	slices.SortFunc(attacks, func(a, b attackRow) int {
		return cmp.Or(b.minute-a.minute, b.last.Compare(a.last), cmp.Compare(a.prefix, b.prefix), cmp.Compare(a.jail, b.jail))
	})
	nj := min(len(jails), max(2, room/4))
	nb := min(len(v.recent), max(2, room/4))
	na := min(len(attacks), max(0, room-nj-nb))
	nj = min(len(jails), max(0, room-na-nb))
	nb = min(len(v.recent), max(0, room-na-nj))
	nj, na, nb = fit(room, nj, na, nb)

	l = append(l, "")
	head(fmt.Sprintf("%-18s %8s %12s %9s  %s", "JAIL", "1 MIN", "SINCE START", "IN FORCE", "LAST FAILURE"))
	for _, r := range jails[:nj] {
		last := "-"
		if r.s.Last != nil {
			last = ago(now.Sub(*r.s.Last))
		}
		add("%-18s %8d %12d %9d  %s", clip(clean(r.s.Name), 18), r.minute, r.s.Failures, r.s.Bans, last)
	}
	l = append(l, "")
	wide := columns - 49 // what the other columns take
	heading := fmt.Sprintf("%-*s %-12s %6s %9s  %s", wide, "ATTACKS NOW", "JAIL", "1 MIN", "COUNT", "LAST")
	if n := len(attacks) - na; n > 0 || v.crowd {
		heading = fmt.Sprintf("%-*s %-12s %6s %9s  %s", wide, fmt.Sprintf("ATTACKS NOW (%d more)", n), "JAIL", "1 MIN", "COUNT", "LAST")
	}
	head(heading)
	for _, a := range attacks[:na] {
		state := fmt.Sprintf("%d of %d", a.count, a.max)
		if a.banned {
			state = "banned"
		}
		add("%-*s %-12s %6d %9s  %s", wide, clip(clean(bare(a.prefix)), wide), clip(clean(a.jail), 12), a.minute, state, ago(now.Sub(a.last)))
	}
	if na == 0 {
		add("(none in the last minute)")
	}
	l = append(l, "")
	head(fmt.Sprintf("%-*s %-12s %8s  %-16s", wide, "NEW BANS", "JAIL", "BEGAN", "UNTIL"))
	for _, b := range v.recent[:nb] {
		end := "for ever"
		if b.Until != nil {
			end = b.Until.Local().Format("2006-01-02 15:04")
		}
		add("%-*s %-12s %8s  %-16s", wide, clip(clean(bare(b.Prefix)), wide), clip(clean(b.Jail), 12), b.Time.Local().Format("15:04:05"), end)
	}
	if nb == 0 {
		add("(none since %s)", v.began.Local().Format("15:04:05"))
	}
	for len(l) < lines-1 {
		l = append(l, "")
	}
	l = l[:min(len(l), lines-1)]
	foot := "q leaves"
	if v.missed > 0 {
		foot += fmt.Sprintf("   %d events too many to be shown one by one", v.missed)
	}
	return append(l, clip(foot, columns))
}

// fit cuts three lists down to a number of lines, the longest first; an empty one has a line that says so.
func fit(room int, n ...int) (int, int, int) {
	size := func() int { return n[0] + max(1, n[1]) + max(1, n[2]) }
	for size() > room {
		most := 0
		for i := range n {
			if n[i] > n[most] {
				most = i
			}
		}
		if n[most] == 0 {
			break
		}
		n[most]--
	}
	return n[0], n[1], n[2]
}

// bare takes the length off a prefix that is one address.
func bare(prefix string) string {
	if p, ok := strings.CutSuffix(prefix, "/32"); ok && strings.Contains(p, ".") {
		return p
	}
	return strings.TrimSuffix(prefix, "/128")
}

// ago is how long ago something was, in a few columns.
func ago(d time.Duration) string {
	switch {
	case d < time.Second:
		return "now"
	case d < 48*time.Hour:
		s := short(d)
		if i := strings.IndexAny(s, "dhm"); i >= 0 && d >= time.Minute {
			s = s[:i+1]
		}
		return s + " ago"
	}
	return fmt.Sprintf("%dd ago", d/(24*time.Hour))
}

// graph draws the last minute, a column a second: the denser, the more.
func (r *topRate) graph(now int64) string {
	const ink = " .:-=+*#%@"
	r.move(now)
	most := uint32(0)
	for _, n := range r.sum {
		most = max(most, n)
	}
	b := make([]byte, topWindow)
	for i := range b {
		n := r.sum[((now-int64(topWindow-1-i))%topWindow+topWindow)%topWindow]
		b[i] = ink[0]
		if n > 0 {
			b[i] = ink[1+int(uint64(n-1)*uint64(len(ink)-1)/uint64(max(most, uint32(len(ink)))))]
		}
	}
	return string(b)
}
