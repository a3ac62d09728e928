package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bailiff/journal"
	"bailiff/journal/evidence"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/units/control"
)

// mentions is what the journal has of an address that nothing is counted of. Its keys are documented in bailiff(1) and stay.
type mentions struct {
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`   // how far the search came
	Looked  uint64    `json:"looked"`  // entries of the services that filters trust
	Entries int       `json:"entries"` // that name the address
	Latest  []mention `json:"latest"`
}

type mention struct {
	control.Line
	Meaning string `json:"meaning"` // why it does not count
}

// Bounds of the search: it is an extra, and must not keep an answer waiting.
const (
	mentionsBack  = 24 * time.Hour
	mentionsTime  = 2 * time.Second
	mentionsShown = 5
)

// search looks for an address in what the services that filters trust wrote of late.
func (e *env) search(address string, paths []string) (*mentions, error) {
	p, err := netip.ParsePrefix(address)
	if err != nil {
		a, err := netip.ParseAddr(address)
		if err != nil {
			return nil, err
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	c, err := loadConfig("")
	if err != nil {
		return nil, err
	}
	type judge struct {
		jail *config.Jail
		m    *filter.Matcher
	}
	var judges []judge
	var all []*filter.Matcher
	for i := range c.Jails {
		if j := &c.Jails[i]; j.Enabled {
			m, err := j.Filter.Mode(j.Mode)
			if err != nil {
				return nil, err
			}
			judges, all = append(judges, judge{j, m}), append(all, m)
		}
	}
	src, err := journal.Paths(paths...)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	r := &mentions{Since: began.Add(-mentionsBack), Until: began, Latest: []mention{}}
	j, err := openAt(src, journal.Options{Matches: evidence.Matches(all), Fields: evidence.Fields, MaxValue: evidence.MaxValue}, uint64(r.Since.UnixMicro()))
	if err != nil {
		return nil, err
	}
	defer j.Close()
	text := []byte(p.Addr().String())
	var fe filter.Entry
	var h filter.Hit
	for j.Next() {
		ent := j.Entry()
		if r.Looked++; r.Looked&0xfff == 0 && (time.Since(began) > mentionsTime || e.ctx.Err() != nil) {
			r.Until = time.UnixMicro(int64(ent.Realtime))
			break
		}
		evidence.Convert(ent, &fe)
		named := p.IsSingleIP() && whole(fe.Message, text)
		meaning := "no pattern takes it"
		for _, x := range judges {
			if !x.m.MatchMessage(fe.Message, &h) {
				continue
			}
			if h.Addr.IsValid() && p.Contains(h.Addr) {
				named = true
			} else if !named {
				continue
			}
			where := fmt.Sprintf("jail %s, pattern %s", x.jail.Name, h.Pattern.Name)
			switch {
			case !x.m.Trusts(&fe):
				if meaning == "no pattern takes it" {
					meaning = where + ": not trusted, " + x.m.Why(&fe)
				}
				continue
			case h.Kind == filter.Success:
				meaning = where + ": a login that went well"
			case h.Kind == filter.Context || !h.Addr.IsValid():
				meaning = where + ": no evidence by itself"
			case !p.Contains(h.Addr):
				meaning = where + ": a failure of " + h.Addr.String()
			default:
				meaning = where + ": a failure; it was forgiven, is too old, or came while the address was banned or allowed"
			}
			break
		}
		if !named {
			continue
		}
		r.Entries++
		cursor := ent.Cursor()
		r.Latest = append(r.Latest, mention{control.Line{
			Time: time.UnixMicro(fe.Realtime), Unit: string(fe.Unit), Identifier: string(fe.Identifier), PID: fe.PID,
			Message: strings.ToValidUTF8(string(fe.Message), "\uFFFD"), Cursor: cursor.String(),
		}, meaning})
		if len(r.Latest) > mentionsShown {
			r.Latest = slices.Delete(r.Latest, 0, 1)
		}
	}
	return r, nil
}

// whole says whether an address stands in a line, and not as a part of a longer one.
func whole(line, text []byte) bool {
	part := func(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }
	for from := 0; ; {
		i := bytes.Index(line[from:], text)
		if i < 0 {
			return false
		}
		i += from
		end := i + len(text)
		before := i > 0 && (part(line[i-1]) || line[i-1] == '.' && i > 1 && part(line[i-2]))
		after := end < len(line) && (part(line[end]) || end+1 < len(line) && (line[end] == '.' || line[end] == ':' && bytes.IndexByte(text, ':') >= 0) && part(line[end+1]))
		if !before && !after {
			return true
		}
		from = i + 1
	}
}

// tellMentions prints what search found.
func (e *env) tellMentions(m *mentions) {
	span := "in the last " + short(m.Until.Sub(m.Since))
	if now := time.Now(); now.Sub(m.Until) > time.Minute {
		span = "from " + stamp(m.Since) + " to " + stamp(m.Until) + ", as far as was looked"
	}
	if m.Entries == 0 {
		fmt.Fprintf(e.out, "  none of the %d entries that watched services wrote %s names it\n", m.Looked, span)
		return
	}
	fmt.Fprintf(e.out, "  %d of the %d entries that watched services wrote %s name it, and none counts", m.Entries, m.Looked, span)
	if m.Entries > len(m.Latest) {
		fmt.Fprint(e.out, "; the latest")
	}
	fmt.Fprintln(e.out, ":")
	for i := range m.Latest {
		e.lines([]control.Line{m.Latest[i].Line})
		fmt.Fprintf(e.out, "      %s\n", clean(m.Latest[i].Meaning))
	}
}
