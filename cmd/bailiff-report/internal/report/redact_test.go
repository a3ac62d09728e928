package report

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/policy/filter"
)

var ownNames = []string{"Mail1.Example.org", "192.0.2.2", "2001:db8:0:1::2", "localhost"}

// full returns a report that names the host and an account wherever it can.
func full() *Report {
	at := time.Date(2026, 11, 23, 1, 2, 3, 0, time.FixedZone("CET", 3600))
	line := Line{
		Time: at, Hostname: "mail1", Identifier: "sshd", PID: 77, Unit: "sshd@3-192.0.2.2:22-198.51.100.8:33043.service", Cursor: "s=1;b=2",
		Message: []byte("Failed password for invalid user hunter2 from 198.51.100.8 port 33043 ssh2"), Pattern: "failed-unknown",
		Source: netip.MustParseAddr("198.51.100.8"), Port: 33043, Account: []byte("hunter2"),
	}
	other := line
	other.Message, other.Pattern = []byte("pam: hunter2 at mail1"), ""
	return &Report{
		ID: "0011223344556677", Cursor: "s=1;i=2;b=3", Time: at, Prefix: netip.MustParsePrefix("198.51.100.8/32"), Address: netip.MustParseAddr("198.51.100.8"), Jail: "sshd", Service: "sshd",
		Since: at, Failures: 5, Count: 1, Reason: "hunter2 again", By: "hunter2", Host: "mail1.example.org",
		Lines: []Line{line, other}, Context: []Line{other, line},
		Whois: &Whois{Abuse: []string{"abuse@example.net"}, Text: "descr: line of mail1.example.org\nperson: p@example.net", Failed: "dial tcp 192.0.2.2:1: timeout", Holder: "Example.org Ltd"},
	}
}

func TestReport(t *testing.T) {
	r := NewRedactor(ownNames, nil)
	in := full()
	item := r.Item(&Item{Key: "k", Reports: []*Report{in}})
	if !reflect.DeepEqual(in, full()) {
		t.Error("the report itself was changed")
	}
	got := item.Reports[0]
	if s := fmt.Sprintf("%+v %+v %s", *got, *got.Whois, got.Lines[0].Message); holds(s, "hunter2") || holds(s, "mail1") || holds(s, "192.0.2.2") || holds(s, "example.org") || holds(s, "p@") || holds(s, "CET") || holds(s, "s=1") {
		t.Errorf("something was left: %s", s)
	}
	if len(got.Lines) != 1 || len(got.Context) != 1 || got.Withheld != 1 || got.Lines[0].Unit != "sshd@.service" || got.Whois.Abuse[0] != "abuse@example.net" || item.Key != "k" || got.ID != in.ID || got.Failures != 5 {
		t.Errorf("became %+v", got)
	}
	if none := NewRedactor(ownNames, func(string) *filter.Filter { return nil }).Report(in); len(none.Lines) != 0 || none.Withheld != 2 {
		t.Errorf("without a filter %d lines are left, %d withheld", len(none.Lines), none.Withheld)
	}
	in.Reason = "failures"
	if r.Report(in).Reason != "failures" {
		t.Error("a reason of the policy's own is lost")
	}
}

// A report of 100 lines, each of which is matched anew.
func BenchmarkReport(b *testing.B) {
	r, rep := NewRedactor(ownNames, nil), full()
	rep.Context, rep.Lines = nil, slices.Repeat(rep.Lines[:1], 100)
	for b.Loop() {
		r.Report(rep)
	}
}

func holds(s, part string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(part)) }
