package control

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

	Host     string       `json:"host"`               // this host's name, as reports give it
	Lines    []ReportLine `json:"lines"`              // the evidence, oldest first
	Missing  int          `json:"missing,omitempty"`  // lines of evidence that the journal no longer had
	Withheld int          `json:"withheld,omitempty"` // lines of evidence that redaction left out: see redact
	Context  []ReportLine `json:"context,omitempty"`  // if asked for: all lines about the address in the window, the evidence among them
	Whois    *Whois       `json:"whois,omitempty"`    // nil: not asked for, or not yet
}

// ReportLine is one journal entry: evidence of a ban, or its context.
type ReportLine struct {
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

// TemplateError is one mail template that `bailiff check` refuses, as bailiff-report found it.
type TemplateError struct {
	File  string `json:"file"`
	Line  int    `json:"line,omitempty"` // 0: the error is not about a line
	Error string `json:"error"`
}
