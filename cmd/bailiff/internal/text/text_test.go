package text

import (
	"strings"
	"testing"
	"time"

	"bailiff/policy/diag"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                      "plain",
		"jürgen":                     "jürgen",
		"a\x1b[31mb":                 `a\x1b[31mb`,
		"two\nlines\r":               `two\x0alines\x0d`,
		"bad\xff":                    `bad\xff`,
		"c1 \u009b31m":               `c1 \xc2\x9b31m`,
		"turned \u202eround\u2066":   `turned \xe2\x80\xaeround\xe2\x81\xa6`,
		"\x7f":                       `\x7f`,
		"ro\u200bot\u00ad\ufeff":     `ro\xe2\x80\x8bot\xc2\xad\xef\xbb\xbf`,
		"fill\u3164\ufe0f\U000e0041": `fill\xe3\x85\xa4\xef\xb8\x8f\xf3\xa0\x81\x81`,
		"日本 🙂":                       "日本 🙂",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestRFC3339(t *testing.T) {
	for us, want := range map[int64]string{
		0: "1970-01-01T00:00:00.000000Z", -1: "1969-12-31T23:59:59.999999Z", 1_700_000_000_120_000: "2023-11-14T22:13:20.120000Z",
	} {
		if got := RFC3339(us); got != want {
			t.Errorf("%d: %s, want %s", us, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"1 prefix": diag.Count(1, "prefix"), "2 prefixes": diag.Count(2, "prefix"), "0 bans": diag.Count(0, "ban"), "2 entries": diag.Count(uint64(2), "entry"), "3 addresses": diag.Count(3, "address"),
		"2 test lines": diag.Count(2, "test line"), "2 days": diag.Count(2, "day"), "once": Times(1), "twice": Times(2), "3 times": Times(uint64(3)),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for in, want := range map[string]string{
		"0s": "0s", "1500ms": "2s", "59s": "59s", "90s": "90s", "10m": "10m", "9m59s": "9m59s", "59m59.9s": "1h", "1h29m50s": "1h30m", "23h59m59s": "1d", "36h": "1d12h", "48h": "2d",
		"47h59m58s": "2d", "167h59m": "7d", "168h": "7d", "8760h": "365d", "-5s": "0s",
	} {
		d, err := time.ParseDuration(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := Duration(d); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestBytes(t *testing.T) {
	for want, n := range map[string]uint64{"0 bytes": 0, "1 byte": 1, "1023 bytes": 1023, "1.5 KiB": 1536, "12.0 MiB": 12 << 20, "1.0 TiB": 1 << 40} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// TestParseTime reads the words of journalctl(1).
func TestParseTime(t *testing.T) {
	now := time.Date(2026, 11, 28, 13, 30, 15, 0, time.UTC)
	for in, want := range map[string]string{
		"now": "2026-11-28 13:30:15", "today": "2026-11-28 00:00:00", "yesterday": "2026-11-27 00:00:00", "tomorrow": "2026-11-29 00:00:00",
		"1 hour ago": "2026-11-28 12:30:15", "-2h": "2026-11-28 11:30:15", "2d": "2026-11-26 13:30:15", "1h 30min ago": "2026-11-28 12:00:15", "-1week": "2026-11-21 13:30:15", "+5m": "2026-11-28 13:35:15",
		"13:00": "2026-11-28 13:00:00", "13:00:59": "2026-11-28 13:00:59", "2026-11-28 13:00": "2026-11-28 13:00:00", "2026-11-28 13:00:01": "2026-11-28 13:00:01", "2026-11-22": "2026-11-22 00:00:00",
		"2026-11-22T19:17:00Z": "2026-11-22 19:17:00", "2026-11-22T19:17:00+01:00": "2026-11-22 18:17:00", "@1795375020": "2026-11-22 19:17:00", " today ": "2026-11-28 00:00:00",
	} {
		got, err := ParseTime(in, now)
		if err != nil || got.UTC().Format("2006-01-02 15:04:05") != want {
			t.Errorf("%q: %v, %v; want %s", in, got, err, want)
		}
	}
	if got, err := ParseTime("", now); err != nil || !got.IsZero() {
		t.Errorf("nothing: %v, %v", got, err)
	}
	for _, in := range []string{"yesteryear", "2 fortnights ago", "-", "ago", "25:00", "2026-13-01", "@x", "@-1", "@NaN", "5", "99999999999y"} {
		if got, err := ParseTime(in, now); err == nil || !strings.HasPrefix(in, "@") && !strings.Contains(err.Error(), `"1 hour ago"`) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		n, most uint64
		plain   bool
		want    string
	}{
		{0, 9, false, ""}, {9, 9, false, "████"}, {1, 1000, false, "▏"}, {1, 2, false, "██"}, {9, 16, false, "██▎"}, {9, 9, true, "####"}, {1, 1000, true, "#"}, {1, 0, true, ""},
	} {
		if got := Bar(c.n, c.most, 4, c.plain); got != c.want {
			t.Errorf("%d of %d: %q, want %q", c.n, c.most, got, c.want)
		}
	}
}
