package fail2ban

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
	"bailiff/policy/config"
)

// destination is what some jails' actions of one kind become: a destination of reports.
type destination struct {
	kind, to     string
	whois, lines bool
	hourly       bool // several bans in one mail
	categories   map[string]string
	jails        []string // fail2ban's names
}

// reports gathers them over all jails.
type reports struct {
	all    []*destination
	sender string
}

func (r *reports) add(t destination) *destination {
	for _, x := range r.all {
		if x.kind == t.kind && x.to == t.to && x.whois == t.whois && x.lines == t.lines && x.hourly == t.hourly {
			return x
		}
	}
	r.all = append(r.all, &t)
	return &t
}

const hintReport = "write a destination: REPORT in bailiff.yaml(5)"

// report makes a destination of an action that tells somebody of bans. from is where the jail names it.
func (im *importer) report(name string, a action, from *ini.Option) {
	get := func(tags ...string) string {
		for _, tag := range tags {
			if v, _, err := a.def.Value(tag); err == nil && strings.TrimSpace(v) != "" {
				return strings.TrimSpace(v)
			}
		}
		return ""
	}
	forOptions := func(names []string, do func(o *ini.Option)) {
		for _, n := range names {
			if o := im.jails.Get(name, n); o != nil && len(o.UsedBy) > 0 {
				do(o)
			}
		}
	}
	base := strings.TrimSuffix(a.name, ".py")
	add := func(t destination) *destination {
		x := im.reports.add(t)
		x.jails = append(x.jails, name)
		return x
	}
	lost := func(why string) {
		im.lost(from, fmt.Sprintf("action %s: %s", a.name, why), hintReport)
		forOptions([]string{"destemail", "sender", "sendername", "mta", "blocklist_de_apikey", "abuseipdb_apikey", "abuseipdb_category"}, func(o *ini.Option) { im.lost(o, why, hintReport) })
	}
	switch word, rest, _ := strings.Cut(base, "-"); {
	case word == "sendmail" || word == "mail" || word == "smtp":
		to := get("dest")
		if to == "" {
			to = "root"
		}
		for _, one := range strings.FieldsFunc(to, func(c rune) bool { return c == ',' || c == ' ' }) {
			if !config.ValidRecipient(one) {
				lost(fmt.Sprintf("%q is not a mail address that bailiff takes", clip(one)))
				return
			}
		}
		if s := get("sender"); config.ValidRecipient(s) {
			im.setSender(s, name)
		}
		if to == "fail2ban@blocklist.de" || to == "fail2ban@dyn.blocklist.de" {
			add(destination{kind: config.TypeBlocklist, to: to})
			at := "report.destinations." + config.TypeBlocklist
			im.changed(from, at, "it is sent in the form that the service takes, with account names and this host's names taken out")
			forOptions([]string{"destemail", "mta"}, func(o *ini.Option) { im.carried(o, at) })
		} else {
			x := add(destination{kind: config.TypeMail, to: to, whois: strings.Contains(rest, "whois"), lines: strings.Contains(rest, "lines"), hourly: strings.Contains(rest, "buffered")})
			at := "report.destinations." + im.reports.destinationName(x)
			if x.hourly {
				im.changed(from, at, "several bans come in one mail an hour, and not so many in one mail")
			} else {
				im.carried(from, at)
			}
			forOptions([]string{"destemail"}, func(o *ini.Option) { im.carried(o, at+".to") })
			forOptions([]string{"mta"}, func(o *ini.Option) {
				im.notNeeded(o, "the host's sendmail is used: report.sendmail in bailiff.yaml(5)")
			})
		}
		forOptions([]string{"sender"}, func(o *ini.Option) { im.carried(o, "report.sender") })
		forOptions([]string{"sendername"}, func(o *ini.Option) { im.lost(o, "mails come from bailiff", "") })
	case base == "blocklist_de":
		server := get("email")
		if !config.ValidAddress(server) && (server == "" || strings.Trim(server, "0123456789") != "") {
			lost("the server's mail address is missing")
			return
		}
		add(destination{kind: config.TypeBlocklist, to: "http " + server})
		im.carried(from, "report.destinations."+config.TypeBlocklist)
		forOptions([]string{"sender"}, func(o *ini.Option) { im.carried(o, "report.destinations."+config.TypeBlocklist+".server") })
		im.credential(a, "apikey", from, config.TypeBlocklist)
		forOptions([]string{"blocklist_de_apikey"}, func(o *ini.Option) { im.lost(o, keyLost, hintKey(config.TypeBlocklist)) })
	case base == "abuseipdb":
		x := add(destination{kind: config.TypeAbuseIPDB})
		im.carried(from, "report.destinations."+config.TypeAbuseIPDB)
		if c := get("abuseipdb_category"); c != "" {
			if x.categories == nil {
				x.categories = make(map[string]string)
			}
			x.categories[name] = c
		}
		im.credential(a, "abuseipdb_apikey", from, config.TypeAbuseIPDB)
	case base == "complain" || base == "xarf-login-attack":
		lost("mails to strangers are not carried over unasked; type xarf sends them")
	default:
		lost("bailiff has no such destination; type webhook or exec may do it")
	}
}

const keyLost = "keys do not stand in the configuration, which everybody may read"

func hintKey(destination string) string {
	return "put it into /etc/bailiff/credentials/" + destination + ": bailiff-report(8), KEYS"
}

// credential says what becomes of a service's key that an action is given.
func (im *importer) credential(a action, arg string, from *ini.Option, destination string) {
	if _, ok := a.def.Args[arg]; ok {
		im.lost(from, keyLost, hintKey(destination))
	}
	im.note("the destination %s is written, but needs its key in /etc/bailiff/credentials/%s (bailiff-report(8), KEYS)", destination, destination)
}

func (im *importer) setSender(s, jail string) {
	switch {
	case im.reports.sender == "":
		im.reports.sender = s
	case im.reports.sender != s:
		im.note("jail %s: its mails came from %s; all come from %s now (report.sender)", jail, s, im.reports.sender)
	}
}

// destinationName is the destination's: admin, admin-2, … for mails.
func (r *reports) destinationName(t *destination) string {
	if t.kind != config.TypeMail {
		return t.kind
	}
	n := 0
	for _, x := range r.all {
		if x.kind == config.TypeMail {
			if n++; x == t {
				break
			}
		}
	}
	if n == 1 {
		return "admin"
	}
	return "admin-" + strconv.Itoa(n)
}

// write writes the section. jails gives our name of fail2ban's; all is how many of ours are on.
func (r *reports) write(line func(string, ...any), im *importer) {
	if len(r.all) == 0 {
		return
	}
	line("\nreport:")
	if r.sender != "" {
		line("  sender: %s", strconv.Quote(r.sender))
	}
	line("  destinations:")
	seen := map[string]bool{}
	for _, t := range r.all {
		name := r.destinationName(t)
		if seen[name] {
			im.note("jails were reported to %s in several ways; the first is taken for all of them", name)
			continue
		}
		seen[name] = true
		line("    %s:", name)
		if name != t.kind {
			line("      type: %s", t.kind)
		}
		var jails []string
		for _, x := range r.all {
			if r.destinationName(x) != name {
				continue
			}
			for _, j := range x.jails {
				if as, ok := im.result.Jails[j]; ok && !slices.Contains(jails, as) {
					jails = append(jails, as)
				}
			}
		}
		slices.Sort(jails)
		if len(jails) == 0 {
			line("      enabled: false # none of its jails is carried over")
		} else if slices.ContainsFunc(im.output, func(j *jailConfig) bool { return j.enabled == "true" && !slices.Contains(jails, j.name) }) {
			line("      jails: [%s]", strings.Join(jails, ", "))
		}
		switch t.kind {
		case config.TypeMail:
			var to []string
			for _, one := range strings.FieldsFunc(t.to, func(c rune) bool { return c == ',' || c == ' ' }) {
				to = append(to, strconv.Quote(one))
			}
			line("      to: [%s]", strings.Join(to, ", "))
			line("      layout: fail2ban")
			var parts []string
			if t.whois {
				parts = append(parts, config.IncludeWhois)
			}
			if t.lines {
				parts = append(parts, config.IncludeLines)
			}
			line("      include: [%s]", strings.Join(parts, ", "))
			if t.hourly {
				line("      digest: hourly")
			}
		case config.TypeBlocklist:
			if server, ok := strings.CutPrefix(t.to, "http "); ok {
				line("      method: http\n      server: %s", strconv.Quote(server))
			} else {
				line("      to: %s", t.to)
			}
		case config.TypeAbuseIPDB:
			var names []string
			for _, j := range sortedKeys(t.categories) {
				if _, ok := im.result.Jails[j]; ok {
					names = append(names, j)
				}
			}
			if len(names) > 0 {
				line("      categories:")
			}
			for _, j := range names {
				words := strings.FieldsFunc(t.categories[j], func(c rune) bool { return c < '0' || c > '9' })
				line("        %s: [%s]", im.result.Jails[j], strings.Join(words, ", "))
			}
		}
	}
}
