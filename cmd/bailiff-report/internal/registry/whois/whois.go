// Package whois reads answers of whois servers (RFC 3912) about IP addresses, in the forms of IANA and the five regional registries.
// It makes no connections: package registry does.
//
// Answers are free text and not trusted. Networks must contain the address and mail addresses must be plain; the rest is made safe
// and shown to people. Start reading at Parse.
package whois

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/policy/config"
)

// Port of whois servers.
const Port = 43

// MaxContacts is how many abuse contacts of one answer are used; real answers have one or two.
const MaxContacts = 5

// Parse reads an answer about addr. It does not set Source, Asked and Failed. If the answer names no network that contains addr, only
// Text is set.
func Parse(data []byte, addr netip.Addr) *report.Whois {
	addr = addr.Unmap()
	text := string(data)
	if !utf8.ValidString(text) {
		text = latin1(text)
	}
	var (
		w        report.Whois
		use      = false // this part is about the narrowest network so far
		handle   string  // of the abuse contact, if it has a paragraph of its own (LACNIC)
		named    []string
		announce []string // abuse contacts in a comment above the network (RIPE)
		descr    string
		route    netip.Prefix
		person   string // handle of this paragraph
		mails    = make(map[string][]string)
		kept     strings.Builder
	)
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || strings.HasPrefix(trimmed, "%") || strings.HasPrefix(trimmed, "#") {
			if trimmed == "" {
				person = ""
				kept.WriteByte('\n')
			}
			if of, mail := announced(trimmed); mail != "" && parseRange(of, addr).IsValid() {
				announce = Contacts(announce, mail)
			}
			continue
		}
		kept.WriteString(line)
		kept.WriteByte('\n')
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		switch key {
		case "inetnum", "inet6num", "netrange", "cidr", "ip-network", "ipv4 address", "ipv6 address":
			p := parseRange(value, addr)
			switch {
			case !p.IsValid():
				// CIDR follows NetRange; its list may leave out the block of addr.
				use = use && key == "cidr"
			case !w.Network.IsValid() || p.Bits() > w.Network.Bits():
				use = true
				w.Network = p
				if key != "cidr" {
					w.Name, w.Holder, w.Country, handle, named, descr = "", "", "", "", nil, ""
				}
			default:
				use = p == w.Network || use && key == "cidr"
			}
		case "route", "route6":
			if p := parseRange(value, addr); p.IsValid() && p.Bits() >= route.Bits() {
				route = p
			}
		case "nic-hdl", "nic-hdl-br":
			person = strings.ToLower(value)
		case "e-mail", "email":
			if person != "" && len(mails) < 100 {
				mails[person] = Contacts(mails[person], value)
			}
		}
		if !use {
			continue
		}
		switch key {
		case "netname":
			first(&w.Name, value)
		case "organization": // followed by ARIN's handle
			name, _, _ := strings.Cut(value, " (")
			first(&w.Holder, name)
		case "org-name", "orgname", "owner", "custname":
			first(&w.Holder, value)
		case "descr":
			first(&descr, value)
		case "country":
			if c := country(value); c != "" {
				first(&w.Country, c)
			}
		case "abuse-mailbox", "orgabuseemail", "rabuseemail", "abuse-email":
			named = Contacts(named, value)
		case "abuse-c":
			first(&handle, strings.ToLower(value))
		}
	}
	w.Text = safetext.Block(kept.String())
	if !w.Network.IsValid() {
		if !route.IsValid() {
			return &report.Whois{Text: w.Text}
		}
		w.Network = route
	}
	first(&w.Holder, descr)
	w.Abuse = announce
	for _, m := range append(named, mails[handle]...) {
		w.Abuse = Contacts(w.Abuse, m)
	}
	return &w
}

// announced reads a comment of RIPE's: % Abuse contact for '192.0.2.0 - 192.0.2.255' is 'abuse@example.org'.
func announced(line string) (network, mail string) {
	rest, ok := strings.CutPrefix(line, "% Abuse contact for '")
	if !ok {
		return "", ""
	}
	network, rest, _ = strings.Cut(rest, "' is '")
	mail, _, ok = strings.Cut(rest, "'")
	if !ok {
		return "", ""
	}
	return network, mail
}

// first sets dst unless it is set.
func first(dst *string, value string) {
	if *dst == "" {
		*dst = safetext.Line(value, 100)
	}
}

// country returns a two-letter code; "" if s is not one.
func country(s string) string {
	if s = strings.ToUpper(firstWord(s)); len(s) == 2 && 'A' <= s[0] && s[0] <= 'Z' && 'A' <= s[1] && s[1] <= 'Z' {
		return s
	}
	return ""
}

// Contacts appends the mail addresses in a list, separated by commas, semicolons or spaces, to all: plain addresses only, each once,
// and at most MaxContacts. A list with a control character is ignored.
func Contacts(all []string, list string) []string {
	if len(list) > 4096 || strings.ContainsFunc(list, func(r rune) bool { return r < ' ' && r != '\t' }) {
		return all
	}
	for _, s := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ';' || r == ' ' || r == '\t' }) {
		if len(s) > 7 && strings.EqualFold(s[:7], "mailto:") {
			s = s[7:]
		}
		if !config.ValidAddress(s) || len(all) == MaxContacts || slices.ContainsFunc(all, func(have string) bool { return strings.EqualFold(have, s) }) {
			continue
		}
		all = append(all, s)
	}
	return all
}

// Referral returns the whois server that an answer refers to, as HOST:PORT: refer: and whois: of IANA, ReferralServer: and
// ResourceLink: of ARIN. "": there is none.
func Referral(data []byte) string {
	for line := range strings.Lines(string(data)) {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "refer", "whois", "referralserver", "resourcelink":
			if s := server(strings.TrimSpace(value)); s != "" {
				return s
			}
		}
	}
	return ""
}

// server reads HOST, HOST:PORT or whois://HOST[:PORT].
func server(s string) string {
	if strings.Contains(s, "://") {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "whois" || u.User != nil {
			return ""
		}
		s = u.Host
	}
	return Server(s)
}

// Server returns HOST or HOST:PORT as HOST:PORT; "" if it is neither.
func Server(s string) string {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), strconv.Itoa(Port)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	a, notAddr := netip.ParseAddr(host)
	if err != nil || n == 0 || notAddr != nil && (!config.ValidHost(host) || !strings.ContainsAny(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")) || notAddr == nil && a.Zone() != "" {
		return ""
	}
	return net.JoinHostPort(strings.ToLower(host), strconv.FormatUint(n, 10))
}

// Query returns the question to a server about addr. With the flags, ARIN's server answers with the network, in full; without them,
// with a list of handles if networks nest.
func Query(server string, addr netip.Addr) string {
	if strings.HasPrefix(server, "whois.arin.net:") {
		return "n + " + addr.Unmap().String()
	}
	return addr.Unmap().String()
}

// latin1 decodes text of registries that do not use UTF-8.
func latin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}
