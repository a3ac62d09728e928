// Package blocklistde reports to blocklist.de: over HTTP, or by mails like fail2ban's through the host's mail system, whose sender is
// the account there. blocklist.de takes one address at a time: each item has one report.
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

type overHTTP struct {
	*config.Destination
	env deliver.Env
	url string
}

func (d *overHTTP) request(e *entry, key string) *httpclient.Request {
	body := e.form(d.Server, key).Encode()
	return &httpclient.Request{URL: d.url, Header: map[string]string{"Accept": "application/json"}, Type: "application/x-www-form-urlencoded", Body: []byte(body), Agent: d.env.Agent}
}

// Deliver posts the item's report.
func (d *overHTTP) Deliver(ctx context.Context, item *report.Item) (report.Receipt, error) {
	key, err := httpclient.Key(d.env.Secret, d.CredentialName())
	if err != nil {
		return report.Receipt{}, err
	}
	e, err := compose(item.Reports[0], d.Destination)
	if err != nil {
		return report.Receipt{}, err
	}
	ctx, cancel := httpclient.Limit(ctx, d.TimeLimit)
	defer cancel()
	a, err := httpclient.Post(ctx, d.env.Client, d.request(e, key))
	if err != nil {
		return report.Receipt{}, err
	}
	return judge(a, d.Destination, d.env.Now())
}

// Render shows the request.
func (d *overHTTP) Render(item *report.Item) ([]byte, error) {
	e, err := compose(item.Reports[0], d.Destination)
	if err != nil {
		return nil, err
	}
	text := bytes.Replace(d.request(e, httpclient.Masked).Text(), []byte("apikey="+escaped), []byte("apikey="+httpclient.Masked), 1)
	return append(text, '\n'), nil
}

// escaped is httpclient.Masked as it is encoded in a form.
var escaped = strings.ReplaceAll(httpclient.Masked, "*", "%2A")
