package sendmail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

// TestMain lets the test's program be a sendmail, and a bailiff-report that may be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "as-sendmail" {
		os.Exit(asSendmail(os.Args[2], os.Args[3], os.Args[4:]))
	}
	if len(os.Args) > 2 && os.Args[1] == "as-reporter" {
		m, err := mailer(os.Args[2], os.Args[3])
		if err == nil {
			_, err = m.Send(context.Background(), []string{"root"}, []byte(os.Args[4]))
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// delivery is what a sendmail got.
type delivery struct {
	Args []string
	Mail []byte
	Env  []string
	Dir  string
	PID  int
	PGID int
}

// asSendmail is a mail system's program that does as it is told, and keeps what it got in a folder.
func asSendmail(how, folder string, args []string) int {
	switch how {
	case "hang": // as postdrop does: it says why, and tries again and again
		fmt.Fprintln(os.Stderr, "postdrop: warning: mail_queue_enter: create file maildrop/770.1: Permission denied")
		time.Sleep(time.Hour) // Go takes select {} for a deadlock, but with the race detector
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		child := exec.Command(os.Args[0], "as-sendmail", "stubborn-child", folder)
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			return 71
		}
		fallthrough
	case "stubborn-child":
		signal.Ignore(syscall.SIGTERM)
		_ = os.WriteFile(filepath.Join(folder, fmt.Sprintf("pid-%d", os.Getpid())), nil, 0o600)
		time.Sleep(time.Hour)
	case "flood":
		for range 10_000 {
			fmt.Println(strings.Repeat("x", 1000))
		}
		fmt.Fprint(os.Stderr, "last\x1b[31m\nwords\r\n\n")
		return 75
	case "signal":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "background": // leaves a process behind that keeps its output open
		child := exec.Command("sleep", "20")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			return 71
		}
		_ = os.WriteFile(filepath.Join(folder, "child"), fmt.Appendf(nil, "%d", child.Process.Pid), 0o600)
	case "wait": // until it may read
		_ = os.WriteFile(filepath.Join(folder, "waiting"), nil, 0o600)
		for {
			if _, err := os.Stat(filepath.Join(folder, "go")); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 66
	}
	dir, _ := os.Getwd()
	b, _ := json.Marshal(delivery{args, body, os.Environ(), dir, os.Getpid(), syscall.Getpgrp()})
	tmp := filepath.Join(folder, "got.tmp")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return 73
	}
	if err := os.Rename(tmp, filepath.Join(folder, "got")); err != nil {
		return 73
	}
	var status int
	if _, err := fmt.Sscanf(how, "exit-%d", &status); err == nil {
		fmt.Fprintln(os.Stderr, "sendmail: fatal: so it is")
	}
	return status
}

func mailer(how, folder string) (*Mailer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return New(&config.Report{Sendmail: config.Sendmail{
		Path: self, Args: []string{"as-sendmail", how, folder, "-i", "-f", "SENDER", "--from=SENDER", "SENDERS", "--host=HOST", "--"}, TimeLimit: 2 * time.Minute,
	}}, "mail.example.org")
}

func send(t *testing.T, how string, limit time.Duration) (_ report.Receipt, folder string, _ error) {
	t.Helper()
	folder = t.TempDir()
	m, err := mailer(how, folder)
	if err != nil {
		t.Fatal(err)
	}
	if limit > 0 {
		m.conf.TimeLimit = limit
	}
	r, err := m.Send(t.Context(), []string{"root", "ops@example.org"}, []byte("Subject: x\r\n\r\n.\r\nbody\r\n"))
	return r, folder, err
}

func got(t *testing.T, folder string) (d delivery) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(folder, "got"))
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestSend(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
	t.Setenv("MAIL_CONFIG", "/tmp/evil")
	r, folder, err := send(t, "take", 0)
	if err != nil || !strings.HasPrefix(r.Answer, "taken by /") {
		t.Fatal(r, err)
	}
	d := got(t, folder)
	if want := []string{"-i", "-f", "bailiff@mail.example.org", "--from=bailiff@mail.example.org", "SENDERS", "--host=mail.example.org", "--", "root", "ops@example.org"}; !slices.Equal(d.Args, want) {
		t.Errorf("arguments %q", d.Args)
	}
	if string(d.Mail) != "Subject: x\n\n.\nbody\n" {
		t.Errorf("mail %q", d.Mail)
	}
	if len(d.Env) != 2 || !strings.HasPrefix(d.Env[0], "PATH=") || d.Env[1] != "LC_ALL=C" || d.Dir != "/" || d.PGID != d.PID {
		t.Errorf("environment %q, folder %s, group %d of %d", d.Env, d.Dir, d.PGID, d.PID)
	}
}

func TestStatus(t *testing.T) {
	for status, of := range map[int]string{64: "arguments", 65: "mail", 67: "recipients", 68: "recipients", 66: "", 69: "", 70: "", 71: "", 72: "", 73: "", 74: "", 75: "", 76: "", 77: "", 78: "", 1: "", 127: ""} {
		_, _, err := send(t, fmt.Sprintf("exit-%d", status), 0)
		var retry *report.Retry
		var refused *report.Refused
		var no *Rejected
		if of == "" && !errors.As(err, &retry) || of != "" && (!errors.As(err, &refused) || refused.All != (of != "mail") || !errors.As(err, &no) || no.Of != of) {
			t.Errorf("%d: %T %v", status, err, err)
		}
		if !strings.Contains(err.Error(), fmt.Sprintf("exit status %d%s", status, map[bool]string{true: ", "}[meanings[status] != ""])) || !strings.HasSuffix(err.Error(), "sendmail: fatal: so it is") {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestFails(t *testing.T) {
	for how, want := range map[string]string{
		"hang":   "took longer than 4s and was ended: postdrop: warning: mail_queue_enter: create file maildrop/770.1: Permission denied (bailiff-report's unit lacks a permission that this mail system needs: run bailiff report setup)",
		"flood":  "exit status 75, temporary failure: words",
		"signal": "was killed by signal 9 (killed)",
	} {
		limit := 4 * time.Second // a slow machine writes its warning by then
		if how != "hang" {
			limit = 0
		}
		_, folder, err := send(t, how, limit)
		var retry *report.Retry
		if !errors.As(err, &retry) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %T %v", how, err, err)
		}
		if _, err := os.Stat(filepath.Join(folder, "got")); err == nil {
			t.Errorf("%s: it was delivered", how)
		}
	}
}

// A program that ignores SIGTERM is killed, with everything that it started.
func TestStubborn(t *testing.T) {
	_, folder, err := send(t, "stubborn", time.Second)
	if err == nil {
		t.Error("it was delivered")
	}
	pids, _ := filepath.Glob(filepath.Join(folder, "pid-*"))
	if len(pids) != 2 {
		t.Fatalf("%d processes were there, not 2", len(pids))
	}
	for _, p := range pids {
		pid := strings.TrimPrefix(filepath.Base(p), "pid-")
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			if err != nil || bytes.Contains(stat, []byte(") Z ")) { // a zombie waits for whoever is init here
				break
			}
			if time.Now().After(end) {
				t.Fatalf("process %s is left", pid)
			}
		}
	}
}

// A process that the program leaves behind, as exim does for the delivery, is no failure, and is not killed.
func TestBackground(t *testing.T) {
	_, folder, err := send(t, "background", 0)
	if err != nil {
		t.Error(err)
	}
	var pid int
	b, _ := os.ReadFile(filepath.Join(folder, "child"))
	if _, err := fmt.Sscan(string(b), &pid); err != nil || syscall.Kill(pid, 0) != nil {
		t.Errorf("its child %q is gone: %v", b, err)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

// Kill -9 of bailiff-report while sendmail has not read the mail yet: it still gets all of it.
func TestReporterKilled(t *testing.T) {
	folder := t.TempDir()
	text := "Subject: x\r\n\r\n" + strings.Repeat("a line of the mail\r\n", 5000)
	reporter := exec.Command(os.Args[0], "as-reporter", "wait", folder, text)
	if err := reporter.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, filepath.Join(folder, "waiting"))
	if err := reporter.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = reporter.Wait()
	if err := os.WriteFile(filepath.Join(folder, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, filepath.Join(folder, "got"))
	if d := got(t, folder); string(d.Mail) != strings.ReplaceAll(text, "\r\n", "\n") {
		t.Errorf("%d of %d bytes", len(d.Mail), len(text))
	}
}

func await(t *testing.T, file string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not come", file)
		}
	}
}

func TestStopped(t *testing.T) {
	m, err := mailer("hang", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	stop, now := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, now)
	if _, err = m.Send(stop, []string{"root"}, nil); err == nil || !strings.HasSuffix(err.Error(), "was ended because bailiff-report is stopping") {
		t.Error(err)
	}
}

func TestNever(t *testing.T) {
	folder := t.TempDir()
	m, err := mailer("take", folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"-oQ/tmp", "root\nx", "a b", "", "root@", "a@b\r\nRCPT TO:<x@y>", "|sh", "/etc/passwd"} {
		var refused *report.Refused
		if _, err := m.Send(t.Context(), []string{to}, []byte("x")); !errors.As(err, &refused) {
			t.Errorf("%q: %v", to, err)
		}
	}
	if d, err := os.ReadFile(filepath.Join(folder, "got")); err == nil {
		t.Errorf("delivered: %s", d)
	}
	if _, err := m.Send(t.Context(), nil, nil); err == nil {
		t.Error("a mail to nobody was sent")
	}
	if _, err := New(&config.Report{Sender: "-f"}, "h"); err == nil {
		t.Error("a sender that is an option is taken")
	}
	m.conf.Path = "/nosuch/sendmail"
	if _, err := m.Send(t.Context(), []string{"root"}, nil); err == nil || !strings.Contains(err.Error(), "there is no /nosuch/sendmail: install a mail system") {
		t.Error(err)
	}
}
