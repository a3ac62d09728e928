package fleet

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// To check 100,000 signatures takes a processor more than a second, even in batches. So a host also signs lists of digests of its messages:
// a receiver that has such a list only needs to hash a message that is in it. A list proves nothing else. An old list does no harm, since
// it names only messages that the host has signed one by one.

const (
	// PageDigests is how many digests a list has.
	PageDigests = 64

	// maxDigests bounds what is kept of all hosts together. Other messages are checked one by one.
	maxDigests = 1 << 18

	// MaxPages is how many lists a host has.
	MaxPages = 1 << 12

	digestSize   = 16 // bytes of a SHA-256: nobody finds another message with one of the digests
	digestsToken = "+digests"
)

// DigestsSubject matches the subjects of lists. No jail has such a name.
const DigestsSubject = "ban.*." + digestsToken + ".*"

type digest [digestSize]byte

func (m *Message) digest() digest {
	sum := sha256.Sum256(m.signed())
	return digest(sum[:])
}

// IsDigests reports whether a subject belongs to a list of digests.
func IsDigests(subject string) bool {
	part := strings.SplitN(subject, ".", 4)
	return len(part) == 4 && part[2] == digestsToken
}

// validDigests reports whether a list is well-formed, so that its signature is worth checking.
func (m *Message) validDigests() bool {
	if !IsDigests(m.Subject) || len(m.Payload)%digestSize != 0 || len(m.Payload) > PageDigests*digestSize {
		return false
	}
	text := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	n, err := strconv.Atoi(text)
	return err == nil && n >= 0 && n < MaxPages && strconv.Itoa(n) == text
}

// SignDigests makes a list of the digests of at most PageDigests messages, without signatures. Lists of a host have numbers.
func SignDigests(host string, number int, l []Message, key ed25519.PrivateKey) (*Message, error) {
	if !ValidHost(host) || len(l) > PageDigests || number < 0 || number >= MaxPages {
		return nil, fmt.Errorf("list %d of %d digests of host %q cannot be sent", number, len(l), host)
	}
	m := &Message{Subject: "ban." + host + "." + digestsToken + "." + strconv.Itoa(number), Payload: make([]byte, 0, len(l)*digestSize)}
	for i := range l {
		d := l[i].digest()
		m.Payload = append(m.Payload, d[:]...)
	}
	m.Signature = ed25519.Sign(key, m.signed())
	return m, nil
}

// Digests holds the digests of messages that their hosts have signed in lists.
type Digests struct {
	of map[string]map[digest]bool
	n  int
}

// Add adds the digests of lists, and returns how many lists it rejected: malformed, or not signed by their host. keys is as in Open.
func (d *Digests) Add(l []Message, keys func(host string) []ed25519.PublicKey) (rejected int) {
	if d.of == nil {
		d.of = make(map[string]map[digest]bool)
	}
	valid := slices.DeleteFunc(slices.Clone(l), func(m Message) bool { return !m.validDigests() })
	rejected = len(l) - len(valid)
	for some := range slices.Chunk(valid, batchSize) {
		proven := verifyBatch(some, keys)
		for i := range some {
			if m := &some[i]; proven || m.verify(keys(Sender(m.Subject))) {
				d.add(m)
			} else {
				rejected++
			}
		}
	}
	return rejected
}

func (d *Digests) add(m *Message) {
	of := d.of[Sender(m.Subject)]
	if of == nil {
		of = make(map[digest]bool)
		d.of[Sender(m.Subject)] = of
	}
	for x := range slices.Chunk(m.Payload, digestSize) {
		if d.n < maxDigests && !of[digest(x)] {
			of[digest(x)] = true
			d.n++
		}
	}
}

// Len is how many digests are known.
func (d *Digests) Len() int { return d.n }

// has reports whether the host of a message has signed its digest.
func (d *Digests) has(m *Message) bool {
	if d == nil || d.n == 0 {
		return false
	}
	of := d.of[Sender(m.Subject)]
	return of != nil && of[m.digest()]
}
