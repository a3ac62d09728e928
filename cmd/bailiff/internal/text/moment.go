package text

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ParseTime reads a moment as journalctl(1) takes it in --since and --until; see systemd.time(7). "" is the zero time.
//
//	now, today, yesterday, tomorrow
//	2026-11-22, 2026-11-22 19:17, 2026-11-22 19:17:00, RFC 3339
//	19:17, 19:17:00 (today)
//	@1795375020 (seconds since 1970)
//	2d, -2d, 1 hour ago, -1h 30min (before now), +5m (after now)
func ParseTime(s string, now time.Time) (time.Time, error) {
	s = strings.TrimSpace(s)
	midnight := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	switch s {
	case "":
		return time.Time{}, nil
	case "now":
		return now, nil
	case "today":
		return midnight, nil
	case "yesterday":
		return midnight.AddDate(0, 0, -1), nil
	case "tomorrow":
		return midnight.AddDate(0, 0, 1), nil
	}
	if seconds, ok := strings.CutPrefix(s, "@"); ok {
		n, err := strconv.ParseFloat(seconds, 64)
		if err != nil || !(n >= 0 && n < 1e12) {
			return time.Time{}, fmt.Errorf("%q is not a number of seconds since 1970", s)
		}
		return time.UnixMicro(int64(n * 1e6)), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil && t.Unix() >= 0 {
			return t, nil
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			return time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location()), nil
		}
	}
	span, after := strings.CutPrefix(s, "+")
	if !after {
		span = strings.TrimSuffix(strings.TrimPrefix(s, "-"), " ago")
	}
	if d, ok := parseSpan(span); ok {
		if !after {
			d = -d
		}
		return now.Add(d), nil
	}
	return time.Time{}, fmt.Errorf(`%q is not a time; write now, today, yesterday, "1 hour ago", -2h, 13:00, 2026-11-22, "2026-11-22 19:17", RFC 3339 or @SECONDS`, s)
}

// spanUnits are the words for units in systemd.time(7). A month has 30.44 days there, a year 365.25.
var spanUnits = map[string]time.Duration{}

func init() {
	for words, span := range map[string]time.Duration{
		"ms msec": time.Millisecond, "s sec second seconds": time.Second, "m min minute minutes": time.Minute, "h hr hour hours": time.Hour,
		"d day days": 24 * time.Hour, "w week weeks": 7 * 24 * time.Hour, "M month months": 2629800 * time.Second, "y year years": 31557600 * time.Second,
	} {
		for _, word := range strings.Fields(words) {
			spanUnits[word] = span
		}
	}
}

var spanPart = regexp.MustCompile(`^\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)`)

// parseSpan reads a span of time: "2d", "1 hour", "1h 30min".
func parseSpan(s string) (sum time.Duration, ok bool) {
	for s = strings.TrimSpace(s); s != ""; ok = true {
		m := spanPart.FindStringSubmatch(s)
		if m == nil || spanUnits[m[2]] == 0 {
			return 0, false
		}
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil || n*float64(spanUnits[m[2]])+float64(sum) > 1<<62 {
			return 0, false
		}
		sum += time.Duration(n * float64(spanUnits[m[2]]))
		s = s[len(m[0]):]
	}
	return sum, ok
}
