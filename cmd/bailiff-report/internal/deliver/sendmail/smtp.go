package sendmail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
)

// smtp sends a mail over SMTP. If some recipients cannot get it now, it is not sent at all, so that nobody gets it twice.
// Recipients that are refused for good are left out.
func (m *Mailer) smtp(ctx context.Context, to []string, msg []byte) (report.Receipt, error) {
	// A server that refuses this host or the sender is set up wrongly and may be repaired. So of its final answers (5xx) only
	// those about the recipients and the mail are final for the report.
	fail := func(err error, final ...string) (report.Receipt, error) {
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %s", m.conf.TimeLimit)
		}
		text := fmt.Errorf("mail server %s: %w", m.conf.SMTP, answered(err))
		if len(final) > 0 && isFinal(err) {
			return report.Receipt{}, rejected(final[0], text)
		}
		return report.Receipt{}, &report.Retry{Err: text}
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", m.conf.SMTP)
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	c, err := smtp.NewClient(conn, m.host)
	if err != nil {
		return fail(err)
	}
	if err := c.Hello(m.host); err != nil {
		return fail(err)
	}
	if err := c.Mail(m.full(m.sender)); err != nil {
		return fail(err)
	}
	var refused error
	taken := 0
	for _, a := range to {
		err := c.Rcpt(m.full(a))
		switch {
		case err == nil:
			taken++
		case isFinal(err):
			refused = fmt.Errorf("%s: %w", a, answered(err))
		default:
			return fail(err)
		}
	}
	if taken == 0 {
		return fail(refused, "recipients")
	}
	// Not c.Data, which discards the server's last answer, with the name of the mail in its queue.
	if _, err := c.Text.Cmd("DATA"); err != nil {
		return fail(err)
	}
	if _, _, err := c.Text.ReadResponse(354); err != nil {
		return fail(err)
	}
	w := c.Text.DotWriter()
	_, err = w.Write(msg)
	if err := errors.Join(err, w.Close()); err != nil {
		return fail(err)
	}
	_, said, err := c.Text.ReadResponse(250)
	if err != nil {
		return fail(err, "mail")
	}
	_ = c.Text.PrintfLine("QUIT") // the server has the mail already
	if refused != nil {
		said += ", but not for " + refused.Error()
	}
	return report.Receipt{Answer: safetext.Line(said, 500)}, nil
}

// full is an address with a host behind the @: servers refuse others.
func (m *Mailer) full(a string) string {
	if !strings.Contains(a, "@") {
		a += "@" + m.host
	}
	return a
}

// smtpError is an answer of the server that is not the one hoped for, as one line. (textproto.Error quotes it in some versions of Go.)
type smtpError struct {
	code int
	text string
}

func (e *smtpError) Error() string { return fmt.Sprintf("%d %s", e.code, e.text) }

// answered makes an smtpError of an error that is an answer.
func answered(err error) error {
	if a := (*textproto.Error)(nil); errors.As(err, &a) {
		return &smtpError{a.Code, safetext.Line(a.Msg, 500)}
	}
	return err
}

// isFinal reports whether the server's answer is a final one.
func isFinal(err error) bool {
	a := (*smtpError)(nil)
	return errors.As(answered(err), &a) && a.code >= 500
}
