package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/units/e2e/host"
)

const prometheusAt = "127.0.0.1:9091"

// prometheusConfig scrapes the status page's socket, which passes the metrics on.
const prometheusConfig = `
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [bailiff.rules.yml]
scrape_configs:
  - job_name: bailiff
    static_configs: [{targets: ["127.0.0.1:8737"]}]
`

// monitored: a real Prometheus scrapes the host while it is attacked, and each metric moves as the attack says.
func (v *victim) monitored(t *testing.T) {
	for _, name := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skipf("%s is not installed: %v", name, err)
		}
	}
	v.sh(t, `systemctl start bailiff-web.socket`)
	v.prometheus(t)
	v.value(t, `up{job="bailiff"} == 1`) // waits for the first scrape
	four, six := sourceN(900), netip.MustParseAddr("2001:db8:9::9")
	deltas := map[string]float64{
		`sum(bailiff_failures_total{jail="sshd"})`:                      10,
		`bailiff_bans_total{jail="sshd",reason="failures"}`:             2,
		`bailiff_active_bans{jail="sshd",family="ipv4"}`:                1,
		`bailiff_active_bans{jail="sshd",family="ipv6"}`:                1,
		`bailiff_ban_latency_seconds_count`:                             2,
		`bailiff_ban_latency_seconds_bucket{le="10.0"}`:                 2,
		`bailiff_reports_total{destination="admin",result="delivered"}`: 2,
		`sum(bailiff_reports_total{result="dropped"})`:                  2, // abuseipdb and blocklist.de are told no private address
		`sum(bailiff_report_queue)`:                                     0,
		`bailiff_firewall_ok`:                                           0,
		`bailiff_config_last_reload_successful`:                         0,
	}
	rising := []string{
		`sum(bailiff_firewall_dropped_packets_total)`, `sum(bailiff_firewall_dropped_bytes_total)`, `bailiff_journal_entries_total`,
		`bailiff_cpu_seconds_total`, `bailiff_ban_latency_seconds_sum`, `bailiff_unmatched_entries_total{jail="sshd"}`,
	}
	before := map[string]float64{}
	for q := range deltas {
		before[q] = v.value(t, q)
	}
	for _, q := range rising {
		before[q] = v.value(t, q)
	}
	for _, a := range []netip.Addr{four, six} {
		v.failsAs(t, "mallory", a, 5) // no other check attacks this account, or a ban would come sooner
		v.bansInKernel(t, a)
		if err := v.keptOut(a, 22); err != nil {
			t.Error(err)
		}
	}
	eventually(t, func() error {
		for q, want := range deltas {
			if now := v.value(t, q); now-before[q] != want {
				return fmt.Errorf("%s: from %v to %v, want a difference of %v", q, before[q], now, want)
			}
		}
		for _, q := range rising {
			if now := v.value(t, q); now <= before[q] {
				return fmt.Errorf("%s stays at %v", q, now)
			}
		}
		return nil
	})
	if slow := v.value(t, `histogram_quantile(0.5, bailiff_ban_latency_seconds_bucket)`); slow > 5 {
		t.Errorf("half of the bans took more than %v s", slow)
	}
	v.otherMetrics(t, four)
	v.observedBan(t)
	v.dashboard(t)
	v.rulesWork(t)
	v.lintMetrics(t)
	v.textfile(t)
	v.exposed(t, "bailiff-metrics.service", 0.6)

	// Without the daemon the scrape fails, and the alert is on its way.
	v.sh(t, `systemctl stop bailiff.service`)
	v.value(t, `up{job="bailiff"} == 0`)
	eventually(t, func() error {
		if out := v.sh(t, `curl -sS --max-time 60 http://`+prometheusAt+`/api/v1/alerts`); !strings.Contains(out, `"alertname":"BailiffDown"`) {
			return fmt.Errorf("alerts: %s", out)
		}
		return nil
	})
	if out := v.sh(t, `systemctl start bailiff-metrics.service; cat /var/lib/prometheus/node-exporter/bailiff.prom`); !strings.HasSuffix(out, "\nbailiff_up 0\n") {
		t.Errorf("the textfile of a stopped daemon:\n%s", out)
	}
	v.sh(t, `systemctl stop bailiff-metrics.timer; systemctl start bailiff.service`)
	v.active(t)
}

// prometheus runs Prometheus in the host's network until the test ends.
func (v *victim) prometheus(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	rules, err := os.ReadFile("../monitoring/bailiff.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"prometheus.yml": prometheusConfig, "bailiff.rules.yml": string(rules)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var said strings.Builder
	ctx, cancel := context.WithCancel(context.Background())
	// Among the host's processes, it ends with the host, however the test does. (Pdeathsig would end it with a thread of this test.)
	cmd := exec.CommandContext(ctx, "nsenter", fmt.Sprintf("--target=%d", v.Leader()), "--net", "--pid", "--", "prometheus",
		"--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+prometheusAt)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus:\n%s", said.String())
		}
	})
	eventually(t, func() error {
		_, err := v.Sh(t.Context(), `curl -fsS --max-time 5 http://`+prometheusAt+`/-/ready`)
		return err
	})
}

// value waits until a query has a result, and returns it.
func (v *victim) value(t testing.TB, query string) (x float64) {
	t.Helper()
	eventually(t, func() (err error) {
		x, err = v.sample(t, query)
		return err
	})
	return x
}

// sample is the result of a query that has one.
func (v *victim) sample(t testing.TB, query string) (float64, error) {
	t.Helper()
	a, err := ofPrometheus[struct{ Result []struct{ Value [2]any } }](v, t, "query?query="+url.QueryEscape(query))
	if err != nil || len(a.Result) != 1 {
		return 0, fmt.Errorf("%s: %v, %v", query, err, a)
	}
	text, _ := a.Result[0].Value[1].(string)
	return strconv.ParseFloat(text, 64)
}

// ofPrometheus asks Prometheus' API.
func ofPrometheus[T any](v *victim, t testing.TB, call string) (data T, err error) {
	t.Helper()
	out, err := v.Run(t.Context(), "curl", "-sS", "--max-time", "30", "http://"+prometheusAt+"/api/v1/"+call)
	if err != nil {
		return data, err
	}
	var answer struct {
		Status, Error string
		Data          T
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.Status != "success" {
		return data, fmt.Errorf("%s: %v, %s", call, err, out)
	}
	return answer.Data, nil
}

// otherMetrics: what is not an attack moves its metric, too. banned is an address that is banned.
func (v *victim) otherMetrics(t *testing.T, banned netip.Addr) {
	t.Helper()
	friend, some := sourceN(930), sourceN(931)
	for _, c := range []struct {
		query string
		move  func()
	}{
		{`sum(bailiff_unbans_total)`, func() { v.sh(t, `bailiff unban `+banned.String()) }},
		{`sum(bailiff_refused_entries_total{jail="sshd"})`, func() {
			// In sshd's unit, but another program, which stays until journald has looked at it.
			v.sh(t, `echo $$ >/sys/fs/cgroup/system.slice/ssh.service/cgroup.procs; dir=$(mktemp -d); mkfifo $dir/in; logger -t sshd <$dir/in & exec 3>$dir/in
				echo 'Failed password for root from 198.18.3.200 port 22 ssh2' >&3
				until test "$(journalctl -q _COMM=logger _PID=$! | wc -l)" -ge 1; do sleep 0.05; done; exec 3>&-; wait`)
		}},
		{`bailiff_allowed_failures_total`, func() { v.sh(t, `bailiff allow --for 1h `+friend.String()); v.fails(t, friend, 1) }},
		{`bailiff_tracked_prefixes`, func() { v.fails(t, some, 1) }},
		{`bailiff_firewall_repairs_total`, func() { v.sh(t, `nft delete table ip bailiff`) }},
	} {
		before := v.value(t, c.query)
		c.move()
		eventually(t, func() error {
			if now := v.value(t, c.query); now <= before {
				return fmt.Errorf("%s stays at %v", c.query, now)
			}
			return nil
		})
	}
	v.sh(t, `bailiff allow remove `+friend.String())
}

// observedBan makes a ban of a jail that only observes, which the dashboard shows, too.
func (v *victim) observedBan(t *testing.T) {
	t.Helper()
	const count = `sum(bailiff_observed_bans_total)`
	v.put(t, "56-observe.yaml", "jails: {dovecot: {observe: true}, postfix: {observe: true}}\n")
	v.sh(t, `bailiff check && systemctl reload bailiff.service`)
	tries, from := 0, sourceN(920)
	eventually(t, func() error {
		if tries++; tries <= 10 && curlAUTH(v, t, from, host.Victim4) == nil {
			t.Fatal("a wrong password is taken")
		}
		if n, err := v.sample(t, count); err != nil || n == 0 {
			return fmt.Errorf("%s: %v, %v", count, n, err)
		}
		return nil
	})
	// Failures seen while the jails only observed count later, too: for half a minute, Dovecot's last attempt would lead to a ban.
	v.sh(t, `bailiff allow --for 1h `+from.String()+`; rm /etc/bailiff/bailiff.d/56-observe.yaml; systemctl reload bailiff.service`)
}

// dashboard runs each query of the dashboard, as Grafana does: every panel has something to show of this attack.
func (v *victim) dashboard(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile("../monitoring/bailiff-dashboard.json")
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct {
				Expr    string
				Instant bool
			}
		}
	}
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	if err != nil || len(d.Panels) == 0 {
		t.Fatalf("%d panels, %v", len(d.Panels), err)
	}
	hosts, err := ofPrometheus[[]string](v, t, "label/instance/values?match[]=bailiff_build_info")
	if err != nil || len(hosts) != 1 {
		t.Fatalf("%q, %v", hosts, err)
	}
	fill := strings.NewReplacer("$__rate_interval", "1m", "$instance", hosts[0])
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			expr := fill.Replace(q.Expr)
			eventually(t, func() error {
				now := time.Now().Unix()
				call := fmt.Sprintf("query_range?step=5&start=%d&end=%d&query=%s", now-600, now, url.QueryEscape(expr))
				if q.Instant {
					call = "query?query=" + url.QueryEscape(expr)
				}
				a, err := ofPrometheus[struct {
					Result []struct {
						Metric map[string]string
						Values [][2]any
						Value  [2]any
					}
				}](v, t, call)
				if err != nil {
					return err
				}
				for _, r := range a.Result {
					for _, x := range append(r.Values, r.Value) {
						if s, ok := x[1].(string); ok && s != "NaN" {
							return nil
						}
					}
				}
				return fmt.Errorf("%s shows nothing: %s", p.Title, expr)
			})
		}
	}
}

// rulesWork: Prometheus evaluates each alert rule without an error.
func (v *victim) rulesWork(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		a, err := ofPrometheus[struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}](v, t, "rules")
		n := 0
		for _, g := range a.Groups {
			for _, r := range g.Rules {
				if n++; r.Health != "ok" {
					return fmt.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
				}
			}
		}
		if err == nil && n < 15 {
			err = fmt.Errorf("%d rules", n)
		}
		return err
	})
}

// lintMetrics has promtool look at what the command prints on a host that has seen something.
func (v *victim) lintMetrics(t *testing.T) {
	t.Helper()
	text := v.sh(t, `bailiff metrics`)
	for _, want := range []string{"bailiff_firewall_dropped_packets_total{set=", `bailiff_report_queue{destination="admin"}`, "bailiff_ban_latency_seconds_bucket{le="} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, "198.18.") || strings.Contains(text, "2001:db8") || strings.Contains(text, "mallory") {
		t.Errorf("an address or an account is told:\n%s", text)
	}
	cmd := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// textfile enables the timer for node_exporter, where its folder and user are as Debian's package has them.
func (v *victim) textfile(t *testing.T) {
	t.Helper()
	v.sh(t, `id -u prometheus >/dev/null 2>&1 || useradd -r prometheus
		install -d -o prometheus -g prometheus /var/lib/prometheus/node-exporter
		systemctl start bailiff-metrics.timer`)
	eventually(t, func() error {
		out, err := v.Sh(t.Context(), `cat /var/lib/prometheus/node-exporter/bailiff.prom; stat -c '%U %a' /var/lib/prometheus/node-exporter/bailiff.prom; ls /var/lib/prometheus/node-exporter`)
		if err != nil || !strings.Contains(out, "\nbailiff_up 1\n") || !strings.Contains(out, "bailiff_report_queue{") || !strings.HasSuffix(out, "\nprometheus 644\nbailiff.prom\n") {
			return fmt.Errorf("%v, %s", err, out)
		}
		return nil
	})
}
