package blocklist

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver/web"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/policy/config"
)

// URL is where its HTTP interface lies.
const URL = "https://www.blocklist.de/en/httpreports.html"

const (
	maxMessage = 1000     // bytes of one line
	maxLogs    = 64 << 10 // bytes of all of them
	who        = "blocklist.de"
)

var recipient = report.Recipient(who)

// Entry is what blocklist.de is told about one address.
type Entry struct {
	IP      netip.Addr
	Service string
	Lines   []report.Line // at least one, oldest first
}

// Compose makes the entry of one report. An error is a *report.Refused that says why blocklist.de must not be told.
func Compose(r *report.Report, d *config.Destination) (*Entry, error) {
	addr, err := recipient.Address(r)
	if err != nil {
		return nil, err
	}
	lines := report.Newest(r.Lines, d.Lines)
	if len(lines) == 0 {
		return nil, recipient.Refuse("there are no log lines, and without them it cannot pass the report on")
	}
	service, ok := Service(r.Jail, r.Service, lines, d.Services)
	if !ok {
		return nil, recipient.Refuse("it is not known what it calls %s; name that in report.destinations.%s.services", r.Jail, d.Name)
	}
	return &Entry{addr, service, lines}, nil
}

// Form is the body of a request.
func (e *Entry) Form(server, key string) url.Values {
	return url.Values{"server": {server}, "apikey": {key}, "ip": {e.IP.String()}, "service": {e.Service}, "logs": {e.logs()}, "format": {"json"}}
}

// logs are the newest lines that fit.
func (e *Entry) logs() string {
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

// Mail returns the report as the mail of fail2ban's layout shall tell it: about one address, with the service's name in
// place of the jail's, which is where blocklist.de looks for it.
func (e *Entry) Mail(r *report.Report) *report.Report {
	c := *r
	c.Jail, c.Address, c.Prefix, c.Lines, c.Context, c.Whois = e.Service, e.IP, netip.PrefixFrom(e.IP, e.IP.BitLen()), e.Lines, nil, nil
	return &c
}

// Judge reads the answer to one report.
func Judge(a *web.Answer, d *config.Destination, now time.Time) (report.Receipt, error) {
	says, ok := read(a.Body)
	switch {
	case ok && len(says) == 0 && a.OK():
		return report.Receipt{Answer: "taken"}, nil
	case ok && len(says) > 0:
		return report.Receipt{}, refusal(says, d)
	case a.OK():
		text := a.Text()
		if text == "" {
			text = "nothing, or a web page"
		}
		return report.Receipt{}, &report.Retry{Err: errors.New(who + " answers what is no answer of its interface: " + text)}
	case a.Status == 404: // fail2ban#2629: to a service that it does not know
		return report.Receipt{}, refusal(map[string]string{"service": "404 (not found)"}, d)
	}
	return report.Receipt{}, a.Err(who, a.Text(), now)
}

// read takes an answer apart: what is wrong, by field, "" being the whole. It reports false for what is no answer.
//
// Success is {"status":"success","error":0}. Of errors it is documented that `error` is an array of texts by field, and shown
// that they may stand beside `status` instead; PHP makes a list of an array without names, and a lone text is easily
// imagined, so all of these are taken.
func read(body []byte) (says map[string]string, ok bool) {
	var all map[string]json.RawMessage
	if json.Unmarshal(bytes.TrimSpace(body), &all) != nil {
		return nil, false
	}
	var status string
	json.Unmarshal(all["status"], &status) // "" if it is no text
	says = texts(all["error"])
	switch {
	case strings.EqualFold(status, "success"):
		return nil, true
	case !strings.EqualFold(status, "error"):
		_, told := all["error"]
		return says, told
	}
	for field, raw := range all {
		var s string
		if field != "status" && field != "error" && json.Unmarshal(raw, &s) == nil && s != "" {
			says[field] = s
		}
	}
	if len(says) == 0 {
		says[""] = "error, it does not say which"
	}
	return says, true
}

// texts reads errors in whatever form they come. 0, false and nothing are none.
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

// refusal tells whether it is the destination that is set up wrongly, or this report that is not wanted.
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
	text := who + " refuses: " + safetext.Line(strings.Join(all, "; "), web.MaxText)
	switch {
	case account:
		return &report.Refused{All: true, Err: errors.New(text)}
	case service:
		text += fmt.Sprintf("; name what it calls the jail in report.destinations.%s.services", d.Name)
	}
	return &report.Refused{Err: errors.New(text)}
}
