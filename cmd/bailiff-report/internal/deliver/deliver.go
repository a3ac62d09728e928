// Package deliver is how reports leave the host: one subfolder for each type of destination. It keeps nothing: the queue,
// pauses between attempts and quotas are bailiff-report's (package dispatch).
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

// Destination delivers items. It is used by one goroutine at a time. Where its Redact is set it gets items that went through
// package redact already: see destinations.New.
type Destination interface {
	// Deliver hands the item over and returns when the other side has taken it. Errors are *report.Retry, *report.Refused, or
	// any other, which is tried again. They are for people, name the other side, and hold no secret. It ends when ctx does.
	Deliver(ctx context.Context, item *report.Item) (report.Receipt, error)

	// Render returns exactly what Deliver would send, with secrets masked, and sends nothing.
	Render(item *report.Item) ([]byte, error)
}

// Traced is a Destination whose deliveries leave a trace in the journal. After a crash in the middle of a delivery the
// bailiff-report looks there whether it succeeded, before it tries again.
type Traced interface {
	// Trace returns a text that the other side's log entries hold, and only those about this item: a Message-ID. "" says that
	// the item leaves no single one; then it is delivered again, and Deliver knows what it has done of it.
	Trace(item *report.Item) string
}

// Env is what destinations get from the process they live in.
type Env struct {
	Config *config.Report
	Host   string                            // this host's name in reports
	Own    []string                          // names and addresses of this host, for redaction
	Filter func(name string) *filter.Filter  // by Report.Service, for redaction; nil: those that come with the program
	Secret func(name string) ([]byte, error) // reads a systemd credential, without a final newline; errors name it, and say where it belongs
	Client *http.Client
	Now    func() time.Time
	Agent  string // User-Agent and X-Mailer: bailiff/VERSION
	State  string // folder for the little that a destination keeps of its own, in a file of its name; "": nothing is kept

	// Lookup asks the registries about an address, as bailiff-report does for a report, where that gave no contact. It never
	// fails: the answer says why there is none.
	Lookup func(ctx context.Context, addr netip.Addr) *report.Whois
}
