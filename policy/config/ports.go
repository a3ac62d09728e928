package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"bailiff/policy/diag"
)

// Port is a range of ports of one protocol; From equals To for a single one.
type Port struct {
	Proto    string // "tcp" or "udp"
	From, To uint16
}

// String writes the port as it is read: 25, 1000-2000, udp/53.
func (p Port) String() string {
	s := strconv.Itoa(int(p.From))
	if p.To != p.From {
		s += "-" + strconv.Itoa(int(p.To))
	}
	if p.Proto != "tcp" {
		s = p.Proto + "/" + s
	}
	return s
}

// maxPorts bounds the port ranges of one jail: they become rules or elements of a set.
const maxPorts = 64

// services are the names accepted for ports: those of services that log failed logins, by their names in IANA's registry
// (iana.org/assignments/service-names-port-numbers) and the usual others. The host's /etc/services is not read, so that a
// configuration means the same everywhere.
var services = map[string][]Port{
	"cockpit":      {tcp(9090)},
	"dns":          {tcp(53), udp(53)},
	"domain":       {tcp(53), udp(53)},
	"ftp":          {tcp(21)},
	"ftps":         {tcp(990)},
	"http":         {tcp(80)},
	"https":        {tcp(443), udp(443)}, // udp: HTTP/3
	"imap":         {tcp(143)},
	"imaps":        {tcp(993)},
	"irc":          {tcp(6667)},
	"ircs":         {tcp(6697)},
	"ldap":         {tcp(389)},
	"ldaps":        {tcp(636)},
	"managesieve":  {tcp(4190)},
	"mumble":       {tcp(64738), udp(64738)},
	"mysql":        {tcp(3306)},
	"openvpn":      {tcp(1194), udp(1194)},
	"pop3":         {tcp(110)},
	"pop3s":        {tcp(995)},
	"postgresql":   {tcp(5432)},
	"proxmox":      {tcp(8006)},
	"rdp":          {tcp(3389), udp(3389)},
	"sieve":        {tcp(4190)},
	"sip":          {tcp(5060), udp(5060)},
	"sips":         {tcp(5061)},
	"smtp":         {tcp(25)},
	"smtps":        {tcp(465)},
	"squid":        {tcp(3128)},
	"ssh":          {tcp(22)},
	"submission":   {tcp(587)},
	"submissions":  {tcp(465)},
	"telnet":       {tcp(23)},
	"vnc":          {tcp(5900)},
	"webmin":       {tcp(10000)},
	"xmpp-client":  {tcp(5222)},
	"xmpp-server":  {tcp(5269)},
	"xmpps-client": {tcp(5223)},
}

func tcp(n uint16) Port { return Port{"tcp", n, n} }
func udp(n uint16) Port { return Port{"udp", n, n} }

// parsePorts reads one word of `ports`: a name, a number, a range, with tcp/ or udp/ before it, or several with commas.
func parsePorts(word string) ([]Port, *diag.Error) {
	var all []Port
	for _, w := range strings.Split(word, ",") {
		p, err := parsePort(strings.TrimSpace(w))
		if err != nil {
			return nil, err
		}
		all = append(all, p...)
	}
	return all, nil
}

func parsePort(w string) ([]Port, *diag.Error) {
	fail := func(format string, args ...any) *diag.Error {
		return diag.Errorf("%q %s", diag.Clip(w), fmt.Sprintf(format, args...))
	}
	proto, rest := "", w
	if a, b, ok := strings.Cut(w, "/"); ok {
		if b == "tcp" || b == "udp" {
			return nil, fail("is not a port").WithHint("write %s/%s", b, diag.Clip(a))
		}
		if a != "tcp" && a != "udp" {
			return nil, fail("has an unknown protocol").WithHint("write tcp/22 or udp/53")
		}
		proto, rest = a, b
	}
	if known, ok := services[rest]; ok {
		var all []Port
		for _, p := range known {
			if proto == "" || p.Proto == proto {
				all = append(all, p)
			}
		}
		if len(all) == 0 {
			return nil, fail("is not a known service of that protocol").WithHint("write the number: %s/%d", proto, known[0].From)
		}
		return all, nil
	}
	if proto == "" {
		proto = "tcp"
	}
	from, to, isRange := strings.Cut(rest, "-")
	if !isRange {
		to = from
	}
	lo, ok1 := portNumber(from)
	hi, ok2 := portNumber(to)
	switch {
	case ok1 && ok2 && lo <= hi:
		return []Port{{proto, lo, hi}}, nil
	case ok1 && ok2:
		return nil, fail("is not in ascending order").WithHint("write %d-%d", hi, lo)
	case strings.Contains(rest, ":"):
		return nil, fail("is not a port").WithHint("write a range as 1000-2000")
	case strings.Trim(rest, "0123456789-") == "":
		return nil, fail("is not a port").WithHint("ports go from 1 to 65535")
	}
	e := fail("is not a port or a known service")
	e.Hint = diag.DidYouMean(rest, slices.Sorted(maps.Keys(services)), "write the number, 22, 1000-2000 or udp/53, or leave ports out for all")
	return nil, e
}

func portNumber(s string) (uint16, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n > 0
}

// joinPorts sorts ports and joins those that touch.
func joinPorts(ports []Port) []Port {
	slices.SortFunc(ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	var out []Port
	for _, p := range ports {
		if n := len(out); n > 0 && out[n-1].Proto == p.Proto && int(p.From) <= int(out[n-1].To)+1 {
			out[n-1].To = max(out[n-1].To, p.To)
			continue
		}
		out = append(out, p)
	}
	return out
}

// ScopeText writes ports as the scope of a ban (state.Covers), which ParseScope reads; "" for all traffic.
func ScopeText(ports []Port) string {
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = p.String()
	}
	return strings.Join(words, ",")
}

// ParseScope reads what ScopeText wrote.
func ParseScope(text string) ([]Port, error) {
	ports, err := parsePorts(text)
	if err != nil {
		return nil, err
	}
	return joinPorts(ports), nil
}

// ValidPort reports whether `ports` accepts a word.
func ValidPort(word string) bool {
	_, err := parsePorts(word)
	return err == nil
}
