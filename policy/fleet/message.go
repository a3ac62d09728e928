package fleet

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Message is a piece of news as it is sent: under a subject that names host, jail and prefix, so that a hub needs to keep only the latest
// message of each subject. It is signed by the host, so that a compromised hub can hold news back, but not invent any.
type Message struct {
	Subject   string // ban.HOST.JAIL.PREFIX
	Payload   []byte // JSON
	Signature []byte // by ed25519, of subject and payload
}

// Errors of messages that are not accepted, besides those of Bans.Apply.
var (
	ErrSubject   = errors.New("the subject is not ban.HOST.JAIL.PREFIX")
	ErrPayload   = errors.New("the payload is not as expected")
	ErrSignature = errors.New("the message is not signed by the host that its subject names")
)

// MaxPayload is the largest payload, in bytes.
const MaxPayload = 512

// payload is the JSON of a message. The rest of the news stands in the subject.
type payload struct {
	Version  int    `json:"v"` // 1
	Since    int64  `json:"since"`
	Until    int64  `json:"until"` // 0: forever
	Lifted   bool   `json:"lifted,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Failures int    `json:"failures,omitempty"`
}

// ValidHost reports whether a host of a fleet may have this name: 1 to 64 letters, digits and hyphens. Others have a meaning in
// subjects.
func ValidHost(s string) bool { return s != "" && len(s) <= 64 && isToken(s) }

func isToken(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}) < 0
}

// Sign makes the message of a piece of news. Names of host and jail must be tokens: see ValidHost.
func Sign(n *News, key ed25519.PrivateKey) (*Message, error) {
	m, err := Unsigned(n)
	if err == nil {
		m.Signature = ed25519.Sign(key, m.signed())
	}
	return m, err
}

// Unsigned is Sign without the signature. The same news gives the same message.
func Unsigned(n *News) (*Message, error) {
	if !ValidHost(n.Host) || !validJail(n.Jail) || !n.Prefix.IsValid() {
		return nil, fmt.Errorf("news about %v of host %q and jail %q cannot be sent", n.Prefix, n.Host, n.Jail)
	}
	p := payload{1, n.Since, n.Until, n.Lifted, n.Reason, n.Failures}
	if p.Until == Forever {
		p.Until = 0
	}
	body, err := json.Marshal(&p)
	if err != nil || len(body) > MaxPayload {
		return nil, fmt.Errorf("news about %v cannot be sent: %d bytes, %v", n.Prefix, len(body), err)
	}
	return &Message{Subject: "ban." + n.Host + "." + n.Jail + "." + token(n.Prefix), Payload: body}, nil
}

// signed returns the bytes that are signed. The first bytes keep a signature from being valid for anything else.
func (m *Message) signed() []byte {
	return []byte("bailiff fleet 1\x00" + m.Subject + "\x00" + string(m.Payload))
}

// token writes a prefix without dots, which separate the parts of a subject.
func token(p netip.Prefix) string { return strings.ReplaceAll(p.String(), ".", "_") }

// Open checks a message and returns its news. keys returns the public keys of a host, one of which must have made the signature: two while
// a host's key is being replaced, none for an unknown host.
func Open(m *Message, keys func(host string) []ed25519.PublicKey) (*News, error) {
	return openMessage(m, keys, false)
}

// verify reports whether one of the keys has signed.
func (m *Message) verify(keys []ed25519.PublicKey) bool {
	return slices.ContainsFunc(keys, func(k ed25519.PublicKey) bool {
		return len(k) == ed25519.PublicKeySize && ed25519.Verify(k, m.signed(), m.Signature)
	})
}

// sender checks a message of at most this many bytes, whose subject is the given beginning followed by a host's name, and returns the host
// if it has signed the message.
func (m *Message) sender(subject string, most int, keys func(host string) []ed25519.PublicKey) (host string, err error) {
	host, ok := strings.CutPrefix(m.Subject, subject)
	if !ok || !ValidHost(host) {
		return "", ErrSubject
	}
	of := keys(host)
	if len(of) == 0 {
		return "", ErrHost
	}
	if len(m.Payload) > most || !m.verify(of) {
		return "", ErrSignature
	}
	return host, nil
}

// openMessage is Open; proven says that the signature has been checked.
func openMessage(m *Message, keys func(host string) []ed25519.PublicKey, proven bool) (*News, error) {
	part := strings.Split(m.Subject, ".")
	if len(part) != 4 || part[0] != "ban" || !ValidHost(part[1]) || !validJail(part[2]) {
		return nil, ErrSubject
	}
	p, err := netip.ParsePrefix(strings.ReplaceAll(part[3], "_", "."))
	if err != nil || token(p) != part[3] {
		return nil, ErrSubject
	}
	of := keys(part[1])
	if len(of) == 0 {
		return nil, ErrHost
	}
	if len(m.Payload) > MaxPayload || !proven && !m.verify(of) {
		return nil, ErrSignature
	}
	var v payload
	d := json.NewDecoder(bytes.NewReader(m.Payload))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil || d.More() || v.Version != 1 {
		return nil, ErrPayload
	}
	if v.Until == 0 || v.Until > farFuture {
		v.Until = Forever
	}
	n := &News{Host: part[1], Jail: part[2], Prefix: p, Since: v.Since, Until: v.Until, Lifted: v.Lifted, Reason: v.Reason, Failures: v.Failures}
	if !n.valid() {
		return nil, ErrPayload
	}
	return n, nil
}

// valid reports whether a host may say this: nothing that no calendar has, for one.
func (n *News) valid() bool {
	return validJail(n.Jail) && n.Since > 0 && n.Since <= farFuture && n.Until >= 0 && isText(n.Reason, MaxReason)
}

// validJail reports whether a jail of another host may have this name.
func validJail(s string) bool { return s != "" && len(s) <= maxJail && isToken(s) }
