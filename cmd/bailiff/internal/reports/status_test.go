package reports

import (
	"errors"
	"strings"
	"testing"
	"time"

	"bailiff/units/control"
)

func TestStatusLine(t *testing.T) {
	long := time.Now().Add(-42 * time.Second)
	ok := control.DestinationStatus{Name: "admin", Type: "mail", LastOK: &long}
	for _, c := range []struct {
		s    *control.ReporterStatus
		err  error
		n    int
		want string
		bad  bool
	}{
		{nil, errors.New("systemd over D-Bus: x"), 2, "2 destinations, state unknown: systemd over D-Bus", true},
		{&control.ReporterStatus{Waiting: 3, Delivered: 7, Destinations: []control.DestinationStatus{ok}}, nil, 1, "1 destination; 3 waiting, 7 delivered since start", false},
		{&control.ReporterStatus{Destinations: []control.DestinationStatus{ok, {Name: "abuseipdb", Type: "abuseipdb", Held: "credential bailiff_abuseipdb: there is none"}}}, nil, 2,
			"2 destinations; abuseipdb HELD: credential bailiff_abuseipdb: there is none; 0 waiting", true},
		{&control.ReporterStatus{Destinations: []control.DestinationStatus{{Name: "hook", Type: "webhook", LastError: "status 503\x1b[2J"}}}, nil, 1, "1 destination; hook failing: status 503", true},
		{&control.ReporterStatus{Destinations: []control.DestinationStatus{{Name: "admin", Type: "mail", Delivering: &long}}}, nil, 1, "admin delivering for 42s, no answer yet", true},
		{&control.ReporterStatus{Destinations: []control.DestinationStatus{{Name: "admin", Type: "mail", LastOK: &long, Behind: true}}}, nil, 1, "admin queue full: newer bans wait in the journal", true},
	} {
		text, bad := statusLine(c.s, c.err, c.n)
		if !strings.Contains(text, c.want) || bad != c.bad || strings.ContainsRune(text, '\x1b') {
			t.Errorf("%q, bad %v; want %q, %v", text, bad, c.want, c.bad)
		}
	}
	if text, bad := StatusLine(t.Context(), 0); bad || !strings.HasPrefix(text, "off (no destination") {
		t.Errorf("without destinations: %q, %v", text, bad)
	}
}
