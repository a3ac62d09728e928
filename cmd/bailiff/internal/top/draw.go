package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/client"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/diag"
	"bailiff/units/control"
)

// drawing is the lines of a screen as they are made.
type drawing struct {
	*cli.Env
	columns int
	lines   []string
}

func (d *drawing) add(format string, args ...any) {
	d.lines = append(d.lines, text.Clip(fmt.Sprintf(format, args...), d.columns))
}

func (d *drawing) paint(style, s string) {
	d.lines = append(d.lines, d.Paint(style, text.Clip(s, d.columns)))
}

func (v *view) draw(e *cli.Env, columns, lines int, now time.Time) []string {
	sec := v.second(now)
	v.forget(sec)
	d := &drawing{Env: e, columns: columns}
	v.drawSummary(d, now)
	if lines < len(d.lines)+6 || columns < 40 {
		return d.lines[:min(len(d.lines), lines)]
	}

	// The rest of the screen goes to three lists, each with an empty line and a heading above it, and the last line.
	room := lines - len(d.lines) - 6 - 1
	jails, attacks := v.activeJails(sec), v.sortedAttacks(sec)
	nj := min(len(jails), max(2, room/4))
	nb := min(len(v.recent), max(2, room/4))
	na := min(len(attacks), max(0, room-nj-nb))
	nj = min(len(jails), max(0, room-na-nb))
	nb = min(len(v.recent), max(0, room-na-nj))
	nj, na, nb = fit(room, nj, na, nb)
	drawJails(d, jails[:nj], now)
	v.drawAttacks(d, attacks[:na], len(attacks)-na, now)
	v.drawBans(d, nb)
	for len(d.lines) < lines-1 {
		d.add("")
	}
	d.lines = d.lines[:min(len(d.lines), lines-1)]
	foot := "q leaves"
	if v.missed > 0 {
		foot += fmt.Sprintf("   %s not shown one by one: too many", diag.Count(v.missed, "event"))
	}
	d.add("%s", foot)
	return d.lines
}

func (v *view) drawSummary(d *drawing, now time.Time) {
	sec := v.second(now)
	clock := now.Local().Format("15:04:05")
	title := "bailiff " + v.s.Version
	d.paint(cli.Bold, title+strings.Repeat(" ", max(1, d.columns-utf8.RuneCountInString(title)-len(clock)))+clock)
	switch {
	case v.away != nil:
		d.paint(cli.Red, "THE DAEMON IS NOT ANSWERING: "+text.Clean(v.away.Error()))
	case !v.s.Firewall.OK:
		d.paint(cli.Red, "THE FIREWALL IS NOT WORKING: "+text.Clean(v.s.Firewall.Error))
	case len(v.s.Problems) > 0:
		more := ""
		if n := len(v.s.Problems) - 1; n > 0 {
			more = fmt.Sprintf(" (and %d more: bailiff status)", n)
		}
		d.paint(cli.Red, "PROBLEM: "+text.Clean(v.s.Problems[0].Text)+more)
	default:
		d.add("%s: bans are in effect; %s tracked, journal %.0f s behind", v.s.Firewall.Backend, diag.Count(v.s.Tracked, "prefix"), v.s.Journal.Lag)
	}
	d.add("failures  %6d in 10 s  %7d in 1 min", v.failures.in(sec, 10), v.failures.in(sec, window))
	d.add("bans      %6d in 10 s  %7d in 1 min  %7d in effect, %d made", v.bans.in(sec, 10), v.bans.in(sec, window), v.s.Bans, v.s.BansTotal)
	d.add("1 min ago |%s| now", v.failures.graph(sec))
}

type jailRow struct {
	*control.JailStatus
	minute int // failures in the last minute
}

// activeJails are the jails that have something to watch, the busiest first.
func (v *view) activeJails(sec int64) (rows []*jailRow) {
	for i := range v.s.Jails {
		j := &v.s.Jails[i]
		if client.IdleJail(j) {
			continue
		}
		r := &jailRow{JailStatus: j}
		if rate := v.jails[j.Name]; rate != nil {
			r.minute = rate.in(sec, window)
		}
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, func(a, b *jailRow) int {
		return cmp.Or(b.minute-a.minute, cmp.Compare(b.Failures, a.Failures), b.Bans-a.Bans, cmp.Compare(a.Name, b.Name))
	})
	return rows
}

func drawJails(d *drawing, rows []*jailRow, now time.Time) {
	d.add("")
	d.paint(cli.Bold, fmt.Sprintf("%-18s %8s %12s %9s  %s", "JAIL", "1 MIN", "SINCE START", "BANS", "LAST FAILURE"))
	for _, r := range rows {
		last := "-"
		if r.Last != nil {
			last = text.Ago(now.Sub(*r.Last))
		}
		d.add("%-18s %8d %12d %9d  %s", text.Clip(text.Clean(r.Name), 18), r.minute, r.Failures, r.Bans, last)
	}
}

type attackRow struct {
	attackKey
	*attack
	minute int // failures in the last minute
}

// sortedAttacks are the attacks of the last minute, the busiest first.
func (v *view) sortedAttacks(sec int64) (rows []*attackRow) {
	for k, a := range v.attacks {
		rows = append(rows, &attackRow{k, a, a.rate.in(sec, window)})
	}
	slices.SortFunc(rows, func(a, b *attackRow) int {
		return cmp.Or(b.minute-a.minute, b.last.Compare(a.last), cmp.Compare(a.prefix, b.prefix), cmp.Compare(a.jail, b.jail))
	})
	return rows
}

// otherColumns is the width of what stands beside an address in the lists of attacks and bans.
const otherColumns = 49

func (v *view) drawAttacks(d *drawing, rows []*attackRow, hidden int, now time.Time) {
	wide := d.columns - otherColumns
	title := "ATTACKS NOW"
	if hidden > 0 || v.crowd {
		title += fmt.Sprintf(" (%d more)", hidden)
	}
	d.add("")
	d.paint(cli.Bold, fmt.Sprintf("%-*s %-12s %6s %9s  %s", wide, title, "JAIL", "1 MIN", "COUNT", "LAST"))
	for _, a := range rows {
		state := fmt.Sprintf("%d of %d", a.count, a.max)
		if a.banned {
			state = "banned"
		}
		d.add("%-*s %-12s %6d %9s  %s", wide, text.Clip(text.Clean(text.Address(a.prefix)), wide), text.Clip(text.Clean(a.jail), 12), a.minute, state, text.Ago(now.Sub(a.last)))
	}
	if len(rows) == 0 {
		d.add("(none in the last minute)")
	}
}

func (v *view) drawBans(d *drawing, n int) {
	wide := d.columns - otherColumns
	d.add("")
	d.paint(cli.Bold, fmt.Sprintf("%-*s %-12s %8s  %-16s", wide, "NEW BANS", "JAIL", "BEGAN", "UNTIL"))
	for _, b := range v.recent[:n] {
		end := "forever"
		if b.Until != nil {
			end = b.Until.Local().Format("2006-01-02 15:04")
		}
		d.add("%-*s %-12s %8s  %-16s", wide, text.Clip(text.Clean(text.Address(b.Prefix)), wide), text.Clip(text.Clean(b.Jail), 12), b.Time.Local().Format("15:04:05"), end)
	}
	if n == 0 {
		d.add("(none since %s)", v.began.Local().Format("15:04:05"))
	}
}

// fit shortens three lists to a number of lines, the longest first. The last two take a line even if they are empty.
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
