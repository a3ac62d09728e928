package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bailiff/journal/audit"
	"bailiff/journal/journaltest"
	"bailiff/units/control"
)

// TestMain lets tests run this very program as a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("REPORT_TEST_MAIN") == "1" {
		main()
	}
	os.Exit(m.Run())
}

// hook is a web service that takes reports.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	status int
}

func newHook(t *testing.T) *hook {
	h := &hook{status: http.StatusOK}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.status == http.StatusOK {
			h.bodies = append(h.bodies, string(b))
		}
		w.WriteHeader(h.status)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) answer(status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status = status
}

func (h *hook) got(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Contains(strings.Join(h.bodies, "\n"), text)
}

type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr bytes.Buffer
	ended  chan error
}

func start(t *testing.T, env []string, files []*os.File, args ...string) *process {
	t.Helper()
	return launch(t, exec.Command(os.Args[0], args...), env, files)
}

func launch(t *testing.T, cmd *exec.Cmd, env []string, files []*os.File) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, ended: make(chan error, 1)}
	p.cmd.Env = append(append(os.Environ(), "REPORT_TEST_MAIN=1"), env...)
	p.cmd.Stderr, p.cmd.ExtraFiles = &p.stderr, files
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("stderr: %s", &p.stderr)
		}
	})
	return p
}

// wait waits for the end, and gives the exit status.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		p.t.Fatal("it does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatal("in vain: " + what)
		}
		time.Sleep(5 * time.Millisecond) // between two checks of another process
	}
}

// TestService runs the program as a service: with systemd's socket, a credential and a control socket, until SIGTERM, and until
// no destination is configured.
func TestService(t *testing.T) {
	journaltest.Need(t)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, d := range []string{"journal", "state", "keys"} {
		if err := os.Mkdir(path(d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	const key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	if err := os.WriteFile(path("keys/bailiff_hook"), []byte(key+"\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	h := newHook(t)
	conf := fmt.Sprintf("jails: {sshd: {}}\nreport: {host: mail.example.net, lookup: {rdap: false, whois: false, contacts: none}, destinations: {hook: {type: webhook, url: %q}}}\n", h.URL)
	if err := os.WriteFile(path("bailiff.yaml"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	in, _ := journaltest.Start(t, path("journal/system.journal"))
	n := 0
	ban := func(addr string) string {
		t.Helper()
		n++
		now := time.Now()
		p := netip.MustParseAddr(addr)
		ev := audit.BanEvent{Prefix: netip.PrefixFrom(p, 32), Jail: "sshd", ID: fmt.Sprintf("%016x", n), Since: now, Until: now.Add(time.Hour), Failures: 5, Count: 1, Reason: "failures"}
		e := ev.Entry(audit.KindBan)
		out := fmt.Appendf(nil, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%s\n_UID=987\n_SYSTEMD_UNIT=bailiff.service\nMESSAGE_ID=%s\n", now.UnixMicro(), 1_000_000+n, journaltest.Gen{}.Boot(0), audit.KindBan.ID())
		for _, f := range e.Fields {
			out = journaltest.Field(out, f.Name, []byte(f.Value))
		}
		if _, err := in.Write(append(out, '\n')); err != nil {
			t.Fatal(err)
		}
		return ev.ID
	}
	trail := journaltest.Journald(t, path("journald"))
	var said bytes.Buffer
	var mu sync.Mutex
	go func() {
		buf := make([]byte, 1<<20)
		for {
			k, err := trail.Read(buf)
			if err != nil {
				return
			}
			mu.Lock()
			said.Write(buf[:k])
			mu.Unlock()
		}
	}()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path("control"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	socket, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=control", "CREDENTIALS_DIRECTORY=" + path("keys")}
	args := []string{"--config", path("bailiff.yaml"), "--state", path("state"), "--journal", path("journal"), "--audit", path("journald"), "--daemon", "987", "--retry", "50ms"}
	// systemd sets LISTEN_PID between fork and exec; here a shell does so and then replaces itself, which keeps its pid.
	activated := func(more ...string) *process {
		t.Helper()
		return launch(t, exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, os.Args[0]}, append(args, more...)...)...), env, []*os.File{socket})
	}
	p := activated()
	c, ctx := control.DialReport(path("control")), context.Background()
	until(t, "it reads", func() bool {
		s, err := c.Status(ctx)
		return err == nil && s.CaughtUp
	})
	ban("198.51.100.1")
	until(t, "the report", func() bool { return h.got("198.51.100.1") })
	h.answer(http.StatusServiceUnavailable)
	id := ban("198.51.100.2")
	until(t, "a failure", func() bool {
		l, err := c.Reports(ctx, "hook", 10)
		return err == nil && l.Total == 1 && l.Reports[0].ID == id && l.Reports[0].Attempts > 0 && strings.Contains(l.Reports[0].Error, "503")
	})
	s, err := c.Report(ctx, id, "")
	if err != nil || len(s.Deliveries) != 1 || !strings.Contains(s.Deliveries[0].Preview, "198.51.100.2") || strings.Contains(s.Deliveries[0].Preview, key) {
		t.Errorf("show: %+v, %v", s, err)
	}
	if _, err := c.Test(ctx, "hook"); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("test: %v", err)
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	if code := p.wait(); code != exitOK {
		t.Errorf("exit status %d after SIGTERM", code)
	}
	h.answer(http.StatusOK)
	p = activated("--linger", "50ms")
	until(t, "the report after a restart", func() bool { return h.got("198.51.100.2") })
	if r, err := c.Test(ctx, "hook"); err == nil && !h.got("192.0.2.1") {
		t.Errorf("test: %+v", r)
	}
	ln.SetDeadline(time.Now().Add(time.Millisecond))
	if err := os.WriteFile(path("bailiff.yaml"), []byte("jails: {sshd: {}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.cmd.Process.Signal(syscall.SIGHUP)
	if code := p.wait(); code != exitOK {
		t.Errorf("exit status %d without destinations", code)
	}
	if c, err := ln.Accept(); err == nil {
		c.Close()
		t.Error("it has systemd start another one, though there is nothing to report to")
	}
	mu.Lock()
	defer mu.Unlock()
	if all := said.String() + p.stderr.String(); strings.Contains(all, key) || !strings.Contains(all, "report to hook, ban of 198.51.100.2") {
		t.Errorf("audit trail: %s", all)
	}
	for _, body := range h.bodies {
		if !json.Valid([]byte(body)) {
			t.Errorf("body: %s", body)
		}
	}
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("report: {destinations: {one: {type: nonsense}}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"--version"}, exitOK, ""},
		{[]string{"--help"}, exitOK, "--config"},
		{[]string{"--nonsense"}, exitUsage, "nonsense"},
		{[]string{"argument"}, exitUsage, `"argument"`},
		{[]string{"--daemon", "no-such-user-here"}, exitFailure, "no-such-user-here"},
		{[]string{"--config", bad, "--daemon", "0", "--state", dir, "--socket", filepath.Join(dir, "s"), "--audit", filepath.Join(dir, "a")}, exitNotConfigured, "bad.yaml:1"},
	} {
		p := start(t, nil, nil, c.args...)
		code := p.wait()
		if text := strings.ReplaceAll(p.stderr.String(), "  -", "  --"); code != c.code || !strings.Contains(text, c.text) {
			t.Errorf("%v: exit status %d, want %d: %s", c.args, code, c.code, text)
		}
	}
}
