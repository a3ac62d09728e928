package journal_test

import (
	"strings"
	"testing"

	"bailiff/journal"
)

func TestCursor(t *testing.T) {
	const full = "s=0123456789abcdef0123456789abcdef;i=1a;b=fedcba9876543210fedcba9876543210;m=2b;t=5f0;x=ffffffffffffffff"
	for text, want := range map[string]journal.Cursor{
		full: {
			SeqnumID: journal.ID128{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}, Seqnum: 0x1a,
			BootID:    journal.ID128{0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10},
			Monotonic: 0x2b, Realtime: 0x5f0, XorHash: 1<<64 - 1, Set: journal.HasAll,
		},
		"t=5f0": {Realtime: 0x5f0, Set: journal.HasRealtime},
		"s=0123456789abcdef0123456789abcdef;i=0": {
			SeqnumID: journal.ID128{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef},
			Set:      journal.HasSeqnumID | journal.HasSeqnum,
		},
	} {
		c, err := journal.ParseCursor(text)
		if err != nil || c != want || c.String() != text {
			t.Errorf("%s: %+v %v, text %s", text, c, err, c)
		}
		whole, _ := journal.ParseCursor(full)
		if c.Names(whole) != (c.Set&journal.HasSeqnum == 0 || c.Seqnum == 0x1a) {
			t.Errorf("%s names %s: %v", c, whole, c.Names(whole))
		}
	}
	for text, want := range map[string]string{
		"":                               "is not KEY=VALUE",
		"i=5":                            "does not identify a position",
		"b=fedcba9876543210;m=1":         `b=: "fedcba9876543210" is not a 128-bit id`,
		"t=xyz":                          `t=: "xyz" is not a hexadecimal number`,
		"t=10000000000000000":            "is not a hexadecimal number of 64 bits",
		"t=" + strings.Repeat("9", 5000): "…",
	} {
		if _, err := journal.ParseCursor(text); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 1000 {
			t.Errorf("%.40q: %v, want %q in it", text, err, want)
		}
	}
}

func TestParseMatches(t *testing.T) {
	ms, err := journal.ParseMatches([]string{"_UID=0", "_SYSTEMD_UNIT=a=b", "+", "MESSAGE="})
	if err != nil || len(ms) != 2 || len(ms[0]) != 2 || ms[0][1] != (journal.Match{Field: "_SYSTEMD_UNIT", Value: "a=b"}) || ms[1][0].Value != "" {
		t.Errorf("%v %v", ms, err)
	}
	if s := ms.String(); s != "_UID=0 _SYSTEMD_UNIT=a=b + MESSAGE=" {
		t.Error(s)
	}
	for _, bad := range [][]string{{"+"}, {"A=1", "+"}, {"+", "A=1"}, {"A=1", "+", "+", "B=1"}, {"message=x"}, {"A"}, {"=x"}, {"1A=x"}, {strings.Repeat("A", 65) + "=x"}} {
		if ms, err := journal.ParseMatches(bad); err == nil {
			t.Errorf("%q: %v", bad, ms)
		}
	}
}
