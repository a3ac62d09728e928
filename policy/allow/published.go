package allow

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/policy/diag"
)

// Published is an address list published by somebody else, with limits on what is accepted from it. This package checks lists; it does not
// fetch them.
type Published struct {
	Name       string
	URLs       []string // fetched together: some publish IPv4 and IPv6 separately
	Format     string   // FormatText or FormatJSON
	Pointers   []string // where the addresses of a FormatJSON list are: JSON pointers (RFC 6901) in which * is any member
	Interval   time.Duration
	MinPrefix4 int // shortest prefix length that the list may hold, for IPv4
	MinPrefix6 int // and for IPv6
	MinPercent int // a new list must have this percentage of its former number of entries
	Insecure   bool
}

// The formats of published lists.
const (
	FormatText = "text" // as ParseFile reads it
	FormatJSON = "json"
)

// Formats are the words that a list's format accepts.
var Formats = []string{FormatText, FormatJSON}

// MaxPublished bounds the entries of a published list. The longest lists that a host has reason to allow, those of cloud
// providers, have about ten thousand.
const MaxPublished = 100_000

// Defaults of a list. Monitoring services have single addresses, a company has a network: /16 and /32 are the largest that
// are commonly assigned to one.
const (
	DefaultInterval   = 24 * time.Hour
	defaultMinPrefix4 = 16
	defaultMinPrefix6 = 32
	defaultMinPercent = 50
)

// NewPublished is a list with the defaults and no URL, or the catalogued one of that name.
func NewPublished(name string) Published {
	p, ok := catalogue[name]
	if !ok {
		p = Published{MinPrefix4: defaultMinPrefix4, MinPrefix6: defaultMinPrefix6}
	}
	p.Name, p.Interval, p.MinPercent = name, DefaultInterval, defaultMinPercent
	p.Format = cmp.Or(p.Format, FormatText)
	p.URLs, p.Pointers = slices.Clone(p.URLs), slices.Clone(p.Pointers)
	return p
}

// catalogue holds the lists that need no URL in the configuration. A list is used only if the configuration names it. All are text files
// with one address per line, some with CRLF, and need no account. Their URLs are from the publishers' help pages in 2026
// (uptimerobot.com/help/locations, whose list also lies at uptimerobot.com/inc/files/ips; documentation.solarwinds.com, Pingdom probe
// servers; statuscake.com, What are your IP addresses; cloudflare.com/ips). If a list moves, status shows the failure, and url in the
// configuration replaces it.
var catalogue = map[string]Published{
	"uptimerobot": {URLs: []string{"https://cdn.uptimerobot.com/api/IPv4andIPv6.txt"}, MinPrefix4: 24, MinPrefix6: 48},
	"pingdom":     {URLs: []string{"https://my.pingdom.com/probes/ipv4", "https://my.pingdom.com/probes/ipv6"}, MinPrefix4: 24, MinPrefix6: 48},
	"statuscake":  {URLs: []string{"https://app.statuscake.com/Workfloor/Locations.php?format=txt"}, MinPrefix4: 24, MinPrefix6: 48},
	// Whole networks of a content network: 104.16.0.0/13, 2a06:98c0::/29.
	"cloudflare": {URLs: []string{"https://www.cloudflare.com/ips-v4", "https://www.cloudflare.com/ips-v6"}, MinPrefix4: 12, MinPrefix6: 29},
}

// Catalogue returns the names of the lists that need no URL, sorted.
func Catalogue() []string { return slices.Sorted(maps.Keys(catalogue)) }

// Parse reads the content of one of the list's URLs. source is used in errors, which name line and column for texts and the
// pointer for JSON; until and comments of a text are kept.
func (p *Published) Parse(source string, data []byte) ([]Entry, error) {
	if p.Format == FormatJSON {
		return p.parseJSON(source, data)
	}
	return ParseFile(source, bytes.NewReader(data))
}

func (p *Published) parseJSON(source string, data []byte) ([]Entry, error) {
	fail := func(format string, args ...any) *diag.Error {
		return &diag.Error{File: source, Text: fmt.Sprintf(format, args...)}
	}
	if len(data) > MaxFileSize {
		return nil, fail("has more than %d bytes", MaxFileSize)
	}
	var doc any
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fail("is not JSON: %s", err)
	}
	var entries []Entry
	var errs []error
	for _, pointer := range p.Pointers {
		found := 0
		ok := Point(doc, pointer, func(at string, v any) bool {
			found++
			s, isText := v.(string)
			var err error
			var prefix netip.Prefix
			if !isText {
				err = fail("%s is not a string", at)
			} else if prefix, err = ParsePrefix(strings.TrimSpace(s)); err != nil {
				err = fail("%s: %s", at, diag.Errors(err)[0].Text)
			}
			if err != nil {
				errs = append(errs, err)
				return len(errs) < maxErrors
			}
			if len(entries) >= MaxEntries {
				errs = append(errs, fail("more than %d entries", MaxEntries))
				return false
			}
			entries = append(entries, Entry{Prefix: prefix, Origin: source})
			return true
		})
		if !ok {
			break
		}
		if found == 0 {
			errs = append(errs, fail("has nothing at %s", pointer).WithHint("compare the file with pointers: one of them has changed"))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return entries, nil
}

// Point visits all values of a JSON document to which pointer refers. ParsePointer must have accepted the pointer. Members missing from an
// object are skipped, since lists mix objects of several kinds. Point stops and returns false when visit returns false.
func Point(doc any, pointer string, visit func(at string, v any) bool) bool {
	return point(doc, strings.Split(pointer, "/")[1:], "", visit)
}

func point(v any, steps []string, at string, visit func(at string, v any) bool) bool {
	if len(steps) == 0 {
		return visit(at, v)
	}
	step := strings.NewReplacer("~1", "/", "~0", "~").Replace(steps[0])
	switch v := v.(type) {
	case map[string]any:
		if step != "*" {
			if m, ok := v[step]; ok {
				return point(m, steps[1:], at+"/"+diag.Clip(steps[0]), visit)
			}
			return true
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if !point(v[k], steps[1:], at+"/"+diag.Clip(k), visit) {
				return false
			}
		}
	case []any:
		for i, m := range v {
			n := strconv.Itoa(i)
			if step != "*" && step != n {
				continue
			}
			if !point(m, steps[1:], at+"/"+n, visit) {
				return false
			}
		}
	}
	return true
}

// ParsePointer checks a JSON pointer.
func ParsePointer(s string) (string, *diag.Error) {
	if !strings.HasPrefix(s, "/") || len(s) > maxLine {
		return "", diag.Errorf("%q is not a JSON pointer", diag.Clip(s)).WithHint("write /prefixes/*/ip_prefix: the names on the way, * for each member")
	}
	return s, nil
}

// Accept checks a list as a whole: it rejects one that is empty, holds a prefix that is too wide, is too long, or has shrunk
// to less than MinPercent of its former number of entries (0: there was none). Operators see the text of the error.
func (p *Published) Accept(entries []Entry, former int) error {
	if err := p.Check(entries); err != nil {
		return err
	}
	if n := Distinct(entries); n*100 < former*p.MinPercent {
		return fmt.Errorf("has %s, less than %d %% of the %d that it had", diag.Count(n, "entry"), p.MinPercent, former)
	}
	return nil
}

// Check is the part of Accept that needs no former list. The daemon calls it on the lists that it reads, so that the process that fetches
// lists from the network cannot allow more than the configuration permits.
func (p *Published) Check(entries []Entry) error {
	if len(entries) == 0 {
		return errors.New("is empty")
	}
	if len(entries) > MaxPublished {
		return fmt.Errorf("has more than %d entries", MaxPublished)
	}
	for _, e := range entries {
		widest := p.MinPrefix6
		if e.Prefix.Addr().Is4() {
			widest = p.MinPrefix4
		}
		if e.Prefix.Bits() < widest {
			at := ""
			if e.Line > 0 {
				at = " in line " + strconv.Itoa(e.Line)
			}
			return fmt.Errorf("has %s%s, which is wider than /%d", e.Prefix, at, widest)
		}
	}
	return nil
}

// Distinct counts the prefixes of a list.
func Distinct(entries []Entry) int {
	seen := make(map[netip.Prefix]bool, len(entries))
	for _, e := range entries {
		seen[e.Prefix] = true
	}
	return len(seen)
}
