package geo

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"bailiff/cmd/internal/geo/geotest"

	"github.com/oschwald/maxminddb-golang/v2"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestDatabases(t *testing.T) {
	dir := t.TempDir()
	country := func(code string) geotest.Record {
		return geotest.Record{"country": geotest.Record{"iso_code": code}}
	}
	geotest.Write(t, filepath.Join(dir, "dbip-country-lite.mmdb"), "DBIP-Country-Lite", 100, map[netip.Prefix]geotest.Record{prefix("192.0.2.0/24"): country("XX")})
	geotest.Write(t, filepath.Join(dir, "GeoLite2-City.mmdb"), "GeoLite2-City", 200, map[netip.Prefix]geotest.Record{
		prefix("192.0.2.0/24"): country("DE"), prefix("2001:db8::/32"): country("FR"),
		prefix("198.51.100.0/24"): {"registered_country": geotest.Record{"iso_code": "NL"}},
	})
	geotest.Write(t, filepath.Join(dir, "GeoLite2-ASN.mmdb"), "GeoLite2-ASN", 100, map[netip.Prefix]geotest.Record{
		prefix("192.0.2.0/24"): {"autonomous_system_number": uint32(64496), "autonomous_system_organization": "Example"},
	})
	geotest.Write(t, filepath.Join(dir, "GeoIP2-Domain.mmdb"), "GeoIP2-Domain", 300, nil)
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if c, s := d.Files(); filepath.Base(c) != "GeoLite2-City.mmdb" || filepath.Base(s) != "GeoLite2-ASN.mmdb" {
		t.Errorf("%s, %s", c, s)
	}
	for range 2 { // the second time from what is remembered
		for addr, want := range map[string][2]string{
			"192.0.2.7": {"DE", "AS64496 Example"}, "2001:db8::7": {"FR", ""}, "198.51.100.1": {"NL", ""}, "203.0.113.1": {"", ""},
		} {
			a := netip.MustParseAddr(addr)
			if got := [2]string{d.Country(a), d.System(a)}; got != want {
				t.Errorf("%s: %q, want %q", addr, got, want)
			}
		}
	}
}

func TestNoDatabases(t *testing.T) {
	dir := t.TempDir()
	d, err := Open(dir)
	if err != nil || d.Country(netip.MustParseAddr("192.0.2.1")) != "" || d.System(netip.MustParseAddr("192.0.2.1")) != "" {
		t.Error(err)
	}
	d.Close()
	if _, err := Open(filepath.Join(dir, "none.mmdb")); err == nil {
		t.Error("a path that was given and is not there is no error")
	}
	if err := os.WriteFile(filepath.Join(dir, "broken.mmdb"), []byte("not a database"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a broken file is no error")
	}
}

// networks lists what Networks calls its argument with.
func networks(t *testing.T, database []byte) (l []string, err error) {
	err = Networks(database, func(p netip.Prefix, country, system string) error {
		l = append(l, fmt.Sprint(p, " ", country, " ", system))
		return nil
	})
	return l, err
}

func TestNetworks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.mmdb")
	geotest.Write(t, path, "any type", 100, map[netip.Prefix]geotest.Record{
		prefix("192.0.2.0/25"):    {"country": geotest.Record{"iso_code": "DE", "names": geotest.Record{"en": "Germany"}}, "registered_country": geotest.Record{"iso_code": "NL"}},
		prefix("192.0.2.128/25"):  {"registered_country": geotest.Record{"iso_code": "NL"}},
		prefix("198.51.100.0/24"): {"country": "Austria", "country_code": "AT", "asn": "AS64496"}, // IPinfo Lite
		prefix("203.0.113.0/24"):  {"country": "CH", "asn": "AS64497", "country_name": "Switzerland"},
		prefix("203.0.112.0/24"):  {"country": geotest.Record{"iso_code": "ZZ"}}, // DB-IP
		prefix("2001:db8::/32"):   {"autonomous_system_number": uint32(4200000000), "autonomous_system_organization": "Example"},
		prefix("2001:db9::/32"):   {"country": geotest.Record{"iso_code": "de"}, "asn": "64500x"},
	})
	database, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := networks(t, database)
	want := []string{
		"192.0.2.0/25 DE ", "192.0.2.128/25 NL ", "198.51.100.0/24 AT AS64496", "203.0.112.0/24  ", "203.0.113.0/24 CH AS64497",
		"2001:db8::/32  AS4200000000", "2001:db9::/32  ",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	for _, size := range []uint{28, 32} {
		if got, err := networks(t, widened(t, database, size)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%d bits a record: %q, %v", size, got, err)
		}
	}
	for _, bad := range [][]byte{nil, []byte("not a database"), database[:len(database)/2], database[len(database)/2:]} {
		if got, err := networks(t, bad); err == nil {
			t.Errorf("%d bytes of it are no error: %q", len(bad), got)
		}
	}
}

// widened is a database with records of 24 bits, with longer ones.
func widened(t *testing.T, database []byte, size uint) (out []byte) {
	t.Helper()
	r, err := maxminddb.OpenBytes(database)
	if err != nil {
		t.Fatal(err)
	}
	tree := 6 * int(r.Metadata.NodeCount)
	for i := 0; i < tree; i += 6 {
		n := database[i:][:6]
		if size == 28 {
			out = append(out, n[0], n[1], n[2], 0, n[3], n[4], n[5])
		} else {
			out = append(out, 0, n[0], n[1], n[2], 0, n[3], n[4], n[5])
		}
	}
	key := []byte("record_size\xa2\x00")
	out = append(out, database[tree:]...)
	out[bytes.LastIndex(out, key)+len(key)] = byte(size)
	return out
}

// TestNetworksTree: the paths of a tree whose nodes share their children would take forever.
func TestNetworksTree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.mmdb")
	geotest.Write(t, path, "x", 1, map[netip.Prefix]geotest.Record{prefix("2001:db8::/120"): {"country_code": "DE"}})
	database, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 119 {
		node := database[6*n:][:6]
		node[0], node[1], node[2] = 0, 0, byte(n+1)
		copy(node[3:], node[:3])
	}
	if got, err := networks(t, database); err != nil || len(got) != 1 || got[0] != "0.0.0.0/24 DE " {
		t.Errorf("%q, %v", got, err)
	}
	copy(database, []byte{0, 0, 0, 0, 0, 0}) // its own child
	if got, err := networks(t, database); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzNetworks(f *testing.F) {
	path := filepath.Join(f.TempDir(), "x.mmdb")
	geotest.Write(f, path, "x", 1, map[netip.Prefix]geotest.Record{
		prefix("192.0.2.0/25"): {"country": geotest.Record{"iso_code": "DE"}}, prefix("2001:db8::/32"): {"asn": "AS64496", "country_code": "AT"},
	})
	database, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(database)
	f.Fuzz(func(t *testing.T, database []byte) {
		n := 0
		Networks(database, func(p netip.Prefix, country, _ string) error {
			if n++; !p.IsValid() || p != p.Masked() || country != "" && !isCountry(country) {
				t.Errorf("%v %q", p, country)
			}
			return nil
		})
		if n > len(database) {
			t.Errorf("%d networks in %d bytes", n, len(database))
		}
	})
}
