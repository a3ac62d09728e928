package blocklistde

import (
	"bytes"
	"context"
	"errors"
	"fmt"

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

// single returns an item of one report, with a key of its own if the item has several.
func single(item *report.Item, i int, t pair, of int) *report.Item {
	one := *item
	one.Reports, one.Digest = []*report.Report{t.entry.asReport(t.report)}, false
	if of > 1 {
		one.Key = fmt.Sprintf("%s.%d", item.Key, i+1)
	}
	return &one
}

func (d *asMail) mail(one *report.Item) ([]byte, error) {
	return delivermail.Compose(one, &d.layout, &delivermail.Envelope{Host: d.env.Host, Sender: d.env.Config.Sender, Agent: d.env.Agent, Time: d.env.Now()})
}

// Deliver sends the item's mails.
func (d *asMail) Deliver(ctx context.Context, item *report.Item) (report.Receipt, error) {
	all, skipped, err := composeAll(item, d.Destination)
	if err != nil {
		return report.Receipt{}, err
	}
	return sendAll(all, skipped, func(i int, t pair) (report.Receipt, error) {
		msg, err := d.mail(single(item, i, t, len(all)))
		if err != nil {
			return report.Receipt{}, &report.Refused{Err: err}
		}
		return d.mailer.Send(ctx, d.To, msg)
	})
}

// Trace is the Message-ID of the last mail: when it was sent, all before it were.
func (d *asMail) Trace(item *report.Item) string {
	all, _, err := composeAll(item, d.Destination)
	if err != nil {
		return ""
	}
	i := len(all) - 1
	return message.ID(single(item, i, all[i], len(all)).Key, d.env.Host)
}

// Render shows the mails.
func (d *asMail) Render(item *report.Item) ([]byte, error) {
	all, skipped, err := composeAll(item, d.Destination)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for i, t := range all {
		msg, err := d.mail(single(item, i, t, len(all)))
		if err != nil {
			return nil, err
		}
		b.Write(msg)
		if len(all) > 1 {
			b.WriteString("\n")
		}
	}
	return notes(&b, skipped), nil
}
