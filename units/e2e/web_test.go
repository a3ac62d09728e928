package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/units/control"
	"bailiff/units/e2e/browser"
	"bailiff/units/e2e/host"
)

// webHost is what a host of TestWeb has besides the usual.
var webHost = []string{"cockpit-ws", "cockpit-bridge", "cockpit-system", "sudo", "polkitd", "exim4-daemon-light"}

// TestWeb looks at a host under attack with a real Chromium: the status page of bailiff-web, and the same page in a real Cockpit.
// BAILIFF_SCREENSHOTS names a folder for pictures.
func TestWeb(t *testing.T) {
	suites, tree, load := wanted(t, "trixie")
	if err := browser.FetchAxe(t.Context()); err != nil {
		t.Log("pages are not checked with axe-core: ", err)
	}
	if dir := os.Getenv("BAILIFF_SCREENSHOTS"); dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	serve := buildPeers(t)
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			w := &webVictim{victim: boot(t, suite, tree, load, webHost...), serve: serve}
			for _, c := range []struct {
				name string
				run  func(*testing.T)
			}{
				{"off", w.off}, {"starts", w.starts}, {"access", w.access}, {"attack", w.attack}, {"views", w.views},
				{"numbers", w.sameNumbers}, {"hostile", w.hostile}, {"registries", w.registries}, {"firewall", w.brokenFirewall}, {"stopped", w.stopped}, {"cockpit", w.cockpit},
			} {
				if !t.Run(c.name, c.run) && c.name == "starts" {
					return
				}
			}
		})
	}
}

type webVictim struct {
	*victim
	link  string // to the page, with the token
	serve []byte // the program that plays services
}

// page is a browser on the host itself.
type page struct {
	*browser.Browser
	t   *testing.T
	ctx context.Context
}

func (w *webVictim) browse(t *testing.T) *page {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	b, err := browser.Start(ctx, browser.Options{Before: []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", w.Leader())}, Hosts: []string{"127.0.0.1:8737", "127.0.0.1:9090"}})
	if errors.Is(err, browser.ErrMissing) && os.Getenv("CI") == "" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return &page{b, t, ctx}
}

func (p *page) open(url, until string) {
	p.t.Helper()
	if err := p.Go(p.ctx, url); err != nil {
		p.t.Fatal(err)
	}
	p.until(until)
}

func (p *page) until(expression string) {
	p.t.Helper()
	if err := p.Until(p.ctx, expression); err != nil {
		p.t.Fatal(err, p.Faults())
	}
}

func (p *page) eval(expression string, result any) {
	p.t.Helper()
	if err := p.Eval(p.ctx, expression, result); err != nil {
		p.t.Fatal(err)
	}
}

// faults returns what the page did but must not do. Only the browser regards it as an error that no report waits.
func (p *page) faults() []string {
	return slices.DeleteFunc(p.Faults(), func(f string) bool { return strings.Contains(f, "404 (Not Found) "+site+"report/v1/report?") })
}

// check fails the test for what a page must not do, and for what axe-core finds.
func (p *page) check(name string) {
	p.t.Helper()
	for _, f := range p.faults() {
		p.t.Errorf("%s: %s", name, f)
	}
	found, err := p.Axe(p.ctx)
	if err != nil && !errors.Is(err, browser.ErrNoAxe) {
		p.t.Fatal(err)
	}
	for _, f := range found {
		p.t.Errorf("%s: axe: %s", name, f)
	}
	p.picture(name)
}

func (p *page) picture(name string) {
	p.t.Helper()
	if dir := os.Getenv("BAILIFF_SCREENSHOTS"); dir != "" {
		if err := p.Screenshot(p.ctx, filepath.Join(dir, name+".png"), false); err != nil {
			p.t.Error(err)
		}
	}
}

const site = "http://127.0.0.1:8737/"

// off: nothing listens until the socket unit is enabled.
func (w *webVictim) off(t *testing.T) {
	w.sh(t, `systemctl enable -q --now bailiff.service`)
	if out := w.sh(t, `systemctl is-enabled bailiff-web.socket || :; systemctl is-active bailiff-web.socket || :; ls /run/bailiff`); out != "disabled\ninactive\ncontrol\n" {
		t.Errorf("%q", out)
	}
	if out, err := w.Run(t.Context(), "bailiff", "web"); err == nil || !strings.Contains(err.Error(), "systemctl enable --now bailiff-web.socket") {
		t.Errorf("%s, %v", out, err)
	}
}

// starts: the first connection starts the service, as its own user without any right.
func (w *webVictim) starts(t *testing.T) {
	w.sh(t, `systemctl enable -q --now bailiff-web.socket; ! systemctl -q is-active bailiff-web.service`)
	w.link = strings.TrimSpace(w.sh(t, `bailiff web`))
	if !strings.HasPrefix(w.link, site+"#") || len(w.link) < len(site)+43 {
		t.Fatalf("%q", w.link)
	}
	out := w.sh(t, `p=/proc/$(systemctl show -P MainPID bailiff-web.service)
		ps -o user= -C bailiff-web; grep -E '^(CapEff|CapBnd|NoNewPrivs):' $p/status | tr '\n\t' '  '
		for ns in net user; do test $(readlink $p/ns/$ns) = $(readlink /proc/1/ns/$ns) && echo "shares the host's $ns"; done; stat -c '%a %U' /run/bailiff-web/token`)
	if want := "bailiff-web\nCapEff: 0000000000000000 CapBnd: 0000000000000000 NoNewPrivs: 1 600 bailiff-web\n"; out != want {
		t.Errorf("%q", out)
	}
	w.exposed(t, "bailiff-web.service", 0.3)
	// Nothing listens on other addresses.
	if c, err := w.Dial(attacker4, 8737, time.Second); err == nil {
		c.Close()
		t.Error("the page can be reached from elsewhere")
	}
	w.sh(t, `bailiff unban --all`) // nothing was banned by the attempt
}

// access: who may look, over which socket.
func (w *webVictim) access(t *testing.T) {
	w.sh(t, `usermod -aG bailiff bob`)
	token := w.link[len(site)+1:]
	curl := func(user string, args string) string {
		t.Helper()
		return w.sh(t, fmt.Sprintf(`setpriv --reuid=%[1]s --regid=$(id -g %[1]s) --init-groups curl -s -o /tmp/answer-%[1]s -w '%%{http_code}' %[2]s || :`, user, args))
	}
	for _, c := range []struct{ user, args, want string }{
		{"mallory", site + "v1/status", "401"},
		{"mallory", site + "token", "401"},
		{"mallory", site, "200"},
		{"mallory", site + "metrics", "200"},
		{"mallory", `--unix-socket /run/bailiff/web http://localhost/v1/status`, "000"},
		{"bob", `--unix-socket /run/bailiff/web http://localhost/v1/status`, "200"},
		{"bob", `--unix-socket /run/bailiff/web http://evil.example/v1/status`, "403"},
		{"bob", `--unix-socket /run/bailiff/web -X POST http://localhost/v1/bans`, "405"},
		{"bob", `-H 'Authorization: Bearer ` + token + `' ` + site + `v1/bans?facets=true`, "200"},
		{"bob", `-H 'Authorization: Bearer ` + token + `' -H 'Host: rebound.example:8737' ` + site + `v1/bans`, "403"},
		{"bob", `-H 'Authorization: Bearer ` + token + `' -H 'Origin: http://evil.example' ` + site + `v1/bans`, "403"},
		{"bob", `-H 'Authorization: Bearer ` + token + `' ` + site + `v1/filters`, "200"},
		{"bob", `-H 'Authorization: Bearer ` + token + `' ` + site + `v1/config`, "200"},
	} {
		if got := curl(c.user, c.args); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.user, c.args, got, c.want)
		}
	}
}

var (
	webAttacker = netip.MustParseAddr("203.0.113.77")
	evilName    = `<b>bold%d<img>` // no space, slash or quote, which ssh would take for something else
)

// evilFails makes failed logins with evilName, one after the other. ssh refuses such names as arguments, but not in its configuration.
func (w *webVictim) evilFails(t *testing.T, from netip.Addr, n int) {
	t.Helper()
	for i := range n { // different names: the same name again would be a device that keeps trying
		w.place(t, "/etc/ssh/evil_config", fmt.Sprintf("User "+evilName+"\n", i), 0o644)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		out, err := w.Attack(ctx, []string{"E2E_PASSWORD=wrong", "SSH_ASKPASS=/usr/local/bin/askpass", "SSH_ASKPASS_REQUIRE=force"},
			"ssh", "-n", "-F", "/etc/ssh/evil_config", "-b", from.String(), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
			"-o", "LogLevel=ERROR", "-o", "ConnectTimeout=60", "-o", "PreferredAuthentications=password", "-o", "NumberOfPasswordPrompts=1", host.Victim4.String(), "true")
		cancel()
		if err == nil || !strings.Contains(err.Error(), "Permission denied") {
			t.Logf("ssh: %s, %v", out, err)
		}
	}
}

// attack: failures and the ban of an attacker appear in the live feed while it is open.
func (w *webVictim) attack(t *testing.T) {
	p := w.browse(t)
	p.open(w.link, `document.querySelector('.good')`)
	p.until(`location.hash === '#/'`)
	p.open(site+"#/live", `document.querySelector('#feed') && document.querySelector('nav a[aria-current]')`)
	p.eval(`window.seen = null; void (window.seen = new Promise((done) => new MutationObserver(() => {const e = document.querySelector('#feed .ban'); if (e) done(Date.now() - new Date(e.querySelector('time').dateTime));}).observe(document.querySelector('#feed'), {childList: true})))`, nil)
	w.evilFails(t, webAttacker, 4) // accounts that do not exist weigh more
	p.until(`document.querySelector('#feed .ban a[href="#/address/` + webAttacker.String() + `"]') && document.querySelectorAll('#feed .failure').length >= 4`)
	var ms float64
	if p.eval(`window.seen`, &ms); ms < 10_000 {
		t.Logf("from the entry that led to the ban to the page: %.0f ms", ms)
	}
	p.check("live")
	// The same numbers as bailiff status has.
	w.failsAs(t, "root", netip.MustParseAddr("203.0.113.78"), 5)
	w.failsAs(t, "root", netip.MustParseAddr("198.51.100.9"), 5)
	w.failsAs(t, "root", netip.MustParseAddr("198.51.100.10"), 3)
	eventually(t, func() error {
		if s := ask[control.Status](w.victim, t, "status"); s.Bans != 3 {
			return fmt.Errorf("%d bans", s.Bans)
		}
		return nil
	})
	w.sh(t, `bailiff ban --reason 'scanner <b>bold</b>' 192.0.2.128/25 >/dev/null`)
	s := ask[control.Status](w.victim, t, "status")
	p.open(site+"#/", fmt.Sprintf(`[...document.querySelectorAll('a.tile')].some((e) => e.innerText.includes('Bans in effect') && e.innerText.includes('\n%d\n'))`, s.Bans))
	p.until(`document.body.innerText.includes('24 hours: ` + fmt.Sprint(s.Bans) + `') && document.body.innerText.includes('Accounts attacked')`)
	p.until(`document.querySelector('#main').innerText.includes('198.51.100.10') && document.body.innerText.includes('Entry to kernel')`)
	if err := p.Look(p.ctx, 1100, 760, false); err != nil {
		t.Fatal(err)
	}
	p.check("overview")
}

// views: the list, the story of an attacker, past bans, a test of a line; on a phone, and dark.
func (w *webVictim) views(t *testing.T) {
	p := w.browse(t)
	p.open(w.link, `document.querySelector('.good')`)
	p.open(site+"#/bans", `document.querySelectorAll('tbody tr').length === 4`)
	p.check("bans")
	p.eval(`{const e = document.querySelector('#search'); e.value = '203.0.113.0/24'; e.form.requestSubmit();}`, nil)
	p.until(`document.querySelectorAll('tbody tr').length === 2`)
	p.eval(`[...document.querySelectorAll('.facet a')].find((a) => a.innerText === 'sshd').click()`, nil)
	p.until(`location.hash.includes('jail=sshd') && document.querySelectorAll('tbody tr').length === 2 && document.querySelector('.facet [aria-current]')`)
	p.eval(`document.querySelector('a[href="#/address/`+webAttacker.String()+`"]').click()`, nil)
	p.until(`document.querySelector('#state').innerText.includes('Banned') && document.querySelectorAll('.message').length >= 4 && document.body.innerText.includes('<b>bold0<img>')`)
	var owned bool
	if p.eval(`document.querySelectorAll('main img, main b').length > 0`, &owned); owned {
		t.Error("an account's name became markup")
	}
	p.until(`document.querySelector('main').innerText.includes('Audit trail') || document.querySelector('main').innerText.includes('too many failures')`)
	p.check("story")
	p.open(site+"#/address/198.51.100.10", `document.body.innerText.includes('2 more lead to a ban')`)
	p.check("counted")
	p.open(site+"#/", `[...document.querySelectorAll('.ranking a')].some((a) => a.innerText === 'sshd')`)
	p.eval(`[...document.querySelectorAll('.ranking a')].find((a) => a.innerText === 'sshd').click()`, nil)
	p.until(`location.hash.includes('jail=sshd') && document.querySelector('#total')?.innerText.includes('3 entries')`)
	p.open(site+"#/history?since=24h", `document.querySelector('#total')?.innerText.includes('4 entries')`)
	p.check("history")
	p.open(site+"#/filters", `document.querySelector('details')`)
	p.eval(`{const e = document.querySelector('#line'); e.value = 'Failed password for invalid user x from 192.0.2.9 port 7 ssh2'; e.form.requestSubmit();}`, nil)
	p.until(`document.querySelector('#result').innerText.includes('192.0.2.9')`)
	p.check("filters")
	p.open(site+"#/configuration", `document.querySelector('#config')?.innerText.includes('max_retry: 5') && document.querySelector('#config').innerText.includes('# defaults') || document.querySelector('#config')?.innerText.includes('# built in')`)
	p.check("configuration")
	if err := p.Look(p.ctx, 360, 740, true); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "bans", "address/" + webAttacker.String(), "live"} {
		p.open(site+"#/"+name, `document.querySelector('.view[data-ready]')`)
		var wide int
		if p.eval(`document.documentElement.scrollWidth`, &wide); wide > 360 {
			t.Errorf("%q is %d pixels wide", name, wide)
		}
		p.check("phone " + strings.ReplaceAll(name, "/", " "))
	}
}

// stopped: a look at a stopped daemon shows that it is stopped, and does not start it.
func (w *webVictim) stopped(t *testing.T) {
	p := w.browse(t)
	p.open(w.link, `document.querySelector('.good')`)
	w.sh(t, `systemctl stop bailiff.service`)
	p.until(`document.querySelector('.bad')?.innerText.includes('systemctl start bailiff.service')`)
	p.picture("stopped")
	p.open(site+"#/bans", `document.querySelector('[role=alert]')?.innerText.includes('not running')`)
	if out, err := w.Run(t.Context(), "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", site+"metrics"); err != nil || out != "503" {
		t.Errorf("metrics: %q, %v", out, err)
	}
	if out := w.sh(t, `systemctl is-active bailiff.service || :; systemctl show -P NRestarts bailiff-web.service`); out != "inactive\n0\n" {
		t.Errorf("%q", out)
	}
	w.sh(t, `systemctl start bailiff.service`)
	p.open(site+"#/", `document.querySelector('.good')`)
}

// frame is the document of our page in Cockpit.
const frame = `document.querySelector('iframe[name="cockpit1:localhost/bailiff"]')?.contentDocument`

// inFrame is the same for what is assigned to.
const inFrame = `document.querySelector('iframe[name="cockpit1:localhost/bailiff"]').contentDocument`

// login opens our page in Cockpit as a user; with administrative access if they are allowed to have it.
func (w *webVictim) login(t *testing.T, user string) *page {
	t.Helper()
	p := w.browse(t)
	if err := p.Call(p.ctx, "Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": `localStorage.setItem('superuser:` + user + `', 'any')`}, nil); err != nil {
		t.Fatal(err)
	}
	p.open("http://127.0.0.1:9090/bailiff", `document.querySelector('#login-button') && document.querySelector('#login-user-input').offsetParent`)
	p.eval(`document.querySelector('#login-user-input').value = '`+user+`'; document.querySelector('#login-password-input').value = 'correct-horse'; document.querySelector('#login-button').click()`, nil)
	p.until(frame + `?.querySelector('.view[data-ready]')`)
	p.Faults() // the login page logs errors of its own
	return p
}

// cockpit: the same page in Cockpit, where an administrator changes things, and everybody else looks or does not.
func (w *webVictim) cockpit(t *testing.T) {
	w.sh(t, `useradd -m -s /bin/bash -G sudo ann; echo ann:correct-horse | chpasswd; systemctl start cockpit.socket`)
	t.Run("administrator", func(t *testing.T) {
		p := w.login(t, "ann")
		p.until(frame + `.querySelector('.good') && ` + frame + `.body.innerText.includes('24 hours:')`)
		p.picture("cockpit")
		view := func(hash, until string) {
			t.Helper()
			p.eval(inFrame+`.defaultView.location.hash = '`+hash+`'`, nil)
			p.until(frame + `.querySelector('.view[data-ready]') && ` + until)
		}
		fill := func(values map[string]string) {
			t.Helper()
			for id, value := range values {
				p.until(frame + `.querySelector('dialog #` + id + `')`)
				p.eval(inFrame+`.querySelector('dialog #`+id+`').value = '`+value+`'`, nil)
			}
			p.eval(frame+`.querySelector('dialog form').requestSubmit()`, nil)
			p.until(frame + `.querySelector('#done') && !` + frame + `.querySelector('dialog')`)
		}
		view("#/bans", frame+`.querySelector('#ban')`)
		p.eval(frame+`.querySelector('#ban').click()`, nil)
		fill(map[string]string{"ban-prefix": "198.18.7.7", "ban-duration": "1h", "ban-reason": "seen in Cockpit"})
		p.until(frame + `.body.innerText.includes('198.18.7.7')`)
		es := w.entries(t, "_SYSTEMD_UNIT=bailiff.service", "BAILIFF_ADDRESS=198.18.7.7", "MESSAGE_ID="+idBan)
		if len(es) != 1 || es[0]["BAILIFF_BY"] != "ann (as root)" || es[0]["BAILIFF_REASON"] != "seen in Cockpit" {
			t.Errorf("%v", es)
		}
		view("#/address/198.18.7.7", frame+`.querySelector('.unban')`)
		p.eval(frame+`.querySelector('.unban').click()`, nil)
		p.until(frame + `.querySelector('dialog')`)
		fill(nil)
		eventually(t, func() error {
			if es := w.entries(t, "_SYSTEMD_UNIT=bailiff.service", "BAILIFF_ADDRESS=198.18.7.7", "BAILIFF_BY=ann (as root)"); len(es) != 2 {
				return fmt.Errorf("%v", es)
			}
			return nil
		})
		view("#/address/198.18.7.8", frame+`.querySelector('#allow')`)
		p.eval(frame+`.querySelector('#allow').click()`, nil)
		fill(map[string]string{"allow-duration": "1h", "allow-comment": "a friend"})
		if why := ask[control.AllowWhy](w.victim, t, "allow", "why", "198.18.7.8"); !why.Allowed || why.Entries[0].Comment != "a friend" {
			t.Errorf("%+v", why)
		}
		view("#/configuration", frame+`.querySelector('#reload')`)
		p.eval(frame+`.querySelector('#reload').click()`, nil)
		p.until(frame + `.querySelector('dialog')`)
		fill(nil)
		w.failsAs(t, "root", netip.MustParseAddr("198.18.9.9"), 5)
		view("#/live", frame+`.querySelector('#feed .ban, #feed .failure')`)
		w.shownAsText(t, p, inFrame, view)
		// A stopped daemon stays stopped.
		w.sh(t, `systemctl stop bailiff.service`)
		p.eval(inFrame+`.defaultView.location.hash = '#/bans'`, nil)
		p.until(frame + `.querySelector('[role=alert]')?.innerText.includes('systemctl start bailiff.service')`)
		if out := w.sh(t, `systemctl is-active bailiff.service || :`); out != "inactive\n" {
			t.Errorf("%q", out)
		}
		w.sh(t, `systemctl start bailiff.service`)
	})
	t.Run("member", func(t *testing.T) { // of the group, without administrative access
		p := w.login(t, "bob")
		p.eval(inFrame+`.defaultView.location.hash = '#/bans'`, nil)
		p.until(frame + `.querySelector('#total')?.innerText.includes('ban')`)
		var buttons int
		if p.eval(frame+`.querySelectorAll('#ban, .unban').length`, &buttons); buttons != 0 {
			t.Errorf("%d buttons that would change something", buttons)
		}
	})
	t.Run("stranger", func(t *testing.T) {
		w.sh(t, `echo mallory:correct-horse | chpasswd`)
		p := w.login(t, "mallory")
		p.until(frame + `.querySelector('[role=alert]')?.innerText.match(/no right|permission/i)`)
	})
}
