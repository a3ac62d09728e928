package db

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// schema is the part that we read of fail2ban's database since version 0.11.
const schema = `
CREATE TABLE jails(name TEXT NOT NULL UNIQUE, enabled INTEGER NOT NULL DEFAULT 1);
CREATE TABLE bans(jail TEXT NOT NULL, ip TEXT, timeofban INTEGER NOT NULL, bantime INTEGER NOT NULL, bancount INTEGER NOT NULL default 1, data JSON, FOREIGN KEY(jail) REFERENCES jails(name));
CREATE TABLE bips(ip TEXT NOT NULL, jail TEXT NOT NULL, timeofban INTEGER NOT NULL, bantime INTEGER NOT NULL, bancount INTEGER NOT NULL default 1, data JSON, PRIMARY KEY(ip, jail), FOREIGN KEY(jail) REFERENCES jails(name));
CREATE INDEX bips_ip ON bips(ip);
`

// makeDatabase has SQLite itself make a file.
func makeDatabase(t *testing.T, sql string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fail2ban.sqlite3")
	cmd := exec.Command("sqlite3", path)
	if _, err := exec.LookPath("sqlite3"); err != nil {
		cmd = exec.Command("python3", "-c", "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.stdin.read()); c.close()", path)
	}
	cmd.Stdin = strings.NewReader(sql)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("neither sqlite3 nor python3 makes a database: %v: %s", err, out)
	}
	return path
}

func TestBans(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	path := makeDatabase(t, schema+`
INSERT INTO bips VALUES('192.0.2.1','sshd',1799999900,600,1,'{}');
INSERT INTO bips VALUES('192.0.2.2','sshd',1799999000,600,1,'{}');
INSERT INTO bips VALUES('2001:db8::2','postfix-sasl',1799000000,-1,7,'{}');
INSERT INTO bips VALUES('::ffff:192.0.2.3','sshd',1799999900,600,1,'{}');
INSERT INTO bips VALUES('198.51.100.0/24','sshd',1799999900,-2,1,'{}');
INSERT INTO bips VALUES('bob','users',1799999900,600,1,'{}');
INSERT INTO bans VALUES('sshd','203.0.113.9',1799999900,600,1,'{}');
`)
	bans, skipped, err := Bans(path, now, func(jail string) float64 { return 3600 })
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range bans {
		end := "never"
		if !b.Until.IsZero() {
			end = b.Until.Sub(now).String()
		}
		got = append(got, fmt.Sprintf("%s %s %s %d", b.Jail, b.Prefix, end, b.Count))
	}
	want := "postfix-sasl 2001:db8::2/128 never 7,sshd 192.0.2.1/32 8m20s 1,sshd 192.0.2.3/32 8m20s 1,sshd 198.51.100.0/24 58m20s 1"
	if strings.Join(got, ",") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ","), want)
	}
	if len(skipped) != 1 || !strings.Contains(skipped[0], `"bob" is not an address`) {
		t.Errorf("skipped: %q", skipped)
	}

	// Before 0.11 there was one table, without lengths; the latest ban of an address counts.
	old := makeDatabase(t, `CREATE TABLE bans(jail TEXT NOT NULL, ip TEXT, timeofban INTEGER NOT NULL, data JSON);
INSERT INTO bans VALUES('ssh','192.0.2.1',1799999000,'{}'); INSERT INTO bans VALUES('ssh','192.0.2.1',1799999500,'{}'); INSERT INTO bans VALUES('ssh','192.0.2.2',1700000000,'{}');`)
	bans, _, err = Bans(old, now, func(jail string) float64 { return 3600 })
	if err != nil || len(bans) != 1 || bans[0].Until.Sub(now) != 3100*time.Second {
		t.Errorf("%v %v", bans, err)
	}
}

// TestNoDatabase: what cannot be read is an error that names the file and says why.
func TestNoDatabase(t *testing.T) {
	none := func(string) float64 { return 3600 }
	path := makeDatabase(t, "PRAGMA encoding='UTF-16le';"+schema+"INSERT INTO bips VALUES('192.0.2.1','zürich',1799999900,600.5,1,'{}'), (x'00ff','sshd',1,-1,1,''), ('192.0.2.2','sshd',9e999,1,1,'');")
	bans, skipped, err := Bans(path, time.Unix(1_800_000_000, 0), none)
	if err != nil || len(bans) != 1 || bans[0].Jail != "zürich" || len(skipped) != 2 {
		t.Errorf("%v %q %v", bans, skipped, err)
	}
	if err := os.WriteFile(path+"-journal", []byte("\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"+strings.Repeat("\x00\x00\x00\x01", 300)), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(other, []byte(strings.Repeat("ceci n'est pas une base\n", 30)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{path: "", other: "not a database", t.TempDir(): "regular file", makeDatabase(t, "CREATE TABLE jails(name TEXT)"): "no table of bans", "/none": "no such file"} {
		if _, _, err := Bans(path, time.Now(), none); err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
