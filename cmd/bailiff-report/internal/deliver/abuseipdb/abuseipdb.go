// Package abuseipdb reports to AbuseIPDB over its API v2: one by one, and as a file where a digest holds many.
//
// Sources: https://docs.abuseipdb.com (fields, limits, answers), https://www.abuseipdb.com/reporting-policy (what may be
// reported, and how), https://www.abuseipdb.com/categories.
//
// Start reading at Deliver. report.go makes an entry of a report and reads answers, bulk.go makes files of many entries; report.Attacks
// says how attacks are classified.
package abuseipdb

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"mime/multipart"
	"net/textproto"
	"strings"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/httpclient"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

type destination struct {
	*config.Destination
	env  deliver.Env
	base string
}

// New makes the destination. An error says what is wrong with its configuration.
func New(d *config.Destination, env deliver.Env) (deliver.Destination, error) {
	base := strings.TrimSuffix(cmp.Or(d.URL, apiURL), "/")
	if err := httpclient.Check(base); err != nil {
		return nil, err
	}
	return &destination{d, env, base}, nil
}

// call is one request of an item.
type call struct {
	*httpclient.Request
	entries []*entry
	bulk    bool
}

// calls returns the requests for an item. skipped says which of its reports are left out.
func (d *destination) calls(item *report.Item, key string) (calls []call, skipped []error, err error) {
	entries, skipped, err := composeAll(item.Reports, d.Destination, item.Test, d.env.Now())
	if err != nil {
		return nil, nil, err
	}
	header := map[string]string{"Accept": "application/json", "Key": key}
	request := func(path, kind string, body []byte) *httpclient.Request {
		return &httpclient.Request{URL: d.base + path, Header: header, Type: kind, Body: body, Agent: d.env.Agent}
	}
	if len(entries) < bulkMin {
		for _, e := range entries {
			calls = append(calls, call{request("/report", "application/x-www-form-urlencoded", []byte(e.form().Encode())), []*entry{e}, false})
		}
		return calls, skipped, nil
	}
	for len(entries) > 0 {
		n := min(len(entries), maxRows)
		kind, body, err := form(csvFile(entries[:n]), item.Key)
		if err != nil {
			return nil, nil, &report.Refused{Err: err}
		}
		calls = append(calls, call{request("/bulk-report", kind, body), entries[:n], true})
		entries = entries[n:]
	}
	return calls, skipped, nil
}

// form is a form with one file. No line of a CSV begins with the hyphens of the boundary.
func form(data []byte, key string) (kind string, body []byte, err error) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if err := w.SetBoundary("bailiff-" + key[max(0, len(key)-60):] + "b"); err != nil {
		return "", nil, fmt.Errorf("the item's key %q: %w", key, err)
	}
	part, err := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {`form-data; name="csv"; filename="report.csv"`}, "Content-Type": {"text/csv"}})
	if err == nil {
		_, err = part.Write(data)
	}
	err = errors.Join(err, w.Close())
	return w.FormDataContentType(), b.Bytes(), err
}

// Deliver sends an item. If one of several requests fails, all are sent again the next time; AbuseIPDB recognizes duplicates.
func (d *destination) Deliver(ctx context.Context, item *report.Item) (report.Receipt, error) {
	key, err := httpclient.Key(d.env.Secret, d.CredentialName())
	if err != nil {
		return report.Receipt{}, err
	}
	calls, skipped, err := d.calls(item, key)
	if err != nil {
		return report.Receipt{}, err
	}
	ctx, cancel := httpclient.Limit(ctx, d.TimeLimit)
	defer cancel()
	if len(calls) == 1 {
		receipt, err := d.send(ctx, calls[0])
		return with(receipt, skipped), err
	}
	taken, known := 0, 0
	var refused []error
	for _, c := range calls {
		receipt, err := d.send(ctx, c)
		var no *report.Refused
		switch {
		case errors.As(err, &no) && !no.All: // others may be accepted
			refused = append(refused, err)
		case err != nil:
			return report.Receipt{}, err
		case receipt.Duplicate:
			known++
		default:
			taken++
		}
	}
	if taken+known == 0 {
		return report.Receipt{}, refused[0]
	}
	return with(report.Receipt{Answer: fmt.Sprintf("%d taken, %d already known", taken, known), Duplicate: taken == 0}, append(refused, skipped...)), nil
}

// with adds to a receipt how many reports were left out, and why.
func with(r report.Receipt, not []error) report.Receipt {
	if len(not) > 0 {
		r.Answer += fmt.Sprintf("; %d left out: %v", len(not), not[0])
	}
	return r
}

func (d *destination) send(ctx context.Context, c call) (report.Receipt, error) {
	a, err := httpclient.Post(ctx, d.env.Client, c.Request)
	if err != nil {
		return report.Receipt{}, err
	}
	if c.bulk {
		return judgeBulk(a, len(c.entries), d.env.Now())
	}
	return judge(a, d.env.Now())
}

// Render shows the requests.
func (d *destination) Render(item *report.Item) ([]byte, error) {
	calls, skipped, err := d.calls(item, httpclient.Masked)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, c := range calls {
		b.Write(c.Text())
		b.WriteString("\n\n")
	}
	for _, err := range skipped {
		fmt.Fprintf(&b, "# left out: %v\n", err)
	}
	return b.Bytes(), nil
}
