package redact

import (
	"net/netip"
	"slices"
	"strings"
)

// identity has the names and addresses of this host, in lower case.
type identity struct {
	names []string // the longest first
	addrs map[netip.Addr]bool
}

// newIdentity reads names and addresses. A name includes its first label and its domain, if that has at least two labels. An address
// includes the names that it often has in the DNS (192-0-2-1, 1.2.0.192).
func newIdentity(list []string) identity {
	o := identity{addrs: make(map[netip.Addr]bool)}
	add := func(s string) {
		if s != "" && !slices.Contains(o.names, s) {
			o.names = append(o.names, s)
		}
	}
	for _, s := range list {
		if a, ok := parseAddr(strings.Trim(s, "[]")); ok {
			o.addrs[a] = true
			if a.Is4() {
				parts := strings.Split(a.String(), ".")
				add(strings.Join(parts, "-"))
				slices.Reverse(parts)
				add(strings.Join(parts, "-"))
				add(strings.Join(parts, "."))
			}
			continue
		}
		s = strings.ToLower(strings.Trim(s, "."))
		add(s)
		label, domain, _ := strings.Cut(s, ".")
		add(label)
		if strings.Contains(domain, ".") {
			add(domain)
		}
	}
	slices.SortStableFunc(o.names, func(a, b string) int { return len(b) - len(a) })
	return o
}

func (o *identity) hasAddr(a netip.Addr) bool { return o.addrs[a.Unmap().WithZone("")] }

// parseAddr reads an address in any form, without zone; a mapped one is unmapped, and numbers with leading zeros are decimal.
func parseAddr(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone(""), true
	}
	head, tail := "", s // of an IPv6 address with an IPv4 address at its end
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		head, tail = s[:i+1], s[i+1:]
	}
	parts := strings.Split(tail, ".")
	if len(parts) != 4 {
		return netip.Addr{}, false
	}
	for i, p := range parts {
		if parts[i] = strings.TrimLeft(p, "0"); parts[i] == "" && p != "" {
			parts[i] = "0"
		}
	}
	a, err := netip.ParseAddr(head + strings.Join(parts, "."))
	return a.Unmap(), err == nil
}

func isAlnum(c byte) bool { return c-'0' < 10 || (c|0x20)-'a' < 26 }

func inHost(c byte) bool { return isAlnum(c) || c == '-' || c == '_' || c >= 0x80 }

func inAddr(c byte) bool { return c-'0' < 10 || (c|0x20)-'a' < 6 || c == ':' || c == '.' }

func inLocal(c byte) bool {
	return isAlnum(c) || c >= 0x80 || strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", c) >= 0
}

// clean replaces own names and addresses, and mail addresses, in s.
func (o *identity) clean(s string) string {
	var b strings.Builder
	low := lower(s)
	for i := 0; i < len(s); {
		if i == 0 || !inHost(s[i-1]) {
			if n := mailLength(s[i:]); n > 0 {
				b.WriteString(Mail)
				i += n
				continue
			}
			if n := o.addrLength(s[i:]); n > 0 {
				b.WriteString(Host)
				i += n
				continue
			}
			if n := o.nameLength(low[i:]); n > 0 {
				b.WriteString(Host)
				i += n
				continue
			}
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}

// lower converts ASCII only, so that lengths do not change.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c-'A' < 26 {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

// mailLength returns the length of the mail address at the beginning of s; 0: there is none.
func mailLength(s string) int {
	n := 0
	for n < len(s) && n < 256 && inLocal(s[n]) {
		n++
	}
	if n == 0 || n == len(s) || s[n] != '@' {
		return 0
	}
	end := n + 1
	for end < len(s) && (inHost(s[end]) || s[end] == '.') {
		end++
	}
	for s[end-1] == '.' { // the end of a sentence
		end--
	}
	if end == n+1 {
		return 0
	}
	return end
}

// addrLength returns the length of the address of this host at the beginning of s; 0: there is none.
func (o *identity) addrLength(s string) int {
	n := 0
	for n < len(s) && n < 64 && inAddr(s[n]) {
		n++
	}
	if n < 2 {
		return 0
	}
	for end := n; end >= 2; end-- { // such as in "192.0.2.1:25" and "2001:db8::1."
		if a, ok := parseAddr(s[:end]); ok && (end == n || s[end] == ':' || s[end] == '.') {
			if !o.hasAddr(a) {
				continue
			}
			return end
		}
	}
	return 0
}

// nameLength returns the length of the name of this host at the beginning of low; 0: there is none.
func (o *identity) nameLength(low string) int {
	for _, name := range o.names {
		if strings.HasPrefix(low, name) && (len(low) == len(name) || !inHost(low[len(name)])) {
			return len(name)
		}
	}
	return 0
}
