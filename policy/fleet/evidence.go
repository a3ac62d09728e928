package fleet

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"net/netip"
	"strings"
	"time"
)

// A host asks another one for the lines that led to one of its bans: a Question goes out as ask.TO.FROM, an Answer comes back as
// tell.TO.FROM. The hub lets a host publish under its own name as FROM only, and both are signed like every message.

// Question asks for the lines that led to a ban.
type Question struct {
	ID     string       `json:"id"` // chosen by the asking host, never reused; the answer repeats it
	At     int64        `json:"at"`
	Prefix netip.Prefix `json:"prefix"`
	Jail   string       `json:"jail"` // of the host that is asked
}

// Answer has the lines, without account names and own addresses.
type Answer struct {
	ID       string       `json:"id"`
	Lines    []AnswerLine `json:"lines,omitempty"` // MaxAnswerLines at most
	Withheld int          `json:"withheld,omitempty"`
	Error    string       `json:"error,omitempty"` // why there are none
}

// AnswerLine is a line of the journal, redacted.
type AnswerLine struct {
	At   int64  `json:"at"`
	Unit string `json:"unit,omitempty"`
	Text string `json:"text"`
}

// Bounds of questions and answers.
const (
	MaxAnswerLines = 10
	MaxAnswerText  = 250  // bytes of a line, or of an error
	MaxAnswer      = 3500 // bytes
	maxQuestion    = 512
	maxID          = 32

	// QuestionAge is how old a question may be, and how far the asking host's clock may be ahead.
	QuestionAge = 2 * time.Minute
)

const askSubject, tellSubject = "ask.", "tell."

// IsQuestion reports whether a subject belongs to a Question.
func IsQuestion(subject string) bool { return strings.HasPrefix(subject, askSubject) }

// IsAnswer reports whether a subject belongs to an Answer.
func IsAnswer(subject string) bool { return strings.HasPrefix(subject, tellSubject) }

// Sender is the host that a message is from, as its subject says.
func Sender(subject string) string {
	_, rest, _ := strings.Cut(subject, ".")
	host, rest, more := strings.Cut(rest, ".")
	if more && !strings.Contains(rest, ".") && (IsQuestion(subject) || IsAnswer(subject)) {
		return rest
	}
	return host
}

// SignQuestion returns the signed message for a question from host from to host to.
func SignQuestion(from, to string, q *Question, key ed25519.PrivateKey) (*Message, error) {
	return signJSON(askSubject+to+"."+from, q, key)
}

// SignAnswer returns the signed message for an answer from host from to host to. Lines that do not fit are left out.
func SignAnswer(from, to string, a Answer, key ed25519.PrivateKey) (*Message, error) {
	for {
		m, err := signJSON(tellSubject+to+"."+from, &a, key)
		if err != nil || len(m.Payload) <= MaxAnswer || len(a.Lines) == 0 {
			return m, err
		}
		a.Lines = a.Lines[1:] // the newest led to the ban
		a.Withheld++
	}
}

func signJSON(subject string, v any, key ed25519.PrivateKey) (*Message, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	m := &Message{Subject: subject, Payload: body}
	m.Signature = ed25519.Sign(key, m.signed())
	return m, nil
}

// OpenQuestion checks a question to host self and returns the asking host.
func OpenQuestion(self string, m *Message, now int64, keys func(host string) []ed25519.PublicKey) (from string, q *Question, err error) {
	q = new(Question)
	if from, err = openJSON(askSubject+self+".", m, maxQuestion, q, keys); err != nil {
		return "", nil, err
	}
	if age := now - q.At; age > QuestionAge.Microseconds() || -age > QuestionAge.Microseconds() {
		return "", nil, ErrOld
	}
	if q.ID == "" || len(q.ID) > maxID || !isToken(q.ID) || !q.Prefix.IsValid() || q.Prefix != q.Prefix.Masked() || !isText(q.Jail, maxJail) || q.Jail == "" {
		return "", nil, ErrPayload
	}
	return from, q, nil
}

// OpenAnswer checks an answer to host self and returns the answering host. The caller must compare the ID with its question's. Texts are
// untrusted: they are only known to be printable ASCII of bounded length.
func OpenAnswer(self string, m *Message, keys func(host string) []ed25519.PublicKey) (from string, a *Answer, err error) {
	a = new(Answer)
	if from, err = openJSON(tellSubject+self+".", m, MaxAnswer, a, keys); err != nil {
		return "", nil, err
	}
	ok := len(a.Lines) <= MaxAnswerLines && a.Withheld >= 0 && isText(a.Error, MaxAnswerText) && len(a.ID) <= maxID && isToken(a.ID)
	for _, l := range a.Lines {
		ok = ok && isText(l.Text, MaxAnswerText) && isText(l.Unit, MaxAnswerText) && l.At > 0 && l.At <= farFuture
	}
	if !ok {
		return "", nil, ErrPayload
	}
	return from, a, nil
}

func openJSON(subject string, m *Message, most int, v any, keys func(host string) []ed25519.PublicKey) (from string, err error) {
	if from, err = m.sender(subject, most, keys); err != nil {
		return "", err
	}
	d := json.NewDecoder(bytes.NewReader(m.Payload))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil || d.More() {
		return "", ErrPayload
	}
	return from, nil
}

// ASCII is a text as answers may hold it: cut, and with what is not printable ASCII replaced.
func ASCII(s string) string {
	b := []byte(s[:min(len(s), MaxAnswerText)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
