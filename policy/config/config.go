// Package config holds the settings of bailiff.yaml(5): checked, merged over several files, with defaults filled in. The
// rest of the program never sees a raw value.
//
// It never reads a file: units/configdir finds the files of a host and gives them to a Builder. Start reading at Config, then
// at schema in fields.go, the one list of all keys. Render writes a Config as a file that loads again.
package config

import (
	"math"
	"slices"
	"strings"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/blocklist"
	"bailiff/policy/filter"
	"bailiff/policy/fleet"
)

// Forever is the duration of a ban that never ends.
const Forever time.Duration = math.MaxInt64

// Config is a whole configuration. It is not changed after it was built.
type Config struct {
	Files    []string // files read, in order: later ones win. Empty: only built-in defaults
	Notices  []string // what an administrator should look at although it is no error
	Defaults Thresholds
	Escalate Escalate
	Accounts Accounts
	Networks Networks
	Allow    Allow
	Lists    []blocklist.List // sorted by name; their prefixes are fetched and kept elsewhere
	Firewall Firewall
	Limits   Limits
	Metrics  Metrics
	Fleet    fleet.Rules // if it has no hosts, none is trusted
	Report   Report
	Jails    []Jail // sorted by name

	origins map[string]string // path of a key that a file sets: file:line
}

// Thresholds say when an address is banned and for how long. Those of Config.Defaults hold for every jail that does not
// set its own, and for manual bans.
type Thresholds struct {
	FindTime         time.Duration
	MaxRetry         int
	BanTime          time.Duration // Forever: without end
	Observe          bool          // decide and log, but block nothing
	Prefix4, Prefix6 int
	Slow             Slow
	Weights          Weights
}

// Slow is a second, longer window against attacks that take their time.
type Slow struct {
	FindTime time.Duration
	MaxRetry int // 0: no slow window
}

// Weights say which failures weigh more or less than one.
type Weights struct {
	// InvalidUser is the weight of a failure on the fourth and each later account that does not exist. If it is more than 1,
	// the first five failures on a single such account weigh one together: ssh asks three times for the password of a wrong
	// local user name, and people try again.
	InvalidUser int
	NewAccount  int // added to a failure on each account beyond the first that an address tries
}

// Jail is one filter with its thresholds.
type Jail struct {
	Name     string // [a-z0-9-], at most 32 bytes; at most 16 when Ports are set
	Enabled  bool
	Explicit bool // a file says enabled: true, so its service should be on this host
	Filter   *filter.Filter
	Mode     string           // of the filter
	Ports    []Port           // that are closed to a banned prefix, sorted, without overlaps; empty: all
	Trust    filter.Additions // changes to the filter's trust by the jail's settings; already applied to Filter
	Thresholds

	filter string // name of Filter
}

// Escalate makes the bans of repeat offenders longer.
type Escalate struct {
	Factor      float64       // each ban lasts this many times as long as the previous one; 1: all bans are equally long
	Max         time.Duration // no ban is made longer than this; it shortens none
	Forget      time.Duration // earlier bans no longer count this long after the end of the last one; Forever: they always count
	RandomExtra time.Duration // up to this much is added to a ban, so that its end cannot be predicted
}

// Accounts say when an account is under attack from many addresses, over all jails.
type Accounts struct {
	Addresses      int // number of different addresses that must fail on the account within FindTime; 0: never
	FindTime       time.Duration
	MaxRetry       int           // number of failures of one address on an account under attack, within FindTime, that lead to a ban
	TrustLoginsFor time.Duration // an address that logged in to the account within this time neither counts nor is banned for it
}

// Networks say how many parts of a network must attack within FindTime, over all jails, for a ban of the whole network.
// 0: never.
type Networks struct {
	FindTime       time.Duration
	TrustLoginsFor time.Duration // a network with a login within this time is not banned as a whole
	Net4           int           // addresses of an IPv4 /24 that were banned
	Net6           Net6
}

// Net6 is how many different parts of IPv6 networks failed or were banned.
type Net6 struct {
	Bits64 int // addresses of a /64, or prefixes by which a jail counts; for jails that count by prefixes longer than /64
	Bits56 int // /64 of a /56
	Bits48 int // /64 of a /48
}

// Operators says whose ssh sessions keep their address from being banned, see policy/operator.
type Operators struct {
	Enabled bool
	Groups  []string // whose members are operators, in addition to root
	Grace   time.Duration
}

// Allow says which addresses are never banned.
type Allow struct {
	Self      bool              // the host's own addresses, which the caller adds to those of allow.SelfEntries
	Addresses []allow.Entry     // from the configuration
	Files     []string          // patterns of address lists
	Entries   []allow.Entry     // Addresses and what the files hold
	Lists     []allow.Published // sorted by name; their entries are fetched and kept elsewhere
	Operators Operators
}

// Firewall says how packets are stopped.
type Firewall struct {
	Backend    string // one of Backends
	Block      string // "drop" or "reject"
	KeepOnStop bool   // bans stay in effect while the daemon is stopped
	Close      bool   // open connections of a banned prefix are closed

	Method string   // how firewalld's sets take effect: one of FirewalldMethods
	Zones  []string // of method rich
}

// FirewalldMethods are the words that firewall.firewalld.method accepts.
var FirewalldMethods = []string{"policy", "zone", "rich"}

// Backends are the words that firewall.backend accepts. With auto, the daemon chooses.
var Backends = []string{"auto", "firewalld", "ipset", "nftables", "dryrun"}

// Limits bound memory.
type Limits struct {
	MaxTracked  int // prefixes with failures, over all jails
	MaxEvidence int // lines of evidence kept of one ban
}

// Metrics says what is measured beyond what costs nothing.
type Metrics struct {
	Patterns bool // count failures by pattern, too
}

// Default is the configuration without any file: every built-in jail.
func Default() *Config {
	c, err := NewBuilder().Build()
	if err != nil {
		// Only compiled-in files are read, and a test loads all of them.
		panic("built-in configuration: " + err.Error())
	}
	return c
}

// Origin says where the value of a key (jails.sshd.ban_time) comes from: file:line, "defaults" or "built in".
func (c *Config) Origin(path string) string {
	if at, ok := c.origins[path]; ok {
		return at
	}
	_, key, _ := strings.Cut(strings.TrimPrefix(path, "jails."), ".")
	if strings.HasPrefix(path, "jails.") && inherited[key] {
		if key == "max_retry" || key == "slow.max_retry" {
			i := slices.IndexFunc(c.Jails, func(j Jail) bool { return path == "jails."+j.Name+"."+key })
			if i >= 0 && c.Jails[i].Filter != nil && c.Jails[i].Filter.MaxRetry != 0 {
				return "filter " + c.Jails[i].Filter.Name
			}
		}
		if at, ok := c.origins["defaults."+key]; ok {
			return "defaults, " + at
		}
		return "defaults"
	}
	return "built in"
}
