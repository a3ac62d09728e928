package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// exim logs the name in a greeting as received, at least its printable characters; Postfix replaces brackets and quotes in it.
const eximSetup = `
printf 'local_interfaces = 0.0.0.0\nlog_file_path = syslog\nsyslog_duplication = no\nsyslog_timestamp = no\n' >/etc/exim4/exim4.conf
systemctl restart exim4.service
`

var (
	heloAttacker = netip.MustParseAddr("203.0.113.81")
	rawAttacker  = netip.MustParseAddr("203.0.113.82")

	// Markup that would load something, run something, and break out of what encloses it.
	markup = `"'></script><img src=x onerror="document.title='owned'"><script>document.title='owned'</script><b>`
	// Controls that change a terminal's title, colour and contents, that reorder text, and that hide in it.
	controls = "\x1b]0;owned\x07\x1b[31m\x1b[2Jowned\x9b31m\u202egnp.exe\u2066\u200b\u00ad"
	// How the page shows them.
	controlsShown = `\u{1b}]0;owned\u{7}\u{1b}[31m\u{1b}[2Jowned`
	reorderShown  = `\u{202e}gnp.exe\u{2066}\u{200b}\u{ad}`
)

// greets says hello to the mail server, which refuses such a name.
func (w *webVictim) greets(t *testing.T, from netip.Addr, name string) {
	t.Helper()
	c, err := w.Dial(from, 25, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(60 * time.Second))
	in := bufio.NewReader(c)
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "EHLO %s\r\n", name)
	if answer, err := in.ReadString('\n'); err != nil && w.banned(t, from) { // the ban came before the answer
		return
	} else if err != nil || !strings.HasPrefix(answer, "501 ") {
		t.Fatalf("EHLO: %q, %v", answer, err)
	}
	fmt.Fprint(c, "QUIT\r\n")
	io.Copy(io.Discard, in)
}

// has is an expression that is true if a document shows a text.
func has(doc, text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return doc + `.body.innerText.includes(` + string(quoted) + `)`
}

// harmless fails the test if text of an attacker in a document has become anything but text.
func (p *page) harmless(name, doc string) {
	p.t.Helper()
	var seen struct {
		Title    string
		Elements []string
		Hidden   string
	}
	p.eval(`(([top, d]) => ({Title: top.title + d.title, Elements: [...d.querySelectorAll('main img, main b, main script, main iframe, main [onerror]')].map((e) => e.outerHTML),
		Hidden: (d.body.innerText.match(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u202a-\u202e\u2066-\u2069]/g) ?? []).filter((c) => c !== '\t').map((c) => c.codePointAt(0).toString(16)).join(' ')}))([document, `+doc+`])`, &seen)
	if strings.Contains(seen.Title, "owned") || len(seen.Elements) > 0 || seen.Hidden != "" {
		p.t.Errorf("%s: text of an attacker became more than text: %+v", name, seen)
	}
	for _, f := range p.faults() {
		if doc == "document" || strings.Contains(f, "CSP") { // Cockpit has faults of its own
			p.t.Errorf("%s: %s", name, f)
		}
	}
}

// hostile: text from attackers is shown as text in every view.
func (w *webVictim) hostile(t *testing.T) {
	w.sh(t, eximSetup)
	w.put(t, "40-exim.yaml", "jails: {exim: {mode: more}}\n")
	w.sh(t, `bailiff check && bailiff reload`)
	p := w.browse(t)
	p.open(w.link, `document.querySelector('.good')`)
	p.open(site+"#/live", `document.querySelector('#feed') && document.querySelector('.view[data-ready]')`)
	greeted := 0
	eventually(t, func() error { // the last greetings may come when the ban is there
		if w.banned(t, heloAttacker) {
			return nil
		}
		if greeted < 5 {
			greeted++
			w.greets(t, heloAttacker, fmt.Sprintf("%s%d%s", markup, greeted, controls))
		}
		return fmt.Errorf("%s is not banned after %d greetings", heloAttacker, greeted)
	})
	// An sshd that logs a name as it came, without OpenSSH's encoding.
	for i := range 5 {
		w.place(t, "/tmp/evil", fmt.Sprintf("Failed password for invalid user %d%s%s from %s port 22 ssh2", i, markup, controls, rawAttacker), 0o600)
		w.orphaned(t, `logger -t sshd -- "$(cat /tmp/evil)"`)
	}
	eventually(t, func() error {
		if !w.banned(t, rawAttacker) {
			return fmt.Errorf("%s is not banned: %+v", rawAttacker, w.why(t, rawAttacker))
		}
		return nil
	})
	p.until(`document.querySelector('#feed .ban a[href="#/address/` + heloAttacker.String() + `"]') && document.querySelector('#feed .ban a[href="#/address/` + rawAttacker.String() + `"]')`)
	p.harmless("live feed", "document")
	p.check("live under a hostile attack")
	w.shownAsText(t, p, "document", func(hash, until string) { p.open(site+hash, until) })
	// A terminal gets no control character of theirs either.
	for _, cmd := range []string{"why " + heloAttacker.String(), "why " + rawAttacker.String(), "bans", "stats --since -1h"} {
		out := w.sh(t, `TERM=xterm script -qec 'bailiff `+cmd+`' /dev/null`)
		if strings.Contains(out, "\x1b]") || strings.Contains(out, "\x1b[2J") || strings.ContainsAny(out, "\u202e\u2066\u200b\u00ad\u009b\a") {
			t.Errorf("bailiff %s prints %q", cmd, out)
		}
		if strings.HasPrefix(cmd, "why") && !strings.Contains(out, "<img src=x") {
			t.Errorf("bailiff %s hides what was said: %q", cmd, out)
		}
	}
}

func (w *webVictim) banned(t *testing.T, a netip.Addr) bool {
	t.Helper()
	return w.why(t, a).State == "banned"
}

// shownAsText opens the views that show text from attackers; open goes to a view, and doc is its document.
func (w *webVictim) shownAsText(t *testing.T, p *page, doc string, open func(hash, until string)) {
	t.Helper()
	open("#/address/"+heloAttacker.String(), has(doc, `syntactically invalid argument(s): `+markup)+` && !`+doc+`.querySelector('progress')`)
	p.harmless("story of a greeting", doc)
	open("#/address/"+rawAttacker.String(), has(doc, markup+controlsShown)+` && `+has(doc, reorderShown)+` && !`+doc+`.querySelector('progress')`)
	p.harmless("story of an account", doc)
	open("#/", has(doc, "Accounts attacked")+` && `+has(doc, markup[:40])+` && !`+doc+`.querySelector('progress')`) // names are cut there
	p.harmless("overview", doc)
	open("#/bans?search="+rawAttacker.String(), doc+`.querySelectorAll('tbody tr').length === 1`)
	p.harmless("bans", doc)
	open("#/history?since=24h", has(doc, rawAttacker.String())+` && !`+doc+`.querySelector('progress')`)
	p.harmless("history", doc)
}
