package control

import (
	"net/netip"
	"time"
)

// Report is a ban with its evidence. bailiff-report keeps it in its queue as this JSON, so that evidence that the journal deletes in
// the meantime is not lost. It never changes.
type Report struct {
	ID       string       `json:"id"`     // of the ban (BAILIFF_BAN_ID); a prolonged ban keeps it
	Cursor   string       `json:"cursor"` // of the audit entry
	Time     time.Time    `json:"time"`   // of the audit entry
	Prefix   netip.Prefix `json:"prefix"`
	Address  netip.Addr   `json:"address"` // that the report is about; if Prefix is a network, the last one that failed
	Jail     string       `json:"jail"`
	Service  string       `json:"service"` // name of the jail's filter: sshd, postfix, …
	First    time.Time    `json:"first"`   // of the first failure; zero: unknown
	Since    time.Time    `json:"since"`   // of the failure that led to the ban
	Until    time.Time    `json:"until"`   // zero: forever
	Failures int          `json:"failures"`
	Count    int          `json:"count"` // 1 for the first ban of this prefix
	Reason   string       `json:"reason,omitempty"`
	By       string       `json:"by,omitempty"` // user who banned manually
	Wide     bool         `json:"wide,omitempty"`
	Extended bool         `json:"extended,omitempty"` // a ban in force was prolonged
	Ports    []uint16     `json:"ports,omitempty"`    // attacked ports of this host, as far as known

	// Of a notice that is not about a new ban: "unban", "problem" or "recovery".
	Event   string `json:"event,omitempty"`
	Problem string `json:"problem,omitempty"` // what has it, or had it: firewall, journal, reports, …
	Text    string `json:"text,omitempty"`    // of a problem; of an unban, why

	Host     string       `json:"host"`               // this host's name
	Lines    []ReportLine `json:"lines"`              // the evidence, oldest first
	Missing  int          `json:"missing,omitempty"`  // number of lines no longer in the journal
	Withheld int          `json:"withheld,omitempty"` // number of lines that redaction left out
	Context  []ReportLine `json:"context,omitempty"`  // all lines about the address since its first failure, if a destination includes them
	Whois    *Whois       `json:"whois,omitempty"`    // nil: not asked (yet)
}

// ReportLine is one journal entry: evidence of a ban, or its context.
type ReportLine struct {
	Time       time.Time  `json:"time"`
	Hostname   string     `json:"hostname"`
	Identifier string     `json:"identifier"`
	PID        uint32     `json:"pid,omitempty"`
	Unit       string     `json:"unit,omitempty"`
	Message    []byte     `json:"message"` // as in the journal
	Cursor     string     `json:"cursor"`
	Pattern    string     `json:"pattern,omitempty"` // name of the filter's pattern that matched
	Source     netip.Addr `json:"source,omitzero"`   // attacker's address in the line
	Port       uint16     `json:"port,omitempty"`    // the attacker's
	Account    []byte     `json:"account,omitempty"` // the account tried, as logged
}

// Whois is the answer of the registries about an address.
type Whois struct {
	Network netip.Prefix `json:"network,omitzero"`  // the smallest one
	Name    string       `json:"name,omitempty"`    // of the network
	Holder  string       `json:"holder,omitempty"`  // organization
	Country string       `json:"country,omitempty"` // two letters
	Abuse   []string     `json:"abuse,omitempty"`   // mail addresses for complaints, checked
	Text    string       `json:"text,omitempty"`    // lines of the answer, made safe
	Source  string       `json:"source,omitempty"`  // the server that answered
	Asked   time.Time    `json:"asked"`
	Failed  string       `json:"failed,omitempty"` // why there is no answer
	Unasked string       `json:"-"`                // why a server that may know more, such as Abuse, could not be asked
}

// TemplateError is an error in a mail template, in the output of bailiff-report check-templates.
type TemplateError struct {
	File  string `json:"file"`
	Line  int    `json:"line,omitempty"` // 0: the error is not about a line
	Error string `json:"error"`
}
