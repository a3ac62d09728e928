// Package control is the daemon's control socket: HTTP with JSON on a unix socket. api.go names every call, request and
// answer; server.go serves them and decides by the peer's credentials who may do what; client.go is what the command uses.
//
//	GET    /v1/status                                  Status
//	GET    /v1/bans?jail=J&prefix=P&limit=N&after=KEY  BanList
//	POST   /v1/bans       BanRequest                   []Ban       (root)
//	DELETE /v1/bans?prefix=P&jail=J | ?all=true        Removed     (root)
//	GET    /v1/allow                                   []AllowEntry
//	GET    /v1/allow?address=A                         AllowWhy
//	POST   /v1/allow      AllowRequest                 AllowResult (root)
//	DELETE /v1/allow?prefix=P                          Removed     (root)
//	GET    /v1/why?address=A                           Why
//	GET    /v1/firewall                                Firewall
//	POST   /v1/firewall/repair?force=true              FirewallRepair (root)
//	GET    /v1/events                                  Event, Event, …: JSON lines until the client leaves
//	GET    /v1/config                                  text/yaml, the merged configuration in force
//	POST   /v1/reload                                  Reloaded    (root)
//
// POST /v1/reload is open to the daemon's own user too, which could send it SIGHUP anyway: ExecReload= runs as that user.
// An error is an Error object with a fitting HTTP status.
package control

import (
	"context"
	"strings"
	"time"
)

// DefaultPath is where bailiff.socket listens.
const DefaultPath = "/run/bailiff/control"

// Error is the answer to a call that failed.
type Error struct {
	Status  int    `json:"-"`
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"`

	cause error // of a client's: ErrNotRunning, a context's error
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.cause }

// Status is what the daemon does right now.
type Status struct {
	Version    string         `json:"version"`
	PID        int            `json:"pid"`
	Started    time.Time      `json:"started"`
	Reloaded   *time.Time     `json:"reloaded,omitempty"`
	Problems   Problems       `json:"problems"`               // what an admin should look at; empty when all is well
	Config     []string       `json:"config"`                 // files in force
	ConfigErr  string         `json:"config_error,omitempty"` // why the last reload was refused
	Journal    JournalStatus  `json:"journal"`
	Firewall   FirewallStatus `json:"firewall"`
	Jails      []JailStatus   `json:"jails"`
	Bans       int            `json:"bans"`
	BansTotal  uint64         `json:"bans_total"` // made since start
	Tracked    int            `json:"tracked"`    // prefixes with failures in their window
	TrackedMax int            `json:"tracked_max"`
	Widened    uint64         `json:"widened"` // failures counted on a wider prefix because the table was full
	Spread     SpreadStatus   `json:"spread"`
	Allowed    uint64         `json:"allowed"` // failures passed over because of the allow list
	Lists      []ListStatus   `json:"lists"`   // published allow lists
	Reports    int            `json:"reports"` // destinations that bans are reported to: see DialReport
	Memory     uint64         `json:"memory"`  // bytes of anonymous memory (RssAnon)
}

// Problem is something that an admin should look at.
type Problem struct {
	Source string    `json:"source"` // what it is about: firewall, configuration, journal, state file, …
	Text   string    `json:"text"`
	Since  time.Time `json:"since"`
}

// Problems are all that stand now.
type Problems []Problem

func (p Problems) String() string {
	var b strings.Builder
	for _, x := range p {
		b.WriteString(x.Text + "\n")
	}
	return b.String()
}

// SpreadStatus is what counts over all jails: accounts that many addresses attack, networks of which many parts do.
type SpreadStatus struct {
	Accounts int    `json:"accounts"` // that were failed on more than once lately
	Attacked int    `json:"attacked"` // of those, under attack now
	Networks int    `json:"networks"` // parts of which attacked
	Crowded  uint64 `json:"crowded"`  // accounts that were forgotten to make room for others
	Cut      uint64 `json:"cut"`      // prefixes whose slow window was cut short, and networks forgotten, to make room
}

// JournalStatus is how far the journal has been read.
type JournalStatus struct {
	Cursor   string    `json:"cursor"`
	Time     time.Time `json:"time"`    // of the entry last read
	Entries  uint64    `json:"entries"` // read since start
	Lag      float64   `json:"lag_seconds"`
	Dropped  uint64    `json:"dropped"` // messages that journald says it suppressed by rate limit, of watched units
	Files    int       `json:"files"`
	Problems []string  `json:"problems,omitempty"` // damaged files and the like
}

// FirewallStatus is what the backend says.
type FirewallStatus struct {
	Backend  string    `json:"backend"`
	Why      string    `json:"why"` // why this backend
	OK       bool      `json:"ok"`
	Error    string    `json:"error,omitempty"`
	Checked  time.Time `json:"checked"`
	Repaired uint64    `json:"repaired"` // times that rules or sets had to be made anew
	Stopped  []Stopped `json:"stopped"`  // by set; null where the backend does not count

	// Open are the networks of containers on this host, as bailiff status sees them, whose published ports the backend does not
	// close to banned addresses.
	Open []string `json:"open,omitempty"`
}

// Stopped is what the rules about one set have counted since they were made.
type Stopped struct {
	Set     string `json:"set"`
	Scope   string `json:"scope"` // the jail whose ports are meant; empty for all traffic
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Firewall is what the firewall holds of the daemon's, beside what it should hold.
type Firewall struct {
	FirewallStatus
	Looked  time.Time      `json:"looked"`
	Seconds float64        `json:"seconds"` // that it took, during which no ban was carried out
	Bans    int            `json:"bans"`    // wanted: each prefix once for all traffic and once for each jail with ports
	Intact  bool           `json:"intact"`  // nothing differs
	Parts   []FirewallPart `json:"parts"`
	Sets    []FirewallSet  `json:"sets"`
}

// FirewallPart is a table, a policy or the like.
type FirewallPart struct {
	Name    string `json:"name"`           // as the host's own tools call it
	Want    string `json:"want,omitempty"` // what it should be
	Present bool   `json:"present"`
	Harm    string `json:"harm,omitempty"`    // how it differs from that
	Foreign bool   `json:"foreign,omitempty"` // not the daemon's: it is taken away by force alone
}

// FirewallSet is a set and what it holds.
type FirewallSet struct {
	FirewallPart
	Scope   string     `json:"scope"`
	Bans    int        `json:"bans"`     // that should be in it
	Held    int        `json:"held"`     // that are in it
	Forever int        `json:"forever"`  // of these, without an end
	Next    *time.Time `json:"next_end"` // when the first ends; null when none does
	Missing Prefixes   `json:"missing"`
	Strange Prefixes   `json:"strange"` // held, and should not be
	Late    Prefixes   `json:"late"`    // held as they should be, but with another end
	Packets *uint64    `json:"packets"` // stopped; null where the backend does not count
	Bytes   *uint64    `json:"bytes"`
}

// Prefixes is a number of prefixes with some of them by name.
type Prefixes struct {
	Count int      `json:"count"`
	Some  []string `json:"prefixes"` // 100 at most
}

// FirewallRepair is what a repair found and did.
type FirewallRepair struct {
	Before    *Firewall `json:"before"` // null where looking failed
	After     *Firewall `json:"after"`
	Added     int       `json:"added"` // bans put back
	Removed   int       `json:"removed"`
	Refreshed int       `json:"refreshed"` // whose end was set anew
	Repaired  []string  `json:"repaired"`  // rules and sets that were made anew
	Evicted   []string  `json:"evicted"`   // what was not the daemon's and was taken away by force
}

// ListStatus is a published allow list.
type ListStatus struct {
	Name    string     `json:"name"`
	Entries int        `json:"entries"`           // in force
	Fetched *time.Time `json:"fetched,omitempty"` // when they came
	Checked *time.Time `json:"checked,omitempty"` // when the source was asked last
	Refused string     `json:"refused,omitempty"` // why what it has now is not believed
	Failed  string     `json:"failed,omitempty"`  // why it could not be asked
}

// JailStatus is one jail.
type JailStatus struct {
	Name     string     `json:"name"`
	Filter   string     `json:"filter"`
	Mode     string     `json:"mode"`
	Units    []string   `json:"units"`    // of those the filter trusts, the ones this host has
	Failures uint64     `json:"failures"` // counted since start
	Bans     int        `json:"bans"`     // in force
	Last     *time.Time `json:"last_failure,omitempty"`

	Containers []string       `json:"containers,omitempty"` // that the configuration names
	UserUnits  []string       `json:"user_units,omitempty"` // that the configuration names, each as UID/UNIT
	Refused    *RefusedStatus `json:"refused,omitempty"`    // nil: nothing since start
}

// RefusedStatus is about entries that come from one of a jail's units and look like its daemon's, but are not counted: another
// executable wrote them, they are lines of a container, or lines where only whole messages count.
type RefusedStatus struct {
	Entries   uint64    `json:"entries"`
	Time      time.Time `json:"time"` // of the last one, as what follows
	Exe       string    `json:"exe,omitempty"`
	Container string    `json:"container,omitempty"`
	Line      bool      `json:"line"` // only whole messages count
	Hint      string    `json:"hint"`
}

// Ban is one ban in force.
type Ban struct {
	ID       string     `json:"id"`
	Prefix   string     `json:"prefix"`
	Jail     string     `json:"jail"`
	Since    time.Time  `json:"since"`
	Until    *time.Time `json:"until"`            // null: for ever
	Failures int        `json:"failures"`         // attempts that led to it; of a network, parts of it that attacked
	Count    int        `json:"count"`            // 1 for the first ban of this prefix, 2 for the second, …
	Ports    string     `json:"ports,omitempty"`  // that are closed; absent: all
	Reason   string     `json:"reason,omitempty"` // of a ban by hand
	By       string     `json:"by,omitempty"`     // who, of a ban by hand
}

// BanList is a page of bans, ordered by prefix then jail.
type BanList struct {
	Bans  []Ban  `json:"bans"`
	Total int    `json:"total"`          // that fit the question, on all pages
	Next  string `json:"next,omitempty"` // give it as after= for the next page
}

// BanQuery asks for a page of bans. Empty fields are no condition.
type BanQuery struct {
	Jail     string
	Prefix   string // that covers the bans, or that they hold
	Observed bool   // what jails that only observe would have banned, in place of the bans in force
	Limit    int    // bans on the page; 0: the server's default
	After    string // BanList.Next of the page before
}

// BanRequest asks for bans by hand.
type BanRequest struct {
	Prefixes []string `json:"prefixes"`           // addresses or prefixes
	Jail     string   `json:"jail,omitempty"`     // default "manual": all ports
	Duration string   `json:"duration,omitempty"` // as in the configuration; default: the jail's ban_time
	Reason   string   `json:"reason,omitempty"`
	Force    bool     `json:"force,omitempty"` // although it is wider than /8 or /32, or holds an address of the host
}

// Removed says how many were taken away.
type Removed struct {
	Removed int `json:"removed"`
}

// AllowEntry is one prefix that is never banned.
type AllowEntry struct {
	Prefix  string        `json:"prefix"`
	Origin  string        `json:"origin"` // file:line, "self", "runtime" or "operator"
	Source  string        `json:"source"` // "config", "file", "list", "self", "runtime" or "operator"
	Comment string        `json:"comment,omitempty"`
	Until   *time.Time    `json:"until,omitempty"`
	Expired bool          `json:"expired,omitempty"` // until is over: it allows nothing any more
	List    string        `json:"list,omitempty"`    // the published list that it comes from
	URLs    []string      `json:"urls,omitempty"`    // from where that is fetched
	Session *AllowSession `json:"session,omitempty"` // of an operator, while it is open
}

// AllowSession is an operator's open ssh session.
type AllowSession struct {
	User  string    `json:"user"`
	Why   string    `json:"why"` // "root", "group sudo"
	PID   uint32    `json:"pid"`
	TTY   string    `json:"tty,omitempty"`
	ID    string    `json:"id,omitempty"` // logind's; absent for one that only the journal tells of
	Since time.Time `json:"since"`
}

// AllowWhy says by what an address is allowed.
type AllowWhy struct {
	Address string       `json:"address"`
	Allowed bool         `json:"allowed"` // all of it
	Entries []AllowEntry `json:"entries"` // that hold it, from narrow to wide, then those that lie within a prefix
	Expired []AllowEntry `json:"expired"` // that would, were they not over
}

// AllowRequest adds an entry at run time. It is kept over restarts with the state file.
type AllowRequest struct {
	Prefix   string `json:"prefix"`
	Duration string `json:"duration,omitempty"` // empty: for ever
	Comment  string `json:"comment,omitempty"`
}

// AllowResult is the entry and what it lifted.
type AllowResult struct {
	Entry  AllowEntry `json:"entry"`
	Lifted int        `json:"lifted"`
}

// Why explains what the daemon thinks of an address.
type Why struct {
	Address string       `json:"address"`
	State   string       `json:"state"` // "banned", "allowed", "counted" or "unknown"
	Allowed []AllowEntry `json:"allowed"`
	Bans    []WhyBan     `json:"bans"`
	Counted []WhyCount   `json:"counted"`
	History []History    `json:"history"` // earlier bans that escalation remembers

	BansTotal    int `json:"bans_total"`    // bans lists some of them where address is a wide prefix
	HistoryTotal int `json:"history_total"` // the same of history
}

// WhyBan is a ban with the lines that led to it.
type WhyBan struct {
	Ban
	Evidence []Line `json:"evidence"`
}

// WhyCount is what counts against a prefix in one window.
type WhyCount struct {
	Jail      string    `json:"jail"`             // of accounts and neighbours that of the latest failure; it may be empty
	Filter    string    `json:"filter,omitempty"` // of the jail
	Window    string    `json:"window"`           // "normal", "slow", "account" or "network"
	Length    float64   `json:"window_seconds"`
	Prefix    string    `json:"prefix"`                     // that is counted as one, and would be banned
	Failures  int       `json:"failures"`                   // that are kept one by one: those of evidence
	Attempts  int       `json:"attempts"`                   // that failed; of neighbours different parts of the prefix
	Count     int       `json:"count"`                      // what the attempts weigh
	MaxRetry  int       `json:"max_retry"`                  // the count that leads to a ban
	Missing   int       `json:"missing"`                    // what is missing to it
	Addresses int       `json:"addresses,omitempty"`        // that failed on the account, this one included
	Needed    int       `json:"addresses_needed,omitempty"` // that make it an attack
	Until     time.Time `json:"until"`                      // when the oldest of it ceases to count
	Evidence  []Line    `json:"evidence"`
}

// Line is a journal entry that is evidence.
type Line struct {
	Time       time.Time `json:"time"`
	Unit       string    `json:"unit,omitempty"`
	Identifier string    `json:"identifier,omitempty"`
	PID        uint32    `json:"pid,omitempty"`
	Message    string    `json:"message,omitempty"`
	Cursor     string    `json:"cursor"`
	Pattern    string    `json:"pattern,omitempty"` // of the jail's filter, that took the line
	Weight     int       `json:"weight,omitempty"`  // of what counts: what the attempt weighs
	Missing    string    `json:"missing,omitempty"` // why the line cannot be read any more
}

// History is what escalation remembers of a prefix.
type History struct {
	Prefix string     `json:"prefix"`
	Count  int        `json:"count"`
	Last   *time.Time `json:"last"` // end of the last ban; null: it has none
}

// Reloaded is the answer to a reload that went well.
type Reloaded struct {
	Jails   []string `json:"jails"`
	Config  []string `json:"config"`
	Notices []string `json:"notices"`
}

// Peer is who called, by SO_PEERCRED.
type Peer struct {
	PID  int32
	UID  uint32
	GID  uint32
	User string // name, or the number
}

// Daemon is what the server asks. Every method may be called from any goroutine and must honour ctx. An *Error gives the
// HTTP status; any other error becomes 500.
type Daemon interface {
	Status(ctx context.Context) (*Status, error)
	Bans(ctx context.Context, q BanQuery) (*BanList, error)
	Ban(ctx context.Context, by Peer, req BanRequest) ([]Ban, error)
	Unban(ctx context.Context, by Peer, prefix, jail string, all bool) (*Removed, error)
	Allowed(ctx context.Context) ([]AllowEntry, error)
	AllowWhy(ctx context.Context, address string) (*AllowWhy, error)
	Allow(ctx context.Context, by Peer, req AllowRequest) (*AllowResult, error)
	Disallow(ctx context.Context, by Peer, prefix string) (*Removed, error)
	Why(ctx context.Context, address string) (*Why, error)
	Firewall(ctx context.Context) (*Firewall, error)
	RepairFirewall(ctx context.Context, by Peer, force bool) (*FirewallRepair, error)
	// Events tells what happens until ctx ends; then, or when the daemon does, the channel may be closed. It never waits for
	// its reader: what does not fit the channel's buffer is left out, and then a "missed" says so.
	Events(ctx context.Context) (<-chan Event, error)
	Config(ctx context.Context) ([]byte, error)
	Reload(ctx context.Context, by Peer) (*Reloaded, error)
}
