package abuseipdb

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver/httpclient"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/policy/config"
)

// apiURL is the URL of the API.
const apiURL = "https://api.abuseipdb.com/api/v2"

const (
	maxComment = 1024                // the API allows characters; these are bytes, so never more
	maxMessage = 300                 // bytes of one line in a comment
	maxAge     = 60 * 24 * time.Hour // of an attack
	who        = "AbuseIPDB"
)

var recipient = report.Recipient(who)

// testAddress is for tests: the API answers that it was reported a moment ago and stores nothing. So `bailiff report test` checks the
// key and accuses nobody.
var testAddress = netip.AddrFrom4([4]byte{127, 0, 0, 2})

// entry is AbuseIPDB's report of one address.
type entry struct {
	IP         netip.Addr
	Categories []int // sorted, at least one
	Time       time.Time
	Comment    string // at most 1,024 bytes of printable text and newlines
}

// compose makes the entry of one report, or returns a *report.Refused that says why there must not be one.
func compose(r *report.Report, d *config.Destination, test bool, now time.Time) (*entry, error) {
	addr, err := recipient.Address(r)
	if err != nil {
		return nil, err
	}
	categories, ok := categoriesOf(r.Jail, r.Service, d.Categories)
	if !ok {
		return nil, recipient.Refuse("attacks on %s have no known categories; name them in report.destinations.%s.categories", r.Jail, d.Name)
	}
	if len(categories) == 0 {
		return nil, recipient.Refuse("%s uses UDP, where senders can be forged; its policy excludes that", r.Service)
	}
	at := r.Since
	if at.IsZero() {
		at = r.Time
	}
	if now.Sub(at) > maxAge {
		return nil, recipient.Refuse("the attack of %s is more than 60 days old", at.UTC().Format(time.DateOnly))
	}
	if at.After(now) {
		at = now // a clock was set back
	}
	if test {
		addr = testAddress
	}
	return &entry{IP: addr, Categories: categories, Time: at.UTC().Truncate(time.Second), Comment: comment(r, d.Lines)}, nil
}

// categoriesOf returns the categories of attacks on a jail, sorted: as configured for the jail or its filter, or those of a built-in
// filter. It returns false for other filters, since a wrong accusation is worse than none, and an empty list for attacks that must not
// be reported.
func categoriesOf(jail, filter string, own map[string][]int) ([]int, bool) {
	c, ok := own[jail]
	if !ok {
		c, ok = own[filter]
	}
	if !ok {
		var a report.Attack
		a, ok = report.Attacks[filter]
		c = a.AbuseIPDB
	}
	return sorted(slices.Clone(c)), ok
}

// maxCategories is the largest number in one report.
const maxCategories = 30

func sorted(c []int) []int {
	slices.Sort(c)
	c = slices.Compact(c)
	return c[:min(len(c), maxCategories)]
}

// comment describes the attack and adds at most limit of the newest lines, as many as fit.
func comment(r *report.Report, limit int) string {
	var b strings.Builder
	b.WriteString(r.Service)
	if ports := numbers(r.Ports[:min(len(r.Ports), 5)]); len(ports) > 0 {
		b.WriteString(", port " + strings.Join(ports, ", "))
	}
	switch {
	case r.Failures == 1:
		b.WriteString(": 1 failed attempt")
	case r.Failures > 1:
		fmt.Fprintf(&b, ": %d failed attempts", r.Failures)
	default:
		b.WriteString(": banned")
	}
	if !r.First.IsZero() && r.First.Before(r.Since) {
		fmt.Fprintf(&b, " from %s to %s", stamp(r.First), stamp(r.Since))
	}
	if r.Count > 1 {
		fmt.Fprintf(&b, ", ban number %d", r.Count)
	}
	var texts []string
	left := maxComment - b.Len()
	lines := report.Newest(r.Lines, limit)
	for i := len(lines) - 1; i >= 0; i-- {
		l := lines[i]
		l.Hostname = "" // is not reported
		text := report.LogLine(&l, maxMessage)
		if len(text)+1 > left {
			break
		}
		left -= len(text) + 1
		texts = append(texts, text)
	}
	for _, text := range slices.Backward(texts) {
		b.WriteString("\n" + text)
	}
	return b.String()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// form is the body of a request to /report.
func (e *entry) form() url.Values {
	return url.Values{"ip": {e.IP.String()}, "categories": {e.categories()}, "timestamp": {stamp(e.Time)}, "comment": {e.Comment}}
}

func (e *entry) categories() string { return strings.Join(numbers(e.Categories), ",") }

func numbers[T int | uint16](all []T) (s []string) {
	for _, n := range all {
		s = append(s, strconv.Itoa(int(n)))
	}
	return s
}

// apiAnswer is any answer of the API: data, or errors in the form of JSON:API.
type apiAnswer struct {
	Data *struct {
		Score   *int         `json:"abuseConfidenceScore"`
		Saved   *int         `json:"savedReports"`
		Invalid []invalidRow `json:"invalidReports"`
	} `json:"data"`
	Errors []struct {
		Detail string `json:"detail"`
		Source struct {
			Parameter string `json:"parameter"`
		} `json:"source"`
	} `json:"errors"`
}

type invalidRow struct {
	Error string `json:"error"`
	Input string `json:"input"`
	Row   int    `json:"rowNumber"`
}

// read reads an answer. Without an error there is data, or dup says that the address was reported a moment ago.
func read(a *httpclient.Answer, now time.Time) (s apiAnswer, dup bool, err error) {
	bad := json.Unmarshal(a.Body, &s)
	text := ""
	for i, e := range s.Errors {
		if strings.Contains(e.Detail, "once in 15 minutes") {
			dup = true
		}
		if i > 0 {
			text += "; "
		}
		text += e.Detail
		if e.Source.Parameter != "" {
			text += " (" + e.Source.Parameter + ")"
		}
	}
	if text = safetext.Line(text, httpclient.MaxText); text == "" {
		text = a.Text()
	}
	switch {
	case dup:
		return s, true, nil
	case a.OK() && (bad != nil || s.Data == nil):
		return s, false, &report.Retry{Err: errors.New(who + " sent an answer that is not of its API: " + cmp.Or(text, "nothing"))}
	case a.OK():
		return s, false, nil
	case a.Status == 402: // the subscription has ended, or does not include the endpoint
		return s, false, &report.Refused{All: true, Err: errors.New(who + " asks for payment: " + cmp.Or(text, "nothing"))}
	}
	err = a.Err(who, text, now)
	var retry *report.Retry
	if errors.As(err, &retry) && retry.Quota && retry.After == 0 {
		retry.After = now.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour).Sub(now) // the limits are daily, in UTC
	}
	return s, false, err
}

// judge reads the answer to one report.
func judge(a *httpclient.Answer, now time.Time) (report.Receipt, error) {
	s, dup, err := read(a, now)
	switch {
	case err != nil:
		return report.Receipt{}, err
	case dup:
		return report.Receipt{Answer: "reported less than 15 minutes ago", Duplicate: true}, nil
	case s.Data.Score == nil:
		return report.Receipt{Answer: "taken"}, nil
	}
	return report.Receipt{Answer: fmt.Sprintf("taken, confidence of abuse %d", *s.Data.Score)}, nil
}
