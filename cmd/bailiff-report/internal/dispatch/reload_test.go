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
