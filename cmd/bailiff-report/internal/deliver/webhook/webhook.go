// Package webhook posts reports as JSON to a URL of the administrator's, signed as https://www.standardwebhooks.com describes. The
// JSON has a schema that stays, described in bailiff.report(5); programs (package exec) get the same.
//
// Start reading at Deliver; payload.go has the JSON, sign.go the signature.
package webhook

import (
	"context"
	"fmt"
	"maps"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/httpclient"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

type destination struct {
	*config.Destination
	env deliver.Env
}

// New makes the destination. An error says what is wrong with its configuration.
func New(d *config.Destination, env deliver.Env) (deliver.Destination, error) {
	if err := httpclient.Check(d.URL); err != nil {
		return nil, err
	}
	return &destination{d, env}, nil
}

func (d *destination) request(body []byte, signature map[string]string) *httpclient.Request {
	header := map[string]string{}
	maps.Copy(header, d.Headers)
	maps.Copy(header, signature)
	return &httpclient.Request{URL: d.URL, Header: header, Type: "application/json", Body: body, Agent: d.env.Agent}
}

// Deliver posts an item. If the answer was lost, it is posted again with the same webhook-id.
func (d *destination) Deliver(ctx context.Context, item *report.Item) (report.Receipt, error) {
	credential, err := d.env.Secret(d.CredentialName())
	if err != nil {
		return report.Receipt{}, httpclient.NoKey(err)
	}
	secrets, err := readSecrets(credential)
	if err != nil {
		return report.Receipt{}, httpclient.NoKey(fmt.Errorf("credential %s: %w", d.CredentialName(), err))
	}
	body := Compose(item, d.env.Host, d.Lines)
	ctx, cancel := httpclient.Limit(ctx, d.TimeLimit)
	defer cancel()
	a, err := httpclient.Post(ctx, d.env.Client, d.request(body, sign(secrets, idOf(item), d.env.Now(), body)))
	if err != nil {
		return report.Receipt{}, err
	}
	return a.Receipt(a.Err(httpclient.Host(d.URL), a.Text(), d.env.Now()))
}

// Render returns the request with the signature masked.
func (d *destination) Render(item *report.Item) ([]byte, error) {
	signature := sign(nil, idOf(item), d.env.Now(), nil)
	signature["webhook-signature"] = "v1," + httpclient.Masked
	return append(d.request(Compose(item, d.env.Host, d.Lines), signature).Text(), '\n'), nil
}
