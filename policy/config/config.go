// Package config holds the settings: what stands in bailiff.yaml(5), checked, merged and with defaults filled in. The
// rest of the program never sees a raw value.
//
// Start reading at Config. Loader reads files and is the only part of policy that does; schema in decode.go says which
// keys there are; Render writes a Config as a file that loads again.
package config

import (
	"math"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/filter"
)

// Forever is the length of a ban that never ends.
const Forever time.Duration = math.MaxInt64

// Config is a whole configuration. It is not changed after it was loaded, but for the Enabled of jails whose Auto is
// set: the daemon clears it where the host has none of the filter's units.
type Config struct {
	Files    []string // that were read, in order: later ones win. Empty: built-in defaults alone
	Notices  []string // what an admin should look at although it is no error
	Defaults Defaults
	Escalate Escalate
	Allow    Allow
	Firewall Firewall
	Limits   Limits
	Jails    []Jail // sorted by name

	origins map[string]string // path of a key that a file sets: file:line
}

// Defaults hold for every jail that does not say otherwise, and for bans by hand.
type Defaults struct {
	FindTime         time.Duration
	MaxRetry         int
	BanTime          time.Duration // Forever: without end
	Prefix4, Prefix6 int
}

// Jail is one filter with its thresholds.
type Jail struct {
	Name     string // [a-z0-9-], at most 32 bytes; at most 16 when Ports are set
	Enabled  bool
	Auto     bool // `enabled` is auto: on where the host has one of the filter's units. Enabled is true then
	Filter   *filter.Filter
	Mode     string        // of the filter; "" is its default mode
	FindTime time.Duration // how long a failure counts
	MaxRetry int           // failures within FindTime that lead to a ban
	BanTime  time.Duration // of the first ban; Forever: without end
	Prefix4  int           // length of the prefixes that are counted and banned
	Prefix6  int
	Ports    []Port // that are closed to a banned prefix, sorted, without overlaps; empty: all
}

// Escalate makes the bans of repeat offenders longer.
type Escalate struct {
	Factor float64       // each ban lasts that many times as long as the one before; 1: all alike
	Max    time.Duration // no ban becomes longer by it; it shortens none
	Forget time.Duration // after the end of the last ban; Forever: never
}

// Allow says who is never banned.
type Allow struct {
	Self      bool          // the host's own addresses and those of allow.SelfEntries; whoever knows the interfaces adds them
	Addresses []allow.Entry // from the configuration
	Files     []string      // patterns of address lists
	Entries   []allow.Entry // Addresses and what the files hold
}

// Firewall says how packets are stopped.
type Firewall struct {
	Backend    string // one of Backends
	Block      string // "drop" or "reject"
	KeepOnStop bool   // bans stay in force when the daemon stops
}

// Backends are the words that firewall.backend takes. With auto the daemon picks.
var Backends = []string{"auto", "ipset", "dryrun"}

// Limits bound memory.
type Limits struct {
	Tracked     int // prefixes with failures, over all jails
	LinesPerBan int // lines of evidence kept of one ban
}

// Default is the configuration without any file: every built-in jail, each on where the host has its service.
func Default() *Config {
	r := newRaw()
	c, err := r.resolve(newShelf())
	if err != nil {
		// Only what is compiled in was read; a test loads it all.
		panic("built-in configuration: " + err.Error())
	}
	return c
}

// Origin says where the value of a key (jails.sshd.ban_time) comes from: file:line, "defaults" or "built in".
func (c *Config) Origin(path string) string {
	if at, ok := c.origins[path]; ok {
		return at
	}
	if key, ok := jailKey(path); ok && inherited[key] {
		if at, ok := c.origins["defaults."+key]; ok {
			return "defaults, " + at
		}
		return "defaults"
	}
	return "built in"
}
