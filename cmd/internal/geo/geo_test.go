package geo

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"bailiff/cmd/internal/geo/geotest"
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
