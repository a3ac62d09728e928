package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/units/control"
	"bailiff/units/e2e/host"
	"bailiff/units/e2e/peers"
)

const (
	registryAt = "203.0.113.53" // RDAP, at the attacker's end of the wire
	whoisAt    = "203.0.113.43"
	peersURL   = "http://127.0.0.1:8780"
)

// reportConfig reports to everybody: root by mail with all parts, bob as fail2ban did, and the services on the web.
const reportConfig = `
report:
  host: mail.example.test
  sender: bailiff@mail.example.test
  lookup: {bootstrap: /etc/bailiff/rdap.json, whois_server: ` + whoisAt + `, time_limit: 3s, contacts: none}
  destinations:
    admin: {type: mail, to: root, include: [whois, lines, context]}
    old: {type: mail, to: bob, layout: fail2ban}
    abuseipdb: {url: "` + peersURL + peers.AbuseIPDBPath + `", jails: [sshd], time_limit: 2s}
    blocklist.de: {method: http, server: bailiff@mail.example.test, url: "` + peersURL + peers.BlocklistPath + `", jails: [sshd], time_limit: 2s}
    webhook: {url: "` + peersURL + peers.HookPath + `", jails: [sshd], time_limit: 2s}
`

// MESSAGE_IDs of bailiff-report's entries.
const (
	idReported = "9677659f792d4e9ab6c0283fba4300f0"
	idDropped  = "e0029f9843874637b051f7805849bc42"
)

// TestReport: bans are reported to the administrator and to services, through the host's own mail system, whatever happens.
func TestReport(t *testing.T) {
	suites, tree, load := wanted(t)
	serve := buildPeers(t)
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			v := boot(t, suite, tree, load, mailHosts[0].packages...)
			v.reporterLog(t)
			v.sh(t, postfixSetup)
			v.playPeers(t, serve)
			v.playRegistries(t)
			v.sendsBy(t, "postfix")
			v.hurried(t)
			v.sh(t, `systemctl enable -q --now bailiff.service`)
			v.active(t)
			for _, c := range []struct {
				name string
				run  func(*victim, *testing.T)
			}{
				{"begins", (*victim).reportsBegin},
				{"sandbox", func(v *victim, t *testing.T) { v.exposed(t, "bailiff-report.service", 2.0) }},
				{"mail", (*victim).mailed},
				{"hindered", (*victim).hindered},
				{"in-time", (*victim).mailedInTime},
				{"monitored", (*victim).monitored},
				{"notified", (*victim).notified},
				{"secrets", (*victim).keepsSecrets},
				{"stays", (*victim).reporterStays},
				{"stops", (*victim).reporterStops},
				{"thousand", (*victim).thousand},
			} {
				if c.name == "thousand" && suite != suites[len(suites)-1] {
					continue // once is enough
				}
				if !t.Run(c.name, func(t *testing.T) { c.run(v, t) }) && c.name == "begins" {
					return // nothing else can be tried
				}
			}
		})
	}
}

// reporterLog shows bailiff-report's own journal when the test has failed.
func (v *victim) reporterLog(t *testing.T) {
	t.Cleanup(func() {
		if t.Failed() {
			// Without the thousand that went well.
			log, _ := v.Sh(context.Background(), `journalctl -o short-precise -u bailiff-report.service -u bailiff-report.socket | grep -v 'report to admin, ban of 198\.18\.2.*: delivered' | tail -n 300`)
			t.Logf("bailiff-report's own journal:\n%s", log)
		}
	})
}

// sendsBy lets bailiff-report use the host's mail system, as an admin does.
func (v *victim) sendsBy(t *testing.T, system string) {
	t.Helper()
	v.sh(t, `systemd-tmpfiles --create /usr/lib/tmpfiles.d/bailiff.conf`)
	if out := v.sh(t, `bailiff report setup; systemctl daemon-reload`); !strings.HasPrefix(out, "mail system: "+system+" ") {
		t.Errorf("bailiff report setup says %q, want %s", out, system)
	}
}

// hurried makes bailiff-report's pauses short, so that a test sees their end.
func (v *victim) hurried(t *testing.T) {
	v.sh(t, `mkdir -p /etc/systemd/system/bailiff-report.service.d; cat >/etc/systemd/system/bailiff-report.service.d/90-test.conf <<'U'
[Service]
ExecStart=
ExecStart=/usr/sbin/bailiff-report --retry 500ms --settle 40s
U
systemctl daemon-reload`)
}

// reporterSays asks bailiff-report, over its socket.
func reporterSays[T any](v *victim, t testing.TB, call string, post any) (answer T) {
	t.Helper()
	args := []string{"curl", "-sS", "--max-time", "60", "--unix-socket", control.ReportPath, "http://bailiff" + call}
	if post != nil {
		b, err := json.Marshal(post)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, "-H", "Content-Type: application/json", "-d", string(b))
	}
	out, err := v.Run(t.Context(), args...)
	if err != nil {
		t.Fatalf("%s: %v", call, err)
	}
	var refused control.Error
	if json.Unmarshal([]byte(out), &refused) == nil && refused.Message != "" {
		t.Fatalf("%s: %s", call, out)
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("%s: %v in %.300q", call, err, out)
	}
	return answer
}

// waiting returns the deliveries that bailiff-report has yet to make.
func (v *victim) waiting(t testing.TB) []control.QueuedReport {
	t.Helper()
	return reporterSays[control.ReportList](v, t, "/v1/reports?limit=1000", nil).Reports
}

// nothingWaits waits until all is delivered.
func (v *victim) nothingWaits(t testing.TB) {
	t.Helper()
	eventually(t, func() error {
		if w := v.waiting(t); len(w) > 0 {
			return fmt.Errorf("%d wait still, first %+v", len(w), w[0])
		}
		return nil
	})
}

// attacked attacks from an address, without an ssh client, until it is banned.
func (v *victim) attacked(t *testing.T, from netip.Addr) {
	t.Helper()
	b := from.As4()
	base := int(b[1]-18)<<16 | int(b[2])<<8 | int(b[3])
	if out, err := v.load(t, fmt.Sprintf("-lines 5 -addresses 1 -base %d", base)); err != nil {
		t.Fatalf("load: %v %s", err, out)
	}
	v.bansInKernel(t, from)
}

// playRegistries answers RDAP for 198.51.100.0/24 and 2001:db8::/32, and whois for everything else.
func (v *victim) playRegistries(t *testing.T) {
	web, err := v.Listen(netip.MustParseAddrPort(registryAt + ":80"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/ip/") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/rdap+json")
		fmt.Fprint(w, `{"objectClassName":"ip network","handle":"NET-TEST","name":"TEST-NET-2","country":"ZZ","startAddress":"198.51.100.0","endAddress":"198.51.100.255",
			"entities":[{"objectClassName":"entity","handle":"ORG-1","roles":["registrant"],"vcardArray":["vcard",[["version",{},"text","4.0"],["fn",{},"text","Example Holder"]]],
			"entities":[{"objectClassName":"entity","roles":["abuse"],"vcardArray":["vcard",[["version",{},"text","4.0"],["fn",{},"text","Abuse"],["email",{},"text","abuse@holder.example"]]]}]}]}`)
	}), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(web) }()
	t.Cleanup(func() { srv.Close() })
	port43, err := v.Listen(netip.MustParseAddrPort(whoisAt + ":43"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { port43.Close() })
	go func() {
		for {
			c, err := port43.Accept()
			if err != nil {
				return
			}
			go answerWhois(c)
		}
	}()
	v.place(t, "/etc/bailiff/rdap.json", `{"version":"1.0","services":[[["198.51.100.0/24"],["http://`+registryAt+`/"]]]}`, 0o644)
}

// silentAbout is the address about which the registries never answer.
var silentAbout = sourceN(0xc829)

// answerWhois answers with the address's network, or not at all for silentAbout. The answer tries to forge a header, an end of the mail and
// a command of mail(1).
func answerWhois(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	q, _ := bufio.NewReader(c).ReadString('\n')
	a, err := netip.ParseAddr(strings.TrimSpace(q))
	if err != nil || a == silentAbout {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	network := netip.PrefixFrom(a, 48).Masked()
	if a.Is4() {
		network = netip.PrefixFrom(a, 24).Masked()
	}
	fmt.Fprintf(c, "%% asked for %s\r\ninetnum: %s\r\nnetname: TEST-NET-3\r\ndescr: Caf\xe9\r\nBcc: mallory@example.net\r\n.\r\n~! touch /tmp/forged\r\nabuse-mailbox: abuse@three.example\r\n", a, network)
}

// reportsBegin: bans from before reports were configured are not reported, nor are bans that a restart restores.
func (v *victim) reportsBegin(t *testing.T) {
	early := sourceN(500)
	v.attacked(t, early)
	if out := v.sh(t, `systemctl show -P SubState bailiff-report.service`); out != "dead\n" {
		t.Errorf("nobody wants reports, and bailiff-report is %s", out)
	}
	v.put(t, "50-report.yaml", reportConfig)
	v.sh(t, `bailiff check && systemctl reload bailiff.service`)
	answer := reporterSays[control.TestResult](v, t, "/v1/test", control.TestRequest{Destination: "admin"})
	t.Logf("a test of the mail system: %+v", answer)
	eventually(t, func() error {
		if n := len(v.mailbox(t, "root")); n != 1 {
			return fmt.Errorf("%d mails in root's mailbox after a test", n)
		}
		return nil
	})
	v.sh(t, `systemctl restart bailiff.service`)
	v.active(t)
	v.bansInKernel(t, early)
	v.settled(t)
	late := sourceN(501)
	v.attacked(t, late)
	v.about(t, "root", late.String())
	for _, m := range v.mailbox(t, "root") {
		if bytes.Contains(m.raw, []byte(early.String())) {
			t.Errorf("a ban from before was reported:\n%s", m.raw)
		}
	}
}

// mailbox reads a local user's mails (mbox: a line "From " begins each).
func (v *victim) mailbox(t testing.TB, user string) (all []letter) {
	t.Helper()
	data, err := os.ReadFile(v.Path("/var/mail/" + user))
	if os.IsNotExist(err) {
		return nil
	} else if err != nil {
		t.Fatal(err)
	}
	for _, raw := range regexp.MustCompile(`(?m)^From .*\n`).Split(string(data), -1)[1:] {
		raw = strings.ReplaceAll(raw, "\n>From ", "\nFrom ")
		m, err := mail.ReadMessage(strings.NewReader(raw))
		if err != nil {
			t.Fatalf("mail: %v in\n%s", err, raw)
		}
		l := letter{raw: []byte(raw), Header: m.Header}
		if l.subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
			t.Errorf("subject %q: %v", m.Header.Get("Subject"), err)
		}
		l.parts(t, m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Body)
		all = append(all, l)
	}
	return all
}

// A letter is a mail as a program of today reads it.
type letter struct {
	mail.Header
	raw     []byte
	subject string
	text    string // of all parts that are for people
}

func (l *letter) parts(t testing.TB, kind, encoding string, body io.Reader) {
	t.Helper()
	media, params, err := mime.ParseMediaType(kind)
	if err != nil {
		t.Errorf("content type %q: %v", kind, err)
		return
	}
	if strings.HasPrefix(media, "multipart/") {
		for r := multipart.NewReader(body, params["boundary"]); ; {
			p, err := r.NextRawPart()
			if err == io.EOF {
				return
			} else if err != nil {
				t.Errorf("multipart: %v in\n%s", err, l.raw)
				return
			}
			l.parts(t, p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p)
		}
	}
	if strings.EqualFold(encoding, "quoted-printable") {
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Errorf("%s: %v in\n%s", media, err, l.raw)
	}
	if media == "text/plain" {
		l.text += string(text) + "\n"
	}
}

// about finds the mails about an address, waiting for the first.
func (v *victim) about(t testing.TB, user, address string) (found []letter) {
	t.Helper()
	eventually(t, func() error {
		found = nil
		for _, l := range v.mailbox(t, user) {
			if strings.Contains(l.subject, address) {
				found = append(found, l)
			}
		}
		if len(found) == 0 {
			return fmt.Errorf("no mail about %s to %s", address, user)
		}
		return nil
	})
	return found
}

// mailed: bans from real attacks with ssh lead to mails with the exact lines of the journal and the registries' answers.
func (v *victim) mailed(t *testing.T) {
	for _, c := range []struct{ from, whois string }{
		{"198.51.100.21", "TEST-NET-2"}, {"203.0.113.21", "TEST-NET-3"}, {"2001:db8:500::21", "TEST-NET-3"},
	} {
		from := netip.MustParseAddr(c.from)
		v.fails(t, from, 5)
		v.bansInKernel(t, from)
		address := c.from
		if from.Is6() {
			address = "2001:db8:500::/64"
		}
		found := v.about(t, "root", address)
		if len(found) != 1 {
			t.Errorf("%d mails about %s", len(found), address)
		}
		l := found[0]
		if l.Get("Auto-Submitted") != "auto-generated" || l.Get("Message-Id") == "" || l.Get("From") == "" || !strings.Contains(l.Get("To"), "root") || l.Get("Bcc") != "" {
			t.Errorf("%s: header %v", address, l.Header)
		}
		if d, err := l.Date(); err != nil || time.Since(d).Abs() > 5*time.Minute {
			t.Errorf("%s: date %v, %v", address, d, err)
		}
		if !strings.Contains(l.text, c.whois) {
			t.Errorf("%s: no whois (%s) in\n%s", address, c.whois, l.text)
		}
		bans := v.entries(t, "MESSAGE_ID="+idBan, "BAILIFF_ADDRESS="+address)
		if len(bans) != 1 {
			t.Fatalf("%d audit entries about %s", len(bans), address)
		}
		cursors := strings.Fields(bans[0]["BAILIFF_EVIDENCE"])
		if len(cursors) < 3 {
			t.Errorf("%s: evidence %q", address, cursors)
		}
		for _, cursor := range cursors {
			e := v.entries(t, "--cursor", cursor, "-n", "1")
			if len(e) != 1 || !strings.Contains(l.text, "]: "+e[0]["MESSAGE"]+"\n") {
				t.Errorf("%s: the line at %s is not in the mail: %v\n%s", address, cursor, e, l.text)
			}
		}
		// Those who filter fail2ban's mails go on as before.
		old := v.about(t, "bob", address)
		if want := "[Fail2Ban] sshd: banned " + address + " from mail.example.test"; old[0].subject != want {
			t.Errorf("subject %q, want %q", old[0].subject, want)
		}
	}
	if out := v.sh(t, `ls /tmp/forged 2>&1 || :`); !strings.Contains(out, "No such file") {
		t.Errorf("what whois said was run: %s", out)
	}
}

// hindered: services that fail in any way get their reports once they work again, and those that refuse a report are asked once.
func (v *victim) hindered(t *testing.T) {
	for i, mode := range []string{peers.Normal, peers.Error, peers.Hang, peers.Cut, peers.CutEarly, peers.Refuse} {
		from := netip.AddrFrom4([4]byte{198, 51, 100, byte(60 + i)})
		for _, service := range webServices {
			v.sh(t, servePath+` -mode `+service+`=`+mode+`:1`)
		}
		v.fails(t, from, 5)
		for _, service := range webServices {
			entries := func(id string) int {
				return len(v.entries(t, "MESSAGE_ID="+id, "BAILIFF_DESTINATION="+service, "BAILIFF_ADDRESS="+from.String()))
			}
			eventually(t, func() error {
				if entries(idReported)+entries(idDropped) == 0 {
					return fmt.Errorf("%s, %s: nothing became of the report of %s: %+v", service, mode, from, v.waiting(t))
				}
				return nil
			})
			want := 2
			if mode == peers.Normal || mode == peers.Refuse || mode == peers.CutEarly { // what was cut off at once could not be read
				want = 1
			}
			asked := 0
			for _, e := range v.peersLog(t) {
				if text := fmt.Sprint(e.Form) + string(e.Body); e.Service == service && strings.Contains(text, from.String()) {
					asked++
				}
			}
			said, dropped := entries(idReported), entries(idDropped)
			if refused := mode == peers.Refuse; asked != want || refused && dropped != 1 || !refused && said != 1 || said+dropped != 1 {
				t.Errorf("%s, mode %q: asked %d times about %s, want %d; %d entries say that it was told, %d that the report was dropped", service, mode, asked, from, want, said, dropped)
			}
		}
	}
	v.faultless(t)
}

// mailedInTime: a mail is in the mail system's queue within 2 s of the ban if registries answer, and within their time limit and
// 1 s if they do not. It is printed only: a busy machine may be late.
func (v *victim) mailedInTime(t *testing.T) {
	for _, c := range []struct {
		who, whois string
		from       netip.Addr
		limit      time.Duration
	}{
		{"registries answer", "TEST-NET-2", netip.MustParseAddr("198.51.100.41"), 2 * time.Second},
		{"a cached answer", "TEST-NET-2", netip.MustParseAddr("198.51.100.42"), 2 * time.Second},
		{"registries are silent, limit 3 s", "not available", silentAbout, 4 * time.Second},
	} {
		if host.Sources[2].Contains(c.from) {
			v.attacked(t, c.from)
		} else {
			v.fails(t, c.from, 5)
		}
		l := v.about(t, "root", c.from.String())[0]
		bans := v.entries(t, "MESSAGE_ID="+idBan, "BAILIFF_ADDRESS="+c.from.String())
		id := strings.Trim(l.Get("Message-Id"), "<>")
		taken := v.entries(t, "SYSLOG_IDENTIFIER=postfix/cleanup", "-g", regexp.QuoteMeta(id))
		if len(bans) != 1 || len(taken) != 1 {
			t.Fatalf("%d bans of %s, %d entries of its mail %s", len(bans), c.from, len(taken), id)
		}
		late := stamp(t, taken[0]).Sub(stamp(t, bans[0]))
		t.Logf("%s, %s: from the ban's entry to the mail in postfix's queue %.2f s (to be reached: %s)", v.suite, c.who, late.Seconds(), c.limit)
		if !strings.Contains(l.text, c.whois) {
			t.Errorf("%s: no %q in\n%s", c.who, c.whois, l.text)
		}
	}
}

func stamp(t testing.TB, e map[string]string) time.Time {
	t.Helper()
	us, err := strconv.ParseInt(e["__REALTIME_TIMESTAMP"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.UnixMicro(us)
}

// reporterStays: bailiff-report runs as long as there is somebody to report to, and ends when there is not, which is no failure. The
// next configuration with a destination starts it again.
func (v *victim) reporterStays(t *testing.T) {
	state := func(want string) {
		t.Helper()
		eventually(t, func() error {
			if out := v.sh(t, `for p in SubState Result NRestarts; do systemctl show -P $p bailiff-report.service; done`); out != want {
				return fmt.Errorf("bailiff-report is %q, want %q", out, want)
			}
			return nil
		})
	}
	v.sh(t, `systemctl restart bailiff-report.service`)
	pid := v.sh(t, `systemctl show -P MainPID bailiff-report.service`)
	for i := range 2 {
		from := sourceN(640 + i)
		v.attacked(t, from)
		v.about(t, "root", from.String())
	}
	v.nothingWaits(t)
	if out := v.sh(t, `systemctl show -P MainPID bailiff-report.service`); out != pid {
		t.Errorf("process %s is %s by now", pid, out)
	}
	if out := v.sh(t, `bailiff status`); !strings.Contains(out, "\n  reports   5 destinations; ") {
		t.Errorf("status: %s", out)
	}
	v.put(t, "50-report.yaml", "")
	v.sh(t, `systemctl reload bailiff.service`)
	state("dead\nsuccess\n0\n")
	if out := v.sh(t, `bailiff status; systemctl show -P SubState bailiff-report.service`); !strings.Contains(out, "\n  reports   off (") || !strings.HasSuffix(out, "\ndead\n") {
		t.Errorf("status: %s", out)
	}
	v.put(t, "50-report.yaml", reportConfig)
	v.sh(t, `systemctl reload bailiff.service`)
	state("running\nsuccess\n0\n")
}

// reporterStops: a mail system that hangs does not keep the service from stopping, and the mail is sent once it works again.
func (v *victim) reporterStops(t *testing.T) {
	v.sh(t, `mv /usr/sbin/sendmail /usr/sbin/sendmail.real; printf '#!/bin/sh\ntrap "" TERM\nsleep 1000 & wait; sleep 1000\n' >/usr/sbin/sendmail; chmod 755 /usr/sbin/sendmail`)
	from := sourceN(650)
	v.attacked(t, from)
	eventually(t, func() error {
		for _, w := range v.waiting(t) {
			if w.Destination == "admin" && w.State == "delivering" {
				return nil
			}
		}
		return errors.New("no delivery hangs")
	})
	begin := time.Now()
	v.sh(t, `systemctl stop bailiff-report.service`)
	t.Logf("%s: stopped within %.1f s while sendmail hangs (to be reached: 10 s)", v.suite, time.Since(begin).Seconds())
	if out := v.sh(t, `systemctl show -P Result bailiff-report.service; pgrep -c sendmail || :`); out != "success\n0\n" {
		t.Errorf("stopped: %q", out)
	}
	if out := v.sh(t, `bailiff status`); !strings.Contains(out, "reports   NOT SENT: bailiff-report.service is not running") {
		t.Errorf("status: %s", out)
	}
	v.sh(t, `mv /usr/sbin/sendmail.real /usr/sbin/sendmail; systemctl start bailiff-report.service`)
	v.sh(t, `logger -p mail.info -t postfix/qmgr 'at work'`)
	if found := v.about(t, "root", from.String()); len(found) != 1 {
		t.Errorf("%d mails about %s", len(found), from)
	}
}

// thousand: a thousand bans while the mail system is stopped and bailiff-report is killed twice, then a reboot, and then the mail system
// again: a thousand mails, no more, no fewer. The same run without reports, before, shows how long a ban waits for them.
func (v *victim) thousand(t *testing.T) {
	const n, rate, off, on = 1000, 50, 40000, 60000
	sets := strings.Join(strings.Fields(v.sh(t, `ipset list -n | grep '^bailiff4'`)), ",")
	attack := func(base int, what string) {
		since := v.now(t)
		out, err := v.load(t, fmt.Sprintf("-trials %d -lines %d -failures 5 -rate %d -base %d -set %s", n, 5*n, 5*rate, base, sets))
		if err != nil {
			t.Fatalf("load: %v %s", err, out)
		}
		var r struct {
			Missed int
			Ban    []float64
		}
		if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Ban) == 0 {
			t.Fatalf("load: %v in %.200q", err, out)
		}
		eventually(t, func() error {
			if got := strings.TrimSpace(v.sh(t, `journalctl -q -o cat --output-fields=PRIORITY `+since+` MESSAGE_ID=`+idBan+` | wc -l`)); got != strconv.Itoa(n) {
				return fmt.Errorf("%s bans, want %d", got, n)
			}
			return nil
		})
		t.Logf("%s, reports %s: %d bans, %d a second; last line written → address in the kernel, %d of them watched (%d missed): median %.1f ms, p90 %.1f ms, worst %.1f ms",
			v.suite, what, n, rate, len(r.Ban), r.Missed, quantile(r.Ban, 50), quantile(r.Ban, 90), r.Ban[len(r.Ban)-1])
		if r.Missed > 0 {
			t.Errorf("%d addresses were not banned within 10 s", r.Missed)
		}
	}
	v.put(t, "50-report.yaml", "")
	v.sh(t, `systemctl reload bailiff.service`)
	attack(off, "off")
	v.put(t, "50-report.yaml", `
report:
  host: mail.example.test
  sender: bailiff@mail.example.test
  lookup: {rdap: false, whois: false, contacts: none}
  destinations:
    admin: {type: mail, to: root}
`)
	v.sh(t, `systemctl reload bailiff.service; systemctl disable -q postfix.service; systemctl stop postfix.service 'postfix@*'; rm /var/mail/root`)

	done := make(chan struct{})
	killed := make(chan error, 1)
	go func() { killed <- v.killTwice(t.Context(), done) }()
	attack(on, "on")
	close(done)
	if err := <-killed; err != nil {
		t.Error(err)
	}
	if err := v.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.active(t)
	if out, err := v.Sh(t.Context(), `systemctl is-active postfix.service`); err == nil {
		t.Errorf("postfix is %s after the reboot", out)
	}
	begin := time.Now()
	v.sh(t, `systemctl enable -q --now postfix.service`)
	var ids map[string]int
	for have := 0; have < n; have = len(ids) {
		time.Sleep(500 * time.Millisecond)
		eventually(t, func() error {
			ids = map[string]int{}
			for line := range strings.Lines(v.sh(t, `grep -i '^Message-ID:' /var/mail/root || :`)) {
				_, id, _ := strings.Cut(strings.TrimSpace(line), ":")
				ids[id]++
			}
			if len(ids) == have {
				return fmt.Errorf("no mail has come, %d of %d have", have, n)
			}
			return nil
		})
	}
	v.nothingWaits(t) // a delivery that was cut off is not repeated before the mail system was at work for a while
	eventually(t, func() error {
		if out := v.sh(t, `mailq`); !strings.Contains(out, "is empty") {
			return fmt.Errorf("postfix still has %.300s", out)
		}
		return nil
	})
	seen := map[string]int{}
	letters := v.mailbox(t, "root")
	for _, l := range letters {
		seen[l.Get("X-Bailiff-Address")]++
	}
	for id, k := range ids {
		if k > 1 {
			t.Errorf("%d mails %s", k, id)
		}
	}
	for i := range n {
		if a := sourceN(on + i); seen[a.String()] != 1 {
			t.Errorf("%d mails about %s", seen[a.String()], a)
		}
		if t.Failed() && i > 5 {
			break
		}
	}
	if len(letters) != n || len(ids) != n {
		t.Errorf("%d mails, %d different ones, want %d", len(letters), len(ids), n)
	}
	t.Logf("%s: %d mails after two kills and a reboot, all delivered %.0f s after postfix came back", v.suite, len(letters), time.Since(begin).Seconds())
}

// killTwice kills bailiff-report while it delivers, once alone and once with the sendmail that it has started.
func (v *victim) killTwice(ctx context.Context, done <-chan struct{}) error {
	for _, script := range []string{`kill -9 $(systemctl show -P MainPID bailiff-report.service)`, `systemctl kill -s KILL bailiff-report.service`} {
		select {
		case <-time.After(5 * time.Second): // spread over the attack
		case <-done: // on a slow machine; it still delivers
		}
		for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
			out, err := v.Sh(ctx, `test "$(systemctl show -P SubState bailiff-report.service)" = running && grep -q . /proc/$(systemctl show -P MainPID bailiff-report.service)/task/*/children && `+script)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("bailiff-report cannot be killed in the midst of a delivery: %w %s", err, out)
			}
		}
	}
	return nil
}

// keepsSecrets: no key stands in the journal, among the arguments or in the environment of a process, in the queue, in the mail
// system's queue or in what bailiff-report says.
func (v *victim) keepsSecrets(t *testing.T) {
	for _, secret := range []string{"peers-key", "cGVlcnMtc2VjcmV0LXRoYXQt"} {
		out := v.sh(t, `f='`+secret+`'
journalctl -q -o json | grep -F -- "$f" | cut -c-300 || :
grep -l -r -F "$f" /var/lib/bailiff-report /var/lib/bailiff /var/spool/postfix /var/mail || :
for p in $(pgrep bailiff); do cat /proc/$p/cmdline /proc/$p/environ; done | tr '\0' '\n' | grep -F "$f" || :
curl -sS --unix-socket `+control.ReportPath+` http://bailiff/v1/status | grep -F "$f" || :`)
		if strings.TrimSpace(out) != "" {
			t.Errorf("a secret shows: %s", out)
		}
	}
	if out := v.sh(t, `systemctl show -P SubState bailiff-report.service; stat -c %a /var/lib/bailiff-report; find /var/lib/bailiff-report -type f ! -perm 600`); out != "running\n700\n" {
		t.Errorf("bailiff-report's state: %q", out)
	}
}
