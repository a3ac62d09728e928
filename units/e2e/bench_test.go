package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/units/e2e/host"
)

// latency prints the time from an attacker's last line in the journal until the address is in the kernel's set, under a slow and a fast
// attack, beside the time that inotify alone takes in the same run.
func (v *victim) latency(t *testing.T) {
	sets := strings.Join(strings.Fields(v.sh(t, `ipset list -n | grep '^bailiff4'`)), ",")
	for i, rate := range []int{20, 2000} {
		v.measured(t, "bailiff", fmt.Sprintf("-trials 200 -failures 5 -rate %d -base %d -set %s", rate, 10000+i*40000, sets))
	}
}

// TestPeer measures fail2ban in the same way on a host of its own.
func TestPeer(t *testing.T) {
	if os.Getenv("BAILIFF_BENCH") == "" {
		t.Skip("a comparison with fail2ban: run `make bench`, or set BAILIFF_BENCH and BAILIFF_E2E")
	}
	suites, err := host.Wanted()
	if err != nil {
		t.Fatal(err)
	}
	v := boot(t, suites[0], "", buildLoad(t), "fail2ban", "python3-systemd", "iptables")
	if err := v.WriteFile("/etc/fail2ban/jail.local", []byte(`[DEFAULT]
backend = systemd
banaction = iptables-ipset[type=allports]
maxretry = 5
bantime = 1d
[sshd]
enabled = true
journalmatch = _SYSTEMD_UNIT=ssh.service + _COMM=sshd
`), 0o644); err != nil {
		t.Fatal(err)
	}
	v.sh(t, `systemctl restart fail2ban.service`)
	eventually(t, func() error {
		_, err := v.Run(t.Context(), "fail2ban-client", "status", "sshd")
		return err
	})
	v.measured(t, "fail2ban", "-trials 30 -failures 5 -rate 20 -base 10000 -set f2b-sshd")
}

// measured runs the load generator and prints what it found.
func (v *victim) measured(t *testing.T, who, args string) {
	t.Helper()
	out, err := v.load(t, args)
	if err != nil {
		t.Fatalf("load: %v %s", err, out)
	}
	var r struct {
		Lines, Missed int
		Rate, First   float64
		Ban, Inotify  []float64
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("load: %v in %.200q", err, out)
	}
	if len(r.Ban) == 0 || len(r.Inotify) == 0 {
		t.Fatalf("nothing was measured: %.200q", out)
	}
	b50, b99, i50, i99 := quantile(r.Ban, 50), quantile(r.Ban, 99), quantile(r.Inotify, 50), quantile(r.Inotify, 99)
	t.Logf("%s on %s, %.0f lines a second, %d bans (%d missed): last line written → address in the kernel: median %.1f ms, p99 %.1f ms, "+
		"worst %.1f ms (%.1f ms for the first, which ended the quiet); inotify alone: median %.1f ms, p99 %.1f ms: ratio %.1f and %.1f",
		who, v.suite, r.Rate, len(r.Ban), r.Missed, b50, b99, r.Ban[len(r.Ban)-1], r.First, i50, i99, i50/b50, i99/b99)
}

// crowd prints what 100,000 attackers at once cost: the time until all are banned, the memory, and the time to restore the bans at a
// restart after the kernel has lost them.
func (v *victim) crowd(t *testing.T) {
	const addresses, failures = 100_000, 5
	begin := time.Now()
	out, err := v.load(t, fmt.Sprintf("-lines %d -addresses %d", addresses*failures, addresses))
	if err != nil {
		t.Fatalf("load: %v %s", err, out)
	}
	wrote := time.Since(begin)
	held := func() error {
		n := 0
		for f := range strings.FieldsSeq(v.sh(t, `for s in $(ipset list -n | grep '^bailiff4'); do ipset list -t "$s"; done | sed -n 's/^Number of entries: //p'`)) {
			i, _ := strconv.Atoi(f)
			n += i
		}
		if n < addresses {
			return fmt.Errorf("%d of %d addresses are in the kernel's sets", n, addresses)
		}
		return nil
	}
	eventually(t, held)
	all := time.Since(begin)
	memory := func() int {
		return number(t, v.Path("/proc/"+strings.TrimSpace(v.sh(t, `systemctl show -P MainPID bailiff.service`))+"/status"), "RssAnon:")
	}
	t.Logf("%s: %d lines of %d addresses written in %.1f s, all banned %.1f s later; RssAnon %d KiB", v.suite, addresses*failures, addresses,
		wrote.Seconds(), (all - wrote).Seconds(), memory())
	told := 0
	eventually(t, func() error {
		n, _ := strconv.Atoi(strings.TrimSpace(v.sh(t, `journalctl -q -o cat --output-fields=PRIORITY MESSAGE_ID=`+idBan+` | wc -l`)))
		if n != told {
			told = n
			time.Sleep(time.Second)
			return fmt.Errorf("%d bans are in the journal, and still more come", n)
		}
		return nil
	})
	time.Sleep(20 * time.Second)
	t.Logf("%s: %d bans told in the journal; at rest RssAnon %d KiB", v.suite, told, memory())
	v.sh(t, `systemctl stop bailiff.service; nft flush ruleset; for s in $(ipset list -n | grep '^bailiff'); do ipset flush "$s"; done`)
	begin = time.Now()
	v.sh(t, `systemctl start --no-block bailiff.service`)
	eventually(t, held)
	again := time.Since(begin)
	v.active(t)
	t.Logf("%s: started anew with %d bans, all in the kernel after %.2f s; RssAnon %d KiB", v.suite, addresses, again.Seconds(), memory())
}

// quantile by nearest rank: the smallest value that is not exceeded by the given percentage of all values.
func quantile(sorted []float64, percent int) float64 {
	return sorted[max((len(sorted)*percent+99)/100-1, 0)]
}

// idle prints what the daemon costs while nothing happens.
func (v *victim) idle(t *testing.T) {
	const window = 30 * time.Second
	pid := strings.TrimSpace(v.sh(t, `systemctl show -P MainPID bailiff.service`))
	proc := v.Path("/proc/" + pid)
	time.Sleep(35 * time.Second) // the reader stays attentive for a while after the last entry, and memory is given back once it is calm
	switches, written := switched(t, proc), number(t, filepath.Join(proc, "io"), "wchar:")
	cpu := ticks(t, proc)
	time.Sleep(window)
	s := switched(t, proc) - switches
	t.Logf("%s: idle for %s: %.2f wake-ups a second, %d bytes written, %d ms of CPU, RssAnon %d KiB", v.suite, window,
		float64(s)/window.Seconds(), number(t, filepath.Join(proc, "io"), "wchar:")-written, (ticks(t, proc)-cpu)*10,
		number(t, filepath.Join(proc, "status"), "RssAnon:"))
}

// switched sums how often the threads of a process went to sleep, which is as often as they woke.
func switched(t *testing.T, proc string) (sum int) {
	t.Helper()
	tasks, _ := filepath.Glob(proc + "/task/*/status")
	if len(tasks) == 0 {
		t.Fatalf("%s: no threads", proc)
	}
	for _, f := range tasks {
		sum += number(t, f, "voluntary_ctxt_switches:")
	}
	return sum
}

// ticks is the CPU time of a process in hundredths of a second (USER_HZ): utime and stime, fields 14 and 15 of proc(5).
func ticks(t *testing.T, proc string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	u, _ := strconv.Atoi(f[11])
	s, _ := strconv.Atoi(f[12])
	return u + s
}

// number reads the figure behind a name in one of proc's files.
func number(t *testing.T, file, name string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			return n
		}
	}
	t.Fatalf("%s: no %s", file, name)
	return 0
}
