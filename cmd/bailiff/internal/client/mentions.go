package client

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/past"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/journal"
	"bailiff/journal/evidence"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/units/control"
)

// mentions are the recent journal entries that name an address without failures on record. bailiff(1) documents the keys.
type mentions struct {
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`   // where the search ended
	Looked  uint64    `json:"looked"`  // entries of the services that filters trust
	Entries int       `json:"entries"` // that name the address
	Latest  []mention `json:"latest"`
}

type mention struct {
	control.Line
	Meaning string `json:"meaning"` // why it does not count
}

// Bounds of the search: it is an extra, and must not delay the answer.
const (
	mentionsBack  = 24 * time.Hour
	mentionsTime  = 2 * time.Second
	mentionsShown = 5
)

// jailMatcher is an enabled jail with its filter in the jail's mode.
type jailMatcher struct {
	jail *config.Jail
	*filter.Matcher
}

// findMentions searches the recent entries of the services that filters trust for an address or prefix.
func findMentions(ctx context.Context, address string, paths []string) (*mentions, error) {
	prefix := asPrefix(address)
	if !prefix.IsValid() {
		return nil, fmt.Errorf("%q is not an address", address)
	}
	c, err := settings.Load("")
	if err != nil {
		return nil, err
	}
	var jails []jailMatcher
	var all []*filter.Matcher
	for i := range c.Jails {
		if j := &c.Jails[i]; j.Enabled {
			m, err := j.Filter.Mode(j.Mode)
			if err != nil {
				return nil, err
			}
			jails, all = append(jails, jailMatcher{j, m}), append(all, m)
		}
	}
	src, err := journal.Paths(paths...)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	r := &mentions{Since: began.Add(-mentionsBack), Until: began, Latest: []mention{}}
	j, err := past.OpenAt(src, journal.Options{Matches: evidence.Matches(all), Fields: evidence.Fields, MaxValue: evidence.MaxValue}, r.Since)
	if err != nil {
		return nil, err
	}
	defer j.Close()
	var fe filter.Entry
	for j.Next() {
		entry := j.Entry()
		if r.Looked++; r.Looked&0xfff == 0 && (time.Since(began) > mentionsTime || ctx.Err() != nil) {
			r.Until = time.UnixMicro(int64(entry.Realtime))
			break
		}
		evidence.Convert(entry, &fe)
		meaning, named := meaningOf(&fe, prefix, jails)
		if !named {
			continue
		}
		r.Entries++
		r.Latest = append(r.Latest, mention{control.Line{
			Time: time.UnixMicro(fe.Realtime), Unit: string(fe.Unit), Identifier: string(fe.Identifier), PID: fe.PID,
			Message: strings.ToValidUTF8(string(fe.Message), "\uFFFD"), Cursor: entry.Cursor.String(),
		}, meaning})
		if len(r.Latest) > mentionsShown {
			r.Latest = slices.Delete(r.Latest, 0, 1)
		}
	}
	return r, nil
}

// meaningOf reports whether an entry names the prefix, and why it does not count as a failure of it.
func meaningOf(fe *filter.Entry, prefix netip.Prefix, jails []jailMatcher) (meaning string, named bool) {
	const unmatched = "no pattern matches it"
	meaning = unmatched
	named = prefix.IsSingleIP() && evidence.ContainsAddress(fe.Message, []byte(prefix.Addr().String()))
	var h filter.Hit
	for _, x := range jails {
		if !x.MatchMessage(fe.Message, &h) {
			continue
		}
		if h.Addr.IsValid() && prefix.Contains(h.Addr) {
			named = true
		} else if !named {
			continue
		}
		where := fmt.Sprintf("jail %s, pattern %s", x.jail.Name, h.Pattern.Name)
		switch {
		case !x.Trusts(fe):
			if meaning == unmatched {
				meaning = where + ": not trusted, " + x.Why(fe)
			}
			continue // another jail may trust it
		case h.Kind == filter.Success:
			return where + ": a successful login", named
		case h.Kind == filter.Context || !h.Addr.IsValid():
			return where + ": no evidence by itself", named
		case !prefix.Contains(h.Addr):
			return where + ": a failure of " + h.Addr.String(), named
		}
		return where + ": a failure; it was forgiven, is too old, or came while the address was banned or allowed", named
	}
	return meaning, named
}

func printMentions(e *cli.Env, m *mentions) {
	span := "in the last " + text.Duration(m.Until.Sub(m.Since))
	if time.Since(m.Until) > time.Minute {
		span = "from " + text.Time(m.Since) + " to " + text.Time(m.Until) + ", where the search ended"
	}
	looked := diag.Count(m.Looked, "entry") + " of watched services " + span
	if m.Entries == 0 {
		e.Printf("  no mention of it in %s\n", looked)
		return
	}
	latest := ""
	if m.Entries > len(m.Latest) {
		latest = "; the latest"
	}
	e.Printf("  named by %d of %s; none counts%s:\n", m.Entries, looked, latest)
	for i := range m.Latest {
		printEvidence(e, []control.Line{m.Latest[i].Line})
		e.Printf("      %s\n", text.Clean(m.Latest[i].Meaning))
	}
}
