// Package exec hands reports to programs of the administrator's. bailiff-report speaks with strangers and so may start nothing:
// it connects to a socket of systemd's (bailiff-report-exec.socket), and systemd starts an instance of
// bailiff-report-exec@.service for the connection, with a sandbox and a user of its own. That instance (Serve, in serve.go)
// looks the destination's command up in the configuration itself, so bailiff-report chooses when a program runs and what report
// it gets, but never which program.
//
// On the socket bailiff-report sends one line of JSON, request, and behind it the report (bailiff.report(5)) to the end of what it
// sends. The instance answers with one JSON object, answer.
//
// Start reading at Deliver; judge.go says what exit statuses mean.
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
	"bailiff/cmd/bailiff-report/internal/deliver/web"
	"bailiff/cmd/bailiff-report/internal/deliver/webhook"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

const (
	// Socket is bailiff-report-exec.socket's.
	Socket = "/run/bailiff-report/exec"

	// grace is for the instance to start and to answer, beside the time that the program has.
	grace = 15 * time.Second

	maxRequest = 4 << 10  // bytes of its line
	maxReport  = 16 << 20 // webhook.Compose keeps below
	maxAnswer  = 64 << 10
	maxOutput  = 4 << 10 // bytes of what a program writes
)

// request is the line before the report.
type request struct {
	Destination string `json:"destination"`
}

// answer is what became of the program.
type answer struct {
	Error   string `json:"error,omitempty"`  // why it was not started
	Status  int    `json:"status"`           // its exit status
	Signal  string `json:"signal,omitempty"` // that ended it, in place of a status
	TimeOut bool   `json:"timeout,omitempty"`
	Output  []byte `json:"output,omitempty"` // the first of what it wrote
}

type destination struct {
	*config.Destination
	env    deliver.Env
	socket string
}

// New makes the destination. An error says what is wrong with its configuration.
func New(d *config.Destination, env deliver.Env) (deliver.Destination, error) {
	if len(d.Command) == 0 {
		return nil, errors.New("there is no command")
	}
	return &destination{d, env, Socket}, nil
}

// Deliver gives an item to the program. It may get one twice: when its answer was lost, or bailiff-report was killed meanwhile.
func (d *destination) Deliver(ctx context.Context, item *report.Item) (report.Receipt, error) {
	ctx, cancel := web.Limit(ctx, d.TimeLimit+grace)
	defer cancel()
	a, err := d.ask(ctx, webhook.Compose(item, d.env.Host, d.Lines))
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		return report.Receipt{}, fmt.Errorf("%s: %w", d.socket, err)
	}
	return judge(a, d.Destination, item.Attempt)
}

// ask sends a report over the socket.
func (d *destination) ask(ctx context.Context, body []byte) (*answer, error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", d.socket)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return nil, errors.New("nobody listens; systemctl enable --now bailiff-report-exec.socket")
	case errors.Is(err, syscall.EACCES):
		return nil, errors.New("is for the user bailiff-report and root alone")
	case err != nil:
		return nil, errors.Unwrap(err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	line, err := json.Marshal(request{d.Name})
	if err != nil {
		return nil, err
	}
	// An instance that refuses does so before it has read all: its answer is what counts then, not that writing failed.
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
			err = errors.New("the program's unit ended without an answer; journalctl -u 'bailiff-report-exec@*' may say why")
		}
		return nil, err
	}
	a := new(answer)
	if err := json.Unmarshal(b, a); err != nil {
		return nil, fmt.Errorf("the answer cannot be read: %w", err)
	}
	return a, nil
}

// Render shows the command and what it would get.
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
