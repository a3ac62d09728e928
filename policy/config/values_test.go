package config

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/policy/diag"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for s, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "10m": 10 * time.Minute, "48h": 2 * day, "2d": 2 * day, "4w": 28 * day,
		"1h30m": 90 * time.Minute, "1h 30m": 90 * time.Minute, " 1 h 30 m ": 90 * time.Minute, "1w2d3h4m5s": 9*day + 3*time.Hour + 4*time.Minute + 5*time.Second,
		"0h5m": 5 * time.Minute, "007m": 7 * time.Minute, "36500d": 36500 * day, "3153600000s": 36500 * day, "forever": Forever, " forever ": Forever,
	} {
		if d, err := ParseDuration(s); err != nil || d != want {
			t.Errorf("%q: %v, %v; want %v", s, d, err, want)
		}
	}
	for _, s := range []string{
		"", " ", "0", "600", "-1", "-10m", "+10m", "10", "m", "10x", "1.5h", "1,5h", "10ms", "10us", "1h1h", "1m1h", "36501d", "3153600001s", "36500d 1s",
		"9223372036854775807s", "99999999999999999999999999999999s", "Forever", "forever and a day", "1h forever", "٣h", "1h\x00", "1h-", "0s", "0h0m", "1e3s", "0x10s", "1h,30m",
	} {
		if d, err := ParseDuration(s); err == nil || d != 0 {
			t.Errorf("%q was taken as %v", s, d)
		} else if e := diag.Errors(err)[0]; e.Hint == "" || !strings.HasPrefix(err.Error(), `"`) {
			t.Errorf("%q: error %v without a hint or the value", s, err)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Millisecond: "0s", time.Second: "1s", 59 * time.Second: "59s", 61 * time.Second: "61s", 3661 * time.Second: "1h1m1s", time.Minute: "1m",
		90 * time.Minute: "90m", time.Hour: "1h", 36 * time.Hour: "36h", 48 * time.Hour: "2d", 7 * 24 * time.Hour: "1w", 30 * 24 * time.Hour: "30d",
		366 * 24 * time.Hour: "366d", 1500 * time.Millisecond: "1s", -time.Hour: "-1h", Forever: "forever", math.MinInt64: "-106751d23h47m16s",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%d: %q, want %q", d, got, want)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"1h30m", "forever", "600", "1w2d3h4m5s", "-1", "1.5h", "99999999999w", "10 minutes"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			if d != 0 || len(err.Error()) > 1000 {
				t.Fatalf("%q: %v, %v", s, d, err)
			}
			return
		}
		if d != Forever && (d < time.Second || d > longest || d%time.Second != 0) {
			t.Fatalf("%q gives %v", s, d)
		}
		if again, err := ParseDuration(FormatDuration(d)); err != nil || again != d {
			t.Fatalf("%q gives %v, written %q, read again %v, %v", s, d, FormatDuration(d), again, err)
		}
	})
}

func TestPorts(t *testing.T) {
	for text, want := range map[string]string{
		"ssh": "22", `"25,587"`: "25 587", "[ssh, 2222]": "22 2222", "udp/53": "udp/53", "tcp/22": "22", "domain": "53 udp/53", "udp/domain": "udp/53",
		"[25, 26, 27, 30-40, 35-50, 51]": "25-27 30-51", "https": "443 udp/443", "[smtps, submissions]": "465", "1-65535": "1-65535", "all": "", `["25, 587", "993"]`: "25 587 993",
		"[65535, 65534]": "65534-65535",
	} {
		c, err := Parse("x", []byte("jails: {a: {filter: sshd, ports: "+text+"}}"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got []string
		for _, p := range jailNamed(t, c, "a").Ports {
			got = append(got, p.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v; want %s", text, got, want)
		}
	}
	for name, ports := range services {
		if !isWord(name, lower+digits+"-") || len(ports) == 0 {
			t.Errorf("service %q has the ports %v", name, ports)
		}
	}
}

func TestJailNames(t *testing.T) {
	for _, s := range []string{"sshd", "a", "9", "postfix-sasl", strings.Repeat("a", 32)} {
		if err := checkName(s); err != nil {
			t.Errorf("%q is refused: %v", s, err)
		}
	}
	for _, s := range []string{"", "-", "-a", "A", "a_b", "a.b", "a b", "ä", "a\n", "../x", strings.Repeat("a", 33), "manual"} {
		if checkName(s) == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

// FuzzLoad reads arbitrary files: it never panics, every error names its file, and an accepted file can be written and read again.
func FuzzLoad(f *testing.F) {
	f.Add([]byte("defaults: {find_time: 10m, max_retry: 5, ban_time: 48h, prefix: {ipv4: 32, ipv6: 64}}\njails: {sshd: {mode: normal, ports: [ssh]}}\n"))
	f.Add([]byte("allow: {self: true, addresses: [192.0.2.0/24, ::1 until 2030-01-01], files: [/a/*.list]}\n"))
	f.Add([]byte("firewall: {backend: auto, block: drop, keep_on_stop: true}\nlimits: {max_tracked: 1000, max_evidence: 1}\n"))
	f.Add([]byte("escalate: {factor: 1e2, max: forever, forget: 30d}\njails:\n  'null': {filter: sshd}\n"))
	f.Add([]byte("jails: [\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("fuzz", data)
		if err != nil {
			for _, e := range diag.Errors(err) {
				if e.File == "" || e.Text == "" {
					t.Fatalf("error %+v", e)
				}
			}
			return
		}
		out := c.Render()
		d, err := Parse("fuzz", out)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		same(t, c, d, out)
		if !slices.IsSortedFunc(c.Jails, func(a, b Jail) int { return strings.Compare(a.Name, b.Name) }) {
			t.Fatal("jails are not sorted")
		}
	})
}
