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

// TestReloadBeforeFirstBan: the first ban of all is being read when another configuration takes effect, so it is read again, although the daemon has
// written an entry since then at which a first start would begin.
func TestReloadBeforeFirstBan(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+"}"))
	b.script("one", take)
	var ahead atomic.Int64
	o := b.options()
	o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	b.run(o)
	b.inside(func(d *Dispatcher) { d.q.log.limit = 0 })
	first := b.ban("198.51.100.1")
	b.until("no room for it", func() (ok bool) { b.inside(func(d *Dispatcher) { ok = d.noRoom != "" }); return ok })
	if err := b.d.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.entry(map[string]string{"MESSAGE_ID": audit.KindReload.ID(), "MESSAGE": "reloaded"})
	b.readable("reloaded", 1)
	ahead.Store(int64(2 * fullPause))
	b.inside(func(d *Dispatcher) { d.q.log.limit = maxFile })
	second := b.ban("198.51.100.2")
	b.until("the second ban", b.got("one", second))
	b.until("the first ban", b.got("one", first))
	if one := b.items("one"); len(one) != 2 || one[first+".one"] != 1 || one[second+".one"] != 1 {
		t.Errorf("delivered %v", one)
	}
}

// TestBegins: wherever reading begins, that is the position. So the first ban can be read again, also after a reload of the daemon.
func TestBegins(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+"}"))
	d, err := New(b.options())
	if err != nil {
		t.Fatal(err)
	}
	defer d.q.close()
	open := func(from position, rebuilding bool) *banReader {
		h := &banReader{d: d, set: d.set, pos: from}
		t.Cleanup(h.close)
		if err := h.open(rebuilding); err != nil {
			t.Fatal(err)
		}
		return h
	}
	begins := map[bool]position{true: open(position{}, true).pos, false: open(position{}, false).pos}
	id := b.ban("198.51.100.1")
	b.entry(map[string]string{"MESSAGE_ID": audit.KindReload.ID(), "MESSAGE": "reloaded"})
	b.readable("reloaded", 1)
	for rebuilding, from := range begins {
		if bans, _, _ := open(from, false).batch(nil, nil); len(bans) != 1 || bans[0].ban.ID != id {
			t.Errorf("rebuilding %v: read %d bans from %+v", rebuilding, len(bans), from)
		}
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
