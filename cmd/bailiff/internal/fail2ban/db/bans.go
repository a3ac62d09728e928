// Package db reads the bans in fail2ban's SQLite database. It never writes to the file.
//
// The SQLite format is read by hand: a library would add six to eight megabytes to the command, for whole scans of one
// table. Start reading at Bans.
package db

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/text"
)

// Ban is one ban in fail2ban's database.
type Ban struct {
	Jail   string // fail2ban's name
	Prefix netip.Prefix
	Until  time.Time // zero: forever
	Count  int       // how often the address was banned, including this ban
}

// maxBanTime is the longest ban in seconds, a century. Longer bans are forever, as in the configuration.
const maxBanTime = 100 * 365 * 86400

// Bans reads the bans in effect at a time from fail2ban's database, sorted by jail and prefix. banTime returns the
// duration of a jail's bans in seconds, negative for forever; it is used for databases without durations (before version
// 0.11). skipped describes rows that are not valid.
func Bans(path string, now time.Time, banTime func(jail string) float64) (bans []*Ban, skipped []string, err error) {
	d, f, err := openDatabase(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	name := "bips" // since 0.11: the last ban of each address and jail
	if _, ok := d.tables[name]; !ok {
		name = "bans"
	}
	type key struct {
		jail   string
		prefix netip.Prefix
	}
	latest := make(map[key]*Ban)
	started := make(map[key]float64)
	err = d.rows(name, []string{"ip", "jail", "timeofban", "bantime", "bancount"}, func(row []any) error {
		ip, _ := row[0].(string)
		jail, _ := row[1].(string)
		since, ok := number(row[2])
		if !ok || jail == "" {
			skipped = append(skipped, fmt.Sprintf("%s: a row without jail or time", text.Clip(ip, 100)))
			return nil
		}
		length, ok := number(row[3])
		if !ok || length == -2 {
			length = banTime(jail)
		}
		if length >= 0 && since+length <= float64(now.Unix()) {
			return nil
		}
		p, err := prefixOf(ip)
		if err != nil {
			skipped = append(skipped, fmt.Sprintf("jail %s: %q is not an address", text.Clip(jail, 100), text.Clip(ip, 100)))
			return nil
		}
		k := key{jail, p}
		if at, ok := started[k]; ok && at > since {
			return nil
		}
		b := &Ban{Jail: jail, Prefix: p, Count: 1}
		if n, ok := number(row[4]); ok && n > 0 && n < math.MaxInt32 {
			b.Count = int(n)
		}
		if length >= 0 && length <= maxBanTime {
			b.Until = time.Unix(int64(since+math.Ceil(length)), 0)
		}
		latest[k], started[k] = b, since
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	bans = slices.SortedFunc(maps.Values(latest), func(a, b *Ban) int {
		return cmp.Or(strings.Compare(a.Jail, b.Jail), a.Prefix.Addr().Compare(b.Prefix.Addr()), a.Prefix.Bits()-b.Prefix.Bits())
	})
	return bans, skipped, nil
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, !math.IsNaN(v) && !math.IsInf(v, 0)
	}
	return 0, false
}

func prefixOf(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen()), nil
}
