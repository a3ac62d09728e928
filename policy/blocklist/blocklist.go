// Package blocklist describes published block lists: where a list is fetched from, how it is parsed, and what is accepted from it. It does
// not fetch lists and bans nobody: the daemon puts the prefixes of each list into separate sets. Start reading at List; parse.go reads the
// formats, catalogue.go has the lists that need no URL.
package blocklist

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"bailiff/policy/allow"
	"bailiff/policy/diag"
)

// List is a block list, with the limits on what is accepted from it. The limits on prefixes in Published have other defaults than for an
// allow list, since block lists contain whole networks.
type List struct {
	allow.Published
	Column     int    // of FormatCSV: where the addresses are, counted from 1
	Ports      string // which ports are closed to its prefixes: one of Ports
	Mode       string // one of Modes
	Credential string // systemd credential with the key for the server; "" for none
	KeyHeader  string // HTTP header that carries the key
	Accept     string // HTTP header Accept; "" for none

	Jails []string // whose ports are closed with PortsJails, and whose failures weigh double with ModeDouble; none: all

	// For FormatMMDB: what the list takes from the database. See Selection.
	Countries []string // ISO 3166 codes, such as "DE"
	Systems   []string // autonomous systems, such as "AS64496"
	Others    bool     // all known networks but these
}

// The formats of block lists.
const (
	FormatText  = allow.FormatText // an address or a prefix a line; comments begin with # or ;
	FormatCSV   = "csv"            // lines of fields, separated by commas
	FormatJSON  = allow.FormatJSON // one document
	FormatLines = "jsonl"          // a document in each line
	FormatMMDB  = "mmdb"           // a database of countries or autonomous systems, as MaxMind, DB-IP and IPinfo have them
)

// Formats are the words that a list's format accepts.
var Formats = []string{FormatText, FormatCSV, FormatJSON, FormatLines, FormatMMDB}

// Which ports a list closes.
const (
	PortsJails = "jails" // those of the enabled jails
	PortsAll   = "all"
)

// Ports are the words that a list's ports accepts.
var Ports = []string{PortsJails, PortsAll}

// What a list does.
const (
	ModeDrop   = "drop"   // its packets are stopped
	ModeLog    = "log"    // they are counted
	ModeDouble = "double" // they pass, and failures from there weigh double
)

// Modes are the words that a list's mode accepts.
var Modes = []string{ModeDrop, ModeLog, ModeDouble}

const (
	// MaxEntries bounds the prefixes of a list. The longest published ones have some hundred thousand.
	MaxEntries = 2_000_000

	// MaxSize bounds a list in bytes: as it is downloaded, and as it is kept. MaxEntries IPv4 addresses take 32 MB.
	MaxSize = 64 << 20

	// The shortest prefixes that are accepted. No registry assigns more to one network than a /8, or a /16 of IPv6 (2002::/16 aside).
	minPrefix4 = 8
	minPrefix6 = 16

	minPercent = 50
)

// New is a list with the defaults and no URL, or the catalogued one of that name.
func New(name string) List {
	l, ok := catalogue[name]
	if !ok {
		l.Interval = allow.DefaultInterval
	}
	l.Name, l.MinPrefix4, l.MinPrefix6, l.MinPercent = name, minPrefix4, minPrefix6, minPercent
	l.Ports, l.Mode = PortsJails, ModeDrop
	if l.Format == "" {
		l.Format = FormatText
	}
	if l.Column == 0 {
		l.Column = 1
	}
	l.URLs, l.Pointers = slices.Clone(l.URLs), slices.Clone(l.Pointers)
	return l
}

// Judge decides on one prefix of a list. keep is false if the prefix must be left out because it overlaps special addresses, such as
// private networks. An error rejects the whole list.
func (l *List) Judge(p netip.Prefix) (keep bool, err error) {
	if inside(p) {
		return false, nil
	}
	widest := l.MinPrefix6
	if p.Addr().Is4() {
		widest = l.MinPrefix4
	}
	if p.Bits() < widest {
		return false, fmt.Errorf("has %s, which is wider than /%d", p, widest)
	}
	return !slices.ContainsFunc(special(p), p.Overlaps), nil
}

// Check decides on a list as a whole, by the number of its prefixes. former is the number of prefixes in the last accepted version; 0 if
// there is none.
func (l *List) Check(n, former int) error {
	switch {
	case n == 0:
		return errors.New("is empty")
	case n > MaxEntries:
		return fmt.Errorf("has more than %d entries", MaxEntries)
	case n*100 < former*l.MinPercent:
		return fmt.Errorf("has %s, less than %d %% of the %s that it had", diag.Count(n, "entry"), l.MinPercent, strconv.Itoa(former))
	}
	return nil
}

// special4 and special6 are the addresses that no list may block: those of private networks, of this host and of groups (IANA's
// special-purpose registries, RFC 6890). Documentation networks are not included, since nobody uses them. special6 is everything outside of
// 2000::/3, the only range from which internet addresses are assigned.
var (
	special4 = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "224.0.0.0/3")
	special6 = prefixes("::/3", "4000::/2", "8000::/1")
)

func prefixes(texts ...string) (l []netip.Prefix) {
	for _, s := range texts {
		l = append(l, netip.MustParsePrefix(s))
	}
	return l
}

func special(p netip.Prefix) []netip.Prefix {
	if p.Addr().Is4() {
		return special4
	}
	return special6
}

// inside reports whether a prefix contains only special addresses.
func inside(p netip.Prefix) bool {
	return slices.ContainsFunc(special(p), func(s netip.Prefix) bool { return s.Bits() <= p.Bits() && s.Contains(p.Addr()) })
}
