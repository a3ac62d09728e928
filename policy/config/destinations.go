package config

import "time"

// Report is the part of the configuration that bailiff-report uses: `report` in bailiff.yaml(5).
type Report struct {
	Host         string        // this host's name in reports; "": the system's name, with its domain
	Sender       string        // address that mails come from; "": bailiff@ and the host's name
	RetryFor     time.Duration // a report that cannot be delivered for this long is dropped
	Lookup       Lookup
	Sendmail     Sendmail
	Destinations []Destination // sorted by name
}

// Lookup says how registries are asked about an address.
type Lookup struct {
	TimeLimit   time.Duration // for one look-up; then the report goes without
	Cache       time.Duration // an answer is used for this long, for its whole network
	RDAP        bool
	Whois       bool   // port 43, where RDAP gives nothing
	Bootstrap   string // file in the form of RFC 9224 in place of the one built in; "": that one
	WhoisServer string // HOST[:PORT] where whois begins
	Contacts    string // DNS zone of abuse contacts; "": none
}

// Sendmail is the mail system's sendmail-compatible program.
type Sendmail struct {
	Path      string   // of the program
	Args      []string // before the recipients; SENDER and HOST stand for those
	TimeLimit time.Duration
	SMTP      string // HOST:PORT of a server to send to in place of the program; "": the program
}

// Types of destinations.
const (
	TypeMail      = "mail"
	TypeBlocklist = "blocklist.de"
	TypeAbuseIPDB = "abuseipdb"
	TypeXARF      = "xarf"
	TypeWebhook   = "webhook"
	TypeExec      = "exec"
)

// DestinationTypes are the types of destinations, in the order of the manual.
var DestinationTypes = []string{TypeMail, TypeBlocklist, TypeAbuseIPDB, TypeXARF, TypeWebhook, TypeExec}

// Destination is where reports go: one entry of report.destinations.
type Destination struct {
	Name    string // [a-z0-9.-], at most 32 bytes
	Type    string // one of DestinationTypes
	Enabled bool

	// What goes there.
	Jails       []string      // empty: all
	MinFailures int           // bans for fewer failures are not reported; manual bans have none
	Manual      bool          // manual bans are reported, too
	Networks    bool          // bans of whole networks are reported, too
	Prolonged   bool          // bans in effect that become longer are reported, too
	Window      time.Duration // one report per address within this time; 0: each ban
	Quota       int           // reports in 24 hours, others wait; 0: no limit
	Digest      string        // "off", "hourly" or "daily"
	RetryFor    time.Duration // 0: Report.RetryFor
	Redact      bool          // account names, the host's names and addresses and mail addresses are removed

	// Mail: mail, blocklist.de by mail, xarf.
	To       []string
	Include  []string // of IncludeWhois, IncludeLines, IncludeContext
	Layout   string   // "bailiff" or "fail2ban"
	Template string   // file; "": the built-in one of Layout
	Lines    int      // at most this many of each kind, the newest

	// Services on the web.
	URL        string            // "": the service's own
	Credential string            // name of the systemd credential with the key; "": the type's own, see CredentialName
	Method     string            // blocklist.de: "mail" or "http"
	Server     string            // blocklist.de by http: the account, an address or a number
	Services   map[string]string // blocklist.de: jail or filter to service, beside those known
	Categories map[string][]int  // abuseipdb: jail or filter to categories, beside those known
	Format     string            // xarf: "0.2" or "4"
	Org        string            // xarf 4: reporter
	Contact    string            // xarf: mail address of the reporter; "": Sender
	PerContact int               // xarf: mails to one contact in 24 hours
	Headers    map[string]string // webhook: further headers; values hold no secret
	Command    []string          // exec: program and arguments
	TimeLimit  time.Duration     // of one delivery
}

// Parts of a mail in addition to the plain facts.
const (
	IncludeWhois   = "whois"
	IncludeLines   = "lines"   // the evidence
	IncludeContext = "context" // all lines about the address in the window
)

// CredentialName is the systemd credential that holds the destination's secret; "" if it needs none.
func (d *Destination) CredentialName() string {
	switch {
	case d.Credential != "":
		return d.Credential
	case d.Type == TypeAbuseIPDB, d.Type == TypeBlocklist && d.Method == "http", d.Type == TypeWebhook:
		return "bailiff_" + d.Name
	}
	return ""
}
