// Package geotest writes small databases in MaxMind's format for tests (https://maxmind.github.io/MaxMind-DB/). It is for
// tests alone.
package geotest

import (
	"encoding/binary"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

// Record is a map of texts, numbers (uint32) and Records.
type Record map[string]any

// Write writes a database of a type ("GeoLite2-Country") that was built at a moment (seconds since 1970). No prefix may lie
// in another.
func Write(t testing.TB, path, kind string, built uint64, of map[netip.Prefix]Record) {
	t.Helper()
	type node struct{ child, value [2]int } // value: offset of the data plus one
	nodes := []node{{}}
	var data []byte
	prefixes := make([]netip.Prefix, 0, len(of))
	for p := range of {
		prefixes = append(prefixes, p)
	}
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
	for _, p := range prefixes {
		at := len(data) + 1
		data = append(data, encode(of[p])...)
		bits, addr := p.Bits(), [16]byte{}
		if p.Addr().Is4() { // IPv4 lies in ::/96
			a := p.Addr().As4()
			copy(addr[12:], a[:])
			bits += 96
		} else {
			addr = p.Addr().As16()
		}
		n := 0
		for i := range bits {
			b := int(addr[i/8] >> (7 - i%8) & 1)
			if i == bits-1 {
				nodes[n].value[b] = at
				break
			}
			if nodes[n].child[b] == 0 {
				nodes = append(nodes, node{})
				nodes[n].child[b] = len(nodes) - 1
			}
			n = nodes[n].child[b]
		}
	}
	var out []byte
	for _, n := range nodes {
		for b := range 2 {
			v := len(nodes) // nothing
			switch {
			case n.value[b] > 0:
				v = len(nodes) + 16 + n.value[b] - 1
			case n.child[b] > 0:
				v = n.child[b]
			}
			out = append(out, byte(v>>16), byte(v>>8), byte(v))
		}
	}
	out = append(out, make([]byte, 16)...)
	out = append(out, data...)
	out = append(out, "\xab\xcd\xefMaxMind.com"...)
	out = append(out, encode(Record{
		"node_count": uint32(len(nodes)), "record_size": uint16(24), "ip_version": uint16(6), "database_type": kind,
		"binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0), "build_epoch": built,
		"description": Record{}, "languages": []string{},
	})...)
	if err := os.WriteFile(path, out, 0o644); err != nil {
		t.Fatal(err)
	}
}

func encode(v any) []byte {
	head := func(kind, size int) []byte {
		if size > 28 {
			return []byte{byte(kind<<5 | 29), byte(size - 29)} // up to 284
		}
		return []byte{byte(kind<<5 | size)}
	}
	switch v := v.(type) {
	case string:
		return append(head(2, len(v)), v...)
	case uint16:
		return append(head(5, 2), byte(v>>8), byte(v))
	case uint32:
		return binary.BigEndian.AppendUint32(head(6, 4), v)
	case uint64:
		return binary.BigEndian.AppendUint64([]byte{8, 9 - 7}, v)
	case []string: // the empty one is all that is needed
		return []byte{0, 11 - 7}
	case Record:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		out := head(7, len(v))
		for _, k := range keys {
			out = append(append(out, encode(k)...), encode(v[k])...)
		}
		return out
	}
	panic("a type that no database of ours holds")
}
