package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/policy/diag"
)

// unit is a unit of durations. There are no months or years, since their length varies.
type unit struct {
	name string
	span time.Duration
}

var units = []unit{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}

// durationPart is a number and its unit, each with trailing blanks.
var durationPart = regexp.MustCompile(`^([0-9]+) *([a-zA-Z]+) *`)

// longest is the longest duration that is not Forever. What is longer is a mistake, or means forever.
const longest = 100 * 365 * 24 * time.Hour

// usualDurations is the hint for text that is not a duration.
const usualDurations = "write 10m, 2h, 7d or forever"

// longUnits are words that people write for units, for the hint.
var longUnits = map[string]string{
	"sec": "s", "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
	"hr": "h", "hrs": "h", "hour": "h", "hours": "h", "day": "d", "days": "d", "week": "w", "weeks": "w", "W": "w", "D": "d", "H": "h", "S": "s",
}

// ParseDuration reads a duration as people write it: 30s, 10m, 48h, 2d, 4w, 1h30m, "1h 30m", forever. Units go from
// large to small, each once. It is never zero. A number alone is an error: 600 may mean seconds, and 48 hours. The error is
// a *diag.Error without a place.
func ParseDuration(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err != nil {
		return 0, err
	}
	return d, nil
}

func parseDuration(s string) (time.Duration, *diag.Error) {
	fail := func(format string, args ...any) *diag.Error {
		return diag.Errorf("%q %s", diag.Clip(s), fmt.Sprintf(format, args...))
	}
	rest := strings.TrimSpace(s)
	switch {
	case rest == "forever":
		return Forever, nil
	case rest == "":
		return 0, fail("is not a duration").WithHint(usualDurations)
	case rest == "-1":
		return 0, fail("is not a duration").WithHint("write forever for a ban without end")
	case rest[0] == '-':
		return 0, fail("is negative").WithHint(usualDurations)
	case strings.Trim(rest, digits) == "":
		if strings.Trim(rest, "0") == "" {
			return 0, fail("is zero").WithHint(usualDurations)
		}
		return 0, fail("has no unit").WithHint("write %ss for seconds; others are m, h, d and w", diag.Clip(rest))
	}
	var sum time.Duration
	next := 0 // units before this one may not follow
	for rest != "" {
		part := durationPart.FindStringSubmatch(rest)
		if part == nil {
			if strings.HasPrefix(strings.TrimLeft(rest, digits), ".") {
				return 0, fail("is not a duration: it has a fraction").WithHint("write 1h30m for 1.5h")
			}
			return 0, fail("is not a duration").WithHint(usualDurations)
		}
		word := part[2]
		u := slices.IndexFunc(units, func(u unit) bool { return u.name == word })
		switch {
		case u < 0:
			e := fail("is not a duration: unit %q", diag.Clip(word))
			if short, ok := longUnits[word]; ok {
				return 0, e.WithHint("write %s%s", diag.Clip(part[1]), short)
			}
			if word == "mo" || word == "M" || strings.HasPrefix(word, "month") || word == "y" || word == "Y" || strings.HasPrefix(word, "year") {
				return 0, e.WithHint("months and years differ in length; write days or weeks: 30d, 52w")
			}
			return 0, e.WithHint("units are s, m, h, d and w")
		case u < next:
			return 0, fail("is not a duration: %s is repeated or follows a smaller unit", word).WithHint("write 1h30m, from large to small")
		}
		n, err := strconv.ParseInt(part[1], 10, 64)
		if err != nil || n > int64((longest-sum)/units[u].span) {
			return 0, fail("is longer than 100 years").WithHint("write forever")
		}
		sum += time.Duration(n) * units[u].span
		next = u + 1
		rest = rest[len(part[0]):]
	}
	if sum == 0 {
		return 0, fail("is zero").WithHint(usualDurations)
	}
	return sum, nil
}

// FormatDuration writes whole seconds so that ParseDuration reads the same: in one unit where a small number says it
// (48h is 2d, 90m stays), else from days to seconds. Fractions of a second are cut off; 0 is "0s".
func FormatDuration(d time.Duration) string {
	if d == Forever {
		return "forever"
	}
	sign := ""
	if d < 0 {
		sign, d = "-", -max(d, -Forever)
	}
	d = d.Truncate(time.Second)
	if d == 0 {
		return "0s"
	}
	for _, u := range units {
		if n := d / u.span; d%u.span == 0 && n < 100 {
			return fmt.Sprintf("%s%d%s", sign, n, u.name)
		}
	}
	s := sign
	for _, u := range units[1:] {
		if n := d / u.span; n > 0 {
			s += fmt.Sprintf("%d%s", n, u.name)
			d -= n * u.span
		}
	}
	return s
}
