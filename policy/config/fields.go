package config

import (
	"path"
	"slices"
	"strings"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/blocklist"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/policy/fleet"
	"bailiff/policy/jail"
)

// Ranges of what may be configured.
const (
	maxFindTime = 366 * 24 * time.Hour // a restart reads the journal again from this far back
	maxRetry    = 1000                 // each failure of a window is kept as evidence
	maxFactor   = 1000
	maxWeight   = 20
	maxSlow     = 60                  // a bucket of the slow window holds up to 63
	maxLong     = 30 * 24 * time.Hour // of windows over many addresses and of slow ones, whose failures stay in memory
	maxDistinct = 64                  // addresses of an account, parts of a network that are told apart
	maxPersonal = 10                  // failures kept of one address on one account
	minTracked  = 1_000
	maxTracked  = 100_000_000
	maxEvidence = 1024   // what an audit entry holds (journal/audit)
	maxList     = 10_000 // items of a list; longer ones belong in an allow file
	maxText     = 1000   // bytes of a text
	maxJails    = 1_000

	maxGrace    = 24 * time.Hour // an address that somebody once logged in from is not theirs forever
	minInterval = 5 * time.Minute
	maxInterval = 366 * 24 * time.Hour
	maxLists    = 100
	maxURLs     = 16 // of one list
	maxGroups   = 64

	maxDestinations = 50
	maxRecipients   = 50
	maxReportLines  = 1000 // of each part of a mail
	maxQuota        = 1_000_000
	maxRetryFor     = 60 * 24 * time.Hour // AbuseIPDB accepts nothing older
	maxTimeLimit    = 10 * time.Minute    // for one delivery or look-up

	maxVotes     = 64
	maxFleetBans = 1_000_000
	maxTogether  = 1000 // hosts
	maxAccounts  = 10   // of 32 that summaries tell apart
	maxWithin    = 24 * time.Hour
)

// field is one key of the configuration. This file is the one list of all keys: decoding, merging, Render, the commented sample
// (units/config/bailiff.yaml) and the tables of bailiff.yaml(5) are made from it. To add a key, add a line here, a field in config.go and a
// default in defaults.go, then run go test ./policy/config -run 'Sample|Manual' -update. A new section also needs its lines "; begin keys
// NAME" and "; end keys" in units/man/bailiff.yaml.5.scd.
type field struct {
	name  string
	doc   string // what it means, in one line for the sample and the manual
	since string // version that has it first; "" is 1.0
	old   string // its name until 1.0: an error that gives the new one
	value        // of a key with one setting

	fields  []field  // of a mapping of keys
	entries *entries // of a mapping of names that the operator chooses

	optional bool     // Render leaves it out while it is empty
	types    []string // of a destination: the types that have the key; nil is all
	example  string   // for the sample, where the default is empty
	initial  string   // the default in words, where it follows from something else
}

// entries is a mapping whose keys the operator chooses, such as jails.
type entries struct {
	max   int
	what  string                        // jails, for errors
	check func(name string) *diag.Error // whether a name may be used
	new   func(name string) []field     // fields of a new entry with its defaults
	all   []entry                       // of the Config, sorted by name

	// Where a plain list of names is accepted in place of the mapping, this checks one.
	listed func(name string) *diag.Error
}

type entry struct {
	name   string
	fields []field
}

// schema lists all keys, bound to a Config.
func schema(c *Config) []field {
	return []field{
		{name: "defaults", doc: "Settings for every jail that does not set its own, and for manual bans.", fields: thresholds(&c.Defaults)},
		{name: "escalate", doc: "Longer bans for repeat offenders: 2d, 4d, 8d and so on, over all jails together.", fields: []field{
			{name: "factor", doc: "How many times longer each ban is. 1: equal length.", value: factor(&c.Escalate.Factor)},
			{name: "max", doc: "No ban is made longer than this.", value: durationOrForever(&c.Escalate.Max)},
			{name: "forget", doc: "Time without a ban until counting starts again.", value: durationOrForever(&c.Escalate.Forget)},
			{name: "random_extra", old: "spread", doc: "Up to this much is added, so that nobody can predict the end.",
				value: orNone(&c.Escalate.RandomExtra, duration(&c.Escalate.RandomExtra, longest))},
		}},
		{name: "accounts", doc: "Attacks on one account from many addresses, over all jails together.", fields: []field{
			{name: "addresses", doc: "Failing addresses that put an account under attack.",
				value: orOff(&c.Accounts.Addresses, number(&c.Accounts.Addresses, 2, maxDistinct))},
			{name: "find_time", doc: "How long a failure on an account counts.", value: duration(&c.Accounts.FindTime, maxLong)},
			{name: "max_retry", doc: "Failures of one address on it that lead to a ban.",
				value: number(&c.Accounts.MaxRetry, jail.LeastAccountRetry, maxPersonal)},
			{name: "trust_logins_for", old: "spare", doc: "Addresses that logged in to it are exempt this long.",
				value: duration(&c.Accounts.TrustLoginsFor, maxLong)},
		}},
		{name: "networks", old: "neighbours", doc: "Attacks from many parts of one network, which is then banned as a whole.", fields: []field{
			{name: "find_time", doc: "How long the attack of a part counts.", value: duration(&c.Networks.FindTime, maxLong)},
			{name: "trust_logins_for", old: "spare", doc: "A network with a login is exempt this long.", value: duration(&c.Networks.TrustLoginsFor, maxLong)},
			{name: "ipv4", fields: []field{
				{name: "24", doc: "Banned addresses of a /24.", value: orOff(&c.Networks.Net4, number(&c.Networks.Net4, 2, maxDistinct))},
			}},
			{name: "ipv6", fields: []field{
				{name: "64", doc: "Attackers in a /64, if prefix.ipv6 exceeds 64.",
					value: orOff(&c.Networks.Net6.Bits64, number(&c.Networks.Net6.Bits64, 2, maxDistinct))},
				{name: "56", doc: "Attacking /64 networks of a /56.", value: orOff(&c.Networks.Net6.Bits56, number(&c.Networks.Net6.Bits56, 2, maxDistinct))},
				{name: "48", doc: "Attacking /64 networks of a /48.", value: orOff(&c.Networks.Net6.Bits48, number(&c.Networks.Net6.Bits48, 2, maxDistinct))},
			}},
		}},
		{name: "allow", doc: "Addresses that are never banned. This takes precedence over everything else.", fields: []field{
			{name: "self", doc: "Allow the addresses of this host.", value: boolean(&c.Allow.Self)},
			{name: "addresses", doc: "Addresses and prefixes, each optionally with an end date.", example: `[192.0.2.0/24, "2001:db8::/48", 198.51.100.7 until 2026-12-31]`,
				value: addresses(&c.Allow.Addresses)},
			{name: "files", doc: "Files with one address or prefix a line.", value: patterns(&c.Allow.Files)},
			{name: "lists", doc: "Lists that others publish; names from the catalogue, or a mapping.", entries: publishedLists(c)},
			{name: "operators", doc: "Administrators who are logged in over ssh are not locked out.", fields: []field{
				{name: "enabled", doc: "Allow the addresses of operators' ssh sessions.", value: boolean(&c.Allow.Operators.Enabled)},
				{name: "groups", doc: "Members are operators, in addition to root.",
					value: many(&c.Allow.Operators.Groups, "list of groups", maxGroups, parseGroup, text)},
				{name: "grace", doc: "Time after the last logout.", value: orNone(&c.Allow.Operators.Grace, duration(&c.Allow.Operators.Grace, maxGrace))},
			}},
		}},
		{name: "lists", doc: "Block lists that others publish; names from the catalogue, or a mapping.", entries: blockLists(c)},
		{name: "firewall", doc: "How packets of banned addresses are stopped.", fields: []field{
			{name: "backend", doc: "Where bans are kept. dryrun blocks nothing.", value: answer(oneOf(&c.Firewall.Backend, Backends...),
				func(s string) bool { return strings.HasPrefix(s, "iptables") }, "write ipset, whose sets iptables rules refer to")},
			{name: "block", doc: "Whether to discard packets silently, or to answer.", value: oneOf(&c.Firewall.Block, "drop", "reject")},
			{name: "keep_on_stop", doc: "Bans stay in effect while the daemon is stopped.", value: boolean(&c.Firewall.KeepOnStop)},
			{name: "close_connections", doc: "Close the open connections of a banned address.", value: boolean(&c.Firewall.Close)},
			{name: "firewalld", fields: []field{
				{name: "method", old: "via", doc: "How firewalld's sets take effect.", value: oneOf(&c.Firewall.Method, FirewalldMethods...)},
				{name: "zones", doc: "Zones that get the rules of method rich.", value: many(&c.Firewall.Zones, "list of zones", maxList, parseZone, text)},
			}},
		}},
		{name: "limits", doc: "Bounds on memory.", fields: []field{
			{name: "max_tracked", old: "tracked", doc: "Addresses to track; 100 bytes each.", value: number(&c.Limits.MaxTracked, minTracked, maxTracked)},
			{name: "max_evidence", old: "lines_per_ban", doc: "Log lines kept as evidence of a ban.", value: number(&c.Limits.MaxEvidence, 1, maxEvidence)},
		}},
		{name: "metrics", doc: "What bailiff metrics prints for Prometheus.", fields: []field{
			{name: "patterns", doc: "Count failures by pattern, too: up to 500 more series.", value: boolean(&c.Metrics.Patterns)},
		}},
		{name: "fleet", doc: "Bans of other hosts that take effect here, too.", fields: []field{
			{name: "hosts", doc: "Trusted hosts, each with its group, or roster: those of the fleet.", initial: "none", optional: true, example: "{web1: berlin, web2: berlin, mail1: paris}",
				value: fleetHosts(&c.Fleet)},
			{name: "votes", doc: "Groups that must ban an address.", value: number(&c.Fleet.Votes, 1, maxVotes)},
			{name: "jails", doc: "Their jails whose bans are accepted.", initial: "all", optional: true, example: "[sshd, postfix]",
				value: once(texts(&c.Fleet.Jails, "list of jails", maxJails, func(s string) bool { return checkName(s) == nil }, "is not the name of a jail", "write [sshd, postfix]"))},
			{name: "min_prefix", doc: "A ban of a wider prefix is refused.", fields: []field{
				{name: "ipv4", doc: "Shortest prefix length accepted, for IPv4.", value: number(&c.Fleet.MinPrefix4, 8, 32)},
				{name: "ipv6", doc: "Shortest prefix length accepted, for IPv6.", value: number(&c.Fleet.MinPrefix6, 16, 128)},
			}},
			{name: "max_ban_time", doc: "The longest that a ban lasts here, counted from its beginning.", value: duration(&c.Fleet.Longest, longest)},
			{name: "max_bans", doc: "Bans kept of one host.", value: number(&c.Fleet.MaxBans, 1, maxFleetBans)},
			{name: "rate", doc: "New bans of one host in a minute.", value: number(&c.Fleet.Rate, 1, maxFleetBans)},
			{name: "together", doc: "Ban what fails a little on many hosts; off until hosts is set.", fields: []field{
				{name: "hosts", doc: "Different hosts, this one included, that must have counted failures.", value: orOff(&c.Fleet.Together.Hosts, number(&c.Fleet.Together.Hosts, 2, maxTogether))},
				{name: "failures", doc: "Failures on all hosts; each host counts for its even share at most.", value: number(&c.Fleet.Together.Failures, 2, fleet.MaxSeen*maxTogether)},
				{name: "accounts", doc: "Different accounts, whichever single host is left out.", value: number(&c.Fleet.Together.Accounts, 1, maxAccounts)},
				{name: "within", doc: "Failures older than this no longer count.", value: duration(&c.Fleet.Together.Within, maxWithin)},
				{name: "ban_time", doc: "How long a ban lasts.", value: duration(&c.Fleet.Together.BanTime, longest)},
			}},
		}},
		{name: "report", doc: "Who is told about bans: nobody, unless a destination is configured.", fields: reportFields(c)},
		{name: "jails", doc: "Every built-in filter is a jail of the same name. Others name their filter.", entries: jails(c)},
	}
}

// thresholds are the keys that a jail takes from defaults where it does not set them.
func thresholds(d *Thresholds) []field {
	return []field{
		{name: "find_time", doc: "Failures older than this no longer count.", value: duration(&d.FindTime, maxFindTime)},
		{name: "max_retry", doc: "Failed attempts within find_time that lead to a ban.", value: number(&d.MaxRetry, 1, maxRetry)},
		{name: "ban_time", doc: "Duration of the first ban; see escalate.", value: durationOrForever(&d.BanTime)},
		{name: "observe", doc: `Decide and log "would ban", but block nothing.`, value: boolean(&d.Observe)},
		{name: "prefix", doc: "Addresses with the same leading bits are counted and banned as one.", fields: []field{
			{name: "ipv4", doc: "Prefix length for IPv4. 32: single addresses.", value: number(&d.Prefix4, 8, 32)},
			{name: "ipv6", doc: "Prefix length for IPv6. 64: what one customer usually has.", value: number(&d.Prefix6, 32, 128)},
		}},
		{name: "slow", doc: "A second, longer window against slow attacks.", fields: []field{
			{name: "find_time", doc: "Failures older than this no longer count in it.", value: duration(&d.Slow.FindTime, maxLong)},
			{name: "max_retry", doc: "Attempts plus further accounts that lead to a ban.",
				value: orOff(&d.Slow.MaxRetry, number(&d.Slow.MaxRetry, 2, maxSlow))},
		}},
		{name: "weights", doc: "Failures that count more than once within find_time.", fields: []field{
			{name: "invalid_user", old: "unknown", doc: "Weight from the fourth nonexistent account on.", value: number(&d.Weights.InvalidUser, 1, maxWeight)},
			{name: "new_account", old: "account", doc: "Added for each account but the first that an address tries.",
				value: number(&d.Weights.NewAccount, 0, maxWeight)},
		}},
	}
}

// inherited are the paths of thresholds.
var inherited = func() map[string]bool {
	all := make(map[string]bool)
	walk(thresholds(new(Thresholds)), "", func(path string, _ *field) { all[path] = true })
	return all
}()

func jails(c *Config) *entries {
	e := &entries{max: maxJails, what: "jails", check: checkName, new: func(name string) []field {
		return jailFields(&Jail{Name: name, Enabled: true, filter: name, Thresholds: c.Defaults})
	}}
	for i := range c.Jails {
		e.all = append(e.all, entry{c.Jails[i].Name, jailFields(&c.Jails[i])})
	}
	return e
}

func jailFields(j *Jail) []field {
	return append([]field{
		{name: "enabled", doc: "false disables the jail and lifts its bans.", value: answer(boolean(&j.Enabled), func(s string) bool { return s == "auto" },
			"leave the key out: a jail is enabled and waits until one of its filter's units writes entries")},
		{name: "filter", doc: "A built-in filter, or /etc/bailiff/filters.d/FILTER.yaml.", initial: "the jail's name",
			value: word(&j.filter, "name of a filter", "filter: NAME and, if need be, mode: NAME")},
		{name: "mode", doc: "The filter's mode: bailiff filter show FILTER describes each.", initial: "the filter's first",
			value: word(&j.Mode, "name of a mode", "one mode, such as normal or aggressive")},
		{name: "ports", doc: "Ports that are closed to banned addresses.", value: ports(&j.Ports)},
		{name: "units", doc: "More system units to watch.", optional: true, example: "[sshd-alt.service]",
			value: many(&j.Trust.Units, "list of units", maxList, filter.ParseUnit, text)},
		{name: "containers", doc: "Containers to watch, by name or tag.", optional: true, example: "[front-mail]",
			value: many(&j.Trust.Containers, "list of containers", maxList, filter.ParseContainer, text)},
		{name: "user_units", doc: "Units of users to watch, each after the user's number.", optional: true, example: "[1000/proxy.service]",
			value: many(&j.Trust.UserUnits, "list of UID/UNIT", maxList, filter.ParseUserUnit, filter.UserUnit.String)},
		{name: "exe", doc: "Executables to trust instead of the filter's.", optional: true, example: "[/usr/local/sbin/sshd]", initial: "the filter's",
			value: executables(&j.Trust)},
	}, thresholds(&j.Thresholds)...)
}

func publishedLists(c *Config) *entries {
	e := &entries{max: maxLists, what: "lists", check: checkListName, listed: checkCatalogued(allow.Catalogue()), new: func(name string) []field {
		p := allow.NewPublished(name)
		return listFields(&p)
	}}
	for i := range c.Allow.Lists {
		e.all = append(e.all, entry{c.Allow.Lists[i].Name, listFields(&c.Allow.Lists[i])})
	}
	return e
}

func blockLists(c *Config) *entries {
	e := &entries{max: maxLists, what: "lists", check: checkListName, listed: checkCatalogued(blocklist.Catalogue()), new: func(name string) []field {
		l := blocklist.New(name)
		return blockFields(&l)
	}}
	for i := range c.Lists {
		e.all = append(e.all, entry{c.Lists[i].Name, blockFields(&c.Lists[i])})
	}
	return e
}

func listFields(p *allow.Published) []field {
	return publishedFields(p, field{name: "format", doc: "One entry a line, or JSON.", value: oneOf(&p.Format, allow.Formats...)})
}

// publishedFields are the keys of an allow list and of a block list; those of its format come after url.
func publishedFields(p *allow.Published, format ...field) []field {
	return slices.Concat([]field{
		{name: "url", doc: "Where the list is fetched from; several are fetched together.", initial: "the catalogue's",
			value: many(&p.URLs, "list of https: or file: URLs", maxURLs, parseListURL, text)},
	}, format, []field{
		{name: "pointers", doc: "Where in a JSON list the addresses are.",
			value: many(&p.Pointers, "list of JSON pointers", maxURLs, allow.ParsePointer, text)},
		{name: "interval", doc: "How often it is fetched.", value: between(&p.Interval, minInterval, maxInterval)},
		{name: "min_prefix", old: "widest", doc: "A list that holds a wider prefix is rejected.", fields: []field{
			{name: "ipv4", doc: "Shortest prefix length accepted, for IPv4.", value: number(&p.MinPrefix4, 8, 32)},
			{name: "ipv6", doc: "Shortest prefix length accepted, for IPv6.", value: number(&p.MinPrefix6, 16, 128)},
		}},
		{name: "min_percent", old: "min_share", doc: "A list that keeps fewer of its entries is rejected.", value: number(&p.MinPercent, 0, 100)},
		{name: "insecure", doc: "Accept http: URLs, which anyone on the path can change.", value: boolean(&p.Insecure)},
	})
}

func blockFields(l *blocklist.List) []field {
	return append(publishedFields(&l.Published,
		field{name: "format", doc: "One entry a line, CSV, JSON, JSON in each line, or a database.", value: oneOf(&l.Format, blocklist.Formats...)},
		field{name: "column", doc: "Where in a line of CSV the address is.", value: number(&l.Column, 1, 100)},
	), []field{
		{name: "countries", doc: "Countries that the list takes from a database.", optional: true, example: "[DE, AT]",
			value: once(many(&l.Countries, "list of ISO 3166 codes", maxList, parseCountry, text))},
		{name: "systems", doc: "Autonomous systems that it takes from a database.", optional: true, example: "[AS64496]",
			value: once(many(&l.Systems, "list of AS numbers", maxList, parseSystem, text))},
		{name: "others", doc: "Take all known networks but those of countries and systems.", value: boolean(&l.Others)},
		{name: "jails", doc: "Jails that the list is for.", initial: "all", optional: true, example: "[sshd]",
			value: once(texts(&l.Jails, "list of jails", maxJails, func(s string) bool { return checkName(s) == nil }, "is not the name of a jail", "write [sshd, postfix]"))},
		{name: "ports", doc: "Ports that are closed to its addresses: those of the jails, or all.", value: oneOf(&l.Ports, blocklist.Ports...)},
		{name: "mode", doc: "Stop its packets, only count them, or count failures double.", value: oneOf(&l.Mode, blocklist.Modes...)},
		{name: "credential", doc: "Name of the systemd credential with a key for its server.", initial: "the catalogue's", optional: true, example: "bailiff_key",
			value: checked(&l.Credential, "name", validCredential, "is not the name of a credential", "write a name as LoadCredential= has it: bailiff_abuseipdb; the secret itself never stands here")},
		{name: "header", doc: "HTTP header that carries the key.", initial: "the catalogue's", optional: true, example: "Authorization",
			value: checked(&l.KeyHeader, "name", validHeaderName, "is not the name of a header", "write Authorization, with a credential that holds: Bearer KEY")},
	}...)
}

func reportFields(c *Config) []field {
	r := &c.Report
	return []field{
		{name: "host", doc: "Name of this host in reports.", initial: "the system's", optional: true, example: "mail.example.org",
			value: checked(&r.Host, "host name", ValidHost, "is not a host name", "write it with its domain: mail.example.org")},
		{name: "sender", doc: "Address that mails come from.", initial: "bailiff@HOST", optional: true, example: "bailiff@mail.example.org",
			value: checked(&r.Sender, "mail address", ValidRecipient, "is not a mail address", "write bailiff@mail.example.org")},
		{name: "retry_for", old: "give_up", doc: "A report that cannot be delivered for this long is dropped.", value: duration(&r.RetryFor, maxRetryFor)},
		{name: "lookup", doc: "Look-ups of who holds an address.", fields: []field{
			{name: "time_limit", doc: "For one look-up; then the report goes without.", value: duration(&r.Lookup.TimeLimit, maxTimeLimit)},
			{name: "cache", doc: "How long an answer is used, for its whole network.", value: duration(&r.Lookup.Cache, maxLong)},
			{name: "rdap", doc: "Ask over RDAP.", value: boolean(&r.Lookup.RDAP)},
			{name: "whois", doc: "Ask by whois where RDAP gives nothing.", value: boolean(&r.Lookup.Whois)},
			{name: "bootstrap", doc: "Table of RDAP servers, in the form of RFC 9224.", initial: "built in", optional: true, example: "/etc/bailiff/rdap.json",
				value: absolute(&r.Lookup.Bootstrap, "/etc/bailiff/rdap.json")},
			{name: "whois_server", doc: "Where whois begins.",
				value: checked(&r.Lookup.WhoisServer, "HOST or HOST:PORT", validServer, "is not a server", "write HOST or HOST:PORT: whois.iana.org")},
			{name: "contacts", doc: "For xarf, where RDAP has no contact.",
				value: orNone(&r.Lookup.Contacts, checked(&r.Lookup.Contacts, "DNS zone", ValidHost, "is not a DNS zone", "write abuse-contacts.abusix.zone"))},
		}},
		{name: "sendmail", doc: "How mails are sent.", fields: []field{
			{name: "path", doc: "A program compatible with sendmail.", value: absolute(&r.Sendmail.Path, "/usr/sbin/sendmail")},
			{name: "args", doc: "Its arguments before the recipients.",
				value: texts(&r.Sendmail.Args, "list of texts", 64, printableText, "holds a control character", "write arguments as a list; there is no shell")},
			{name: "time_limit", doc: "The program is stopped after this, and the mail tried again.", value: duration(&r.Sendmail.TimeLimit, maxTimeLimit)},
			{name: "smtp", doc: "Server in place of the program, for exim.",
				value: orNone(&r.Sendmail.SMTP, one(&r.Sendmail.SMTP, "HOST or HOST:PORT", parseSMTPServer, text))},
		}},
		{name: "destinations", doc: "Where reports go.", entries: destinations(c)},
	}
}

func destinations(c *Config) *entries {
	e := &entries{max: maxDestinations, what: "destinations", check: checkDestinationName, new: func(string) []field {
		return destinationFields(new(Destination))
	}}
	for i := range c.Report.Destinations {
		d := &c.Report.Destinations[i]
		e.all = append(e.all, entry{d.Name, slices.DeleteFunc(destinationFields(d), func(f field) bool { return !f.suits(d.Type) })})
	}
	return e
}

// suits reports whether a destination of that type has the key.
func (f *field) suits(kind string) bool { return f.types == nil || slices.Contains(f.types, kind) }

func destinationFields(d *Destination) []field {
	mail, mails := []string{TypeMail}, []string{TypeMail, TypeBlocklist}
	blocklist, abuseIPDB, xarf := []string{TypeBlocklist}, []string{TypeAbuseIPDB}, []string{TypeXARF}
	webhook, web, exec := []string{TypeWebhook}, []string{TypeBlocklist, TypeAbuseIPDB, TypeWebhook}, []string{TypeExec}
	return []field{
		{name: "type", doc: "What it is.", initial: "the name", value: oneOf(&d.Type, DestinationTypes...)},
		{name: "enabled", doc: "false stops reports to it.", value: boolean(&d.Enabled)},
		{name: "jails", doc: "Jails whose bans are reported.", initial: "all",
			value: once(texts(&d.Jails, "list of jails", maxJails, reportable, "is not the name of a jail", "write [sshd, postfix]"))},
		{name: "min_failures", doc: "Bans for fewer failures are not reported.", value: number(&d.MinFailures, 0, maxRetry)},
		{name: "manual", doc: "Report manual bans.", value: boolean(&d.Manual)},
		{name: "networks", old: "wide", doc: "Report bans of whole networks.", value: boolean(&d.Networks)},
		{name: "prolonged", old: "extended", doc: "Report bans in effect that become longer.", value: boolean(&d.Prolonged)},
		{name: "window", doc: "Report an address once within this time.", value: orNone(&d.Window, duration(&d.Window, maxLong))},
		{name: "quota", doc: "Reports in 24 hours; others wait.", value: orOff(&d.Quota, number(&d.Quota, 1, maxQuota))},
		{name: "digest", doc: "Collect the reports of an hour or a day.", value: digest(&d.Digest)},
		{name: "retry_for", old: "give_up", doc: "As report.retry_for, for this destination.", initial: "report.retry_for",
			value: duration(&d.RetryFor, maxRetryFor)},
		{name: "redact", doc: "Remove account names, mail addresses and this host's names.", value: boolean(&d.Redact)},
		{name: "lines", doc: "Log lines to send, the newest ones.", value: number(&d.Lines, 0, maxReportLines)},
		{name: "time_limit", doc: "For one delivery.", value: duration(&d.TimeLimit, maxTimeLimit)},
		{name: "to", types: mails, doc: "Recipients.", example: "[root]",
			value: once(texts(&d.To, "list of mail addresses", maxRecipients, ValidRecipient, "is not a mail address", "write root, or name@example.org"))},
		{name: "include", old: "parts", types: mail, doc: "Parts of a mail: whois data, evidence, all lines about the address.",
			value: once(many(&d.Include, "list of whois, lines and context", 3, parseInclude, text))},
		{name: "layout", types: mail, doc: "Form of subject and text.", value: oneOf(&d.Layout, "bailiff", "fail2ban")},
		{name: "template", types: mail, doc: "File with your own layout.", initial: "none", optional: true, example: "/etc/bailiff/report.tmpl",
			value: absolute(&d.Template, "/etc/bailiff/report.tmpl")},
		{name: "method", old: "via", types: blocklist, doc: "How reports are sent.", value: oneOf(&d.Method, "mail", "http")},
		{name: "server", types: blocklist, doc: "How the service knows this server, for http.", initial: "none", optional: true, example: "server@example.org",
			value: checked(&d.Server, "mail address or number", validAccount, "is neither a mail address nor a number", "write what blocklist.de knows the server by")},
		{name: "services", types: blocklist, doc: "The service's names for jails or filters.", initial: "built in", optional: true, example: "{roundcube-auth: imap}",
			value: blocklistServices(&d.Services)},
		{name: "categories", types: abuseIPDB, doc: "The service's categories for jails or filters.", initial: "built in", optional: true, example: "{sshd: [18, 22]}",
			value: abuseCategories(&d.Categories)},
		{name: "format", types: xarf, doc: "Version of X-ARF.", value: oneOf(&d.Format, "0.2", "4")},
		{name: "org", types: xarf, doc: "Who reports: a person or an organization.", initial: "none: required", optional: true, example: "Example GmbH",
			value: checked(&d.Org, "text", validText, "holds a control character, or is too long", "write who reports: Example GmbH")},
		{name: "contact", types: xarf, doc: "Mail address for answers.", initial: "report.sender", optional: true, example: "abuse@example.org",
			value: checked(&d.Contact, "mail address", ValidAddress, "is not a mail address", "write abuse@example.org")},
		{name: "per_contact", types: xarf, doc: "Mails to one contact in 24 hours; others wait.", value: number(&d.PerContact, 1, 1000)},
		{name: "url", types: web, doc: "Where requests go.", initial: "the service's", optional: true, example: "https://example.org/hooks/bailiff",
			value: one(&d.URL, "https: URL", parseWebURL, text)},
		{name: "credential", types: web, doc: "Name of the systemd credential with the key.", initial: "bailiff_NAME", optional: true, example: "bailiff_key",
			value: checked(&d.Credential, "name", validCredential, "is not the name of a credential", "write a name as LoadCredential= has it: bailiff_abuseipdb; the secret itself never stands here")},
		{name: "form", types: webhook, doc: "What is sent: all of a report, signed, or a notice as a service wants it.", value: oneOf(&d.Form, Forms...)},
		{name: "channel", types: webhook, doc: "Telegram's chat, or Matrix's room.", initial: "none", optional: true, example: `"!abc:example.org"`,
			value: checked(&d.Channel, "text", validText, "holds a control character, or is too long", "write the number of a chat, or the id of a room")},
		{name: "events", types: webhook, doc: "What a notice is sent for: bans, unbans, problems.", initial: "bans, problems",
			value: once(texts(&d.Events, "list of bans, unbans and problems", 3, validEvent, "is not one of bans, unbans, problems", "write [bans, problems]"))},
		{name: "only", types: webhook, doc: "Notices of all bans, of first bans, or of bans of networks.", value: oneOf(&d.Only, OnlyAll, OnlyNew, OnlyNetworks)},
		{name: "quiet", types: webhook, doc: "Time of day during which notices of bans wait.", example: "22:00-07:00",
			value: orNone(&d.Quiet, one(&d.Quiet, "time of the day", parseQuiet, Quiet.String))},
		{name: "gather", types: webhook, doc: "What happens within this time becomes one notice.", value: orNone(&d.Gather, duration(&d.Gather, maxTimeLimit))},
		{name: "headers", types: webhook, doc: "More HTTP headers, none of them secret.", initial: "none", optional: true, example: "{X-Team: mail}",
			value: headers(&d.Headers)},
		{name: "command", types: exec, doc: "Program and arguments; there is no shell.", initial: "none: required", example: "[/usr/local/bin/tell, --ban]",
			value: texts(&d.Command, "list of texts", 64, printableText, "holds a control character", "write the program and its arguments as a list; there is no shell")},
	}
}

func absolute(dst *string, example string) value {
	return checked(dst, "absolute path", path.IsAbs, "is not an absolute path", "write it with a leading slash: "+example)
}

// walk calls visit for each field with a setting, with its path.
func walk(fields []field, at string, visit func(path string, f *field)) {
	for i := range fields {
		f := &fields[i]
		if f.fields != nil {
			walk(f.fields, join(at, f.name), visit)
		} else if f.set != nil {
			visit(join(at, f.name), f)
		}
	}
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}
