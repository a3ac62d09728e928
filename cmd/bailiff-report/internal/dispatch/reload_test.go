package dispatch

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/journal/audit"
	"bailiff/policy/config"
)

// TestReloadAfterClockSetBack: the clock is set back by an hour after the start. A reload then has an earlier time than the start, and the
// new configuration takes effect nevertheless.
func TestReloadAfterClockSetBack(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+"}"))
	b.script("one", take)
	b.script("two", take)
	o := b.options()
	o.Now = func() time.Time { return time.Now().Add(time.Hour) }
	b.run(o)
	b.until("the end of the journal", func() (ok bool) { b.inside(func(d *Dispatcher) { ok = d.caughtUp }); return ok })
	b.configure(reports("one: {" + prog + "}, two: {" + prog + "}"))
	b.entry(map[string]string{"MESSAGE_ID": audit.KindReload.ID(), "MESSAGE": "reloaded"})
	id := b.ban("198.51.100.1")
	b.until("the first destination", b.got("one", id))
	b.until("the new destination", b.got("two", id))
}

// TestReloadWithoutEntry: the configuration can also be loaded without an entry of the daemon: by SIGHUP or `bailiff report retry`. Bans
// read after that are reported to all destinations, also to those that an earlier configuration lacks.
func TestReloadWithoutEntry(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+", jails: [sshd]}"))
	b.script("one", take)
	b.script("two", take)
	b.start()
	first := b.ban("198.51.100.1")
	b.until("the first ban", b.got("one", first))
	b.configure(reports("one: {" + prog + ", jails: [sshd]}, two: {" + prog + ", jails: [postfix]}"))
	if err := b.d.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	passed := b.ban("198.51.100.2", func(e *audit.BanEvent) { e.Jail = "postfix" })
	last := b.ban("198.51.100.3")
	b.until("a later ban", b.got("one", last))
	b.until("the new destination", b.got("two", passed))
	if one, two := b.items("one"), b.items("two"); len(one) != 2 || one[first+".one"] != 1 || one[last+".one"] != 1 || len(two) != 1 || two[passed+".two"] != 1 {
		t.Errorf("delivered %v, %v", one, two)
	}
}

// slow is a program whose deliveries wait.
type slow struct {
	program
	begun, goOn chan struct{}
}

func (s *slow) Deliver(ctx context.Context, it *report.Item) (report.Receipt, error) {
	s.begun <- struct{}{}
	<-s.goOn
	return s.program.Deliver(ctx, it)
}

// TestReloadDuringDelivery: reloads while a delivery is under way make a destination once for each change. The deliveries that follow need
// nothing that may have been broken since then.
func TestReloadDuringDelivery(t *testing.T) {
	for reloads := 1; reloads <= 2; reloads++ {
		b := newBench(t, execOne)
		b.script("one", take)
		var broken atomic.Bool
		begun, goOn := make(chan struct{}, 10), make(chan struct{}, 10)
		o := b.options()
		o.New = func(d *config.Destination, _ deliver.Env) (deliver.Destination, error) {
			if broken.Load() {
				return nil, errors.New("the template is broken")
			}
			return &slow{program{b.dir, d.Name}, begun, goOn}, nil
		}
		b.run(o)
		first := b.ban("198.51.100.1")
		<-begun
		b.configure(fmt.Sprintf("report: {retry_for: 2h, destinations: {one: {%s}}}\njails: {sshd: {}}\n", prog))
		for range reloads {
			if err := b.d.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		broken.Store(true)
		goOn <- struct{}{}
		b.until("the first report", b.got("one", first))
		second := b.ban("198.51.100.2")
		goOn <- struct{}{}
		b.until("the second report", b.got("one", second))
	}
}
