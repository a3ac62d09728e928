package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"bailiff/units/control"
)

func TestReportsText(t *testing.T) {
	long := time.Now().Add(-42 * time.Second)
	ok := control.DestinationStatus{Name: "admin", Type: "mail", LastOK: &long}
	for _, c := range []struct {
		r    reportsState
		want string
		bad  bool
	}{
		{reportsState{}, "off (no destination", false},
		{reportsState{destinations: 2, stopped: true}, "NOT SENT: bailiff-report.service is not running", true},
		{reportsState{destinations: 2, err: errors.New("systemd over D-Bus: x")}, "2 destinations, state unknown: systemd over D-Bus", true},
		{reportsState{destinations: 1, s: &control.ReporterStatus{Waiting: 3, Delivered: 7, Destinations: []control.DestinationStatus{ok}}},
			"1 destination; 3 waiting, 7 delivered since start", false},
		{reportsState{destinations: 2, s: &control.ReporterStatus{Destinations: []control.DestinationStatus{ok, {Name: "abuseipdb", Type: "abuseipdb", Held: "credential bailiff_abuseipdb: there is none"}}}},
			"2 destinations; abuseipdb HELD: credential bailiff_abuseipdb: there is none; 0 waiting", true},
		{reportsState{destinations: 1, s: &control.ReporterStatus{Destinations: []control.DestinationStatus{{Name: "hook", Type: "webhook", LastError: "status 503\x1b[2J"}}}},
			"1 destination; hook failing: status 503", true},
		{reportsState{destinations: 1, s: &control.ReporterStatus{Destinations: []control.DestinationStatus{{Name: "admin", Type: "mail", Delivering: &long}}}},
			"admin delivering for 42s without an answer", true},
		{reportsState{destinations: 1, s: &control.ReporterStatus{Destinations: []control.DestinationStatus{{Name: "admin", Type: "mail", LastOK: &long, Behind: true}}}},
			"admin full: newer bans wait in the journal", true},
	} {
		text, bad := reportsText(c.r)
		if !strings.Contains(text, c.want) || bad != c.bad || strings.ContainsRune(text, '\x1b') {
			t.Errorf("%q, bad %v; want %q, %v", text, bad, c.want, c.bad)
		}
	}
}
