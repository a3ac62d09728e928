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
	"net/netip"
	"time"
)

// Report is one ban with everything that a destination may want to know about it. It is fixed once made: it is kept in the
// queue of bailiff-report as JSON, so that evidence which the journal forgets meanwhile is not lost.
type Report struct {
	ID       string       `json:"id"`     // BAILIFF_BAN_ID: the same for one ban for ever; an extension has one of its own, see Key
	Cursor   string       `json:"cursor"` // of the audit entry
	Time     time.Time    `json:"time"`   // of the audit entry
	Prefix   netip.Prefix `json:"prefix"`
	Address  netip.Addr   `json:"address"` // that the report is about: Prefix's own, or the last that failed where Prefix is wider
	Jail     string       `json:"jail"`
	Service  string       `json:"service"` // name of the jail's filter: sshd, postfix, …
	First    time.Time    `json:"first"`   // of the failures that counted; zero: not known
	Since    time.Time    `json:"since"`   // of the entry that was one too many
	Until    time.Time    `json:"until"`   // zero: for ever
	Failures int          `json:"failures"`
	Count    int          `json:"count"` // how often the prefix was banned, this ban included
	Reason   string       `json:"reason,omitempty"`
	By       string       `json:"by,omitempty"` // user who banned by hand
	Wide     bool         `json:"wide,omitempty"`
	Extended bool         `json:"extended,omitempty"` // a ban in force was made longer
	Ports    []uint16     `json:"ports,omitempty"`    // of this host that were attacked, as far as known: 22 for sshd

	Host     string `json:"host"`               // this host's name, as reports give it
	Lines    []Line `json:"lines"`              // the evidence, oldest first
	Missing  int    `json:"missing,omitempty"`  // lines of evidence that the journal no longer had
	Withheld int    `json:"withheld,omitempty"` // lines of evidence that redaction left out: see redact
	Context  []Line `json:"context,omitempty"`  // if asked for: all lines about the address in the window, the evidence among them
	Whois    *Whois `json:"whois,omitempty"`    // nil: not asked for, or not yet
}

// Line is one journal entry.
type Line struct {
	Time       time.Time  `json:"time"`
	Hostname   string     `json:"hostname"`
	Identifier string     `json:"identifier"`
	PID        uint32     `json:"pid,omitempty"`
	Unit       string     `json:"unit,omitempty"`
	Message    []byte     `json:"message"` // as it stands in the journal
	Cursor     string     `json:"cursor"`
	Pattern    string     `json:"pattern,omitempty"` // of the filter that took it
	Source     netip.Addr `json:"source,omitzero"`   // what the filter read in it
	Port       uint16     `json:"port,omitempty"`    // the attacker's
	Account    []byte     `json:"account,omitempty"` // the account tried, as logged
}

// Whois is what the registries say about an address.
type Whois struct {
	Network netip.Prefix `json:"network,omitzero"`  // the smallest one that they name
	Name    string       `json:"name,omitempty"`    // of the network
	Holder  string       `json:"holder,omitempty"`  // organisation
	Country string       `json:"country,omitempty"` // two letters
	Abuse   []string     `json:"abuse,omitempty"`   // mail addresses for abuse reports, checked for form
	Text    string       `json:"text,omitempty"`    // for people: lines of the answer; UTF-8 without control characters but newlines
	Source  string       `json:"source,omitempty"`  // the server that said so
	Asked   time.Time    `json:"asked"`
	Failed  string       `json:"failed,omitempty"` // why there is nothing: "not available" with this reason

}

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
