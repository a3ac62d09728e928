// Package deliver defines what a destination is. Its subfolders are the types of destinations and what they share: httpclient
// and sendmail (the host's mail system). A destination makes one attempt at a time; queue, pauses and quotas belong to package
// dispatch.
//
// To add a type of destination, implement Destination in a subfolder, add its constructor to package destinations, and its type and
// keys to policy/config.
package deliver

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
	"bailiff/policy/filter"
)

// Destination delivers items. One goroutine at a time uses it. If its configuration asks for redaction, it gets redacted items: see
// destinations.New.
type Destination interface {
	// Deliver returns when the other side has accepted the item, or when ctx ends. Errors are *report.Retry, *report.Refused, or any
	// other, which is tried again. They are shown to people: they name the other side and contain no secret.
	Deliver(ctx context.Context, item *report.Item) (report.Receipt, error)

	// Render returns exactly what Deliver would send, with secrets masked. It sends nothing.
	Render(item *report.Item) ([]byte, error)
}

// Traced is a Destination whose deliveries leave a trace in the journal. If a delivery was interrupted, the trace shows whether it
// succeeded.
type Traced interface {
	// Trace returns a text that only the log entries about this item contain, such as a Message-ID. "" means that the item has no
	// single trace; it is then delivered again, and Deliver finds out which parts of it were sent.
	Trace(item *report.Item) string
}

// Env is what destinations get from their process.
type Env struct {
	Config *config.Report
	Host   string                            // this host's name in reports
	Own    []string                          // names and addresses of this host, for redaction
	Filter func(name string) *filter.Filter  // by Report.Service, for redaction; nil: the built-in ones
	Secret func(name string) ([]byte, error) // reads a systemd credential, without a final newline; errors say where it belongs
	Client *http.Client
	Now    func() time.Time
	Agent  string // User-Agent and X-Mailer: bailiff/VERSION
	State  string // folder for the state of destinations, in files of their names, to be read in Deliver; "": nothing is saved

	// Lookup asks the registries about an address. It never returns nil: Failed says why there is no answer.
	Lookup func(ctx context.Context, addr netip.Addr) *report.Whois
}
