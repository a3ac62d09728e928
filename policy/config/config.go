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
	Accounts Accounts
	Networks Networks
	Allow    Allow
	Firewall Firewall
	Limits   Limits
	Report   Report
	Jails    []Jail // sorted by name

	origins map[string]string // path of a key that a file sets: file:line
}

// Defaults hold for every jail that does not say otherwise, and for bans by hand.
type Defaults struct {
	FindTime         time.Duration
	MaxRetry         int
	BanTime          time.Duration // Forever: without end
	Observe          bool          // decide, and say so, but block nothing
	Prefix4, Prefix6 int
	Slow             Slow
	Weights          Weights
}

// Slow is a second, longer window for those who take their time.
type Slow struct {
	FindTime time.Duration
	MaxRetry int // 0: there is none
}

// Weights say which failures weigh more or less than one.
type Weights struct {
	// InvalidUser is what a failure weighs on the fourth and each further account of an address that does not exist. If it is
	// more than 1, the first three failures on a single such account weigh one together: ssh asks three times for the password
	// of a wrong local user name.
	InvalidUser int
	NewAccount  int // added to a failure on each account beyond the first that an address tries
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
	Slow     Slow
	Weights  Weights
	Ports    []Port           // that are closed to a banned prefix, sorted, without overlaps; empty: all
	Observe  bool             // decide, and say so, but block nothing
	Trust    filter.Additions // what the jail's settings add to the filter's trust; Filter has it already
}

// Escalate makes the bans of repeat offenders longer.
type Escalate struct {
	Factor      float64       // each ban lasts that many times as long as the one before; 1: all alike
	Max         time.Duration // no ban becomes longer by it; it shortens none
	Forget      time.Duration // after the end of the last ban; Forever: never
	RandomExtra time.Duration // up to so much is added to a ban, so that nobody knows to the second when it ends; 0: nothing
}

// Accounts say when one account is attacked from many addresses, over all jails.
type Accounts struct {
	Addresses      int           // so many different ones that failed on it within FindTime; 0: never
	FindTime       time.Duration //
	MaxRetry       int           // then this many failures of an address on the account within FindTime lead to a ban
	TrustLoginsFor time.Duration // an address that logged in to the account within so long neither counts nor is banned for it
}

// Networks say when a whole network is banned, over all jails, by how many different ones of its parts attacked within
// FindTime. 0: never.
type Networks struct {
	FindTime       time.Duration
	TrustLoginsFor time.Duration // a network from which anybody logged in within so long is not banned as a whole
	Net4           int           // addresses of an IPv4 /24 that were banned
	Net6           Net6
}

// Net6 is how many different parts of IPv6 networks failed or were banned.
type Net6 struct {
	Bits64 int // addresses, or what a jail counts by, of a /64; for jails that count by longer prefixes
	Bits56 int // /64 of a /56
	Bits48 int // /64 of a /48
}

// Allow says who is never banned.
type Allow struct {
	Self      bool              // the host's own addresses and those of allow.SelfEntries; whoever knows the interfaces adds them
	Addresses []allow.Entry     // from the configuration
	Files     []string          // patterns of address lists
	Entries   []allow.Entry     // Addresses and what the files hold
	Lists     []allow.Published // by name; what they hold is fetched and kept elsewhere
	Operators Operators
}

// Firewall says how packets are stopped.
type Firewall struct {
	Backend    string // one of Backends
	Block      string // "drop" or "reject"
	KeepOnStop bool   // bans stay in force when the daemon stops
	Close      bool   // open connections of a banned prefix are closed

	// How firewalld's sets take effect: "policy", "zone" or "rich", the last in Zones.
	Method string
	Zones  []string
}

// FirewalldMethods are the words that firewall.firewalld.via takes.
var FirewalldMethods = []string{"policy", "zone", "rich"}

// Backends are the words that firewall.backend takes. With auto the daemon picks.
var Backends = []string{"auto", "firewalld", "ipset", "nftables", "dryrun"}

// Limits bound memory.
type Limits struct {
	MaxTracked  int // prefixes with failures, over all jails
	MaxEvidence int // lines of evidence kept of one ban
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
