package exec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver/delivertest"
	"bailiff/cmd/bailiff-report/internal/deliver/webhook"
	"bailiff/policy/config"
)

// unit plays systemd: a server for each connection to a socket, with the programs of the configuration.
func unit(t *testing.T, conf *config.Report) string {
	t.Helper()
	return listen(t, func(c *net.UnixConn) {
		s := &Server{
			Load:    func() (*config.Report, error) { return conf, nil },
			Allowed: func(uid uint32) bool { return uid == uint32(os.Getuid()) },
			Env:     []string{"PATH=/usr/bin:/bin", "SECRET=none"},
		}
		s.Serve(context.Background(), c) // TestServe checks the errors of bad connections
	})
}

func listen(t *testing.T, serve func(*net.UnixConn)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "exec")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() { defer wg.Done(); serve(c) }()
		}
	}()
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return path
}

func program(script string, args ...string) *config.Destination {
	return &config.Destination{Name: "tell", Type: config.TypeExec, Enabled: true, Command: append([]string{"/bin/sh", "-c", script, "sh"}, args...), TimeLimit: 2 * time.Minute, Lines: 100}
}

func outcome(t *testing.T, d *config.Destination, socket string, attempt int) string {
	t.Helper()
	dest, err := New(d, delivertest.Env(t, "", ""))
	if err != nil {
		t.Fatal(err)
	}
	dest.(*destination).socket = socket
	item := delivertest.Item(delivertest.Report("198.51.100.7"))
	item.Attempt = attempt
	return delivertest.Outcome(dest.Deliver(t.Context(), item))
}

func TestPrograms(t *testing.T) {
	for _, c := range []struct {
		script  string
		attempt int
		want    string
	}{
		{"cat >/dev/null", 1, "ok: done"},
		{"exec </dev/null; echo told them; echo and more >&2", 1, "ok: told them and more"},
		{"exit 75", 99, "retry 0s: /bin/sh ended with status 75"},
		{"echo the router is away; exit 69", 99, "retry 0s: /bin/sh ended with status 69: the router is away"},
		{"exit 65", 1, "refused: /bin/sh ended with status 65"},
		{"exit 78", 1, "held: /bin/sh ended with status 78"},
		{"exit 1", 4, "retry 0s: /bin/sh ended with status 1"},
		{"exit 1", 5, "refused: /bin/sh ended with status 1; that was attempt 5"},
		{"exit 255", 1, "retry 0s: /bin/sh ended with status 255"},
		{"kill -SEGV $$", 1, "retry 0s: /bin/sh ended by a signal"},
		{"kill -SEGV $$", 5, "refused: /bin/sh was ended by a signal: segmentation fault"},
		{`printf 'a\033[31m\000\377\nb'; exit 75`, 1, "retry 0s: /bin/sh ended with status 75: a [31m ? b"},
		{"head -c 100000000 /dev/zero | tr '\\0' x", 1, "ok: " + strings.Repeat("x", 297) + "…"},
		{"sleep 20 & echo left a child; exit 75", 1, "retry 0s: /bin/sh ended with status 75: left a child"},
	} {
		t.Run(c.script, func(t *testing.T) {
			t.Parallel()
			d := program(c.script)
			got := outcome(t, d, unit(t, &config.Report{Destinations: []config.Destination{*d}}), c.attempt)
			if c.want = strings.Replace(c.want, "sh ended by", "sh was ended by", 1); !strings.HasPrefix(got, c.want) {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// The program gets the report unchanged, its arguments as configured, and an environment without secrets.
func TestInput(t *testing.T) {
	dir := t.TempDir()
	d := program(`cat >"$1/report"; env >"$1/env"; printf '%s\n' "$2" "$0" >"$1/args"; pwd >"$1/pwd"`, dir, "$(touch "+dir+"/shell); `id`")
	if got := outcome(t, d, unit(t, &config.Report{Destinations: []config.Destination{*d}}), 1); got != "ok: done" {
		t.Fatal(got)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var p webhook.Payload
	if err := json.Unmarshal([]byte(read("report")), &p); err != nil || p.Data.Reports[0].Address.String() != "198.51.100.7" || len(p.Data.Reports[0].Lines) != 5 {
		t.Errorf("%+v, %v", p, err)
	}
	if got := read("env"); !strings.Contains(got, "BAILIFF_DESTINATION=tell\n") || strings.Contains(got, "HOME=") {
		t.Error(got)
	}
	if got := read("args"); got != "$(touch "+dir+"/shell); `id`\nsh\n" || read("pwd") != "/\n" {
		t.Error(got)
	}
	if _, err := os.Stat(filepath.Join(dir, "shell")); err == nil {
		t.Error("a shell read the arguments")
	}
}

// At its time limit a program is ended, with everything that it started.
func TestTimeLimit(t *testing.T) {
	dir := t.TempDir()
	d := program(`sleep 1000 & echo $! >"$1/new"; mv "$1/new" "$1/child"; wait`, dir)
	d.TimeLimit = 3 * time.Second // a slow machine writes the file by then
	if got := outcome(t, d, unit(t, &config.Report{Destinations: []config.Destination{*d}}), 9); got != "retry 0s: /bin/sh was killed because it took longer than 3s" {
		t.Error(got)
	}
	b, err := os.ReadFile(filepath.Join(dir, "child"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); alive(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("its child %d lives", pid)
		}
	}
}

// alive says whether a process runs: one that only waits to be collected by init does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(b, []byte(") Z "))
}

func TestNotStarted(t *testing.T) {
	d := program("exit 0")
	missing := *d
	missing.Command = []string{"/nonexistent/program"}
	off, other := *d, *d
	off.Enabled = false
	other.Type = config.TypeWebhook
	for name, c := range map[string]struct {
		conf []config.Destination
		want string
	}{
		"missing": {[]config.Destination{missing}, "retry 0s: /bin/sh was not started: fork/exec /nonexistent/program: no such file or directory"},
		"unknown": {nil, `retry 0s: /bin/sh was not started: the configuration has no enabled destination "tell" of type exec`},
		"off":     {[]config.Destination{off}, `retry 0s: /bin/sh was not started: the configuration has no enabled destination "tell"`},
		"webhook": {[]config.Destination{other}, `retry 0s: /bin/sh was not started: the configuration has no enabled destination "tell"`},
	} {
		if got := outcome(t, d, unit(t, &config.Report{Destinations: c.conf}), 1); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
	broken := listen(t, func(c *net.UnixConn) {
		(&Server{Load: func() (*config.Report, error) { return nil, errors.New("bailiff.yaml:3: is wrong") }, Allowed: func(uint32) bool { return true }}).Serve(context.Background(), c)
	})
	if got := outcome(t, d, broken, 1); got != "retry 0s: /bin/sh was not started: bailiff.yaml:3: is wrong" {
		t.Error(got)
	}
}

func TestNobodyAnswers(t *testing.T) {
	d := program("exit 0")
	socket := filepath.Join(t.TempDir(), "exec")
	if got := outcome(t, d, socket, 1); got != "retry 0s: "+socket+": nothing listens on it; systemctl enable --now bailiff-report-exec.socket" {
		t.Error(got)
	}
	if got := outcome(t, d, listen(t, func(c *net.UnixConn) { io.Copy(io.Discard, c); c.Close() }), 1); !strings.HasSuffix(got, "the program's unit ended without an answer; journalctl -u 'bailiff-report-exec@*' may show why") {
		t.Error(got)
	}
	if got := outcome(t, d, listen(t, func(c *net.UnixConn) { c.Close() }), 1); !strings.HasPrefix(got, "retry 0s: ") {
		t.Error(got)
	}
	if got := outcome(t, d, listen(t, func(c *net.UnixConn) { io.WriteString(c, "not JSON"); c.Close() }), 1); !strings.HasPrefix(got, "retry 0s: ") {
		t.Error(got)
	}
	dest, err := New(d, delivertest.Env(t, "", ""))
	if err != nil {
		t.Fatal(err)
	}
	dest.(*destination).socket = listen(t, func(c *net.UnixConn) { io.Copy(io.Discard, c); <-t.Context().Done(); c.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := dest.Deliver(ctx, delivertest.Item(delivertest.Report("198.51.100.7"))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// Whatever a connection sends, a program runs only for a complete request from a user who may ask.
func TestServe(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "ran")
	d := program(`touch "$1"`, mark)
	var allowed atomic.Bool
	allowed.Store(true)
	var served []error
	var mu sync.Mutex
	socket := listen(t, func(c *net.UnixConn) {
		s := &Server{Load: func() (*config.Report, error) { return &config.Report{Destinations: []config.Destination{*d}}, nil }, Allowed: func(uint32) bool { return allowed.Load() }, Env: []string{"PATH=/usr/bin:/bin"}}
		err := s.Serve(context.Background(), c)
		mu.Lock()
		defer mu.Unlock()
		served = append(served, err)
	})
	ask := func(text string) string {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, text) // refused ones are not read to the end
		c.(*net.UnixConn).CloseWrite()
		b, err := io.ReadAll(c)
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
		return string(b)
	}
	for text, want := range map[string]string{
		"":                                    "the request cannot be read: EOF",
		"{\"destination\":\"tell\"}":          "the request cannot be read: EOF",
		"tell\n{}":                            "the request cannot be read: invalid",
		strings.Repeat("x", 5000):             "the request cannot be read: bufio: buffer full",
		"{\"destination\":\"tell\"}\n":        "the report is not JSON",
		"{\"destination\":\"tell\"}\n{\"a\":": "the report is not JSON",
		"{\"destination\":\"tell\"}\n{}{}":    "the report is not JSON",
		"{\"destination\":\"../tell\"}\n{}":   "no enabled destination",
		"{\"destination\":\"tell\"}\n\"" + strings.Repeat("x", maxReport) + "\"": "the report has more than 16777216 bytes",
	} {
		if got := ask(text); got != "" && !strings.Contains(got, want) {
			t.Errorf("%.60q: %s, want %s", text, got, want)
		}
	}
	if os.Getuid() == 0 { // root always may, so ask as somebody else
		allowed.Store(false)
		cmd := asNobody(t, socket)
		if !strings.Contains(cmd, "may not connect") {
			t.Errorf("nobody is answered %q", cmd)
		}
		allowed.Store(true)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Fatal("the program ran")
	}
	if got := ask("{\"destination\":\"tell\"}\n{}"); got != `{"status":0}` {
		t.Error(got)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Error("the program did not run")
	}
}
