package fail2ban

import (
	"fmt"
	"slices"
	"strings"

	"bailiff/policy/config"
)

// portNames are names of ports that bailiff's configuration does not know, from IANA's registry and Debian's /etc/services.
var portNames = map[string]string{
	"ssmtp": "465", "smtps": "465", "urd": "465", "imap2": "143", "imap3": "220", "ftp-data": "20", "ftps-data": "989", "socks": "1080", "http-alt": "8080", "webcache": "8080",
	"www": "80", "www-http": "80", "mysql": "3306", "nrpe": "5666", "rsync": "873", "ldap": "389", "pop-3": "110", "sieve": "4190", "ircd": "6667", "ntp": "123", "xmpp": "5222",
	"svn": "3690", "git": "9418", "nfs": "2049", "rtsp": "554", "isakmp": "500", "ipsec-nat-t": "4500", "l2f": "1701", "l2tp": "1701", "pptp": "1723", "radius": "1812", "snmp": "161",
	"tftp": "69", "x11": "6000", "amanda": "10080", "bacula-dir": "9101", "distcc": "3632", "postgres": "5432", "redis": "6379",
}

// portList converts the ports of an action to words for `ports`; none means all ports. bad are those that are not valid.
func portList(ports, protocols string) (words []string, bad []string) {
	protos := splitList(strings.ToLower(protocols))
	if len(protos) == 0 {
		protos = []string{"tcp"}
	}
	if slices.Contains(protos, "all") || slices.Contains(protos, "any") {
		protos = []string{"tcp", "udp"}
	}
	for _, w := range splitList(ports) {
		if n, ok := portNames[strings.ToLower(w)]; ok {
			w = n
		}
		w = strings.ReplaceAll(w, ":", "-")
		if slices.Contains([]string{"0-65535", "1-65535", "0-", "all", "any"}, w) {
			return nil, nil
		}
		for _, proto := range protos {
			word := w
			if proto != "tcp" {
				word = proto + "/" + w
			}
			if proto != "tcp" && proto != "udp" || !config.ValidPort(word) {
				bad = append(bad, word)
			} else {
				appendNew(&words, word)
			}
		}
	}
	return words, bad
}

// purpose is what a jail does with addresses.
type purpose int

const (
	bansHere       purpose = iota // blocks them with a firewall that bailiff supports
	bansWithOthers                // blocks them in another way: a command, a route, an external service, or unknown
	bansNobody                    // only reports them
	acceptsAddresses
)

// purposeOf returns what a jail with these actions does with addresses.
func purposeOf(acts []action) purpose {
	bans := false
	for _, a := range acts {
		if a.kind != actionBan {
			continue
		}
		bans = true
		if block, _, err := a.def.Raw("blocktype"); err == nil && slices.Contains([]string{"RETURN", "ACCEPT", "ALLOW"}, strings.ToUpper(strings.TrimSpace(block))) {
			return acceptsAddresses
		}
	}
	switch {
	case bans:
		return bansHere
	case len(acts) > 0 && !slices.ContainsFunc(acts, func(a action) bool { return a.kind != actionReport && a.kind != actionNothing }):
		return bansNobody
	}
	return bansWithOthers
}

// allPorts reports whether a banning action blocks all ports, whatever its option port says.
func (a *action) allPorts() bool {
	get := func(tag string) (v string, ok bool) {
		v, _, err := a.def.Value(tag)
		return strings.TrimSpace(v), err == nil
	}
	if strings.Contains(a.name, "allports") {
		return true
	}
	if v, _ := get("type"); v == "allports" { // iptables, iptables-ipset, nftables
		return true
	}
	if v, ok := get("actiontype"); ok && !strings.Contains(v, "dport") { // firewallcmd-ipset: the match on ports
		return true
	}
	switch a.name {
	case "shorewall", "shorewall-ipset-proto6", "apf", "iptables-xt_recent-echo":
		return true
	case "ufw":
		app, _ := get("application")
		return app == ""
	}
	return false
}

// ports returns the ports that a jail blocks; none: all.
func (im *importer) ports(name, at string, acts []action) (words []string) {
	all := false
	for _, a := range acts {
		if a.kind != actionBan {
			continue
		}
		get := func(tag string) string {
			v, _, _ := a.def.Value(tag)
			return strings.TrimSpace(v)
		}
		if block, o, err := a.def.Raw("blocktype"); err == nil {
			_, given := a.def.Args["blocktype"]
			given = given || o != nil && im.adminFile(o.File)
			switch {
			case given && strings.HasPrefix(strings.ToUpper(strings.TrimSpace(block)), "REJECT"):
				im.reject = append(im.reject, name)
				im.carried(o, "firewall.block")
			case given:
				im.carried(o, "firewall.block")
			default:
				im.defaultBlock = append(im.defaultBlock, name)
			}
			if jo := im.jails.Get(name, "blocktype"); jo != nil && given {
				im.carried(jo, "firewall.block")
			}
		}
		if a.allPorts() {
			all = true
			continue
		}
		more, bad := portList(get("port"), get("protocol"))
		po := im.jails.Get(name, "port")
		if len(bad) > 0 {
			if po == nil {
				po = im.jails.Get(name, "action")
			}
			im.lost(po, fmt.Sprintf("jail %s: unknown port %s: all ports are blocked instead", name, strings.Join(bad, ", ")), "write its number to "+at+".ports")
			all = true
			continue
		}
		im.carried(po, at+".ports")
		im.carried(im.jails.Get(name, "protocol"), at+".ports")
		if len(more) == 0 {
			all = true
		}
		for _, w := range more {
			appendNew(&words, w)
		}
	}
	if ch := im.jails.Get(name, "chain"); ch != nil {
		if v := strings.TrimSpace(ch.Value); v == "" || v == "<known/chain>" || v == "INPUT" {
			im.notNeeded(ch, "packets are dropped before they reach the host's own chains")
		} else if !slices.Contains(im.chains, ch) {
			im.chains = append(im.chains, ch)
		}
	}
	if all {
		words = nil
		if po := im.jails.Get(name, "port"); po != nil && len(im.outcomes[po]) == 0 {
			im.notNeeded(po, "the jail blocks all ports")
		}
	}
	return words
}
