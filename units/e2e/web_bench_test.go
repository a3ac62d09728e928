package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/units/control"
)

// TestPageCost prints what the page and the metrics cost, each beside the same host without them: the processor time of the daemon and
// of bailiff-web while a page is open under 2,000 lines a second, the time to first paint and of a scrape with 100,000 bans, and what
// bailiff-web costs while nobody looks.
func TestPageCost(t *testing.T) {
	if os.Getenv("BAILIFF_BENCH") == "" {
		t.Skip("measures: run `make bench`, or set BAILIFF_BENCH and BAILIFF_E2E")
	}
	suites, tree, load := wanted(t, "trixie")
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			w := &webVictim{victim: boot(t, suite, tree, load)}
			w.sh(t, `systemctl enable -q --now bailiff.service bailiff-web.socket`)
			w.active(t)
			w.link = strings.TrimSpace(w.sh(t, `bailiff web`))
			t.Run("idle", w.idleWeb)
			t.Run("page", w.openPage)
			t.Run("crowd", w.crowdedPage)
		})
	}
}

// crowdedPage prints the time to first paint of the list of bans, and of a scrape, without a ban and with 100,000.
func (w *webVictim) crowdedPage(t *testing.T) {
	const crowd = 100_000
	w.sh(t, `bailiff unban --all >/dev/null`)
	few, scrapes := w.paints(t), w.scrapes(t)
	if out, err := w.load(t, fmt.Sprintf("-lines %d -addresses %d", 5*crowd, crowd)); err != nil {
		t.Fatalf("load: %v %s", err, out)
	}
	within(t, 10*time.Minute, func() error {
		if s := ask[control.Status](w.victim, t, "status"); s.Bans < crowd || !s.Firewall.OK {
			return fmt.Errorf("%d bans, %+v", s.Bans, s.Firewall)
		}
		return nil
	})
	busy := w.scrapes(t)
	// The bans are still being announced. What matters is a host that has them, not the seconds in which it gets them.
	proc := w.proc(t, "bailiff.service")
	eventually(t, func() error {
		before := ticks(t, proc)
		time.Sleep(2 * time.Second)
		if n := ticks(t, proc) - before; n > 10 {
			return fmt.Errorf("the daemon took %d ms of CPU in two seconds", 10*n)
		}
		return nil
	})
	many, scrapes2 := w.paints(t), w.scrapes(t)
	t.Logf("first paint of the list of bans: %s without a ban, %s with %d; the list is there: %s, %s", few.paint, many.paint, crowd, few.list, many.list)
	for _, way := range []string{"control socket", "status page"} {
		t.Logf("a scrape over the %s: %s without a ban, %s with %d, %s while these are announced", way, scrapes[way], scrapes2[way], crowd, busy[way])
	}
}

// times are measured times, in milliseconds.
type times []float64

func (l times) String() string {
	s := slices.Sorted(slices.Values(l))
	if len(s) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("median %.1f ms, at most %.1f ms (%d times)", quantile(s, 50), s[len(s)-1], len(s))
}

func (w *webVictim) proc(t *testing.T, unit string) string {
	t.Helper()
	return w.Path("/proc/" + strings.TrimSpace(w.sh(t, `systemctl show -P MainPID `+unit)))
}

// idleWeb prints what bailiff-web costs while nobody is connected, until it ends.
func (w *webVictim) idleWeb(t *testing.T) {
	t.Helper()
	const window = 30 * time.Second
	proc := w.proc(t, "bailiff-web.service")
	time.Sleep(5 * time.Second)
	cpu, woken := ticks(t, proc), switched(t, proc)
	time.Sleep(window)
	t.Logf("bailiff-web, idle for %s: %.2f wake-ups a second, %d ms of CPU, RssAnon %d KiB", window, float64(switched(t, proc)-woken)/window.Seconds(),
		(ticks(t, proc)-cpu)*10, number(t, filepath.Join(proc, "status"), "RssAnon:"))
}

// openPage prints the processor time of the daemon and of bailiff-web in a share of one core, under 2,000 lines a second: without a page,
// with the overview and with the live feed, in turns.
func (w *webVictim) openPage(t *testing.T) {
	t.Helper()
	const rate, seconds, addresses = 2000, 15, 6000
	shares := map[string][2]times{}
	base := 0
	for round := range 3 {
		views := []string{"", "overview", "live"}
		if round%2 == 1 {
			slices.Reverse(views)
		}
		for _, view := range views {
			t.Run(fmt.Sprint("page ", view), func(t *testing.T) {
				var p *page
				if view != "" {
					p = w.browse(t)
					p.open(w.link, `document.querySelector('#failures')`)
					p.open(site+"#/"+strings.TrimPrefix(view, "overview"), `document.querySelector('.view[data-ready]')`)
				}
				daemon := w.proc(t, "bailiff.service")
				webBefore, web := 0, ""
				if view != "" {
					web = w.proc(t, "bailiff-web.service")
					webBefore = ticks(t, web)
				}
				before, begin := ticks(t, daemon), time.Now()
				if out, err := w.load(t, fmt.Sprintf("-lines %d -rate %d -addresses %d -base %d", rate*seconds, rate, addresses, base)); err != nil {
					t.Fatalf("load: %v %s", err, out)
				}
				took := time.Since(begin).Seconds()
				switch view { // the page has followed
				case "overview":
					p.until(`document.querySelector('#failures').innerText !== '0'`)
				case "live":
					p.until(`document.querySelector('#feed li')`)
				}
				s := shares[view]
				s[0] = append(s[0], float64(ticks(t, daemon)-before)/took) // in percent: ticks are hundredths of a second
				if web != "" {
					s[1] = append(s[1], float64(ticks(t, web)-webBefore)/took)
				}
				shares[view] = s
				base += addresses
			})
		}
	}
	median := func(l times) float64 { return quantile(slices.Sorted(slices.Values(l)), 50) }
	without := shares[""][0]
	t.Logf("%d lines a second, no page: the daemon takes %.1f %% of a core (%.1f)", rate, median(without), without)
	for _, view := range []string{"overview", "live"} {
		s := shares[view]
		t.Logf("%d lines a second, %s open: the daemon %.1f %% (%.1f), %+.1f points, %.2f times; bailiff-web %.1f %% (%.1f)", rate, view, median(s[0]), s[0],
			median(s[0])-median(without), median(s[0])/median(without), median(s[1]), s[1])
	}
}

// paint is how long a browser takes from the address to its first paint, and until the list is there.
type paint struct{ paint, list times }

func (w *webVictim) paints(t *testing.T) (l paint) {
	t.Helper()
	t.Run("paint", func(t *testing.T) {
		p := w.browse(t)
		p.open(w.link, `document.querySelector('#failures')`)
		for range 10 {
			p.open("about:blank", `location.href === 'about:blank'`)
			p.open(site+"#/bans", `document.querySelector('#total') && performance.getEntriesByName('first-contentful-paint').length`)
			var ms struct{ Paint, List float64 }
			p.eval(`({Paint: performance.getEntriesByName('first-contentful-paint')[0].startTime, List: performance.now()})`, &ms)
			l.paint, l.list = append(l.paint, ms.Paint), append(l.list, ms.List) // Until looks every 20 ms
		}
	})
	return l
}

// scrapes is how long a scrape takes, as curl on the host measures it.
func (w *webVictim) scrapes(t *testing.T) map[string]times {
	t.Helper()
	l := map[string]times{}
	for way, from := range map[string]string{"control socket": "--unix-socket /run/bailiff/control http://localhost/metrics", "status page": site + "metrics"} {
		for range 30 {
			out := w.sh(t, `curl -fsS -o /dev/null -w '%{time_total}' `+from)
			s, err := strconv.ParseFloat(out, 64)
			if err != nil {
				t.Fatal(err)
			}
			l[way] = append(l[way], s*1000)
		}
	}
	return l
}
