package replay

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/cli/clitest"
	"bailiff/policy/state"
)

// TestCompare replays our capture (three failures of one address within five seconds) under two configurations.
func TestCompare(t *testing.T) {
	a, err := txtar.ParseFile("../../testdata/replay.txtar")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, f := range a.Files {
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const base = "jails: {sshd: {max_retry: 3, ban_time: 2h}}"
	for name, c := range map[string]struct {
		before, after string
		changes       map[string]int
		before1       string // prefix of the first change, and after
		after1        string
	}{
		"same":     {base, base + "\n", map[string]int{"same": 1}, "", ""},
		"longer":   {base, "jails: {sshd: {max_retry: 3, ban_time: 4h}}", map[string]int{"longer": 1}, "203.0.113.7/32", "203.0.113.7/32"},
		"for ever": {base, "jails: {sshd: {max_retry: 3, ban_time: forever}}", map[string]int{"longer": 1}, "203.0.113.7/32", "203.0.113.7/32"},
		"shorter":  {base, "jails: {sshd: {max_retry: 3, ban_time: 10m}}", map[string]int{"shorter": 1}, "203.0.113.7/32", "203.0.113.7/32"},
		"earlier":  {base, "jails: {sshd: {max_retry: 2, ban_time: 2h}}", map[string]int{"earlier": 1}, "203.0.113.7/32", "203.0.113.7/32"},
		"later":    {"jails: {sshd: {max_retry: 2, ban_time: 2h}}", base, map[string]int{"later": 1}, "203.0.113.7/32", "203.0.113.7/32"},
		"lost":     {base, "jails: {sshd: {max_retry: 9}}", map[string]int{"lost": 1}, "203.0.113.7/32", ""},
		"added":    {"jails: {sshd: {enabled: false}}", base, map[string]int{"added": 1}, "", "203.0.113.7/32"},
		"allowed":  {base, "allow: {addresses: [203.0.113.0/24]}\n" + base, map[string]int{"lost": 1}, "203.0.113.7/32", ""},
		"wider":    {base, "jails: {sshd: {max_retry: 3, ban_time: 2h, prefix: {ipv4: 24}}}", map[string]int{"wider": 1}, "203.0.113.7/32", "203.0.113.0/24"},
		"narrower": {"jails: {sshd: {max_retry: 3, ban_time: 2h, prefix: {ipv4: 24}}}", base, map[string]int{"narrower": 1}, "203.0.113.0/24", "203.0.113.7/32"},
	} {
		for file, text := range map[string]string{"before.yaml": c.before, "after.yaml": c.after} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		args := []string{"replay", "--config", filepath.Join(dir, "before.yaml"), "--compare", filepath.Join(dir, "after.yaml"), "--export", filepath.Join(dir, "capture.export")}
		out, said, status := clitest.Run(t, Command(), append(args, "--json")...)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		var sum comparisonSummary
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &sum); err != nil || sum.Entries != 5 {
			t.Fatalf("%s: %v: %s%s", name, err, out, said)
		}
		for _, k := range changeKinds {
			if sum.Changes[k] != c.changes[k] {
				t.Errorf("%s: %d %s, want %d", name, sum.Changes[k], k, c.changes[k])
			}
		}
		if wantStatus := map[bool]int{true: int(Differ), false: 0}[name != "same"]; status != wantStatus || sum.Differ != (status != 0) {
			t.Errorf("%s: status %d, differ %v", name, status, sum.Differ)
		}
		human, _, again := clitest.Run(t, Command(), args...)
		if again != status || name == "same" && !strings.HasSuffix(human, "both configurations make the same bans\n") {
			t.Errorf("%s: status %d, %s", name, again, human)
		}
		if name == "same" {
			continue
		}
		if !strings.Contains(human, "  "+sum.kinds()) {
			t.Errorf("%s: %s", name, human)
		}
		var x changeLine
		if err := json.Unmarshal([]byte(lines[0]), &x); err != nil {
			t.Fatal(err)
		}
		prefix := func(b *comparedBan) string {
			if b == nil {
				return ""
			}
			return b.Prefix.String()
		}
		if prefix(x.Before) != c.before1 || prefix(x.After) != c.after1 {
			t.Errorf("%s: %s > %s", name, prefix(x.Before), prefix(x.After))
		}
	}
	if _, said, status := clitest.Run(t, Command(), "replay", "--compare", filepath.Join(dir, "bad.yaml"), "--export", filepath.Join(dir, "capture.export")); status != cli.Failed || !strings.Contains(said, "bad.yaml:1:27") {
		t.Errorf("%d: %s", status, said)
	}
	if _, said, status := clitest.Run(t, Command(), "replay", "--compare", filepath.Join(dir, "three.yaml"), "--failures"); status != cli.WrongUsage || !strings.Contains(said, "--failures") {
		t.Errorf("%d: %s", status, said)
	}
}

// kinds is the one kind of change that there is.
func (s *comparisonSummary) kinds() string {
	for _, k := range changeKinds {
		if s.Changes[k] > 0 && k != "same" {
			return k
		}
	}
	return "?"
}

// TestChangesAreComplete: whatever the bans of both sides, each is told once at least, and the numbers agree.
func TestChangesAreComplete(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	side := func() (l []sideBan) {
		for range r.IntN(40) {
			p, _ := netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(4))}).Prefix([]int{24, 31, 32}[r.IntN(3)])
			since := int64(r.IntN(1000))
			l = append(l, sideBan{ban: state.Ban{Prefix: p, Jail: []string{"a", "b"}[r.IntN(2)], Since: since, Until: []int64{0, since + int64(r.IntN(200))}[r.IntN(2)]}})
		}
		return l
	}
	for range 500 {
		before, after := side(), side()
		told := make(map[*state.Ban]bool)
		for _, x := range changes(before, after) {
			if x.before == nil && x.after == nil || (x.before == nil) != (x.kind == "added") || (x.after == nil) != (x.kind == "lost") {
				t.Fatalf("%+v", x)
			}
			told[x.before], told[x.after] = true, true
		}
		for i := range before {
			if !told[&before[i].ban] {
				t.Fatalf("%+v is not told", before[i].ban)
			}
		}
		for i := range after {
			if !told[&after[i].ban] {
				t.Fatalf("%+v is not told", after[i].ban)
			}
		}
	}
}
