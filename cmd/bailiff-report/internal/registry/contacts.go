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

// contacts asks the DNS zone of abuse contacts: TXT of the address, reversed as in in-addr.arpa and ip6.arpa, holds mail
// addresses with commas between them (https://abusix.com/documentation/abuse-contact-db/).
// An error means that the zone could not be asked.
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
	slices.Sort(texts) // they come in any order
	for _, t := range texts {
		all = whois.Contacts(all, t)
	}
	return all, nil
}

// reversed writes an address as DNS has it: 7.2.0.192, or nibble by nibble.
func reversed(addr netip.Addr) string {
	const digits = "0123456789abcdef"
	var labels []string
	if addr.Is4() {
		labels = strings.Split(addr.String(), ".")
	} else {
		for _, b := range addr.As16() {
			labels = append(labels, digits[b>>4:b>>4+1], digits[b&15:b&15+1])
		}
	}
	slices.Reverse(labels)
	return strings.Join(labels, ".")
}
