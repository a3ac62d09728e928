package web

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/units/control"
	"bailiff/units/e2e/browser"
)

// view is a page before a daemon that answers with text of attackers, in a real browser that may ask this server only.
type view struct {
	*browser.Browser
	t   *testing.T
	s   *served
	ctx context.Context
}

func look(t *testing.T, bans int) *view {
	t.Helper()
	needReader(t)
	d := &hostile{daemon{events: make(chan control.Event, 10), asked: make(chan string, 10)}, bans}
	reports := filepath.Join(t.TempDir(), "report")
	l, err := net.Listen("unix", reports)
	if err != nil {
		t.Fatal(err)
	}
	reporter := control.NewReportServer(hostileReporter{}, control.Options{})
	go reporter.Serve(l)
	t.Cleanup(func() { reporter.Shutdown(context.Background()) })
	s := serveFor(t, d, func(o *Options) { o.Report = control.DialReport(reports) })
	s.daemon = &d.daemon
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	b, err := browser.Start(ctx, browser.Options{Hosts: []string{s.tcp}})
	if errors.Is(err, browser.ErrMissing) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return &view{b, t, s, ctx}
}

// open goes to a view and waits until it is complete: until is an expression.
func (v *view) open(path, until string) {
	v.t.Helper()
	if err := v.Go(v.ctx, "http://"+v.s.tcp+"/"+path); err != nil {
		v.t.Fatal(err)
	}
	v.until(`document.querySelector('.view[data-ready]') && ` + until)
}

func (v *view) until(expression string) {
	v.t.Helper()
	if err := v.Until(v.ctx, expression); err != nil {
		v.t.Fatal(err, v.Faults())
	}
}

func (v *view) eval(expression string, result any) {
	v.t.Helper()
	if err := v.Eval(v.ctx, expression, result); err != nil {
		v.t.Fatal(err)
	}
}

// check fails the test for whatever the page must not do: run attackers' text, violate its policy, contact other hosts.
func (v *view) check(name string) {
	v.t.Helper()
	for _, f := range v.Faults() {
		v.t.Errorf("%s: %s", name, f)
	}
	var seen struct {
		Title, Text string
		Elements    int
	}
	v.eval(`({Title: document.title, Text: document.body.innerText, Elements: document.querySelectorAll('main img, main script, main iframe, main b').length})`, &seen)
	if strings.Contains(seen.Title, "owned") || seen.Elements > 0 || strings.ContainsAny(seen.Text, "\u202e\x1b\u200b") {
		v.t.Errorf("%s: text of an attacker became more than text: %+v", name, seen)
	}
	if dir := os.Getenv("BAILIFF_SCREENSHOTS"); dir != "" {
		if err := v.Screenshot(v.ctx, filepath.Join(dir, name+".png"), true); err != nil {
			v.t.Error(err)
		}
	}
}

// accessible fails the test for what axe-core finds, if it is available.
func (v *view) accessible(name string) {
	v.t.Helper()
	found, err := v.Axe(v.ctx)
	if errors.Is(err, browser.ErrNoAxe) {
		return
	} else if err != nil {
		v.t.Fatal(err)
	}
	for _, f := range found {
		v.t.Errorf("%s: axe: %s", name, f)
	}
}

// shown is how evil looks on the page.
const shown = `\\u{202e}gnp.exe\\u{1b}[31m\\u{200b}`

// TestViews opens every view, with text of attackers wherever text can be.
func TestViews(t *testing.T) {
	v := look(t, 3)
	v.open("#"+v.s.token, `document.querySelector('#failures')`)
	has := `document.body.innerText.includes('` + shown + `')`
	for _, x := range []struct{ name, path, until string }{
		{"overview", "#/", has + ` && document.body.innerText.includes('Accounts attacked')`},
		{"bans", "#/bans?search=x", has + ` && document.querySelector('#total')`},
		{"fleet", "#/fleet", has + ` && document.body.innerText.includes('1m30s behind') && document.body.innerText.includes('2 bans prevented') && document.querySelectorAll('table')[1].innerText.includes('21')`},
		{"reports", "#/reports", has + ` && document.body.innerText.includes('8 more')`},
		{"address", "#/address/203.0.113.7", has + ` && document.body.innerText.includes('Banned by other hosts') && document.body.innerText.includes('2 more lead to a ban') && document.querySelector('table')`},
		{"history", "#/history?since=7d", has + ` && document.querySelector('#total')`},
		{"filters", "#/filters", has},
		{"configuration", "#/configuration", has},
	} {
		v.open(x.path, x.until)
		v.check(x.name)
		v.accessible(x.name)
	}
	if err := v.Look(v.ctx, 1100, 800, true); err != nil {
		t.Fatal(err)
	}
	v.open("#/", `document.body.innerText.includes('Accounts attacked')`)
	v.check("overview dark")
	v.accessible("overview dark")
	// axe finds an error where there is one.
	v.eval(`document.querySelector('main').append(document.createElement('button'))`, nil)
	if found, err := v.Axe(v.ctx); err == nil && len(found) != 1 {
		t.Errorf("a button without a name: axe finds %q", found)
	}
	v.open("#/filters", has)
	v.eval(`{const e = document.querySelector('#line'); e.value = 'a <b>line</b>'; e.form.requestSubmit();}`, nil)
	v.until(`document.querySelector('#result').innerText.includes('a <b>line</b>')`)
	v.check("test of a line")
	v.open("#/live", `document.querySelector('#feed')`)
	for _, kind := range []string{"failure", "ban", "unban", "extend", "state", "missed"} {
		v.s.daemon.events <- control.Event{Kind: kind, Time: noon, Prefix: "203.0.113.9/32", Address: "203.0.113.9", Jail: evil, Pattern: evil, Reason: evil, By: evil, Text: evil, Missed: 3}
	}
	v.until(`document.querySelectorAll('#feed li').length === 6`)
	v.check("live")
}

// TestOneCallFails: a call for the status that fails while events arrive is made again.
func TestOneCallFails(t *testing.T) {
	v := look(t, 3)
	v.open("#"+v.s.token, `document.querySelector('#failures')`)
	v.eval(`{const real = fetch; window.fetch = (path, o) => {
		if (path !== '/v1/status') return real(path, o);
		window.fetch = real;
		return Promise.reject(new TypeError('network error'));
	}}`, nil)
	v.s.daemon.events <- control.Event{Kind: "state", Time: noon}
	v.until(`document.body.innerText.includes('bailiff-web is not answering')`)
	ctx, cancel := context.WithTimeout(v.ctx, time.Minute)
	defer cancel()
	if err := v.Until(ctx, `!document.body.innerText.includes('bailiff-web is not answering')`); err != nil {
		t.Error(err)
	}
}

// TestSignIn: without the token the page asks for it; with it, it goes on.
func TestSignIn(t *testing.T) {
	v := look(t, 3)
	v.open("", `document.querySelector('#sign-in')`)
	v.Faults() // the browser logs that a call was refused
	v.eval(`{const e = document.querySelector('#token'); e.value = '`+v.s.token+`'; e.form.requestSubmit();}`, nil)
	v.until(`document.querySelector('#failures')`)
	v.Faults()
	v.open("#/bans", `document.querySelector('#total')`)
	v.check("signed in")
	// The link leaves no token in the address bar.
	v.open("#"+v.s.token, `document.querySelector('#failures')`)
	v.until(`location.hash === '#/'`)
}

// TestManyBans: with 100,000 bans the first page is small, and more comes on demand.
func TestManyBans(t *testing.T) {
	v := look(t, 100_000)
	v.open("#"+v.s.token, `document.querySelector('#failures')`)
	v.open("#/bans", `document.querySelectorAll('tbody tr').length === 100 && document.body.innerText.includes('100,000 bans')`)
	v.eval(`document.querySelector('#more').click()`, nil)
	v.until(`document.querySelectorAll('tbody tr').length === 200`)
	v.check("many bans")
}

// TestExport: what the list of bans is exported as. A spreadsheet takes no text for a formula.
func TestExport(t *testing.T) {
	v := look(t, 3)
	v.open("#"+v.s.token, `document.querySelector('#failures')`)
	v.open("#/bans", `document.querySelector('#total')`)
	v.eval(`{const of = URL.createObjectURL; URL.createObjectURL = (b) => {window.exported = b; return of.call(URL, b);}}`, nil)
	export := func(kind string) (text string) {
		t.Helper()
		v.eval(`window.exported = null; [...document.querySelectorAll('[aria-label=Export] button')].find((b) => b.innerText === '`+kind+`').click()`, nil)
		v.until(`window.exported`)
		v.eval(`window.exported.text()`, &text)
		return text
	}
	rows, err := csv.NewReader(strings.NewReader(export("CSV"))).ReadAll()
	if err != nil || len(rows) != 4 || rows[0][0] != "prefix" || rows[1][0] != "198.18.0.0/32" {
		t.Fatalf("%q, %v", rows, err)
	}
	if column := slices.Index(rows[0], "reason"); rows[1][column] != "'"+evil {
		t.Errorf("%q", rows[1])
	}
	var bans []control.Ban
	if err := json.Unmarshal([]byte(export("JSON")), &bans); err != nil || len(bans) != 3 || bans[2].Prefix != "198.18.0.2/32" || bans[2].Reason != evil {
		t.Errorf("%+v, %v", bans, err)
	}
}

// TestPhone: on a narrow screen nothing is wider than the screen.
func TestPhone(t *testing.T) {
	v := look(t, 3)
	v.open("#"+v.s.token, `document.querySelector('#failures')`)
	for _, dark := range []bool{false, true} {
		if err := v.Look(v.ctx, 360, 740, dark); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"", "bans", "address/203.0.113.7", "history", "filters", "configuration", "live", "fleet", "reports"} {
			v.open("#/"+path, `true`)
			var wide int
			if v.eval(`document.documentElement.scrollWidth`, &wide); wide > 360 {
				t.Errorf("%s is %d pixels wide", path, wide)
			}
			name := "phone"
			if dark {
				name = "phone dark"
			}
			v.check(name + " " + strings.ReplaceAll(path, "/", " "))
		}
	}
}

// TestAnotherSite: a page of another site cannot read from this server, nor show it in a frame.
func TestAnotherSite(t *testing.T) {
	v := look(t, 3)
	v.open("#"+v.s.token, `document.querySelector('#failures')`)
	if err := v.Go(v.ctx, "data:text/html,<p>another"); err != nil {
		t.Fatal(err)
	}
	v.until(`document.body.innerText === 'another'`)
	var got string
	v.eval(`fetch('http://`+v.s.tcp+`/v1/status', {headers: {Authorization: 'Bearer `+v.s.token+`'}}).then(() => 'read', () => 'refused')`, &got)
	if got != "refused" {
		t.Error(got)
	}
	v.eval(`fetch('http://`+v.s.tcp+`/metrics', {mode: 'no-cors'}).then((r) => r.type + r.status, () => 'refused')`, &got)
	if got != "refused" { // Cross-Origin-Resource-Policy
		t.Error(got)
	}
	// In the frame the browser shows its own error page.
	v.eval(`new Promise((done) => {const f = document.createElement('iframe'); f.src = 'http://`+v.s.tcp+`/'; f.onload = () => {let d = null; try {d = f.contentDocument;} catch {} done(d ? d.body.innerText : 'closed');}; document.body.append(f);})`, &got)
	if got != "closed" {
		t.Error(got)
	}
	v.Faults() // the browser logs what it refused
}
