package fleet

import (
	"crypto/ed25519"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestEvidence: questions and answers count if the host that the subject names has signed them, for the host that it names.
func TestEvidence(t *testing.T) {
	pub, key, _ := ed25519.GenerateKey(nil)
	_, other, _ := ed25519.GenerateKey(nil)
	keys := func(host string) []ed25519.PublicKey {
		if host == "web1" {
			return []ed25519.PublicKey{pub}
		}
		return nil
	}
	question := func(edit func(*Question)) *Message {
		q := Question{ID: "ABC", At: noon, Prefix: netip.MustParsePrefix("192.0.2.1/32"), Jail: "sshd"}
		edit(&q)
		m, err := SignQuestion("web1", "me", &q, key)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	answer := func(a Answer) *Message {
		m, err := SignAnswer("web1", "me", a, key)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	same := func(*Question) {}
	if from, q, err := OpenQuestion("me", question(same), noon+minute, keys); err != nil || from != "web1" || q.ID != "ABC" || q.Jail != "sshd" || q.At != noon {
		t.Errorf("%s %+v %v", from, q, err)
	}
	many := Answer{ID: "ABC", Withheld: 2}
	for range MaxAnswerLines {
		many.Lines = append(many.Lines, AnswerLine{At: noon, Unit: "ssh.service", Text: ASCII(strings.Repeat("<\x1bé", 200))})
	}
	many.Lines[9].Text = "the last one"
	m := answer(many)
	if from, a, err := OpenAnswer("me", m, keys); err != nil || from != "web1" || len(m.Payload) > MaxAnswer || len(a.Lines) == 0 || a.Withheld+len(a.Lines) != 12 || a.Lines[len(a.Lines)-1].Text != "the last one" || strings.ContainsAny(a.Lines[0].Text, "\x1bé") {
		t.Errorf("%s %+v %v", from, a, err)
	}
	stolen := func(m *Message, subject string) *Message { return &Message{subject, m.Payload, m.Signature} }
	forged, _ := SignQuestion("web1", "me", &Question{ID: "x", At: noon, Prefix: netip.MustParsePrefix("192.0.2.1/32"), Jail: "sshd"}, other)
	for name, c := range map[string]struct {
		m    *Message
		want error
	}{
		"for another host":  {stolen(question(same), "ask.web1.web1"), ErrSubject},
		"by a stranger":     {stolen(question(same), "ask.me.web2"), ErrHost},
		"by another's key":  {forged, ErrSignature},
		"to another before": {stolen(question(same), "ask.me.web1.x"), ErrSubject},
		"an answer":         {stolen(answer(many), "ask.me.web1"), ErrSignature},
		"old":               {question(func(q *Question) { q.At -= 3 * minute }), ErrOld},
		"early":             {question(func(q *Question) { q.At += 3 * minute }), ErrOld},
		"without an ID":     {question(func(q *Question) { q.ID = "" }), ErrPayload},
		"with a wild ID":    {question(func(q *Question) { q.ID = "a.b" }), ErrPayload},
		"with host bits":    {question(func(q *Question) { q.Prefix = netip.MustParsePrefix("192.0.2.1/24") }), ErrPayload},
		"of no jail":        {question(func(q *Question) { q.Jail = "" }), ErrPayload},
		"of an odd jail":    {question(func(q *Question) { q.Jail = "a\nb" }), ErrPayload},
		"huge":              {question(func(q *Question) { q.Jail = strings.Repeat("x", 600) }), ErrSignature},
	} {
		if _, _, err := OpenQuestion("me", c.m, noon, keys); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	line := func(text string) Answer { return Answer{ID: "ABC", Lines: []AnswerLine{{At: noon, Text: text}}} }
	for name, a := range map[string]Answer{
		"an escape": line("\x1b[2J"), "two lines": line("a\nb"), "a long line": line(strings.Repeat("x", MaxAnswerText+1)), "no ASCII": line("\u202e"),
		"eleven lines": {ID: "ABC", Lines: slices.Repeat([]AnswerLine{{At: noon}}, MaxAnswerLines+1)}, "no time": {ID: "ABC", Lines: []AnswerLine{{}}},
		"fewer than none": {ID: "ABC", Withheld: -1}, "an odd error": {ID: "ABC", Error: "\x07"},
	} {
		if _, _, err := OpenAnswer("me", answer(a), keys); !errors.Is(err, ErrPayload) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := OpenAnswer("me", stolen(question(same), "tell.me.web1"), keys); !errors.Is(err, ErrSignature) {
		t.Error(err)
	}
	for subject, want := range map[string]string{"ask.a.b": "b", "tell.a.b": "b", "ban.a.sshd.x": "a", "count.a": "a", "ask.a": "a", "": ""} {
		if got := Sender(subject); got != want {
			t.Errorf("%q: %q", subject, got)
		}
	}
}
