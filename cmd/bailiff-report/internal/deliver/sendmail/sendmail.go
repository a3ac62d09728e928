// Package sendmail hands finished mails to the host's mail system: to its sendmail program, or over SMTP where the program
// cannot work from bailiff-report's sandbox. Mails by several types of destinations go this way.
//
// The program is run without a shell. It gets the mail as a file: if bailiff-report dies in the middle, sendmail reads on to
// the true end, where a pipe would have ended early and half a mail been sent.
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

// Mailer is a way to the mail system.
type Mailer struct {
	conf   config.Sendmail
	sender string
	host   string
}

// grace is how long a program that was told to end may take for it. Postfix's sendmail removes what it has begun to write
// to the queue.
const grace = 2 * time.Second

// maxOutput is how much of what the program says is kept, in bytes: its end.
const maxOutput = 4 << 10

// New checks who sends. host is this host's name.
func New(c *config.Report, host string) (*Mailer, error) {
	m := &Mailer{conf: c.Sendmail, sender: message.Address(c.Sender, host), host: host}
	if !config.ValidRecipient(m.sender) {
		return nil, fmt.Errorf("report.sender: %q is not a mail address", m.sender)
	}
	return m, nil
}

// Rejected is what a report.Refused of Send holds: what it is that the mail system will never take.
type Rejected struct {
	Of  string // "mail", "recipients" or "arguments"
	Err error
}

func (e *Rejected) Error() string { return e.Err.Error() }
func (e *Rejected) Unwrap() error { return e.Err }

func rejected(of string, err error) error { return &report.Refused{Err: &Rejected{of, err}} }

// Send hands a mail over. Its lines end with CRLF. Errors are as Destination.Deliver has them. Refused.All is not set: whether
// other mails would be refused, too, is for who knows where the recipients are from. See Rejected.
func (m *Mailer) Send(ctx context.Context, to []string, msg []byte) (report.Receipt, error) {
	if len(to) == 0 {
		return report.Receipt{}, rejected("recipients", errors.New("the mail has no recipient"))
	}
	for _, a := range to {
		if !config.ValidRecipient(a) { // which no argument and no command of SMTP can be hidden in
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

// arguments puts sender, host and recipients in their places.
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
	// A group of its own: what is meant for bailiff-report alone does not reach it, and what it starts ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	err = cmd.Run()
	if ctx.Err() != nil && cmd.Process != nil && err != nil {
		// What did not care for SIGTERM. The group's number is nobody else's as long as one of it lives.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success(): // what it left running has our pipe, and may
		return report.Receipt{Answer: cmp.Or(out.line(), "taken by "+m.conf.Path)}, nil
	case ctx.Err() != nil:
		return report.Receipt{}, &report.Retry{Err: m.late(ctx, out.line())}
	case errors.As(err, &exit):
		return report.Receipt{}, m.failed(exit, out.line())
	case errors.Is(err, fs.ErrNotExist):
		return report.Receipt{}, &report.Retry{Err: fmt.Errorf("there is no %s: install a mail system, or say in report.sendmail.path where its sendmail is", m.conf.Path)}
	}
	return report.Receipt{}, &report.Retry{Err: fmt.Errorf("%s cannot be run: %w", m.conf.Path, err)}
}

// file returns a file without a name that holds b.
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

// late says that the program was ended.
func (m *Mailer) late(ctx context.Context, said string) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%s was ended, because bailiff-report stops", m.conf.Path)
	}
	return fmt.Errorf("%s took longer than %s and was ended%s", m.conf.Path, m.conf.TimeLimit, explain(said))
}

// meanings are those of sysexits.h, as mail systems use them.
var meanings = map[int]string{
	64: "it does not take these arguments: see report.sendmail.args",
	65: "it does not take this mail",
	66: "it could not read the mail",
	67: "there is no such recipient",
	68: "the recipient's host is not known",
	69: "a service of it is not available",
	70: "it has an error of its own",
	71: "the system lacks something (processes, memory)",
	72: "a file of it is missing",
	73: "it cannot write to its queue",
	74: "it could not read or write",
	75: "it cannot take mails for now",
	76: "the mail server did not answer as it should",
	77: "it is not allowed to, or the sender is not",
	78: "its own configuration is wrong",
}

// failed says what an exit status means. What an administrator can mend at the mail system is tried again; the mail is
// lost only if it is the mail itself, or its recipient, that is refused.
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

// explain adds what the program said, and the way out where the sandbox is what stopped it.
func explain(said string) string {
	if said == "" {
		return ""
	}
	s := ": it said: " + said
	for _, sign := range []string{
		"create file maildrop/", "set-gid", "setgid", "setuid", "/var/spool", "Operation not permitted", "Permission denied", "Read-only file system",
	} {
		if strings.Contains(said, sign) {
			return s + " (bailiff-report's unit lacks a right that this mail system needs: bailiff report setup installs it)"
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

// line is the last line that was written, fit for a message.
func (t *tail) line() string {
	lines := strings.Split(strings.TrimSpace(string(t.b)), "\n")
	return safetext.Line(lines[len(lines)-1], 500)
}
