package webhook

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/units/control"
)

// Version is the version of the schema. Keys may be added to a version, but not removed or changed.
const Version = 1

// Limits of a payload.
const (
	maxMessage = 4 << 10 // bytes of one message
	maxLines   = 1 << 20 // bytes of all messages
)

// Payload is the object that is sent.
type Payload struct {
	Type      string    `json:"type"` // "ban", or "ban.digest" for the bans of an hour or a day
	Version   int       `json:"version"`
	Timestamp time.Time `json:"timestamp"` // of the last ban
	Key       string    `json:"key"`       // the same in all attempts, to recognize duplicates
	Test      bool      `json:"test"`      // by `bailiff report test`
	Data      Data      `json:"data"`
}

// Data contains the bans.
type Data struct {
	Host    string `json:"host"`
	Reports []Ban  `json:"reports"` // oldest first
}

// Ban is one report.
type Ban struct {
	ID       string       `json:"id"`
	Time     time.Time    `json:"time"`
	Address  netip.Addr   `json:"address"`
	Prefix   netip.Prefix `json:"prefix"`
	Jail     string       `json:"jail"`
	Filter   string       `json:"filter"`
	Reason   string       `json:"reason"`
	By       string       `json:"by"`
	Failures int          `json:"failures"`
	Count    int          `json:"count"`
	First    *time.Time   `json:"first"`
	Since    *time.Time   `json:"since"`
	Until    *time.Time   `json:"until"` // null: forever
	Wide     bool         `json:"wide"`
	Extended bool         `json:"extended"`
	Ports    []uint16     `json:"ports"`
	Lines    []Line       `json:"lines"` // oldest first
	Missing  int          `json:"lines_missing"`
	Withheld int          `json:"lines_withheld"`
	Omitted  int          `json:"lines_omitted"`
	Whois    *Whois       `json:"whois"`
}

// Line is one journal entry of the evidence.
type Line struct {
	Time    time.Time   `json:"time"`
	Host    string      `json:"host"`
	Program string      `json:"program"`
	PID     uint32      `json:"pid"`
	Unit    string      `json:"unit"`
	Message string      `json:"message"`
	Base64  []byte      `json:"message_base64,omitempty"` // the bytes, if they are not UTF-8
	Pattern string      `json:"pattern"`
	Address *netip.Addr `json:"address"`
	Port    uint16      `json:"port"`
	Account string      `json:"account"`
}

// Whois is the answer of the registries.
type Whois struct {
	Network *netip.Prefix `json:"network"`
	Name    string        `json:"name"`
	Holder  string        `json:"holder"`
	Country string        `json:"country"`
	Abuse   []string      `json:"abuse"`
	Source  string        `json:"source"`
	Failed  string        `json:"error"`
}

// Compose returns the JSON of an item, with the newest lines of each report. It is the same in every attempt.
func Compose(item *report.Item, host string, lines int) []byte {
	p := Payload{Type: "ban", Version: Version, Key: item.Key, Test: item.Test, Data: Data{Host: host, Reports: make([]Ban, len(item.Reports))}}
	if item.Digest {
		p.Type = "ban.digest"
	}
	room := maxLines
	for i, r := range slices.Backward(item.Reports) { // if a digest is too long, the newest reports keep their lines
		p.Data.Reports[i] = ban(r, lines, &room)
		if t := r.Time.UTC(); t.After(p.Timestamp) {
			p.Timestamp = t
		}
	}
	if item.Reports[0].Host != "" {
		p.Data.Host = item.Reports[0].Host
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(p); err != nil {
		panic("webhook: " + err.Error()) // only times after the year 9999 fail, which audit entries cannot contain
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func ban(r *report.Report, lines int, room *int) Ban {
	b := Ban{
		ID: r.ID, Time: r.Time.UTC(), Address: r.Address, Prefix: r.Prefix, Jail: r.Jail, Filter: r.Service, Reason: utf8Text(r.Reason), By: utf8Text(r.By),
		Failures: r.Failures, Count: r.Count, First: control.Moment(r.First.UTC()), Since: control.Moment(r.Since.UTC()), Until: control.Moment(r.Until.UTC()), Wide: r.Wide, Extended: r.Extended,
		Ports: append([]uint16{}, r.Ports...), Lines: []Line{}, Missing: r.Missing, Withheld: r.Withheld,
	}
	for _, l := range slices.Backward(report.Newest(r.Lines, lines)) {
		msg := l.Message[:min(len(l.Message), maxMessage)]
		if len(msg) > *room {
			break
		}
		*room -= len(msg)
		line := Line{
			Time: l.Time.UTC(), Host: utf8Text(l.Hostname), Program: utf8Text(l.Identifier), PID: l.PID, Unit: utf8Text(l.Unit), Message: utf8Text(string(msg)),
			Pattern: l.Pattern, Port: l.Port, Account: utf8Text(string(l.Account[:min(len(l.Account), maxMessage)])),
		}
		if !utf8.Valid(msg) {
			line.Base64 = msg
		}
		if l.Source.IsValid() {
			line.Address = &l.Source
		}
		b.Lines = append(b.Lines, line)
	}
	slices.Reverse(b.Lines)
	b.Omitted = len(r.Lines) - len(b.Lines)
	if w := r.Whois; w != nil {
		b.Whois = &Whois{Name: utf8Text(w.Name), Holder: utf8Text(w.Holder), Country: utf8Text(w.Country), Abuse: append([]string{}, w.Abuse...), Source: utf8Text(w.Source), Failed: utf8Text(w.Failed)}
		if w.Network.IsValid() {
			b.Whois.Network = &w.Network
		}
	}
	return b
}

func utf8Text(s string) string { return strings.ToValidUTF8(s, "\ufffd") }
