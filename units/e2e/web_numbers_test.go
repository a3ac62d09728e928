package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/units/control"
)

// numbers are what both bailiff top and the overview show.
type numbers struct {
	Minute, Seconds     int // failures in a minute, and in ten seconds
	Bans, Made, Tracked int
	Jails               map[string][3]int // failures in a minute, failures, bans
	Attacks             [][4]string       // prefix, jail, failures in a minute, count
}

// terminal is bailiff top on a terminal of the host.
type terminal struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (x *terminal) Write(b []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.out.Write(b)
}

// top starts bailiff top. It ends with the test.
func (w *webVictim) top(t *testing.T) *terminal {
	t.Helper()
	x := &terminal{}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := w.Command(ctx, "env", "TERM=xterm", "NO_COLOR=1", "script", "-qefc", "stty rows 60 cols 160; exec bailiff top", "/dev/null")
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = x, x
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		keys.Write([]byte("q"))
		keys.Close()
		time.AfterFunc(time.Minute, cancel)
		if err := cmd.Wait(); err != nil {
			t.Errorf("bailiff top: %v", err)
		}
		cancel()
	})
	return x
}

var (
	topFailures = regexp.MustCompile(`(?m)^failures +(\d+) in 10 s +(\d+) in 1 min`)
	topBans     = regexp.MustCompile(`(?m)^bans .* (\d+) in effect, (\d+) made`)
	topTracked  = regexp.MustCompile(`bans are in effect; ([\d,]+) prefix`)
	topJail     = regexp.MustCompile(`^(\S+) +(\d+) +(\d+) +(\d+)  `)
	topAttack   = regexp.MustCompile(`^(\S+) +(\S+) +(\d+) +(banned|\d+ of \d+)  `)
)

// shown reads the numbers off the terminal: the last frame that is whole.
func (x *terminal) shown() (n numbers, err error) {
	x.mu.Lock()
	all := x.out.String()
	x.mu.Unlock()
	frame, _, ok := cutLast(all, "\x1b[J")
	if !ok {
		return n, fmt.Errorf("bailiff top shows %q", all)
	}
	frame = frame[strings.LastIndex(frame, "\x1b[H")+1:]
	frame = strings.NewReplacer("[H", "", "\x1b[K", "", "\r", "").Replace(frame)
	number := func(s string) int {
		i, e := strconv.Atoi(s)
		if e != nil && err == nil {
			err = e
		}
		return i
	}
	failures, bans, tracked := topFailures.FindStringSubmatch(frame), topBans.FindStringSubmatch(frame), topTracked.FindStringSubmatch(frame)
	if failures == nil || bans == nil || tracked == nil {
		return n, fmt.Errorf("bailiff top shows\n%s", frame)
	}
	n = numbers{Minute: number(failures[2]), Seconds: number(failures[1]), Bans: number(bans[1]), Made: number(bans[2]), Tracked: number(tracked[1]), Jails: map[string][3]int{}}
	_, jails, _ := strings.Cut(frame, "\nJAIL ")
	jails, rest, _ := strings.Cut(jails, "\n\n")
	for line := range strings.Lines(jails) {
		if m := topJail.FindStringSubmatch(line); m != nil {
			n.Jails[m[1]] = [3]int{number(m[2]), number(m[3]), number(m[4])}
		}
	}
	attacks, _, _ := strings.Cut(rest, "\n\n")
	for line := range strings.Lines(attacks) {
		if m := topAttack.FindStringSubmatch(line); m != nil {
			n.Attacks = append(n.Attacks, [4]string(m[1:]))
		}
	}
	return n, err
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// overview reads the numbers off the page.
func (p *page) overview() (n numbers, err error) {
	var seen struct {
		Failures, Note string
		Tiles          map[string][2]string
		Jails, Attacks [][]string
	}
	p.eval(`(() => {const rows = (caption) => [...document.querySelectorAll('table')].filter((t) => t.caption?.innerText === caption).flatMap((t) => [...t.tBodies[0].rows].map((r) => [...r.cells].map((c) => c.innerText)));
		return {Failures: document.querySelector('#failures').innerText, Note: document.querySelector('#failures').parentElement.children[2].innerText,
			Tiles: Object.fromEntries([...document.querySelectorAll('.tile')].map((e) => [e.children[0].innerText, [e.children[1].innerText, e.children[2].innerText]])), Jails: rows('Jails'), Attacks: rows('Attacks in the last minute')};})()`, &seen)
	number := func(s string) int {
		s, _, _ = strings.Cut(strings.TrimPrefix(s, "in a minute, "), " ")
		i, e := strconv.Atoi(s)
		if e != nil && err == nil {
			err = fmt.Errorf("%w in %+v", e, seen)
		}
		return i
	}
	n = numbers{Minute: number(seen.Failures), Seconds: number(seen.Note), Bans: number(seen.Tiles["Bans in effect"][0]), Made: number(seen.Tiles["Bans in effect"][1]),
		Tracked: number(seen.Tiles["Prefixes tracked"][0]), Jails: map[string][3]int{}}
	for _, r := range seen.Jails {
		n.Jails[r[0]] = [3]int{number(r[1]), number(r[2]), number(r[3])}
	}
	for _, r := range seen.Attacks {
		n.Attacks = append(n.Attacks, [4]string(r[:4]))
	}
	return n, err
}

// sameNumbers: bailiff top, the page and bailiff status show the same of one attack.
func (w *webVictim) sameNumbers(t *testing.T) {
	top, p := w.top(t), w.browse(t)
	p.open(w.link, `document.querySelector('.good') && document.querySelector('#failures')`)
	eventually(t, func() error { _, err := top.shown(); return err }) // both follow the events now
	p.until(`document.querySelector('#failures').innerText === '0'`)
	w.failsAs(t, "root", netip.MustParseAddr("198.18.40.1"), 5)
	w.failsAs(t, "root", netip.MustParseAddr("198.18.40.2"), 3)
	eventually(t, func() error {
		s := ask[control.Status](w.victim, t, "status")
		a, err := top.shown()
		if err != nil {
			return err
		}
		b, err := p.overview()
		if err != nil {
			return err
		}
		sorted := func(n numbers) numbers { // of two attacks that are as strong, the one seen last comes first
			slices.SortFunc(n.Attacks, func(a, b [4]string) int { return slices.Compare(a[:], b[:]) })
			return n
		}
		if !reflect.DeepEqual(sorted(a), sorted(b)) {
			return fmt.Errorf("bailiff top shows %+v,\nthe page %+v", a, b)
		}
		if a.Bans != s.Bans || a.Made != int(s.BansTotal) || a.Tracked != s.Tracked {
			return fmt.Errorf("both show %+v, but status says %d bans, %d made, %d tracked", a, s.Bans, s.BansTotal, s.Tracked)
		}
		for _, j := range s.Jails {
			if n, ok := a.Jails[j.Name]; ok && (n[1] != int(j.Failures) || n[2] != j.Bans) {
				return fmt.Errorf("both show %v of %s, but status says %+v", n, j.Name, j)
			}
		}
		if a.Minute != 8 || a.Jails["sshd"][0] != 8 || !reflect.DeepEqual(a.Attacks, [][4]string{{"198.18.40.1", "sshd", "5", "banned"}, {"198.18.40.2", "sshd", "3", "3 of 5"}}) {
			return fmt.Errorf("both show %+v", a)
		}
		return nil
	})
}

// registries: on request, the page has bailiff-report look up whose address it is.
func (w *webVictim) registries(t *testing.T) {
	w.playPeers(t, w.serve)
	w.playRegistries(t)
	p := w.browse(t)
	p.open(w.link, `document.querySelector('.good')`)
	story := site + "#/address/" + heloAttacker.String()
	p.open(story, `document.querySelector('.view[data-ready]') && document.querySelector('#state')`)
	var buttons int
	if p.eval(`document.querySelectorAll('#whois').length`, &buttons); buttons != 0 {
		t.Error("registries can be asked, though bailiff-report does not run")
	}
	w.put(t, "54-lookup.yaml", "report: {host: mail.example.test, lookup: {rdap: no, contacts: none, whois_server: "+whoisAt+"}}\n")
	w.put(t, "55-notices.yaml", noticeConfig)
	w.sh(t, `bailiff check && systemctl reload bailiff.service`)
	eventually(t, func() error {
		_, err := w.Sh(t.Context(), `systemctl -q is-active bailiff-report.service`)
		return err
	})
	p.open(site+"#/", `document.querySelector('.good') && [...document.querySelectorAll('a.tile')].some((e) => e.innerText.includes('Reports waiting'))`)
	p.eval(`[...document.querySelectorAll('a.tile')].find((e) => e.innerText.includes('Reports waiting')).click()`, nil)
	p.until(`document.querySelector('#waiting') && document.querySelector('main').innerText.includes('phone')`)
	p.open(story, `document.querySelector('#whois')`)
	p.eval(`document.querySelector('#whois').click()`, nil)
	p.until(`document.querySelector('main').innerText.includes('TEST-NET-3') && document.querySelector('main').innerText.includes('abuse@three.example') && !document.querySelector('#whois')`)
	p.harmless("registry", "document")
	p.check("registry")
}

// brokenFirewall: a firewall that takes no ban is shown in the status, the metrics, the page and a notice, and so is its end. It uses the
// destination that registries configured.
func (w *webVictim) brokenFirewall(t *testing.T) {
	p := w.browse(t)
	p.open(w.link, `document.querySelector('.good')`)
	set := strings.TrimSpace(w.sh(t, `ipset list -n | grep '^bailiff4' | head -n 1`))
	// Another program takes the name of our set while the daemon is stopped.
	w.sh(t, `p=$(systemctl show -P MainPID bailiff.service); trap 'kill -CONT $p' EXIT; kill -STOP $p; nft delete table ip bailiff
		for _ in $(seq 600); do ipset -q destroy `+set+` && break; sleep 0.1; done; ipset create `+set+` hash:ip`)
	p.until(`document.querySelector('.bad')?.innerText.includes('Bans are not in effect') && document.querySelector('.bad').innerText.includes('bailiff firewall repair')`)
	p.check("firewall broken")
	eventually(t, func() error {
		if s := ask[control.Status](w.victim, t, "status"); s.Firewall.OK || len(s.Problems) == 0 || s.Problems[0].Source != "firewall" || !strings.Contains(s.Problems[0].Text, set) {
			return fmt.Errorf("%+v, %+v", s.Firewall, s.Problems)
		}
		return nil
	})
	if out, err := w.Run(t.Context(), "bailiff", "status"); err == nil || !strings.Contains(out, set) {
		t.Errorf("bailiff status: %v\n%s", err, out)
	}
	w.measures(t, "bailiff_firewall_ok", "0")
	w.measures(t, `bailiff_problems{kind="firewall"}`, "1")
	w.phoneGets(t, "problem: firewall")
	// A ban is decided, but not in effect.
	a := netip.MustParseAddr("198.18.30.1")
	w.failsAs(t, "root", a, 5)
	eventually(t, func() error {
		if !w.banned(t, a) {
			return fmt.Errorf("%+v", w.why(t, a))
		}
		return nil
	})
	if w.inKernel(t, a) {
		t.Error("the ban is in effect: the firewall was not broken")
	}
	w.sh(t, `bailiff firewall repair --force`)
	w.bansInKernel(t, a)
	p.until(`document.querySelector('.good')`)
	w.phoneGets(t, "solved: firewall")
	w.measures(t, "bailiff_firewall_ok", "1")
	w.measures(t, `bailiff_problems{kind="firewall"}`, "0")
	if s := ask[control.Status](w.victim, t, "status"); !s.Firewall.OK || len(s.Problems) > 0 {
		t.Errorf("%+v, %+v", s.Firewall, s.Problems)
	}
	w.sh(t, `rm /etc/bailiff/bailiff.d/5[45]-*.yaml; systemctl reload bailiff.service`)
}

// measures waits until a metric has a value.
func (w *webVictim) measures(t *testing.T, metric, value string) {
	t.Helper()
	eventually(t, func() error {
		text := w.sh(t, `curl -fsS `+site+`metrics`)
		if !strings.Contains(text, "\n"+metric+" "+value+"\n") {
			return fmt.Errorf("no %s %s in\n%s", metric, value, text)
		}
		return nil
	})
}
