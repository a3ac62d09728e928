package rdap

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// MaxBootstrap is the largest size of a bootstrap file, in bytes. IANA's two have 15 KB together.
const MaxBootstrap = 1 << 20

const maxServices = 10_000 // prefixes of a bootstrap file

// Bootstrap is the table of which RDAP servers know which networks.
type Bootstrap struct {
	servers map[netip.Prefix][]string // base URLs
}

// ParseBootstrap reads a file of RFC 9224: {"services": [[["192.0.2.0/24"], ["https://rdap.example/"]]]}. It may hold several JSON
// objects, such as IANA's for IPv4 and IPv6 (cat ipv4.json ipv6.json).
func ParseBootstrap(data []byte) (*Bootstrap, error) {
	b := &Bootstrap{servers: make(map[netip.Prefix][]string)}
	if len(data) > MaxBootstrap {
		return nil, fmt.Errorf("is larger than %d bytes", MaxBootstrap)
	}
	for dec := json.NewDecoder(bytes.NewReader(data)); ; {
		var file struct {
			Services [][][]string `json:"services"`
		}
		err := dec.Decode(&file)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("not a bootstrap file of RFC 9224: %w", err)
		}
		for i, s := range file.Services {
			if len(s) != 2 {
				return nil, fmt.Errorf("service %d has %d lists, not networks and servers", i+1, len(s))
			}
			var urls []string
			for _, u := range s[1] {
				base, err := baseURL(u)
				if err != nil {
					return nil, fmt.Errorf("service %d: %w", i+1, err)
				}
				urls = append(urls, base)
			}
			if len(urls) == 0 {
				return nil, fmt.Errorf("service %d has no server", i+1)
			}
			for _, n := range s[0] {
				p, err := netip.ParsePrefix(n)
				if err != nil {
					return nil, fmt.Errorf("service %d: %q is not a network", i+1, n)
				}
				b.add(p.Masked(), urls)
			}
		}
		if len(b.servers) > maxServices {
			return nil, fmt.Errorf("has more than %d networks", maxServices)
		}
	}
	if len(b.servers) == 0 {
		return nil, errors.New("names no network")
	}
	return b, nil
}

// baseURL checks a server's URL and adds the / at its end that RFC 9224 asks for.
func baseURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q is not the URL of a server", s)
	}
	if !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
	}
	return u.String(), nil
}

func (b *Bootstrap) add(p netip.Prefix, urls []string) {
	b.servers[p] = append(b.servers[p], urls...)
}

// Servers returns the base URLs of the servers for the longest prefix that contains addr, https first; nil if there is none.
func (b *Bootstrap) Servers(addr netip.Addr) (urls []string) {
	addr = addr.Unmap()
	for bits := addr.BitLen(); bits >= 0; bits-- {
		p, _ := addr.WithZone("").Prefix(bits)
		all, ok := b.servers[p]
		if !ok {
			continue
		}
		for _, scheme := range []string{"https:", "http:"} {
			for _, u := range all {
				if strings.HasPrefix(u, scheme) {
					urls = append(urls, u)
				}
			}
		}
		return urls
	}
	return nil
}

// IANA returns the built-in table: the regional registries to which IANA gave the address space.
var IANA = sync.OnceValue(func() *Bootstrap {
	b := &Bootstrap{servers: make(map[netip.Prefix][]string)}
	for _, r := range registries {
		for _, s := range strings.Fields(r.v4) {
			from, to, ok := strings.Cut(s, "-")
			if !ok {
				to = from
			}
			lo, _ := strconv.ParseUint(from, 10, 8)
			hi, _ := strconv.ParseUint(to, 10, 8)
			for i := lo; i <= hi; i++ {
				b.add(netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(i)}), 8), []string{r.url})
			}
		}
		for _, s := range strings.Fields(r.v6) {
			b.add(netip.MustParsePrefix(s), []string{r.url})
		}
	}
	return b
})
