package main

import (
	"bytes"
	"context"
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

// TestMatchCursor explains an entry of a real journal, named by its cursor.
func TestMatchCursor(t *testing.T) {
	dir := t.TempDir()
	journaltest.Write(t, filepath.Join(dir, "a.journal"), journaltest.Layout{}, journaltest.Gen{Entries: 50, SSHD: 1, Failures: true})
	j, err := journal.Open(journal.Dir(dir), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if !j.Next() {
		t.Fatal("no entry")
	}
	c := j.Entry().Cursor()
	cursor := c.String()
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
