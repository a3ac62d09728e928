// Package control is the daemon's control socket: HTTP with JSON on a unix socket. api.go names every call, request and
// answer; server.go serves them and checks the caller's credentials; client.go is the client.
//
//	GET    /v1/status                                  Status
//	GET    /v1/bans?jail=J&prefix=P&limit=N&after=KEY  BanList     (more parameters: BanQuery)
//	POST   /v1/bans       BanRequest                   []Ban       (admin: root)
//	DELETE /v1/bans?prefix=P&jail=J | ?all=true        Removed     (admin: root)
//	GET    /v1/allow                                   []AllowEntry
//	GET    /v1/allow?address=A                         AllowWhy
//	POST   /v1/allow      AllowRequest                 AllowResult (admin: root)
//	DELETE /v1/allow?prefix=P                          Removed     (admin: root)
//	GET    /v1/why?address=A                           Why
//	GET    /v1/firewall                                Firewall
//	POST   /v1/firewall/repair?force=true              FirewallRepair (admin: root)
//	GET    /v1/events?quiet=true                       Event, Event, …: JSON lines until the client leaves; quiet: no failures
//	GET    /v1/history?since=D&prefix=P&jail=J&limit=N HistoryLine, HistoryLine, …: JSON lines
//	GET    /v1/filters                                 []FilterInfo
//	GET    /v1/match?line=L&filter=F&mode=M            []Match
//	GET    /v1/lists                                   BlockLists
//	GET    /v1/fleet                                   FleetStatus
//	POST   /v1/fleet      FleetNews                    FleetApplied (root and FleetUser)
//	PUT    /v1/fleet/hosts  FleetHosts                 FleetHostsSet (root and FleetUser)
//	POST   /v1/fleet/failures  FleetSummaries          FleetSummariesTaken (root and FleetUser)
//	GET    /v1/fleet/evidence?prefix=P&jail=J&host=H   FleetEvidence
//	PUT    /v1/fleet/evidence  FleetEvidence           FleetEvidence (root and FleetUser)
//	PUT    /v1/fleet/agent  FleetAgent                 FleetAgentStatus (root and FleetUser)
//	GET    /v1/config                                  text/yaml, the merged configuration in use
//	POST   /v1/reload                                  Reloaded    (admin: root)
//	GET    /metrics                                    metrics for Prometheus, as text or OpenMetrics
//
// Calls without a mark need the right read: root, the daemon's own user and members of group bailiff have it. POST
// /v1/reload is also open to the daemon's own user, which ExecReload= runs as. An error is an Error object with a fitting
// HTTP status. All calls and keys exist since 1.0; bailiffd(8) documents them.
//
// A program that acts for somebody as root, such as Cockpit, names them in the header Bailiff-User, which becomes part of the caller's
// name in the audit trail. openapi.json, which describes the calls, is generated from this package.
package control

//go:generate go test -run ^TestOpenAPI$ . -update

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"bailiff/policy/fleet"
	"bailiff/units/metrics"
)

// DefaultPath is where bailiff.socket listens.
const DefaultPath = "/run/bailiff/control"

// Moment is a time that an answer may leave out: nil for the zero time.
func Moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.Round(0)
	return &t
}

// Error is the answer to a failed call.
type Error struct {
	Status  int    `json:"-"`
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"`

	cause error // in a client: ErrNotRunning or a context's error
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.cause }

// Status is the state of the daemon.
type Status struct {
	Version    string         `json:"version"`
	PID        int            `json:"pid"`
	Started    time.Time      `json:"started"`
	Reloaded   *time.Time     `json:"reloaded,omitempty"`
	Problems   Problems       `json:"problems"`               // empty when all is well
	Config     []string       `json:"config"`                 // files in use
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
	Allowed    uint64         `json:"allowed"`     // failures ignored because of the allow list
	Lists      []ListStatus   `json:"lists"`       // published allow lists
	BlockLists []BlockList    `json:"block_lists"` // published block lists
	Reports    int            `json:"reports"`     // configured destinations of reports: see DialReport
	Memory     uint64         `json:"memory"`      // bytes of anonymous memory (RssAnon)
}

// Problem is something that an administrator should look at.
type Problem struct {
	Source string    `json:"source"` // firewall, configuration, journal, state file, …
	Text   string    `json:"text"`
	Since  time.Time `json:"since"`
}

// Problems are all current ones.
type Problems []Problem

func (p Problems) String() string {
	var b strings.Builder
	for _, x := range p {
		b.WriteString(x.Text + "\n")
	}
	return b.String()
}

// SpreadStatus is about attacks by many addresses, counted over all jails.
type SpreadStatus struct {
	Accounts  int    `json:"accounts"`  // with more than one failure lately
	Attacked  int    `json:"attacked"`  // of those, under attack now
	Networks  int    `json:"networks"`  // of which parts attacked
	Crowded   uint64 `json:"crowded"`   // accounts dropped to make room for others
	Cut       uint64 `json:"cut"`       // prefixes whose slow window was cut short and networks dropped, to make room
	Displaced uint64 `json:"displaced"` // records of logins dropped to make room for later ones
}

// JournalStatus is how far the journal has been read.
type JournalStatus struct {
	Cursor   string    `json:"cursor"`
	Time     time.Time `json:"time"`    // of the entry last read
	Entries  uint64    `json:"entries"` // read since start
	Lag      float64   `json:"lag_seconds"`
	Dropped  uint64    `json:"dropped"` // messages of watched units that journald suppressed by its rate limit
	Files    int       `json:"files"`
	Problems []string  `json:"problems,omitempty"` // damaged files and the like
}

// FirewallStatus is the state of the firewall backend.
type FirewallStatus struct {
	Backend  string    `json:"backend"`
	Why      string    `json:"why"` // why this backend
	OK       bool      `json:"ok"`
	Error    string    `json:"error,omitempty"`
	Checked  time.Time `json:"checked"`
	Repaired uint64    `json:"repaired"`            // times that rules or sets had to be rebuilt
	Stopped  []Stopped `json:"stopped" null:"true"` // by set; null where the backend does not count

	// Open are the container networks of this host whose published ports the backend does not close to banned addresses.
	// bailiff status fills it in.
	Open []string `json:"open,omitempty"`
}

// Stopped is what the rules of one set have dropped since they were created.
type Stopped struct {
	Set     string `json:"set"`
	Scope   string `json:"scope"` // the jail whose ports are blocked; empty: all traffic
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Firewall compares what the firewall holds with what it should hold.
type Firewall struct {
	FirewallStatus
	Looked  time.Time      `json:"looked"`
	Seconds float64        `json:"seconds"` // that it took; no ban was carried out meanwhile
	Bans    int            `json:"bans"`    // wanted: each prefix once for all traffic and once per jail with ports
	Intact  bool           `json:"intact"`  // nothing differs
	Parts   []FirewallPart `json:"parts"`
	Sets    []FirewallSet  `json:"sets"`
}

// FirewallPart is a table, a policy or a similar object.
type FirewallPart struct {
	Name    string `json:"name"`           // as the host's own tools call it
	Want    string `json:"want,omitempty"` // what it should be
	Present bool   `json:"present"`
	Problem string `json:"problem,omitempty"` // how it differs from want
	Foreign bool   `json:"foreign,omitempty"` // made by others: removed only by force
}

// FirewallSet is a set and its contents.
type FirewallSet struct {
	FirewallPart
	Scope        string     `json:"scope"`
	Bans         int        `json:"bans"`     // wanted
	Held         int        `json:"held"`     // found
	Forever      int        `json:"forever"`  // of those held, without an end
	Next         *time.Time `json:"next_end"` // when the first ends; null when none does
	Missing      Prefixes   `json:"missing"`
	Unexpected   Prefixes   `json:"unexpected"`    // held, but not wanted
	WrongTimeout Prefixes   `json:"wrong_timeout"` // held, but with another end
	Packets      *uint64    `json:"packets"`       // dropped; null where the backend does not count
	Bytes        *uint64    `json:"bytes"`
}

// Prefixes is a number of prefixes and the first of them.
type Prefixes struct {
	Count int      `json:"count"`
	Some  []string `json:"prefixes"` // 100 at most
}

// FirewallRepair is the result of a repair.
type FirewallRepair struct {
	Before    *Firewall `json:"before"` // null if the check failed
	After     *Firewall `json:"after"`
	Added     int       `json:"added"` // bans restored
	Removed   int       `json:"removed"`
	Refreshed int       `json:"refreshed"` // whose end was corrected
	Repaired  []string  `json:"repaired"`  // rules and sets that were rebuilt
	Evicted   []string  `json:"evicted"`   // objects of others that were removed by force
}

// ListStatus is a published allow list.
type ListStatus struct {
	Name    string     `json:"name"`
	Entries int        `json:"entries"`           // in effect
	Fetched *time.Time `json:"fetched,omitempty"` // when it was fetched
	Checked *time.Time `json:"checked,omitempty"` // when the source was last asked
	Refused string     `json:"refused,omitempty"` // why its latest version was refused
	Failed  string     `json:"failed,omitempty"`  // why it could not be fetched
}

// JailStatus is one jail.
type JailStatus struct {
	Name     string     `json:"name"`
	Filter   string     `json:"filter"`
	Mode     string     `json:"mode"`
	Units    []string   `json:"units"`    // trusted units that this host has
	Failures uint64     `json:"failures"` // since start
	Bans     int        `json:"bans"`     // in effect
	Last     *time.Time `json:"last_failure,omitempty"`

	Containers []string       `json:"containers,omitempty"` // named by the configuration
	UserUnits  []string       `json:"user_units,omitempty"` // named by the configuration, each as UID/UNIT
	Refused    *RefusedStatus `json:"refused,omitempty"`    // null: none since start
}

// RefusedStatus is about entries from a jail's units that match its filter but are not trusted: another executable wrote them,
// they are lines of a container, or they are lines where only whole messages count.
type RefusedStatus struct {
	Entries   uint64    `json:"entries"`
	Time      time.Time `json:"time"` // of the last one, like the fields below
	Exe       string    `json:"exe,omitempty"`
	Container string    `json:"container,omitempty"`
	Line      bool      `json:"line"` // only whole messages count
	Hint      string    `json:"hint"`
}

// Ban is one ban in effect.
type Ban struct {
	ID       string     `json:"id"`
	Prefix   string     `json:"prefix"`
	Jail     string     `json:"jail"`
	Since    time.Time  `json:"since"`
	Until    *time.Time `json:"until"`            // null: forever
	Failures int        `json:"failures"`         // attempts that led to it; of a network, the parts of it that attacked
	Count    int        `json:"count"`            // 1 for the first ban of this prefix, 2 for the second, …
	Ports    string     `json:"ports,omitempty"`  // that are blocked; absent: all
	Reason   string     `json:"reason,omitempty"` // of a ban by hand
	By       string     `json:"by,omitempty"`     // who, of a ban by hand

	Country string `json:"country,omitempty"` // ISO 3166 code, where a list has facets and the host has a GeoIP database
}

// BanList is a page of bans, ordered by prefix then jail.
type BanList struct {
	Bans   []Ban   `json:"bans"`
	Total  int     `json:"total"`            // matching bans on all pages
	Next   string  `json:"next,omitempty"`   // parameter after= of the next page
	Facets *Facets `json:"facets,omitempty"` // if asked for
}

// BanQuery selects a page of bans. Empty fields select everything.
type BanQuery struct {
	Jail     string
	Prefix   string // bans that cover it or lie in it
	Observed bool   // instead of the bans in effect, those that observing jails would have made
	Limit    int    // per page; 0: the server's default
	After    string // BanList.Next of the page before

	Search  string // text in prefix, jail, reason or user; an address or prefix finds what covers it or lies in it
	Origin  string // OriginDaemon or OriginHand
	Reason  string // as in Ban
	Country string // ISO 3166 code
	Newest  bool   // the newest first, instead of ordered by prefix
	Facets  bool   // count the bans that each further filter would leave
}

// BanRequest asks for bans by hand.
type BanRequest struct {
	Prefixes []string `json:"prefixes"`           // addresses or prefixes
	Jail     string   `json:"jail,omitempty"`     // default "manual": all ports
	Duration string   `json:"duration,omitempty"` // as in the configuration; default: the jail's ban_time
	Reason   string   `json:"reason,omitempty"`
	Force    bool     `json:"force,omitempty"` // allow prefixes wider than /8 (IPv6: /32)
}

// Removed is the number of removed entries.
type Removed struct {
	Removed int `json:"removed"`
}

// AllowEntry is one prefix that is never banned.
type AllowEntry struct {
	Prefix  string        `json:"prefix"`
	Origin  string        `json:"origin"` // file:line, "self", "runtime" or "operator"
	Source  string        `json:"source"` // "config", "file", "list", "self", "runtime", "fleet" or "operator"
	Comment string        `json:"comment,omitempty"`
	Until   *time.Time    `json:"until,omitempty"`
	Expired bool          `json:"expired,omitempty"` // until has passed: the entry has no effect
	List    string        `json:"list,omitempty"`    // the published list
	URLs    []string      `json:"urls,omitempty"`    // sources of that list
	Session *AllowSession `json:"session,omitempty"` // of an operator, while it lasts
}

// AllowSession is an operator's open ssh session.
type AllowSession struct {
	User  string    `json:"user"`
	Why   string    `json:"why"` // "root", "group sudo"
	PID   uint32    `json:"pid"`
	TTY   string    `json:"tty,omitempty"`
	ID    string    `json:"id,omitempty"` // logind's; absent if only the journal knows the session
	Since time.Time `json:"since"`
}

// AllowWhy explains which entries allow an address.
type AllowWhy struct {
	Address string       `json:"address"`
	Allowed bool         `json:"allowed"` // all of it
	Entries []AllowEntry `json:"entries"` // that cover it, from narrow to wide, then those that lie in it
	Expired []AllowEntry `json:"expired"` // that would, had they not expired
}

// AllowRequest adds an entry at run time. It is kept over restarts with the state file.
type AllowRequest struct {
	Prefix   string `json:"prefix"`
	Duration string `json:"duration,omitempty"` // empty: forever
	Comment  string `json:"comment,omitempty"`
}

// AllowResult is the new entry and the number of bans that it lifted.
type AllowResult struct {
	Entry  AllowEntry `json:"entry"`
	Lifted int        `json:"lifted"`
}

// Why explains why an address is banned, allowed or counted.
type Why struct {
	Address string       `json:"address"`
	State   string       `json:"state"` // "banned", "allowed", "counted" or "unknown"
	Allowed []AllowEntry `json:"allowed"`
	Bans    []WhyBan     `json:"bans"`
	Counted []WhyCount   `json:"counted"`
	History []History    `json:"history"` // earlier bans, which escalation counts
	Fleet   []FleetWhy   `json:"fleet"`   // bans of other hosts, lifted ones included

	Together *FleetCounted `json:"together,omitempty"` // failures that hosts have counted together

	Lists []BlockHolding `json:"lists"` // published block lists that hold it

	BansTotal    int `json:"bans_total"`    // of a wide prefix Bans holds only the first
	HistoryTotal int `json:"history_total"` // likewise History
}

// WhyBan is a ban with its evidence.
type WhyBan struct {
	Ban
	Evidence []Line `json:"evidence"`
}

// WhyCount is what counts against a prefix in one window.
type WhyCount struct {
	Jail      string    `json:"jail"`             // of accounts and networks that of the latest failure; it may be empty
	Filter    string    `json:"filter,omitempty"` // of the jail
	Window    string    `json:"window"`           // "normal", "slow", "account" or "network"
	Length    float64   `json:"window_seconds"`
	Prefix    string    `json:"prefix"`                     // that is counted as one and would be banned
	Failures  int       `json:"failures"`                   // that Evidence holds
	Attempts  int       `json:"attempts"`                   // that failed; of a network the parts of it that attacked
	Count     int       `json:"count"`                      // weight of the attempts
	MaxRetry  int       `json:"max_retry"`                  // the count that leads to a ban
	Missing   int       `json:"missing"`                    // what is missing to MaxRetry
	Addresses int       `json:"addresses,omitempty"`        // that failed on the account, this one included
	Needed    int       `json:"addresses_needed,omitempty"` // that make an attack
	Until     time.Time `json:"until"`                      // when the oldest failure ceases to count
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
	Pattern    string    `json:"pattern,omitempty"` // of the jail's filter that matched
	Weight     int       `json:"weight,omitempty"`  // of the attempt
	Missing    string    `json:"missing,omitempty"` // why the line can no longer be read
}

// History is the earlier bans of a prefix.
type History struct {
	Prefix string     `json:"prefix"`
	Count  int        `json:"count"`
	Last   *time.Time `json:"last"` // end of the last ban; null: it has none
}

// Reloaded is the answer to a successful reload.
type Reloaded struct {
	Jails   []string `json:"jails"`
	Config  []string `json:"config"`
	Notices []string `json:"notices"`
}

// Peer is the caller, by SO_PEERCRED.
type Peer struct {
	PID  int32
	UID  uint32
	GID  uint32
	User string // name, or the number
}

// Daemon answers the server's calls. The server has checked and parsed the addresses in them. Its methods are called from any goroutine and
// must respect ctx. An *Error sets the HTTP status; any other error becomes 500.
type Daemon interface {
	Status(ctx context.Context) (*Status, error)
	Bans(ctx context.Context, q BanQuery, within netip.Prefix) (*BanList, error) // not valid: all
	Ban(ctx context.Context, by Peer, req BanRequest, prefixes []netip.Prefix) ([]Ban, error)
	Unban(ctx context.Context, by Peer, p netip.Prefix, jail string) (*Removed, error) // not valid: all
	Allowed(ctx context.Context) ([]AllowEntry, error)
	AllowWhy(ctx context.Context, p netip.Prefix) (*AllowWhy, error)
	Allow(ctx context.Context, by Peer, req AllowRequest, p netip.Prefix) (*AllowResult, error)
	Disallow(ctx context.Context, by Peer, p netip.Prefix) (*Removed, error)
	Why(ctx context.Context, p netip.Prefix) (*Why, error)
	Firewall(ctx context.Context) (*Firewall, error)
	RepairFirewall(ctx context.Context, by Peer, force bool) (*FirewallRepair, error)
	// Events sends what happens until ctx or the daemon ends; then the channel may be closed. It never waits for its reader:
	// events that do not fit into the channel's buffer are left out, and an event "missed" counts them. If quiet, failures are left
	// out, and not counted.
	Events(ctx context.Context, quiet bool) (<-chan Event, error)
	// History calls emit with each HistoryLine, until it returns an error. An error before the first is the call's own.
	History(ctx context.Context, q HistoryQuery, within netip.Prefix, emit func(*HistoryLine) error) error
	Filters(ctx context.Context) ([]FilterInfo, error)
	Match(ctx context.Context, q MatchQuery) ([]Match, error)
	Config(ctx context.Context) ([]byte, error)
	Reload(ctx context.Context, by Peer) (*Reloaded, error)
	Metrics(ctx context.Context) (*metrics.Set, error)
	BlockLists(ctx context.Context) (*BlockLists, error)
	Fleet(ctx context.Context) (*FleetStatus, error)
	SetFleetHosts(ctx context.Context, r fleet.Roster) (*FleetHostsSet, error)
	SetFleetAgent(ctx context.Context, a FleetAgent) (*FleetAgentStatus, error)
	CountFleet(ctx context.Context, s FleetSummaries) (*FleetSummariesTaken, error)
	FleetEvidence(ctx context.Context, host string, p netip.Prefix, jail string) (*FleetEvidence, error)
	AnswerFleet(ctx context.Context, v FleetEvidence) (*FleetEvidence, error)
	ApplyFleet(ctx context.Context, news []fleet.News, live bool) (*FleetApplied, error)
}
