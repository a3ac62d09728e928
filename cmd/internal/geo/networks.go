package geo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"
)

// errTree is a search tree that has no end, or nodes of another size than the format has.
var errTree = errors.New("the search tree is damaged")

// place is what a database knows of a network.
type place struct {
	country string // "" for none
	system  string // such as "AS64496"; "" for none
}

// Networks calls f with each network of a database, in ascending order, with the country and the autonomous system that it has for it;
// "" where it has none. It ends with the first error. The database may hold anything: each node of its tree is visited once, since a
// damaged tree leads to a node along any number of paths. (Whole ones lead to the IPv4 addresses again from where IPv6 has them, too.)
func Networks(database []byte, f func(p netip.Prefix, country, system string) error) error {
	r, err := maxminddb.OpenBytes(database)
	if err != nil {
		return err
	}
	defer r.Close()
	nodes, size := uint64(r.Metadata.NodeCount), uint64(r.Metadata.RecordSize)
	bits := 128
	if r.Metadata.IPVersion == 4 {
		bits = 32
	}
	if size != 24 && size != 28 && size != 32 || nodes > uint64(len(database)) || nodes*size/4 > uint64(len(database)) {
		return errTree
	}
	known := make(map[uint64]place)
	seen := make([]bool, nodes)
	var walk func(node uint64, at [16]byte, depth int) error
	walk = func(node uint64, at [16]byte, depth int) error {
		switch {
		case node == nodes: // nothing
			return nil
		case node < nodes && seen[node]:
			return nil
		case node < nodes && depth == bits:
			return errTree
		case node < nodes:
			seen[node] = true
			left, right := records(database[node*size/4:], size)
			if err := walk(left, at, depth+1); err != nil {
				return err
			}
			at[depth/8] |= 0x80 >> (depth % 8)
			return walk(right, at, depth+1)
		}
		p := netip.PrefixFrom(netip.AddrFrom16(at), depth)
		if bits == 32 {
			p = netip.PrefixFrom(netip.AddrFrom4([4]byte(at[:4])), depth)
		} else if depth >= 96 && [12]byte(at[:12]) == [12]byte{} { // IPv4 lies in ::/96
			p = netip.PrefixFrom(netip.AddrFrom4([4]byte(at[12:])), depth-96)
		}
		offset := node - nodes - 16 // behind a separator
		if node < nodes+16 {
			return errTree
		}
		x, ok := known[offset]
		if !ok {
			if len(known) >= maxKnown {
				clear(known)
			}
			if x, err = placeOf(r.LookupOffset(uintptr(offset))); err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
			x.country = strings.Clone(x.country) // it may outlive the database
			known[offset] = x
		}
		return f(p, x.country, x.system)
	}
	return walk(0, [16]byte{}, 0)
}

// records reads both records of a node, of 24, 28 or 32 bits each.
func records(b []byte, size uint64) (left, right uint64) {
	switch size {
	case 24:
		return uint64(b[0])<<16 | uint64(b[1])<<8 | uint64(b[2]), uint64(b[3])<<16 | uint64(b[4])<<8 | uint64(b[5])
	case 28: // the byte between has the highest bits of both
		return uint64(b[3]>>4)<<24 | uint64(b[0])<<16 | uint64(b[1])<<8 | uint64(b[2]), uint64(b[3]&15)<<24 | uint64(b[4])<<16 | uint64(b[5])<<8 | uint64(b[6])
	}
	return uint64(binary.BigEndian.Uint32(b)), uint64(binary.BigEndian.Uint32(b[4:]))
}

// placeOf reads a record. MaxMind and DB-IP have the code of the country in a mapping, and the number of the system as a number. IPinfo and
// others have texts: country_code or, where the code is not there, country, and asn. No more than these is decoded: a record may refer to
// itself, or to others many times.
func placeOf(r maxminddb.Result) (x place, err error) {
	get := func(v any, path ...any) {
		var damaged maxminddb.InvalidDatabaseError
		if e := r.DecodePath(v, path...); err == nil && errors.As(e, &damaged) { // others have another type there
			err = e
		}
	}
	for _, path := range [][]any{{"country", "iso_code"}, {"registered_country", "iso_code"}, {"country_code"}, {"country"}} {
		if get(&x.country, path...); isCountry(x.country) {
			break
		}
		x.country = ""
	}
	var system uint32
	if get(&system, "autonomous_system_number"); system == 0 {
		text := ""
		get(&text, "asn")
		n, _ := strconv.ParseUint(strings.TrimPrefix(text, "AS"), 10, 32)
		system = uint32(n)
	}
	if system != 0 {
		x.system = fmt.Sprintf("AS%d", system)
	}
	return x, err
}

// isCountry accepts the form of an ISO 3166 code. DB-IP has ZZ for no country.
func isCountry(s string) bool {
	return len(s) == 2 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" && s != "ZZ"
}
