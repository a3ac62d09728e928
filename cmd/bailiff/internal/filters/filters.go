// Package filters is the work with filters at the terminal: `bailiff filter` lists, shows and tests them, `bailiff match`
// tries lines against them. It needs no daemon, and reads the journal only for `match --cursor`. Start reading with
// Filter and Match.
package filters

import (
	"fmt"
	"strings"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/fail2ban"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/units/configdir"
)

// Filter is the group `bailiff filter`.
func Filter() *cli.Command {
	return cli.Group("filter", "list, show and test filters", filterList(), filterShow(), filterTest())
}

func files(conf string) ([]configdir.FilterFile, error) {
	var l configdir.Loader
	return l.FilterFiles(conf)
}

// find returns the filter of a name, or of a file: a name with a slash, or one that ends in .yaml.
func find(conf, name string) (*configdir.FilterFile, error) {
	if strings.ContainsRune(name, '/') || strings.HasSuffix(name, ".yaml") {
		x := configdir.ReadFilterFile(name)
		return &x, nil
	}
	all, err := files(conf)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range all {
		if all[i].Name == name {
			return &all[i], nil
		}
		names = append(names, all[i].Name)
	}
	return nil, unknownFilter(name, names)
}

// unknownFilter is the error for a name that no filter has, with the name that was probably meant.
func unknownFilter(name string, names []string) error {
	if strings.ContainsRune(name, ' ') {
		return cli.WithHint(fmt.Errorf("%q is not the name of a filter", name), "bailiff match FILTER FILE; bailiff filter list shows the filters")
	}
	e := &diag.Error{Text: fmt.Sprintf("there is no filter %q", name)}
	if own, mode, ok := fail2ban.Builtin(name); ok {
		if mode != "" {
			return e.WithHint("fail2ban's %s is %s in mode %s here", name, own, mode)
		}
		return e.WithHint("fail2ban's %s is %s here", name, own)
	}
	if name == "recidive" {
		return e.WithHint("repeat offenders are tracked across all jails: escalate in bailiff.yaml(5)")
	}
	if here, ok := services[name]; ok {
		return e.WithHint("filters of %s: %s", name, here)
	}
	if near := diag.Near(name, names); near != "" {
		return e.WithHint("did you mean %s?", near)
	}
	return e.WithHint("bailiff filter list shows all filters; a filter of your own is a file /etc/bailiff/filters.d/NAME.yaml")
}

// services are names of services, and their filters.
var services = map[string]string{
	"apache": "apache-auth, apache-shellshock and so on", "apache2": "apache-auth, apache-shellshock and so on", "httpd": "apache-auth, apache-shellshock and so on",
	"courier": "courier-auth and courier-smtp", "courier-imap": "courier-auth", "courier-pop": "courier-auth", "cyrus": "cyrus-imap",
	"haproxy": "haproxy-http-auth", "mariadb": "mariadb-auth", "managesieve": "sieve", "mumble": "murmur", "mysql": "mysqld-auth", "mysqld": "mysqld-auth", "named": "named-refused", "bind": "named-refused",
	"nginx": "nginx-http-auth, nginx-limit-req and so on", "openldap": "slapd", "sendmail": "sendmail-auth and sendmail-reject",
	"sm-mta": "sendmail-auth and sendmail-reject", "ssh": "sshd", "smtpd": "postfix or opensmtpd", "traefik": "traefik-auth",
}

// additions are what the enabled jails of a configuration add to the trust of their filters. A configuration with errors
// adds nothing, which is said.
func additions(e *cli.Env, conf string) map[string]filter.Additions {
	c, err := settings.Load(conf)
	if err != nil {
		e.Notef("the configuration has errors, so what its jails add to the filters' own trust is not known: bailiff check")
	}
	return settings.Additions(c)
}

// countPatterns counts patterns by name: one may consist of several templates.
func countPatterns(ps []*filter.Pattern) int {
	seen := map[string]bool{}
	for _, p := range ps {
		seen[p.Name] = true
	}
	return len(seen)
}

// orEmpty is a list for JSON: never null.
func orEmpty[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
