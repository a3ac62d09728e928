package audit

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var since = time.Date(2026, 11, 22, 19, 17, 0, 123456000, time.UTC)

func example() BanEvent {
	return BanEvent{
		Prefix: netip.MustParsePrefix("192.0.2.7/32"), Jail: "sshd", ID: "0123456789abcdef",
		First: since.Add(-190 * time.Second), Since: since, Until: since.Add(48 * time.Hour), Failures: 5, Count: 1,
		Evidence: []string{"s=1;i=1;b=1;m=1;t=1;x=1", "s=1;i=2;b=1;m=2;t=2;x=2"}, Backend: "ipset",
	}
}

// lookup is a journal reader's view of an entry.
func lookup(e Entry) func(string) string {
	return func(name string) string {
		if v := values(e.Fields, name); len(v) > 0 {
			return v[0]
		}
		return ""
	}
}

func TestMessages(t *testing.T) {
	six := example()
	six.Prefix, six.Wide, six.Count = netip.MustParsePrefix("2001:db8::/64"), true, 2
	hand := example()
	hand.Jail, hand.First, hand.Failures, hand.Until, hand.Count, hand.By, hand.Reason = "manual", time.Time{}, 0, time.Time{}, 11, "root", "scans\nall \x1b[31mday"
	scoped := example()
	scoped.Scope = "22;25,465"
	restored := example()
	restored.Restored, restored.Failures = true, 1
	usual, slow, account, net := example(), example(), example(), six
	usual.Reason, slow.Reason, account.Reason, net.Reason = "failures", "slow", "account", "network"
	for _, c := range []struct {
		got  Entry
		want string
	}{
		{usual.Entry(KindBan), "ban 192.0.2.7 (sshd): 5 attempts in 3m10s, until 2026-11-24 19:17:00 UTC (48h, 1st time)"},
		{slow.Entry(KindBan), "ban 192.0.2.7 (sshd): 5 attempts in 3m10s, slowly, until 2026-11-24 19:17:00 UTC (48h, 1st time)"},
		{account.Entry(KindBan), "ban 192.0.2.7 (sshd): 5 attempts in 3m10s, on an account that many addresses attack, until 2026-11-24 19:17:00 UTC (48h, 1st time)"},
		{net.Entry(KindBan), "ban 2001:db8::/64 (sshd): 5 parts of it attacked in 3m10s, until 2026-11-24 19:17:00 UTC (48h, 2nd time)"},
		{example().Entry(KindBan), "ban 192.0.2.7 (sshd): 5 attempts in 3m10s, until 2026-11-24 19:17:00 UTC (48h, 1st time)"},
		{six.Entry(KindExtend), "extend 2001:db8::/64 (sshd): 5 attempts in 3m10s, many addresses at once, until 2026-11-24 19:17:00 UTC (48h, 2nd time)"},
		{hand.Entry(KindBan), "ban 192.0.2.7 (manual): by root, scans all  [31mday, forever (11th time)"},
		{scoped.Entry(KindExtend), "extend 192.0.2.7 (sshd): 5 attempts in 3m10s, ports 22,25,465, until 2026-11-24 19:17:00 UTC (48h, 1st time)"},
		{example().Entry(KindObserved), "would ban 192.0.2.7 (sshd): 5 attempts in 3m10s, until 2026-11-24 19:17:00 UTC (48h, 1st time)"},
		{restored.Entry(KindBan), "ban 192.0.2.7 (sshd): 1 attempt, restored, until 2026-11-24 19:17:00 UTC (48h, 1st time)"},
		{UnbanEvent{Prefix: example().Prefix, Jail: "sshd", ID: "1", Reason: "expired"}.Entry(), "unban 192.0.2.7 (sshd): expired"},
		{UnbanEvent{Prefix: example().Prefix, Jail: "sshd", ID: "1", By: "root", Reason: "a friend"}.Entry(), "unban 192.0.2.7 (sshd): by root, a friend"},
		{AllowEvent{Prefix: six.Prefix, By: "root", Lifted: 3}.Entry(KindAllow), "allow 2001:db8::/64 by root, forever, bans lifted: 3"},
		{AllowEvent{Prefix: six.Prefix, By: "root", Until: since}.Entry(KindAllow), "allow 2001:db8::/64 by root, until 2026-11-22 19:17:00 UTC"},
		{AllowEvent{Prefix: six.Prefix, By: "root"}.Entry(KindDisallow), "disallow 2001:db8::/64 by root"},
	} {
		if c.got.Message != c.want {
			t.Errorf("got  %s\nwant %s", c.got.Message, c.want)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0ms", 250 * time.Millisecond: "250ms", time.Second: "1s", 61 * time.Second: "1m1s", time.Hour: "1h", time.Hour + time.Second: "1h",
		48 * time.Hour: "48h", 71*time.Hour + 59*time.Minute: "71h59m", 72 * time.Hour: "3d", 28 * 24 * time.Hour: "28d", 73 * time.Hour: "3d1h", -time.Minute: "-1m",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

func TestOrdinal(t *testing.T) {
	for n, want := range map[int]string{1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 12: "12th", 13: "13th", 21: "21st", 111: "111th", 122: "122nd"} {
		if got := ordinal(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

// TestAddresses: journalctl BAILIFF_ADDRESS=X must find the ban whichever way one asks.
func TestAddresses(t *testing.T) {
	if got := values(example().Entry(KindBan).Fields, FieldAddress); !slices.Equal(got, []string{"192.0.2.7"}) {
		t.Errorf("single address: %q", got)
	}
	e := example()
	e.Prefix = netip.MustParsePrefix("2001:db8::/64")
	for i := range 200 {
		a := netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i/2+1)) // each twice
		e.Addresses = append(e.Addresses, a)
	}
	got := values(e.Entry(KindBan).Fields, FieldAddress)
	if len(got) != 1+maxAddresses || got[0] != "2001:db8::/64" || got[1] != "2001:db8::64" || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Errorf("%d addresses: %q", len(got), got)
	}
	if got := values(e.Entry(KindBan).Fields, FieldPrefix); !slices.Equal(got, []string{"2001:db8::/64"}) {
		t.Errorf("prefix: %q", got)
	}
}

func TestParseBan(t *testing.T) {
	forever := example()
	forever.Until, forever.First, forever.By, forever.Reason, forever.Restored, forever.Wide = time.Time{}, time.Time{}, "root", "two\nlines = fine", true, true
	forever.Unreported = true
	none := example()
	none.Evidence = nil
	for _, want := range []BanEvent{example(), forever, none} {
		got, err := ParseBan(lookup(want.Entry(KindBan)))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
		}
	}
	many := example()
	for i := range 3000 {
		many.Evidence = append(many.Evidence, fmt.Sprint("cursor ", i))
	}
	got, err := ParseBan(lookup(many.Entry(KindBan)))
	if err != nil || len(got.Evidence) != maxEvidence || got.Evidence[maxEvidence-1] != "cursor 2999" {
		t.Errorf("%v, %d cursors", err, len(got.Evidence))
	}
}

func TestParseUnbanAllow(t *testing.T) {
	u := UnbanEvent{Prefix: example().Prefix, Jail: "sshd", ID: "1", Since: since, Until: since.Add(time.Hour), Reason: "expired"}
	if got, err := ParseUnban(lookup(u.Entry())); err != nil || got != u {
		t.Errorf("%v, %+v", err, got)
	}
	a := AllowEvent{Prefix: example().Prefix, Until: since, Comment: "office", By: "root", Lifted: 2}
	if got, err := ParseAllow(lookup(a.Entry(KindAllow))); err != nil || got != a {
		t.Errorf("%v, %+v", err, got)
	}
	a.Until, a.Lifted = time.Time{}, 0
	if got, err := ParseAllow(lookup(a.Entry(KindDisallow))); err != nil || got != a {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestParseBanRefuses(t *testing.T) {
	for _, c := range []struct{ field, value, want string }{
		{FieldPrefix, "", "BAILIFF_PREFIX: missing"},
		{FieldPrefix, "192.0.2.7", `"192.0.2.7" is not a prefix`},
		{FieldPrefix, "192.0.2.7/24", "bits set beyond"},
		{FieldPrefix, "::ffff:192.0.2.7/128", "IPv4-mapped"},
		{FieldJail, "", "BAILIFF_JAIL: missing"},
		{FieldBanID, "", "BAILIFF_BAN_ID: missing"},
		{FieldSince, "yesterday", `"yesterday" is not a time`},
		{FieldUntil, "", "BAILIFF_UNTIL: missing"},
		{FieldUntil, "2020-01-01T00:00:00Z", "before BAILIFF_SINCE"},
		{FieldFailures, "-1", `"-1" is not a count`},
		{FieldCount, "99999999999999999999", "is not a count"},
		{FieldEvidence, strings.Repeat("c\n", maxEvidence), "more cursors"},
	} {
		get := lookup(example().Entry(KindBan))
		_, err := ParseBan(func(f string) string {
			if f == c.field {
				return c.value
			}
			return get(f)
		})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%.30q: got %v, want %s", c.field, c.value, err, c.want)
		}
	}
}

func TestKinds(t *testing.T) {
	seen := make(map[string]bool)
	for k := KindLog + 1; int(k) < len(kinds); k++ {
		if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(k.ID()) || seen[k.ID()] {
			t.Errorf("%s: id %q is malformed or there twice", k, k.ID())
		}
		seen[k.ID()] = true
		if got, ok := KindOf(k.ID()); !ok || got != k {
			t.Errorf("KindOf(%s) = %v, %v", k.ID(), got, ok)
		}
	}
	if len(seen) != int(KindReportQueue) {
		t.Errorf("%d kinds have an id", len(seen))
	}
	for _, id := range []string{"", "0123"} {
		if k, ok := KindOf(id); ok {
			t.Errorf("KindOf(%q) = %v", id, k)
		}
	}
}

func TestFieldNames(t *testing.T) {
	for _, n := range []string{FieldAddress, FieldPrefix, FieldJail, FieldBanID, FieldFirst, FieldSince, FieldUntil, FieldFailures, FieldCount,
		FieldEvidence, FieldBackend, FieldList, FieldReason, FieldBy, FieldRestored, FieldWide, FieldLifted, FieldProblem, FieldUnreported, "BAILIFF_LOST"} {
		if !validName(n) {
			t.Errorf("%s: journald would refuse it", n)
		}
	}
}

// FuzzParseBan: the input may be anybody's text if a caller does not check whose entry it is. Parsing must not panic, and
// an accepted ban must be written the same again.
func FuzzParseBan(f *testing.F) {
	f.Add("192.0.2.7/32", "sshd", "1", "2026-11-22T19:17:00Z", "forever", "5", "1", "a\nb")
	f.Add("2001:db8::/64", "sshd", "1", "2026-11-22T19:17:00.5+02:00", "2026-11-24T19:17:00Z", "5", "1", "")
	f.Fuzz(func(t *testing.T, prefix, jail, id, since, until, failures, count, evidence string) {
		m := map[string]string{FieldPrefix: prefix, FieldJail: jail, FieldBanID: id, FieldSince: since, FieldUntil: until, FieldFailures: failures, FieldCount: count, FieldEvidence: evidence}
		e, err := ParseBan(func(n string) string { return m[n] })
		if err != nil {
			return
		}
		again, err := ParseBan(lookup(e.Entry(KindBan)))
		if err != nil || again.Prefix != e.Prefix || again.Jail != e.Jail || again.Failures != e.Failures || !slices.Equal(again.Evidence, e.Evidence) || again.Until.IsZero() != e.Until.IsZero() {
			t.Errorf("%v\n%+v\n%+v", err, e, again)
		}
	})
}
