package dispatch

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/journal/audit"
	"bailiff/policy/config"
)

const ntfy = `type: webhook, form: ntfy, url: "https://ntfy.example.org/x"`

// counted adds up what the notices of a destination were about.
func (b *bench) counted(name, event string) (n int) {
	for _, m := range regexp.MustCompile(`(?m)^count "(\w*)" \S+ (\d+)$`).FindAllStringSubmatch(b.out(name), -1) {
		if k, _ := strconv.Atoi(m[2]); m[1] == event {
			n += k
		}
	}
	return n
}

func (b *bench) said(name, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("%q in the notices to %s", text, name), func() bool { return strings.Contains(b.out(name), text) })
}

// TestNotices: each destination gets the notices it asks for: bans, unbans, problems and their ends, including those of other destinations.
func TestNotices(t *testing.T) {
	b := newBench(t, reports("all: {"+ntfy+", gather: none, events: [bans, unbans, problems]}, bans: {"+ntfy+", gather: none, events: [bans], only: new}, "+
		"wide: {"+ntfy+", gather: none, events: [bans], only: networks}, mail: {type: mail, to: root}"))
	for _, name := range []string{"all", "bans", "wide", "mail"} {
		b.script(name, take)
	}
	b.start()
	id := b.ban("198.51.100.1")
	b.ban("198.51.100.2", func(e *audit.BanEvent) { e.Count = 2 })
	b.ban("203.0.113.0", func(e *audit.BanEvent) {
		e.Prefix, e.Wide, e.Reason = netip.MustParsePrefix("203.0.113.0/24"), true, "network"
	})
	b.entry(map[string]string{"MESSAGE_ID": audit.KindUnban.ID(), "MESSAGE": "unban", audit.FieldPrefix: "198.51.100.1/32", audit.FieldJail: "sshd", audit.FieldBanID: id,
		audit.FieldUntil: audit.Forever, audit.FieldReason: "lifted by hand", audit.FieldBy: "ann"})
	b.entry(map[string]string{"MESSAGE_ID": audit.KindFirewallError.ID(), "MESSAGE": "firewall: no", audit.FieldProblem: "firewall"})
	b.entry(map[string]string{"MESSAGE_ID": audit.KindFirewallError.ID(), "MESSAGE": "firewall: still no"}) // no news
	b.entry(map[string]string{"MESSAGE_ID": audit.KindRecovered.ID(), "MESSAGE": "no longer: firewall: no", audit.FieldProblem: "firewall"})
	own := map[string]string{"_SYSTEMD_UNIT": Unit, "_UID": fmt.Sprint(reportUID), "MESSAGE_ID": audit.KindReportsHeld.ID(), "MESSAGE": "reports to mail wait: no", audit.FieldDestination: "mail", audit.FieldProblem: holdOf("mail")}
	b.entry(own)
	own["MESSAGE"], own[audit.FieldDestination], own[audit.FieldProblem] = "reports to all wait: no", "all", holdOf("all")
	b.entry(own) // nobody gets a notice that notices cannot be sent
	forged := map[string]string{"_SYSTEMD_UNIT": "evil.service", "_UID": "1000", "MESSAGE_ID": audit.KindFirewallError.ID(), "MESSAGE": "forged", audit.FieldProblem: "firewall"}
	b.entry(forged)
	b.entry(map[string]string{"MESSAGE_ID": audit.KindJournalProblem.ID(), "MESSAGE": "the last", audit.FieldProblem: "journal"})
	for _, text := range []string{
		"unban \"\" 198.51.100.1/32: lifted by hand (ann)\n", "problem \"firewall\" invalid Prefix: firewall: no\n", "recovery \"firewall\" invalid Prefix: no longer: firewall: no\n",
		"problem \"reports to mail\" invalid Prefix: reports to mail wait: no\n", "problem \"journal\" invalid Prefix: the last\n",
	} {
		b.said("all", text)
	}
	b.until("all is counted", func() bool { return b.counted("all", "") == 3 && b.counted("all", report.Unban) == 1 })
	b.until("mails", func() bool { return len(b.items("mail")) == 3 })
	if out := b.out("all"); strings.Contains(out, "still no") || strings.Contains(out, "reports to all") || strings.Contains(out, "forged") {
		t.Errorf("all:\n%s", out)
	}
	if out := b.out("mail"); strings.Contains(out, "problem") || strings.Contains(out, "unban") {
		t.Errorf("mail:\n%s", out)
	}
	b.until("new bans", func() bool { return b.counted("bans", "") == 2 })
	b.until("wide bans", func() bool { return b.counted("wide", "") == 1 })
	for _, name := range []string{"bans", "wide"} {
		if out := b.out(name); strings.Contains(out, "problem") || strings.Contains(out, "unban") || strings.Contains(out, "198.51.100.2") {
			t.Errorf("%s:\n%s", name, out)
		}
	}
	b.until("nothing waits", func() bool { return len(b.list()) == 0 })
}

// TestFloodOfNotices: a flood of bans becomes a few notices, which name a few and count all, also over a restart.
func TestFloodOfNotices(t *testing.T) {
	b := newBench(t, reports("phone: {"+ntfy+", gather: none}"))
	b.script("phone", take)
	b.start()
	const n = 300
	for i := range n {
		b.ban(fmt.Sprintf("198.51.%d.%d", 100+i/250, 1+i%250))
		if i == n/2 {
			b.stop()
			b.start()
		}
	}
	b.until("all bans are counted", func() bool { return b.counted("phone", "") >= n })
	items := len(b.items("phone"))
	if got := b.counted("phone", ""); got != n || items > 12 || strings.Count(b.out("phone"), "\nreport ") > items*maxRead {
		t.Errorf("%d bans in %d notices", got, items)
	}
}

// TestNoticeTimes: when a notice is due.
func TestNoticeTimes(t *testing.T) {
	at := func(hour, minute int) time.Time { return time.Date(2026, 11, 3, hour, minute, 0, 0, time.Local) }
	night := config.Quiet{From: 22 * 60, To: 7 * 60}
	tomorrow := func(hour int) time.Time { return at(hour, 0).AddDate(0, 0, 1) }
	for name, c := range map[string]struct {
		conf   config.Destination
		event  string
		times  noticeTimes
		first  time.Time
		now    time.Time
		expect time.Time
	}{
		"gathers":               {conf: config.Destination{Gather: 30 * time.Second}, first: at(12, 0), now: at(12, 0), expect: at(12, 0).Add(30 * time.Second)},
		"overdue":               {conf: config.Destination{Gather: 30 * time.Second}, first: at(12, 0), now: at(12, 5), expect: at(12, 5)},
		"after the last":        {conf: config.Destination{Gather: 30 * time.Second}, times: noticeTimes{last: at(12, 0), gap: 8 * time.Minute}, first: at(12, 1), now: at(12, 1), expect: at(12, 8)},
		"the clock was set":     {conf: config.Destination{}, times: noticeTimes{last: at(20, 0), gap: time.Minute}, first: at(12, 1), now: at(12, 1), expect: at(12, 1)},
		"quiet":                 {conf: config.Destination{Quiet: night}, first: at(23, 0), now: at(23, 0), expect: tomorrow(7)},
		"gathers into quiet":    {conf: config.Destination{Quiet: night, Gather: time.Minute}, first: at(21, 59), now: at(21, 59), expect: tomorrow(7)},
		"a problem at night":    {conf: config.Destination{Quiet: night, Gather: time.Minute}, event: report.Problem, first: at(23, 0), now: at(23, 0), expect: at(23, 0)},
		"a problem that flaps":  {conf: config.Destination{Quiet: night}, event: report.Recovery, times: noticeTimes{last: at(23, 0), gap: 4 * time.Minute}, first: at(23, 1), now: at(23, 1), expect: at(23, 4)},
		"hourly":                {conf: config.Destination{Digest: "hourly"}, first: at(12, 34), now: at(12, 34), expect: at(13, 0)},
		"daily":                 {conf: config.Destination{Digest: "daily"}, first: at(12, 34), now: at(12, 34), expect: tomorrow(0)},
		"daily, but quiet then": {conf: config.Destination{Digest: "daily", Quiet: night}, first: at(12, 34), now: at(12, 34), expect: tomorrow(7)},
		"hourly, set back":      {conf: config.Destination{Digest: "hourly"}, first: at(14, 34), now: at(12, 50), expect: at(12, 50)},
		"daily, set back":       {conf: config.Destination{Digest: "daily"}, first: tomorrow(12), now: at(12, 34), expect: at(12, 34)},
		"set back into quiet":   {conf: config.Destination{Digest: "daily", Quiet: night}, first: tomorrow(12), now: at(23, 0), expect: tomorrow(7)},
		"a problem, daily":      {conf: config.Destination{Digest: "daily"}, event: report.Problem, first: at(12, 34), now: at(12, 34), expect: at(12, 34)},
	} {
		x := newDestination("phone")
		x.ep, x.notices = &endpoint{conf: c.conf}, c.times
		x.collecting = []*delivery{{created: c.first, reports: []*queuedReport{{facts: facts{Event: c.event}}}}}
		if got := x.noticeAt(c.now); !got.Equal(c.expect) {
			t.Errorf("%s: %s, want %s", name, got, c.expect)
		}
	}
	// While there is always something new, the time between notices grows up to an hour; after a while of silence it starts over.
	x := newDestination("phone")
	x.ep = &endpoint{conf: config.Destination{Gather: 30 * time.Second}}
	now := at(12, 0)
	var gaps []time.Duration
	for last := now; len(gaps) < 10; last = now {
		x.collecting = []*delivery{{created: now, reports: []*queuedReport{{}}}}
		now = x.noticeAt(now)
		if len(x.notice(now)) != 1 {
			t.Fatalf("nothing at %s", now)
		}
		gaps = append(gaps, now.Sub(last))
	}
	if want := "[30s 30s 1m0s 2m0s 4m0s 8m0s 16m0s 32m0s 1h0m0s 1h0m0s]"; fmt.Sprint(gaps) != want {
		t.Errorf("gaps %v, want %s", gaps, want)
	}
	now = now.Add(3 * time.Hour)
	x.collecting = []*delivery{{created: now, reports: []*queuedReport{{}}}}
	if got := x.noticeAt(now); !got.Equal(now.Add(30 * time.Second)) {
		t.Errorf("after silence: %s after %s", got, now)
	}
}
