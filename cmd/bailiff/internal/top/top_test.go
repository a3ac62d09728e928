package top

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/sys/unix"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/cli/clitest"
	"bailiff/policy/diag"
	"bailiff/units/control"
)

// TestMain lets the tests run this program as "bailiff top", and as a view (showView).
func TestMain(m *testing.M) {
	if how := os.Getenv("TERM_TEST"); how != "" {
		showView(how)
		os.Exit(0)
	}
	if os.Args[0] != "bailiff" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(cli.Main(cli.NewEnv(ctx), []*cli.Command{Command()}, func([]string) string { return "" }, os.Args[1:]))
}

// watched answers a control server's status and events; this test calls nothing else.
type watched struct {
	control.Daemon
	events     chan control.Event
	bans, made atomic.Int64 // since the test began
}

func (w *watched) Status(context.Context) (*control.Status, error) {
	bans, made := int(w.bans.Load()), w.made.Load()
	return &control.Status{Version: "9.9", Bans: 7 + bans, BansTotal: 12 + uint64(made), Tracked: 3, Firewall: control.FirewallStatus{Backend: "ipset", OK: true},
		Jails: []control.JailStatus{{Name: "sshd", Failures: 100, Bans: 7}, {Name: "postfix"}}}, nil
}
func (w *watched) Events(context.Context, bool) (<-chan control.Event, error) { return w.events, nil }

// live is `bailiff top` on a terminal of its own, before a control server.
type live struct {
	*terminal
	*watched
	cmd    *exec.Cmd
	socket string
	server *control.Server
	before unix.Termios
}

// serveWatched runs a control server whose events the test makes.
func serveWatched(t *testing.T) (socket string, w *watched, s *control.Server) {
	t.Helper()
	socket, w = filepath.Join(t.TempDir(), "control"), &watched{events: make(chan control.Event, 10)}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s = control.NewServer(w, control.Options{})
	go s.Serve(ln)
	t.Cleanup(func() { s.Shutdown(context.Background()) })
	return socket, w, s
}

func newLive(t *testing.T, env ...string) *live {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root and members of group bailiff may ask a control server, and this test is not run by root")
	}
	l := &live{}
	l.socket, l.watched, l.server = serveWatched(t)
	l.terminal = openTerminal(t, 80, 24)
	l.before = l.Modes() // top changes them as soon as it runs
	l.cmd = exec.Command(os.Args[0], "top", "--socket", l.socket)
	l.cmd.Args[0] = "bailiff" // see TestMain
	l.cmd.Env = append(os.Environ(), append([]string{"TERM=xterm", "TZ=UTC"}, env...)...)
	l.cmd.Stdin, l.cmd.Stdout, l.cmd.Stderr = l.Line, l.Line, l.Line
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.cmd.Process.Kill() })
	return l
}

// frame is what stands on the screen: what was drawn last.
func (l *live) frame() []string {
	s := l.Shown()
	s = s[strings.LastIndex(s, "\x1b[H")+3:]
	var lines []string
	for _, x := range strings.Split(s, "\r\r\n") {
		lines = append(lines, strings.NewReplacer("\x1b[K", "", "\x1b[J", "").Replace(x))
	}
	return lines
}

func TestTop(t *testing.T) {
	l := newLive(t, "NO_COLOR=1")
	at := l.Await("q leaves", 0)
	f := strings.Join(l.frame(), "\n")
	for _, want := range []string{"bailiff 9.9 ", "ipset: bans are in effect; 3 prefixes tracked", "7 in effect, 12 made", "sshd                      0          100         7  -", "(none in the last minute)"} {
		if !strings.Contains(f, want) {
			t.Errorf("%q is not shown:\n%s", want, f)
		}
	}
	// Each failure shows at once, as does the ban it leads to. A hostile name does not reach the terminal.
	for i := range 5 {
		l.events <- control.Event{Kind: "failure", Time: time.Now(), Jail: "sshd", Pattern: "failed", Address: "192.0.2.7", Prefix: "192.0.2.7/32", Attempts: 1, Count: i + 1, MaxRetry: 5}
	}
	at = l.Await("5 of 5", at)
	until := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	l.bans.Add(2) // as the status shows it, if it is asked in between
	l.made.Add(2)
	l.events <- control.Event{Kind: "ban", Time: time.Now(), Jail: "sshd", ID: "1", Prefix: "192.0.2.7/32", Until: &until}
	l.events <- control.Event{Kind: "ban", Time: time.Now(), Jail: "e\x1b[31mvil", ID: "2", Prefix: "2001:db8::/64"}
	at = l.Await("2001:db8::/64", at)
	at = l.Await("q leaves", at)
	f = strings.Join(l.frame(), "\n")
	for _, want := range []string{"192.0.2.7 ", " banned ", "2030-01-02 03:04", `e\x1b[31mvil`, "forever", "9 in effect, 14 made", "5 in 10 s        5 in 1 min"} {
		if !strings.Contains(f, want) {
			t.Errorf("%q is not shown:\n%s", want, f)
		}
	}
	if shown := l.Shown(); strings.Contains(shown, "\x1b[31m") || strings.Contains(shown, "\x1b[1m") {
		t.Error("there is colour, though NO_COLOR is set, or text that was not cleaned")
	}
	l.bans.Add(-1)
	l.events <- control.Event{Kind: "unban", ID: "2", Jail: "e\x1b[31mvil", Prefix: "2001:db8::/64"}
	at = l.Await("8 in effect", at)

	// Another size: nothing is wider or higher than it.
	l.Resize(60, 16)
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		f, widest := l.frame(), 0
		for _, x := range f {
			widest = max(widest, utf8.RuneCountInString(x))
		}
		if len(f) == 16 && widest <= 60 && f[15] == "q leaves" {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("%d lines, %d columns:\n%s", len(f), widest, strings.Join(f, "\n"))
		}
	}
	// When the daemon goes away, that is shown, and it is found again.
	l.server.Shutdown(context.Background())
	at = l.Await("THE DAEMON IS NOT ANSWERING", at)
	os.Remove(l.socket)
	ln, err := net.Listen("unix", l.socket)
	if err != nil {
		t.Fatal(err)
	}
	again := control.NewServer(l.watched, control.Options{})
	go again.Serve(ln)
	defer again.Shutdown(context.Background())
	at = l.Await("bans are in effect", at)
	l.Type("q")
	if err := l.cmd.Wait(); err != nil {
		t.Error(err)
	}
	l.Await("\x1b[?25h\x1b[?1049l", at)
	if l.Modes() != l.before {
		t.Error("the terminal is not as it was")
	}
}

// TestTopIsKilled: signals, and the keys that send them, leave the terminal as it was.
func TestTopIsKilled(t *testing.T) {
	for name, end := range map[string]func(l *live){
		"SIGTERM": func(l *live) { l.cmd.Process.Signal(syscall.SIGTERM) },
		"SIGHUP":  func(l *live) { l.cmd.Process.Signal(syscall.SIGHUP) },
		"Ctrl-C":  func(l *live) { l.Type("\x03") },
		"Ctrl-\\": func(l *live) { l.Type("\x1c") },
	} {
		l := newLive(t)
		at := l.Await("q leaves", 0)
		end(l)
		if err := l.cmd.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		l.Await("\x1b[?25h\x1b[?1049l", at)
		if l.Modes() != l.before {
			t.Errorf("%s: the terminal is not as it was", name)
		}
	}
}

func TestTopWithoutTerminal(t *testing.T) {
	if _, said, status := clitest.Run(t, Command(), "top", "--socket", filepath.Join(t.TempDir(), "none")); status != cli.NotRunning || !strings.Contains(said, "is not running") {
		t.Errorf("%d: %s", status, said)
	}
	if os.Geteuid() != 0 {
		return
	}
	l := newLive(t)
	if _, said, status := clitest.Run(t, Command(), "top", "--socket", l.socket); status != cli.WrongUsage || !strings.Contains(said, "terminal; --json prints the events") {
		t.Errorf("%d: %s", status, said)
	}
	socket, w, _ := serveWatched(t)
	w.events <- control.Event{Kind: "ban", Prefix: "192.0.2.7/32"}
	close(w.events)
	out, said, status := clitest.Run(t, Command(), "top", "--json", "--socket", socket)
	if lines := strings.Split(out, "\n"); status != 1 || len(lines) != 3 || !strings.HasPrefix(lines[0], `{"kind":"status"`) || !strings.HasPrefix(lines[1], `{"kind":"ban"`) || !strings.Contains(said, "has stopped") {
		t.Errorf("%d: %s%s", status, out, said)
	}
}

// TestTopFits: whatever happens, at whatever size, no line is wider than the screen, and there are no more than it has.
func TestTopFits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	now := time.Date(2026, 11, 22, 23, 0, 0, 0, time.UTC)
	s := &control.Status{Version: "1.2-3-gabcdef", Firewall: control.FirewallStatus{Backend: "nftables", OK: true}}
	for i := range 30 {
		s.Jails = append(s.Jails, control.JailStatus{Name: fmt.Sprintf("a-jail-with-a-name-%d", i)})
	}
	v := newView(s, now)
	control1 := regexp.MustCompile(`[[:cntrl:]]`)
	for i := range 4000 {
		now = now.Add(time.Duration(r.IntN(300)) * time.Millisecond)
		e := control.Event{Kind: []string{"failure", "failure", "failure", "ban", "unban", "missed", "state", "extend"}[r.IntN(8)], Time: now, Jail: s.Jails[r.IntN(30)].Name,
			Prefix: fmt.Sprintf("2001:db8:%x:%x::/64", r.IntN(9999), r.IntN(9999)), Count: r.IntN(9999), MaxRetry: r.IntN(9999), Attempts: 1, Missed: 1, ID: fmt.Sprint(r.IntN(9))}
		v.take(&message{event: &e}, now)
		if i%7 != 0 {
			continue
		}
		w, h := 1+r.IntN(150), 1+r.IntN(60)
		l := v.draw(&cli.Env{}, w, h, now)
		if len(l) > h {
			t.Fatalf("%dx%d: %d lines", w, h, len(l))
		}
		for _, x := range l {
			if n := utf8.RuneCountInString(x); n > w || control1.MatchString(x) {
				t.Fatalf("%dx%d: %d columns: %q", w, h, n, x)
			}
		}
		if l := v.draw(&cli.Env{}, 80, 24, now); len(l) != 24 || l[23] != "q leaves   "+diag.Count(v.missed, "event")+" not shown one by one: too many" && v.missed > 0 {
			t.Fatalf("%d lines, the last %q", len(l), l[len(l)-1])
		}
	}
	if len(v.attacks) > maxAttacks || len(v.recent) > maxBans {
		t.Errorf("%d attacks, %d bans are kept", len(v.attacks), len(v.recent))
	}
	// A minute later nothing is left of what was "now", and the view sleeps longer.
	now = now.Add(61 * time.Second)
	if v.draw(&cli.Env{}, 80, 24, now); len(v.attacks) != 0 || v.pause(now) < 10*time.Second {
		t.Errorf("%d attacks, pause %v", len(v.attacks), v.pause(now))
	}
}

func TestTopRate(t *testing.T) {
	var r rate
	for i := range int64(200) {
		r.add(1000+i, 1)
	}
	if a, b := r.in(1199, 10), r.in(1199, 60); a != 10 || b != 60 {
		t.Errorf("%d, %d", a, b)
	}
	if a, b := r.in(1229, 10), r.in(1229, 60); a != 0 || b != 30 {
		t.Errorf("%d, %d", a, b)
	}
	r.add(100, 3) // the clock was set back: counted as now
	if n := r.in(1229, 60); n < 30 {
		t.Errorf("%d", n)
	}
	if n := r.in(5000, 60); n != 0 {
		t.Errorf("%d", n)
	}
}

// TestTopClock: a minute remains a minute if the clock is set back by an hour.
func TestTopClock(t *testing.T) {
	now := time.Now()
	v := newView(&control.Status{Jails: []control.JailStatus{{Name: "sshd"}}}, now)
	for i := range 180 {
		now = now.Add(time.Second)
		prefix := "192.0.2.8/32"
		if i < 30 {
			prefix = "192.0.2.7/32"
		} else if i == 30 {
			now = setBack(t, now, time.Hour)
		}
		v.take(&message{event: &control.Event{Kind: "failure", Time: now, Jail: "sshd", Prefix: prefix, Attempts: 1, Count: 1, MaxRetry: 5}}, now)
	}
	f := strings.Join(v.draw(&cli.Env{}, 80, 24, now), "\n")
	if !strings.Contains(f, "10 in 10 s       60 in 1 min") || strings.Contains(f, "192.0.2.7") || len(v.attacks) != 1 {
		t.Errorf("%d attacks:\n%s", len(v.attacks), f)
	}
	now = now.Add(window * time.Second)
	if v.draw(&cli.Env{}, 80, 24, now); len(v.attacks) != 0 || v.pause(now) < 10*time.Second {
		t.Errorf("%d attacks, pause %v", len(v.attacks), v.pause(now))
	}
}

// setBack returns the time that time.Now returns if the clock is set back by d, whole seconds: its monotonic part stays. Package time
// has no function for that; the layout of a Time is checked.
func setBack(t *testing.T, now time.Time, d time.Duration) time.Time {
	t.Helper()
	back := now
	(*struct {
		wall uint64 // the seconds begin at bit 30
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&back)).wall -= uint64(d/time.Second) << 30
	if back.Unix() != now.Add(-d).Unix() || back.Sub(now) != 0 {
		t.Fatalf("package time has another layout: %v became %v", now, back)
	}
	return back
}
