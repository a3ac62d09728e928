package courier

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/cmd/internal/deliver"
	"bailiff/journal/audit"
	"bailiff/policy/report"
)

// waits is a destination at which reports about one network have to wait, and nothing else.
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

// Items that have to wait for reasons of their own do not hold up the others, nor do they make the destination one that fails.
func TestOwn(t *testing.T) {
	b := newBench(t, execOne)
	b.script("one", take)
	var tried atomic.Int32
	o := b.options()
	o.New = func(d *report.Destination, _ deliver.Env) (deliver.Destination, error) {
		return &waits{program{b.dir, d.Name}, &tried}, nil
	}
	b.run(o)
	for i := range 2 * patience {
		b.ban(fmt.Sprintf("203.0.113.%d", i+1))
	}
	b.until("all were tried more than once", func() bool { return tried.Load() > 4*patience })
	b.ban("198.51.100.7")
	b.told(audit.KindReported, "198.51.100.7")
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.entries {
		if strings.Contains(m["MESSAGE"], "fail and are tried again") || m["MESSAGE_ID"] == audit.KindReportsFree.ID() {
			t.Errorf("said: %s", m["MESSAGE"])
		}
	}
}

// run is start with options of the test's own.
func (b *bench) run(o Options) {
	b.t.Helper()
	e, err := New(o)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	b.e, b.cancel, b.ended = e, cancel, make(chan error, 1)
	go func() { b.ended <- e.Run(ctx) }()
}

// untraced is a destination whose items leave no single trace.
type untraced struct{ program }

func (*untraced) Trace(*report.Item) string { return "" }

// What a crash cut off is delivered again at once where nothing in the journal can tell what became of it.
func TestUntraced(t *testing.T) {
	b := newBench(t, "report: {give_up: 1h, lookup: {rdap: false, whois: false, contacts: none}, destinations: {mail: {type: mail, to: [root]}}}\njails: {sshd: {}}\n")
	b.script("mail", take)
	q, err := Open(filepath.Join(b.dir, "queue"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixMicro()
	a := netip.MustParseAddr("198.51.100.1")
	r := taken{Key: "cut", ID: "cut", Address: a, Jail: "sshd", Time: now, Since: now, To: []string{"mail"}, report: &report.Report{ID: "cut", Address: a}}
	if err := q.Take(position{Realtime: uint64(now)}, []taken{r}); err != nil {
		t.Fatal(err)
	}
	if err := q.write(frBegin, recItem{Dest: "mail", Key: "cut.mail", Time: now, Attempts: 1}); err != nil {
		t.Fatal(err)
	}
	q.Sync()
	q.close()
	o := b.options()
	o.New = func(d *report.Destination, _ deliver.Env) (deliver.Destination, error) {
		return &untraced{program{b.dir, d.Name}}, nil
	}
	b.run(o)
	b.until("delivered again", func() bool { return b.items("mail")["cut.mail"] == 1 })
}
