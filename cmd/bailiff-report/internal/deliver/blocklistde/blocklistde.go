// Package blocklistde reports to blocklist.de: over HTTP, or by mails like fail2ban's through the host's mail system, whose sender is
// the account there. blocklist.de takes one address at a time, so a digest becomes several reports.
//
// Sources: https://www.blocklist.de/en/httpreports.html?help (fields), https://www.blocklist.de/en/rbldns.html (services), the
// announcement of 2013-01-02 in blog.blocklist.de (answers to errors), fail2ban's issues 2629, 2994 and 3107 (what it refuses).
//
// Start reading at New. report.go makes an entry of a report and reads answers, mail.go sends mails; report.Attacks says how attacks are
// classified.
package blocklistde

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/httpclient"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

// New makes the destination. An error says what is wrong with its configuration.
func New(d *config.Destination, env deliver.Env) (deliver.Destination, error) {
	if d.Method != "http" {
		return newMail(d, env)
	}
	o := &overHTTP{d, env, cmp.Or(d.URL, serviceURL)}
	if err := httpclient.Check(o.url); err != nil {
		return nil, err
	}
	return o, nil
}

// pair is one report of an item with its entry.
type pair struct {
	report *report.Report
	entry  *entry
}

// composeAll makes the entries of an item. skipped says why reports are left out; if all are, the error is the first reason.
func composeAll(item *report.Item, d *config.Destination) (all []pair, skipped []error, err error) {
	for _, r := range item.Reports {
		e, err := compose(r, d)
		if err != nil {
			skipped = append(skipped, err)
			continue
		}
		all = append(all, pair{r, e})
	}
	if len(all) == 0 {
		return nil, skipped, skipped[0]
	}
	return all, skipped, nil
}

// sendAll sends the entries one after the other. If one is refused, the others are sent nevertheless; after any other error, all are
// sent again the next time.
func sendAll(all []pair, skipped []error, send func(i int, t pair) (report.Receipt, error)) (report.Receipt, error) {
	var receipt report.Receipt
	taken := 0
	for i, t := range all {
		r, err := send(i, t)
		var no *report.Refused
		switch {
		case err == nil:
			taken++
			receipt = r
		case errors.As(err, &no) && !no.All && len(all) > 1:
			skipped = append([]error{err}, skipped...)
		default:
			return report.Receipt{}, err
		}
	}
	if taken == 0 {
		return report.Receipt{}, skipped[0]
	}
	if taken > 1 {
		receipt.Answer = fmt.Sprintf("%d taken; the last: %s", taken, receipt.Answer)
	}
	if len(skipped) > 0 {
		receipt.Answer += fmt.Sprintf("; %d left out: %v", len(skipped), skipped[0])
	}
	return receipt, nil
}

// notes adds to a preview what is left out.
func notes(b *bytes.Buffer, skipped []error) []byte {
	for _, err := range skipped {
		fmt.Fprintf(b, "# left out: %v\n", err)
	}
	return b.Bytes()
}

type overHTTP struct {
	*config.Destination
	env deliver.Env
	url string
}

func (d *overHTTP) request(e *entry, key string) *httpclient.Request {
	body := e.form(d.Server, key).Encode()
	return &httpclient.Request{URL: d.url, Header: map[string]string{"Accept": "application/json"}, Type: "application/x-www-form-urlencoded", Body: []byte(body), Agent: d.env.Agent}
}

// Deliver posts the item's reports.
func (d *overHTTP) Deliver(ctx context.Context, item *report.Item) (report.Receipt, error) {
	key, err := httpclient.Key(d.env.Secret, d.CredentialName())
	if err != nil {
		return report.Receipt{}, err
	}
	all, skipped, err := composeAll(item, d.Destination)
	if err != nil {
		return report.Receipt{}, err
	}
	ctx, cancel := httpclient.Limit(ctx, d.TimeLimit)
	defer cancel()
	return sendAll(all, skipped, func(_ int, t pair) (report.Receipt, error) {
		a, err := httpclient.Post(ctx, d.env.Client, d.request(t.entry, key))
		if err != nil {
			return report.Receipt{}, err
		}
		return judge(a, d.Destination, d.env.Now())
	})
}

// Render shows the requests.
func (d *overHTTP) Render(item *report.Item) ([]byte, error) {
	all, skipped, err := composeAll(item, d.Destination)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, t := range all {
		b.Write(bytes.Replace(d.request(t.entry, httpclient.Masked).Text(), []byte("apikey="+escaped), []byte("apikey="+httpclient.Masked), 1))
		b.WriteString("\n\n")
	}
	return notes(&b, skipped), nil
}

// escaped is httpclient.Masked as it is encoded in a form.
var escaped = strings.ReplaceAll(httpclient.Masked, "*", "%2A")
