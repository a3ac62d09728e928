package config

import "strings"

// ValidAddress reports whether s is a mail address that may stand in a header and among arguments as it is: the plain form of
// RFC 5321, local part (RFC 5322 dot-atom) and domain, in ASCII, without quotes, comments or address literals. Stricter than
// the standard, since registries are a source of such addresses, too.
func ValidAddress(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	return ok && len(s) <= 254 && validLocal(local) && ValidHost(domain) && strings.Contains(domain, ".")
}

// ValidRecipient accepts what the host's own mail system can deliver to: an address, with any host after the @, or the name of
// a local user. What mail systems may read as a program (|) or a file (/) is not accepted.
func ValidRecipient(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	return len(s) <= 254 && validLocal(local) && (!ok || ValidHost(domain))
}

func validLocal(s string) bool {
	return s != "" && len(s) <= 64 && strings.IndexByte("-.|/", s[0]) < 0 && s[len(s)-1] != '.' && !strings.Contains(s, "..") &&
		strings.Trim(s, letters+digits+"!#$%&'*+-/=?^_`{|}~.") == ""
}

// ValidHost reports whether s is a host name: labels of letters, digits and hyphens (RFC 1123), without a dot at the end.
func ValidHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for _, label := range strings.Split(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.Trim(label, letters+digits+"-") != "" {
			return false
		}
	}
	return true
}
