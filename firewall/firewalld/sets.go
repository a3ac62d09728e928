package firewalld

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/netip"
	"strings"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/internal/sets"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// The number of sets of one family and scope. firewalld compares a new entry with each entry of its set: at 1,000 bans adding one takes 10
// ms with a single set and 4 ms with eight (2.3; 14 and 7 ms with 1.3). But each set costs a rule, which slows down reloads, and some
// milliseconds to fill. Tests use fewer.
var (
	allSets  uint8 = 8 // of the scope that blocks everything
	portSets uint8 = 4 // of a scope with ports
)

// setKey names one of our sets.
type setKey struct {
	scope  int // index in scopes
	family uint8
	n      uint8
}

// keys are all our sets.
func (b *Backend) keys() (l []setKey) {
	for i, s := range b.scopes {
		for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
			for n := range setsOf(s) {
				l = append(l, setKey{i, family, n})
			}
		}
	}
	return l
}

func setsOf(s firewall.Scope) uint8 {
	if len(s.Ports) > 0 {
		return portSets
	}
	return allSets
}

// setName is bailiff4-0, bailiff6-sshd-3 and so on: at most 8+1+16+2 bytes of firewalld's 31.
func (b *Backend) setName(k setKey) string {
	name := "bailiff" + sets.Digit(k.family) + "-"
	if s := b.scopes[k.scope].Name; s != "" {
		name += s + "-"
	}
	return fmt.Sprintf("%s%d", name, k.n)
}

// ourName reports whether a set may be ours, of whatever scope.
func ourName(name string) bool {
	return strings.HasPrefix(name, "bailiff4-") || strings.HasPrefix(name, "bailiff6-")
}

// setOf returns the set of a ban.
func (b *Backend) setOf(k firewall.Key) (setKey, error) {
	scope, err := firewall.ScopeIndex(b.scopes, k)
	if err != nil {
		return setKey{}, fmt.Errorf("firewalld: %w", err)
	}
	h := fnv.New32a()
	raw := k.Prefix.Addr().As16()
	h.Write(raw[:])
	return setKey{scope, sets.Family(k.Prefix), uint8(h.Sum32() % uint32(setsOf(b.scopes[scope])))}, nil
}

// target returns the prefixes that each set should hold: all that are wanted, except those that a wider ban covers.
func (b *Backend) target(want map[firewall.Key]time.Time) map[setKey]map[netip.Prefix]bool {
	target := make(map[setKey]map[netip.Prefix]bool)
	for _, k := range b.keys() {
		target[k] = make(map[netip.Prefix]bool)
	}
	lengths := lengthsOf(want)
	for k := range want {
		if !covered(want, k, lengths) {
			set, _ := b.setOf(k) // succeeded before
			target[set][k.Prefix] = true
		}
	}
	return target
}

// covered reports whether a wider ban of the same scope is wanted.
func covered(want map[firewall.Key]time.Time, k firewall.Key, lengths map[int]bool) bool {
	for bits := range lengths {
		if bits >= k.Prefix.Bits() {
			continue
		}
		p, err := k.Prefix.Addr().Prefix(bits)
		if err != nil {
			continue
		}
		if _, ok := want[firewall.Key{Prefix: p, Scope: k.Scope}]; ok {
			return true
		}
	}
	return false
}

// lengthsOf returns the prefix lengths in use.
func lengthsOf(want map[firewall.Key]time.Time) map[int]bool {
	m := make(map[int]bool)
	for k := range want {
		m[k.Prefix.Bits()] = true
	}
	return m
}

// names calls a method that lists names.
func (b *Backend) names(ctx context.Context, path dbus.ObjectPath, method string) (l []string, err error) {
	err = b.bus.call(ctx, path, method, []any{&l})
	return l, err
}

// entries reads the entries of a set, as firewalld writes them.
func (b *Backend) entries(ctx context.Context, k setKey) (map[netip.Prefix]string, error) {
	var l []string
	if err := b.bus.call(ctx, mainPath, ipsetIface+"getEntries", []any{&l}, b.setName(k)); err != nil {
		return nil, fmt.Errorf("set %s: %w", b.setName(k), err)
	}
	return parseEntries(b.setName(k), l)
}

// parseEntries returns what a set holds, as firewalld writes it. The error is a *firewall.ForeignError.
func parseEntries(set string, l []string) (map[netip.Prefix]string, error) {
	m := make(map[netip.Prefix]string, len(l))
	for _, s := range l {
		p, ok := parseEntry(s)
		if !ok {
			return nil, &firewall.ForeignError{Name: "set " + set, Why: fmt.Sprintf("it holds %q", s)}
		}
		m[p] = s
	}
	return m, nil
}

// entry is how firewalld writes a prefix: an address without its length.
func entry(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func parseEntry(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err == nil
}

// noTimeout compares the ends of entries that have none.
func noTimeout(string, bool) bool { return false }
