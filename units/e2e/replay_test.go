package e2e

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// replayed runs `bailiff replay` on the host over its own journal and counts the bans of each address.
func (v *victim) replayed(t *testing.T, since time.Time) map[netip.Addr]int {
	t.Helper()
	out := v.sh(t, `bailiff replay --json --since `+since.UTC().Format(time.RFC3339))
	bans := map[netip.Addr]int{}
	last := ""
	for line := range strings.Lines(out) {
		var r struct {
			Kind   string       `json:"kind"`
			Prefix netip.Prefix `json:"prefix"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("bailiff replay: %v in %q", err, line)
		}
		if r.Kind == "ban" {
			bans[r.Prefix.Addr()]++
		}
		last = r.Kind
	}
	if last != "summary" {
		t.Fatalf("bailiff replay ends with %q, not with a summary", last)
	}
	return bans
}
