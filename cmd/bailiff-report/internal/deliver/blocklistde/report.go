package blocklistde

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver/httpclient"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/policy/config"
)

// serviceURL is the URL of the HTTP interface.
const serviceURL = "https://www.blocklist.de/en/httpreports.html"

const (
	maxMessage = 1000     // bytes of one line
	maxLogs    = 64 << 10 // bytes of all of them
	who        = "blocklist.de"
)

var recipient = report.Recipient(who)

// entry is blocklist.de's report of one address.
type entry struct {
	IP      netip.Addr
	Service string
	Lines   []report.Line // at least one, oldest first
}

// compose makes the entry of one report, or returns a *report.Refused that says why there must not be one.
func compose(r *report.Report, d *config.Destination) (*entry, error) {
	addr, err := recipient.Address(r)
	if err != nil {
		return nil, err
	}
	lines := report.Newest(r.Lines, d.Lines)
	if len(lines) == 0 {
		return nil, recipient.Refuse("there are no log lines, without which it cannot forward the report")
	}
	service, ok := serviceOf(r.Jail, r.Service, lines, d.Services)
	if !ok {
		return nil, recipient.Refuse("jail %s has no known service; name it in report.destinations.%s.services", r.Jail, d.Name)
	}
	return &entry{addr, service, lines}, nil
}

// serviceOf returns blocklist.de's name of a jail's service: as configured for the jail or its filter, or that of a built-in filter.
// Mail servers have several services there; the lines say which one. It returns false if there is no name.
func serviceOf(jail, filter string, lines []report.Line, own map[string]string) (string, bool) {
	if s := own[jail]; s != "" {
		return s, true
	}
	if s := own[filter]; s != "" {
		return s, true
	}
	s := report.Attacks[filter].Blocklist
	switch {
	case s == "mail" && every(lines, func(l report.Line) bool {
		return strings.HasPrefix(l.Pattern, "sasl") || strings.HasPrefix(l.Pattern, "auth")
	}):
		s = "sasl"
	case s == "imap" && every(lines, func(l report.Line) bool {
		return strings.Contains(l.Identifier, "pop3") || strings.HasPrefix(string(l.Message), "pop3")
	}):
		s = "pop3"
	}
	return s, s != ""
}

func every(lines []report.Line, is func(report.Line) bool) bool {
	return len(lines) > 0 && !slices.ContainsFunc(lines, func(l report.Line) bool { return !is(l) })
}

// form is the body of a request.
func (e *entry) form(server, key string) url.Values {
	return url.Values{"server": {server}, "apikey": {key}, "ip": {e.IP.String()}, "service": {e.Service}, "logs": {e.logs()}, "format": {"json"}}
}

// logs are the newest lines that fit.
func (e *entry) logs() string {
	var texts []string
	left := maxLogs
	for _, l := range slices.Backward(e.Lines) {
		text := report.LogLine(&l, maxMessage) + "\n"
		if left -= len(text); left < 0 {
			break
		}
		texts = append(texts, text)
	}
	slices.Reverse(texts)
	return strings.Join(texts, "")
}

// asReport returns the report for a mail in fail2ban's layout: about one address, with the service's name instead of the jail's, where
// blocklist.de looks for it.
func (e *entry) asReport(r *report.Report) *report.Report {
	c := *r
	c.Jail, c.Address, c.Prefix, c.Lines, c.Context, c.Whois = e.Service, e.IP, netip.PrefixFrom(e.IP, e.IP.BitLen()), e.Lines, nil, nil
	return &c
}

// judge reads the answer to one report.
func judge(a *httpclient.Answer, d *config.Destination, now time.Time) (report.Receipt, error) {
	says, ok := read(a.Body)
	switch {
	case ok && len(says) == 0 && a.OK():
		return report.Receipt{Answer: "taken"}, nil
	case ok && len(says) > 0:
		return report.Receipt{}, refusal(says, d)
	case a.OK():
		text := cmp.Or(a.Text(), "nothing, or a web page")
		return report.Receipt{}, &report.Retry{Err: errors.New(who + " sent an answer that is not of its interface: " + text)}
	case a.Status == 404: // its answer to an unknown service: fail2ban#2629
		return report.Receipt{}, refusal(map[string]string{"service": "404 (not found)"}, d)
	}
	return report.Receipt{}, a.Err(who, a.Text(), now)
}

// read returns the errors in an answer by field, "" for the whole. It returns false if it is not an answer of the interface.
//
// Success is {"status":"success","error":0}. According to the documentation, `error` is an object of texts by field; the examples have
// the texts beside `status`. Lists and single texts are accepted, too.
func read(body []byte) (says map[string]string, ok bool) {
	var all map[string]json.RawMessage
	if json.Unmarshal(bytes.TrimSpace(body), &all) != nil {
		return nil, false
	}
	var status string
	json.Unmarshal(all["status"], &status) // stays "" if it is not a text
	says = texts(all["error"])
	switch {
	case strings.EqualFold(status, "success"):
		return nil, true
	case !strings.EqualFold(status, "error"):
		_, known := all["error"]
		return says, known
	}
	for field, raw := range all {
		var s string
		if field != "status" && field != "error" && json.Unmarshal(raw, &s) == nil && s != "" {
			says[field] = s
		}
	}
	if len(says) == 0 {
		says[""] = "an error without a text"
	}
	return says, true
}

// texts reads errors in any form. 0, false and null are none.
func texts(raw json.RawMessage) map[string]string {
	says := map[string]string{}
	var fields map[string]any
	var list []any
	var one any
	switch {
	case json.Unmarshal(raw, &fields) == nil:
		for k, v := range fields {
			says[k] = fmt.Sprint(v)
		}
	case json.Unmarshal(raw, &list) == nil:
		for i, v := range list {
			says[fmt.Sprint(i)] = fmt.Sprint(v)
		}
	case json.Unmarshal(raw, &one) == nil:
		if s := fmt.Sprint(one); one != nil && s != "" && s != "0" && s != "false" {
			says[""] = s
		}
	}
	return says
}

// refusal reports whether the account is rejected or this report.
func refusal(says map[string]string, d *config.Destination) error {
	var all []string
	account, service := false, false
	for _, field := range slices.Sorted(maps.Keys(says)) {
		text := says[field]
		low := strings.ToLower(field + " " + text)
		account = account || field == "server" || field == "email" || strings.Contains(low, "apikey") || strings.Contains(low, "api-key") || strings.Contains(low, "api key")
		service = service || field == "service"
		if field != "" && strings.Trim(field, "0123456789") != "" {
			text = field + ": " + text
		}
		all = append(all, text)
	}
	text := who + " refuses: " + safetext.Line(strings.Join(all, "; "), httpclient.MaxText)
	switch {
	case account:
		return &report.Refused{All: true, Err: errors.New(text)}
	case service:
		text += fmt.Sprintf("; name the service of the jail in report.destinations.%s.services", d.Name)
	}
	return &report.Refused{Err: errors.New(text)}
}
