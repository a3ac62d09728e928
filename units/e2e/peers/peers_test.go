package peers

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// start serves peers for handwritten requests. Each destination has a test of its own that it satisfies them.
func start(t *testing.T) (*Peers, string, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	p := &Peers{Key: "k", Server: "7", Secret: []byte("s"), Log: log}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return p, s.URL, log
}

func send(t *testing.T, method, u, kind, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, u, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("User-Agent", "bailiff/test")
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

const formType = "application/x-www-form-urlencoded"

func TestStrict(t *testing.T) {
	p, u, log := start(t)
	good := url.Values{"server": {"7"}, "apikey": {"k"}, "ip": {"198.51.100.7"}, "service": {"ssh"}, "logs": {"from 198.51.100.7\n"}, "format": {"json"}}
	if status, body := send(t, "POST", u+BlocklistPath, formType, good.Encode()); status != 200 || body != `{"error":0,"status":"success"}` {
		t.Fatalf("%d %s", status, body)
	}
	for _, c := range []struct{ field, value, want string }{
		{"apikey", "x", "API-Key"}, {"server", "8", "Server"}, {"ip", "198.51.100.07", "IP-Address"}, {"ip", "198.51.100.7/32", "IP-Address"},
		{"service", "sshd[mode=normal]", "Service"}, {"logs", "from 198.51.100.8", "no line"}, {"logs", "198.51.100.7\n\nx", "a line that is none"},
		{"format", "text", "format text"}, {"extra", "x", "unknown field"}, {"logs", "", "not empty"},
	} {
		bad := url.Values{}
		for k, v := range good {
			bad[k] = v
		}
		bad.Set(c.field, c.value)
		if status, body := send(t, "POST", u+BlocklistPath, formType, bad.Encode()); status != 400 || !strings.Contains(body, c.want) {
			t.Errorf("%s=%s: %d %s", c.field, c.value, status, body)
		}
	}
	send(t, "GET", u+BlocklistPath+"?"+good.Encode(), "", "")
	if e := p.Entries(); len(e[0].Faults) != 0 || len(e[len(e)-1].Faults) < 3 {
		t.Errorf("%+v", e)
	}
	var first Entry
	if err := json.NewDecoder(log).Decode(&first); err != nil || first.Status != 200 || first.Form["ip"][0] != "198.51.100.7" || first.Form["apikey"] != nil || first.Taken[0] != "198.51.100.7" {
		t.Errorf("%+v, %v", first, err)
	}
	if status, body := send(t, "GET", u+LogPath, "", ""); status != 200 || strings.Count(body, "\n") != len(p.Entries()) {
		t.Errorf("%d %s", status, body)
	}
}

func TestModes(t *testing.T) {
	p, u, _ := start(t)
	for mode, want := range map[string]int{Error: 500, Unavailable: 503, Cut: 0, CutEarly: 0, Garbage: 200, Redirect: 302, Huge: 200, Quota: 429, Refuse: 400, WrongKey: 400} {
		if status, body := send(t, "POST", u+ModePath, formType, "service=blocklist.de&times=1&mode="+mode); status != 200 {
			t.Fatalf("%s: %d %s", mode, status, body)
		}
		if status, _ := send(t, "POST", u+BlocklistPath, formType, "x=y"); status != want {
			t.Errorf("%s: %d, want %d", mode, status, want)
		}
		if status, _ := send(t, "POST", u+BlocklistPath, formType, "x=y"); status != 400 {
			t.Errorf("after %s: %d", mode, status)
		}
	}
	if status, _ := send(t, "POST", u+ModePath, formType, "service=blocklist.de&mode=none"); status != 400 {
		t.Errorf("an unknown mode: %d", status)
	}
	if p.SetMode("none", Normal, 0) == nil {
		t.Error("an unknown service was taken")
	}
	if status, _ := send(t, "POST", u+"/elsewhere", "", ""); status != 404 {
		t.Errorf("elsewhere: %d", status)
	}
}
