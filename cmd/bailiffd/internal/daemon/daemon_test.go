package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bailiff/cmd/internal/geo"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/journaltest"
	"bailiff/units/control"
)

// TestMain lets tests run the daemon as a process of its own, which they can kill.
func TestMain(m *testing.M) {
	journaltest.Journalctl()
	if os.Getenv("BAILIFFD_TEST_MAIN") == "1" {
		runtime.MemProfileRate = 0                               // the linker does the same in bailiffd, which makes no profiles
		geo.Folders = []string{os.Getenv("BAILIFFD_TEST_GEOIP")} // never those of this machine
		os.Exit(Main(os.Args[1:], os.Stderr))
	}
	os.Exit(m.Run())
}

// bench is a daemon with a journal of its own, to which a real writer appends.
type bench struct {
	t                        *testing.T
	dir, state, socket, conf string
	in                       io.Writer
	cmd                      *exec.Cmd
	stderr                   *bytes.Buffer
	client                   *control.Client
	boot                     string
	pid                      int
	audit                    *net.UnixConn // in journald's place
	entries                  chan map[string]string
	echo                     bool // audit entries go into the journal, as journald does it
	marks                    int
	ago                      atomic.Int64 // how long ago entries are written, a time.Duration
	writing                  sync.Mutex
	exited                   chan error
	args                     []string // more of the daemon's
	env                      []string // likewise
	steady                   bool     // entries have the machine's monotonic time, and are of the running boot for the daemon
	apart                    bool     // the daemon is in a network namespace of its own
	before                   []string // a program and its arguments that run the daemon, under its real name
}

func newBench(t *testing.T) *bench {
	t.Helper()
	journaltest.Need(t)
	dir := t.TempDir()
	b := &bench{t: t, dir: filepath.Join(dir, "journal"), state: filepath.Join(dir, "state"), socket: filepath.Join(dir, "control"), conf: filepath.Join(dir, "bailiff.yaml")}
	for _, d := range []string{b.dir, b.state} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.configure("jails: {sshd: {}}\n")
	b.boot = journaltest.Gen{BootSeed: 1}.Boot(0)
	b.in, _ = journaltest.Start(t, filepath.Join(b.dir, "system.journal"))
	t.Cleanup(func() {
		b.kill()
		if t.Failed() && b.stderr != nil {
			t.Logf("stderr:\n%s", b.stderr)
		}
	})
	b.client = control.Dial(b.socket)
	b.audit, b.entries = journaltest.Journald(t, filepath.Join(dir, "journald")), make(chan map[string]string, 1<<15)
	go journaltest.Receive(b.audit, func(m map[string]string) {
		if b.echo {
			b.keepAudit(m)
		}
		if m["TEST_MARK"] == "" {
			b.entries <- m
		}
	})
	return b
}

// told waits for an audit entry of a kind.
func (b *bench) told(k audit.Kind) map[string]string {
	b.t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case m := <-b.entries:
			if m["MESSAGE_ID"] == k.ID() {
				return m
			}
		case <-limit:
			b.t.Fatalf("no audit entry of kind %v", k)
		}
	}
}

func (b *bench) configure(text string) {
	if err := os.WriteFile(b.conf, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// reload gives the running daemon another configuration.
func (b *bench) reload(text string) {
	b.t.Helper()
	b.configure(text)
	b.did(b.client.Reload(b.t.Context()))
}

// did ends the test if a call failed.
func (b *bench) did(_ any, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) status() *control.Status {
	b.t.Helper()
	s, err := b.client.Status(b.t.Context())
	b.did(s, err)
	return s
}

// start runs the daemon and waits until it answers.
func (b *bench) start() {
	b.t.Helper()
	b.launch()
	b.untilStatus("the daemon answers", func(*control.Status) bool { return true })
}

func (b *bench) launch() {
	b.t.Helper()
	b.stderr = &bytes.Buffer{}
	b.cmd = exec.Command(os.Args[0], "--config", b.conf, "--state", b.state, "--socket", b.socket, "--journal", b.dir, "--firewall", "dryrun", "--audit", b.audit.LocalAddr().String())
	b.cmd.Args = append(b.cmd.Args, b.args...)
	if b.before != nil {
		name := filepath.Join(b.t.TempDir(), "bailiffd")
		program, err := os.Executable()
		if err := errors.Join(err, os.Symlink(program, name)); err != nil {
			b.t.Fatal(err)
		}
		args := append(slices.Clone(b.before[1:]), name)
		b.cmd = exec.Command(b.before[0], append(args, b.cmd.Args[1:]...)...)
	}
	b.cmd.Env = append(append(os.Environ(), "BAILIFFD_TEST_MAIN=1"), b.env...)
	if b.steady {
		b.cmd.Env = append(b.cmd.Env, journal.BootVariable+"="+b.boot)
	}
	b.cmd.Stderr = b.stderr
	if b.apart {
		b.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.exited = make(chan error, 1)
	go func(c *exec.Cmd, ch chan error) { ch <- c.Wait() }(b.cmd, b.exited)
}

func (b *bench) kill() {
	if b.cmd != nil {
		b.cmd.Process.Kill()
		<-b.exited
		b.cmd = nil
	}
}

func (b *bench) stop() {
	b.t.Helper()
	b.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-b.exited:
		b.cmd = nil
		if err != nil {
			b.t.Fatalf("stop: %v", err)
		}
	case <-time.After(time.Minute):
		b.t.Fatal("the daemon does not stop")
	}
}

// until waits for a condition, for a minute at most.
func (b *bench) until(what string, ok func(context.Context) bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for !ok(ctx) {
		select {
		case <-ctx.Done():
			s, err := b.client.Status(context.Background())
			b.t.Fatalf("%s: not within a minute: %+v, %v", what, s, err)
		case err := <-b.exited:
			b.t.Fatalf("%s: the daemon ended: %v", what, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// fail writes n failed logins of an address to one account, each in a connection of its own.
func (b *bench) fail(addr string, n int) {
	b.t.Helper()
	b.failAs("of-"+addr, addr, n)
}

func (b *bench) failAs(user, addr string, n int) {
	b.t.Helper()
	var x []byte
	for range n {
		b.pid++
		x = b.entry(x, fmt.Sprintf("Failed password for %s from %s port %d ssh2", user, addr, 1024+b.pid%60000))
	}
	b.write(x)
}

func (b *bench) write(x []byte) {
	b.writing.Lock()
	defer b.writing.Unlock()
	if _, err := b.in.Write(x); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) entry(x []byte, message string) []byte {
	now, monotonic := b.clocks(time.Duration(b.ago.Load()))
	for _, f := range [][2]string{
		{"__REALTIME_TIMESTAMP", fmt.Sprint(now)}, {"__MONOTONIC_TIMESTAMP", fmt.Sprint(monotonic)}, {"_BOOT_ID", b.boot},
		{"_MACHINE_ID", b.boot}, {"_SYSTEMD_UNIT", "ssh.service"}, {"_SYSTEMD_SLICE", "system.slice"}, {"_UID", "0"}, {"_PID", fmt.Sprint(1000 + b.pid)},
		{"SYSLOG_IDENTIFIER", "sshd"}, {"PRIORITY", "6"}, {"MESSAGE", message},
	} {
		x = journaltest.Field(x, f[0], []byte(f[1]))
	}
	return append(x, '\n')
}

// clocks are the times of an entry that is written now, by a clock that is behind by ago.
func (b *bench) clocks(ago time.Duration) (realtime, mono int64) {
	realtime = time.Now().Add(-ago).UnixMicro()
	if b.steady {
		return realtime, monotonic().Microseconds()
	}
	return realtime, realtime - 1_600_000_000_000_000
}

// untilStatus waits for a status.
func (b *bench) untilStatus(what string, ok func(*control.Status) bool) {
	b.t.Helper()
	b.until(what, func(ctx context.Context) bool {
		s, err := b.client.Status(ctx)
		return err == nil && ok(s)
	})
}

func (b *bench) banned(ctx context.Context) map[string]control.Ban {
	l, err := b.client.Bans(ctx, control.BanQuery{})
	m := map[string]control.Ban{}
	if err == nil {
		for _, x := range l.Bans {
			m[x.Prefix] = x
		}
	}
	return m
}

func (b *bench) awaitBan(prefix string) control.Ban {
	b.t.Helper()
	var x control.Ban
	b.until("ban of "+prefix, func(ctx context.Context) bool {
		var ok bool
		x, ok = b.banned(ctx)[prefix]
		return ok
	})
	return x
}

func TestBanAndWhy(t *testing.T) {
	b := newBench(t)
	b.start()
	ctx := context.Background()
	b.fail("203.0.113.7", 4)
	b.fail("2001:db8::7", 5)
	six := b.awaitBan("2001:db8::/64")
	if six.Failures != 5 || six.Count != 1 || six.Until == nil || six.Until.Sub(six.Since) != 48*time.Hour {
		t.Errorf("ban: %+v", six)
	}
	if _, ok := b.banned(ctx)["203.0.113.7/32"]; ok {
		t.Error("banned after four failures")
	}
	w, err := b.client.Why(ctx, "203.0.113.7")
	if err != nil || w.State != "counted" || len(w.Counted) != 1 || len(w.Counted[0].Evidence) != 4 {
		t.Fatalf("why: %+v, %v", w, err)
	}
	if l := w.Counted[0].Evidence[3]; !strings.Contains(l.Message, "from 203.0.113.7 port") || l.Unit != "ssh.service" {
		t.Errorf("evidence: %+v", l)
	}
	if c := w.Counted[0]; c.Jail != "sshd" || c.Filter != "sshd" || c.Window != "normal" || c.Length != 600 || c.Count != 4 || c.MaxRetry != 5 || c.Missing != 1 ||
		c.Evidence[3].Pattern != "failed" || c.Evidence[3].Weight != 1 || time.Until(c.Until) > 10*time.Minute || time.Until(c.Until) < 9*time.Minute {
		t.Errorf("counted: %+v", c)
	}
	if w, err := b.client.Why(ctx, "2001:db8::ffff"); err != nil || w.State != "banned" || len(w.Bans) != 1 || w.Bans[0].Prefix != "2001:db8::/64" {
		t.Errorf("why: %+v, %v", w, err)
	}
	b.fail("203.0.113.7", 1)
	b.awaitBan("203.0.113.7/32")
	if m := b.told(audit.KindBan); m[audit.FieldPrefix] != "2001:db8::/64" || m[audit.FieldBanID] != six.ID || m[audit.FieldJail] != "sshd" || m[audit.FieldFailures] != "5" {
		t.Errorf("audit entry: %v", m)
	}
	st, err := b.client.Status(ctx)
	if err != nil || st.Bans != 2 || st.BansTotal != 2 || st.Journal.Entries != 10 || !st.Firewall.OK || len(st.Problems) != 0 {
		t.Errorf("status: %+v, %v", st, err)
	}
}

func TestByHand(t *testing.T) {
	b := newBench(t)
	b.start()
	ctx := context.Background()
	bans, err := b.client.Ban(ctx, control.BanRequest{Prefixes: []string{"198.51.100.9", "2001:db8:1::/48"}, Duration: "1h", Reason: "test"})
	if err != nil || len(bans) != 2 || bans[0].Prefix != "198.51.100.9/32" || bans[0].Reason != "test" || bans[0].By == "" {
		t.Fatalf("ban: %+v, %v", bans, err)
	}
	for _, bad := range []string{"127.0.0.1", "example.org", "0.0.0.0/0", "10.0.0.0/7"} {
		if _, err := b.client.Ban(ctx, control.BanRequest{Prefixes: []string{bad}}); err == nil {
			t.Errorf("%s was banned", bad)
		}
	}
	// A command is on disk before it is answered, so it survives kill -9.
	b.kill()
	b.start()
	if m := b.banned(ctx); len(m) != 2 {
		t.Fatalf("after kill -9: %v", m)
	}
	// An allow entry lifts what it covers, and is kept as well.
	r, err := b.client.Allow(ctx, control.AllowRequest{Prefix: "198.51.100.0/24", Comment: "friends"})
	if err != nil || r.Lifted != 1 {
		t.Fatalf("allow: %+v, %v", r, err)
	}
	b.kill()
	b.start()
	b.fail("198.51.100.9", 6)
	b.fail("203.0.113.1", 5)
	b.awaitBan("203.0.113.1/32")
	if _, ok := b.banned(ctx)["198.51.100.9/32"]; ok {
		t.Error("an allowed address was banned")
	}
	if _, err := b.client.Disallow(ctx, "198.51.100.0/24"); err != nil {
		t.Error(err)
	}
	n, err := b.client.Unban(ctx, "2001:db8:1::5", "", false)
	if err != nil || n.Removed != 1 {
		t.Errorf("unban: %+v, %v", n, err)
	}
	n, err = b.client.Unban(ctx, "", "", true)
	if err != nil || n.Removed != 1 {
		t.Errorf("unban all: %+v, %v", n, err)
	}
}

// TestNothingTwice kills the daemon between failures: none is lost, none counts twice, and what an operator forgave stays forgiven.
func TestNothingTwice(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	b.start()
	b.fail("203.0.113.1", 2)
	b.untilStatus("two entries", func(s *control.Status) bool { return s.Journal.Entries == 2 })
	b.did(b.client.Ban(ctx, control.BanRequest{Prefixes: []string{"198.51.100.1"}})) // saves cursor 2
	b.fail("203.0.113.1", 1)                                                         // after the saved cursor
	b.kill()
	b.fail("203.0.113.1", 1) // while the daemon is not running
	b.start()
	b.until("four failures", func(ctx context.Context) bool {
		w, err := b.client.Why(ctx, "203.0.113.1")
		return err == nil && len(w.Counted) == 1 && w.Counted[0].Failures >= 4
	})
	w, err := b.client.Why(ctx, "203.0.113.1")
	if err != nil || w.Counted[0].Failures != 4 || w.State != "counted" {
		t.Fatalf("why: %+v, %v", w, err)
	}
	b.fail("203.0.113.1", 1)
	first := b.awaitBan("203.0.113.1/32")
	b.kill() // before the state file is written: the ban is decided again, and is the same one
	b.start()
	if again := b.awaitBan("203.0.113.1/32"); again.ID != first.ID || again.Count != 1 {
		t.Errorf("after a crash: %+v, before: %+v", again, first)
	}
	if n, err := b.client.Unban(ctx, "203.0.113.1", "", false); err != nil || n.Removed != 1 {
		t.Fatalf("unban: %v, %v", n, err)
	}
	b.kill()
	b.start()
	b.fail("203.0.113.2", 5)
	b.awaitBan("203.0.113.2/32")
	if _, ok := b.banned(ctx)["203.0.113.1/32"]; ok {
		t.Error("banned again for what was forgiven")
	}
}

// TestCountsOutliveTheJournal: failures and attacked accounts from before a stop count although the journal of that time is gone.
func TestCountsOutliveTheJournal(t *testing.T) {
	b := newBench(t)
	b.start()
	b.fail("203.0.113.1", 4)
	for i := range 9 {
		b.failAs("root", fmt.Sprintf("198.51.%d.1", i), 2)
	}
	b.untilStatus("all entries", func(s *control.Status) bool { return s.Journal.Entries == 22 })
	b.stop()
	state := b.state
	b = newBench(t)
	b.state = state
	b.start()
	b.fail("203.0.113.1", 1)
	if first := b.awaitBan("203.0.113.1/32"); first.Failures != 5 || first.Reason != "failures" {
		t.Errorf("%+v", first)
	}
	if m := b.told(audit.KindBan); m[audit.FieldPrefix] != "203.0.113.1/32" || m[audit.FieldReason] != "failures" || m[audit.FieldFailures] != "5" {
		t.Errorf("the audit trail says %v", m)
	}
	b.failAs("root", "198.51.9.1", 1) // the tenth
	b.failAs("root", "198.51.3.1", 1)
	b.awaitBan("198.51.3.1/32")
	if m := b.told(audit.KindBan); m[audit.FieldPrefix] != "198.51.3.1/32" || m[audit.FieldReason] != "account" || m[audit.FieldFailures] != "3" {
		t.Errorf("the audit trail says %v", m)
	}
	s, err := b.client.Status(context.Background())
	if err != nil || s.Spread.Attacked != 1 || s.Bans != 2 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestReloadKeepsCounting(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	b.start()
	b.fail("203.0.113.1", 3)
	b.untilStatus("three entries", func(s *control.Status) bool { return s.Journal.Entries == 3 })
	b.configure("jails: {sshd: {max_retry: ten}}\n")
	_, err := b.client.Reload(ctx)
	if err == nil || !strings.Contains(err.Error(), "bailiff.yaml:1:27") {
		t.Errorf("a bad configuration: %v", err)
	}
	if s := b.status(); s.ConfigErr == "" || len(s.Problems) == 0 {
		t.Errorf("status after a refused reload: %+v, %v", s, err)
	}
	b.reload("jails: {sshd: {max_retry: 4, ports: [ssh]}}\n")
	b.fail("203.0.113.1", 1)
	if x := b.awaitBan("203.0.113.1/32"); x.Failures != 4 {
		t.Errorf("ban: %+v", x)
	}
	if s := b.status(); s.ConfigErr != "" || s.Reloaded == nil || !s.Firewall.OK {
		t.Errorf("status: %+v, %v", s, err)
	}
}

func TestDamagedState(t *testing.T) {
	b := newBench(t)
	b.start()
	b.fail("203.0.113.1", 5)
	b.awaitBan("203.0.113.1/32")
	b.stop()
	path := filepath.Join(b.state, stateName)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o640); err != nil {
		t.Fatal(err)
	}
	b.start()
	s, err := b.client.Status(context.Background())
	if err != nil || len(s.Problems) != 1 || !strings.Contains(s.Problems[0].Text, path+".damaged-") {
		t.Errorf("status: %+v, %v", s, err)
	}
	aside, _ := filepath.Glob(path + ".damaged-*")
	if len(aside) != 1 {
		t.Fatalf("set aside: %q", aside)
	}
	if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, data) {
		t.Errorf("what was set aside differs: %v", err)
	}
	b.awaitBan("203.0.113.1/32") // the failures are still in their window, and the journal is the record
}

// keepAudit writes an audit entry of the daemon into the journal, as journald would.
func (b *bench) keepAudit(m map[string]string) {
	b.t.Helper()
	ago := time.Duration(0)
	if b.steady {
		ago = time.Duration(b.ago.Load())
	}
	now, monotonic := b.clocks(ago)
	x := fmt.Appendf(nil, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%s\n_SYSTEMD_UNIT=%s\n_UID=%d\n", now, monotonic, b.boot, audit.Unit, os.Getuid())
	for k, v := range m {
		x = journaltest.Field(x, k, []byte(v))
	}
	b.write(append(x, '\n'))
}

// TestNewerSystemd: a journal with a flag that our reader does not know, as a future systemd may write it, is read through journalctl
// everywhere: for attacks, for what was announced before a crash, for the lines of why, and for rebuilding a lost state file.
func TestNewerSystemd(t *testing.T) {
	b := newBench(t)
	b.start()
	b.fail("203.0.113.1", 3)
	b.untilStatus("three entries", func(s *control.Status) bool { return s.Journal.Entries == 3 })
	b.stop()
	ctx := context.Background()

	// The daemon is killed after a ban that is in the audit trail, but not in the state file.
	b.start()
	b.fail("203.0.113.1", 2)
	ban := b.told(audit.KindBan)
	b.kill()
	evidence := strings.Split(ban[audit.FieldEvidence], "\n")
	b.keepAudit(ban)
	journaltest.Newer(t, filepath.Join(b.dir, "system.journal"))
	b.start()
	if x := b.awaitBan("203.0.113.1/32"); x.Failures != 5 {
		t.Errorf("ban: %+v", x)
	}
	w, err := b.client.Why(ctx, "203.0.113.1")
	if err != nil || len(w.Bans) != 1 || len(w.Bans[0].Evidence) != len(evidence) || !strings.Contains(w.Bans[0].Evidence[0].Message, "from 203.0.113.1 port") {
		t.Errorf("why: %+v, %v", w, err)
	}

	// It also follows the journal. This ban is the first that it announces: the other was announced before.
	b.fail("203.0.113.2", 5)
	b.awaitBan("203.0.113.2/32")
	second := b.told(audit.KindBan)
	if second[audit.FieldPrefix] != "203.0.113.2/32" {
		t.Errorf("announced again: %v", second)
	}
	b.keepAudit(second)
	s, err := b.client.Status(ctx)
	if err != nil || len(s.Journal.Problems) != 1 || !strings.Contains(s.Journal.Problems[0], "read through journalctl") {
		t.Errorf("status: %+v, %v", s, err)
	}

	// A lost state file is rebuilt from the audit trail.
	b.stop()
	path := filepath.Join(b.state, stateName)
	if err := os.WriteFile(path, []byte("nothing"), 0o640); err != nil {
		t.Fatal(err)
	}
	b.start()
	s, err = b.client.Status(ctx)
	if err != nil || !strings.Contains(s.Problems.String(), "rebuilt 2 bans") {
		t.Errorf("status: %+v, %v", s, err)
	}
	if n := len(b.banned(ctx)); n != 2 {
		t.Errorf("%d bans", n)
	}
}

func TestExitStatus(t *testing.T) {
	b := newBench(t)
	b.configure("jails: {sshd: {max_retry: ten}}\n")
	b.launch()
	err := <-b.exited
	b.cmd = nil
	if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != exitNotConfigured || !strings.Contains(b.stderr.String(), "bailiff.yaml:1:27: jails.sshd.max_retry") {
		t.Errorf("bad configuration: %v\n%s", err, b.stderr)
	}
	var out bytes.Buffer
	if code := Main([]string{"--frob"}, &out); code != exitUsage {
		t.Errorf("bad option: %d", code)
	}
	if code := Main([]string{"now"}, &out); code != exitUsage {
		t.Errorf("argument: %d", code)
	}
}
