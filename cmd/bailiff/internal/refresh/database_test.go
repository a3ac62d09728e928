package refresh

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/internal/geo/geotest"
	"bailiff/policy/blocklist"
)

// TestDatabase: a list takes its countries and systems from databases on this host; a damaged database, or one that has lost much of its
// content, keeps the last good list.
func TestDatabase(t *testing.T) {
	p := publish(t)
	f := newBlocks(t, p)
	dir := t.TempDir()
	countries, systems := filepath.Join(dir, "Country.mmdb"), filepath.Join(dir, "ASN.mmdb")
	write := func(of ...string) {
		t.Helper()
		m := make(map[netip.Prefix]geotest.Record)
		for _, n := range of {
			prefix, country, _ := strings.Cut(n, " ")
			m[netip.MustParsePrefix(prefix)] = geotest.Record{"country": geotest.Record{"iso_code": country}}
		}
		geotest.Write(t, countries, "GeoLite2-Country", 1, m)
	}
	l := &f.blocks[0]
	l.Format, l.Countries, l.Systems, l.URLs = blocklist.FormatMMDB, []string{"DE"}, []string{"AS64496"}, []string{"file://" + countries, "file://" + systems}

	f.want(p, "", "bailiff: block list mine: failed: open "+countries+": no such file or directory; no previous list\n")
	whole := []string{"2.0.0.0/8 DE", "3.0.0.0/9 US", "3.128.0.0/9 DE", "4.0.0.0/8 US", "5.0.0.0/9 DE", "6.0.0.0/8 DE", "10.0.0.0/8 US", "2001:db8::/32 DE", "2001:db9::/32 FR"}
	write(whole...)
	geotest.Write(t, systems, "GeoLite2-ASN", 1, map[netip.Prefix]geotest.Record{netip.MustParsePrefix("4.0.0.0/24"): {"autonomous_system_number": uint32(64496)}})
	f.want(p, "mine: new, 6 entries\n", "")
	held := func(want string) {
		t.Helper()
		if got := f.held("mine"); got != want {
			t.Errorf("holds %q, want %q", got, want)
		}
	}
	held("2.0.0.0/8 3.128.0.0/9 4.0.0.0/24 5.0.0.0/9 6.0.0.0/8 2001:db8::/32")

	// After a change of the configuration the list on disk no longer fits, and is replaced at once.
	f.want(p, "mine: waiting, 6 entries\n", "")
	l.Others = true
	f.want(p, "mine: new, 18 entries\n", "")
	if got := f.held("mine"); !strings.HasPrefix(got, "3.0.0.0/9 4.0.1.0/24 ") || !strings.HasSuffix(got, " 4.128.0.0/9 2001:db9::/32") {
		t.Errorf("holds %q", got)
	}
	good := f.held("mine")
	if st := f.store.ReadState("mine"); st.Named != 5 || st.LeftOut != 1 {
		t.Errorf("%+v", st)
	}

	f.clock = f.clock.Add(25 * time.Hour)
	const keeping = "; keeping the previous list (18 entries)\n"
	for _, c := range []struct {
		of  []string
		why string
	}{
		{[]string{"4.0.0.0/8 US"}, "has no network of DE"},
		{[]string{"4.0.0.0/8 US", "2.0.0.0/8 DE"}, "has 2 networks of what the list names, less than 50 % of the 5 that it had"},
		{[]string{"0.0.0.0/1 US", "130.0.0.0/8 DE"}, "file://" + countries + ": has 0.0.0.0/1, which is wider than /5"},
	} {
		write(c.of...)
		hint := ""
		if strings.Contains(c.why, "less than") {
			hint = "hint: if that is right: bailiff lists refresh --accept mine\n"
		}
		f.want(p, "", "bailiff: block list mine: refused: "+c.why+keeping+hint)
		held(good)
	}
	if err := os.WriteFile(countries, []byte("<html>"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.want(p, "", "bailiff: block list mine: refused: file://"+countries+": error opening database: invalid MaxMind DB file"+keeping)
	held(good)
	if err := os.Remove(countries); err != nil {
		t.Fatal(err)
	}
	f.want(p, "", "bailiff: block list mine: failed: open "+countries+": no such file or directory"+keeping)
	held(good)
	write(whole...)
	f.want(p, "mine: unchanged, 18 entries\n", "")

	// Over the network, as any list.
	data, err := os.ReadFile(countries)
	if err != nil {
		t.Fatal(err)
	}
	p.text("/c", `"1"`, string(data))
	l.URLs, l.Systems, l.Others = []string{p.URL + "/c"}, nil, false
	f.want(p, "mine: new, 5 entries\n", "")
	held("2.0.0.0/8 3.128.0.0/9 5.0.0.0/9 6.0.0.0/8 2001:db8::/32")
}
