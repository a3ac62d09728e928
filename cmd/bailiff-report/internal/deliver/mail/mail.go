// Package mail reports by mail, through the host's mail system.
//
// Nothing of a report becomes a header but a ban's id, jail and address, and the subject; these are one line of printable text
// each. Log lines stand in the text. A line that is not UTF-8, or holds control characters or marks that change the order of text, is
// shown with codes (\x1b), and its bytes are attached in the journal's export format (systemd.io/JOURNAL_EXPORT_FORMATS), which
// systemd-journal-remote reads.
//
// Start reading at Deliver. compose.go makes the mail; the layouts are templates, bailiff.tmpl and fail2ban.tmpl; view.go has what
// they see.
package mail

import (
	"context"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/sendmail"
	"bailiff/cmd/bailiff-report/internal/message"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
	"bailiff/units/atomicfile"
)

type destination struct {
	conf     *config.Destination
	env      deliver.Env
	mailer   *sendmail.Mailer
	template *Template
}

// New makes a destination of type mail and reads its template.
func New(d *config.Destination, env deliver.Env) (deliver.Destination, error) {
	m, err := sendmail.New(env.Config, env.Host)
	if err != nil {
		return nil, err
	}
	out := &destination{conf: d, env: env, mailer: m}
	if d.Template != "" {
		if out.template, err = ReadTemplate(d.Template); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ReadTemplate reads and checks a template.
func ReadTemplate(file string) (*Template, error) {
	data, err := atomicfile.Read(file, maxTemplate, 0)
	if err != nil {
		return nil, err
	}
	return ParseTemplate(file, data)
}

// Render returns the mail. The sendmail program gets it with lines that end with \n only.
func (d *destination) Render(item *report.Item) ([]byte, error) {
	return Compose(item, d.conf, d.envelope())
}

func (d *destination) envelope() *Envelope {
	return &Envelope{Host: d.env.Host, Sender: d.env.Config.Sender, Agent: d.env.Agent, Time: d.env.Now(), Template: d.template}
}

// Deliver sends the mail.
func (d *destination) Deliver(ctx context.Context, item *report.Item) (report.Receipt, error) {
	msg, err := d.Render(item)
	if err != nil {
		return report.Receipt{}, &report.Refused{All: true, Err: err} // because of its template
	}
	return d.mailer.Send(ctx, d.conf.To, msg)
}

// Trace is the Message-ID, which every mail system logs.
func (d *destination) Trace(item *report.Item) string { return message.ID(item.Key, d.env.Host) }
