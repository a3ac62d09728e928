package config

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bailiff/policy/filter"
)

// Render writes the configuration as it is in force, every key with its value and, as a comment, where that comes from.
// Loading the text with LoadFile beside the same filters gives the same configuration again.
func (c *Config) Render() []byte {
	w := &writer{c: c}
	if len(c.Files) == 0 {
		w.line(0, "# No configuration file: all of this is built in.")
	} else {
		w.line(0, "# Merged, later over earlier:")
		for _, f := range c.Files {
			w.line(0, "#   "+printable(f))
		}
	}
	for _, n := range c.Notices {
		w.line(0, "# Notice: "+printable(n))
	}
	w.line(0, "")
	w.line(0, "defaults:")
	d := c.Defaults
	w.thresholds(1, "defaults", d)
	w.line(0, "")
	w.line(0, "escalate:")
	w.key(1, "escalate.factor", strconv.FormatFloat(c.Escalate.Factor, 'g', -1, 64))
	w.key(1, "escalate.max", FormatDuration(c.Escalate.Max))
	w.key(1, "escalate.forget", FormatDuration(c.Escalate.Forget))
	w.key(1, "escalate.random_extra", none(c.Escalate.RandomExtra))
	w.line(0, "")
	w.line(0, "accounts:")
	w.key(1, "accounts.addresses", off(c.Accounts.Addresses))
	w.key(1, "accounts.find_time", FormatDuration(c.Accounts.FindTime))
	w.key(1, "accounts.max_retry", strconv.Itoa(c.Accounts.MaxRetry))
	w.key(1, "accounts.trust_logins_for", FormatDuration(c.Accounts.TrustLoginsFor))
	w.line(0, "")
	w.line(0, "networks:")
	w.key(1, "networks.find_time", FormatDuration(c.Networks.FindTime))
	w.key(1, "networks.trust_logins_for", FormatDuration(c.Networks.TrustLoginsFor))
	w.line(1, "ipv4:")
	w.key(2, "networks.ipv4.24", off(c.Networks.Net4))
	w.line(1, "ipv6:")
	w.key(2, "networks.ipv6.64", off(c.Networks.Net6.Bits64))
	w.key(2, "networks.ipv6.56", off(c.Networks.Net6.Bits56))
	w.key(2, "networks.ipv6.48", off(c.Networks.Net6.Bits48))
	w.line(0, "")
	w.line(0, "allow:")
	w.key(1, "allow.self", strconv.FormatBool(c.Allow.Self))
	addresses := make([]string, len(c.Allow.Addresses))
	for i, e := range c.Allow.Addresses {
		addresses[i] = e.String()
	}
	w.list(1, "allow.addresses", addresses)
	w.list(1, "allow.files", c.Allow.Files)
	w.lists(c)
	w.line(0, "")
	w.line(0, "firewall:")
	w.key(1, "firewall.backend", c.Firewall.Backend)
	w.key(1, "firewall.block", c.Firewall.Block)
	w.key(1, "firewall.keep_on_stop", strconv.FormatBool(c.Firewall.KeepOnStop))
	w.key(1, "firewall.close_connections", strconv.FormatBool(c.Firewall.Close))
	w.line(1, "firewalld:")
	w.key(2, "firewall.firewalld.method", c.Firewall.Method)
	w.list(2, "firewall.firewalld.zones", c.Firewall.Zones)
	w.line(0, "")
	w.line(0, "limits:")
	w.key(1, "limits.max_tracked", strconv.Itoa(c.Limits.MaxTracked))
	w.key(1, "limits.max_evidence", strconv.Itoa(c.Limits.MaxEvidence))
	w.line(0, "")
	w.reports(c)
	w.line(0, "")
	w.line(0, "jails:")
	for _, j := range c.Jails {
		at := "jails." + j.Name
		w.line(1, quote(j.Name)+":")
		switch {
		case j.Auto:
			w.key(2, at+".enabled", "auto")
		default:
			w.key(2, at+".enabled", strconv.FormatBool(j.Enabled))
		}
		w.key(2, at+".filter", j.Filter.Name)
		w.key(2, at+".mode", j.Mode)
		w.thresholds(2, at, Defaults{j.FindTime, j.MaxRetry, j.BanTime, j.Observe, j.Prefix4, j.Prefix6, j.Slow, j.Weights})
		if len(j.Ports) == 0 {
			w.key(2, at+".ports", "all")
		} else {
			ports := make([]string, len(j.Ports))
			for i, p := range j.Ports {
				ports[i] = p.String()
			}
			w.list(2, at+".ports", ports)
		}
		w.trust(2, at, j.Trust)
	}
	return w.buf.Bytes()
}

type writer struct {
	c   *Config
	buf bytes.Buffer
}

func (w *writer) line(depth int, s string) {
	if s != "" {
		w.buf.WriteString(strings.Repeat("  ", depth))
	}
	w.buf.WriteString(s)
	w.buf.WriteByte('\n')
}

// with writes a line and a comment in a column of its own.
func (w *writer) with(depth int, s, comment string) {
	w.line(depth, fmt.Sprintf("%-*s  # %s", 32-2*depth, s, printable(comment)))
}

func name(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

func (w *writer) key(depth int, path, value string) {
	w.with(depth, name(path)+": "+quote(value), w.c.Origin(path))
}

func (w *writer) list(depth int, path string, items []string) {
	if len(items) == 0 {
		w.with(depth, name(path)+": []", w.c.Origin(path))
		return
	}
	w.with(depth, name(path)+":", w.c.Origin(path))
	for _, item := range items {
		w.line(depth+1, "- "+quote(item))
	}
}

func (w *writer) thresholds(depth int, at string, d Defaults) {
	duration := func(key string, v time.Duration) { w.key(depth, at+"."+key, FormatDuration(v)) }
	duration("find_time", d.FindTime)
	w.key(depth, at+".max_retry", strconv.Itoa(d.MaxRetry))
	duration("ban_time", d.BanTime)
	w.key(depth, at+".observe", strconv.FormatBool(d.Observe))
	w.line(depth, "prefix:")
	w.key(depth+1, at+".prefix.ipv4", strconv.Itoa(d.Prefix4))
	w.key(depth+1, at+".prefix.ipv6", strconv.Itoa(d.Prefix6))
	w.line(depth, "slow:")
	w.key(depth+1, at+".slow.find_time", FormatDuration(d.Slow.FindTime))
	w.key(depth+1, at+".slow.max_retry", off(d.Slow.MaxRetry))
	w.line(depth, "weights:")
	w.key(depth+1, at+".weights.invalid_user", strconv.Itoa(d.Weights.InvalidUser))
	w.key(depth+1, at+".weights.new_account", strconv.Itoa(d.Weights.NewAccount))
}

// trust writes what a jail adds to its filter's trust, if anything.
func (w *writer) trust(depth int, at string, t filter.Additions) {
	if len(t.Units) > 0 {
		w.list(depth, at+".units", t.Units)
	}
	if len(t.Containers) > 0 {
		w.list(depth, at+".containers", t.Containers)
	}
	if len(t.UserUnits) > 0 {
		w.list(depth, at+".user_units", words(t.UserUnits))
	}
	switch {
	case t.AnyExe:
		w.key(depth, at+".exe", "any")
	case len(t.Exe) > 0:
		w.list(depth, at+".exe", words(t.Exe))
	}
}

func words[T fmt.Stringer](l []T) []string {
	s := make([]string, len(l))
	for i, x := range l {
		s[i] = x.String()
	}
	return s
}

// off writes a number of which 0 means never.
func off(n int) string {
	if n == 0 {
		return "off"
	}
	return strconv.Itoa(n)
}

// none writes a duration that may be nothing.
func none(d time.Duration) string {
	if d == 0 {
		return "none"
	}
	return FormatDuration(d)
}

// quote writes a value so that YAML reads the same text: bare where it is made of harmless letters, else in double
// quotes, whose escapes YAML shares with JSON and Go.
func quote(s string) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-"
	if s != "" && strings.Trim(s, letters) == "" && s[0] != '-' && s != "null" {
		return s
	}
	return strconv.QuoteToASCII(s)
}

// printable keeps a comment in its line.
func printable(s string) string {
	q := strconv.Quote(s)
	if q[1:len(q)-1] == s {
		return s
	}
	return q
}
