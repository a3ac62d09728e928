package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestCourierIsCalled: a start and a ban knock at the courier's socket if reports are configured, at most once a second, and a
// courier that does not answer, or is not there, costs no ban.
func TestCourierIsCalled(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "courier")
	b.args = []string{"--courier", path}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	b.start()
	b.fail("203.0.113.7", 5)
	b.awaitBan("203.0.113.7/32")
	ln.SetDeadline(time.Now().Add(300 * time.Millisecond))
	if c, err := ln.Accept(); err == nil {
		c.Close()
		t.Fatal("called though nothing is to be reported")
	}
	b.stop()

	b.configure("jails: {sshd: {}}\nreport: {destinations: {admin: {type: mail, to: [root]}}}\n")
	b.start()
	ln.SetDeadline(time.Now().Add(5 * time.Second))
	if c, err := ln.Accept(); err != nil {
		t.Fatalf("the start calls nobody: %v", err)
	} else {
		c.Close()
	}
	begin := time.Now()
	for _, a := range []string{"203.0.113.8", "203.0.113.9", "203.0.113.10", "203.0.113.11"} {
		b.fail(a, 5)
	}
	for _, a := range []string{"203.0.113.8", "203.0.113.9", "203.0.113.10", "203.0.113.11"} {
		b.awaitBan(a + "/32")
	}
	calls := 0
	for {
		ln.SetDeadline(time.Now().Add(1500 * time.Millisecond))
		c, err := ln.Accept()
		if err != nil {
			break
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Error("the caller said something, or stayed")
		}
		c.Close()
		calls++
	}
	if most := 2 + int(time.Since(begin)/knockPause); calls < 1 || calls > most || calls > 4 {
		t.Errorf("called %d times in %v", calls, time.Since(begin))
	}
	// Nobody accepts, then nobody listens: bans go on.
	b.fail("203.0.113.20", 5)
	b.awaitBan("203.0.113.20/32")
	ln.Close()
	os.Remove(path)
	b.fail("203.0.113.21", 5)
	b.awaitBan("203.0.113.21/32")
}
