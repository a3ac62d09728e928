// Package notice sends short messages to people: to their phones, chats, and Alertmanager. It is the webhook destination with a
// form other than bailiff's own: forms.go has a request for each service, text.go the texts.
//
// A message says what happened on which host. It holds no log line and no account name. Its texts are plain: where a service
// reads markup or mentions, they are escaped, since a program's error may hold anything.
package notice

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/httpclient"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

type destination struct {
	*config.Destination
	env  deliver.Env
	form form
}

// New makes the destination. An error says what is wrong with its configuration.
func New(d *config.Destination, env deliver.Env) (deliver.Destination, error) {
	f, ok := forms[d.Form]
	if !ok {
		return nil, fmt.Errorf("unknown form %q", d.Form)
	}
	if d.URL != "" {
		if err := httpclient.Check(d.URL); err != nil {
			return nil, err
		}
	}
	return &destination{d, env, f}, nil
}

// request makes the request for an item. secret is "" if the destination needs none.
func (d *destination) request(item *report.Item, secret string) (*httpclient.Request, error) {
	r, body := d.form(d.Destination, secret, compose(item, cmp.Or(item.Reports[0].Host, d.env.Host))) // a redacted report names no host
	if err := httpclient.Check(r.URL); err != nil {                                                   // a URL that came as a secret: the error must not hold it
		return nil, errors.New("the URL is neither https nor of this host")
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	header := map[string]string{}
	maps.Copy(header, d.Headers)
	maps.Copy(header, r.Header)
	r.Header, r.Type, r.Body, r.Agent = header, "application/json", b, d.env.Agent
	return r, nil
}

// Deliver sends an item. If the answer was lost it is sent again: Matrix knows it by its key, others show it twice.
func (d *destination) Deliver(ctx context.Context, item *report.Item) (receipt report.Receipt, err error) {
	secret := ""
	if name := d.CredentialName(); name != "" {
		if secret, err = httpclient.Key(d.env.Secret, name); err != nil {
			return receipt, err
		}
	}
	r, err := d.request(item, secret)
	if err != nil {
		return receipt, httpclient.NoKey(fmt.Errorf("credential %s: %w", d.CredentialName(), err))
	}
	ctx, cancel := httpclient.Limit(ctx, d.TimeLimit)
	defer cancel()
	a, err := httpclient.Post(ctx, d.env.Client, r)
	if err != nil {
		return receipt, err
	}
	return judge(a, httpclient.Host(r.URL), d.env.Now())
}

// judge reads the answer. Telegram and Matrix put the pause that they ask for into the body, and so does Discord, to the
// millisecond.
func judge(a *httpclient.Answer, host string, now time.Time) (report.Receipt, error) {
	err := a.Err(host, a.Text(), now)
	var retry *report.Retry
	if errors.As(err, &retry) && retry.After == 0 {
		var body struct {
			Parameters struct {
				Seconds float64 `json:"retry_after"`
			} `json:"parameters"`
			Seconds float64 `json:"retry_after"`
			Millis  float64 `json:"retry_after_ms"`
		}
		if json.Unmarshal(a.Body, &body) == nil {
			s := max(body.Parameters.Seconds, body.Seconds, body.Millis/1000)
			retry.After = time.Duration(min(max(s, 0), 24*3600) * float64(time.Second))
		}
	}
	return a.Receipt(err)
}

// Render returns the request with the secret masked.
func (d *destination) Render(item *report.Item) ([]byte, error) {
	const host = "https://masked.invalid/" // stands for a URL that is the secret
	secret := httpclient.Masked
	if d.URL == "" && d.Form != "telegram" {
		secret = host + httpclient.Masked
	}
	r, err := d.request(item, secret)
	if err != nil {
		return nil, err
	}
	r.URL = strings.Replace(r.URL, host, "", 1)
	return append(r.Text(), '\n'), nil
}
