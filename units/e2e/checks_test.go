package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/units/control"
)

// Who is who. Each check has addresses of its own, so that none changes another's outcome.
var (
	attacker4    = netip.MustParseAddr("198.51.100.10")
	attacker6    = netip.MustParseAddr("2001:db8:10::1")
	neighbour    = netip.MustParseAddr("2001:db8:10::2") // another address of attacker6's /64
	friend4      = netip.MustParseAddr("203.0.113.5")
	friend6      = netip.MustParseAddr("2001:db8:5::1")
	monitor      = netip.MustParseAddr("203.0.113.77") // on the allow list
	framed       = netip.MustParseAddr("203.0.113.66") // accused by forged lines
	hidden       = netip.MustParseAddr("198.51.100.20")
	penalised    = netip.MustParseAddr("198.51.100.30")
	culprit      = netip.MustParseAddr("198.51.100.50")
	sprayedOwner = netip.MustParseAddr("203.0.113.90")
	nftBanned    = netip.MustParseAddr("198.51.100.110")
	byHand       = netip.MustParseAddr("198.51.100.40")
)

// MESSAGE_IDs of our own entries (units/catalog); they never change.
const (
	idBan      = "63e1b83bd1084d36901b3ec5122b91f2"
	idRepaired = "883343ecef3141b6995ebe3bc646eab8"
)

// With no configuration at all, the service starts, is ready, and has the sshd jail and a working firewall.
func (v *victim) starts(t *testing.T) {
	v.sh(t, `systemctl enable -q --now bailiff.service`)
	v.active(t)
	if out := v.sh(t, `systemctl is-enabled bailiff.service bailiff.socket`); out != "enabled\nenabled\n" {
		t.Errorf("enabled: %q", out)
	}
	var s control.Status
	eventually(t, func() error {
		s = ask[control.Status](v, t, "status")
		if len(s.Problems) > 0 || !s.Firewall.OK || s.Firewall.Backend != "ipset" {
			return fmt.Errorf("status: problems %q, firewall %+v", s.Problems, s.Firewall)
		}
		return nil
	})
	found := false
	for _, j := range s.Jails {
		if j.Name == "sshd" {
			found = true
			if !slices.Contains(j.Units, "ssh.service") || slices.Contains(j.Units, "sshd.service") {
				t.Errorf("sshd jail watches %q; Debian has ssh.service, whose alias is sshd.service", j.Units)
			}
		}
	}
	if !found {
		t.Errorf("no sshd jail in %+v", s.Jails)
	}
	if text := v.sh(t, `systemctl show -P StatusText bailiff.service`); strings.TrimSpace(text) == "" {
		t.Error("systemctl shows no status line")
	}
	if user := v.sh(t, `ps -o user= -C bailiffd`); strings.TrimSpace(user) != "bailiff" {
		t.Errorf("bailiffd runs as %q", user)
	}
	if caps := v.sh(t, `grep CapEff /proc/$(systemctl show -P MainPID bailiff.service)/status`); !strings.Contains(caps, "0000000000001000") {
		t.Errorf("capabilities are %q, want CAP_NET_ADMIN alone", caps)
	}
}

// exposureLimit is what the design allows on systemd 252; later versions weigh more settings.
const exposureLimit = 1.3

func (v *victim) sandbox(t *testing.T) {
	v.exposed(t, "bailiff.service", exposureLimit)
	v.sh(t, `systemd-analyze verify --man=no /usr/lib/systemd/system/bailiff.service /usr/lib/systemd/system/bailiff.socket`)
}

// exposed prints how systemd judges a unit as it is loaded, drop-ins and all, and holds it to a limit.
func (v *victim) exposed(t *testing.T, unit string, limit float64) {
	t.Helper()
	out := v.sh(t, `systemd-analyze security --no-pager `+unit+` | tail -1`)
	m := regexp.MustCompile(`Overall exposure level for ` + regexp.QuoteMeta(unit) + `: ([0-9.]+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("systemd-analyze security: %q", out)
	}
	if x, err := strconv.ParseFloat(m[1], 64); err != nil || x > limit {
		t.Errorf("exposure of %s is %s, more than %.1f", unit, m[1], limit)
	}
	t.Logf("%s: exposure of %s: %s", v.suite, unit, m[1])
}

func (v *victim) attack4(t *testing.T) { v.attack(t, attacker4, "ip") }
func (v *victim) attack6(t *testing.T) {
	v.attack(t, attacker6, "ip6")
	if err := v.keptOut(neighbour, 22); err != nil {
		t.Errorf("of the same /64: %v", err)
	}
}

// attack is the main job: real ssh clients guess passwords until their packets do not arrive any more.
func (v *victim) attack(t *testing.T, from netip.Addr, family string) {
	open, err := v.Dial(from, 22, time.Minute)
	if err != nil {
		t.Fatalf("before the attack: %v", err)
	}
	defer open.Close()
	if !speaksSSH(open, time.Minute) {
		t.Fatal("sshd does not greet on the connection that shall be cut")
	}
	before := v.dropped(t, family)
	v.fails(t, from, 5)
	v.bansInKernel(t, from)

	if err := v.keptOut(from, 22); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	if after := v.dropped(t, family); after <= before {
		t.Errorf("the rule counted %d packets before, %d after the ban", before, after)
	}
	// The open connection: sshd answers the client's greeting with its key exchange, unless the connection is dead.
	if _, err := open.Write([]byte("SSH-2.0-e2e\r\n")); err == nil && answers(open, 2*time.Second) {
		t.Error("a connection that was open before the ban still works")
	}
	eventually(t, func() error {
		if out := v.sh(t, `ss -Htn state established dst '[`+from.String()+`]'`); out != "" {
			return fmt.Errorf("sockets of a banned address are still open:\n%s", out)
		}
		return nil
	})
}

// speaksSSH reads sshd's greeting.
func speaksSSH(c net.Conn, limit time.Duration) bool {
	c.SetReadDeadline(time.Now().Add(limit))
	buf := make([]byte, 255)
	n, _ := c.Read(buf)
	return bytes.HasPrefix(buf[:n], []byte("SSH-2.0-"))
}

func answers(c net.Conn, limit time.Duration) bool {
	c.SetReadDeadline(time.Now().Add(limit))
	n, _ := c.Read(make([]byte, 1))
	return n > 0
}

// keptOut checks that packets of an address to a port are dropped.
func (v *victim) keptOut(a netip.Addr, port uint16) error {
	c, err := v.Dial(a, port, time.Second)
	if timedOut(err) {
		return nil
	}
	if err == nil {
		c.Close()
	}
	return fmt.Errorf("%s reaches port %d: %v; want a timeout", a, port, err)
}

// letIn checks that an address can connect to a port, however slow the host is. It waits until sshd takes the connection: with more than 128
// of them in its queue, the kernel drops packets as a firewall does.
func (v *victim) letIn(a netip.Addr, port uint16) error {
	c, err := v.Dial(a, port, time.Minute)
	if err != nil {
		return fmt.Errorf("%s does not reach port %d: %w", a, port, err)
	}
	defer c.Close()
	if port == 22 {
		c.SetReadDeadline(time.Now().Add(time.Minute))
		_, err = c.Read(make([]byte, 1)) // a greeting; an end if sshd has too many clients
	}
	if timedOut(err) {
		return fmt.Errorf("%s: nothing takes its connection to port %d: %w", a, port, err)
	}
	return nil
}

func timedOut(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

var packets = regexp.MustCompile(`counter packets (\d+)`)

// dropped sums what the rules of our table have counted.
func (v *victim) dropped(t *testing.T, family string) (sum int) {
	t.Helper()
	for _, m := range packets.FindAllStringSubmatch(v.sh(t, `nft list table `+family+` bailiff`), -1) {
		n, _ := strconv.Atoi(m[1])
		sum += n
	}
	return sum
}

// The journal shows who was banned, why and on which evidence, with a catalog text; so does `bailiff why`.
func (v *victim) audit(t *testing.T) {
	for _, a := range []netip.Addr{attacker4, attacker6} {
		var ban map[string]string
		eventually(t, func() error { // audit entries go through a queue, and through journald
			es := v.entries(t, "BAILIFF_ADDRESS="+a.String(), "_SYSTEMD_UNIT=bailiff.service")
			if len(es) != 1 {
				return fmt.Errorf("%d entries tell of %s, want its ban alone: %v", len(es), a, es)
			}
			ban = es[0]
			return nil
		})
		if ban["BAILIFF_JAIL"] != "sshd" || ban["BAILIFF_BAN_ID"] == "" || ban["BAILIFF_UNTIL"] == "" || ban["MESSAGE_ID"] != idBan {
			t.Errorf("audit entry of %s lacks fields: %v", a, ban)
		}
		if n, _ := strconv.Atoi(ban["BAILIFF_FAILURES"]); n < 5 {
			t.Errorf("audit entry of %s: %q failures, want 5 or more", a, ban["BAILIFF_FAILURES"])
		}
		cursors := strings.Fields(ban["BAILIFF_EVIDENCE"])
		if len(cursors) < 5 {
			t.Fatalf("audit entry of %s names %d entries as evidence: %q", a, len(cursors), ban["BAILIFF_EVIDENCE"])
		}
		for _, c := range cursors {
			es := v.entries(t, "--cursor="+c, "-n", "1")
			if len(es) != 1 || !strings.Contains(es[0]["MESSAGE"], a.String()) {
				t.Errorf("evidence %s leads to %v", c, es)
			}
		}
		if out := v.sh(t, `journalctl -q -o cat -u bailiff.service`); !strings.Contains(out, strings.TrimSuffix(ban["BAILIFF_PREFIX"], "/32")) {
			t.Errorf("journalctl -u bailiff does not tell of %s:\n%s", a, out)
		}
		out := v.sh(t, `journalctl -q -x BAILIFF_ADDRESS=`+a.String())
		if !strings.Contains(out, "Subject:") || strings.Contains(out, "@BAILIFF") {
			t.Errorf("journalctl -x explains nothing, or leaves a variable:\n%s", out)
		}

		w := v.why(t, a)
		if w.State != "banned" || len(w.Bans) != 1 || len(w.Bans[0].Evidence) < 5 {
			t.Fatalf("why %s: %+v", a, w)
		}
		if w.Bans[0].ID != ban["BAILIFF_BAN_ID"] {
			t.Errorf("why %s: ban %s, the journal says %s", a, w.Bans[0].ID, ban["BAILIFF_BAN_ID"])
		}
		for _, l := range w.Bans[0].Evidence {
			if !strings.Contains(l.Message, a.String()) {
				t.Errorf("why %s: evidence %q (%s)", a, l.Message, l.Missing)
			}
		}
		if out := v.sh(t, `bailiff why `+a.String()); strings.Count(out, a.String()) < 6 || !strings.Contains(out, ban["BAILIFF_BAN_ID"]) {
			t.Errorf("bailiff why %s:\n%s", a, out)
		}
	}
}

// A user who mistypes twice and then gets in stays welcome.
func (v *victim) good(t *testing.T) {
	for _, a := range []netip.Addr{friend4, friend6} {
		if err := v.SSH(t.Context(), a, "bob", "wrong", 2); err == nil {
			t.Errorf("%s was let in with a wrong password", a)
		}
		if err := v.SSH(t.Context(), a, "bob", "correct-horse", 1); err != nil {
			t.Errorf("%s cannot log in: %v", a, err)
		}
		if w := v.why(t, a); w.State == "banned" {
			t.Errorf("%s is banned: %+v", a, w)
		}
	}
}

// What is on the allow list is never banned, and joining the list lifts a ban.
func (v *victim) allow(t *testing.T) {
	v.put(t, "10-allow.yaml", "allow:\n  addresses: ["+monitor.String()+"]\n")
	v.sh(t, `bailiff check && systemctl reload bailiff.service`)
	v.fails(t, monitor, 8)
	v.settled(t)
	if v.inKernel(t, monitor) {
		t.Errorf("%s is on the allow list, and banned", monitor)
	}
	if w := v.why(t, monitor); w.State != "allowed" || len(w.Allowed) == 0 || !strings.Contains(w.Allowed[0].Origin, "10-allow.yaml") {
		t.Errorf("why %s: %+v", monitor, w)
	}
	if err := v.SSH(t.Context(), monitor, "bob", "correct-horse", 1); err != nil {
		t.Errorf("%s cannot log in: %v", monitor, err)
	}

	v.sh(t, `bailiff ban `+byHand.String())
	v.bansInKernel(t, byHand)
	v.sh(t, `bailiff allow `+byHand.String())
	eventually(t, func() error {
		if v.inKernel(t, byHand) {
			return fmt.Errorf("%s is still in the kernel's set after bailiff allow", byHand)
		}
		return nil
	})
	if err := v.letIn(byHand, 22); err != nil {
		t.Errorf("allowed again: %v", err)
	}
}

// put writes a drop-in of the configuration.
func (v *victim) put(t *testing.T, name, text string) {
	t.Helper()
	v.place(t, "/etc/bailiff/bailiff.d/"+name, text, 0o644)
}

// Only sshd can accuse an address. What a user writes has no effect, whatever name the user or the program takes; nor has what another unit
// writes, even as root.
func (v *victim) forged(t *testing.T) {
	line := "Failed password for root from " + framed.String() + " port 22 ssh2"
	script := `for i in 1 2 3 4 5 6 7 8; do
		logger -t sshd "$0"
		echo "$0" | systemd-cat -t sshd
		printf 'MESSAGE=%s\nSYSLOG_IDENTIFIER=sshd\n_SYSTEMD_UNIT=ssh.service\n_UID=0\n_COMM=sshd\n' "$0" | logger --journald
	done`
	for _, as := range [][]string{{"User=mallory"}, {"DynamicUser=yes"}} {
		if out, err := v.Unit(t.Context(), as, "/bin/sh", "-c", script, line); err != nil {
			t.Fatalf("%q: %v %s", as, err, out)
		}
	}
	v.sh(t, `mkdir -p /opt/forge && cp /usr/bin/logger /opt/forge/sshd`)
	for range 6 {
		if out, err := v.Unit(t.Context(), []string{"User=mallory"}, "/opt/forge/sshd", "-t", "sshd", line); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	// Another service of root's, which journald knows by its stdout.
	v.sh(t, `systemd-run -q --wait -p SyslogIdentifier=sshd -- /bin/sh -c 'for i in 1 2 3 4 5 6; do echo "$0"; done' '`+line+`'`)
	// A user's process that is in no unit, as after a fast exit.
	v.orphaned(t, `for i in 1 2 3 4 5 6; do setpriv --reuid=mallory --regid=mallory --clear-groups logger -t sshd '`+line+`'; done`)
	if n := len(v.entries(t, "-g", framed.String(), "SYSLOG_IDENTIFIER=sshd")); n != 2*8*3+6+6+6 {
		t.Fatalf("%d forged lines reached the journal, want all 66", n)
	}
	v.settled(t)
	if w := v.why(t, framed); w.State != "unknown" {
		t.Errorf("why %s, whom only forged lines accuse: %+v", framed, w)
	}
	if v.inKernel(t, framed) {
		t.Errorf("%s was banned by forged lines", framed)
	}
}

// executables: in sshd's own unit, as root, only sshd's programs count. A process that journald sees outside any unit is not taken for one
// that was already gone.
func (v *victim) executables(t *testing.T) {
	line := "Failed password for root from " + framed.String() + " port 22 ssh2"
	for _, where := range []string{"/sys/fs/cgroup/system.slice/ssh.service/cgroup.procs", ""} {
		join := ":"
		if where != "" {
			join = "echo $$ >" + where
		}
		// logger stays until its lines are in the journal, so that journald can look at it.
		v.sh(t, join+`; dir=$(mktemp -d); mkfifo $dir/in; logger -t sshd <$dir/in & exec 3>$dir/in
			for i in 1 2 3 4 5 6; do echo '`+line+`' >&3; done
			until test "$(journalctl -q _COMM=logger _PID=$! -g '`+framed.String()+`' | wc -l)" -ge 6; do sleep 0.05; done
			exec 3>&-; wait`)
	}
	seen := map[string]int{}
	for _, e := range v.entries(t, "-g", framed.String(), "_EXE=/usr/bin/logger", "_UID=0") {
		seen[e["_SYSTEMD_UNIT"]]++
	}
	if seen["ssh.service"] != 6 || seen[""] != 6 {
		t.Fatalf("entries by unit: %v", seen)
	}
	v.settled(t)
	if w := v.why(t, framed); w.State != "unknown" {
		t.Errorf("why %s, whom only logger accuses: %+v", framed, w)
	}
	for _, j := range ask[control.Status](v, t, "status").Jails {
		if j.Name == "sshd" && (j.Refused == nil || j.Refused.Entries != 6 || j.Refused.Exe != "/usr/bin/logger") {
			t.Errorf("status: refused %+v", j.Refused)
		}
	}
	if out := v.sh(t, `bailiff status`); !strings.Contains(out, "sshd: 6 entries not counted") || !strings.Contains(out, "jails.sshd.exe") {
		t.Errorf("status says nothing of it:\n%s", out)
	}
}

// Entries of sshd still count if journald could not assign a unit because the process was already gone.
func (v *victim) unitless(t *testing.T) {
	v.orphaned(t, `for i in 1 2 3 4 5; do logger -t sshd "Failed password for root from `+hidden.String()+` port $i ssh2"; done`)
	es := v.entries(t, "-g", hidden.String(), "SYSLOG_IDENTIFIER=sshd")
	if len(es) != 5 {
		t.Fatalf("%d lines in the journal, want 5", len(es))
	}
	for _, e := range es {
		if e["_SYSTEMD_UNIT"] != "" {
			t.Fatalf("the line has a unit, so it proves nothing: %v", e)
		}
	}
	v.bansInKernel(t, hidden)
}

// OpenSSH 9.8 and later refuse a guesser for a while by themselves; their refusals do not count, the guesses between them do.
func (v *victim) penalties(t *testing.T) {
	const conf = "/etc/ssh/sshd_config.d/e2e.conf"
	if v.sh(t, `grep -c PerSourcePenalties `+conf+` || :`) == "0\n" {
		t.Skip("this release's sshd has no penalties")
	}
	v.sh(t, `cp `+conf+` /root/e2e.conf; sed -i 's/^PerSourcePenalties.*/PerSourcePenalties authfail:5s min:5s/' `+conf+`; systemctl restart ssh.service`)
	defer v.sh(t, `cp /root/e2e.conf `+conf+`; systemctl restart ssh.service`)
	v.fails(t, penalised, 1)
	deadline := time.Now().Add(3 * time.Minute)
	for !v.inKernel(t, penalised) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is not banned; sshd said:\n%s", penalised, v.sh(t, `journalctl -q -b -u ssh.service -o cat -g penal | tail`))
		}
		v.fails(t, penalised, 1)
	}
	if n := len(v.entries(t, "-b", "-u", "ssh.service", "-g", "penalty")); n == 0 {
		t.Error("sshd logged no penalty, so this proves nothing")
	}
}

// A request that comes while the daemon restarts waits and succeeds; a mere member of the group may read but change nothing.
func (v *victim) control(t *testing.T) {
	restarted := make(chan error, 1)
	go func() {
		_, err := v.Run(t.Context(), "systemctl", "restart", "bailiff.service")
		restarted <- err
	}()
	asked := 0
	for done := false; !done; {
		select {
		case err := <-restarted:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
		}
		ask[control.Status](v, t, "status")
		asked++
	}
	t.Logf("%s: %d requests answered around one restart", v.suite, asked)

	v.sh(t, `usermod -aG bailiff mallory`)
	for _, c := range []struct {
		groups string
		cmd    []string
		ok     bool
	}{
		{"bailiff", []string{"bailiff", "status"}, true},
		{"bailiff", []string{"bailiff", "ban", "192.0.2.1"}, false},
		{"bailiff", []string{"bailiff", "reload"}, false},
		{"", []string{"bailiff", "status"}, false},
	} {
		props := []string{"User=mallory"}
		if c.groups == "" {
			props = []string{"User=bob"}
		}
		if out, err := v.Unit(t.Context(), props, c.cmd...); (err == nil) != c.ok {
			t.Errorf("%q as %q: %v %s", c.cmd, props, err, out)
		}
	}
	if out := v.sh(t, `curl -sS --max-time 60 --unix-socket /run/bailiff/control http://bailiff/v1/status`); !strings.Contains(out, `"version"`) {
		t.Errorf("curl: %s", out)
	}
}

// If somebody removes our rules or sets, they are back within seconds, and the journal says so.
func (v *victim) mended(t *testing.T) {
	for _, c := range []struct{ name, script string }{
		{"rules flushed", `nft flush ruleset`},
		{"sets flushed", `for s in $(ipset list -n | grep '^bailiff'); do ipset flush "$s"; done`},
		// The daemon notices flushed rules at once and would be faster than this script, so it is stopped meanwhile. The kernel releases a
		// set only shortly after its rule is gone.
		{"sets destroyed", `p=$(systemctl show -P MainPID bailiff.service); trap 'kill -CONT $p' EXIT; kill -STOP $p; nft flush ruleset
			for s in $(ipset list -n | grep '^bailiff'); do for _ in $(seq 50); do ipset -q destroy "$s" && break; sleep 0.05; done; done
			test -z "$(ipset list -n | grep '^bailiff')"`},
	} {
		since := v.now(t)
		v.sh(t, c.script)
		eventually(t, func() error {
			if !v.inKernel(t, attacker4) || !v.inKernel(t, attacker6) {
				return fmt.Errorf("%s: the bans are not back in the kernel's sets", c.name)
			}
			if err := v.keptOut(attacker4, 22); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			return nil
		})
		eventually(t, func() error {
			said := ""
			for _, e := range v.entries(t, since, "_SYSTEMD_UNIT=bailiff.service") {
				if e["MESSAGE_ID"] == idRepaired {
					return nil
				}
				said += "\n" + e["MESSAGE"]
			}
			return fmt.Errorf("%s: mended, but no audit entry says so, only:%s", c.name, said)
		})
		s := ask[control.Status](v, t, "status")
		if !s.Firewall.OK {
			t.Errorf("%s: status still says %+v", c.name, s.Firewall)
		}
	}
}

// now is the host's clock, as journalctl takes it for --since.
func (v *victim) now(t *testing.T) string {
	t.Helper()
	return "--since=@" + strings.TrimSpace(v.sh(t, `date +%s.%6N`))
}

// What an operator does by hand is saved at once: killing the daemon neither loses a ban nor brings back one that was lifted.
func (v *victim) byhand(t *testing.T) {
	kill := func() {
		v.sh(t, `systemctl kill -s KILL bailiff.service`)
		eventually(t, func() error {
			if s := v.sh(t, `systemctl show -P SubState bailiff.service`); s == "running\n" {
				return nil
			} else {
				return fmt.Errorf("bailiff.service is %s", s)
			}
		})
	}
	v.sh(t, `bailiff ban `+culprit.String())
	kill()
	v.settled(t)
	if w := v.why(t, culprit); w.State != "banned" || w.Bans[0].Jail != "manual" || !v.inKernel(t, culprit) {
		t.Errorf("banned by hand, and after a kill: %+v", w)
	}
	v.sh(t, `bailiff unban `+culprit.String()+` `+hidden.String())
	kill()
	v.settled(t)
	for _, a := range []netip.Addr{culprit, hidden} {
		if w := v.why(t, a); w.State == "banned" || v.inKernel(t, a) {
			t.Errorf("unbanned by hand, and after a kill: %+v", w)
		}
	}
}

// Turmoil: under an attack the daemon is killed, restarted and reloaded, and the journal rotated and vacuumed. Every address
// with five failures is banned once, every address with four is not: one entry lost or counted twice would show.
func (v *victim) turmoil(t *testing.T) {
	const guilty, rate = 60, 40
	// Some older archives, so that vacuuming can remove something that is not evidence.
	for range 6 {
		v.sh(t, `logger filler; journalctl -q --rotate`)
	}
	since := v.now(t)
	begin := time.Now()
	var wg sync.WaitGroup
	for _, g := range []struct{ base, lines int }{{1000, 5}, {2000, 4}} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			out, err := v.load(t, fmt.Sprintf("-addresses %d -lines %d -rate %d -base %d", guilty, guilty*g.lines, rate, g.base))
			if err != nil {
				t.Errorf("load: %v %s", err, out)
			}
		}()
	}
	pid := func() string {
		return strings.TrimSpace(v.sh(t, `systemctl show -P MainPID bailiff.service`))
	}
	for _, script := range []string{
		`kill -9 ` + pid(),
		`journalctl -q --rotate`,
		`journalctl -q --vacuum-files=5`,
		`systemctl restart bailiff.service`,
		`systemctl reload bailiff.service`,
		`journalctl -q --rotate`,
		`journalctl -q --vacuum-files=5; systemctl kill -s KILL bailiff.service`,
	} {
		time.Sleep(700 * time.Millisecond) // spread over the attack
		v.active(t)
		v.sh(t, script)
	}
	wg.Wait()
	t.Logf("%s: turmoil over %.1f s of attack", v.suite, time.Since(begin).Seconds())
	v.active(t)
	v.settled(t)

	bans := map[string]int{}
	ids := map[string]bool{}
	for _, e := range v.entries(t, since, "_SYSTEMD_UNIT=bailiff.service") {
		if id := e["BAILIFF_BAN_ID"]; e["MESSAGE_ID"] == idBan {
			bans[e["BAILIFF_ADDRESS"]]++
			if ids[id] {
				t.Errorf("ban %s of %s is told twice", id, e["BAILIFF_ADDRESS"])
			}
			ids[id] = true
		}
	}
	replayed := v.replayed(t, begin)
	for i := range guilty {
		a := sourceN(1000 + i)
		if bans[a.String()] != 1 {
			t.Errorf("%s failed five times: %d bans in the journal; %+v", a, bans[a.String()], v.why(t, a).Counted)
		}
		if !v.inKernel(t, a) {
			t.Errorf("%s is not in the kernel's sets", a)
		}
		if replayed[a] != 1 {
			t.Errorf("replay of the same journal gives %d bans of %s", replayed[a], a)
		}
		b := sourceN(2000 + i)
		if bans[b.String()] != 0 || replayed[b] != 0 || v.inKernel(t, b) {
			t.Errorf("%s failed four times only: %d bans in the journal, %d in a replay, in kernel %v", b, bans[b.String()], replayed[b], v.inKernel(t, b))
		}
		if t.Failed() && i > 5 {
			t.Fatal("and so on")
		}
	}
}

// load runs the load generator as one of sshd's programs in ssh.service's cgroup.
func (v *victim) load(t *testing.T, args string) (string, error) {
	return v.Sh(t.Context(), `echo $$ >/sys/fs/cgroup/system.slice/ssh.service/cgroup.procs; exec `+loadPath+` `+args)
}

// sourceN is the load generator's n-th address.
func sourceN(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18 + byte(n>>16&1), byte(n >> 8), byte(n)})
}

// A wrong configuration is reported with file and line, causes no restart loop, and lets no attacker in.
func (v *victim) misconfigured(t *testing.T) {
	v.put(t, "99-wrong.yaml", "defaults:\n  ban_tiem: 10m\n")
	if out, err := v.Sh(t.Context(), `bailiff check 2>&1`); err == nil || !strings.Contains(out, "99-wrong.yaml:2") || !strings.Contains(out, "ban_tiem") {
		t.Errorf("bailiff check: %v\n%s", err, out)
	}
	if out, err := v.Sh(t.Context(), `systemctl reload bailiff.service 2>&1`); err == nil {
		t.Errorf("a reload into an error succeeds: %s", out)
	}
	if s := ask[control.Status](v, t, "status"); !strings.Contains(s.ConfigErr, "99-wrong.yaml:2") {
		t.Errorf("status does not tell of the refused reload: %q", s.ConfigErr)
	}
	if _, err := v.Run(t.Context(), "systemctl", "restart", "bailiff.service"); err == nil {
		t.Error("a start with a wrong configuration succeeds")
	}
	show := v.sh(t, `systemctl show -p ActiveState,SubState,ExecMainStatus,NRestarts bailiff.service | sort | tr '\n' ' '`)
	if show != "ActiveState=failed ExecMainStatus=6 NRestarts=0 SubState=failed " {
		t.Errorf("after a start with a wrong configuration: %s", show)
	}
	if !v.inKernel(t, attacker4) {
		t.Error("the bans are gone while the daemon is down")
	}
	v.sh(t, `rm /etc/bailiff/bailiff.d/99-wrong.yaml; systemctl reset-failed bailiff.service bailiff.socket; systemctl start bailiff.service`)
	v.active(t)
}

// sprayed: sixty addresses of as many networks guess one account's password four times each, with real ssh clients. All of
// them are banned in the end; the account's owner, who mistypes three times meanwhile, is not, since somebody logged in to
// the account from that address before.
func (v *victim) sprayed(t *testing.T) {
	const addresses = 60
	from := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(i), 77}) } // base 0 and up: not the load generator's
	if err := v.SSH(t.Context(), sprayedOwner, "bob", "correct-horse", 1); err != nil {
		t.Fatal(err)
	}
	since := v.now(t)
	try := func(i int) {
		if v.SSH(t.Context(), from(i), "bob", "letmein", 2) == nil {
			t.Errorf("%s was let in with a wrong password", from(i))
		}
	}
	// Once all of them have failed, the account is under attack, and the third attempt of each leads to a ban.
	for range 2 {
		v.inParallel(addresses, try)
	}
	v.fails(t, sprayedOwner, 3)
	v.settled(t)
	banned := map[string]bool{}
	for _, e := range v.entries(t, since, "_SYSTEMD_UNIT=bailiff.service") {
		if e["MESSAGE_ID"] == idBan {
			banned[e["BAILIFF_ADDRESS"]] = true
		}
	}
	for i := range addresses {
		if a := from(i); !v.inKernel(t, a) || !banned[a.String()] {
			t.Fatalf("%s (number %d of %d): in the kernel %v; %d bans in the journal; why: %+v", a, i, addresses, v.inKernel(t, a), len(banned), v.why(t, a))
		}
	}
	if v.inKernel(t, sprayedOwner) {
		t.Errorf("%s, from where bob logged in before, is out: %+v", sprayedOwner, v.why(t, sprayedOwner))
	}
}

// inParallel runs something for many numbers, forty at a time.
func (v *victim) inParallel(n int, try func(i int)) {
	next := make(chan int)
	var wg sync.WaitGroup
	for range 40 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range next {
				try(i)
			}
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// nftables replaces ipset, and back: no banned address gets in at any moment, and each backend removes what the other made.
func (v *victim) nftables(t *testing.T) {
	v.put(t, "20-firewall.yaml", "firewall: {backend: nftables}\n")
	v.sh(t, `systemctl reload bailiff.service`)
	shut := func(a netip.Addr) {
		t.Helper()
		if _, err := v.Dial(a, 22, 500*time.Millisecond); !timedOut(err) {
			t.Errorf("%s: %v; want a timeout", a, err)
		}
	}
	settled := func(backend, there, gone string) {
		t.Helper()
		eventually(t, func() error {
			s := ask[control.Status](v, t, "status")
			ours := v.sh(t, `nft list tables; ipset list -n`)
			if s.Firewall.Backend != backend || !s.Firewall.OK || !strings.Contains(ours, there) || strings.Contains(ours, gone) {
				return fmt.Errorf("want %s; status %+v, in the kernel:\n%s", backend, s.Firewall, ours)
			}
			shut(attacker4)
			shut(attacker6)
			return nil
		})
	}
	settled("nftables", "table inet bailiff", "bailiff4")
	v.fails(t, nftBanned, 5)
	eventually(t, func() error {
		_, err := v.Run(t.Context(), "nft", "get", "element", "inet", "bailiff", "v4-32", "{ "+nftBanned.String()+" }")
		return err
	})
	shut(nftBanned)
	v.sh(t, `nft flush ruleset`)
	settled("nftables", "table inet bailiff", "bailiff4")
	shut(nftBanned)
	v.sh(t, `rm /etc/bailiff/bailiff.d/20-firewall.yaml; systemctl reload bailiff.service`)
	settled("ipset", "bailiff4", "table inet bailiff")
	v.bansInKernel(t, nftBanned)
}

// After a reboot the kernel's sets are empty, then hold the same bans as before; nobody is banned again.
func (v *victim) reboot(t *testing.T) {
	before := v.prefixes(t)
	if before[attacker4.String()] == 0 && before[attacker4.String()+"/32"] == 0 {
		t.Fatalf("%s is not among the bans before the reboot: %v", attacker4, before)
	}
	if err := v.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.active(t)
	v.bansInKernel(t, attacker4)
	v.bansInKernel(t, attacker6)
	v.settled(t)
	after := v.prefixes(t)
	for p := range before {
		if after[p] == 0 {
			t.Errorf("the ban of %s is gone after the reboot", p)
		}
	}
	if err := v.keptOut(attacker4, 22); err != nil {
		t.Errorf("after the reboot: %v", err)
	}
	for _, e := range v.entries(t, "-b", "_SYSTEMD_UNIT=bailiff.service", "BAILIFF_ADDRESS="+attacker4.String()) {
		if e["MESSAGE_ID"] == idBan {
			t.Errorf("the reboot banned %s anew: %s", attacker4, e["MESSAGE"])
		}
	}
	if s := ask[control.Status](v, t, "status"); len(s.Problems) > 0 {
		t.Errorf("problems after the reboot: %q", s.Problems)
	}
}

// prefixes are the bans in force.
func (v *victim) prefixes(t *testing.T) map[string]int {
	t.Helper()
	m := map[string]int{}
	for _, b := range ask[[]control.Ban](v, t, "bans") {
		m[b.Prefix]++
	}
	return m
}

// folders: a systemd before 250 passes no folders of credentials, so bailiff-report needs the drop-in that its manual page gives.
func (v *victim) folders(t *testing.T) {
	if v.suite != "bullseye" {
		t.Skip("a newer systemd")
	}
	v.put(t, "50-report.yaml", "report: {destinations: {admin: {type: mail, to: root}}}\n")
	v.sh(t, `mkdir -p /etc/systemd/system/bailiff-report.service.d /etc/bailiff/credentials; echo secret >/etc/bailiff/credentials/admin
		printf '%s\n' '[Service]' LoadCredential= LoadCredential=bailiff_admin:/etc/bailiff/credentials/admin >/etc/systemd/system/bailiff-report.service.d/keys.conf
		systemctl daemon-reload; bailiff reload; systemctl start bailiff-report.service`)
	if out := v.sh(t, `systemctl is-active bailiff-report.service || journalctl -u bailiff-report.service -n 5; ls -R /run/credentials`); !strings.HasPrefix(out, "active\n") || !strings.Contains(out, "bailiff_admin") {
		t.Error(out)
	}
	v.sh(t, `systemctl stop bailiff-report.service; rm -r /etc/systemd/system/bailiff-report.service.d /etc/bailiff/bailiff.d/50-report.yaml /etc/bailiff/credentials/admin; systemctl daemon-reload; bailiff reload`)
}

// stays: stopping the daemon leaves the bans in force, so that an upgrade opens no gap.
func (v *victim) stays(t *testing.T) {
	v.sh(t, `systemctl stop bailiff.service`)
	if !v.inKernel(t, attacker4) {
		t.Error("the bans are gone after the daemon stopped")
	}
	if err := v.keptOut(attacker4, 22); err != nil {
		t.Errorf("after the daemon stopped: %v", err)
	}
	// Commands that only read do not start it again.
	for _, look := range []string{"status", "status --json", "bans", "why 192.0.2.1", "top"} {
		if out := v.sh(t, `bailiff `+look+` 2>&1 </dev/null || echo status $?; systemctl is-active bailiff.service || true`); !strings.HasSuffix(strings.TrimSpace(out), "status 3\ninactive") ||
			!strings.Contains(out, "systemctl start bailiff.service") {
			t.Errorf("bailiff %s after systemctl stop: %s", look, out)
		}
	}
	v.sh(t, `systemctl stop bailiff.socket`)
}
