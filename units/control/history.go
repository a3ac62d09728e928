package control

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// HistoryQuery selects past bans and their ends.
type HistoryQuery struct {
	Since    string // how far back, as durations of the configuration: 24h, 30d
	Prefix   string // bans that cover it or lie in it
	Jail     string
	Reason   string // of bans, as Facets has it: "failures", "manual", …
	Country  string // two letters
	Limit    int    // of the records that are listed; all are counted
	Lifted   bool   // list only ends of bans that would still be in force
	Accounts bool   // count the accounts that the newest bans were about
}

// HistoryLine is one line of GET /v1/history, which reads the audit trail in the journal, the newest entries first.
type HistoryLine struct {
	// Kind is "ban", "extend" or "unban" (a record), "progress", "summary" (the last line), or "error" (the search has failed).
	Kind     string     `json:"kind"`
	Time     time.Time  `json:"time"` // of the record; of a progress, how far back the search has come
	Jail     string     `json:"jail,omitempty"`
	Prefix   string     `json:"prefix,omitempty"`
	ID       string     `json:"id,omitempty"`
	Since    *time.Time `json:"since,omitempty"` // of an unban: when the ban began
	Until    *time.Time `json:"until,omitempty"` // of the ban; absent: forever
	Failures int        `json:"failures,omitempty"`
	Count    int        `json:"count,omitempty"`
	Reason   string     `json:"reason,omitempty"`
	By       string     `json:"by,omitempty"`
	Country  string     `json:"country,omitempty"`

	Read    uint64          `json:"read,omitempty"`    // of a progress: audit entries so far
	Share   float64         `json:"share,omitempty"`   // of a progress: of the time that is searched
	Summary *HistorySummary `json:"summary,omitempty"` // of a summary
	Error   string          `json:"error,omitempty"`
}

// HistorySummary counts the bans of a time.
type HistorySummary struct {
	Since    time.Time       `json:"since"`                // of the search
	Complete bool            `json:"complete"`             // false: the search took too long, and ended at Reached
	Reached  time.Time       `json:"reached"`              // of the oldest entry that was read
	Total    int             `json:"total"`                // records that match, listed or not
	Periods  []HistoryPeriod `json:"periods"`              // the last day, week and month, as far as the search reaches
	Hours    []HistoryHour   `json:"hours"`                // that have bans, the oldest first
	Accounts []Facet         `json:"accounts" null:"true"` // null: not asked for
	Looked   int             `json:"looked"`               // bans whose account was looked up
}

// HistoryPeriod counts the bans of a period that ends now.
type HistoryPeriod struct {
	Hours     int     `json:"hours"` // its length
	Bans      int     `json:"bans"`
	Jails     []Facet `json:"jails"`
	Reasons   []Facet `json:"reasons"`
	Countries []Facet `json:"countries" null:"true"` // null: the host has no GeoIP database
	Networks  []Facet `json:"networks"`              // each IPv4 /24 and IPv6 /48, the first ten
}

// HistoryHour is an hour with bans.
type HistoryHour struct {
	Time time.Time `json:"time"` // its begin
	Bans int       `json:"bans"`
}

// Bounds of a search in the audit trail.
const (
	defaultHistory = 200  // records
	MaxHistory     = 5000 // records; the most that are listed
	MaxLifted      = 100_000
	historyTime    = 2 * time.Minute
)

// history answers with lines as they come. The answer begins with the first line, so that an error before it has its HTTP status.
func (s *Server) history(r *http.Request, q url.Values, _ Peer) (any, error) {
	ask := HistoryQuery{Since: q.Get("since"), Prefix: q.Get("prefix"), Jail: q.Get("jail"), Reason: q.Get("reason"), Country: q.Get("country")}
	var err error
	if ask.Lifted, err = yes(q, "lifted"); err != nil {
		return nil, err
	}
	most := MaxHistory
	if ask.Lifted { // bailiff-fleet has to know all of them
		most = MaxLifted
	}
	if ask.Limit, err = limit(q, defaultHistory, most, ""); err != nil {
		return nil, err
	}
	var within netip.Prefix
	if ask.Prefix != "" {
		if within, err = prefix("prefix", ask.Prefix); err != nil {
			return nil, err
		}
	}
	if ask.Accounts, err = yes(q, "accounts"); err != nil {
		return nil, err
	}
	return streamed(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), historyTime)
		defer cancel()
		go func() {
			select {
			case <-s.streams.stop:
				cancel()
			case <-ctx.Done():
			}
		}()
		out := s.newLines(w)
		emit := func(l *HistoryLine) error {
			err := out.Encode(l)
			if err == nil {
				err = out.send()
			}
			if err == nil && l.Kind != "ban" && l.Kind != "unban" && l.Kind != "extend" {
				err = out.c.Flush()
			}
			return err
		}
		err := s.d.History(ctx, ask, within, emit)
		switch {
		case err != nil && !out.begun:
			s.answer(w, nil, err)
		case err != nil:
			emit(&HistoryLine{Kind: "error", Time: time.Now(), Error: err.Error()})
		}
	}), nil
}

// History calls f with each line of a search in the audit trail.
func (c *Client) History(ctx context.Context, ask HistoryQuery, f func(*HistoryLine) error) error {
	q := query("since", ask.Since, "prefix", ask.Prefix, "jail", ask.Jail, "reason", ask.Reason, "country", ask.Country)
	if ask.Limit != 0 {
		q.Set("limit", strconv.Itoa(ask.Limit))
	}
	if ask.Accounts {
		q.Set("accounts", "true")
	}
	if ask.Lifted {
		q.Set("lifted", "true")
	}
	return readLines(ctx, c, "/v1/history", q.Encode(), f)
}
