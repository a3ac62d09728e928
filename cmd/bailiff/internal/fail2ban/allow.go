package fail2ban

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
	"bailiff/policy/allow"
)

type allowed struct{ entry, from string }

// allowAddresses carries over ignoreip. Allowed addresses are allowed in all jails.
func (im *importer) allowAddresses(name, v string, o *ini.Option) {
	taken, whole := 0, 0
	lines := strings.Split(v, "\n")
	for i, l := range lines {
		if at := strings.Index(l, "#"); at >= 0 {
			lines[i] = l[:at]
			im.addWord(o, "#", outcome{kind: Changed, to: "allow.d/fail2ban.list", why: fmt.Sprintf("%s is a comment, which fail2ban reads as host names: it is omitted", clip(l[at:]))})
		}
	}
	v = strings.Join(lines, "\n")
	for _, w := range splitList(v) {
		whole++
		entry, err := allowEntry(w)
		if err != nil {
			out := outcome{kind: Lost, why: fmt.Sprintf("%s %v", clip(w), err), hint: "add its addresses to a list in /etc/bailiff/allow.d"}
			if strings.HasPrefix(w, "file:") {
				out.why, out.hint = clip(w)+": bailiff reads lists from /etc/bailiff/allow.d", "save the list there as NAME.list with one address per line"
			}
			im.addWord(o, w, out)
			continue
		}
		taken++
		if !slices.ContainsFunc(im.allowed, func(a allowed) bool { return a.entry == entry }) {
			im.allowed = append(im.allowed, allowed{entry, fmt.Sprintf("%s:%d", o.File, o.LineOf(w))})
		}
	}
	switch {
	case whole == 0:
		im.notNeeded(o, "it is empty")
	case taken == 0:
	case o.Section == "DEFAULT":
		im.carried(o, "allow.d/fail2ban.list")
	default:
		im.changed(o, "allow.d/fail2ban.list", fmt.Sprintf("was allowed only in jail %s, is allowed in all jails now", name))
	}
}

// splitList splits a list at commas and white space.
func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}

// allowEntry converts an entry of ignoreip.
func allowEntry(w string) (string, error) {
	if ip, mask, ok := strings.Cut(w, "/"); ok && strings.Contains(mask, ".") { // 10.0.0.0/255.0.0.0
		m, err := netip.ParseAddr(mask)
		if err != nil || !m.Is4() {
			return "", errors.New("is not a network")
		}
		ones, bits := net.IPMask(m.AsSlice()).Size()
		if bits == 0 {
			return "", errors.New("is not a network")
		}
		w = fmt.Sprintf("%s/%d", ip, ones)
	}
	if p, err := netip.ParsePrefix(w); err == nil {
		w = p.Masked().String()
	} else if _, err := netip.ParseAddr(w); err != nil {
		if strings.Trim(w, "0123456789.:/abcdefABCDEF") == "" {
			return "", fmt.Errorf("is not an address")
		}
		return "", fmt.Errorf("is a host name: names are never resolved, because their owner could allow any address")
	}
	if _, err := allow.ParseEntry(w); err != nil {
		return "", err
	}
	return w, nil
}
