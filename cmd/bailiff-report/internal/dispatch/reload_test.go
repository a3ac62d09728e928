package dispatch

import (
	"testing"
	"time"

	"bailiff/journal/audit"
)

// TestReloadAfterClockSetBack: the clock is set back by an hour after the start. A reload then has an earlier time than the start, and the
// new configuration takes effect nevertheless.
func TestReloadAfterClockSetBack(t *testing.T) {
	b := newBench(t, reports("one: {"+prog+"}"))
	b.script("one", take)
	b.script("two", take)
	b.failures("198.51.100.1", 1) // the daemon's start can be read, too
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
