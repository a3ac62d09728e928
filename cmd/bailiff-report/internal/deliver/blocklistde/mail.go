package blocklistde

import (
	"context"
	"errors"

	"bailiff/cmd/bailiff-report/internal/deliver"
	delivermail "bailiff/cmd/bailiff-report/internal/deliver/mail"
	"bailiff/cmd/bailiff-report/internal/deliver/sendmail"
	"bailiff/cmd/bailiff-report/internal/message"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

// asMail sends mails like those of fail2ban's action_mwl, which blocklist.de reads.
type asMail struct {
	*config.Destination
	env    deliver.Env
	mailer *sendmail.Mailer
	layout config.Destination
}

func newMail(d *config.Destination, env deliver.Env) (deliver.Destination, error) {
	m, err := sendmail.New(env.Config, env.Host)
	if err != nil {
		return nil, err
	}
	if len(d.To) == 0 {
		return nil, errors.New("no recipient is configured")
	}
	layout := *d
	layout.Layout, layout.Template, layout.Include = "fail2ban", "", []string{config.IncludeLines}
	return &asMail{d, env, m, layout}, nil
}

// mail is the mail about an item, which has one report.
func (d *asMail) mail(item *report.Item) ([]byte, error) {
	r := item.Reports[0]
	e, err := compose(r, d.Destination)
	if err != nil {
		return nil, err
	}
	one := *item
	one.Reports, one.Digest = []*report.Report{e.asReport(r)}, false
	msg, err := delivermail.Compose(&one, &d.layout, &delivermail.Envelope{Host: d.env.Host, Sender: d.env.Config.Sender, Agent: d.env.Agent, Time: d.env.Now()})
	if err != nil {
		return nil, &report.Refused{Err: err}
	}
	return msg, nil
}

// Deliver sends the item's mail.
func (d *asMail) Deliver(ctx context.Context, item *report.Item) (report.Receipt, error) {
	msg, err := d.mail(item)
	if err != nil {
		return report.Receipt{}, err
	}
	return d.mailer.Send(ctx, d.To, msg)
}

// Trace is the Message-ID of the mail. A digest of an earlier version, which was several mails, has none.
func (d *asMail) Trace(item *report.Item) string {
	if _, err := compose(item.Reports[0], d.Destination); err != nil || len(item.Reports) > 1 {
		return ""
	}
	return message.ID(item.Key, d.env.Host)
}

// Render shows the mail.
func (d *asMail) Render(item *report.Item) ([]byte, error) { return d.mail(item) }
