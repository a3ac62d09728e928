package replay

import (
	"net/netip"
	"strings"

	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy"
	"bailiff/policy/jail"
)

// The lines of `bailiff replay --json`. bailiff(1) documents their keys, which do not change.

type failureLine struct {
	Kind     string       `json:"kind"` // "failure"
	Time     string       `json:"time"`
	Jail     string       `json:"jail"`
	Pattern  string       `json:"pattern"`
	Address  netip.Addr   `json:"address"`
	Prefix   netip.Prefix `json:"prefix"`
	User     *string      `json:"user"`
	Port     *uint16      `json:"port"`
	Attempts int          `json:"attempts"` // that this entry added
	Count    int          `json:"count"`    // weight of the prefix's window, this entry included
	Cursor   string       `json:"cursor"`
}

func newFailureLine(f *policy.Failure, cursor string) *failureLine {
	l := &failureLine{Kind: "failure", Time: text.RFC3339(f.Time), Jail: f.Jail, Pattern: f.Pattern, Address: f.Addr, Prefix: f.Prefix, Attempts: f.Attempts, Count: f.Count, Cursor: cursor}
	if len(f.User) > 0 {
		u := strings.ToValidUTF8(string(f.User), "\uFFFD")
		l.User = &u
	}
	if f.Port != 0 {
		l.Port = &f.Port
	}
	return l
}

type banLine struct {
	Kind     string       `json:"kind"` // "ban"
	Time     string       `json:"time"`
	Jail     string       `json:"jail"`
	Prefix   netip.Prefix `json:"prefix"`
	Until    *string      `json:"until"` // null: forever
	Failures int          `json:"failures"`
	Count    int          `json:"count"` // 1 for the first ban of this prefix, 2 for the second, …
	Reason   string       `json:"reason"`
	ID       string       `json:"id"`
	Observed bool         `json:"observed,omitempty"` // the jail only observes: nothing would be blocked
	Evidence []string     `json:"evidence"`           // cursors
}

func newBanLine(b *policy.Ban, cursor func(jail.Ref) string) *banLine {
	l := &banLine{Kind: "ban", Time: text.RFC3339(b.Since), Jail: b.Jail, Prefix: b.Prefix, Until: timeOrNull(b.Until), Failures: b.Failures, Count: b.Count, Reason: b.Reason,
		ID: b.ID(), Observed: b.Observed, Evidence: []string{}}
	for _, f := range b.Evidence {
		l.Evidence = append(l.Evidence, cursor(f.Ref))
	}
	return l
}

// timeOrNull is a time for JSON; nil for 0, a ban without end.
func timeOrNull(us int64) *string {
	if us == 0 {
		return nil
	}
	s := text.RFC3339(us)
	return &s
}

type suspectLine struct {
	Kind       string       `json:"kind"` // "suspect"
	Time       string       `json:"time"` // of the ban
	Jail       string       `json:"jail"`
	Prefix     netip.Prefix `json:"prefix"`
	Reason     string       `json:"reason"`
	Logins     int          `json:"logins"`     // hours with logins from the prefix within seven days before or after
	Deliveries int          `json:"deliveries"` // hours with mail accepted from it
	Before     *string      `json:"before"`     // the last login or mail before the ban; null: none
	After      *string      `json:"after"`      // the first one after it
	Cursors    []string     `json:"evidence"`
	Lines      []string     `json:"lines"`

	since, before, after int64 // the times again
}

type summary struct {
	Kind     string  `json:"kind"` // "summary"
	Entries  uint64  `json:"entries"`
	Failures uint64  `json:"failures"`
	Bans     uint64  `json:"bans"`
	Suspects int     `json:"suspects"` // bans of addresses that logged in or delivered mail within seven days
	Seconds  float64 `json:"seconds"`
}

type comparedBan struct {
	Jail     string       `json:"jail"`
	Prefix   netip.Prefix `json:"prefix"`
	Since    string       `json:"since"`
	Until    *string      `json:"until"` // null: forever
	Failures int          `json:"failures"`
	Count    int          `json:"count"`
}

type changeLine struct {
	Kind   string       `json:"kind"`   // one of changeKinds
	Before *comparedBan `json:"before"` // under the configuration in force; null: no such ban
	After  *comparedBan `json:"after"`  // under the other one
}

type comparisonSummary struct {
	Kind     string         `json:"kind"` // "summary"
	Entries  uint64         `json:"entries"`
	Before   sideTotal      `json:"before"`
	After    sideTotal      `json:"after"`
	Changes  map[string]int `json:"changes"` // number of each kind, "same" included
	Seconds  float64        `json:"seconds"`
	Differ   bool           `json:"differ"`
	OnlyHere int            `json:"prefixes_only_before"` // prefixes that no ban of the other configuration covers or lies in, ever
	OnlyThen int            `json:"prefixes_only_after"`
}

type sideTotal struct {
	Failures uint64 `json:"failures"`
	Bans     int    `json:"bans"`
	Prefixes int    `json:"prefixes"`
}
