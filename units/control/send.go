package control

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
)

// Send makes one request over a connection of its own to a unix socket, and returns the answer as it comes; the caller closes its body. The
// request's context bounds the call until then. http.Client would do the same, but it links TLS: 1.5 MB that root's command does not need.
func Send(socket string, req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	a := &answer{ctx: ctx, conn: conn, stop: context.AfterFunc(ctx, func() { conn.Close() })}
	req.Close = true
	sent := req.Write(conn)
	res, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil { // else the server answered before it had read all
		a.Close()
		return nil, a.explain(errors.Join(sent, err))
	}
	a.body, res.Body = res.Body, a
	return res, nil
}

// answer is the body of an answer, with its connection.
type answer struct {
	ctx  context.Context
	conn net.Conn
	stop func() bool // of the context's closing the connection
	body io.ReadCloser
}

func (a *answer) Read(b []byte) (int, error) {
	n, err := a.body.Read(b)
	if err != io.EOF {
		err = a.explain(err)
	}
	return n, err
}

// explain returns why the context ended, if that is what closed the connection.
func (a *answer) explain(err error) error {
	if err != nil && a.ctx.Err() != nil {
		return a.ctx.Err()
	}
	return err
}

func (a *answer) Close() error {
	a.stop()
	return a.conn.Close()
}
