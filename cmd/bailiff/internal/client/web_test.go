package client

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/cmd/bailiff/internal/cli/clitest"
)

func TestWeb(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "web")
	if _, said, status := clitest.Run(t, Web(), "web", "--socket", socket); status != 1 || !strings.Contains(said, "systemctl enable --now bailiff-web.socket") {
		t.Errorf("%d: %s", status, said)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	answer, code := `{"token":"abc","address":"127.0.0.1:8737"}`, http.StatusOK
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/token" || r.Host != "localhost" {
			t.Errorf("asked for %s of %s", r.URL, r.Host)
		}
		w.WriteHeader(code)
		w.Write([]byte(answer))
	}))
	defer l.Close()
	if out, said, status := clitest.Run(t, Web(), "web", "--socket", socket); status != 0 || out != "http://127.0.0.1:8737/#abc\n" {
		t.Errorf("%d: %s%s", status, out, said)
	}
	if out, said, status := clitest.Run(t, Web(), "web", "--json", "--socket", socket); status != 0 || !strings.Contains(out, `{"url":"http://127.0.0.1:8737/#abc"}`) {
		t.Errorf("%d: %s%s", status, out, said)
	}
	answer = `{"token":"abc","address":null}`
	if _, said, status := clitest.Run(t, Web(), "web", "--socket", socket); status != 1 || !strings.Contains(said, "no TCP socket") {
		t.Errorf("%d: %s", status, said)
	}
	answer, code = `{"error":"odd","hint":"try this"}`, http.StatusForbidden
	if _, said, status := clitest.Run(t, Web(), "web", "--socket", socket); status != 1 || !strings.Contains(said, "odd") || !strings.Contains(said, "try this") {
		t.Errorf("%d: %s", status, said)
	}
}
