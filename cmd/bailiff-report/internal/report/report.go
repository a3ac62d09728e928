// Package report has the values that the parts of bailiff-report share: a report with its evidence, an item that is delivered, and the
// results of a delivery. It does no I/O.
//
// The texts in Line and Whois are not trusted: they may be any bytes of any length, and must never become a header, an argument or a
// template.
//
// Start reading at Item; redact.go has what third parties get of it.
package report

import (
	"time"

	"bailiff/units/control"
)

// Report is one ban with everything that a destination may want to know about it.
type Report = control.Report

// Line is one journal entry of a Report.
type Line = control.ReportLine

// Whois is what the registries say about an address.
type Whois = control.Whois

// Item is what is delivered at once: a report, or the reports of a digest.
type Item struct {
	// Key is the permanent name of the item at its destination, the same in every attempt: letters, digits, '-' and '.'. Message-IDs of
	// mails, delivery ids of webhooks and X-ARF's Report-ID are made from it.
	Key     string
	Reports []*Report // at least one, oldest first
	Digest  bool      // contains the reports of an hour or a day
	Counts  []Count   // of a notice: what it is about, which may be more than Reports
	Test    bool      // by `bailiff report test`, about an address for documentation (RFC 5737)
	Attempt int       // 1 for the first
}

// Count is a number of events of one kind.
type Count struct {
	Event string // as in Report
	Jail  string
	N     int
}

// Kinds of Report.Event.
const (
	Ban      = ""
	Unban    = "unban"
	Problem  = "problem"
	Recovery = "recovery"
)

// Receipt is the answer of a destination that accepted an item.
type Receipt struct {
	Answer    string // for people, one line: "250 queued as 4F2A", "confidence 87"
	Duplicate bool   // the destination had it already
}

// Retry is the error of a delivery that may succeed later. Any error other than Refused counts as one.
type Retry struct {
	After time.Duration // the pause that the destination asks for; 0: none
	Quota bool          // a quota is used up: other items for the destination wait, too
	Own   bool          // only this item is affected: other items need not wait
	Err   error
}

func (e *Retry) Error() string { return e.Err.Error() }
func (e *Retry) Unwrap() error { return e.Err }

// Refused is the error of a delivery that cannot succeed. The item is dropped, with an audit entry.
type Refused struct {
	All bool // no item can succeed (such as with a wrong key): the destination is held until its configuration or credential changes
	Err error
}

func (e *Refused) Error() string { return e.Err.Error() }
func (e *Refused) Unwrap() error { return e.Err }
