package sendmail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/format/mail"
	"bailiff/cmd/bailiff-report/internal/report"
)

// smtp is the client's part of RFC 5321. A mail that only some of the recipients can get now is not sent at all, so that
// nobody gets it twice; those who are refused for good are left out.
func (m *Mailer) smtp(ctx context.Context, to []string, msg []byte) (report.Receipt, error) {
	// A server that refuses us, or the sender, is set up wrongly, and may be mended. So of its final answers (5xx) only those
	// about the recipients and the mail are final to us.
	fail := func(err error, of ...string) (report.Receipt, error) {
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %s", m.conf.TimeLimit)
		}
		err = fmt.Errorf("mail server %s: %w", m.conf.SMTP, err)
		if no := new(answer); errors.As(err, &no) && no.code >= 500 && len(of) > 0 {
			return report.Receipt{}, rejected(of[0], err)
		}
		return report.Receipt{}, &report.Retry{Err: err}
	}
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", m.conf.SMTP)
	if err != nil {
		return fail(err)
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })()
	c := textproto.NewConn(raw)
	ask := func(want int, format string, args ...any) (string, error) {
		if format != "" {
			if err := c.PrintfLine(format, args...); err != nil {
				return "", err
			}
		}
		_, text, err := c.ReadResponse(want)
		if no := new(textproto.Error); errors.As(err, &no) {
			err = &answer{no.Code, mail.OneLine(no.Msg)}
		}
		return mail.OneLine(text), err
	}
	if _, err := ask(220, ""); err != nil {
		return fail(err)
	}
	if _, err := ask(250, "EHLO %s", m.host); err != nil {
		if _, err = ask(250, "HELO %s", m.host); err != nil {
			return fail(err)
		}
	}
	if _, err := ask(250, "MAIL FROM:<%s>", m.full(m.sender)); err != nil {
		return fail(err)
	}
	var refused error
	taken := 0
	for _, a := range to {
		_, err := ask(25, "RCPT TO:<%s>", m.full(a)) // 250, 251
		no := new(answer)
		switch {
		case err == nil:
			taken++
		case errors.As(err, &no) && no.code >= 500:
			refused = fmt.Errorf("%s: %w", a, err)
		default:
			return fail(err)
		}
	}
	if taken == 0 {
		return fail(refused, "recipients")
	}
	if _, err := ask(354, "DATA"); err != nil {
		return fail(err)
	}
	w := c.DotWriter()
	if _, err := w.Write(msg); err != nil {
		return fail(err)
	}
	if err := w.Close(); err != nil {
		return fail(err)
	}
	said, err := ask(250, "")
	if err != nil {
		return fail(err, "mail")
	}
	_ = c.PrintfLine("QUIT") // it has the mail already
	if refused != nil {
		said += ", but not for " + refused.Error()
	}
	return report.Receipt{Answer: said}, nil
}

// full is an address with a host behind the @: servers refuse others.
func (m *Mailer) full(a string) string {
	if !strings.Contains(a, "@") {
		a += "@" + m.host
	}
	return a
}

// answer is another one than that hoped for, as one line. (How textproto.Error shows one differs between versions of Go.)
type answer struct {
	code int
	text string
}

func (a *answer) Error() string { return fmt.Sprintf("%d %s", a.code, a.text) }
