package daemon

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestReporterIsStarted: start and reload connect to bailiff-report's socket if destinations are configured; a ban does not. If the socket
// is missing, or nobody accepts connections, no ban is delayed.
func TestReporterIsStarted(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "report")
	b.args = []string{"--report", path}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	called := func(want bool, what string) {
		t.Helper()
		limit := time.Minute
		if !want {
			limit = time.Millisecond // the work before a ban is in force has been done
		}
		ln.SetDeadline(time.Now().Add(limit))
		c, err := ln.Accept()
		if want != (err == nil) {
			t.Fatalf("%s: connected: %v, want %v", what, err == nil, want)
		}
		if err == nil {
			if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Error("the caller said something, or stayed")
			}
			c.Close()
		}
	}
	reload := func() {
		t.Helper()
		b.did(b.client.Reload(t.Context()))
	}
	b.start()
	b.fail("203.0.113.7", 5)
	b.awaitBan("203.0.113.7/32")
	called(false, "without destinations")
	b.stop()

	b.configure("jails: {sshd: {}}\nreport: {destinations: {admin: {type: mail, to: [root]}}}\n")
	b.start()
	called(true, "start")
	b.fail("203.0.113.8", 5)
	b.awaitBan("203.0.113.8/32")
	called(false, "ban")
	reload()
	called(true, "reload")
	reload()   // nobody accepts
	ln.Close() // nobody listens
	os.Remove(path)
	reload()
	b.fail("203.0.113.21", 5)
	b.awaitBan("203.0.113.21/32")
}
