package filter

import "net/netip"

// maxAddr is longer than any address with a zone that a daemon writes (INET6_ADDRSTRLEN is 46, IF_NAMESIZE 16).
const maxAddr = 64

// scanAddr parses the address at the beginning of b and returns its length, 0 if there is none. Mapped addresses are unmapped
// and zones removed, so an attacker has one address. netip.ParseAddr cannot be used: the end of the address is not known, and
// it allocates for errors.
//
// The address must not continue as a longer word ("192.0.2.1.example.org" is a host name), but a colon or a dot may follow,
// as in "from 192.0.2.1: 11:". next is another byte that may follow, according to the template; 0 for none. Leading zeros in
// IPv4 are decimal: daemons that pad do not mean octal.
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

func hexVal(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case (c|0x20)-'a' < 6:
		return int(c|0x20-'a') + 10
	}
	return -1
}

// scanV6 follows RFC 4291, section 2.2.
func scanV6(b []byte, next byte) (netip.Addr, int) {
	end := 0
	for end < len(b) && end < maxAddr && (hexVal(b[end]) >= 0 || b[end] == ':' || b[end] == '.') {
		end++
	}
	// A colon or a dot after the address belongs to the sentence, unless it is the second of "::".
	for end > 0 && b[end-1] == '.' {
		end--
	}
	if end >= 3 && b[end-1] == ':' && (b[end-2] != ':' || b[end-3] == ':') {
		end--
	}
	var groups [8]uint16
	n, gap := 0, -1
	i := 0
	if end >= 2 && b[0] == ':' {
		if b[1] != ':' {
			return netip.Addr{}, 0
		}
		gap, i = 0, 2
	}
	for i < end {
		if n == 8 {
			return netip.Addr{}, 0
		}
		v, d := 0, 0
		start := i
		for i < end && hexVal(b[i]) >= 0 {
			v = v<<4 | hexVal(b[i])
			i++
			if d++; d > 4 {
				return netip.Addr{}, 0
			}
		}
		if i < end && b[i] == '.' {
			v4, m := scanV4(b[start:end], 0)
			if m == 0 || start+m != end || n > 6 {
				return netip.Addr{}, 0
			}
			groups[n] = uint16(v4[0])<<8 | uint16(v4[1])
			groups[n+1] = uint16(v4[2])<<8 | uint16(v4[3])
			n += 2
			i = end
			break
		}
		if d == 0 {
			return netip.Addr{}, 0
		}
		groups[n] = uint16(v)
		n++
		if i == end {
			break
		}
		if i++; i == end { // a colon, and nothing after it
			return netip.Addr{}, 0
		}
		if b[i] == ':' {
			if gap >= 0 {
				return netip.Addr{}, 0
			}
			gap = n
			i++
		}
	}
	if gap < 0 && n != 8 || gap >= 0 && n > 7 {
		return netip.Addr{}, 0
	}
	var a [16]byte
	for k := range n {
		at := k
		if gap >= 0 && k >= gap {
			at = 8 - n + k
		}
		a[2*at], a[2*at+1] = byte(groups[k]>>8), byte(groups[k])
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
	return netip.AddrFrom16(a).Unmap(), end
}

// scanPeer parses an address and a port at the beginning of b, in any of the usual forms: 192.0.2.1:25, [2001:db8::1]:25, and
// 2001:db8::1:25, where the port follows the last colon. The address is b[from:to]; the port ends at n, which is 0 if there
// is no match.
func scanPeer(b []byte) (a netip.Addr, from, to, n int) {
	if len(b) > 0 && b[0] == '[' {
		a, to = scanAddr(b[1:], ']')
		if to == 0 || len(b) < to+4 || b[to+1] != ']' || b[to+2] != ':' {
			return a, 0, 0, 0
		}
		from, to, n = 1, to+1, to+3
	} else if v4, k := scanV4(b, ':'); k > 0 { // most of them
		if a, to, n = netip.AddrFrom4(v4), k, k+1; k == len(b) || b[k] != ':' {
			return a, 0, 0, 0
		}
	} else {
		end := 0
		for end < len(b) && end < maxAddr && (hexVal(b[end]) >= 0 || b[end] == ':' || b[end] == '.') {
			if b[end] == ':' && end+1 < len(b) && isDigit(b[end+1]) { // else it belongs to the sentence
				to = end
			}
			end++
		}
		var whole int
		if a, whole = scanAddr(b[:to], 0); whole == 0 || whole != to {
			return a, 0, 0, 0
		}
		n = to + 1
	}
	port := 0
	begin := n
	for n < len(b) && isDigit(b[n]) && n-begin < 6 {
		port = port*10 + int(b[n]-'0')
		n++
	}
	if n == begin || port > 65535 || wordGoesOn(b[n:], 0) {
		return a, 0, 0, 0
	}
	return a, from, to, n
}

// portLength returns the number of digits at the end of b.
func portLength(b []byte) int {
	n := 0
	for n < len(b) && isDigit(b[len(b)-1-n]) {
		n++
	}
	return n
}
