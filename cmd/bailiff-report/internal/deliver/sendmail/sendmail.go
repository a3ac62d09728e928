// Package sendmail passes mails to the host's mail system: to its sendmail program, or over SMTP if the program cannot work in
// bailiff-report's sandbox.
//
// The program runs without a shell. Its standard input is a file: if bailiff-report dies, sendmail can read to the end. With a pipe,
// half a mail would be sent.
//
// Start reading at Mailer.Send.
package sendmail

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"bailiff/cmd/bailiff-report/internal/message"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
	"bailiff/policy/config"
)

// Mailer sends mails through the mail system.
type Mailer struct {
	conf   config.Sendmail
	sender string
	host   string
}

// grace is how long a program may take to end after SIGTERM. Postfix's sendmail removes the file that it was writing to the queue.
const grace = 2 * time.Second

// maxOutput is how many bytes of the end of the program's output are kept.
const maxOutput = 4 << 10

// New returns a Mailer. host is this host's name.
func New(c *config.Report, host string) (*Mailer, error) {
	m := &Mailer{conf: c.Sendmail, sender: message.Address(c.Sender, host), host: host}
	if !config.ValidRecipient(m.sender) {
		return nil, fmt.Errorf("report.sender: %q is not a mail address", m.sender)
	}
	return m, nil
}

// Rejected is wrapped in a report.Refused of Send: it says what the mail system does not accept.
type Rejected struct {
	Of  string // "mail", "recipients" or "arguments"
	Err error
}

func (e *Rejected) Error() string { return e.Err.Error() }
func (e *Rejected) Unwrap() error { return e.Err }

// rejected is about all mails unless it is about this one: recipients and arguments come from the configuration.
func rejected(of string, err error) error {
	return &report.Refused{All: of != "mail", Err: &Rejected{of, err}}
}

// Send passes a mail, whose lines end with CRLF, to the mail system. Errors are as those of deliver.Destination; see Rejected
// for callers whose recipients differ from mail to mail.
func (m *Mailer) Send(ctx context.Context, to []string, msg []byte) (report.Receipt, error) {
	if len(to) == 0 {
		return report.Receipt{}, rejected("recipients", errors.New("the mail has no recipient"))
	}
	for _, a := range to {
		if !config.ValidRecipient(a) { // so it cannot be an option or hide an SMTP command
			return report.Receipt{}, rejected("recipients", fmt.Errorf("%q is not a mail address", a))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, m.conf.TimeLimit)
	defer cancel()
	if m.conf.SMTP != "" {
		return m.smtp(ctx, to, msg)
	}
	return m.run(ctx, to, bytes.ReplaceAll(msg, []byte("\r\n"), []byte("\n")))
}

// arguments returns the arguments with sender, host and recipients.
func (m *Mailer) arguments(to []string) []string {
	var args []string
	for _, a := range m.conf.Args {
		for _, v := range [][2]string{{"SENDER", m.sender}, {"HOST", m.host}} {
			if head, ok := strings.CutSuffix(a, v[0]); ok && (head == "" || strings.HasSuffix(head, "=")) {
				a = head + v[1]
			}
		}
		args = append(args, a)
	}
	return slices.Concat(args, to)
}

func (m *Mailer) run(ctx context.Context, to []string, msg []byte) (report.Receipt, error) {
	in, err := file(msg)
	if err != nil {
		return report.Receipt{}, fmt.Errorf("a file for the mail: %w", err)
	}
	defer in.Close()
	var out tail
	cmd := exec.CommandContext(ctx, m.conf.Path, m.arguments(to)...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = "/", in, &out, &out
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	// Its own process group: signals to bailiff-report do not reach it, and it is killed with its children.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	err = cmd.Run()
	if ctx.Err() != nil && cmd.Process != nil && err != nil {
		// Processes that ignored SIGTERM. The group's number is not reused while one of them lives.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success(): // a process that it left running still has the pipe
		return report.Receipt{Answer: cmp.Or(out.line(), "taken by "+m.conf.Path)}, nil
	case ctx.Err() != nil:
		return report.Receipt{}, &report.Retry{Err: m.late(ctx, out.line())}
	case errors.As(err, &exit):
		return report.Receipt{}, m.failed(exit, out.line())
	case errors.Is(err, fs.ErrNotExist):
		return report.Receipt{}, &report.Retry{Err: fmt.Errorf("there is no %s: install a mail system, or set report.sendmail.path to its sendmail program", m.conf.Path)}
	}
	return report.Receipt{}, &report.Retry{Err: fmt.Errorf("%s cannot be run: %w", m.conf.Path, err)}
}

// file returns an unnamed file that contains b.
func file(b []byte) (*os.File, error) {
	f, err := os.CreateTemp("", "mail")
	if err != nil {
		return nil, err
	}
	if err = os.Remove(f.Name()); err == nil {
		if _, err = f.Write(b); err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// late is the error of a program that was ended.
func (m *Mailer) late(ctx context.Context, said string) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%s was ended because bailiff-report is stopping", m.conf.Path)
	}
	return fmt.Errorf("%s took longer than %s and was ended%s", m.conf.Path, m.conf.TimeLimit, explain(said))
}

// meanings are the meanings of sysexits.h for mail systems.
var meanings = map[int]string{
	64: "wrong arguments: see report.sendmail.args",
	65: "the mail is not accepted",
	66: "the mail cannot be read",
	67: "unknown recipient",
	68: "unknown host of the recipient",
	69: "a service is not available",
	70: "internal error",
	71: "system error (processes, memory)",
	72: "a system file is missing",
	73: "the queue cannot be written",
	74: "input/output error",
	75: "temporary failure",
	76: "protocol error of the mail server",
	77: "permission denied",
	78: "configuration error of the mail system",
}

// failed returns the error of an exit status. What an administrator can repair at the mail system is tried again; only a refused mail
// is dropped.
func (m *Mailer) failed(exit *exec.ExitError, said string) error {
	if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return &report.Retry{Err: fmt.Errorf("%s was killed by signal %d (%s)%s", m.conf.Path, s.Signal(), s.Signal(), explain(said))}
	}
	status := exit.ExitCode()
	text := fmt.Sprintf("%s: exit status %d", m.conf.Path, status)
	if s := meanings[status]; s != "" {
		text += ", " + s
	}
	err := errors.New(text + explain(said))
	switch status {
	case 64:
		return rejected("arguments", err)
	case 65:
		return rejected("mail", err)
	case 67, 68:
		return rejected("recipients", err)
	}
	return &report.Retry{Err: err}
}

// explain adds the program's output, and a hint if the sandbox may be the reason.
func explain(said string) string {
	if said == "" {
		return ""
	}
	s := ": " + said
	for _, sign := range []string{
		"create file maildrop/", "set-gid", "setgid", "setuid", "/var/spool", "Operation not permitted", "Permission denied", "Read-only file system",
	} {
		if strings.Contains(said, sign) {
			return s + " (bailiff-report's unit lacks a permission that this mail system needs: run bailiff report setup)"
		}
	}
	return s
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(0, len(p)-maxOutput):]...)
	if len(t.b) > maxOutput {
		t.b = slices.Clone(t.b[len(t.b)-maxOutput:])
	}
	return len(p), nil
}

// line is the last line, made safe.
func (t *tail) line() string {
	lines := strings.Split(strings.TrimSpace(string(t.b)), "\n")
	return safetext.Line(lines[len(lines)-1], 500)
}
