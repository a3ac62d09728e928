package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts below run this very command as "bailiff".
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bailiff": main})
}

// TestScripts runs testdata/*.txtar: what a user types, and stdout, stderr and exit status of it.
func TestScripts(t *testing.T) {
	// This command runs bailiff-report, which is a program of its own.
	reporter := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", reporter, "bailiff/cmd/bailiff-report").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			e.Setenv("ALONE", e.Getenv("PATH")) // without bailiff-report
			e.Setenv("PATH", reporter+string(os.PathListSeparator)+e.Getenv("PATH"))
			return nil
		},
	})
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                    "plain",
		"jürgen":                   "jürgen",
		"a\x1b[31mb":               `a\x1b[31mb`,
		"two\nlines\r":             `two\x0alines\x0d`,
		"bad\xff":                  `bad\xff`,
		"c1 \u009b31m":             `c1 \xc2\x9b31m`,
		"turned \u202eround\u2066": `turned \xe2\x80\xaeround\xe2\x81\xa6`,
		"\x7f":                     `\x7f`,
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSplitSyslog(t *testing.T) {
	for _, c := range []struct {
		in, msg, ident string
		pid            uint32
	}{
		{"Failed password for root from 192.0.2.1 port 22 ssh2", "Failed password for root from 192.0.2.1 port 22 ssh2", "", 0},
		{"Nov 22 14:39:50 host sshd[228]: Failed password for bob", "Failed password for bob", "sshd", 228},
		{"Nov  2 14:39:50.123456 host sshd[228]: x", "x", "sshd", 228},
		{"2026-11-22T14:43:46+00:00 host sshd-session[279]: a: b", "a: b", "sshd-session", 279},
		{"2026-11-22 14:43:46 host kernel: x", "x", "kernel", 0},
		{"<38>Nov 22 14:39:50 host sshd[1]: x", "x", "sshd", 1},
		{"error: PAM: Authentication failure for root from 192.0.2.1", "error: PAM: Authentication failure for root from 192.0.2.1", "", 0},
		{"Nov 22 14:39:50", "Nov 22 14:39:50", "", 0},
		{"", "", "", 0},
	} {
		msg, ident, pid := splitSyslog([]byte(c.in))
		if string(msg) != c.msg || string(ident) != c.ident || pid != c.pid {
			t.Errorf("%q: %q %q %d", c.in, msg, ident, pid)
		}
	}
}

func TestTerminal(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if terminal(f) {
		t.Error("a file is not a terminal")
	}
}
