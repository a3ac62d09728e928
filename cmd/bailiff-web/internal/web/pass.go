package web

import (
	"context"
	"io"
	"net/http"
	"time"

	"bailiff/units/control"
	"bailiff/units/metrics"
)

// opener makes a GET call on a control socket.
type opener func(ctx context.Context, path, rawQuery string, header http.Header) (*http.Response, error)

// maxAnswer bounds an answer, in bytes, as the control socket's own client does.
const maxAnswer = 64 << 20

// take waits for one of a limited number of slots, for a while.
func take(ctx context.Context, slots chan struct{}) (free func(), err *control.Error) {
	ctx, cancel := context.WithTimeout(ctx, queueTime)
	defer cancel()
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, &control.Error{Status: http.StatusServiceUnavailable, Message: "too many requests at once", Hint: "close other windows of the page, or try again later"}
	}
}

// pass passes a call on to a control socket, and the answer back.
func (s *Server) pass(w http.ResponseWriter, r *http.Request, slots chan struct{}, open opener, path string) {
	ctx, cancel := context.WithTimeout(r.Context(), callTime)
	defer cancel()
	free, refused := take(ctx, slots)
	if refused != nil {
		fail(w, refused)
		return
	}
	defer free()
	res, err := open(ctx, path, r.URL.RawQuery, nil)
	if err != nil {
		fail(w, control.AsError(err))
		return
	}
	defer res.Body.Close()
	copyHeader(w, res)
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(callTime))
	w.WriteHeader(res.StatusCode)
	if r.Method == http.MethodGet {
		io.Copy(w, io.LimitReader(res.Body, maxAnswer))
	}
}

// stream passes on an answer that grows until the browser leaves: JSON lines. Each piece is sent on at once.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, slots chan struct{}) {
	free, refused := take(r.Context(), slots)
	if refused != nil {
		fail(w, refused)
		return
	}
	defer free()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	c := http.NewResponseController(w)
	res, err := s.Control.Open(ctx, r.URL.Path, r.URL.RawQuery, nil)
	if err != nil {
		fail(w, control.AsError(err))
		return
	}
	defer res.Body.Close()
	copyHeader(w, res)
	w.WriteHeader(res.StatusCode)
	if r.Method != http.MethodGet {
		return
	}
	c.Flush()
	buf := make([]byte, 32<<10)
	for {
		n, err := res.Body.Read(buf)
		if n > 0 {
			c.SetWriteDeadline(time.Now().Add(eventTime))
			if _, err := w.Write(buf[:n]); err != nil || c.Flush() != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// metrics answers a scraper: what the daemon and bailiff-report count, in the format that it prefers.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), callTime)
	defer cancel()
	free, refused := take(ctx, s.scrapes)
	if refused != nil {
		fail(w, refused)
		return
	}
	defer free()
	open, kind := metrics.OpenMetrics(r.Header.Values("Accept")), metrics.TextType
	if open {
		kind = metrics.OpenMetricsType
	}
	body, err := control.AllMetrics(ctx, s.Control, s.Report, open)
	if err != nil {
		fail(w, control.AsError(err))
		return
	}
	w.Header().Set("Content-Type", kind)
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(callTime))
	w.Write(body)
}

func copyHeader(w http.ResponseWriter, res *http.Response) {
	w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
}
