package firewall

import (
	"fmt"
	"net/netip"
)

// maxScopeName keeps set names within the kernel's 31 bytes: a prefix of 12, the family's digit, a dash, this, a mark.
const maxScopeName = 16

// CheckPrefix says why p cannot be banned: it must be masked, of its own family, and not the whole address space. (The
// kernel's hash:net takes no /0, and nobody ever means it.)
func CheckPrefix(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return fmt.Errorf("prefix %v: not valid", p)
	case p.Addr().Is4In6():
		return fmt.Errorf("prefix %v: an IPv4-mapped prefix is banned as IPv4", p)
	case p.Addr().Zone() != "":
		return fmt.Errorf("prefix %v: an address with a zone cannot be banned", p)
	case p.Bits() == 0:
		return fmt.Errorf("prefix %v: a ban of every address is refused", p)
	case p != p.Masked():
		return fmt.Errorf("prefix %v: has host bits set, want %v", p, p.Masked())
	}
	return nil
}

// CheckScopes says what is wrong with a list of scopes: names are unique, short and of [a-z0-9-], ports are ranges of tcp
// or udp, and the scope without a name is the one of everything.
func CheckScopes(scopes []Scope) error {
	seen := make(map[string]bool, len(scopes))
	for _, s := range scopes {
		if len(s.Name) > maxScopeName {
			return fmt.Errorf("scope %q: longer than %d bytes", s.Name, maxScopeName)
		}
		for _, c := range []byte(s.Name) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return fmt.Errorf("scope %q: holds %q, want a-z, 0-9 and -", s.Name, c)
			}
		}
		if seen[s.Name] {
			return fmt.Errorf("scope %q: given twice", s.Name)
		}
		seen[s.Name] = true
		if s.Name == "" && len(s.Ports) != 0 {
			return fmt.Errorf("scope without a name: has %d port ranges, but stops everything", len(s.Ports))
		}
		for _, p := range s.Ports {
			if p.Proto != "tcp" && p.Proto != "udp" {
				return fmt.Errorf("scope %q: protocol %q is neither tcp nor udp", s.Name, p.Proto)
			}
			if p.From == 0 || p.From > p.To {
				return fmt.Errorf("scope %q: ports %d-%d are no range", s.Name, p.From, p.To)
			}
		}
	}
	return nil
}
