package filters

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/cmd/bailiff/internal/cli/clitest"
	"bailiff/journal"
	"bailiff/journal/journaltest"
)

// firstCursor is that of the first entry of a journal.
func firstCursor(t *testing.T, dir string) string {
	t.Helper()
	j, err := journal.Open(journal.Dir(dir), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if !j.Next() {
		t.Fatal("no entry")
	}
	c := j.Entry().Cursor
	return c.String()
}

// TestMatchCursor explains an entry of a real journal, named by its cursor.
func TestMatchCursor(t *testing.T) {
	dir := t.TempDir()
	journaltest.Write(t, filepath.Join(dir, "a.journal"), journaltest.Layout{}, journaltest.Gen{Entries: 50, SSHD: 1, Failures: true})
	cursor := firstCursor(t, dir)
	out, said, status := clitest.Run(t, Match(), "match", "--cursor", cursor, "--file", dir, "sshd")
	if status != 0 || !strings.HasPrefix(out, "failure failed") || !strings.Contains(out, "trusted    yes: unit ssh.service, _UID=0, /usr/sbin/sshd\n") {
		t.Errorf("%d: %s%s", status, out, said)
	}
	if out, _, _ := clitest.Run(t, Match(), "match", "--cursor", cursor, "--file", dir, "dovecot"); !strings.HasPrefix(out, "none\n") || !strings.Contains(out, `trusted    no, so it is no evidence: unit "ssh.service" is not one of the filter's`) {
		t.Error(out)
	}
	if out, _, _ := clitest.Run(t, Match(), "match", "--cursor", cursor, "--file", dir, "--json"); !strings.HasPrefix(out, `{"filter":"sshd"`) {
		t.Error(out)
	}
	gone := strings.Replace(strings.Replace(cursor, ";i=", ";i=ffff", 1), ";m=", ";m=ffff", 1)
	if _, said, status := clitest.Run(t, Match(), "match", "--cursor", gone, "--file", dir, "sshd"); status != 1 || !strings.Contains(said, "has no entry") {
		t.Errorf("%d: %s", status, said)
	}
}

// TestMatchConfig: an entry is trusted as the configuration's jails say, with the filter named and without.
func TestMatchConfig(t *testing.T) {
	dir, conf := t.TempDir(), t.TempDir()
	journaltest.Write(t, filepath.Join(dir, "a.journal"), journaltest.Layout{}, journaltest.Gen{Entries: 1, SSHD: 1, Failures: true})
	cursor := firstCursor(t, dir)
	for _, file := range []struct{ name, text string }{
		{"bailiff.yaml", "jails: {gate: {filter: gate, enabled: true, units: [ssh.service], exe: [/usr/sbin/sshd]}}\n"},
		{"filters.d/gate.yaml", "name: gate\ndescription: test\ntrust: {units: [gate.service], uid: system, exe: [/usr/sbin/gate]}\npatterns: [{name: no, text: 'Failed password for <user> from <addr> port <port> ssh2'}]\n" +
			"tests: [{line: 'Failed password for bob from 198.51.100.7 port 22 ssh2', address: 198.51.100.7}, {miss: 'Accepted password for bob from 198.51.100.7 port 22 ssh2'}]\n"},
	} {
		name := filepath.Join(conf, file.name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(file.text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"gate"}, {}} {
		out, said, status := clitest.Run(t, Match(), append([]string{"match", "--config", conf, "--cursor", cursor, "--file", dir}, args...)...)
		if status != 0 || !strings.Contains(out, "filter     gate, ") || strings.Count(out, "trusted    yes: unit ssh.service, _UID=0, /usr/sbin/sshd\n") == 0 {
			t.Errorf("%v: %d: %s%s", args, status, out, said)
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
