package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bailiff/units/control"
	"bailiff/units/e2e/peers"
)

// servicesConfig reports to services that peers plays on the host itself, and to a program.
const servicesConfig = `
report:
  lookup: {rdap: no, whois: no}
  destinations:
    abuseipdb: {url: "http://127.0.0.1:8780/api/v2"}
    blocklist.de: {method: http, server: bailiff@mail.example.test, url: "http://127.0.0.1:8780/en/httpreports.html"}
    webhook: {url: "http://127.0.0.1:8780/hook", time_limit: 3s}
    exec: {command: [/usr/local/bin/tell, "two words; $(reboot)"], time_limit: 20s}
`

// tellProgram says what it got, and what it can and cannot do where it runs.
const tellProgram = `#!/bin/sh
got=$(cat)
case $got in *'"address":"198.51.100.44"'*) exit 75;; esac # until it is another program
addr=$(printf %s "$got" | grep -o '"address":"[^"]*"' | head -n 1)
touch /etc/tell 2>/dev/null && addr="$addr may write to /etc"
ls /etc/bailiff/credentials >/dev/null 2>&1 && addr="$addr may read keys"
logger -t tell "$BAILIFF_DESTINATION $(id -un) ($1) $(readlink /proc/self/ns/net) $addr $(printf %s "$got" | grep -o 'bob' | wc -l)"
echo told
`

const servePath = "/opt/e2e/peers"

// TestServices bans real attackers and looks at what the services on the web, and a program, are told about them.
func TestServices(t *testing.T) {
	suites, tree, load := wanted(t)
	serve := buildPeers(t)
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			v := boot(t, suite, tree, load)
			t.Cleanup(func() {
				if t.Failed() {
					log, _ := v.Sh(context.Background(), `journalctl -o short-precise -u 'bailiff-report*' -n 100; cut -c1-500 /run/peers.log`)
					t.Logf("bailiff-report's journal:\n%s", log)
				}
			})
			v.place(t, "/usr/local/bin/tell", tellProgram, 0o755)
			v.put(t, "20-services.yaml", servicesConfig)
			v.playPeers(t, serve)
			v.sh(t, `systemctl enable -q --now bailiff.service bailiff-report.socket bailiff-report-exec.socket`)
			v.active(t)
			t.Run("told", v.told)
			t.Run("program", v.programTold)
			t.Run("fails", v.servicesFail)
			t.Run("silent", v.servicesSilent)
			t.Run("tests", v.servicesTest)
			t.Run("faultless", v.faultless)
		})
	}
}

// buildPeers makes the program that plays the services.
func buildPeers(t *testing.T) []byte {
	t.Helper()
	serve := filepath.Join(t.TempDir(), "serve")
	command(t, "go", "build", "-trimpath", "-o", serve, "./peers/serve")
	bin, err := os.ReadFile(serve)
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// playPeers runs the services on the host itself, where reports travel unencrypted, and gives bailiff-report their keys.
func (v *victim) playPeers(t *testing.T, serve []byte) {
	t.Helper()
	v.place(t, servePath, string(serve), 0o755)
	v.sh(t, `systemd-tmpfiles --create
		umask 077; cd /etc/bailiff/credentials
		echo peers-key >abuseipdb; echo peers-key >blocklist.de
		echo whsec_cGVlcnMtc2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2g= |
			systemd-creds encrypt --name=bailiff-key_webhook - ../credentials.encrypted/webhook 2>/dev/null
		systemd-run -q --unit=peers `+servePath+` -log /run/peers.log`)
}

// peersLog is what came to the services so far.
func (v *victim) peersLog(t testing.TB) (all []peers.Entry) {
	t.Helper()
	for line := range strings.Lines(v.sh(t, `cat /run/peers.log 2>/dev/null || :`)) {
		var e peers.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, e)
	}
	return all
}

// takes counts how often a service took a report about an address.
func takes(all []peers.Entry, service string, a netip.Addr) (n int) {
	for _, e := range all {
		if e.Service == service && slices.Contains(e.Taken, a.String()) {
			n++
		}
	}
	return n
}

var webServices = []string{peers.AbuseIPDB, peers.Blocklist, peers.Hook}

// everywhere waits until all services have taken a report of an address.
func (v *victim) everywhere(t testing.TB, a netip.Addr) {
	t.Helper()
	eventually(t, func() error {
		all := v.peersLog(t)
		for _, s := range webServices {
			if takes(all, s, a) == 0 {
				return fmt.Errorf("%s was not told of %s", s, a)
			}
		}
		return nil
	})
}

func (v *victim) told(t *testing.T) {
	for _, a := range []netip.Addr{netip.MustParseAddr("198.51.100.41"), netip.MustParseAddr("2001:db8:41::7")} {
		v.fails(t, a, 6)
		v.bansInKernel(t, a)
		v.everywhere(t, a)
	}
	host := strings.TrimSpace(v.sh(t, `hostname`))
	for _, e := range v.peersLog(t) {
		sent := fmt.Sprint(e.Form) + string(e.Body)
		if strings.Contains(sent, "bob") || strings.Contains(sent, host) || !strings.Contains(sent, "<user>") {
			t.Errorf("%s was told %s", e.Service, sent)
		}
	}
}

// The program runs where it can do nothing, and gets what the house may know.
func (v *victim) programTold(t *testing.T) {
	eventually(t, func() error {
		es := v.entries(t, "-t", "tell")
		if len(es) < 2 {
			return fmt.Errorf("the program spoke %d times", len(es))
		}
		return nil
	})
	network := strings.TrimSpace(v.sh(t, `readlink /proc/self/ns/net`))
	for _, e := range v.entries(t, "-t", "tell") {
		if m := e["MESSAGE"]; !strings.HasPrefix(m, `exec bailiff-report-exec (two words; $(reboot)) net:[`) || strings.Contains(m, network) || strings.Contains(m, "may ") || strings.HasSuffix(m, " 0") {
			t.Errorf("the program says %q", m)
		}
	}
	if out := v.sh(t, `runuser -u nobody -- `+servePath+` -listen unix -mode x=y 2>&1 || :; stat -c '%U %a' /run/bailiff-report/exec`); !strings.HasSuffix(out, "bailiff-report 600\n") {
		t.Errorf("its socket is %s", out)
	}
}

// Services that fail get each report once, as soon as they can take it again; services that took it meanwhile do not get it again.
func (v *victim) servicesFail(t *testing.T) {
	mode := func(s, m string) { v.sh(t, servePath+` -mode `+s+`=`+m) }
	mode(peers.AbuseIPDB, peers.Quota)
	mode(peers.Blocklist, peers.WrongKey)
	mode(peers.Hook, peers.Unavailable+":1")
	a := netip.MustParseAddr("198.51.100.44")
	v.fails(t, a, 6)
	v.bansInKernel(t, a)
	state := func() map[string]control.DestinationStatus {
		out := map[string]control.DestinationStatus{}
		for _, d := range ask[control.ReporterStatus](v, t, "report").Destinations {
			out[d.Name] = d
		}
		return out
	}
	eventually(t, func() error {
		s := state()
		switch {
		case !strings.Contains(s["blocklist.de"].Held, "API-Key stimmt nicht"):
			return fmt.Errorf("blocklist.de is not held: %+v", s["blocklist.de"])
		case !strings.Contains(s["abuseipdb"].LastError, "Daily rate limit of 1000 requests exceeded") || s["abuseipdb"].Paused == nil:
			return fmt.Errorf("abuseipdb does not wait: %+v", s["abuseipdb"])
		case !strings.Contains(s["exec"].LastError, "ended with status 75"):
			return fmt.Errorf("exec does not wait: %+v", s["exec"])
		case takes(v.peersLog(t), peers.Hook, a) == 0:
			return fmt.Errorf("the webhook was not tried again: %+v", s["webhook"])
		}
		return nil
	})
	mode(peers.AbuseIPDB, "")
	mode(peers.Blocklist, "")
	v.sh(t, `sed -i 's/exit 75/:/' /usr/local/bin/tell; bailiff report retry --all`)
	v.everywhere(t, a)
	eventually(t, func() error {
		for name, d := range state() {
			if d.Waiting > 0 || d.Held != "" {
				return fmt.Errorf("%s: %+v", name, d)
			}
		}
		return nil
	})
	all := v.peersLog(t)
	for _, s := range webServices {
		if n := takes(all, s, a); n != 1 {
			t.Errorf("%s took %d reports of %s", s, n, a)
		}
	}
	if es := v.entries(t, "-t", "tell", "-g", a.String()); len(es) != 1 {
		t.Errorf("the program took %d", len(es))
	}
}

// A service that takes a report without confirming it gets it again, and can recognize it: AbuseIPDB by the address, a webhook by the id.
func (v *victim) servicesSilent(t *testing.T) {
	for s, m := range map[string]string{peers.AbuseIPDB: peers.Cut, peers.Blocklist: peers.Error, peers.Hook: peers.Hang} {
		v.sh(t, servePath+` -mode `+s+`=`+m+`:1`)
	}
	a := netip.MustParseAddr("198.51.100.45")
	v.fails(t, a, 6)
	v.bansInKernel(t, a)
	want := map[string]string{"abuseipdb": "EOF", "blocklist.de": "500 (internal server error)", "webhook": "no answer within 3s"}
	eventually(t, func() error {
		for _, d := range ask[control.ReporterStatus](v, t, "report").Destinations {
			if !strings.Contains(d.LastError, want[d.Name]) {
				return fmt.Errorf("%s: %+v", d.Name, d)
			}
		}
		return nil
	})
	v.sh(t, `bailiff report retry --all`)
	eventually(t, func() error {
		for _, d := range ask[control.ReporterStatus](v, t, "report").Destinations {
			if d.Waiting > 0 {
				return fmt.Errorf("%s: %+v", d.Name, d)
			}
		}
		return nil
	})
	all := v.peersLog(t)
	if n := takes(all, peers.AbuseIPDB, a); n != 1 {
		t.Errorf("AbuseIPDB took %d", n)
	}
	if n := takes(all, peers.Blocklist, a); n != 1 {
		t.Errorf("blocklist.de took %d", n)
	}
	var ids []string
	for _, e := range all {
		if e.Service == peers.Hook && slices.Contains(e.Taken, a.String()) {
			ids = append(ids, e.ID)
		}
	}
	if len(ids) != 2 || ids[0] != ids[1] {
		t.Errorf("the webhook took %q", ids)
	}
}

func (v *victim) servicesTest(t *testing.T) {
	for name, want := range map[string]string{"abuseipdb": "reported less than 15 minutes ago", "blocklist.de": "taken", "webhook": "202", "exec": "told"} {
		if out := v.sh(t, `bailiff report test `+name); !strings.Contains(out, want) {
			t.Errorf("%s: %s", name, out)
		}
	}
	if out := v.sh(t, `bailiff report --dry-run webhook; bailiff report --dry-run abuseipdb; bailiff report --dry-run blocklist.de; bailiff report --dry-run exec`); strings.Contains(out, "peers-key") || strings.Contains(out, "whsec_") || !strings.Contains(out, "webhook-signature: v1,****") || !strings.Contains(out, "\nKey: ****") || !strings.Contains(out, "apikey=****") {
		t.Errorf("previews: %s", out)
	}
}

// Nothing that was sent had a fault, and no key is in the journal or a list of processes.
func (v *victim) faultless(t *testing.T) {
	for _, e := range v.peersLog(t) {
		if len(e.Faults) > 0 {
			t.Errorf("%s%s: %q", e.Service, e.Path, e.Faults)
		}
	}
	if es := v.entries(t, "-b", "-g", "peers-key|cGVlcnMtc2VjcmV0"); len(es) > 0 {
		t.Errorf("a key stands in the journal: %v", es)
	}
}
