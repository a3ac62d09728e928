package firewall

import (
	"fmt"
	"net/netip"
	"slices"
)

// maxScopeName keeps set names within the kernel's 31 bytes: a prefix of 12, the family's digit, a dash, the scope.
const maxScopeName = 16

// CheckPrefix returns an error if p cannot be banned: it must be masked, of its own family, and not the whole address space.
// (The kernel's hash:net does not accept /0.)
func CheckPrefix(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return fmt.Errorf("prefix %v: not valid", p)
	case p.Addr().Is4In6():
		return fmt.Errorf("prefix %v: is IPv4-mapped; write it as IPv4", p)
	case p.Addr().Zone() != "":
		return fmt.Errorf("prefix %v: an address with a zone cannot be banned", p)
	case p.Bits() == 0:
		return fmt.Errorf("prefix %v: refusing to ban every address", p)
	case p != p.Masked():
		return fmt.Errorf("prefix %v: has host bits set, want %v", p, p.Masked())
	}
	return nil
}

// CheckOptions checks what all backends share. Scope names must be unique and short words of [a-z0-9-], and ports must be
// ranges of tcp or udp; the scope without a name has no ports. block is "drop" or "reject".
func CheckOptions(scopes []Scope, block string) error {
	if block != "drop" && block != "reject" {
		return fmt.Errorf("block %q: expected drop or reject", block)
	}
	seen := make(map[string]bool, len(scopes))
	for _, s := range scopes {
		if len(s.Name) > maxScopeName {
			return fmt.Errorf("scope %q: longer than %d bytes", s.Name, maxScopeName)
		}
		for _, c := range []byte(s.Name) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return fmt.Errorf("scope %q: unexpected character %q, want a-z, 0-9 and -", s.Name, c)
			}
		}
		if seen[s.Name] {
			return fmt.Errorf("scope %q: given twice", s.Name)
		}
		seen[s.Name] = true
		if s.Name == "" && len(s.Ports) != 0 {
			return fmt.Errorf("scope without a name: blocks everything, but has %d port ranges", len(s.Ports))
		}
		for _, p := range s.Ports {
			if p.Proto != "tcp" && p.Proto != "udp" {
				return fmt.Errorf("scope %q: protocol %q is neither tcp nor udp", s.Name, p.Proto)
			}
			if p.From == 0 || p.From > p.To {
				return fmt.Errorf("scope %q: ports %d-%d are not a range", s.Name, p.From, p.To)
			}
		}
	}
	return nil
}

// ScopeIndex checks a ban's key and returns the index of its scope.
func ScopeIndex(scopes []Scope, k Key) (int, error) {
	if err := CheckPrefix(k.Prefix); err != nil {
		return 0, err
	}
	i := slices.IndexFunc(scopes, func(s Scope) bool { return s.Name == k.Scope })
	if i < 0 {
		return 0, fmt.Errorf("ban of %v: unknown scope %q", k.Prefix, k.Scope)
	}
	return i, nil
}
