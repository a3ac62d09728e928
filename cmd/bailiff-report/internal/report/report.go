// Package report is what bailiff-report tells the world about bans: the facts of a ban with its evidence, where they shall
// go, and how a destination can answer. Its subfolders give reports their forms (mail, X-ARF, AbuseIPDB, …) and take from
// them what shall not leave the host. None of it does I/O: what reads the journal, asks whois and delivers is cmd's.
//
// Everything in a Line and a Whois is a stranger's text: it is bytes of any kind and length, never trusted, never a header,
// an argument or a template.
//
// Start reading at Report; config.go says what an administrator can ask for.
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

// Item is what is delivered in one go: one report, or several of a digest.
type Item struct {
	// Key names the item at its destination for ever, in every attempt: letters, digits, '-' and '.'. A mail's Message-ID is
	// made of it, a webhook's delivery id, X-ARF's Report-ID.
	Key     string
	Reports []*Report // at least one, oldest first
	Digest  bool      // made of what came in an hour or a day
	Test    bool      // by `bailiff report test`: about an address of documentation, RFC 5737
	Attempt int       // 1 for the first
}

// Receipt is what a destination said when it took an item.
type Receipt struct {
	Answer    string // for people, one line: "250 queued as 4F2A", "confidence 87"
	Duplicate bool   // it knew already, and that is fine
}

// Retry is the error of a delivery that may work later. Any other error but Refused counts as one, too.
type Retry struct {
	After time.Duration // not before that; 0: as bailiff-report likes
	Quota bool          // the destination takes no more for now, from anybody of ours: others of it wait as well
	Own   bool          // it is about this item alone: the destination works, and others of it need not wait
	Err   error
}

func (e *Retry) Error() string { return e.Err.Error() }
func (e *Retry) Unwrap() error { return e.Err }

// Refused is the error of a delivery that will never work: the item is dropped, with an audit entry that says why.
type Refused struct {
	All bool // the destination as a whole is set up wrongly (a key that is not known): it is held until the configuration or its credential changes, its items are kept
	Err error
}

func (e *Refused) Error() string { return e.Err.Error() }
func (e *Refused) Unwrap() error { return e.Err }
