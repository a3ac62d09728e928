package jail

import (
	"encoding/binary"
	"math"

	"bailiff/policy/codec"
	"bailiff/policy/prefix"
)

// Attempt is an attempt to log in that failed, as the lines of a connection tell it.
type Attempt struct {
	At       int64 // microseconds since 1970
	Ref      Ref
	Pattern  string // of the filter, by which the line was known
	User     uint64 // keyed hash of the account name; 0: not known
	Name     []byte // the account as logged, an attacker's text, cut to MaxName bytes; borrowed from the entry, copied where it waits
	Port     uint16 // source port; 0: not known
	Attempts int    // how many attempts it stands for: more than one for "message repeated N times"
	Weight   int    // of the pattern
	MaxRetry int    // of the pattern: this many such lines lead to a ban; 0: as the jail says
	Unknown  bool   // the line says that there is no such account

	Stage       uint8  // of the pattern; 0: the line stands for itself, whatever the connection's other lines say
	Source      uint32 // which of several modules or databases of that stage wrote the line
	Provisional bool   // other lines tell how the attempt ended
	After       bool   // it counts only where the address has failed before
	Alone       bool   // its connection is that of one client, and not all that come from an address or have one id
	Distinct    bool   // it counts once within find_time, with others of its pattern; not saved: such attempts never wait
	Before      int    // attempts of such a connection that failed before, as Count has it; not saved
}

// MaxName is how many bytes of an account name are kept.
const MaxName = 64

// Hash is a keyed hash of an account name, in small letters: without the key nobody finds two names that share one. It is 0
// for no name alone.
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

// leastAttempt is how many bytes a saved attempt takes at least.
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
