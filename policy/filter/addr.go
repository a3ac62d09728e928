package filter

import (
	"bytes"
	"net/netip"
	"unsafe"
)

// maxAddr is longer than any address with a zone that a daemon writes (INET6_ADDRSTRLEN is 46, IF_NAMESIZE 16).
const maxAddr = 64

// scanAddr parses the address at the beginning of b and returns its length, 0 if there is none. Mapped addresses are unmapped
// and zones removed, so an attacker has one address.
//
// The address must not be part of a longer word ("192.0.2.1.example.org" is a host name), but a colon or a dot may follow, as in "from
// 192.0.2.1: 11:". next is another byte that may follow, according to the template; 0 for none. Leading zeros in IPv4 are decimal: daemons
// that pad do not mean octal.
func scanAddr(b []byte, next byte) (netip.Addr, int) {
	if a, n := scanV4(b, next); n > 0 {
		return netip.AddrFrom4(a), n
	}
	return scanV6(b, next)
}

func isDigit(c byte) bool { return c-'0' < 10 }

func isAlnum(c byte) bool { return isDigit(c) || (c|0x20)-'a' < 26 }

// wordGoesOn reports whether the bytes after an address make it part of a longer word.
func wordGoesOn(b []byte, next byte) bool {
	if len(b) == 0 || b[0] == next {
		return false
	}
	c := b[0]
	if isAlnum(c) || c == '_' || c == '-' || c >= 0x80 {
		return true
	}
	return c == '.' && len(b) > 1 && (isAlnum(b[1]) || b[1] == '_' || b[1] == '-')
}

func scanV4(b []byte, next byte) (a [4]byte, n int) {
	for part := range 4 {
		v, d := 0, 0
		for n < len(b) && isDigit(b[n]) {
			v = v*10 + int(b[n]-'0')
			n++
			if d++; d > 3 {
				return a, 0
			}
		}
		if d == 0 || v > 255 {
			return a, 0
		}
		a[part] = byte(v)
		if part < 3 {
			if n >= len(b) || b[n] != '.' {
				return a, 0
			}
			n++
		}
	}
	if wordGoesOn(b[n:], next) {
		return a, 0
	}
	return a, n
}

func isHex(c byte) bool { return isDigit(c) || (c|0x20)-'a' < 6 }

// addrLength returns how many of the first bytes of b an IPv6 address can consist of.
func addrLength(b []byte) (n int) {
	for n < len(b) && n < maxAddr && (isHex(b[n]) || b[n] == ':' || b[n] == '.') {
		n++
	}
	return n
}

func scanV6(b []byte, next byte) (netip.Addr, int) {
	end := addrLength(b)
	// A colon or a dot after the address is punctuation, unless it is the second colon of "::".
	for end > 0 && b[end-1] == '.' {
		end--
	}
	if end >= 3 && b[end-1] == ':' && (b[end-2] != ':' || b[end-3] == ':') {
		end--
	}
	if bytes.Count(b[:end], []byte(":")) < 2 {
		return netip.Addr{}, 0
	}
	// ParseAddr keeps the text only in its error, so the text need not be copied.
	a, err := netip.ParseAddr(unsafe.String(&b[0], end))
	if err != nil {
		return netip.Addr{}, 0
	}
	if end < len(b) && b[end] == '%' {
		z := end + 1
		for z < len(b) && z < maxAddr && (isAlnum(b[z]) || b[z] == '.' || b[z] == '-' || b[z] == '_') {
			z++
		}
		if z == end+1 {
			return netip.Addr{}, 0
		}
		end = z
	} else if wordGoesOn(b[end:], next) {
		return netip.Addr{}, 0
	}
	return a.Unmap(), end
}

// scanPeer parses an address and a port at the beginning of b, in any of the usual forms: 192.0.2.1:25, [2001:db8::1]:25, and
// 2001:db8::1:25, where the port follows the last colon. The address is b[from:to], the port b[port:n]; n is 0 if there is no
// match.
func scanPeer(b []byte) (a netip.Addr, from, to, port, n int) {
	if len(b) > 0 && b[0] == '[' {
		a, to = scanAddr(b[1:], ']')
		if to == 0 || len(b) < to+4 || b[to+1] != ']' || b[to+2] != ':' {
			return a, 0, 0, 0, 0
		}
		from, to, port = 1, to+1, to+3
	} else if v4, k := scanV4(b, ':'); k > 0 { // the usual case
		if a, to, port = netip.AddrFrom4(v4), k, k+1; k == len(b) || b[k] != ':' {
			return a, 0, 0, 0, 0
		}
	} else {
		for i := range addrLength(b) {
			if b[i] == ':' && i+1 < len(b) && isDigit(b[i+1]) { // otherwise it is punctuation
				to = i
			}
		}
		if a, n = scanAddr(b[:to], 0); n == 0 || n != to {
			return a, 0, 0, 0, 0
		}
		port = to + 1
	}
	k := scanPort(b[port:])
	if n = port + k; k == 0 || wordGoesOn(b[n:], 0) {
		return a, 0, 0, 0, 0
	}
	return a, from, to, port, n
}

// scanPort returns the length of the port number (up to 65535) at the beginning of b; 0 if there is none.
func scanPort(b []byte) (n int) {
	v := 0
	for n < len(b) && isDigit(b[n]) {
		v = v*10 + int(b[n]-'0')
		if n++; n > 5 || v > 65535 {
			return 0
		}
	}
	return n
}
