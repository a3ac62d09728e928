package main

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/cmd/internal/geo/geotest"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts below run this very command as "bailiff".
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bailiff": main})
}

// TestScripts runs testdata/*.txtar: commands that a user types, with their stdout, stderr and exit status.
func TestScripts(t *testing.T) {
	// This command runs bailiff-report and bailiff-fetch, which are programs of their own.
	others := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", others, "bailiff/cmd/bailiff-report", "bailiff/cmd/bailiff/bailiff-fetch").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	countries, in := filepath.Join(t.TempDir(), "countries.mmdb"), make(map[netip.Prefix]geotest.Record)
	for prefix, code := range map[string]string{"203.0.113.0/24": "DE", "198.51.100.0/24": "FR", "192.0.2.0/25": "FR", "2001:db8::/32": "NO"} {
		in[netip.MustParsePrefix(prefix)] = geotest.Record{"country": geotest.Record{"iso_code": code}}
	}
	geotest.Write(t, countries, "GeoLite2-Country", 1, in)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			e.Setenv("COUNTRIES", countries)
			alone, _, _ := strings.Cut(e.Getenv("PATH"), string(os.PathListSeparator))
			e.Setenv("ALONE", alone) // the folder of this command: without bailiff-report, even where it is installed
			e.Setenv("PATH", others+string(os.PathListSeparator)+e.Getenv("PATH"))
			return nil
		},
	})
}
