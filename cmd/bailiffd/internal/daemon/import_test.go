package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestImportBans: after `bailiff import --bans` the bans in fail2ban's database are in effect, with their ends. Addresses that must not
// be banned, or are banned for longer, stay as they are. Jails that are off, or that never blocked an address, have no bans; one without a filter has those made by hand.
func TestImportBans(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("sqlite3"); err != nil {
		t.Skip("sqlite3 is not installed: ", err)
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "bailiff")
	if out, err := exec.Command("go", "build", "-o", bin, "bailiff/cmd/bailiff").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, text := range map[string]string{
		"fail2ban/jail.conf": "[DEFAULT]\nbantime = 1h\nfilter = %(__name__)s\naction =\n[sshd]\nenabled = true\n[recidive]\nenabled = true\nmaxretry = 5\n[other]\nenabled = true\n" +
			"[mails]\nenabled = true\nfilter = sshd\naction = sendmail[dest=root]\n[friends]\nenabled = true\nfilter = sshd\naction = iptables-multiport[blocktype=RETURN]\n" +
			"[guests]\nenabled = true\nfilter = sshd\naction = ufw[blocktype=allow]\n[hand]\nenabled = true\nfilter =\naction = iptables-multiport\n" +
			"[broken]\nenabled = true\nfilter = %(nosuch)s\naction = iptables-multiport\n[off]\n",
		"fail2ban/jail.local": "[DEFAULT]\nignoreip = 192.0.2.99\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().Unix()
	sql := "CREATE TABLE bips(ip TEXT NOT NULL, jail TEXT NOT NULL, timeofban INTEGER NOT NULL, bantime INTEGER NOT NULL, bancount INTEGER NOT NULL default 1, data JSON, PRIMARY KEY(ip, jail));"
	for _, row := range []struct {
		ip, jail    string
		since, long int64
	}{
		{"192.0.2.1", "sshd", now - 100, 3700},
		{"192.0.2.2", "sshd", now - 4000, 3600}, // over
		{"192.0.2.3", "sshd", now - 100, -1},
		{"2001:db8::4", "sshd", now - 100, 172800},
		{"192.0.2.5", "recidive", now - 100, 604800},
		{"192.0.2.6", "other", now - 100, 3600},   // its filter does not exist, so bailiff has no such jail
		{"192.0.2.7", "other", now - 100, 604800}, // two bans by hand: the longer one counts
		{"192.0.2.7", "recidive", now - 100, 3700},
		{"192.0.2.8", "other", now - 100, -1},
		{"192.0.2.8", "recidive", now - 100, 3700},
		{"192.0.2.9", "other", now - 100, 3700},
		{"192.0.2.9", "recidive", now - 100, 604800},
		{"192.0.2.10", "mails", now - 100, 3700},
		{"192.0.2.11", "friends", now - 100, 3700},
		{"192.0.2.12", "guests", now - 100, 3700},
		{"192.0.2.13", "off", now - 100, -1},
		{"192.0.2.14", "gone", now - 100, -1},
		{"192.0.2.15", "gone", now - 100, 3700},
		{"192.0.2.16", "hand", now - 100, -1},
		{"192.0.2.17", "broken", now - 100, -1},
		{"192.0.2.99", "sshd", now - 100, 3700},   // allowed
		{"198.51.100.1", "sshd", now - 100, 3700}, // with us for longer
		{"bob", "sshd", now - 100, 3700},
	} {
		sql += fmt.Sprintf("INSERT INTO bips VALUES('%s','%s',%d,%d,1,'{}');", row.ip, row.jail, row.since, row.long)
	}
	database := filepath.Join(dir, "fail2ban.sqlite3")
	make := exec.Command("sqlite3", database)
	make.Stdin = strings.NewReader(sql)
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	b := newBench(t)
	b.configure("jails: {sshd: {}, mails: {filter: sshd, observe: true}}\nallow: {addresses: [192.0.2.99], files: []}\n")
	b.start()
	run := func(args ...string) (string, error) {
		cmd := exec.Command(bin, append(args, "--socket", b.socket)...)
		out, err := cmd.Output()
		return string(out), err
	}
	if out, err := run("ban", "--jail", "sshd", "--for", "4w", "198.51.100.1"); err != nil {
		t.Fatal(out, err)
	}
	args := []string{"import", "--from", filepath.Join(dir, "fail2ban"), "--to", filepath.Join(dir, "out"), "--bans", "--database", database, "--json"}
	out, err := run(args...)
	if err != nil {
		t.Fatal(out, err)
	}
	var r struct {
		Bans struct {
			Taken, Kept int
			Problems    []string
		}
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Bans.Taken != 9 || r.Bans.Kept != 1 || len(r.Bans.Problems) != 8 {
		t.Errorf("%+v", r.Bans)
	}
	for _, want := range []string{
		"192.0.2.99", `"bob"`, "jail mails: 1 ban not taken over: it does not block addresses", "jail friends: 1 ban not taken over: it does not block addresses", "jail guests: 1 ban not taken over: it does not block addresses",
		"jail off: 1 ban not taken over: fail2ban does not run it", "jail gone: 2 bans not taken over: fail2ban does not run it",
		"jail broken: 1 ban not taken over: fail2ban does not run it",
	} {
		if !strings.Contains(strings.Join(r.Bans.Problems, "\n"), want) {
			t.Errorf("%q is not reported: %q", want, r.Bans.Problems)
		}
	}
	got := b.banned(context.Background())
	for _, want := range []struct {
		prefix, jail string
		left         time.Duration // 0: for ever
	}{
		{"192.0.2.1/32", "sshd", time.Hour}, {"192.0.2.3/32", "sshd", 0}, {"2001:db8::4/128", "sshd", 172700 * time.Second},
		{"192.0.2.5/32", "manual", 604700 * time.Second}, {"192.0.2.6/32", "manual", 3500 * time.Second}, {"198.51.100.1/32", "sshd", 4 * 7 * 24 * time.Hour},
		{"192.0.2.7/32", "manual", 604700 * time.Second}, {"192.0.2.8/32", "manual", 0}, {"192.0.2.9/32", "manual", 604700 * time.Second},
		{"192.0.2.16/32", "manual", 0},
	} {
		x, ok := got[want.prefix]
		if !ok || x.Jail != want.jail || (x.Until == nil) != (want.left == 0) {
			t.Errorf("%s: %+v", want.prefix, x)
			continue
		}
		if want.left != 0 {
			if left := x.Until.Sub(time.Unix(now, 0)); left < want.left-time.Minute || left > want.left+want.left/50+2*time.Minute {
				t.Errorf("%s: %v left, wanted %v", want.prefix, left, want.left)
			}
		}
	}
	if len(got) != 10 {
		t.Errorf("%d bans: %v", len(got), got)
	}
	// A second import: all of them are there already.
	if out, err = run(args...); err != nil {
		t.Fatal(out, err)
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Bans.Taken != 0 || r.Bans.Kept != 10 {
		t.Errorf("the second time: %+v, %v", r.Bans, err)
	}
}
