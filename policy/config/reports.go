package config

import (
	"maps"
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

const (
	pathDestinations = "report.destinations"

	maxDestinations = 50
	maxRecipients   = 50
	maxReportLines  = 1000 // of each part of a mail
	maxQuota        = 1_000_000
	maxGiveUp       = 60 * 24 * time.Hour // AbuseIPDB takes nothing older
	maxPatience     = 10 * time.Minute    // for one delivery or look-up
)

// newReport returns the built-in defaults of `report`: nobody is told anything.
func newReport() Report {
	return Report{
		RetryFor: 5 * 24 * time.Hour, // as mail systems do
		Lookup:   Lookup{TimeLimit: 10 * time.Second, Cache: 24 * time.Hour, RDAP: true, Whois: true, WhoisServer: "whois.iana.org", Contacts: "abuse-contacts.abusix.zone"},
		Sendmail: Sendmail{Path: "/usr/sbin/sendmail", Args: []string{"-i", "-f", "SENDER", "--"}, TimeLimit: time.Minute},
	}
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
	case TypeExec:
		d.Manual, d.Networks, d.Prolonged, d.Lines = true, true, true, 100
	}
	return d
}

// suits says for which types of destinations a key is, where it is not for all.
var suits = map[string][]string{
	"to":          {TypeMail, TypeBlocklist},
	"include":     {TypeMail},
	"layout":      {TypeMail},
	"template":    {TypeMail},
	"url":         {TypeBlocklist, TypeAbuseIPDB, TypeWebhook},
	"credential":  {TypeBlocklist, TypeAbuseIPDB, TypeWebhook},
	"method":      {TypeBlocklist},
	"server":      {TypeBlocklist},
	"services":    {TypeBlocklist},
	"categories":  {TypeAbuseIPDB},
	"format":      {TypeXARF},
	"org":         {TypeXARF},
	"contact":     {TypeXARF},
	"per_contact": {TypeXARF},
	"headers":     {TypeWebhook},
	"command":     {TypeExec},
}

// reports is the schema of `report`.
func (r *raw) reports() []field {
	c := &r.report
	return []field{
		{name: "host", set: checked(&c.Host, ValidHost, "is not a host name", "write it with its domain: mail.example.org")},
		{name: "sender", set: checked(&c.Sender, ValidRecipient, "is not a mail address", "write bailiff@mail.example.org")},
		{name: "retry_for", was: "give_up", set: duration(&c.RetryFor, maxGiveUp, false)},
		{name: "lookup", sub: []field{
			{name: "time_limit", set: duration(&c.Lookup.TimeLimit, maxPatience, false)},
			{name: "cache", set: duration(&c.Lookup.Cache, maxLong, false)},
			{name: "rdap", set: boolean(&c.Lookup.RDAP)},
			{name: "whois", set: boolean(&c.Lookup.Whois)},
			{name: "bootstrap", set: checked(&c.Lookup.Bootstrap, path.IsAbs, "is not a whole path", "write it from / on: /etc/bailiff/rdap.json")},
			{name: "whois_server", set: checked(&c.Lookup.WhoisServer, validServer, "is not a server", "write HOST or HOST:PORT: whois.iana.org")},
			{name: "contacts", set: orNothing(&c.Lookup.Contacts, checked(&c.Lookup.Contacts, ValidHost, "is not a DNS zone", "write abuse-contacts.abusix.zone, or none"))},
		}},
		{name: "sendmail", sub: []field{
			{name: "path", set: checked(&c.Sendmail.Path, path.IsAbs, "is not a whole path", "write it from / on: /usr/sbin/sendmail")},
			{name: "args", set: texts(&c.Sendmail.Args, 64, validArgument, "holds a control character", "write arguments as a list; there is no shell")},
			{name: "time_limit", set: duration(&c.Sendmail.TimeLimit, maxPatience, false)},
			{name: "smtp", set: orNothing(&c.Sendmail.SMTP, smtpServer(&c.Sendmail.SMTP))},
		}},
		{name: "destinations", each: r.destination},
	}
}

func (r *raw) destination(name *yamldoc.Node) ([]field, *diag.Error) {
	if len(name.Value) > 32 || !isWord(name.Value, "abcdefghijklmnopqrstuvwxyz0123456789-.") || strings.Trim(name.Value, "-.") != name.Value {
		return nil, diag.Errorf("%q cannot be the name of a destination", diag.Clip(name.Value)).WithHint("names are made of a-z, 0-9, - and ., at most 32 of them")
	}
	d := r.destinations[name.Value]
	if d == nil {
		if len(r.destinations) == maxDestinations {
			return nil, diag.Errorf("more than %d destinations", maxDestinations)
		}
		d = new(Destination)
		r.destinations[name.Value] = d
	}
	return []field{
		{name: "type", set: oneOf(&d.Type, DestinationTypes...)},
		{name: "enabled", set: boolean(&d.Enabled)},
		{name: "jails", set: once(texts(&d.Jails, maxJails, func(s string) bool { return s == manual || checkName(s) == nil }, "is not the name of a jail", "write [sshd, postfix]"))},
		{name: "min_failures", set: integer(&d.MinFailures, 0, maxRetry)},
		{name: "manual", set: boolean(&d.Manual)},
		{name: "networks", was: "wide", set: boolean(&d.Networks)},
		{name: "prolonged", was: "extended", set: boolean(&d.Prolonged)},
		{name: "window", set: orNone(&d.Window, duration(&d.Window, maxLong, false))},
		{name: "quota", set: orOff(&d.Quota, 1, maxQuota)},
		{name: "digest", set: digest(&d.Digest)},
		{name: "retry_for", was: "give_up", set: duration(&d.RetryFor, maxGiveUp, false)},
		{name: "redact", set: boolean(&d.Redact)},
		{name: "lines", set: integer(&d.Lines, 0, maxReportLines)},
		{name: "time_limit", set: duration(&d.TimeLimit, maxPatience, false)},
		{name: "to", set: once(texts(&d.To, maxRecipients, ValidRecipient, "is not a mail address", "write root, or name@example.org"))},
		{name: "include", was: "parts", set: once(texts(&d.Include, 3, func(s string) bool {
			return slices.Contains([]string{IncludeWhois, IncludeLines, IncludeContext}, s)
		}, "is none of whois, lines, context", "write [whois, lines], or [] for the plain facts"))},
		{name: "layout", set: oneOf(&d.Layout, "bailiff", "fail2ban")},
		{name: "template", set: checked(&d.Template, path.IsAbs, "is not a whole path", "write it from / on: /etc/bailiff/report.tmpl")},
		{name: "url", set: webAddress(&d.URL)},
		{name: "credential", set: checked(&d.Credential, validCredential, "is not the name of a credential", "write a name as LoadCredential= has it: bailiff_abuseipdb; the secret itself never stands here")},
		{name: "method", was: "via", set: oneOf(&d.Method, "mail", "http")},
		{name: "server", set: checked(&d.Server, func(s string) bool { return ValidAddress(s) || isWord(s, "0123456789") && len(s) < 20 }, "is neither a mail address nor a number", "write what blocklist.de knows the server by")},
		{name: "services", set: blocklistServices(&d.Services)},
		{name: "categories", set: abuseCategories(&d.Categories)},
		{name: "format", set: oneOf(&d.Format, "0.2", "4")},
		{name: "org", set: checked(&d.Org, validText, "holds a control character, or is too long", "write who reports: Example GmbH")},
		{name: "contact", set: checked(&d.Contact, ValidAddress, "is not a mail address", "write abuse@example.org")},
		{name: "per_contact", set: integer(&d.PerContact, 1, 1000)},
		{name: "headers", set: headers(&d.Headers)},
		{name: "command", set: texts(&d.Command, 64, validArgument, "holds a control character", "write the program and its arguments as a list; there is no shell")},
	}, nil
}

// resolveReport fills in what follows from the types of destinations, and checks what several keys say together.
func (r *raw) resolveReport(jails []string) Report {
	c := r.report
	for _, name := range slices.Sorted(maps.Keys(r.destinations)) {
		at := join(pathDestinations, name)
		own := r.destinations[name]
		fail := func(key string, err *diag.Error) { r.fail(r.nearest(at+"."+key, at), at+"."+key, err) }
		kind := own.Type
		if kind == "" && slices.Contains(DestinationTypes, name) {
			kind = name
		}
		if kind == "" {
			if r.told(at + ".type") {
				continue
			}
			fail("type", diag.Errorf("the destination %s has no type", name).WithHint("write type: and one of %s", strings.Join(DestinationTypes, ", ")))
			continue
		}
		for _, key := range keysOf(suits) {
			types := suits[key]
			if r.place[at+"."+key] != nil && !slices.Contains(types, kind) {
				fail(key, diag.Errorf("the type %s has no %s", kind, key).WithHint("it is for %s", strings.Join(types, ", ")))
			}
		}
		c.Destinations = append(c.Destinations, r.merge(at, *own, newDestination(name, kind)))
		d := &c.Destinations[len(c.Destinations)-1]
		need := func(missing bool, key, hint string, args ...any) {
			if missing && d.Enabled && !r.told(at+"."+key) {
				fail(key, diag.Errorf("the destination %s needs %s", name, key).WithHint(hint, args...))
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
			need(d.URL == "", "url", "write url: https://host/path")
		case TypeExec:
			need(len(d.Command) == 0, "command", "write command: [/usr/local/bin/tell, ARGUMENT]")
			if len(d.Command) > 0 && !path.IsAbs(d.Command[0]) {
				fail("command", diag.Errorf("%q is not a whole path", diag.Clip(d.Command[0])).WithHint("write it from / on: /usr/local/bin/tell"))
			}
		}
		for _, j := range d.Jails {
			if j != manual && !slices.Contains(jails, j) {
				e := diag.Errorf("there is no jail %q", diag.Clip(j))
				if near := diag.Near(j, jails); near != "" {
					e = e.WithHint("did you mean %s?", near)
				} else {
					e = e.WithHint("bailiff config shows all jails")
				}
				fail("jails", e)
			}
		}
	}
	return c
}

// told says whether an error of that path is noted already.
func (r *raw) told(path string) bool {
	return slices.ContainsFunc(r.errs, func(err error) bool {
		e, ok := err.(*diag.Error)
		return ok && e.Path == path
	})
}

// merge lays what files say over the defaults of the type.
func (r *raw) merge(at string, own, d Destination) Destination {
	d.Enabled = pick(r, at+".enabled", own.Enabled, d.Enabled)
	d.Jails = pick(r, at+".jails", own.Jails, d.Jails)
	d.MinFailures = pick(r, at+".min_failures", own.MinFailures, d.MinFailures)
	d.Manual = pick(r, at+".manual", own.Manual, d.Manual)
	d.Networks = pick(r, at+".networks", own.Networks, d.Networks)
	d.Prolonged = pick(r, at+".prolonged", own.Prolonged, d.Prolonged)
	d.Window = pick(r, at+".window", own.Window, d.Window)
	d.Quota = pick(r, at+".quota", own.Quota, d.Quota)
	d.Digest = pick(r, at+".digest", own.Digest, d.Digest)
	d.RetryFor = pick(r, at+".retry_for", own.RetryFor, r.report.RetryFor)
	d.Redact = pick(r, at+".redact", own.Redact, d.Redact)
	d.Lines = pick(r, at+".lines", own.Lines, d.Lines)
	d.TimeLimit = pick(r, at+".time_limit", own.TimeLimit, d.TimeLimit)
	d.To = pick(r, at+".to", own.To, d.To)
	d.Include = pick(r, at+".include", own.Include, d.Include)
	d.Layout = pick(r, at+".layout", own.Layout, d.Layout)
	d.Method = pick(r, at+".method", own.Method, d.Method)
	d.Format = pick(r, at+".format", own.Format, d.Format)
	d.PerContact = pick(r, at+".per_contact", own.PerContact, d.PerContact)
	d.Template, d.URL, d.Credential, d.Server, d.Org, d.Contact = own.Template, own.URL, own.Credential, own.Server, own.Org, own.Contact
	d.Services, d.Categories, d.Headers, d.Command = own.Services, own.Categories, own.Headers, own.Command
	return d
}

// checked takes a text that is ok.
func checked(dst *string, ok func(string) bool, not, hint string) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		s, err := scalar(n)
		switch {
		case err != nil:
			return err
		case !ok(s) || len(s) > 1000 || !validArgument(s):
			return diag.Errorf("%q %s", diag.Clip(s), not).WithHint("%s", hint)
		}
		*dst = s
		return nil
	}
}

// orNothing takes a text, or none for an empty one.
func orNothing(dst *string, set func(*yamldoc.Node) *diag.Error) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		if n.Kind == yamldoc.Scalar && n.Value == "none" {
			*dst = ""
			return nil
		}
		return set(n)
	}
}

// smtpServer takes HOST or HOST:PORT. Mails go there unencrypted and without a password: it is this host's own, or one in its
// network.
func smtpServer(dst *string) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		s, err := scalar(n)
		switch {
		case err != nil:
			return err
		case !validServer(s):
			return diag.Errorf("%q is not a server", diag.Clip(s)).WithHint("write HOST or HOST:PORT: 127.0.0.1")
		}
		if _, _, bad := net.SplitHostPort(s); bad != nil {
			s = net.JoinHostPort(s, "25")
		}
		*dst = s
		return nil
	}
}

// texts takes a list of texts that are ok.
func texts(dst *[]string, most int, ok func(string) bool, not, hint string) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		items, err := list(n)
		if err != nil {
			return err
		}
		if len(items) > most {
			return diag.Errorf("has %d items, more than %d", len(items), most)
		}
		var all []string
		for _, item := range items {
			if !ok(item.Value) || len(item.Value) > 1000 {
				return placed(diag.Errorf("%q %s", diag.Clip(item.Value), not), item).WithHint("%s", hint)
			}
			all = append(all, item.Value)
		}
		*dst = all
		return nil
	}
}

// once refuses a list that set takes but in which a text stands twice.
func once(set func(*yamldoc.Node) *diag.Error) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		if err := set(n); err != nil {
			return err
		}
		for i, item := range n.Items {
			if slices.ContainsFunc(n.Items[:i], func(x *yamldoc.Node) bool { return x.Value == item.Value }) {
				return placed(diag.Errorf("%q stands twice", diag.Clip(item.Value)), item)
			}
		}
		return nil
	}
}

// table takes a mapping of names to something.
func table[T any](dst *map[string]T, ok func(name string) bool, hint string, take func(n *yamldoc.Node) (T, *diag.Error)) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		if n.Kind == yamldoc.Null {
			*dst = nil
			return nil
		}
		if n.Kind != yamldoc.Map {
			return diag.Errorf("must be a mapping, not %s", n.Kind).WithHint("%s", hint)
		}
		if len(n.Pairs) > maxJails {
			return diag.Errorf("has %d items, more than %d", len(n.Pairs), maxJails)
		}
		all := make(map[string]T, len(n.Pairs))
		for _, p := range n.Pairs {
			if !ok(p.Key.Value) {
				return placed(diag.Errorf("%q cannot stand here", diag.Clip(p.Key.Value)), p.Key).WithHint("%s", hint)
			}
			v, err := take(p.Value)
			if err != nil {
				return placed(err, p.Value)
			}
			all[p.Key.Value] = v
		}
		*dst = all
		return nil
	}
}

// digest takes the words of how often, and no for off.
func digest(dst *string) func(*yamldoc.Node) *diag.Error {
	words := oneOf(dst, "off", "hourly", "daily")
	return func(n *yamldoc.Node) *diag.Error {
		if on, ok := truths[n.Value]; ok && !on && n.Kind == yamldoc.Scalar {
			*dst = "off"
			return nil
		}
		return words(n)
	}
}

func blocklistServices(dst *map[string]string) func(*yamldoc.Node) *diag.Error {
	const hint = "write jails or filters, each with a name of blocklist.de's: {sshd: ssh, roundcube-auth: imap}"
	return table(dst, func(s string) bool { return checkName(s) == nil }, hint, func(n *yamldoc.Node) (s string, err *diag.Error) {
		return s, word(&s, "one name of blocklist.de's: ssh, mail, imap, …")(n)
	})
}

func abuseCategories(dst *map[string][]int) func(*yamldoc.Node) *diag.Error {
	const hint = "write jails or filters, each with numbers of https://www.abuseipdb.com/categories: {sshd: [18, 22]}"
	return table(dst, func(s string) bool { return checkName(s) == nil }, hint, func(n *yamldoc.Node) (all []int, err *diag.Error) {
		items, err := list(n)
		if err == nil && len(items) == 0 {
			err = diag.Errorf("is an empty list").WithHint("%s", hint)
		}
		for _, item := range items {
			var v int
			if err := integer(&v, 1, 99)(item); err != nil {
				return nil, err
			}
			all = append(all, v)
		}
		return all, err
	})
}

// headers of a webhook: none that HTTP or the signature own, and none that is there to hold a secret, since everybody may
// read the configuration.
func headers(dst *map[string]string) func(*yamldoc.Node) *diag.Error {
	ok := func(s string) bool {
		l := strings.ToLower(s)
		return isWord(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") && len(s) <= 64 && !strings.HasPrefix(l, "webhook-") &&
			!slices.Contains([]string{"authorization", "proxy-authorization", "cookie", "content-length", "content-type", "transfer-encoding", "connection", "host", "upgrade", "te", "trailer", "expect"}, l)
	}
	const hint = "write further headers, such as {X-Team: mail}; secrets never stand here, the request is signed with the credential"
	return table(dst, ok, hint, func(n *yamldoc.Node) (s string, err *diag.Error) {
		return s, checked(&s, validText, "holds a control character, or is too long", "write one line of ASCII")(n)
	})
}

// webAddress takes where something listens on the web. Plain http is for the host itself.
func webAddress(dst *string) func(*yamldoc.Node) *diag.Error {
	return func(n *yamldoc.Node) *diag.Error {
		s, err := scalar(n)
		if err != nil {
			return err
		}
		u, bad := url.Parse(s)
		switch {
		case bad != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || len(s) > 2000:
			return diag.Errorf("%q is not a URL", diag.Clip(s)).WithHint("write https://host/path")
		case u.User != nil:
			return diag.Errorf("the URL holds a user name").WithHint("everybody may read the configuration; secrets come as credentials")
		case u.Scheme == "http" && !loopback(u.Hostname()):
			return diag.Errorf("%q is not encrypted", diag.Clip(s)).WithHint("write https:; http: is for 127.0.0.1 and ::1")
		}
		*dst = s
		return nil
	}
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
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

// validArgument takes what a program can be given, and what stays in one line.
func validArgument(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}

// validText takes a line of printable ASCII.
func validText(s string) bool {
	return s != "" && len(s) <= 200 && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' })
}

// validCredential keeps to names that are files in a folder and identifiers in a unit.
func validCredential(s string) bool {
	return len(s) <= 100 && isWord(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") && strings.Trim(s, ".") != ""
}

func (w *writer) reports(c *Config) {
	w.line(0, "report:")
	p := &c.Report
	w.text(1, "report.host", p.Host)
	w.text(1, "report.sender", p.Sender)
	w.key(1, "report.retry_for", FormatDuration(p.RetryFor))
	w.line(1, "lookup:")
	w.key(2, "report.lookup.time_limit", FormatDuration(p.Lookup.TimeLimit))
	w.key(2, "report.lookup.cache", FormatDuration(p.Lookup.Cache))
	w.key(2, "report.lookup.rdap", strconv.FormatBool(p.Lookup.RDAP))
	w.key(2, "report.lookup.whois", strconv.FormatBool(p.Lookup.Whois))
	w.text(2, "report.lookup.bootstrap", p.Lookup.Bootstrap)
	w.key(2, "report.lookup.whois_server", p.Lookup.WhoisServer)
	contacts := p.Lookup.Contacts
	if contacts == "" {
		contacts = "none"
	}
	w.key(2, "report.lookup.contacts", contacts)
	w.line(1, "sendmail:")
	w.key(2, "report.sendmail.path", p.Sendmail.Path)
	w.list(2, "report.sendmail.args", p.Sendmail.Args)
	w.key(2, "report.sendmail.time_limit", FormatDuration(p.Sendmail.TimeLimit))
	w.text(2, "report.sendmail.smtp", p.Sendmail.SMTP)
	if len(p.Destinations) == 0 {
		w.with(1, "destinations: {}", c.Origin(pathDestinations))
		return
	}
	w.line(1, "destinations:")
	for i := range p.Destinations {
		w.destination(&p.Destinations[i])
	}
}

func (w *writer) destination(d *Destination) {
	at := join(pathDestinations, d.Name)
	w.line(2, quote(d.Name)+":")
	key := func(name, value string) { w.key(3, at+"."+name, value) }
	flag := func(name string, on bool) { key(name, strconv.FormatBool(on)) }
	key("type", d.Type)
	flag("enabled", d.Enabled)
	w.list(3, at+".jails", d.Jails)
	key("min_failures", strconv.Itoa(d.MinFailures))
	flag("manual", d.Manual)
	flag("networks", d.Networks)
	flag("prolonged", d.Prolonged)
	key("window", none(d.Window))
	key("quota", off(d.Quota))
	key("digest", d.Digest)
	key("retry_for", FormatDuration(d.RetryFor))
	flag("redact", d.Redact)
	key("lines", strconv.Itoa(d.Lines))
	key("time_limit", FormatDuration(d.TimeLimit))
	for _, x := range []struct {
		name  string
		write func()
	}{
		{"to", func() { w.list(3, at+".to", d.To) }},
		{"include", func() { w.list(3, at+".include", d.Include) }},
		{"layout", func() { key("layout", d.Layout) }},
		{"method", func() { key("method", d.Method) }},
		{"format", func() { key("format", d.Format) }},
		{"command", func() { w.list(3, at+".command", d.Command) }},
		{"services", func() {
			w.table(3, at+".services", keysOf(d.Services), func(k string) string { return quote(d.Services[k]) })
		}},
		{"headers", func() {
			w.table(3, at+".headers", keysOf(d.Headers), func(k string) string { return quote(d.Headers[k]) })
		}},
		{"categories", func() {
			w.table(3, at+".categories", keysOf(d.Categories), func(k string) string { return numbers(d.Categories[k]) })
		}},
	} {
		if slices.Contains(suits[x.name], d.Type) {
			x.write()
		}
	}
	if d.Type == TypeXARF {
		key("per_contact", strconv.Itoa(d.PerContact))
	}
	for _, x := range []struct{ name, value string }{
		{"template", d.Template}, {"url", d.URL}, {"credential", d.Credential}, {"server", d.Server}, {"org", d.Org}, {"contact", d.Contact},
	} {
		if slices.Contains(suits[x.name], d.Type) {
			w.text(3, at+"."+x.name, x.value)
		}
	}
}

// text writes a value that is left out where there is none.
func (w *writer) text(depth int, path, value string) {
	if value != "" {
		w.key(depth, path, value)
	}
}

func (w *writer) table(depth int, path string, keys []string, value func(string) string) {
	if len(keys) == 0 {
		return
	}
	w.with(depth, name(path)+":", w.c.Origin(path))
	for _, k := range keys {
		w.line(depth+1, quote(k)+": "+value(k))
	}
}

func keysOf[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

func numbers(ns []int) string {
	var b []string
	for _, n := range ns {
		b = append(b, strconv.Itoa(n))
	}
	return "[" + strings.Join(b, ", ") + "]"
}
