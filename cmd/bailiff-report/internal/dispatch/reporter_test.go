package dispatch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/journal"
	"bailiff/journal/audit"
	"bailiff/journal/journaltest"
	"bailiff/policy/config"
	"bailiff/units/configdir"
)

const daemonUID, reportUID = 987, 986

// bench is a dispatcher over a journal that a real writer appends to, with destinations that are programs.
type bench struct {
	t       *testing.T
	dir     string
	journal string
	conf    string
	in      io.Writer
	boot    string
	trail   *audit.Writer

	mu      sync.Mutex
	entries []map[string]string
	write   sync.Mutex // in and n
	n       int

	d      *Dispatcher
	cancel context.CancelFunc
	ended  chan error
	whois  func(ctx context.Context, addr netip.Addr) *report.Whois
}

func newBench(t *testing.T, conf string) *bench {
	t.Helper()
	journaltest.Need(t)
	b := &bench{t: t, dir: t.TempDir()}
	b.journal, b.conf = filepath.Join(b.dir, "journal"), filepath.Join(b.dir, "bailiff.yaml")
	for _, d := range []string{b.journal, filepath.Join(b.dir, "queue"), filepath.Join(b.dir, "out")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.configure(conf)
	b.boot = journaltest.Gen{BootSeed: 1}.Boot(0)
	b.in, _ = journaltest.Start(t, filepath.Join(b.journal, "system.journal"))
	path := filepath.Join(b.dir, "journald")
	go journaltest.Receive(journaltest.Journald(t, path), func(m map[string]string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.entries = append(b.entries, m)
	})
	b.trail = audit.Open(audit.Options{Socket: path, Identifier: Identifier})
	t.Cleanup(func() {
		if b.d != nil {
			b.kill()
		}
		b.trail.Close(context.Background())
	})
	b.entry(map[string]string{"MESSAGE_ID": audit.KindStart.ID(), "MESSAGE": "started"})
	b.readable("started", 1) // reading begins there
	return b
}

func (b *bench) configure(text string) {
	b.t.Helper()
	if err := os.WriteFile(b.conf, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// told waits for an audit entry of a kind whose message holds a text.
func (b *bench) told(k audit.Kind, text string) map[string]string {
	b.t.Helper()
	var found map[string]string
	b.until("audit entry "+k.String()+" with "+text, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, m := range b.entries {
			if (k.ID() == "" || m["MESSAGE_ID"] == k.ID()) && strings.Contains(m["MESSAGE"], text) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.t.Fatalf("in vain: %s; audit trail: %v", what, b.entries)
		}
		time.Sleep(5 * time.Millisecond) // between two checks of another process
	}
}

// entry appends an entry of the daemon or, with other fields, of another program, and returns its time.
func (b *bench) entry(fields map[string]string) time.Time {
	b.t.Helper()
	b.write.Lock()
	defer b.write.Unlock()
	b.n++
	now := time.Now()
	all := map[string]string{"_UID": fmt.Sprint(daemonUID), "_SYSTEMD_UNIT": audit.Unit, "_TRANSPORT": "journal", "_HOSTNAME": "mail.example.net", "_PID": "77"}
	for k, v := range fields {
		all[k] = v
	}
	out := fmt.Appendf(nil, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%s\n", now.UnixMicro(), 1_000_000+b.n, b.boot)
	for k, v := range all {
		out = journaltest.Field(out, k, []byte(v))
	}
	if _, err := b.in.Write(append(out, '\n')); err != nil {
		b.t.Fatal(err)
	}
	return now
}

// written returns the number of entries so far, as a new unique number.
func (b *bench) written() int {
	b.write.Lock()
	defer b.write.Unlock()
	return b.n
}

// failures appends failed logins and returns their cursors once they can be read.
func (b *bench) failures(addr string, n int) (cursors []string) {
	b.t.Helper()
	mark := fmt.Sprintf("port %d ssh2", 40000+b.written())
	for range n {
		b.entry(map[string]string{"_UID": "0", "_SYSTEMD_UNIT": "ssh.service", "SYSLOG_IDENTIFIER": "sshd", "_TRANSPORT": "syslog",
			"MESSAGE": "Failed password for invalid user hunter2 from " + addr + " " + mark})
	}
	return b.readable(mark, n)
}

// readable waits until n entries whose message contains a text can be read, and returns their cursors.
func (b *bench) readable(text string, n int) (cursors []string) {
	b.t.Helper()
	b.until("in the journal: "+text, func() bool {
		cursors = nil
		j, err := journal.Open(journal.Dir(b.journal), journal.Options{Fields: []string{"MESSAGE"}})
		if err != nil {
			return false
		}
		defer j.Close()
		for j.Next() {
			if bytes.Contains(j.Entry().Field(0), []byte(text)) {
				cursors = append(cursors, j.Entry().Cursor.String())
			}
		}
		return len(cursors) == n
	})
	return cursors
}

// ban appends a ban, as the daemon writes it.
func (b *bench) ban(addr string, change ...func(*audit.BanEvent)) string {
	b.t.Helper()
	now := time.Now()
	p := netip.MustParseAddr(addr)
	ev := audit.BanEvent{Prefix: netip.PrefixFrom(p, p.BitLen()), Jail: "sshd", ID: fmt.Sprintf("%016x", 0xb000000+b.written()), First: now.Add(-time.Minute), Since: now, Until: now.Add(time.Hour), Failures: 5, Count: 1, Reason: "failures"}
	for _, c := range change {
		c(&ev)
	}
	kind := audit.KindBan
	b.event(ev, kind)
	return ev.ID
}

func (b *bench) event(ev audit.BanEvent, kind audit.Kind) {
	b.t.Helper()
	fields := map[string]string{"MESSAGE_ID": kind.ID()}
	e := ev.Entry(kind)
	fields["MESSAGE"] = e.Message
	for _, f := range e.Fields {
		if f.Name != audit.FieldAddress || fields[f.Name] == "" {
			fields[f.Name] = f.Value
		}
	}
	b.entry(fields)
}

// program is a destination that is a program: it gets the report on its standard input.
type program struct{ dir, name string }

func (p *program) Deliver(ctx context.Context, it *report.Item) (report.Receipt, error) {
	text, _ := p.Render(it)
	cmd := exec.CommandContext(ctx, "/bin/sh", filepath.Join(p.dir, p.name+".sh"), filepath.Join(p.dir, "out", p.name), it.Key)
	cmd.Stdin = bytes.NewReader(text)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("exit status %d: %s", exit.ExitCode(), out)
		switch exit.ExitCode() {
		case 65:
			return report.Receipt{}, &report.Refused{Err: err}
		case 78:
			return report.Receipt{}, &report.Refused{All: true, Err: err}
		case 76:
			return report.Receipt{}, &report.Retry{Quota: true, After: 100 * time.Millisecond, Err: err}
		}
		return report.Receipt{}, &report.Retry{Err: err}
	}
	return report.Receipt{Answer: strings.TrimSpace(string(out))}, err
}

func (p *program) Render(it *report.Item) ([]byte, error) {
	var w bytes.Buffer
	fmt.Fprintf(&w, "item %s\n", it.Key)
	for _, c := range it.Counts {
		fmt.Fprintf(&w, "count %q %s %d\n", c.Event, c.Jail, c.N)
	}
	for _, r := range it.Reports {
		if r.Event != "" {
			fmt.Fprintf(&w, "%s %q %s: %s\n", r.Event, r.Problem, r.Prefix, r.Text)
			continue
		}
		fmt.Fprintf(&w, "report %s %s %s lines=%d missing=%d\n", r.ID, r.Address, r.Jail, len(r.Lines), r.Missing)
		for _, l := range r.Lines {
			fmt.Fprintf(&w, "line %s %s\n", l.Source, l.Message)
		}
		for _, l := range r.Context {
			fmt.Fprintf(&w, "context %s\n", l.Message)
		}
		if r.Whois != nil {
			fmt.Fprintf(&w, "whois %s%s\n", r.Whois.Holder, r.Whois.Failed)
		}
	}
	return w.Bytes(), nil
}

// traced is a program whose deliveries leave a trace in the journal.
type traced struct{ program }

func (p *traced) Trace(it *report.Item) string { return "message-id=<" + it.Key + "@mail.example.net>" }

// take is the program that takes everything.
const take = `{ cat; echo end; } >>"$1"; echo taken`

func (b *bench) script(name, text string) {
	b.t.Helper()
	tmp := filepath.Join(b.dir, name+".new")
	if err := os.WriteFile(tmp, []byte(text), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(b.dir, name+".sh")); err != nil {
		b.t.Fatal(err)
	}
}

// out is what a destination got.
func (b *bench) out(name string) string {
	text, _ := os.ReadFile(filepath.Join(b.dir, "out", name))
	return string(text)
}

// items counts, by name, how often each item was delivered to a destination.
func (b *bench) items(name string) map[string]int {
	m := map[string]int{}
	for _, l := range strings.Split(b.out(name), "\n") {
		if k, ok := strings.CutPrefix(l, "item "); ok {
			m[k]++
		}
	}
	return m
}

func (b *bench) options() Options {
	o := optionsIn(b.dir, b.trail)
	env := o.Env
	o.Env = func(c *config.Config) (deliver.Env, error) {
		e, err := env(c)
		e.Lookup = b.whois
		return e, err
	}
	return o
}

// optionsIn returns the options of a dispatcher that has everything in one folder.
func optionsIn(dir string, trail *audit.Writer) Options {
	return Options{
		Dir: filepath.Join(dir, "queue"), Source: journal.Dir(filepath.Join(dir, "journal")), Daemon: []uint32{daemonUID}, Self: reportUID, Audit: trail,
		Load: func() (*config.Config, error) {
			var l configdir.Loader
			return l.LoadFile(filepath.Join(dir, "bailiff.yaml"))
		},
		New: func(d *config.Destination, _ deliver.Env) (deliver.Destination, error) {
			if d.Template == "/missing" {
				return nil, errors.New("/missing is not there")
			}
			p := program{dir, d.Name}
			if d.Type == config.TypeMail {
				return &traced{p}, nil
			}
			return &p, nil
		},
		Env: func(c *config.Config) (deliver.Env, error) {
			return deliver.Env{Config: &c.Report, Host: "mail.example.net", Now: time.Now}, nil
		},
		Pauses: Pauses{20 * time.Millisecond, 200 * time.Millisecond}, SettleFor: 2 * time.Second,
	}
}

func (b *bench) start() {
	b.t.Helper()
	b.run(b.options())
}

// run is start with options of the test's own.
func (b *bench) run(o Options) {
	b.t.Helper()
	d, err := New(o)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.d, b.cancel, b.ended = d, cancel, make(chan error, 1)
	go func() { b.ended <- d.Run(ctx) }()
}

// inside runs f in the dispatcher.
func (b *bench) inside(f func(d *Dispatcher)) {
	b.t.Helper()
	if err := b.d.call(context.Background(), func() { f(b.d) }); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) stop() {
	b.t.Helper()
	b.cancel()
	select {
	case err := <-b.ended:
		if err != nil {
			b.t.Errorf("run: %v", err)
		}
	case <-time.After(time.Minute):
		b.t.Fatal("it does not end")
	}
	b.d = nil
}

// kill ends deliveries under way, too.
func (b *bench) kill() {
	b.t.Helper()
	b.d.interrupt()
	b.stop()
}

func (b *bench) ask() *Dispatcher { return b.d }

// TestMain lets tests run a dispatcher as a process of its own, so that it can be killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("REPORT_TEST_DIR"); dir != "" {
		trail := audit.Open(audit.Options{Socket: filepath.Join(dir, "journald"), Identifier: Identifier})
		e, err := New(optionsIn(dir, trail))
		if err == nil {
			err = e.Run(context.Background())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// mailed writes what a destination got to the journal, as Postfix does, from now on.
func (b *bench) mailed(name string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		logged := 0
		for {
			lines := strings.SplitAfter(b.out(name), "\n")
			items := 0
			for _, l := range lines {
				key, ok := strings.CutPrefix(l, "item ")
				if !ok || !strings.HasSuffix(key, "\n") {
					continue
				}
				if items++; items > logged {
					b.entry(map[string]string{"_UID": "100", "_SYSTEMD_UNIT": "postfix.service", "SYSLOG_FACILITY": "2", "SYSLOG_IDENTIFIER": "postfix/cleanup", "_TRANSPORT": "syslog",
						"MESSAGE": "4F2A: message-id=<" + strings.TrimSpace(key) + "@mail.example.net>"})
					logged = items
				}
			}
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() { close(done); <-ended }
}

const execOne = "report: {retry_for: 1h, destinations: {one: {type: exec, command: [/bin/true]}}}\njails: {sshd: {}}\n"

func TestDelivers(t *testing.T) {
	b := newBench(t, execOne)
	b.script("one", take)
	b.start()
	cursors := b.failures("198.51.100.7", 3)
	id := b.ban("198.51.100.7", func(e *audit.BanEvent) {
		e.Evidence = append([]string{"s=00000000000000000000000000000001;i=1;b=00000000000000000000000000000001;m=1;t=1;x=1"}, cursors...)
	})
	m := b.told(audit.KindReported, "taken")
	if m[audit.FieldBanID] != id || m[audit.FieldDestination] != "one" || m[audit.FieldAddress] != "198.51.100.7" || m[audit.FieldReceipt] != "taken" || m["SYSLOG_IDENTIFIER"] != Identifier {
		t.Errorf("audit entry: %v", m)
	}
	out := b.out("one")
	want := fmt.Sprintf("item %s.one\nreport %s 198.51.100.7 sshd lines=3 missing=1\n", id, id)
	if !strings.HasPrefix(out, want) || strings.Count(out, "line 198.51.100.7 Failed password for invalid user hunter2 from 198.51.100.7") != 3 {
		t.Errorf("delivered:\n%s\nwant %s…", out, want)
	}
	// Entries that are not the daemon's are not bans.
	b.event(audit.BanEvent{Prefix: netip.MustParsePrefix("198.51.100.8/32"), Jail: "sshd", ID: "restored", Since: time.Now(), Until: time.Now(), Restored: true}, audit.KindBan)
	b.event(audit.BanEvent{Prefix: netip.MustParsePrefix("198.51.100.9/32"), Jail: "sshd", ID: "unreported", Since: time.Now(), Until: time.Now(), Unreported: true}, audit.KindBan)
	b.entry(map[string]string{"MESSAGE_ID": audit.KindBan.ID(), "_UID": "1000", audit.FieldPrefix: "198.51.100.9/32", audit.FieldJail: "sshd", audit.FieldBanID: "forged"})
	b.entry(map[string]string{"MESSAGE_ID": audit.KindBan.ID(), "_SYSTEMD_UNIT": "user@1000.service", audit.FieldPrefix: "198.51.100.9/32", audit.FieldJail: "sshd", audit.FieldBanID: "forged"})
	id2 := b.ban("2001:db8::7")
	b.told(audit.KindReported, "2001:db8::7")
	if got := b.items("one"); len(got) != 2 || got[id2+".one"] != 1 {
		t.Errorf("delivered %v", got)
	}
	b.stop()
	b.start() // nothing is done twice
	id3 := b.ban("198.51.100.10")
	b.told(audit.KindReported, "198.51.100.10")
	if got := b.items("one"); len(got) != 3 || got[id3+".one"] != 1 || got[id+".one"] != 1 {
		t.Errorf("delivered %v", got)
	}
}

// TestKilled: a process that is killed again and again, at any moment, loses no report, and sends none twice if the mail system's log shows
// it.
func TestKilled(t *testing.T) {
	b := newBench(t, "report: {retry_for: 1h, lookup: {rdap: false, whois: false, contacts: none}, destinations: {mail: {type: mail, to: [root]}, prog: {type: exec, command: [/bin/true]}}}\njails: {sshd: {}}\n")
	b.script("mail", take)
	b.script("prog", take)
	defer b.mailed("mail")()
	const bans, kills = 150, 12
	ids := make(chan string, bans)
	go func() {
		defer close(ids)
		for i := range bans {
			ids <- b.ban(fmt.Sprintf("198.51.%d.%d", 100+i/250, i%250+1))
			time.Sleep(15 * time.Millisecond) // an attack
		}
	}()
	var cmd *exec.Cmd
	stderr, err := os.Create(filepath.Join(b.dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	launch := func() {
		cmd = exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "REPORT_TEST_DIR="+b.dir)
		cmd.Stderr = stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range kills {
		launch()
		time.Sleep(time.Duration(60+37*i%200) * time.Millisecond) // at any moment
		cmd.Process.Kill()
		cmd.Wait()
	}
	launch()
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	var all []string
	for id := range ids {
		all = append(all, id)
	}
	b.until("all reports", func() bool { return len(b.items("mail")) >= bans && len(b.items("prog")) >= bans })
	again := 0
	mail, prog := b.items("mail"), b.items("prog")
	for _, id := range all {
		if n := mail[id+".mail"]; n != 1 {
			t.Errorf("mail about %s: %d times", id, n)
		}
		switch n := prog[id+".prog"]; {
		case n == 0:
			t.Errorf("program about %s: never", id)
		case n > 1:
			again += n - 1
		}
	}
	if again > kills {
		t.Errorf("%d reports to the program were repeated by %d kills", again, kills)
	}
	t.Logf("%d bans, %d kills: %d reports to the program were repeated", bans, kills, again)
	if text, err := os.ReadFile(stderr.Name()); err != nil || len(text) > 0 {
		t.Errorf("stderr: %s, %v", text, err)
	}
}

// TestTraced: a delivery that a crash interrupted is looked for in the journal, and not repeated while the mail system is down.
func TestTraced(t *testing.T) {
	b := newBench(t, "report: {retry_for: 1h, lookup: {rdap: false, whois: false, contacts: none}, destinations: {mail: {type: mail, to: [root]}}}\njails: {sshd: {}}\n")
	b.script("mail", take)
	cut := func(name string, known bool) string { // a delivery that was cut off, of a queue as a crash leaves it
		b.cutOffDelivery(name)
		if known {
			// Entries of users do not count, nor do our own.
			b.entry(map[string]string{"_UID": "1000", "SYSLOG_FACILITY": "2", "SYSLOG_IDENTIFIER": "postfix/cleanup", "MESSAGE": "message-id=<other.mail@mail.example.net>"})
			b.entry(map[string]string{"_UID": "100", "SYSLOG_FACILITY": "2", "SYSLOG_IDENTIFIER": "postfix/cleanup", "MESSAGE": "4F2A: message-id=<" + name + ".mail@mail.example.net>"})
		}
		return name + ".mail"
	}
	cut("found", true)
	b.start()
	b.told(audit.KindReported, "found in the journal")
	if out := b.out("mail"); out != "" {
		t.Errorf("delivered again: %s", out)
	}
	b.stop()

	key := cut("lost", false)
	b.entry(map[string]string{"_UID": "1000", "SYSLOG_FACILITY": "2", "SYSLOG_IDENTIFIER": "postfix/cleanup", "MESSAGE": "message-id=<" + key + "@mail.example.net>"})
	b.entry(map[string]string{"_UID": fmt.Sprint(reportUID), "SYSLOG_FACILITY": "2", "SYSLOG_IDENTIFIER": Identifier, "MESSAGE": "message-id=<" + key + "@mail.example.net>"})
	b.entry(map[string]string{"_UID": "0", "SYSLOG_FACILITY": "2", "SYSLOG_IDENTIFIER": "postfix/postdrop", "MESSAGE": "warning: unable to look up public/pickup"})
	b.start()
	id := b.ban("198.51.100.2") // others do not wait
	b.told(audit.KindReported, "ban of 198.51.100.2")
	if b.items("mail")[id+".mail"] != 1 {
		t.Errorf("the other was not delivered once: %v", b.items("mail"))
	}
	l, err := b.ask().Reports(context.Background(), "", 10)
	if err != nil || l.Total != 1 || l.Reports[0].State != "uncertain" || l.Reports[0].Item != key {
		t.Errorf("waiting: %+v, %v", l, err)
	}
	time.Sleep(2500 * time.Millisecond) // longer than SettleFor: the mail system is down
	if b.items("mail")[key] != 0 {
		t.Fatal("repeated while the mail system is down")
	}
	begin := b.entry(map[string]string{"_UID": "100", "SYSLOG_FACILITY": "2", "SYSLOG_IDENTIFIER": "postfix/qmgr", "MESSAGE": "4F2B: removed"})
	b.until("repeated", func() bool { return b.items("mail")[key] == 1 })
	if d := time.Since(begin); d < 2*time.Second {
		t.Errorf("repeated after %v", d)
	}
}

// cutOffDelivery leaves a queue as a crash in the middle of a delivery does.
func (b *bench) cutOffDelivery(name string) {
	b.t.Helper()
	q, err := openQueue(filepath.Join(b.dir, "queue"), time.Now)
	if err != nil {
		b.t.Fatal(err)
	}
	defer q.close()
	now := time.Now().UnixMicro()
	a := netip.MustParseAddr("198.51.100.1")
	body, err := json.Marshal(report.Report{ID: name, Address: a})
	if err != nil {
		b.t.Fatal(err)
	}
	q.write(kindReport, facts{Key: name, ID: name, Address: a, Jail: "sshd", Time: now, Since: now}, body)
	q.write(kindDelivery, recDelivery{Dest: "mail", Key: name + ".mail", State: waiting, Reports: []string{name}, Since: now, Time: now}, nil)
	q.write(kindDelivery, recDelivery{Dest: "mail", Key: name + ".mail", State: delivering, Time: now, Started: now, Attempts: 1}, nil)
	q.write(kindPosition, recPosition{Pos: position{Realtime: uint64(now)}}, nil)
	if err := q.commit(); err != nil {
		b.t.Fatal(err)
	}
}
