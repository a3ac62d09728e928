package stats

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"bailiff/cmd/bailiff/internal/cli/clitest"
	"bailiff/cmd/internal/geo"
	"bailiff/cmd/internal/geo/geotest"
	"bailiff/journal/journaltest"
	"bailiff/policy"
)

// TestStatsOfAJournal counts a real journal, with databases.
func TestStatsOfAJournal(t *testing.T) {
	dir := t.TempDir()
	journaltest.Write(t, filepath.Join(dir, "a.journal"), journaltest.Layout{}, journaltest.Gen{Entries: 2000, SSHD: 1, Failures: true, Step: 60_000_000})
	country := func(code string) geotest.Record {
		return geotest.Record{"country": geotest.Record{"iso_code": code}}
	}
	geotest.Write(t, filepath.Join(dir, "c.mmdb"), "GeoLite2-Country", 1, map[netip.Prefix]geotest.Record{
		netip.MustParsePrefix("198.18.0.0/15"): country("XA"), netip.MustParsePrefix("2001:db8::/32"): country("XB")})
	geotest.Write(t, filepath.Join(dir, "a.mmdb"), "GeoLite2-ASN", 1, map[netip.Prefix]geotest.Record{
		netip.MustParsePrefix("198.18.0.0/15"): {"autonomous_system_number": uint32(64496), "autonomous_system_organization": "Evil \x1b[31m net"}})
	args := []string{"stats", "--file", dir, "--geoip", dir, "--jail", "sshd"}
	out, said, status := clitest.Run(t, Command(), append(args, "--json")...)
	var s result
	if err := json.Unmarshal([]byte(out), &s); err != nil || status != 0 {
		t.Fatalf("%v, %d: %s%s", err, status, out, said)
	}
	sum := func(l []*item) (n uint64) {
		for _, i := range l {
			n += i.Failures
		}
		return n
	}
	if s.Entries != 2000 || s.Failures == 0 || s.Failures > 2000 || sum(s.Countries) != s.Failures || len(s.Systems) != 1 || sum(s.Systems) >= s.Failures || len(s.Databases) != 2 {
		t.Errorf("%+v", s)
	}
	var history, ofDay uint64
	for _, h := range s.History {
		history += h.Failures
	}
	for _, n := range s.OfDay {
		ofDay += n
	}
	if history != s.Failures || ofDay != s.Failures || s.Step != "hour" || len(s.History) < 30 {
		t.Errorf("%d in the history of %d %ss, %d by the hour, of %d", history, len(s.History), s.Step, ofDay, s.Failures)
	}
	if human, _, _ := clitest.Run(t, Command(), args...); !strings.Contains(human, "\nXA ") || !strings.Contains(human, `AS64496 Evil \x1b[31m net`) || strings.Contains(human, "\x1b") {
		t.Error(human)
	}
}

// TestStatsAreBounded: a flood of names and addresses takes no more memory than the counters have, and the account that is really attacked
// is still shown.
func TestStatsAreBounded(t *testing.T) {
	db, err := geo.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := newTally(nil, db, nil)
	r := rand.New(rand.NewPCG(1, 2))
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	long := strings.Repeat("n", 4000)
	for i := range 200_000 {
		f := policy.Failure{Jail: "sshd", Pattern: "failed", Attempts: 1, Time: int64(r.Uint64()), User: fmt.Appendf(nil, "%d%s", i, long),
			Addr: netip.AddrFrom4([4]byte{byte(1 + r.IntN(200)), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})}
		if i%100 == 0 {
			f.User = []byte("root")
		}
		s.failure(&f)
	}
	after := heap()
	if grown := int64(after) - int64(before); grown > 16<<20 {
		t.Errorf("%d bytes", grown)
	}
	res := s.result(3)
	if res.Users[0].Name != "root" || res.Users[0].Failures < 1900 || len(res.History) > maxHours {
		t.Errorf("%+v", res.Users)
	}
	if n := float64(res.Names); n < 180_000 || n > 216_000 {
		t.Errorf("%v names", n)
	}
	runtime.KeepAlive(s)
}

func TestAccountName(t *testing.T) {
	for in, want := range map[string]string{
		"bob": "bob", "b\xff": "b\uFFFD",
		strings.Repeat("a", 96):             strings.Repeat("a", 96),
		strings.Repeat("a", 97):             strings.Repeat("a", 96) + "…",
		strings.Repeat("a", 95) + "ü" + "x": strings.Repeat("a", 95) + "…",
	} {
		if got := accountName([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
