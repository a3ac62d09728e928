package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"bailiff/policy"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// The ban that is written by hand is the one that encoding/json writes.
func TestAppendBan(t *testing.T) {
	cursor := func(ref jail.Ref) string { return "s=00;i=" + string('a'+byte(ref)) }
	r := &replay{appendCursor: func(b []byte, ref jail.Ref) []byte { return append(b, cursor(ref)...) }}
	for _, b := range []policy.Ban{
		{Ban: state.Ban{Prefix: netip.MustParsePrefix("192.0.2.7/32"), Jail: "sshd", Since: 1_700_000_000_000_001, Until: 1_700_172_800_000_000, Failures: 5, Count: 1}},
		{Ban: state.Ban{Prefix: netip.MustParsePrefix("2001:db8::/64"), Jail: `quo"ted <&> ü\`, Since: 999_999, Failures: 1 << 20, Count: 12},
			Evidence: []jail.Failure{{Ref: 0}, {Ref: 1}, {Ref: 2}}},
	} {
		o := replayBan{Kind: "ban", Time: rfc(b.Since), Jail: b.Jail, Prefix: b.Prefix, Failures: b.Failures, Count: b.Count, Reason: b.Reason, ID: b.ID(), Evidence: []string{}}
		if b.Until != 0 {
			s := rfc(b.Until)
			o.Until = &s
		}
		for _, x := range b.Evidence {
			o.Evidence = append(o.Evidence, cursor(x.Ref))
		}
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(o); err != nil {
			t.Fatal(err)
		}
		if got := r.appendBan(nil, &b); string(got) != want.String() {
			t.Errorf("\n%s\n%s", got, want.Bytes())
		}
	}
}

func TestTimeText(t *testing.T) {
	for _, us := range []int64{0, 1, -1, -1_000_001, 999_999, 1_000_000, 1_700_000_000_000_000, 1_700_000_000_120_000, 253_402_300_799_999_999} {
		want := time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000000Z07:00")
		if got := rfc(us); got != want {
			t.Errorf("%d: %s, want %s", us, got, want)
		}
	}
}
