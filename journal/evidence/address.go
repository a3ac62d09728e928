package evidence

import (
	"bytes"
	"strings"
)

// ContainsAddress reports whether a text contains an address that is not part of a longer one: 192.0.2.10 does not contain 192.0.2.1.
func ContainsAddress(text, addr []byte) bool {
	digits := "0123456789"
	sep := byte('.')
	if bytes.IndexByte(addr, ':') >= 0 {
		digits, sep = "0123456789abcdefABCDEF", ':'
	}
	is := func(c byte) bool { return strings.IndexByte(digits, c) >= 0 }
	for {
		i := bytes.Index(text, addr)
		if i < 0 {
			return false
		}
		rest := text[i+len(addr):]
		before := i > 0 && (is(text[i-1]) || i > 1 && text[i-1] == sep && (is(text[i-2]) || text[i-2] == ':'))
		after := len(rest) > 0 && is(rest[0]) || len(rest) > 1 && rest[0] == sep && (is(rest[1]) || rest[1] == ':')
		if !before && !after {
			return true
		}
		text = text[i+1:]
	}
}
