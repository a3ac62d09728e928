package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/policy/diag"
	"bailiff/policy/yamldoc"
)

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
	TimeLimit   time.Duration // for one look-up; after that, the report is sent without its result
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
	Form       string            // webhook: one of Forms
	Channel    string            // webhook of a form: where the service puts the message
	Events     []string          // webhook: of Events
	Only       string            // webhook of a form: one of OnlyBans
	Quiet      Quiet             // webhook of a form: time of the day without notices of bans
	Gather     time.Duration     // webhook of a form: what happens within this time becomes one notice
	Command    []string          // exec: program and arguments
	TimeLimit  time.Duration     // of one delivery
}

// Parts of a mail in addition to the plain facts.
const (
	IncludeWhois   = "whois"
	IncludeLines   = "lines"   // the evidence
	IncludeContext = "context" // all lines about the address in the window
)

// Forms are the forms of a webhook: bailiff's own, signed and with the whole report, or a short notice as a service expects it.
var Forms = []string{FormBailiff, "ntfy", "gotify", "telegram", "matrix", "slack", "mattermost", "discord", "teams", "alertmanager"}

// FormBailiff is the form of a webhook that has a signature and a documented schema.
const FormBailiff = "bailiff"

// Events that a webhook may receive.
const (
	EventBans     = "bans"
	EventUnbans   = "unbans"
	EventProblems = "problems" // and that they are over
)

// Bans that a notice may be limited to.
const (
	OnlyAll      = "all"
	OnlyNew      = "new"      // the first ban of a prefix
	OnlyNetworks = "networks" // of whole networks
)

// Notice reports whether the destination gets short notices instead of reports.
func (d *Destination) Notice() bool { return d.Form != "" && d.Form != FormBailiff }

// secretURL reports whether the URL of a form is the secret.
func secretURL(form string) bool {
	return slices.Contains([]string{"slack", "mattermost", "discord", "teams"}, form)
}

// Quiet is a period of the day, in minutes after midnight. It may extend beyond midnight. From == To: no quiet time.
type Quiet struct{ From, To int }

// Until returns the end of the quiet time that contains t, in t's location; zero if t is not in a quiet time.
func (q Quiet) Until(t time.Time) time.Time {
	if q.From == q.To {
		return time.Time{}
	}
	at := t.Hour()*60 + t.Minute()
	in := at >= q.From && at < q.To
	day := 0
	if q.From > q.To {
		in = at >= q.From || at < q.To
		if at >= q.From {
			day = 1
		}
	}
	if !in {
		return time.Time{}
	}
	return time.Date(t.Year(), t.Month(), t.Day()+day, q.To/60, q.To%60, 0, 0, t.Location())
}

func (q Quiet) String() string {
	if q.From == q.To {
		return "none"
	}
	return fmt.Sprintf("%02d:%02d-%02d:%02d", q.From/60, q.From%60, q.To/60, q.To%60)
}

func validEvent(s string) bool {
	return slices.Contains([]string{EventBans, EventUnbans, EventProblems}, s)
}

func parseQuiet(s string) (q Quiet, err *diag.Error) {
	var a, b, c, d int
	if n, e := fmt.Sscanf(s, "%2d:%2d-%2d:%2d", &a, &b, &c, &d); e != nil || n != 4 || fmt.Sprintf("%02d:%02d-%02d:%02d", a, b, c, d) != s || a > 23 || b > 59 || c > 23 || d > 59 || a == c && b == d {
		return q, diag.Errorf("%q is not a time of the day", diag.Clip(s)).WithHint("write 22:00-07:00, in local time")
	}
	return Quiet{a*60 + b, c*60 + d}, nil
}

// CredentialName is the systemd credential that holds the destination's secret; "" if it needs none.
func (d *Destination) CredentialName() string {
	switch {
	case d.Credential != "":
		return d.Credential
	case d.Form == "ntfy", d.Form == "alertmanager": // open to all unless a token is named
		return ""
	case d.Type == TypeAbuseIPDB, d.Type == TypeBlocklist && d.Method == "http", d.Type == TypeWebhook:
		return "bailiff_" + d.Name
	}
	return ""
}

// newDestination returns the defaults of one type.
func newDestination(name, kind string) Destination {
	d := Destination{Name: name, Type: kind, Enabled: true, Digest: "off", TimeLimit: time.Minute}
	switch kind {
	case TypeMail:
		d.Manual, d.Networks = true, true
		d.Include, d.Layout, d.Lines = []string{IncludeWhois, IncludeLines}, "bailiff", maxReportLines
	case TypeBlocklist:
		d.Redact, d.Method, d.To, d.Lines = true, "mail", []string{"fail2ban@blocklist.de"}, 100
	case TypeAbuseIPDB:
		// It refuses a second report within 15 minutes, and a free account has 1,000 a day.
		d.Redact, d.Window, d.Quota, d.Lines = true, 15*time.Minute, 1000, 20
	case TypeXARF:
		d.Redact, d.Digest, d.Window, d.Format, d.Lines, d.PerContact = true, "daily", 24*time.Hour, "4", 100, 10
	case TypeWebhook:
		d.Redact, d.Manual, d.Networks, d.Prolonged, d.Lines = true, true, true, true, 100
		d.Form, d.Events, d.Only, d.Gather = FormBailiff, []string{EventBans}, OnlyAll, 30*time.Second
	case TypeExec:
		d.Manual, d.Networks, d.Prolonged, d.Lines = true, true, true, 100
	}
	return d
}

func checkDestinationName(s string) *diag.Error {
	if len(s) > 32 || !isWord(s, lower+digits+"-.") || strings.Trim(s, "-.") != s {
		return diag.Errorf("%q cannot be the name of a destination", diag.Clip(s)).WithHint("names are made of a-z, 0-9, - and ., at most 32 of them")
	}
	return nil
}

// destination returns a destination, with the files' settings over the defaults of its type, and checks that its keys are consistent. jails
// are the names of all jails.
func (b *Builder) destination(name string, r *Report, jails []string) (d Destination, ok bool) {
	at := "report.destinations." + name
	fail := func(key string, err *diag.Error) { b.fail(b.place(at+"."+key, at), at+"."+key, err) }
	kind := ""
	if n := b.set[at+".type"]; n != nil {
		kind = n.Value
	} else if slices.Contains(DestinationTypes, name) {
		kind = name
	} else {
		if !b.failed(at + ".type") {
			fail("type", diag.Errorf("the destination %s has no type", name).WithHint("write type: and one of %s", strings.Join(DestinationTypes, ", ")))
		}
		return d, false
	}
	d = newDestination(name, kind)
	d.RetryFor = r.RetryFor
	if n := b.set[at+".form"]; n != nil && kind == TypeWebhook && n.Value != FormBailiff {
		d.Redact, d.Prolonged, d.Lines, d.Events = false, false, 0, []string{EventBans, EventProblems}
	}
	fields := destinationFields(&d)
	b.apply(at, fields)
	d.Type = kind
	walk(fields, "", func(key string, f *field) {
		if b.set[at+"."+key] != nil && !f.suits(kind) {
			fail(key, diag.Errorf("the type %s has no %s", kind, key).WithHint("it is for %s", strings.Join(f.types, ", ")))
		}
	})
	need := func(missing bool, key, hint string) {
		if missing && d.Enabled && !b.failed(at+"."+key) {
			fail(key, diag.Errorf("the destination %s needs %s", name, key).WithHint("%s", hint))
		}
	}
	switch kind {
	case TypeMail:
		need(len(d.To) == 0, "to", "write to: root")
	case TypeBlocklist:
		need(d.Method == "mail" && len(d.To) == 0, "to", "write to: fail2ban@blocklist.de, or leave it out")
		need(d.Method == "http" && d.Server == "", "server", "write the server as it is registered at blocklist.de: its mail address or number")
	case TypeXARF:
		need(d.Org == "", "org", "write who reports: Example GmbH")
	case TypeWebhook:
		b.notice(at, &d, need, fail)
	case TypeExec:
		need(len(d.Command) == 0, "command", "write command: [/usr/local/bin/tell, ARGUMENT]")
		if len(d.Command) > 0 && !path.IsAbs(d.Command[0]) {
			fail("command", diag.Errorf("%q is not an absolute path", diag.Clip(d.Command[0])).WithHint("write it with a leading slash: /usr/local/bin/tell"))
		}
	}
	for _, j := range d.Jails {
		if j != manual && !slices.Contains(jails, j) {
			e := diag.Errorf("there is no jail %q", diag.Clip(j))
			e.Hint = diag.DidYouMean(j, jails, "bailiff config shows all jails")
			fail("jails", e)
		}
	}
	return d, true
}

// notice checks the keys that a webhook's form requires.
func (b *Builder) notice(at string, d *Destination, need func(bool, string, string), fail func(string, *diag.Error)) {
	hint := "write url: https://host/path"
	if d.Form == "ntfy" {
		hint = "write the topic's URL: https://ntfy.sh/TOPIC"
	}
	switch {
	case d.Form == "telegram": // has one address
	case secretURL(d.Form):
		if d.URL != "" {
			fail("url", diag.Errorf("the URL of %s is a secret", d.Form).WithHint("write it to /etc/bailiff/credentials/%s, mode 0600, and leave url out", d.Name))
		}
	default:
		need(d.URL == "", "url", hint)
	}
	channel := d.Form == "telegram" || d.Form == "matrix"
	need(channel && d.Channel == "", "channel", "write Telegram's number of the chat, or Matrix's id of the room: \"!id:example.org\"")
	if d.Channel != "" && !channel {
		fail("channel", diag.Errorf("the form %s has no channel", d.Form).WithHint("it is for telegram and matrix"))
	}
	if d.Form != FormBailiff {
		return
	}
	plain := newDestination(d.Name, TypeWebhook)
	for key, set := range map[string]bool{"events": !slices.Equal(d.Events, plain.Events), "only": d.Only != plain.Only, "quiet": d.Quiet != plain.Quiet, "gather": d.Gather != plain.Gather} {
		if set {
			fail(key, diag.Errorf("%s is for notices", key).WithHint("name a form, such as form: ntfy"))
		}
	}
}

// failed reports whether a path already has an error.
func (b *Builder) failed(path string) bool {
	return slices.ContainsFunc(b.errs, func(err error) bool { return err.(*diag.Error).Path == path })
}

func reportable(jail string) bool { return jail == manual || checkName(jail) == nil }

func parseInclude(s string) (string, *diag.Error) {
	if slices.Contains([]string{IncludeWhois, IncludeLines, IncludeContext}, s) {
		return s, nil
	}
	return "", diag.Errorf("%q is not one of whois, lines, context", diag.Clip(s)).WithHint("write [whois, lines], or [] for the plain facts")
}

// digest accepts off, hourly or daily; other words for no mean off.
func digest(dst *string) value {
	v := oneOf(dst, "off", "hourly", "daily")
	set := v.set
	v.set = func(n *yamldoc.Node) *diag.Error {
		if on, ok := truths[n.Value]; ok && !on && n.Kind == yamldoc.Scalar {
			*dst = "off"
			return nil
		}
		return set(n)
	}
	return v
}

func blocklistServices(dst *map[string]string) value {
	const hint = "write jails or filters, each with a name of blocklist.de's: {sshd: ssh, roundcube-auth: imap}"
	return table(dst, "mapping of jails or filters to names", hint, func(s string) bool { return checkName(s) == nil }, func(n *yamldoc.Node) (string, *diag.Error) {
		s, err := scalar(n)
		if err != nil {
			return "", err
		}
		return parseName(s, "one name of blocklist.de's: ssh, mail, imap, …")
	}, quote)
}

func abuseCategories(dst *map[string][]int) value {
	const hint = "write jails or filters, each with numbers of https://www.abuseipdb.com/categories: {sshd: [18, 22]}"
	return table(dst, "mapping of jails or filters to lists of numbers", hint, func(s string) bool { return checkName(s) == nil }, func(n *yamldoc.Node) (all []int, err *diag.Error) {
		items, err := list(n)
		if err == nil && len(items) == 0 {
			err = diag.Errorf("is an empty list").WithHint("%s", hint)
		}
		for _, item := range items {
			v, err := parseNumber(item.Value, 1, 99)
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		}
		return all, err
	}, inlineNumbers)
}

// headers accepts headers of a webhook, except those that HTTP or the signature define, and those meant for secrets, since all users may
// read the configuration.
func headers(dst *map[string]string) value {
	owned := []string{"authorization", "proxy-authorization", "cookie", "content-length", "content-type", "transfer-encoding", "connection", "host", "upgrade", "te", "trailer", "expect"}
	ok := func(s string) bool {
		l := strings.ToLower(s)
		return len(s) <= 64 && isWord(s, letters+digits+"-_") && !strings.HasPrefix(l, "webhook-") && !slices.Contains(owned, l)
	}
	const hint = "write further headers, such as {X-Team: mail}; secrets never stand here, the request is signed with the credential"
	return table(dst, "mapping of names to texts", hint, ok, func(n *yamldoc.Node) (string, *diag.Error) {
		s, err := scalar(n)
		if err != nil {
			return "", err
		}
		return parseChecked(validText, "holds a control character, or is too long", "write one line of ASCII")(s)
	}, quote)
}

// parseWebURL checks a URL for requests. Plain http is accepted only for the host itself.
func parseWebURL(s string) (string, *diag.Error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || len(s) > 2000:
		return "", diag.Errorf("%q is not a URL", diag.Clip(s)).WithHint("write https://host/path")
	case u.User != nil:
		return "", diag.Errorf("the URL holds a user name").WithHint("all users may read the configuration; secrets come as credentials")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return "", diag.Errorf("%q is not encrypted", diag.Clip(s)).WithHint("write https:; http: is for 127.0.0.1 and ::1")
	}
	return s, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// parseSMTPServer reads HOST or HOST:PORT. Mails go there unencrypted and without a password, so it should be this host or a server in its
// network.
func parseSMTPServer(s string) (string, *diag.Error) {
	if !validServer(s) {
		return "", diag.Errorf("%q is not a server", diag.Clip(s)).WithHint("write HOST or HOST:PORT: 127.0.0.1")
	}
	if _, _, err := net.SplitHostPort(s); err != nil {
		s = net.JoinHostPort(s, "25")
	}
	return s, nil
}

func validServer(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = s, "43"
	}
	n, err := strconv.ParseUint(port, 10, 16)
	_, bad := netip.ParseAddr(host)
	return err == nil && n > 0 && (bad == nil || ValidHost(host))
}

// validAccount reports whether s can be an account of a server at blocklist.de.
func validAccount(s string) bool {
	return ValidAddress(s) || len(s) < 20 && isWord(s, digits)
}

// validText reports whether s is a line of printable ASCII.
func validText(s string) bool {
	return s != "" && len(s) <= 200 && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' })
}

// validCredential reports whether s can be both a file name and an identifier in a unit.
func validCredential(s string) bool {
	return len(s) <= 100 && isWord(s, letters+digits+"_.-") && strings.Trim(s, ".") != ""
}
