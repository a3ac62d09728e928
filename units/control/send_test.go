package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
)

// TestSend: the answer to a request that was not read completely arrives, the end of the context is reported as its error, and a connection
// closed in the middle is an error.
func TestSend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/refuses":
			http.Error(w, "too much", http.StatusRequestEntityTooLarge)
		case "/streams":
			io.WriteString(w, "first\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			close(ended)
		case "/dies":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	})}
	go server.Serve(l)
	defer server.Close()
	send := func(ctx context.Context, path string, body io.Reader) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://bailiff"+path, body)
		if err != nil {
			t.Fatal(err)
		}
		return Send(l.Addr().String(), req)
	}

	res, err := send(t.Context(), "/refuses", bytes.NewReader(make([]byte, 32<<20)))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); res.StatusCode != http.StatusRequestEntityTooLarge || err != nil || string(b) != "too much\n" {
		t.Errorf("%s, %q, %v", res.Status, b, err)
	}
	res.Body.Close()

	ctx, cancel := context.WithCancel(t.Context())
	res, err = send(ctx, "/streams", nil)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, err := io.ReadFull(res.Body, b[:6]); err != nil || string(b[:n]) != "first\n" {
		t.Errorf("%q, %v", b[:n], err)
	}
	cancel()
	if _, err := res.Body.Read(b); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context has ended: %v", err)
	}
	<-ended
	res.Body.Close()
	if _, err := send(ctx, "/streams", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}

	res, err = send(t.Context(), "/dies", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(res.Body); !cutOff(err) {
		t.Errorf("half an answer: %v", err)
	}
	res.Body.Close()
}
