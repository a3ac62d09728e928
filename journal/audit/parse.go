package audit

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"bailiff/journal"
)

// Matches selects entries of some kinds from one of our units, by unit and users: fields that journald sets itself.
func Matches(unit string, uids []uint32, kinds ...Kind) journal.Group {
	g := journal.Group{{Field: "_SYSTEMD_UNIT", Value: unit}}
	for _, uid := range uids {
		g = append(g, journal.Match{Field: "_UID", Value: strconv.FormatUint(uint64(uid), 10)})
	}
	for _, k := range kinds {
		g = append(g, journal.Match{Field: "MESSAGE_ID", Value: k.ID()})
	}
	return g
}

// Values are the values of an entry's fields, by name.
type Values map[string][]string

// ValuesOf copies the fields of an entry.
func ValuesOf(e *journal.Entry) Values {
	v := Values{}
	e.Each(func(field string, value []byte) bool {
		v[field] = append(v[field], string(value))
		return true
	})
	return v
}

// Get is the first value of a field; "" if it is absent.
func (v Values) Get(field string) string {
	if len(v[field]) == 0 {
		return ""
	}
	return v[field][0]
}

// ParseBan reads an entry of kind KindBan, KindExtend or KindObserved. get returns the first value of a field, "" if it is absent. Addresses are
// not read. The caller must check by _SYSTEMD_UNIT that the entry is ours.
func ParseBan(get func(field string) string) (BanEvent, error) {
	p := parser{get: get}
	e := BanEvent{
		Prefix: p.prefix(), Jail: p.must(FieldJail), ID: p.must(FieldBanID),
		First: p.time(FieldFirst, false), Since: p.time(FieldSince, true), Until: p.until(),
		Failures: p.number(FieldFailures), Count: p.number(FieldCount), Scope: get(FieldScope), Backend: get(FieldBackend),
		Reason: get(FieldReason), By: get(FieldBy), Restored: get(FieldRestored) == "1", Wide: get(FieldWide) == "1",
		Unreported: get(FieldUnreported) == "1",
	}
	if s := get(FieldEvidence); s != "" {
		if strings.Count(s, "\n") >= maxEvidence {
			p.fail(FieldEvidence, "more cursors than a ban has")
		} else {
			e.Evidence = strings.Split(s, "\n")
		}
	}
	if !e.Until.IsZero() && e.Until.Before(e.Since) {
		p.fail(FieldUntil, "before "+FieldSince)
	}
	return e, p.err
}

// ParseUnban reads an entry of kind KindUnban.
func ParseUnban(get func(field string) string) (UnbanEvent, error) {
	p := parser{get: get}
	e := UnbanEvent{
		Prefix: p.prefix(), Jail: p.must(FieldJail), ID: p.must(FieldBanID),
		Since: p.time(FieldSince, false), Until: p.until(), Reason: get(FieldReason), By: get(FieldBy),
	}
	return e, p.err
}

// ParseAllow reads an entry of kind KindAllow. For an entry of kind KindDisallow, only Prefix, Comment and By are set.
func ParseAllow(get func(field string) string) (AllowEvent, error) {
	p := parser{get: get}
	e := AllowEvent{Prefix: p.prefix(), Comment: get(FieldReason), By: get(FieldBy)}
	if get(FieldUntil) != "" {
		e.Until, e.Lifted = p.until(), p.number(FieldLifted)
	}
	return e, p.err
}

// parser reads fields and keeps the first error.
type parser struct {
	get func(string) string
	err error
}

func (p *parser) fail(field, why string) {
	if p.err == nil {
		p.err = fmt.Errorf("audit entry: %s: %s", field, why)
	}
}

func (p *parser) must(field string) string {
	s := p.get(field)
	if s == "" {
		p.fail(field, "missing")
	}
	return s
}

func (p *parser) prefix() netip.Prefix {
	s := p.must(FieldPrefix)
	x, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		p.fail(FieldPrefix, strconv.Quote(cut(s))+" is not a prefix")
	case x != x.Masked():
		p.fail(FieldPrefix, strconv.Quote(s)+" has bits set beyond its length")
	case x.Addr().Is4In6():
		p.fail(FieldPrefix, strconv.Quote(s)+" is an IPv4-mapped IPv6 prefix; write it as IPv4")
	}
	return x
}

func (p *parser) time(field string, must bool) time.Time {
	s := p.get(field)
	if s == "" && !must {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, p.must(field))
	if err != nil {
		p.fail(field, strconv.Quote(cut(s))+" is not a time")
	}
	return t
}

func (p *parser) until() time.Time {
	if p.get(FieldUntil) == Forever {
		return time.Time{}
	}
	return p.time(FieldUntil, true)
}

func (p *parser) number(field string) int {
	s := p.must(field)
	n, err := strconv.Atoi(s)
	if err == nil && n < 0 {
		err = errors.New("negative")
	}
	if err != nil {
		p.fail(field, strconv.Quote(cut(s))+" is not a count")
	}
	return n
}
