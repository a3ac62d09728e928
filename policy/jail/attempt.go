package jail

import (
	"encoding/binary"
	"math"

	"bailiff/policy/codec"
	"bailiff/policy/prefix"
)

// Attempt is a failed attempt to log in, according to the lines of a connection.
type Attempt struct {
	At       int64 // microseconds since 1970
	Ref      Ref
	Pattern  string // name of the filter's pattern that matched the line
	User     uint64 // keyed hash of the account name; 0: not known
	Name     []byte // the account as logged: an attacker's text of at most MaxName bytes, borrowed from the entry and copied if the attempt waits
	Port     uint16 // source port; 0: not known
	Attempts int    // number of attempts: more than one for "message repeated N times"
	Weight   int    // of the pattern
	MaxRetry int    // of the pattern: number of such lines that lead to a ban; 0: the jail's limit
	Unknown  bool   // according to the line, the account does not exist

	Stage       uint8  // of the pattern; 0: the line is an attempt of its own, whatever other lines the connection has
	Source      uint32 // which of a stage's modules or databases wrote the line
	Provisional bool   // later lines may report its outcome
	After       bool   // it counts only if the address has other failures
	Alone       bool   // its connection is that of a single client, not everything from an address or with an id
	Distinct    bool   // lines of its pattern count once within find_time; not saved: such attempts never wait
	Before      int    // attempts of that connection that failed before it; not saved
}

// MaxName is how many bytes of an account name are kept.
const MaxName = 64

// Hash returns a keyed hash of an account name in lower case: without the key nobody can find two names with equal hashes. It is 0 only for
// an empty name.
func Hash(name []byte, seed uint64) uint64 {
	if len(name) == 0 {
		return 0
	}
	h := seed ^ uint64(len(name))*0x9e3779b97f4a7c15
	var w [8]byte
	for len(name) > 0 {
		n := copy(w[:], name)
		clear(w[n:])
		for i, c := range w {
			if 'A' <= c && c <= 'Z' {
				w[i] = c + 'a' - 'A'
			}
		}
		h = prefix.Mix(binary.LittleEndian.Uint64(w[:]), h, seed)
		name = name[n:]
	}
	return max(h, 1)
}

// leastAttempt is the smallest size of a saved attempt, in bytes.
const leastAttempt = 17

func (a *Attempt) stream(s *codec.Stream) {
	s.Time(&a.At)
	s.Text(&a.Pattern)
	s.Fixed64(&a.User)
	name := string(a.Name)
	s.Text(&name)
	codec.Number(s, &a.Port, math.MaxUint16)
	for _, n := range []*int{&a.Attempts, &a.Weight, &a.MaxRetry} {
		codec.Number(s, n, math.MaxUint16)
	}
	codec.Number(s, &a.Source, math.MaxUint32)
	s.Byte(&a.Stage)
	s.Flags(&a.Unknown, &a.Provisional, &a.After, &a.Alone)
	if s.Reading {
		a.Name, a.Ref = []byte(name), NoRef
	}
	s.Check(a.Attempts > 0 && a.Weight > 0 && len(a.Name) <= MaxName, "an attempt out of range")
}
