package web

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"bailiff/units/control"
	"bailiff/units/metrics"
)

// evil is text of attackers: markup, an attribute's end, a formula, a mark that reorders text, control characters.
const evil = "=1+1 <img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>'\"&lt;b&gt;\u202egnp.exe\x1b[31m\u200b"

// hostile is a daemon that answers every call with text of attackers wherever text can be.
type hostile struct {
	daemon
	bans int
}

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func (d *hostile) Status(context.Context) (*control.Status, error) {
	return &control.Status{Version: "9.9" + evil, Bans: d.bans, BansTotal: 3, Started: noon, Reports: 1, ConfigErr: evil, Config: []string{"/etc/bailiff/" + evil},
		Problems: control.Problems{{Source: "firewall", Text: "problem " + evil, Since: noon}},
		Firewall: control.FirewallStatus{Backend: "nftables", Stopped: []control.Stopped{{Set: "b4", Packets: 1234, Bytes: 5678}}},
		Jails:    []control.JailStatus{{Name: "sshd", Units: []string{"ssh.service"}, Failures: 7, Bans: 2}, {Name: evil, Units: []string{evil}, Bans: 1}}}, nil
}

func (d *hostile) Bans(_ context.Context, q control.BanQuery, _ netip.Prefix) (*control.BanList, error) {
	l := &control.BanList{Total: d.bans, Facets: &control.Facets{Jails: []control.Facet{{Name: "sshd", Bans: 2}, {Name: evil, Bans: 1}}, Reasons: []control.Facet{{Name: evil, Bans: 1}}, Countries: []control.Facet{{Name: "DE", Bans: 3}}}}
	for i := range min(d.bans, q.Limit) {
		l.Bans = append(l.Bans, control.Ban{ID: fmt.Sprint(i), Prefix: fmt.Sprintf("198.18.%d.%d/32", i>>8&255, i&255), Jail: "sshd", Since: noon, Failures: 5, Count: 1, Reason: evil, By: evil, Country: "DE"})
	}
	if d.bans > q.Limit {
		l.Next = "more"
	}
	return l, nil
}

func (d *hostile) Why(_ context.Context, p netip.Prefix) (*control.Why, error) {
	address := p.Addr().String()
	line := control.Line{Time: noon, Unit: "ssh.service", Identifier: evil, PID: 7, Message: "Failed password for " + evil + " from 203.0.113.7 port 1 ssh2", Pattern: "failed", Weight: 2}
	return &control.Why{Address: address, State: "banned", BansTotal: 1,
		Allowed: []control.AllowEntry{{Prefix: "192.0.2.0/24", Origin: evil, Comment: evil}},
		Bans:    []control.WhyBan{{Ban: control.Ban{ID: "1", Prefix: address + "/32", Jail: "sshd", Since: noon, Failures: 5, Count: 2, Reason: "failures"}, Evidence: []control.Line{line, {Missing: evil}}}},
		Counted: []control.WhyCount{{Jail: "sshd", Window: "normal", Length: 600, Prefix: address + "/32", Attempts: 3, Count: 3, MaxRetry: 5, Missing: 2, Until: noon, Evidence: []control.Line{line}}},
		Fleet:   []control.FleetWhy{{FleetBan: control.FleetBan{Host: evil, Prefix: address + "/32", Jail: evil, Reason: evil, Since: noon}, Group: evil}},
		Lists:   []control.BlockHolding{{List: evil, Holds: evil, Jails: []string{evil}, Prefix: address + "/32", Mode: evil}},
		History: []control.History{{Prefix: address + "/32", Count: 2}}}, nil
}

func (d *hostile) Fleet(context.Context) (*control.FleetStatus, error) {
	return &control.FleetStatus{Agent: &control.FleetAgentStatus{FleetAgent: control.FleetAgent{Hub: "tls://hub.example.test:4222" + evil, Since: noon, Waiting: 2}, Heard: noon},
		Roster: control.FleetHostsSet{Fleet: evil, Hosts: 1}, Votes: 2, Bans: 7, InEffect: 6, Clashes: control.Prefixes{Count: 1, Some: []string{evil}},
		Together: &control.FleetTogether{Hosts: 10, Failures: 20, Watched: 3, Bans: 1, Prevented: 2, Latest: []control.FleetJoint{{Prefix: evil, Since: noon, Until: noon, Failures: 21, Hosts: 12, Groups: 4}}},
		Hosts:    []control.FleetHost{{Name: evil, Group: evil, Bans: 7, Latest: &noon, Ahead: -90, Clashes: 1, Refused: map[string]uint64{evil: 3}}}}, nil
}

// hostileReporter is a bailiff-report of that kind. What the page does not call is not there.
type hostileReporter struct{ control.Reporter }

func (hostileReporter) Status(context.Context) (*control.ReporterStatus, error) {
	return &control.ReporterStatus{Waiting: 1, Destinations: []control.DestinationStatus{{Name: evil, Type: evil, Held: evil, Waiting: 1}, {Name: "mail", Type: "mail", LastError: evil, LastFailed: &noon}}}, nil
}

func (hostileReporter) Reports(context.Context, string, int) (*control.ReportList, error) {
	return &control.ReportList{Total: 9, Reports: []control.QueuedReport{{ID: "1", Destination: evil, Address: "203.0.113.7", Jail: evil, State: evil, Error: evil, Time: noon}}}, nil
}

func (hostileReporter) Report(context.Context, string, string) (*control.ReportShow, error) {
	return &control.ReportShow{Deliveries: []control.Delivery{{QueuedReport: control.QueuedReport{Destination: evil, State: evil, Error: evil}}}}, nil
}

func (hostileReporter) Metrics(context.Context) (*metrics.Set, error) { return &metrics.Set{}, nil }

func (d *hostile) History(_ context.Context, q control.HistoryQuery, _ netip.Prefix, emit func(*control.HistoryLine) error) error {
	now := time.Now()
	f := []control.Facet{{Name: evil, Bans: 2}}
	for _, l := range []*control.HistoryLine{
		{Kind: "ban", Time: now, Jail: evil, Prefix: "203.0.113.7/32", Reason: evil, By: evil}, {Kind: "unban", Time: now, Jail: "sshd", Prefix: "203.0.113.7/32", Reason: evil},
		{Kind: "progress", Time: now, Share: 0.5, Read: 2},
		{Kind: "summary", Time: now, Summary: &control.HistorySummary{Since: now.Add(-720 * time.Hour), Complete: true, Total: 2, Hours: []control.HistoryHour{{Time: now, Bans: 3}}, Accounts: f,
			Periods: []control.HistoryPeriod{{Hours: 24, Bans: 3, Jails: f, Reasons: f, Countries: f, Networks: f}, {Hours: 168, Bans: 4, Jails: f, Reasons: f, Networks: f}, {Hours: 720, Bans: 5, Jails: f, Reasons: f, Networks: f}}}},
	} {
		if err := emit(l); err != nil {
			return err
		}
	}
	return nil
}

func (d *hostile) Filters(context.Context) ([]control.FilterInfo, error) {
	return []control.FilterInfo{{Name: "sshd", Description: evil, Notes: evil, Trust: evil, Modes: []string{"normal"}, Jails: []control.FilterUse{{Jail: evil, Enabled: true}}, Patterns: []control.FilterPattern{{Name: evil, Kind: "failure", Text: evil}}}}, nil
}

func (d *hostile) Match(_ context.Context, q control.MatchQuery) ([]control.Match, error) {
	return []control.Match{{Filter: "sshd", Mode: "normal", Kind: "failure", Pattern: "failed", Address: "203.0.113.7", User: evil, Trust: evil, Modes: []string{evil},
		Tries: []control.MatchTry{{Pattern: evil, Text: evil, Begin: evil, Rest: q.Line, Wanted: evil}}}}, nil
}

func (d *hostile) Allowed(context.Context) ([]control.AllowEntry, error) {
	return []control.AllowEntry{{Prefix: "192.0.2.0/24", Origin: evil, Comment: evil}}, nil
}

func (d *hostile) Config(context.Context) ([]byte, error) {
	return []byte("jails:  # " + strings.ReplaceAll(evil, "\n", " ") + "\n  sshd: {}\n"), nil
}

func (d *hostile) Reload(context.Context, control.Peer) (*control.Reloaded, error) {
	return nil, &control.Error{Status: http.StatusForbidden, Message: evil}
}
