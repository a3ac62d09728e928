package hub

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"bailiff/policy/fleet"
)

// MaxChanges is how many changes of its operators a roster holds, the latest ones. A host that has missed more than that has to
// join again.
const MaxChanges = 64

const maxChange = 4 << 10 // bytes of one

// Operator may sign rosters.
type Operator struct {
	Name string `json:"name"`
	Key  Key    `json:"key"` // public
}

// Trust is who may sign rosters. Each change of it is signed by a previous operator, and a roster holds the changes: from any earlier
// operators, a host can derive the present ones, and nobody else gets in.
type Trust struct {
	Number    uint64     `json:"number"` // 1, and one more with each change
	Operators []Operator `json:"operators"`
}

// change is the payload of a sealed change of the operators.
type change struct {
	Version int    `json:"version"` // 1
	Fleet   string `json:"fleet"`
	Trust
}

// signedChange returns what is signed of a change.
func signedChange(payload []byte) []byte {
	return append([]byte("bailiff operators 1\x00"), payload...)
}

// Check reports the first thing that is wrong.
func (t *Trust) Check() error {
	switch {
	case t.Number == 0:
		return errors.New("operators: no number")
	case len(t.Operators) == 0 || len(t.Operators) > MaxOperators:
		return fmt.Errorf("operators: %d, not 1 to %d", len(t.Operators), MaxOperators)
	}
	for i, o := range t.Operators {
		if !fleet.ValidHost(o.Name) || slices.ContainsFunc(t.Operators[:i], func(p Operator) bool { return p.Name == o.Name }) {
			return fmt.Errorf("operators[%d].name: %q is not a name, or used twice", i, o.Name)
		}
		if err := o.Key.check(fmt.Sprintf("operators[%d].key", i)); err != nil {
			return err
		}
		if j := t.Index(o.Key); j != i {
			return fmt.Errorf("operators[%d].key: it is that of %s, too", i, t.Operators[j].Name)
		}
	}
	return nil
}

// Index returns the place of the operator who has a key, or -1.
func (t *Trust) Index(k Key) int {
	return slices.IndexFunc(t.Operators, func(o Operator) bool { return o.Key.Public().Equal(k.Public()) })
}

// Change returns the new operators and the sealed change to them, signed by a previous operator.
func (t *Trust) Change(name string, to []Operator, by ed25519.PrivateKey) (*Trust, *Sealed, error) {
	c := change{version, name, Trust{t.Number + 1, to}}
	if err := c.Check(); err != nil {
		return nil, nil, err
	}
	if t.Index(Key(by.Public().(ed25519.PublicKey))) < 0 {
		return nil, nil, errors.New("who signs a change of the operators must be one of them")
	}
	data, err := json.Marshal(c)
	if err != nil {
		return nil, nil, err
	}
	return &c.Trust, &Sealed{data, ed25519.Sign(by, signedChange(data))}, nil
}

// signed reports whether one of the operators has signed something.
func (t *Trust) signed(data, signature []byte) bool {
	return slices.ContainsFunc(t.Operators, func(o Operator) bool {
		return len(o.Key) == ed25519.PublicKeySize && ed25519.Verify(o.Key.Public(), data, signature)
	})
}

// Open returns a roster of a fleet if an operator has signed it, and who the operators are from then on. An operator removed by a change
// that is known here stays removed, whatever roster is shown. A roster without the latest change known here was made by somebody unaware of
// it: it is refused, too.
func (t *Trust) Open(name string, s *Sealed) (*Roster, *Trust, error) {
	if len(s.Payload) > MaxRoster {
		return nil, nil, fmt.Errorf("%w: %d bytes, more than %d", ErrRoster, len(s.Payload), MaxRoster)
	}
	byKnown := t.signed(signed(s.Payload), s.Signature)
	r, err := s.Peek()
	if err != nil {
		if !byKnown {
			err = ErrRosterSignature
		}
		return nil, nil, err
	}
	now, err := t.follow(name, r.Changes)
	switch {
	case err != nil && !byKnown:
		return nil, nil, fmt.Errorf("%w (%w)", ErrRosterSignature, err)
	case err != nil:
		return nil, nil, err
	case !now.signed(signed(s.Payload), s.Signature):
		return nil, nil, ErrRosterSignature
	case r.Fleet != name:
		return nil, nil, fmt.Errorf("%w: it is of fleet %q, not %q", ErrRoster, r.Fleet, name)
	}
	return r, now, nil
}

// follow returns the operators after changes, which are in order (Roster.check). Each must be signed by a previous operator.
func (t *Trust) follow(name string, changes []Sealed) (*Trust, error) {
	known := t.Number == 1 // the first operators came without a change
	now := t
	for i := range changes {
		c, err := changes[i].change()
		if err != nil {
			return nil, err
		}
		switch {
		case c.Number < t.Number:
		case c.Number == t.Number && slices.EqualFunc(c.Operators, t.Operators, func(a, b Operator) bool { return a.Name == b.Name && slices.Equal(a.Key, b.Key) }):
			known = true
		case c.Number == t.Number:
			return nil, fmt.Errorf("%w: change %d is not the one that is known here", ErrOperators, c.Number)
		case c.Number > now.Number+1:
			return nil, fmt.Errorf("%w: change %d is missing; this host has to join again", ErrOperators, now.Number+1)
		case c.Fleet != name || !now.signed(signedChange(changes[i].Payload), changes[i].Signature):
			return nil, fmt.Errorf("%w: change %d is not signed by one of them", ErrOperators, c.Number)
		default:
			now, known = &c.Trust, true
		}
	}
	if !known {
		return nil, fmt.Errorf("%w: it was made before change %d", ErrOperators, t.Number)
	}
	return now, nil
}

// change reads a sealed change without checking its signature.
func (s *Sealed) change() (*change, error) {
	if len(s.Payload) > maxChange {
		return nil, fmt.Errorf("%w: a change of the operators has %d bytes, more than %d", ErrRoster, len(s.Payload), maxChange)
	}
	c := new(change)
	err := decode(s.Payload, c)
	if err == nil && c.Version != version {
		err = fmt.Errorf("version %d, not %d", c.Version, version)
	}
	if err == nil {
		err = c.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: a change of the operators: %w", ErrRoster, err)
	}
	return c, nil
}

// checkChanges checks the order of a roster's changes.
func checkChanges(l []Sealed) error {
	if len(l) > MaxChanges {
		return fmt.Errorf("%w: %d changes of the operators, more than %d", ErrRoster, len(l), MaxChanges)
	}
	last := uint64(0)
	for i := range l {
		c, err := l[i].change()
		if err != nil {
			return err
		}
		if c.Number < 2 || last != 0 && c.Number != last+1 {
			return fmt.Errorf("%w: change %d of the operators follows number %d", ErrRoster, c.Number, last)
		}
		last = c.Number
	}
	return nil
}
