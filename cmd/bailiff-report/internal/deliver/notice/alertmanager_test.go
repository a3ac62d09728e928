package notice

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff-report/internal/deliver"
	"bailiff/cmd/bailiff-report/internal/deliver/delivertest"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/policy/config"
)

// alertmanagerAt runs Debian's Alertmanager on this host, and returns where.
func alertmanagerAt(t *testing.T) string {
	t.Helper()
	bin, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("prometheus-alertmanager is not installed")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "alertmanager.yml")
	if err := os.WriteFile(conf, []byte("route: {receiver: none}\nreceivers: [{name: none}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	cmd := exec.Command(bin, "--config.file="+conf, "--storage.path="+dir, "--web.listen-address="+at, "--cluster.listen-address=")
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if res, err := http.Get("http://" + at + "/-/ready"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return "http://" + at
			}
		}
		if time.Now().After(end) {
			t.Fatal("Alertmanager does not start")
		}
	}
}

// alerts are the names of the active alerts, with what they are about.
func alerts(t *testing.T, at string) (names []string) {
	t.Helper()
	res, err := http.Get(at + "/api/v2/alerts")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var l []struct {
		Labels, Annotations map[string]string
	}
	if err := json.NewDecoder(res.Body).Decode(&l); err != nil {
		t.Fatal(err)
	}
	for _, a := range l {
		names = append(names, fmt.Sprintf("%s %s on %s: %s", a.Labels["alertname"], a.Labels["problem"], a.Labels["instance"], a.Annotations["summary"]))
	}
	return names
}

// TestRealAlertmanager: a problem is an alert, its end resolves it, and bans are an alert together.
func TestRealAlertmanager(t *testing.T) {
	at := alertmanagerAt(t)
	d, err := New(&config.Destination{Name: "am", Type: config.TypeWebhook, Form: "alertmanager", URL: at, TimeLimit: time.Minute}, delivertest.Env(t, "", ""))
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want ...string) {
		t.Helper()
		var got []string
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if got = alerts(t, at); fmt.Sprint(got) == fmt.Sprint(want) {
				return
			}
		}
		t.Fatalf("alerts %q, want %q", got, want)
	}
	send := func(d deliver.Destination, item *report.Item) {
		t.Helper()
		if got := delivertest.Outcome(d.Deliver(t.Context(), item)); got != "ok: 200" {
			t.Error(got)
		}
	}
	expect()
	send(d, delivertest.Item(event(report.Problem, "firewall", nasty)))
	expect("BailiffProblem firewall on mail.example.org: mail.example.org: problem: firewall")
	send(d, delivertest.Item(event(report.Recovery, "firewall", "no longer: "+nasty)))
	expect()
	send(d, items()["flood"])
	expect("BailiffBans  on mail.example.org: mail.example.org: 999 bans (sshd 900, postfix 99), 1 unban (sshd 1)")
}
