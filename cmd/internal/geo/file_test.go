package geo

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"bailiff/cmd/internal/geo/geotest"
)

// TestNetworksOf: a database larger than what is read of other lists; files that are none, and one that is cut short while it is read.
func TestNetworksOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.mmdb")
	write := func() []byte {
		t.Helper()
		geotest.Write(t, path, "GeoLite2-Country", 100, map[netip.Prefix]geotest.Record{
			prefix("192.0.2.0/25"):    {"country": geotest.Record{"iso_code": "DE"}},
			prefix("198.51.100.0/24"): {"country": geotest.Record{"iso_code": "AT"}},
		})
		database, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return database
	}
	// Nothing refers to what lies between the records and the description at the end.
	database := write()
	at := bytes.LastIndex(database, []byte("\xab\xcd\xefMaxMind.com"))
	const size = 200 << 20
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errors.Join(f.Truncate(int64(at)), f.Truncate(size)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(database[at:], size); err != nil {
		t.Fatal(err)
	}
	var got []string
	add := func(p netip.Prefix, country, _ string) error {
		got = append(got, p.String()+" "+country)
		return nil
	}
	if err := NetworksOf(path, add); err != nil || !slices.Equal(got, []string{"192.0.2.0/25 DE", "198.51.100.0/24 AT"}) {
		t.Errorf("%q, %v", got, err)
	}
	if err := f.Truncate(MaxSize + 1); err != nil {
		t.Fatal(err)
	}
	refused := func(path, why string) {
		t.Helper()
		if err := NetworksOf(path, add); !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %s", path, err, why)
		}
	}
	refused(path, "more than 536870912")
	refused(filepath.Dir(path), "not a regular file")
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(pipe, "not a regular file")
	for _, bad := range []string{"", "no database", string(database[:len(database)/2])} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := NetworksOf(path, add); err == nil {
			t.Errorf("%d bytes are a database", len(bad))
		}
	}
	if err := os.WriteFile(path, []byte("\x1f\x8b\x08"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(path, "gunzip")
	write()
	err = NetworksOf(path, func(netip.Prefix, string, string) error { return os.Truncate(path, 0) })
	if !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), "became shorter") {
		t.Error(err)
	}
	write()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if c := d.Country(netip.MustParseAddr("192.0.2.1")); c != "DE" {
		t.Errorf("%q", c)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if c := d.Country(netip.MustParseAddr("198.51.100.1")); c != "" {
			t.Errorf("%q", c)
		}
	}
}
