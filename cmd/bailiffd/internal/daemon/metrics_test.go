package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/journal/audit"
	"bailiff/policy"
	"bailiff/policy/config"
	"bailiff/policy/state"
	"bailiff/units/control"
	"bailiff/units/metrics"
)

// scrape returns the daemon's samples by series.
func (b *bench) scrape() map[string]float64 {
	b.t.Helper()
	text, err := b.client.Metrics(context.Background(), false)
	if err != nil {
		b.t.Fatal(err)
	}
	return samples(b.t, text)
}

func samples(t testing.TB, text []byte) map[string]float64 {
	m := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if _, twice := m[line[:at]]; twice {
			t.Errorf("%s: twice", line[:at])
		}
		m[line[:at]] = v
	}
	return m
}

// TestMetrics: each metric reflects what happened.
func TestMetrics(t *testing.T) {
	b := newBench(t)
	b.configure("metrics: {patterns: true}\njails: {sshd: {}}\n")
	b.start()
	ctx := context.Background()
	b.fail("203.0.113.200", 5)
	b.awaitBan("203.0.113.200/32") // the daemon has caught up: latency is measured from the next ban on
	var before map[string]float64
	b.until("the firewall has that ban", func(context.Context) bool {
		before = b.scrape()
		return before["bailiff_firewall_missing_bans"] == 0
	})
	b.fail("203.0.113.7", 5)
	b.fail("2001:db8::7", 5)
	b.fail("198.51.100.9", 2)
	b.write(b.entry(nil, "Server listening on 0.0.0.0 port 22."))
	b.awaitBan("203.0.113.7/32")
	b.awaitBan("2001:db8::/64")
	b.did(b.client.Ban(ctx, control.BanRequest{Prefixes: []string{"192.0.2.7"}, Reason: "free \"text\""}))
	b.did(b.client.Unban(ctx, "2001:db8::7", "", false))
	b.configure("metrics: {patterns: perhaps}\n")
	if _, err := b.client.Reload(ctx); err == nil {
		t.Error("a wrong configuration is loaded")
	}
	want := map[string]float64{
		`bailiff_up`: 0,
		`bailiff_active_bans{jail="sshd",family="ipv4"}`:               1,
		`bailiff_active_bans{jail="sshd",family="ipv6"}`:               0,
		`bailiff_active_bans{jail="manual",family="ipv4"}`:             1,
		`bailiff_bans_total{jail="sshd",reason="failures"}`:            2,
		`bailiff_bans_total{jail="sshd",reason="network"}`:             0,
		`bailiff_bans_total{jail="manual",reason="manual"}`:            1,
		`bailiff_unbans_total{reason="manual"}`:                        1,
		`bailiff_unbans_total{reason="expired"}`:                       0,
		`bailiff_failures_total{jail="sshd"}`:                          12,
		`bailiff_pattern_failures_total{jail="sshd",pattern="failed"}`: 12,
		`bailiff_unmatched_entries_total{jail="sshd"}`:                 1,
		`bailiff_journal_entries_total`:                                13,
		`bailiff_ban_latency_seconds_count`:                            3,
		`bailiff_ban_latency_seconds_bucket{le="+Inf"}`:                3,
		`bailiff_firewall_ok`:                                          0,
		`bailiff_firewall_missing_bans`:                                0,
		`bailiff_firewall_errors_total`:                                0,
		`bailiff_problems{kind="configuration"}`:                       1,
		`bailiff_config_last_reload_successful`:                        -1,
		`bailiff_config_last_reload_success_timestamp_seconds`:         0,
		`bailiff_tracked_prefixes`:                                     1,
	}
	b.until("the metrics", func(context.Context) bool {
		now := b.scrape()
		for k, v := range want {
			if now[k]-before[k] != v {
				return false
			}
		}
		return true
	})
	now := b.scrape()
	for k, v := range want {
		if now[k]-before[k] != v {
			t.Errorf("%s: from %v to %v, want a difference of %v", k, before[k], now[k], v)
		}
	}
	if v := now["bailiff_ban_latency_seconds_sum"]; v <= 0 || v > 10 {
		t.Errorf("three bans took %v s", v)
	}
	if v := time.Since(time.UnixMicro(int64(now["bailiff_start_time_seconds"] * 1e6))); v < 0 || v > time.Minute {
		t.Errorf("started %s ago", v)
	}
	if now["bailiff_cpu_seconds_total"] <= 0 || now["bailiff_memory_bytes"] < 1<<20 {
		t.Errorf("processor time %v, memory %v", now["bailiff_cpu_seconds_total"], now["bailiff_memory_bytes"])
	}
	text, err := b.client.Metrics(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"203.0.113", "2001:db8", "192.0.2.7", "of-", "free"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the metrics name %q", secret)
		}
	}
	promtool(t, text)
}

// promtool has Prometheus' linter read the text format.
func promtool(t *testing.T, text []byte) {
	t.Helper()
	bin, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("promtool is not installed")
	}
	cmd := exec.Command(bin, "check", "metrics")
	cmd.Stdin = strings.NewReader(string(text))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// TestMetricsAfterRestart: bans that were missed while the daemon was down are counted, and do not spoil the latency.
func TestMetricsAfterRestart(t *testing.T) {
	b := newBench(t)
	b.start()
	b.told(audit.KindStart)
	b.stop()
	b.fail("203.0.113.7", 5)
	b.start()
	b.awaitBan("203.0.113.7/32")
	m := b.scrape()
	if m[`bailiff_bans_total{jail="sshd",reason="failures"}`] != 1 || m[`bailiff_ban_latency_seconds_count`] != 0 || m[`bailiff_firewall_missing_bans`] != 0 {
		t.Errorf("bans %v, measured %v, missing %v", m[`bailiff_bans_total{jail="sshd",reason="failures"}`], m[`bailiff_ban_latency_seconds_count`], m[`bailiff_firewall_missing_bans`])
	}
}

// TestLatencyOfTroubledFirewall: a ban that the firewall takes only with a later full set is measured until then.
func TestLatencyOfTroubledFirewall(t *testing.T) {
	be := newTroubled(t, "ipset")
	x := newWorkerTest(t, be)
	x.w.first(nil)
	x.next()
	put := func(s string) {
		x.full = append(x.full, testBan(s))
		x.w.put([]change{{ban: testBan(s), entry: x.w.now().UnixMicro()}})
	}
	put("192.0.2.1/32")
	x.next()
	if n := x.w.missing.Load(); n != 0 {
		t.Errorf("%d missing", n)
	}
	be.set(func() { be.add, be.reconcile = errors.New("no"), errors.New("no") })
	put("192.0.2.2/32")
	x.next() // the batch failed, and the full set is requested
	x.next() // that failed, too
	put("192.0.2.3/32")
	for x.w.missing.Load() != 2 {
		time.Sleep(time.Millisecond)
	}
	be.set(func() { be.add, be.reconcile = nil, nil })
	x.later(20 * time.Second)
	for e := x.next(); e.err != nil || e.change == nil; e = x.next() {
	}
	if n := x.w.missing.Load(); n != 0 {
		t.Errorf("%d missing after the full set", n)
	}
	var s metrics.Set
	s.AddHistogram(metrics.Latency, x.w.latency)
	m := samples(t, s.Encode(false))
	if m["bailiff_ban_latency_seconds_count"] != 3 || m[`bailiff_ban_latency_seconds_bucket{le="10"}`] != 1 || m[`bailiff_ban_latency_seconds_bucket{le="30"}`] != 3 {
		t.Errorf("%v", m)
	}
	if n := x.w.errors.Load(); n < 2 {
		t.Errorf("%d errors", n)
	}
}

// TestPatternsAreBounded: an administrator's filters may have more patterns than there are series.
func TestPatternsAreBounded(t *testing.T) {
	var c counters
	for i := range 3 * maxPatterns {
		c.patternFailures([]policy.Failure{{Jail: "j" + fmt.Sprint(i%3), Pattern: fmt.Sprint(i), Attempts: 2}})
	}
	sum := uint64(0)
	for _, n := range c.patterns {
		sum += n
	}
	if len(c.patterns) != maxPatterns+3 || sum != 6*maxPatterns || c.patterns[patternCount{"j1", "other"}] == 0 {
		t.Errorf("%d series, %d failures", len(c.patterns), sum)
	}
}

// BenchmarkScrape is what a scrape costs with 100,000 bans: what the owner of the state does, and the text.
func BenchmarkScrape(b *testing.B) {
	conf := config.Default()
	st := state.New()
	for i := range 100_000 {
		a := netip.AddrFrom4([4]byte{byte(60 + i>>16), byte(i >> 8), byte(i), 1})
		st.Add(state.Ban{Prefix: netip.PrefixFrom(a, 32), Jail: conf.Jails[i%len(conf.Jails)].Name, Since: int64(i + 1), Reason: state.Failures})
	}
	eng, err := policy.New(conf, st)
	if err != nil {
		b.Fatal(err)
	}
	d := &daemon{conf: conf, eng: eng, state: st, started: time.Now()}
	d.firewall.worker = newFirewallWorker(nil, nil, nil, make(chan firewallEvent))
	for b.Loop() {
		var s metrics.Set
		d.measureBans(&s)
		if len(s.Encode(true)) < 10_000 {
			b.Fatal("too little")
		}
	}
}
