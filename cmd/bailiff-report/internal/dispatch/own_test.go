package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/journal/audit"
	"bailiff/policy/config"
)

// waits is a destination at which only reports about one network have to wait.
type waits struct {
	program
	tried *atomic.Int32
}

func (w *waits) Deliver(ctx context.Context, it *report.Item) (report.Receipt, error) {
	if strings.HasPrefix(it.Reports[0].Address.String(), "203.0.113.") {
		w.tried.Add(1)
		return report.Receipt{}, &report.Retry{Own: true, Err: errors.New("has to wait")}
	}
	return w.program.Deliver(ctx, it)
}

// Items that have to wait for reasons of their own do not hold up the others, nor is the destination regarded as failing.
func TestOwn(t *testing.T) {
	b := newBench(t, execOne)
	b.script("one", take)
	var tried atomic.Int32
	o := b.options()
	o.New = func(d *config.Destination, _ deliver.Env) (deliver.Destination, error) {
		return &waits{program{b.dir, d.Name}, &tried}, nil
	}
	b.run(o)
	for i := range 2 * failuresBeforePause {
		b.ban(fmt.Sprintf("203.0.113.%d", i+1))
	}
	b.until("all were tried more than once", func() bool { return tried.Load() > 4*failuresBeforePause })
	b.ban("198.51.100.7")
	b.told(audit.KindReported, "198.51.100.7")
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.entries {
		if strings.Contains(m["MESSAGE"], "fail and are tried again") || m["MESSAGE_ID"] == audit.KindReportsResumed.ID() {
			t.Errorf("said: %s", m["MESSAGE"])
		}
	}
}

// untraced is a destination whose items leave no single trace.
type untraced struct{ program }

func (*untraced) Trace(*report.Item) string { return "" }

// A delivery that a crash interrupted is repeated at once if nothing in the journal can show its outcome.
func TestUntraced(t *testing.T) {
	b := newBench(t, "report: {retry_for: 1h, lookup: {rdap: false, whois: false, contacts: none}, destinations: {mail: {type: mail, to: [root]}}}\njails: {sshd: {}}\n")
	b.script("mail", take)
	b.cutOffDelivery("cut")
	o := b.options()
	o.New = func(d *config.Destination, _ deliver.Env) (deliver.Destination, error) {
		return &untraced{program{b.dir, d.Name}}, nil
	}
	b.run(o)
	b.until("delivered again", func() bool { return b.items("mail")["cut.mail"] == 1 })
}
