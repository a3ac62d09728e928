package dispatch

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bailiff/journal"
	"bailiff/journal/journaltest"
)

// TestMailLogClockSetBack: the clock is set back by an hour after a delivery began and was interrupted, so that the mail system logs it
// with an earlier time. The mail is found nevertheless. A mail that the mail system does not have is sent again, without waiting until the
// clock shows the time of the delivery again.
func TestMailLogClockSetBack(t *testing.T) {
	journaltest.Need(t)
	dir := t.TempDir()
	boot := journaltest.Gen{BootSeed: 1}.Boot(0)
	now := time.Now()
	file, seq := 0, int64(1_000_000)
	put := func(at time.Time, messages ...string) {
		t.Helper()
		in, end := journaltest.Start(t, filepath.Join(dir, fmt.Sprintf("system%d.journal", file)))
		file++ // journald begins a new file when the clock goes back
		var x []byte
		for i, m := range messages {
			seq++
			for _, f := range [][2]string{
				{"__REALTIME_TIMESTAMP", fmt.Sprint(at.UnixMicro() + int64(i))}, {"__MONOTONIC_TIMESTAMP", fmt.Sprint(seq)}, {"_BOOT_ID", boot},
				{"_UID", "100"}, {"SYSLOG_FACILITY", "2"}, {"SYSLOG_IDENTIFIER", "postfix/qmgr"}, {"MESSAGE", m},
			} {
				x = journaltest.Field(x, f[0], []byte(f[1]))
			}
			x = append(x, '\n')
		}
		in.Write(x)
		end()
	}
	ahead := now.Add(time.Hour) // the clock before it was set back
	put(ahead, "A: message-id=<other@x>", "B: message-id=<first@x>")
	put(now, "C: message-id=<taken@x>")
	d := &Dispatcher{}
	d.o.Source, d.o.SettleFor = journal.Dir(dir), 0
	all := []search{{"first", "<first@x>", ahead.UnixMicro()}, {"taken", "<taken@x>", ahead.UnixMicro()}, {"lost", "<lost@x>", ahead.UnixMicro()}}
	log, got, err := d.searchLog(nil, all)
	if err != nil || got["first"] != wasTaken || got["taken"] != wasTaken || got["lost"] != unknown {
		t.Fatalf("%v, %v", got, err)
	}
	put(now.Add(time.Second-time.Hour), "D: message-id=<yet.another@x>") // the mail system is at work
	if _, got, err = d.searchLog(log, all); err != nil || got["lost"] != wasLost {
		t.Errorf("a mail that the mail system does not have: %v, %v", got, err)
	}
	log.close()
}

// TestUncertainUnreadable: if the queue cannot be read, an interrupted delivery cannot be looked for. It is not taken for one that was
// found, but looked for later.
func TestUncertainUnreadable(t *testing.T) {
	b := newBench(t, "report: {retry_for: 1h, lookup: {rdap: false, whois: false, contacts: none}, destinations: {mail: {type: mail, to: [root]}}}\njails: {sshd: {}}\n")
	b.cutOffDelivery("cut")
	b.failures("198.51.100.1", 1) // an entry of a system service
	d, err := New(b.options())
	if err != nil {
		t.Fatal(err)
	}
	defer d.q.close()
	d.spawn, d.post = func(f func()) { f() }, func(f func()) { f() }
	x := d.q.dests["mail"]
	resolve := func() *delivery {
		d.resolveUncertain(x, d.o.Now().Add(resolvePoll))
		for _, f := range d.effects {
			f()
		}
		d.effects = nil
		return x.all["cut.mail"]
	}
	closed, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	file := d.q.log.f
	d.q.log.f = closed
	if it := resolve(); it == nil || it.state != uncertain || it.trace != "" || x.probing {
		t.Errorf("unreadable: %+v", it)
	}
	d.q.log.f = file
	if it := resolve(); it == nil || it.state != uncertain || it.trace == "" {
		t.Errorf("readable again: %+v", it)
	}
	if x.mailLog == nil || x.mailLog.searches["cut.mail"].trace == "" {
		t.Errorf("looked for: %+v", x.mailLog)
	} else {
		x.mailLog.close()
	}
}
