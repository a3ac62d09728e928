// Package db reads the bans in fail2ban's SQLite database. It never writes to the file.
//
// It has Python's own SQLite read it: fail2ban is written in Python, so a host that ran it has the interpreter. A library would
// add six to eight megabytes to the command, for one query. Start reading at Bans.
package db

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/prefix"
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

// query prints the rows of the newest table of bans as JSON, a line each. Since version 0.11, bips has the last ban of each address
// and jail.
//
//go:embed query.py
var query string

// row is a line that query prints. Before version 0.11 there were no durations.
type row struct {
	Address  string   `json:"ip"`
	Jail     string   `json:"jail"`
	Since    *float64 `json:"timeofban"`
	Duration *float64 `json:"bantime"`
	Count    float64  `json:"bancount"`
}

// Bans reads the bans in effect at a time from fail2ban's database, sorted by jail and prefix. banTime returns the
// duration of a jail's bans in seconds, negative for forever; it is used for databases without durations (before version
// 0.11). skipped describes rows that are not valid.
func Bans(path string, now time.Time, banTime func(jail string) float64) (bans []*Ban, skipped []string, err error) {
	type key struct {
		jail   string
		prefix netip.Prefix
	}
	latest := make(map[key]*Ban)
	started := make(map[key]float64)
	err = rows(path, func(r *row) {
		if r.Since == nil || r.Jail == "" {
			skipped = append(skipped, fmt.Sprintf("%s: a row without jail or time", text.Clip(r.Address, 100)))
			return
		}
		since, length := *r.Since, -2.0
		if r.Duration != nil {
			length = *r.Duration
		}
		if length == -2 {
			length = banTime(r.Jail)
		}
		if length >= 0 && since+length <= float64(now.Unix()) {
			return
		}
		p, err := prefixOf(r.Address)
		if err != nil {
			skipped = append(skipped, fmt.Sprintf("jail %s: %q is not an address", text.Clip(r.Jail, 100), text.Clip(r.Address, 100)))
			return
		}
		k := key{r.Jail, p}
		if at, ok := started[k]; ok && at > since {
			return
		}
		b := &Ban{Jail: r.Jail, Prefix: p, Count: 1}
		if r.Count > 0 && r.Count < math.MaxInt32 {
			b.Count = int(r.Count)
		}
		if length >= 0 && length <= maxBanTime {
			b.Until = time.Unix(int64(since+math.Ceil(length)), 0)
		}
		latest[k], started[k] = b, since
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	bans = slices.SortedFunc(maps.Values(latest), func(a, b *Ban) int {
		return cmp.Or(strings.Compare(a.Jail, b.Jail), prefix.Compare(a.Prefix, b.Prefix))
	})
	return bans, skipped, nil
}

// rows calls f with each row. A file with unfinished changes is an error.
func rows(path string, f func(*row)) error {
	st, err := os.Stat(path)
	if err != nil {
		return errors.Unwrap(err)
	}
	if !st.Mode().IsRegular() {
		return errors.New("is not a regular file")
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		if python, err = exec.LookPath("/usr/libexec/platform-python"); err != nil { // of RHEL 8
			return errors.New("python3, which fail2ban needs, too, is not installed: its SQLite reads the database")
		}
	}
	cmd := exec.Command(python, "-I", "-c", query, path)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	lines := json.NewDecoder(out)
	for err == nil {
		var r row
		if err = lines.Decode(&r); err == nil {
			f(&r)
		}
	}
	io.Copy(io.Discard, out)
	if failed := cmd.Wait(); failed != nil {
		last := bytes.TrimSpace(stderr.Bytes())
		return errors.New(text.Clip(string(last[bytes.LastIndexByte(last, '\n')+1:]), 200))
	}
	if err == io.EOF {
		return nil
	}
	return err
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
