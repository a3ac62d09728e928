package registry

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"bailiff/cmd/bailiff-report/internal/registry/whois"
)

// contacts asks the DNS zone of abuse contacts (https://abusix.com/documentation/abuse-contact-db/). The TXT record of the reversed
// address, as in in-addr.arpa and ip6.arpa, holds mail addresses separated by commas. An error means that the zone could not be
// asked.
func (r *Registry) contacts(ctx context.Context, addr netip.Addr) (all []string, err error) {
	if err := r.take("DNS zone " + r.cfg.Contacts); err != nil {
		return nil, err
	}
	texts, err := r.resolver.LookupTXT(ctx, reversed(addr)+"."+r.cfg.Contacts+".")
	var none *net.DNSError
	if errors.As(err, &none) && none.IsNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	slices.Sort(texts) // the server sends them in any order
	for _, t := range texts {
		all = whois.Contacts(all, t)
	}
	return all, nil
}

// reversed writes an address as reverse DNS does: 7.2.0.192, or digit by digit.
func reversed(addr netip.Addr) string {
	labels := strings.Split(addr.String(), ".")
	if addr.Is6() {
		labels = strings.Split(strings.ReplaceAll(addr.StringExpanded(), ":", ""), "")
	}
	slices.Reverse(labels)
	return strings.Join(labels, ".")
}
