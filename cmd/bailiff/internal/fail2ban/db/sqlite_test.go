package db

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// schema is that of fail2ban's database since version 0.11, as far as we look at it.
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

// ask has SQLite itself answer.
func ask(t *testing.T, path, query string) string {
	t.Helper()
	cmd := exec.Command("python3", "-c", "import sqlite3, sys\nfor r in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]): print('|'.join(str(x) for x in r))", path, query)
	if _, err := exec.LookPath("sqlite3"); err == nil {
		cmd = exec.Command("sqlite3", path, query)
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestDatabase: what we read of a table is what SQLite reads, for all sizes of pages, many rows, long values (overflow
// pages), rows deleted, columns added later, and all encodings of text.
func TestDatabase(t *testing.T) {
	for _, page := range []int{512, 1024, 4096, 65536} {
		for _, encoding := range []string{"UTF-8", "UTF-16le", "UTF-16be"} {
			t.Run(fmt.Sprint(page, encoding), func(t *testing.T) {
				var b strings.Builder
				fmt.Fprintf(&b, "PRAGMA page_size=%d; PRAGMA encoding='%s';%s BEGIN;", page, encoding, schema)
				for i := range 3000 {
					ip := fmt.Sprintf("198.51.%d.%d", i/250, i%250)
					if i%3 == 0 {
						ip = fmt.Sprintf("2001:db8::%x", i)
					}
					fmt.Fprintf(&b, "INSERT INTO bips VALUES('%s','jail%d',%d,%d,%d,'%s');\n", ip, i%5, 1_700_000_000+i*997, []int{-1, 0, 1, 600, 172800, 1 << 33}[i%6], 1+i%300, strings.Repeat("é", i%400*i%2000))
				}
				b.WriteString("DELETE FROM bips WHERE rowid % 7 = 3; ALTER TABLE bips ADD COLUMN more TEXT; INSERT INTO bips VALUES('192.0.2.1', 'zürich', 1, 2.5, 4, NULL, 'x'); COMMIT;")
				path := makeDatabase(t, b.String())
				d, f, err := openDatabase(path)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				var got strings.Builder
				if err := d.rows("bips", []string{"ip", "jail", "timeofban", "bantime", "bancount"}, func(row []any) error {
					for i, v := range row {
						if i > 0 {
							got.WriteByte('|')
						}
						fmt.Fprint(&got, v)
					}
					got.WriteByte('\n')
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				if want := ask(t, path, "SELECT ip, jail, timeofban, bantime, bancount FROM bips ORDER BY rowid"); got.String() != want {
					t.Errorf("differs from what SQLite reads: %d and %d bytes", got.Len(), len(want))
				}
			})
		}
	}
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

// TestDatabaseInChange: what stands beside the file is noticed.
func TestDatabaseInChange(t *testing.T) {
	path := makeDatabase(t, schema)
	for suffix, content := range map[string]string{"-wal": strings.Repeat("x", 4096), "-journal": "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7 and more"} {
		if err := os.WriteFile(path+suffix, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := openDatabase(path); err == nil || !strings.Contains(err.Error(), path+suffix) {
			t.Errorf("%s: %v", suffix, err)
		}
		if err := os.WriteFile(path+suffix, make([]byte, 16), 0o600); err != nil { // nothing in it
			t.Fatal(err)
		}
		if _, f, err := openDatabase(path); err != nil {
			t.Errorf("%s without content: %v", suffix, err)
		} else {
			f.Close()
		}
		os.Remove(path + suffix)
	}
	if _, _, err := openDatabase(t.TempDir()); err == nil {
		t.Error("a folder is a database")
	}
	if err := os.WriteFile(path, []byte("ceci n'est pas une base"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openDatabase(path); err == nil || !strings.Contains(err.Error(), "not an SQLite database") {
		t.Error(err)
	}
}

// FuzzDatabase: a damaged file is an error, never a panic or an endless walk. The seed was made by SQLite, with pages of
// 512 bytes, so that it has inner nodes and overflow pages: testdata/seed.sqlite3.
func FuzzDatabase(f *testing.F) {
	seed, err := os.ReadFile("testdata/seed.sqlite3")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	for _, at := range []int{18, 20, 28, 100, 103, 108, 512, 515, 1024} {
		if b := bytes.Clone(seed); at < len(b) {
			b[at] ^= 0x15
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := readDatabase(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		rows := 0
		for name := range d.tables {
			err := d.rows(name, []string{"ip", "jail", "timeofban", "bantime", "bancount"}, func(row []any) error { rows++; return nil })
			if err == nil && rows > len(data)*len(d.tables) {
				t.Errorf("%d rows in %d bytes", rows, len(data))
			}
		}
	})
}
