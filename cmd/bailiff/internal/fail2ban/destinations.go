package fail2ban

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
	"bailiff/policy/config"
)

// destination is a destination of reports that replaces actions of one or more jails.
type destination struct {
	delivery
	categories map[string]string // of AbuseIPDB, by fail2ban's jails
	jails      []string          // fail2ban's names
}

// delivery is what tells destinations apart.
type delivery struct {
	kind, to     string
	whois, lines bool
	hourly       bool // several bans in one mail
}

// destinations are the destinations of all jails.
type destinations struct {
	all    []*destination
	sender string
}

func (r *destinations) add(d delivery, jail string) *destination {
	i := slices.IndexFunc(r.all, func(x *destination) bool { return x.delivery == d })
	if i < 0 {
		i = len(r.all)
		r.all = append(r.all, &destination{delivery: d, categories: map[string]string{}})
	}
	r.all[i].jails = append(r.all[i].jails, jail)
	return r.all[i]
}

const hintReport = "add a destination: see REPORT in bailiff.yaml(5)"

// addDestination translates an action that reports bans to a destination. from is the option that names the action.
func (im *importer) addDestination(name string, a action, from *ini.Option) {
	get := func(tag string) string {
		v, _, _ := a.def.Value(tag)
		return strings.TrimSpace(v)
	}
	forOptions := func(do func(o *ini.Option), names ...string) {
		for _, n := range names {
			if o := im.jails.Get(name, n); o != nil && len(o.UsedBy) > 0 {
				do(o)
			}
		}
	}
	carry := func(option, to string) { forOptions(func(o *ini.Option) { im.carried(o, to) }, option) }
	base := strings.TrimSuffix(a.name, ".py")
	lost := func(why string) {
		im.lost(from, fmt.Sprintf("action %s: %s", a.name, why), hintReport)
		forOptions(func(o *ini.Option) { im.lost(o, why, hintReport) }, "destemail", "sender", "sendername", "mta", "blocklist_de_apikey", "abuseipdb_apikey", "abuseipdb_category")
	}
	switch word, rest, _ := strings.Cut(base, "-"); {
	case word == "sendmail" || word == "mail" || word == "smtp":
		to := cmp.Or(get("dest"), "root")
		for _, one := range splitList(to) {
			if !config.ValidRecipient(one) {
				lost(fmt.Sprintf("%q is not a valid mail address", clip(one)))
				return
			}
		}
		if s := get("sender"); config.ValidRecipient(s) {
			im.setSender(s, name)
		}
		if to == "fail2ban@blocklist.de" || to == "fail2ban@dyn.blocklist.de" {
			im.destinations.add(delivery{kind: config.TypeBlocklist, to: to}, name)
			at := "report.destinations." + config.TypeBlocklist
			im.changed(from, at, "reports are sent in the service's format, without account names and names of this host")
			carry("destemail", at)
			carry("mta", at)
		} else {
			x := im.destinations.add(delivery{config.TypeMail, to, strings.Contains(rest, "whois"), strings.Contains(rest, "lines"), strings.Contains(rest, "buffered")}, name)
			at := "report.destinations." + im.destinations.name(x)
			if x.hourly {
				im.changed(from, at, "bans are collected in one mail per hour instead of a fixed number per mail")
			} else {
				im.carried(from, at)
			}
			carry("destemail", at+".to")
			forOptions(func(o *ini.Option) {
				im.notNeeded(o, "bailiff uses the host's sendmail: report.sendmail in bailiff.yaml(5)")
			}, "mta")
		}
		carry("sender", "report.sender")
		forOptions(func(o *ini.Option) { im.lost(o, "the sender's name is bailiff", "") }, "sendername")
	case base == "blocklist_de":
		server := get("email")
		if !config.ValidAddress(server) && (server == "" || strings.Trim(server, "0123456789") != "") {
			lost("the server's mail address is missing")
			return
		}
		im.destinations.add(delivery{kind: config.TypeBlocklist, to: "http " + server}, name)
		im.carried(from, "report.destinations."+config.TypeBlocklist)
		carry("sender", "report.destinations."+config.TypeBlocklist+".server")
		im.credential(a, "apikey", from, config.TypeBlocklist)
		forOptions(func(o *ini.Option) { im.lost(o, keyLost, hintKey(config.TypeBlocklist)) }, "blocklist_de_apikey")
	case base == "abuseipdb":
		x := im.destinations.add(delivery{kind: config.TypeAbuseIPDB}, name)
		im.carried(from, "report.destinations."+config.TypeAbuseIPDB)
		if c := get("abuseipdb_category"); c != "" {
			x.categories[name] = c
		}
		im.credential(a, "abuseipdb_apikey", from, config.TypeAbuseIPDB)
	case base == "complain" || base == "xarf-login-attack":
		lost("mail to network operators must be enabled explicitly: destinations of type xarf send it")
	default:
		lost("bailiff has no such destination; type webhook or exec may replace it")
	}
}

const keyLost = "keys are not stored in the configuration, which all users can read"

func hintKey(destination string) string {
	return "save it as /etc/bailiff/credentials/" + destination + ": bailiff-report(8), KEYS"
}

// credential records the outcome of a service's key.
func (im *importer) credential(a action, arg string, from *ini.Option, destination string) {
	if _, ok := a.def.Args[arg]; ok {
		im.lost(from, keyLost, hintKey(destination))
	}
	im.note("the destination %s needs its key in /etc/bailiff/credentials/%s (bailiff-report(8), KEYS)", destination, destination)
}

func (im *importer) setSender(s, jail string) {
	switch {
	case im.destinations.sender == "":
		im.destinations.sender = s
	case im.destinations.sender != s:
		im.note("jail %s: its mail was sent from %s; all mail is sent from %s now (report.sender)", jail, s, im.destinations.sender)
	}
}

// name returns the name of a destination: admin, admin-2, … for mail.
func (r *destinations) name(t *destination) string {
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

// write writes the section report of the configuration.
func (r *destinations) write(d *document, im *importer) {
	if len(r.all) == 0 {
		return
	}
	d.line("\nreport:")
	if r.sender != "" {
		d.set("  sender", quote(r.sender))
	}
	d.line("  destinations:")
	seen := map[string]bool{}
	for _, t := range r.all {
		name := r.name(t)
		if seen[name] {
			im.note("jails reported to %s in several ways; the first is used for all of them", name)
			continue
		}
		seen[name] = true
		d.line("    %s:", name)
		if name != t.kind {
			d.line("      type: %s", t.kind)
		}
		var jails []string
		for _, x := range r.all {
			if r.name(x) != name {
				continue
			}
			for _, j := range x.jails {
				appendNew(&jails, im.result.Jails[j])
			}
		}
		slices.Sort(jails)
		if len(jails) == 0 {
			d.line("      enabled: false # none of its jails was carried over")
		} else if slices.ContainsFunc(im.output, func(j *jailConfig) bool { return j.enabled == "true" && !slices.Contains(jails, j.name) }) {
			d.line("      jails: [%s]", strings.Join(jails, ", "))
		}
		switch t.kind {
		case config.TypeMail:
			var parts []string
			if t.whois {
				parts = append(parts, config.IncludeWhois)
			}
			if t.lines {
				parts = append(parts, config.IncludeLines)
			}
			d.list("      to", splitList(t.to))
			d.line("      layout: fail2ban\n      include: [%s]", strings.Join(parts, ", "))
			if t.hourly {
				d.line("      digest: hourly")
			}
		case config.TypeBlocklist:
			if server, ok := strings.CutPrefix(t.to, "http "); ok {
				d.line("      method: http\n      server: %s", quote(server))
			} else {
				d.set("      to", t.to)
			}
		case config.TypeAbuseIPDB:
			var names []string
			for _, j := range slices.Sorted(maps.Keys(t.categories)) {
				if _, ok := im.result.Jails[j]; ok {
					names = append(names, j)
				}
			}
			if len(names) > 0 {
				d.line("      categories:")
			}
			for _, j := range names {
				words := strings.FieldsFunc(t.categories[j], func(c rune) bool { return c < '0' || c > '9' })
				d.line("        %s: [%s]", im.result.Jails[j], strings.Join(words, ", "))
			}
		}
	}
}
