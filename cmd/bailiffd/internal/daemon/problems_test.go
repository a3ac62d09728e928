package daemon

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/journal/audit"
)

// TestProblems: a problem is new when it begins and when it returns, keeps its start time, and ends with its cause. An event ends after its
// time.
func TestProblems(t *testing.T) {
	var p problems
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	later := func(s int) time.Time { return at.Add(time.Duration(s) * time.Second) }
	news := func(now time.Time, want []string, source string, texts ...string) {
		t.Helper()
		if got := p.set(now, time.Time{}, source, texts...); !slices.Equal(got, want) {
			t.Errorf("news %q, want %q", got, want)
		}
	}
	news(later(0), []string{"a is damaged", "b is damaged"}, "journal", "a is damaged", "b is damaged")
	news(later(1), []string{"hangs"}, "firewall", "hangs")
	news(later(2), nil, "journal", "b is damaged")
	if l := p.now(later(3)); len(l) != 2 || l[0].Text != "b is damaged" || !l[0].Since.Equal(later(0)) || l[1].Source != "firewall" || !l[1].Since.Equal(later(1)) {
		t.Errorf("%+v", l)
	}
	news(later(4), nil, "firewall")
	news(later(5), []string{"hangs"}, "firewall", "hangs")
	if l := p.now(later(6)); len(l) != 2 || !l[1].Since.Equal(later(5)) {
		t.Errorf("%+v", l)
	}
	p.set(later(7), later(10), "state", "was damaged")
	if l := p.now(later(9)); len(l) != 3 {
		t.Errorf("%+v", l)
	}
	if l := p.now(later(11)); len(l) != 2 {
		t.Errorf("%+v", l)
	}
	for i := range 2 * maxProblems {
		p.set(later(12), time.Time{}, string(rune('A'+i)), "x")
	}
	if l := p.now(later(13)); len(l) != maxProblems {
		t.Errorf("%d problems", len(l))
	}
}

// TestProblemsEnd: the end of a logged problem is logged once, under the same name.
func TestProblemsEnd(t *testing.T) {
	b := newBench(t)
	b.start()
	b.told(audit.KindStart)
	for range 2 {
		b.configure("defaults: {ban_tiem: 1h}\n")
		for range 2 { // the second time is not logged
			if _, err := b.client.Reload(context.Background()); err == nil {
				t.Fatal("a wrong configuration is loaded")
			}
		}
		if m := b.told(audit.KindReloadRefused); m[audit.FieldProblem] != "configuration" {
			t.Errorf("first: %v", m)
		}
		if m := b.told(audit.KindReloadRefused); m[audit.FieldProblem] != "" {
			t.Errorf("again: %v", m)
		}
		b.reload("jails: {sshd: {}}\n")
		b.did(b.client.Status(context.Background())) // it looks at what is wrong, as each tick does
		if m := b.told(audit.KindRecovered); m[audit.FieldProblem] != "configuration" || !strings.Contains(m["MESSAGE"], "ban_tiem") {
			t.Errorf("over: %v", m)
		}
	}
}
