package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/units/control"
)

// settle waits until all audit entries so far are in the journal.
func (b *bench) settle() {
	b.t.Helper()
	b.marks++
	mark := fmt.Sprint(b.marks)
	c, err := net.DialUnix("unixgram", nil, b.audit.LocalAddr().(*net.UnixAddr))
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("MESSAGE=mark\nTEST_MARK=" + mark + "\n")); err != nil {
		b.t.Fatal(err)
	}
	b.inJournal("TEST_MARK", mark)
}

// announced waits until a ban's audit entry is in the journal (echo must be set). The daemon shows the ban earlier.
func (b *bench) announced(prefix string) {
	b.t.Helper()
	b.inJournal(audit.FieldPrefix, prefix)
}

// inJournal waits for an entry with a field.
func (b *bench) inJournal(field, value string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		j, err := journal.Open(journal.Dir(b.dir), journal.Options{Matches: journal.Matches{{{Field: field, Value: value}}}})
		if err == nil {
			j.SeekHead()
			found := j.Next()
			j.Close()
			if found {
				return
			}
		}
		select {
		case <-ctx.Done():
			b.t.Fatalf("an entry with %s=%s is not in the journal: %v", field, value, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// all are the audit entries that no test has read yet.
func (b *bench) all() (l []map[string]string) {
	for {
		select {
		case m := <-b.entries:
			l = append(l, m)
		default:
			return l
		}
	}
}

// TestCrashLoop: a daemon that is killed again and again before it saves its decisions announces none twice and forgets none.
func TestCrashLoop(t *testing.T) {
	b := newBench(t)
	b.echo = true
	said := map[string]int{}
	const rounds = 6
	for i := range rounds {
		b.start()
		b.fail(fmt.Sprintf("203.0.113.%d", i+1), 5)
		if i%2 == 0 {
			b.fail(fmt.Sprintf("198.51.100.%d", i+1), 4)
		}
		b.until("all bans", func(ctx context.Context) bool { return len(b.banned(ctx)) == i+1 })
		for last := fmt.Sprintf("203.0.113.%d/32", i+1); said[last] == 0; {
			said[b.told(audit.KindBan)[audit.FieldPrefix]]++
		}
		b.kill()
		b.settle()
	}
	b.start()
	b.until("all bans", func(ctx context.Context) bool { return len(b.banned(ctx)) == rounds })
	b.stop()
	b.settle()
	for _, m := range b.all() {
		if m["MESSAGE_ID"] == audit.KindBan.ID() {
			said[m[audit.FieldPrefix]]++
		}
	}
	for p, n := range said {
		if n != 1 {
			t.Errorf("%s was announced %d times", p, n)
		}
	}
	if len(said) != rounds {
		t.Errorf("announced: %v", said)
	}
}

// TestCrashLoopAtFirst: a daemon that has been killed again and again since its first start, for longer than a window, continues from that
// start: its state holds the time, though no position in the journal yet.
func TestCrashLoopAtFirst(t *testing.T) {
	b := newBench(t)
	b.start()
	b.kill()
	b.ago.Store(int64(20 * time.Minute))
	b.fail("203.0.113.1", 5)
	first := time.Now().Add(-30 * time.Minute)
	if err := os.Chtimes(filepath.Join(b.state, stateName), first, first); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.awaitBan("203.0.113.1/32")
}

// TestMissingState: a missing state file is rebuilt from the audit trail. A first start is not mistaken for that.
func TestMissingState(t *testing.T) {
	b := newBench(t)
	b.echo = true
	ctx := context.Background()
	b.start()
	if s := b.status(); len(s.Problems) != 0 {
		t.Errorf("first start: %v", s)
	}
	b.did(b.client.Ban(ctx, control.BanRequest{Prefixes: []string{"198.51.100.1", "198.51.100.2"}, Duration: "1h"}))
	b.did(b.client.Unban(ctx, "198.51.100.2", "", false))
	b.did(b.client.Allow(ctx, control.AllowRequest{Prefix: "192.0.2.0/24", Comment: "friends"}))
	b.stop()
	b.settle()
	path := filepath.Join(b.state, stateName)
	for range 2 { // the second time after it was killed before it saved anything else
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		b.start()
		b.kill()
		b.start()
		if m := b.banned(ctx); len(m) != 1 || m["198.51.100.1/32"].By == "" {
			t.Errorf("banned: %v", m)
		}
		if w, err := b.client.AllowWhy(ctx, "192.0.2.7"); err != nil || !w.Allowed {
			t.Errorf("allowed: %+v, %v", w, err)
		}
		b.kill()
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	b.start()
	s, err := b.client.Status(ctx)
	if err != nil || len(s.Problems) != 1 || s.Problems[0].Source != "state" || !strings.Contains(s.Problems[0].Text, path+" was missing; rebuilt 1 ban") {
		t.Errorf("status: %+v, %v", s, err)
	}
}

// TestRecoveryKilled kills the daemon at each step of replacing a damaged state: neither the damaged file nor the rebuilt state is lost.
func TestRecoveryKilled(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("needs strace")
	}
	b := newBench(t)
	b.echo = true
	ctx := context.Background()
	b.start()
	b.did(b.client.Ban(ctx, control.BanRequest{Prefixes: []string{"198.51.100.1"}, Duration: "1h"}))
	b.stop()
	b.settle()
	path := filepath.Join(b.state, stateName)
	damaged := []byte("nothing that can be read")
	for _, step := range []struct{ path, call string }{
		{path, "openat"}, {path + ".new", "openat"}, {path + ".new", "write"}, {path + ".new", "fsync"}, {path, "linkat"}, {path, "renameat2"}, {b.state, "fsync"},
	} {
		for _, f := range b.stateFiles() {
			os.Remove(f)
		}
		if err := os.WriteFile(path, damaged, 0o640); err != nil {
			t.Fatal(err)
		}
		b.before = []string{"strace", "-f", "-qq", "-o", "/dev/null", "-P", step.path, "-e", "trace=" + step.call,
			"-e", "inject=" + step.call + ":signal=KILL"}
		b.launch()
		var pid int
		for died := false; pid == 0 && !died; {
			if s, err := b.client.Status(ctx); err == nil {
				pid = s.PID
				syscall.Kill(pid, syscall.SIGKILL)
				<-b.exited
			} else {
				select {
				case <-b.exited:
					died = true
				default:
				}
			}
		}
		b.cmd = nil
		if pid != 0 {
			t.Errorf("%v was not flushed", step)
		}
		b.before = nil
		b.start()
		if m := b.banned(ctx); len(m) != 1 {
			t.Errorf("killed at %v: banned %v", step, m)
		}
		b.kill()
		found := 0
		for _, f := range b.stateFiles() {
			if data, err := os.ReadFile(f); err == nil && string(data) == string(damaged) {
				found++
			}
		}
		if found != 1 {
			t.Errorf("killed at %v: the damaged file is there %d times: %q", step, found, b.stateFiles())
		}
	}
}

func (b *bench) stateFiles() []string {
	l, err := filepath.Glob(filepath.Join(b.state, "*"))
	if err != nil {
		b.t.Fatal(err)
	}
	return l
}

// TestByHandOnAFullDisk: commands whose result could not be saved are in the audit trail and still apply after a restart.
func TestByHandOnAFullDisk(t *testing.T) {
	b := newBench(t)
	b.echo = true
	ctx := context.Background()
	b.start()
	b.fail("203.0.113.1", 5)
	b.awaitBan("203.0.113.1/32")
	b.did(b.client.Ban(ctx, control.BanRequest{Prefixes: []string{"198.51.100.1", "198.51.100.2"}, Duration: "1h"}))
	// Nothing can be saved from now on: a folder is in the place of the new file.
	full := filepath.Join(b.state, stateName+".new")
	if err := os.Mkdir(full, 0o755); err != nil {
		t.Fatal(err)
	}
	refused := func(err error) {
		t.Helper()
		var e *control.Error
		if !errors.As(err, &e) || !strings.Contains(e.Message, "cannot be saved") {
			t.Errorf("answer: %v", err)
		}
	}
	_, err := b.client.Ban(ctx, control.BanRequest{Prefixes: []string{"198.51.100.3"}, Duration: "1h"})
	refused(err)
	_, err = b.client.Unban(ctx, "198.51.100.2", "", false)
	refused(err)
	_, err = b.client.Unban(ctx, "203.0.113.1", "", false)
	refused(err)
	_, err = b.client.Allow(ctx, control.AllowRequest{Prefix: "192.0.2.0/24"})
	refused(err)
	s, err := b.client.Status(ctx)
	if err != nil || len(s.Problems) != 1 || s.Problems[0].Source != "state file" {
		t.Errorf("status: %+v, %v", s, err)
	}
	b.kill()
	b.settle()
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b.start()
		b.fail("203.0.113.2", 5) // once this one is judged, so is everything read again before it
		b.awaitBan("203.0.113.2/32")
		m := b.banned(ctx)
		if m["198.51.100.1/32"].By == "" || m["198.51.100.3/32"].By == "" || len(m) != 3 {
			t.Errorf("banned: %v", m)
		}
		if w, err := b.client.AllowWhy(ctx, "192.0.2.7"); err != nil || !w.Allowed {
			t.Errorf("allowed: %+v, %v", w, err)
		}
		b.kill()
		b.settle()
	}
}

// TestWhyOfEverything: the answer about a wide prefix is bounded, however many bans it contains, and stops when its caller leaves.
func TestWhyOfEverything(t *testing.T) {
	b := newBench(t)
	b.echo = true
	ctx := context.Background()
	b.start()
	b.fail("10.0.0.1", 5)
	b.awaitBan("10.0.0.1/32")
	const many = 10000
	for i := 0; i < many; {
		var ps []string
		for ; len(ps) < 2000; i++ {
			ps = append(ps, fmt.Sprintf("10.1.%d.%d", i/250, i%250))
		}
		b.did(b.client.Ban(ctx, control.BanRequest{Prefixes: ps, Duration: "1h"}))
	}
	b.settle()
	w, err := b.client.Why(ctx, "0.0.0.0/0")
	if err != nil || w.BansTotal != many+1 || len(w.Bans) != maxWhy || w.HistoryTotal != many+1 || len(w.History) != maxWhy {
		t.Fatalf("%d of %d bans, %d of %d histories, %v", len(w.Bans), w.BansTotal, len(w.History), w.HistoryTotal, err)
	}
	if x := w.Bans[0]; x.Prefix != "10.0.0.1/32" || len(x.Evidence) != 5 || x.Evidence[0].Message == "" {
		t.Errorf("the first: %+v", x)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if found := evidenceOf(over, journal.Dir(b.dir), w.Bans); len(found) != 0 {
		t.Errorf("read although nobody waits: %v", found)
	}
}

// hangingBus starts a bus that accepts connections and never answers, and returns the environment variable that names it.
func hangingBus(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "bus")
	bus, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	go func() {
		for {
			c, err := bus.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	return "DBUS_SYSTEM_BUS_ADDRESS=unix:path=" + path
}

// TestHangingBus: a bus that accepts connections and never answers prevents neither start nor stop, even if stopping has to remove the
// bans, and no decision is lost.
func TestHangingBus(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.configure("jails: {sshd: {}}\nfirewall: {keep_on_stop: false}\n")
	b.before = []string{"env", hangingBus(t)}
	b.args = []string{"--firewall", "firewalld"}
	b.launch()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second) // TimeoutStartSec= is 90 s
	defer cancel()
	for up := false; !up; {
		_, err := b.client.Status(ctx)
		if up = err == nil; !up {
			select {
			case err := <-b.exited:
				b.cmd = nil
				t.Fatalf("the daemon ended: %v", err)
			case <-ctx.Done():
				t.Fatal("the daemon does not start")
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	b.did(b.client.Ban(ctx, control.BanRequest{Prefixes: []string{"198.51.100.1"}, Duration: "1h"}))
	b.fail("203.0.113.1", 5)
	b.awaitBan("203.0.113.1/32")
	b.untilStatus("the firewall is told to hang", func(s *control.Status) bool { return !s.Firewall.OK })
	b.stop()
	saved, err := loadState(b.state)
	if err != nil || saved.lost() || saved.state.Len() != 2 {
		t.Errorf("saved: %+v, %v", saved, err)
	}
	if m := b.told(audit.KindStop); !strings.Contains(m["MESSAGE"], "not removed: the firewall failed") {
		t.Errorf("told: %q", m["MESSAGE"])
	}
}
