package fail2ban

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bailiff/policy/config"
)

// actionKind says what an action of fail2ban's is for.
type actionKind uint8

const (
	actionOther   actionKind = iota // commands of an administrator's own
	actionBan                       // closes ports with the host's firewall
	actionForeign                   // closes them with something that bailiff does not have
	actionReport                    // tells somebody of the ban
	actionNothing                   // does nothing
)

// action is one action of a jail, by its name and the options in brackets.
type action struct {
	name string
	kind actionKind
	def  *definition // nil: there is no such file
}

// classify knows fail2ban's own actions by their names.
func classify(name string) (kind actionKind, backend string) {
	base := strings.TrimSuffix(name, ".py")
	is := func(prefixes ...string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return base == p || strings.HasPrefix(base, p+"-") })
	}
	switch {
	case is("iptables"):
		return actionBan, "ipset"
	case is("nftables"):
		return actionBan, "nftables"
	case is("firewallcmd"):
		return actionBan, "firewalld"
	case is("ufw", "shorewall", "apf", "symbiosis-blacklist-allports"):
		return actionBan, "ipset"
	case is("bsd-ipfw", "ipfw", "osx-ipfw", "osx-afctl", "pf", "npf", "ipfilter", "hostsdeny", "route", "cloudflare", "cloudflare-token", "netscaler", "nginx-block-map", "nsupdate"):
		return actionForeign, ""
	case is("sendmail", "mail", "smtp", "xarf-login-attack", "blocklist_de", "abuseipdb", "dshield", "mynetwatchman", "complain", "apprise", "ipthreat"):
		return actionReport, ""
	case is("dummy"):
		return actionNothing, ""
	}
	return actionOther, ""
}

// portNames are names in port lists that our own list does not have, from IANA's registry and /etc/services of Debian.
var portNames = map[string]string{
	"ssmtp": "465", "smtps": "465", "urd": "465", "imap2": "143", "imap3": "220", "ftp-data": "20", "ftps-data": "989", "socks": "1080", "http-alt": "8080", "webcache": "8080",
	"www": "80", "www-http": "80", "mysql": "3306", "nrpe": "5666", "rsync": "873", "ldap": "389", "pop-3": "110", "sieve": "4190", "ircd": "6667", "ntp": "123", "xmpp": "5222",
	"svn": "3690", "git": "9418", "nfs": "2049", "rtsp": "554", "isakmp": "500", "ipsec-nat-t": "4500", "l2f": "1701", "l2tp": "1701", "pptp": "1723", "radius": "1812", "snmp": "161",
	"tftp": "69", "x11": "6000", "amanda": "10080", "bacula-dir": "9101", "distcc": "3632", "postgres": "5432", "redis": "6379",
}

// portList writes the ports of an action for ours: words for `ports`, none for all. bad is what is no port.
func portList(ports, protocols string) (words []string, bad []string) {
	protos := strings.FieldsFunc(strings.ToLower(protocols), func(r rune) bool { return r == ',' || r == ' ' })
	if len(protos) == 0 {
		protos = []string{"tcp"}
	}
	for _, proto := range protos {
		if proto == "all" || proto == "any" {
			protos = []string{"tcp", "udp"}
		}
	}
	for _, w := range strings.FieldsFunc(ports, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' }) {
		if n, ok := portNames[strings.ToLower(w)]; ok {
			w = n
		}
		w = strings.ReplaceAll(w, ":", "-")
		if w == "0-65535" || w == "1-65535" || w == "all" || w == "any" || w == "0-" {
			return nil, nil
		}
		for _, proto := range protos {
			word := w
			if proto != "tcp" {
				word = proto + "/" + w
			}
			if proto != "tcp" && proto != "udp" || !config.ValidPort(word) {
				bad = append(bad, word)
			} else if !slices.Contains(words, word) {
				words = append(words, word)
			}
		}
	}
	return words, bad
}

// escalation is what bantime.increment and its kin, and the jail recidive, become.
type escalation struct {
	factor, max, forget, randomExtra string // as they are written; empty: ours
}

// geometric returns the ratio by which a list of multipliers grows, and whether it is the same all along.
func geometric(list []float64) (ratio float64, exact bool) {
	if len(list) < 2 || list[0] <= 0 {
		return 0, false
	}
	ratio, exact = list[1]/list[0], true
	for i := 2; i < len(list); i++ {
		if list[i-1] <= 0 || list[i]/list[i-1] != ratio {
			exact = false
		}
	}
	return ratio, exact
}

func multipliers(s string) ([]float64, error) {
	var l []float64
	for _, w := range strings.Fields(s) {
		v, err := strconv.ParseFloat(w, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number", clip(w))
		}
		l = append(l, v)
	}
	return l, nil
}
