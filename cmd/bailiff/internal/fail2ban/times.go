package fail2ban

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/policy/config"
)

// seconds parses fail2ban's times: seconds, or numbers with units (1w, 1d 12h, 2 hours, 1.5h), with sums, differences
// and products (24*60*60). Months and years have their average lengths. A negative time means forever.
func seconds(s string) (float64, error) {
	rest, _, _ := strings.Cut(s, "#") // fail2ban lets Python evaluate the value, including comments
	rest = strings.TrimSpace(rest)
	if rest == "" {
		return 0, fmt.Errorf("it is empty")
	}
	sum, product, sign, any := 0.0, 1.0, 1.0, false
	for rest != "" {
		switch c := rest[0]; {
		case any && (c == '+' || c == '-'):
			sum, product, any = sum+sign*product, 1, false
			if sign = 1; c == '-' {
				sign = -1
			}
			rest = strings.TrimSpace(rest[1:])
			continue
		case !any && c == '-':
			sign, rest = -sign, strings.TrimSpace(rest[1:])
			continue
		case any && c == '*':
			rest = strings.TrimSpace(rest[1:])
		case any: // adjacent terms are added
			sum, product, sign = sum+sign*product, 1, 1
		}
		m := timePart.FindStringSubmatch(rest)
		if m == nil {
			return 0, fmt.Errorf("%q is not a time", clip(s))
		}
		v, _ := strconv.ParseFloat(m[1], 64) // too large a number is infinite
		if m[2] != "" {
			u, ok := timeUnit(strings.ToLower(m[2]))
			if !ok {
				return 0, fmt.Errorf("%q is not a time: unit %q", clip(s), m[2])
			}
			v *= u
		}
		product, any = product*v, true
		rest = strings.TrimSpace(rest[len(m[0]):])
	}
	if sum += sign * product; math.IsInf(sum, 0) || math.IsNaN(sum) || !any {
		return 0, fmt.Errorf("%q is not a time", clip(s))
	}
	return sum, nil
}

var timePart = regexp.MustCompile(`^([0-9]+(?:\.[0-9]*)?)\s*([A-Za-z]*)`)

const year = (365*3 + 366) * 86400.0 / 4

func timeUnit(u string) (float64, bool) {
	for words, n := range map[string]float64{
		"s ss se sec secs second seconds": 1, "m mm mi min mins minute minutes": 60, "h hh ho hou hour hours": 3600,
		"d dd da day days": 86400, "w ww we wee week weeks": 7 * 86400, "mo mon month months": year / 12, "y yy ye yea year years": year,
	} {
		if slices.Contains(strings.Fields(words), u) {
			return n, true
		}
	}
	return 0, false
}

// span converts seconds to a duration of at least a second. Negative values and more than a century mean forever.
func span(sec float64) (d time.Duration, forever bool) {
	if sec < 0 || sec > 100*365*86400 {
		return 0, true
	}
	return max(time.Duration(math.Ceil(sec))*time.Second, time.Second), false
}

// spanText writes seconds as a duration in the configuration.
func spanText(sec float64) string {
	d, forever := span(sec)
	if forever {
		return "forever"
	}
	return config.FormatDuration(d)
}
