package filter

import (
	"bytes"
	"encoding/binary"
	"os"
	"strconv"
	"testing"
)

// readExport reads a journal export (systemd.io/JOURNAL_EXPORT_FORMATS) as far as a filter looks at it.
func readExport(t *testing.T, path string) (entries []Entry) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	e := Entry{UID: -1}
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		if len(line) == 0 {
			if e.Message != nil {
				entries = append(entries, e)
			}
			e = Entry{UID: -1}
			continue
		}
		key, value, text := bytes.Cut(line, []byte("="))
		if !text {
			n := binary.LittleEndian.Uint64(data)
			value, data = data[8:8+n], data[8+n+1:]
		}
		switch string(key) {
		case "MESSAGE":
			e.Message = value
		case "_SYSTEMD_UNIT":
			e.Unit = value
		case "_SYSTEMD_SLICE":
			e.Slice = value
		case "SYSLOG_IDENTIFIER":
			e.Identifier = value
		case "_UID":
			if e.UID, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	if e.Message != nil {
		entries = append(entries, e)
	}
	return entries
}

// TestCaptures looks at entries of real hosts under attack as they are in the journal.
func TestCaptures(t *testing.T) {
	for _, c := range []struct {
		file                      string
		mode                      string
		failures, successes, told int // told: lines that only tell of a connection
	}{
		{"bookworm/ssh-socket.export", "normal", 2, 1, 1}, // one sshd@….service for each connection
		{"trixie/ssh-socket.export", "normal", 2, 1, 1},
		{"trixie/ssh-penalty.export", "normal", 0, 0, 6},  // sshd refuses everybody at the address, a colleague too
		{"bookworm/forged.export", "aggressive", 0, 0, 0}, // what an unprivileged user wrote as sshd
		{"trixie/forged.export", "aggressive", 0, 0, 0},
	} {
		m := matcher(t, "sshd", c.mode)
		var n [Context + 1]int
		forged := 0
		for _, e := range readExport(t, shared(t, "journal", c.file)) {
			var h Hit
			if e.UID >= 1000 && m.MatchMessage(e.Message, &h) {
				forged++
			}
			if m.Match(&e, &h) {
				n[h.Kind]++
			}
		}
		if n[Failure] != c.failures || n[Success] != c.successes || n[Context] != c.told {
			t.Errorf("%s: %d failures, %d successes, %d others; wanted %d, %d, %d", c.file, n[Failure], n[Success], n[Context], c.failures, c.successes, c.told)
		}
		if c.mode == "aggressive" && forged == 0 {
			t.Errorf("%s: no forged line would have matched if its sender were trusted: it tests nothing", c.file)
		}
	}
}
