package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/journal"
	"bailiff/journal/journaltest"
)

// bailiff runs the command as it would be typed, and returns what it wrote.
func bailiff(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, err bytes.Buffer
	e := &env{ctx: context.Background(), in: strings.NewReader(""), out: &out, err: &err}
	status = e.main(args)
	return out.String(), err.String(), status
}

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
	c := j.Entry().Cursor()
	return c.String()
}

// TestMatchCursor explains an entry of a real journal, named by its cursor.
func TestMatchCursor(t *testing.T) {
	dir := t.TempDir()
	journaltest.Write(t, filepath.Join(dir, "a.journal"), journaltest.Layout{}, journaltest.Gen{Entries: 50, SSHD: 1, Failures: true})
	cursor := firstCursor(t, dir)
	out, said, status := bailiff(t, "match", "--cursor", cursor, "--file", dir, "sshd")
	if status != 0 || !strings.HasPrefix(out, "failure failed") || !strings.Contains(out, "trusted    yes: unit ssh.service, _UID=0, /usr/sbin/sshd\n") {
		t.Errorf("%d: %s%s", status, out, said)
	}
	if out, _, _ := bailiff(t, "match", "--cursor", cursor, "--file", dir, "dovecot"); !strings.HasPrefix(out, "none\n") || !strings.Contains(out, `trusted    no, so it is no evidence: unit "ssh.service" is none of the filter's`) {
		t.Error(out)
	}
	if out, _, _ := bailiff(t, "match", "--cursor", cursor, "--file", dir, "--json"); !strings.HasPrefix(out, `{"filter":"sshd"`) {
		t.Error(out)
	}
	gone := strings.Replace(strings.Replace(cursor, ";i=", ";i=ffff", 1), ";m=", ";m=ffff", 1)
	if _, said, status := bailiff(t, "match", "--cursor", gone, "--file", dir, "sshd"); status != 1 || !strings.Contains(said, "has no entry") {
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
		out, said, status := bailiff(t, append([]string{"match", "--config", conf, "--cursor", cursor, "--file", dir}, args...)...)
		if status != 0 || !strings.Contains(out, "filter     gate, ") || strings.Count(out, "trusted    yes: unit ssh.service, _UID=0, /usr/sbin/sshd\n") == 0 {
			t.Errorf("%v: %d: %s%s", args, status, out, said)
		}
	}
}
