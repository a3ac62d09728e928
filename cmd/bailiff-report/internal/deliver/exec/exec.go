// Package exec passes reports to the administrator's programs. bailiff-report talks to the network and must not start programs: it
// connects to bailiff-report-exec.socket, and systemd starts an instance of bailiff-report-exec@.service for the connection, with a
// sandbox and a user of its own. The instance (Serve, in serve.go) looks up the destination's command in the configuration itself. So
// bailiff-report decides when a program runs and which report it gets, but not which program.
//
// bailiff-report sends one line of JSON (request), then the report (bailiff.report(5)), and closes its side. The instance answers with
// one JSON object (answer).
//
// Start reading at Deliver; status.go says what exit statuses mean.
package exec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/httpclient"
	"bailiff/cmd/bailiff-report/internal/deliver/webhook"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

const (
	// Socket is the path of bailiff-report-exec.socket.
	Socket = "/run/bailiff-report/exec"

	// grace is the time for the instance to start and to answer, in addition to the program's time.
	grace = 15 * time.Second

	maxRequest = 4 << 10  // bytes of the line
	maxReport  = 16 << 20 // more than webhook.Compose makes
	maxAnswer  = 64 << 10
	maxOutput  = 4 << 10 // bytes of a program's output that are kept
)

// request is the line before the report.
type request struct {
	Destination string `json:"destination"`
}

// answer is how the program ended.
type answer struct {
	Error   string `json:"error,omitempty"`  // why it was not started
	Status  int    `json:"status"`           // its exit status
	Signal  string `json:"signal,omitempty"` // that ended it, instead of a status
	TimeOut bool   `json:"timeout,omitempty"`
	Output  []byte `json:"output,omitempty"` // the beginning of its output
}

type destination struct {
	*config.Destination
	env    deliver.Env
	socket string
}

// New makes the destination. An error says what is wrong with its configuration.
func New(d *config.Destination, env deliver.Env) (deliver.Destination, error) {
	if len(d.Command) == 0 {
		return nil, errors.New("no command is configured")
	}
	return &destination{d, env, Socket}, nil
}

// Deliver passes an item to the program. The program may get an item twice, if its answer was lost or bailiff-report was killed.
func (d *destination) Deliver(ctx context.Context, item *report.Item) (report.Receipt, error) {
	ctx, cancel := httpclient.Limit(ctx, d.TimeLimit+grace)
	defer cancel()
	a, err := d.ask(ctx, webhook.Compose(item, d.env.Host, d.Lines))
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		return report.Receipt{}, fmt.Errorf("%s: %w", d.socket, err)
	}
	return resultOf(a, d.Destination, item.Attempt)
}

// ask sends a report over the socket.
func (d *destination) ask(ctx context.Context, body []byte) (*answer, error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", d.socket)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return nil, errors.New("nothing listens on it; systemctl enable --now bailiff-report-exec.socket")
	case errors.Is(err, syscall.EACCES):
		return nil, errors.New("permission denied (only bailiff-report and root may connect)")
	case err != nil:
		return nil, errors.Unwrap(err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	line, err := json.Marshal(request{d.Name})
	if err != nil {
		return nil, err
	}
	// An instance that refuses may not read everything: its answer counts then, not the failed write.
	_, sent := io.Copy(c, io.MultiReader(bytes.NewReader(line), strings.NewReader("\n"), bytes.NewReader(body)))
	if sent == nil {
		sent = c.(*net.UnixConn).CloseWrite()
	}
	b, err := io.ReadAll(io.LimitReader(c, maxAnswer))
	if len(b) == 0 {
		if err == nil {
			err = sent
		}
		if err == nil {
			err = errors.New("the program's unit ended without an answer; journalctl -u 'bailiff-report-exec@*' may show why")
		}
		return nil, err
	}
	a := new(answer)
	if err := json.Unmarshal(b, a); err != nil {
		return nil, fmt.Errorf("the answer cannot be read: %w", err)
	}
	return a, nil
}

// Render returns the command and its input.
func (d *destination) Render(item *report.Item) ([]byte, error) {
	var b bytes.Buffer
	for i, arg := range d.Command {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%q", arg)
	}
	b.WriteByte('\n')
	b.Write(webhook.Compose(item, d.env.Host, d.Lines))
	b.WriteByte('\n')
	return b.Bytes(), nil
}
