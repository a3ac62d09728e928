package httpclient

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func post(t *testing.T, within time.Duration, h http.HandlerFunc) (*Answer, error) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c := NewClient()
	t.Cleanup(c.CloseIdleConnections)
	ctx, cancel := Limit(t.Context(), within)
	defer cancel()
	return Post(ctx, c, &Request{URL: s.URL + "/secret?token=hunter2", Header: map[string]string{"Key": "hunter2"}, Type: "text/plain", Body: []byte("report"), Agent: "bailiff/test"})
}

func TestPost(t *testing.T) {
	a, err := post(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "report" || r.Method != "POST" || r.Header.Get("Key") != "hunter2" || r.Header.Get("Content-Type") != "text/plain" || r.UserAgent() != "bailiff/test" || r.ContentLength != 6 {
			t.Errorf("got %s %v %q, %v", r.Method, r.Header, body, err)
		}
		w.Header().Set("Retry-After", "5")
		w.WriteHeader(503)
		io.WriteString(w, "later")
	})
	if err != nil || a.Status != 503 || string(a.Body) != "later" || a.After(time.Now()) != 5*time.Second {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestNoRedirection(t *testing.T) {
	var n atomic.Int32
	a, err := post(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	if err != nil || a.Status != 307 || n.Load() != 1 {
		t.Errorf("%+v, %v, %d requests", a, err, n.Load())
	}
}

func TestHugeAnswer(t *testing.T) {
	a, err := post(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		block := bytes.Repeat([]byte("x"), 1<<16)
		for range 1 << 10 { // 64 MiB
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	if err != nil || a.Status != 200 || len(a.Body) != MaxBody {
		t.Errorf("%v", err)
	}
}

func TestFailures(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"hangs": {func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, "no answer within 50ms"},
		"hangs in the answer": {func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "no answer within 50ms"},
		"cuts": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"cuts half": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "half")
		}, "is incomplete"},
		"no http": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				io.WriteString(conn, "220 mail.example.org ESMTP\r\n")
				conn.Close()
			}
		}, "malformed HTTP"},
		"long header": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, "exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			within := time.Minute
			if strings.HasPrefix(name, "hangs") {
				within = 50 * time.Millisecond
			}
			_, err := post(t, within, c.handler)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	l.Close()
	_, err = Post(t.Context(), NewClient(), &Request{URL: "http://" + host + "/hunter2"})
	if err == nil || !strings.HasPrefix(err.Error(), host+": ") || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
	if _, err := Post(t.Context(), NewClient(), &Request{URL: "http://user:hunter2@[::1%25/"}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Post(ctx, NewClient(), &Request{URL: "http://" + host}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Certificates are looked at: this one is of nobody that the system knows.
func TestUnknownCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("was asked") }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	if _, err := Post(t.Context(), NewClient(), &Request{URL: s.URL}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	for u, ok := range map[string]bool{
		"https://example.org/x": true, "http://127.0.0.1:8080/": true, "http://[::1]/": true, "http://localhost/": true,
		"http://example.org/": false, "http://192.0.2.1/": false, "ftp://example.org/": false, "/x": false, "": false, "http://127.0.0.1.example.org/": false, "%": false,
	} {
		if err := Check(u); (err == nil) != ok {
			t.Errorf("%q: %v", u, err)
		}
	}
}
