// Package xarf mails complaints to the abuse contacts of networks, in forms that their programs read: X-ARF 0.2, a mail with a
// report in YAML, and XARF 4, a mail in the manner of RFC 5965 with a report in JSON (https://xarf.org).
//
// A complaint accuses somebody. So there is none without log lines that show it, none about what may be forged, and none whose kind
// has to be guessed. There is none to this host's own people, and no contact gets more mails than configured. A digest becomes one
// mail for each address and service. sent.go records which were sent, so that one that has to wait does not repeat the others.
//
// Start reading at Deliver; complaint.go makes complaints of reports.
package xarf

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/sendmail"
	"bailiff/cmd/bailiff-report/internal/message"
	"bailiff/cmd/bailiff-report/internal/registry/whois"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

// mailer is *sendmail.Mailer.
type mailer interface {
	Send(ctx context.Context, to []string, msg []byte) (report.Receipt, error)
}

type destination struct {
	conf   *config.Destination
	env    deliver.Env
	sender *Sender
	mailer mailer
	own    ownDomains

	unsaved *sentLog // nil: the file is up to date
}

// New makes a destination of type xarf. Errors are about its configuration or the content of its file.
func New(d *config.Destination, env deliver.Env) (deliver.Destination, error) {
	m, err := sendmail.New(env.Config, env.Host)
	if err != nil {
		return nil, err
	}
	s, err := NewSender(d, env.Host, env.Config.Sender, env.Agent)
	if err != nil {
		return nil, err
	}
	if _, err := openSentLog(env.State, d.Name); errors.Is(err, errContent) { // Deliver tries any other again
		return nil, err
	}
	return &destination{conf: d, env: env, sender: s, mailer: m, own: newOwnDomains(s.Contact, s.From, env.Host)}, nil
}

// ownDomains are the domains of this host and of the reporter.
type ownDomains struct {
	domains []string // with their subdomains
	parent  string   // of the host's name, without subdomains, which may belong to other customers of a provider
}

func newOwnDomains(contact, from, host string) (o ownDomains) {
	for _, s := range []string{contact, from, host} {
		_, domain, ok := strings.Cut(s, "@")
		if !ok {
			domain = s
		}
		if domain = strings.ToLower(domain); strings.Contains(domain, ".") && !slices.Contains(o.domains, domain) {
			o.domains = append(o.domains, domain)
		}
	}
	_, o.parent, _ = strings.Cut(strings.ToLower(host), ".")
	return o
}

// has reports whether an address belongs to this host's own administrators.
func (o *ownDomains) has(address string) bool {
	_, domain, _ := strings.Cut(strings.ToLower(address), "@")
	return domain == o.parent || slices.ContainsFunc(o.domains, func(d string) bool { return domain == d || strings.HasSuffix(domain, "."+d) })
}

// contacts returns the addresses to complain to, or why there are none; a *report.Retry if that may change.
func (d *destination) contacts(ctx context.Context, c *complaint) ([]string, error) {
	if c.Test {
		return []string{d.sender.Contact}, nil // tests go to nobody else
	}
	found := c.Abuse
	if len(found) == 0 && d.env.Lookup != nil {
		w := d.env.Lookup(ctx, c.Address)
		if why := cmp.Or(w.Failed, w.Unasked); len(w.Abuse) == 0 && why != "" {
			return nil, &report.Retry{Own: true, Err: fmt.Errorf("no abuse contact: the registries did not answer: %s", why)}
		}
		found = w.Abuse
	}
	var to []string
	for _, a := range found {
		if config.ValidAddress(a) && !d.own.has(a) && len(to) < whois.MaxContacts {
			to = append(to, a)
		}
	}
	switch {
	case len(found) == 0:
		return nil, errors.New("the registries have no abuse contact")
	case len(to) == 0:
		return nil, fmt.Errorf("the abuse contact %s is in this host's own domain", strings.Join(found, ", "))
	}
	return to, nil
}

// Deliver sends a mail for each complaint of the item that was not sent yet. If some have to wait, the error is about these, and the
// next attempt sends only them.
func (d *destination) Deliver(ctx context.Context, item *report.Item) (report.Receipt, error) {
	// It is read here, since a destination that was configured before may still have been sending when this one was made.
	sent := d.unsaved
	if sent == nil {
		var err error
		switch sent, err = openSentLog(d.env.State, d.conf.Name); {
		case errors.Is(err, errContent):
			return report.Receipt{}, &report.Refused{All: true, Err: err}
		case err != nil:
			return report.Receipt{}, err
		}
	}
	cases, left := complaints(item, d.conf.Format, d.conf.Lines)
	var done, not []string
	var wait []error
	after, alone := time.Duration(0), true // alone: no mail failed, so other items need not wait
	for _, s := range left {
		not = append(not, s.String())
	}
	for _, c := range cases {
		name := fmt.Sprintf("%s (%s)", c.Address, c.Service)
		if ctx.Err() != nil {
			wait = append(wait, fmt.Errorf("%s: %w", name, ctx.Err()))
			after, alone = 0, false
			continue
		}
		if sent.has(c.Key) {
			done = append(done, name+": already sent")
			continue
		}
		to, err := d.contacts(ctx, c)
		var room time.Duration
		if err == nil {
			to, room = d.allowed(sent, to)
			if len(to) == 0 {
				err = &report.Retry{After: room, Own: true, Err: fmt.Errorf("the abuse contact got %d mails in 24 hours", d.conf.PerContact)}
			}
		}
		var answer string
		if err == nil {
			answer, err = d.send(ctx, sent, c, to)
		}
		var retry *report.Retry
		var refused *report.Refused
		var bad *sendmail.Rejected
		switch {
		case err == nil:
			done = append(done, fmt.Sprintf("%s: to %s: %s", name, strings.Join(to, ", "), answer))
		case errors.As(err, &bad) && bad.Of == "arguments":
			return report.Receipt{}, &report.Refused{All: true, Err: err} // no mail can be sent
		case errors.As(err, &retry):
			if len(wait) == 0 || retry.After < after {
				after = retry.After
			}
			alone = alone && retry.Own
			wait = append(wait, fmt.Errorf("%s: %w", name, retry.Err))
		case errors.As(err, &refused), len(to) == 0:
			not = append(not, name+": "+err.Error())
		default:
			wait = append(wait, fmt.Errorf("%s: %w", name, err))
			after, alone = 0, false
		}
	}
	text := summary(done, not)
	switch {
	case len(wait) > 0:
		err := errors.New(strings.ReplaceAll(errors.Join(wait[:min(len(wait), 3)]...).Error(), "\n", "; "))
		if len(wait) > 3 {
			err = fmt.Errorf("%w; and %d more", err, len(wait)-3)
		}
		if len(done) > 0 {
			err = fmt.Errorf("%d of %d complaints were sent; %w", len(done), len(cases), err)
		}
		return report.Receipt{}, &report.Retry{After: after, Own: alone, Err: err}
	case len(done) == 0:
		return report.Receipt{}, &report.Refused{Err: errors.New(text)}
	}
	return report.Receipt{Answer: text}, nil
}

// allowed returns the contacts that may get a mail now, and after which time the next of the others may.
func (d *destination) allowed(sent *sentLog, to []string) (may []string, after time.Duration) {
	for _, a := range to {
		switch w := sent.retryAfter(a, d.conf.PerContact, d.env.Now()); {
		case w == 0:
			may = append(may, a)
		case after == 0 || w < after:
			after = w
		}
	}
	return may, after
}

// send sends a complaint and records it. Nothing is sent while the file cannot be written: what a restart forgets would be sent again.
func (d *destination) send(ctx context.Context, sent *sentLog, c *complaint, to []string) (string, error) {
	m, err := d.sender.Message(c, d.conf.Format, to, d.env.Now())
	if err != nil {
		return "", &report.Refused{Err: err}
	}
	if !sent.written {
		if err := sent.write(); err != nil {
			return "", fmt.Errorf("what is sent cannot be recorded: %w", err)
		}
		d.unsaved = nil
	}
	receipt, err := d.mailer.Send(ctx, to, m.Bytes())
	if err != nil {
		return "", err
	}
	// The mail was sent: an error of the file is no reason to send it again.
	if err := sent.record(c.Key, to, d.env.Now(), d.conf.RetryFor+2*day); err != nil {
		d.unsaved = sent
		return fmt.Sprintf("%s (not recorded: %v)", receipt.Answer, err), nil
	}
	return receipt.Answer, nil
}

// summary describes a delivery in one line.
func summary(done, not []string) string {
	const limit = 3
	var parts []string
	add := func(list []string, what string) {
		if len(list) > limit {
			list = append(slices.Clone(list[:limit]), fmt.Sprintf("and %d more", len(list)-limit))
		}
		if len(list) > 0 {
			parts = append(parts, what+strings.Join(list, "; "))
		}
	}
	add(done, "")
	add(not, "not sent: ")
	return strings.Join(parts, "; ")
}

// Render returns the mails, separated by a line. It asks the registries as Deliver would.
func (d *destination) Render(item *report.Item) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d.env.Config.Lookup.TimeLimit+time.Second)
	defer cancel()
	cases, left := complaints(item, d.conf.Format, d.conf.Lines)
	var mails [][]byte
	var not []string
	for _, s := range left {
		not = append(not, s.String())
	}
	for _, c := range cases {
		to, err := d.contacts(ctx, c)
		if err != nil {
			not = append(not, fmt.Sprintf("%s (%s): %v", c.Address, c.Service, err))
			continue
		}
		m, err := d.sender.Message(c, d.conf.Format, to, d.env.Now())
		if err != nil {
			return nil, err
		}
		mails = append(mails, m.Bytes())
	}
	if len(mails) == 0 {
		return nil, errors.New(summary(nil, not))
	}
	return bytes.Join(mails, []byte("\r\n---------- next mail ----------\r\n\r\n")), nil
}

// Trace returns the Message-ID of an item that is one mail. The mails of a digest are recorded one by one: after a crash, at most the
// last of them is sent twice, with the same Message-ID.
func (d *destination) Trace(item *report.Item) string {
	cases, _ := complaints(item, d.conf.Format, 1)
	if len(cases) != 1 {
		return ""
	}
	return message.ID(cases[0].Key, d.env.Host)
}
