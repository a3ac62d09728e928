package journal_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/journal"
	"bailiff/journal/journaltest"
)

var (
	_ journal.Stream = (*journal.Reader)(nil)
	_ journal.Stream = (*journal.Child)(nil)
)

// script makes an executable that stands for journalctl.
func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journalctl")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// messages are the MESSAGE and _PID of the entries of g that m selects.
func messages(t *testing.T, g journaltest.Gen, m journal.Matches) (all []string) {
	t.Helper()
	var text bytes.Buffer
	if _, err := g.WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	x := journal.NewExport(&text, journal.Options{Matches: m, Fields: []string{"MESSAGE", "_PID"}})
	for x.Next() {
		all = append(all, string(x.Entry().Field(0))+" "+string(x.Entry().Field(1)))
	}
	if x.Err() != nil || len(all) == 0 {
		t.Fatal(len(all), x.Err())
	}
	return all
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("entry %d is %q, want %q", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
}

// A child reads what Reader would: all, by matches, behind a cursor, from a time.
func TestChild(t *testing.T) {
	g := journaltest.Gen{Entries: 400, Odd: true}
	files := journaltest.Write(t, filepath.Join(t.TempDir(), "a.journal"), journaltest.Layout{}, g)
	sshd := journal.Matches{{{Field: "_SYSTEMD_UNIT", Value: "ssh.service"}}, {{Field: "SYSLOG_IDENTIFIER", Value: "CRON"}}}
	for _, m := range []journal.Matches{nil, sshd} {
		want := messages(t, g, m)
		o := journal.ChildOptions{Options: journal.Options{Matches: m, Fields: []string{"MESSAGE", "_PID"}}}
		got := read(t, files, o)
		compare(t, texts(got), want)
		o.After = got[20].cursor
		compare(t, texts(read(t, files, o)), want[21:])
		o.After = journal.Cursor{}
		o.Since = got[30].cursor.Realtime
		compare(t, texts(read(t, files, o)), want[30:])
	}

	// Behind an entry that does not match lies the next one that does (--after-cursor gives the one after that).
	o := journal.ChildOptions{Options: journal.Options{Fields: []string{"MESSAGE", "_PID", "_SYSTEMD_UNIT"}}}
	all := read(t, files, o)
	i := slices.IndexFunc(all, func(e given) bool { return e.unit == "init.scope" })
	next := i + slices.IndexFunc(all[i:], func(e given) bool { return e.unit == "ssh.service" })
	o.Matches, o.After = sshd[:1], all[i].cursor
	if got := read(t, files, o); got[0].text != all[next].text {
		t.Errorf("behind %q comes %q, want %q", all[i].text, got[0].text, all[next].text)
	}
}

// given is an entry as a Child gave it.
type given struct {
	text, unit string
	cursor     journal.Cursor
}

// read reads everything that is there.
func read(t *testing.T, files []string, o journal.ChildOptions) (all []given) {
	t.Helper()
	c, err := journal.NewChild(t.Context(), journal.Files(files...), o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for c.Next() {
		e := c.Entry()
		all = append(all, given{string(e.Field(0)) + " " + string(e.Field(1)), string(e.Field(2)), e.Cursor()})
	}
	if err := c.Wait(t.Context(), time.Minute); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if p := c.Problems(); len(p) > 0 {
		t.Error(p)
	}
	return all
}

func texts(all []given) (s []string) {
	for _, e := range all {
		s = append(s, e.text)
	}
	return s
}

// A journalctl that dies in the middle of an entry, again and again, costs not an entry and gives none twice.
func TestChildRestarts(t *testing.T) {
	g := journaltest.Gen{Entries: 300}
	files := journaltest.Write(t, filepath.Join(t.TempDir(), "a.journal"), journaltest.Layout{}, g)
	want := messages(t, g, nil)
	c, err := journal.NewChild(t.Context(), journal.Files(files...), journal.ChildOptions{
		Options: journal.Options{Fields: []string{"MESSAGE", "_PID"}},
		Command: script(t, `journalctl "$@" | dd bs=4096 count=5 2>/dev/null; echo "out of luck" >&2; exit 7`),
		Follow:  true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []string
	for len(got) < len(want) {
		for c.Next() {
			got = append(got, string(c.Entry().Field(0))+" "+string(c.Entry().Field(1)))
		}
		if err := c.Wait(ctx, time.Second); err != nil {
			t.Fatalf("after %d entries: %v, %v", len(got), err, c.Problems())
		}
	}
	compare(t, got, want)
	p := c.Problems()
	if len(p) < 3 {
		t.Fatalf("it was to die a few times: %v", p)
	}
	for _, err := range p {
		if !strings.Contains(err.Error(), `exit status 7: "out of luck"; starting it again in 100ms`) {
			t.Error(err)
		}
	}
}

func TestChildProblems(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"exit 0", "it ended by itself; starting it again in 100ms"},
		{`echo "first" >&2; printf 'Failed to \033[31mopen\n' >&2; exit 1`, `exit status 1: "Failed to \x1b[31mopen"; starting it again`},
		{"echo -- No entries --; exec sleep 60", `export stream, entry 1 (byte 0), at byte 0: "-" is no field name (A to Z, 0 to 9 and _, no digit first); starting`},
	} {
		child, err := journal.NewChild(t.Context(), journal.Files("/nowhere.journal"), journal.ChildOptions{Command: script(t, c.script), Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		until(t, func() bool { return len(child.Problems()) > 0 })
		if err := child.Problems()[0]; !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
		child.Close()
	}

	if _, err := journal.NewChild(t.Context(), journal.Files("a"), journal.ChildOptions{Command: "no-such-journalctl"}); err == nil ||
		!strings.Contains(err.Error(), `the journal cannot be read through journalctl: exec: "no-such-journalctl": executable file not found`) {
		t.Error(err)
	}
	if _, err := journal.NewChild(t.Context(), journal.Dir("a", "b"), journal.ChildOptions{}); err == nil {
		t.Error("two folders")
	}
	bad := journal.ChildOptions{Options: journal.Options{Matches: journal.Matches{{{Field: "--file", Value: "/etc/shadow"}}}}}
	if _, err := journal.NewChild(t.Context(), journal.Files("a"), bad); err == nil {
		t.Error("a match that is an option")
	}
}

// Close ends the process, whatever it does, and everything that waits for it.
func TestChildClose(t *testing.T) {
	dir := t.TempDir()
	pidFile := filepath.Join(dir, "pid")
	c, err := journal.NewChild(t.Context(), journal.Files("a"), journal.ChildOptions{
		Command: script(t, `echo $$ >`+pidFile+`.tmp; mv `+pidFile+`.tmp `+pidFile+`; trap "" TERM INT; printf '__REALTIME_TIMESTAMP=1\nA=x\n\n__REALTIME'; exec sleep 600`), Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(t.Context(), time.Minute); err != nil || !c.Next() {
		t.Fatal(err, c.Problems())
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan error)
	if c.Next() {
		t.Fatal("half an entry")
	}
	go func() { waited <- c.Wait(context.Background(), time.Minute) }()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("process %d lives on: %v", pid, err)
	}
}

// until polls for what another process does.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("waited for 20 s")
		}
		time.Sleep(5 * time.Millisecond)
	}
}
