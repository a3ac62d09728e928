package hub

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

// operators are those of a fleet whose operators change.
type operators struct {
	keys    map[string]ed25519.PrivateKey
	trust   Trust
	changes []Sealed
}

func newOperators(t *testing.T, names ...string) *operators {
	o := &operators{keys: map[string]ed25519.PrivateKey{}}
	for _, n := range names {
		o.keys[n] = newKey(t)
	}
	o.trust = Trust{1, o.list(names[0])}
	return o
}

func (o *operators) list(names ...string) (l []Operator) {
	for _, n := range names {
		l = append(l, Operator{n, public(o.keys[n])})
	}
	return l
}

// change makes others the operators.
func (o *operators) change(t *testing.T, by string, names ...string) {
	t.Helper()
	next, c, err := o.trust.Change("shop", o.list(names...), o.keys[by])
	if err != nil {
		t.Fatal(err)
	}
	o.trust, o.changes = *next, append(slices.Clone(o.changes), *c)
}

// seal signs a roster with changes.
func (o *operators) seal(t *testing.T, f *testFleet, by string, changes []Sealed) *Sealed {
	t.Helper()
	r := *f.roster
	r.Changes = changes
	s, err := r.Sign(o.keys[by])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOperators: a host that knows some operators of a fleet finds out who they are now, however many changes it missed. Operators removed
// by a change that it knows have no say.
func TestOperators(t *testing.T) {
	f := newFleet(t)
	o := newOperators(t, "ann", "bob", "eve", "dan")
	first := o.trust
	o.change(t, "ann", "ann", "eve")
	o.change(t, "eve", "ann", "eve", "bob")
	both, bothChanges := o.trust, o.changes
	o.change(t, "bob", "ann", "bob") // eve is removed
	after := o.trust

	for by, good := range map[string]bool{"ann": true, "bob": true, "eve": false, "dan": false} {
		s := o.seal(t, f, by, o.changes)
		for _, from := range []Trust{first, both, after} {
			r, now, err := from.Open("shop", s)
			if good && (err != nil || now.Number != 4 || now.Index(public(o.keys["eve"])) >= 0 || now.Index(public(o.keys["bob"])) < 0 || r.Serial != 7) {
				t.Errorf("by %s, known %d: %+v, %v", by, from.Number, now, err)
			}
			if !good && (!errors.Is(err, ErrRosterSignature) || r != nil) {
				t.Errorf("by %s, known %d: %v", by, from.Number, err)
			}
		}
	}

	// eve keeps trying: with the earlier changes, with another change of the same number, or with one more, after hers and after the right
	// one. A host that knows of the removal accepts none of it.
	alone := func(trust Trust, by, name string, list ...string) Sealed {
		t.Helper()
		x := change{version, name, Trust{trust.Number + 1, o.list(list...)}}
		data, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		return Sealed{data, ed25519.Sign(o.keys[by], signedChange(data))}
	}
	hers := append(slices.Clone(bothChanges), alone(both, "eve", "shop", "eve"))
	for what, l := range map[string][]Sealed{
		"none":         nil,
		"as before":    bothChanges,
		"her own":      hers,
		"two of hers":  append(slices.Clone(hers), alone(Trust{Number: 4}, "eve", "shop", "eve", "dan")),
		"one more":     append(slices.Clone(o.changes), alone(after, "eve", "shop", "eve")),
		"only one":     {alone(after, "eve", "shop", "eve")},
		"a later one":  {alone(Trust{Number: 7}, "eve", "shop", "eve")},
		"not one of 1": {alone(first, "dan", "shop", "eve")},
	} {
		if r, _, err := after.Open("shop", o.seal(t, f, "eve", l)); !errors.Is(err, ErrRosterSignature) || r != nil {
			t.Errorf("changes of eve's roster, %s: %v", what, err)
		}
	}
	// Signed by an operator, but from a folder that has missed a change; and a change of another fleet.
	for want, l := range map[string][]Sealed{
		"it was made before change 4":   bothChanges,
		"change 4 is not the one":       hers,
		"change 5 is missing":           {alone(Trust{Number: 6}, "ann", "shop", "ann")},
		"change 5 is not signed by one": append(slices.Clone(o.changes), alone(after, "ann", "home", "ann")),
		"this host has to join again":   {alone(Trust{Number: 9}, "ann", "shop", "ann")},
		"of them":                       append(slices.Clone(o.changes), alone(after, "dan", "shop", "ann")),
	} {
		if r, _, err := after.Open("shop", o.seal(t, f, "ann", l)); !errors.Is(err, ErrOperators) || r != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	// The first changes are missing, but not the one known here, or the one after it.
	for _, n := range []int{1, 2} {
		if _, now, err := both.Open("shop", o.seal(t, f, "bob", o.changes[n:])); err != nil || now.Number != 4 {
			t.Errorf("from change %d on: %v", n+2, err)
		}
	}
	if _, _, err := first.Open("shop", o.seal(t, f, "bob", o.changes[1:])); !errors.Is(err, ErrRosterSignature) || !strings.Contains(err.Error(), "has to join again") {
		t.Errorf("a change was missed that is gone: %v", err)
	}

	if _, _, err := o.trust.Change("shop", o.list("eve"), o.keys["eve"]); err == nil {
		t.Error("eve can make a change")
	}
	for _, l := range [][]Operator{nil, {{"a b", public(o.keys["ann"])}}, append(o.list("ann"), o.list("ann")...), make([]Operator, MaxOperators+1)} {
		if _, _, err := o.trust.Change("shop", l, o.keys["ann"]); err == nil {
			t.Errorf("%v can be the operators", l)
		}
	}
}

// TestBadChanges: a roster with changes that are not in order, or not changes, is rejected before its signature is checked.
func TestBadChanges(t *testing.T) {
	f := newFleet(t)
	o := newOperators(t, "ann", "bob")
	for i := range MaxChanges + 1 {
		o.change(t, "ann", [][]string{{"ann", "bob"}, {"ann"}}[i%2]...)
	}
	good := o.changes
	for want, l := range map[string][]Sealed{
		"65 changes of the operators": good,
		"follows number 3":            {good[1], good[3]},
		"follows number 2":            {good[0], good[0]},
		"change 1 of":                 {{Payload: []byte(strings.Replace(string(good[0].Payload), `"number":2`, `"number":1`, 1))}},
		"version 2, not 1":            {{Payload: []byte(strings.Replace(string(good[0].Payload), `"version":1`, `"version":2`, 1))}},
		"no number":                   {{Payload: []byte(strings.Replace(string(good[0].Payload), `"number":2`, `"number":0`, 1))}},
		"operators: 0":                {{Payload: []byte(`{"version":1,"fleet":"shop","number":2,"operators":[]}`)}},
		"unknown field":               {{Payload: []byte(`{"x":1}`)}},
		"more than 4096":              {{Payload: make([]byte, maxChange+1)}},
	} {
		r := *f.roster
		r.Changes = l
		if _, err := r.Sign(f.operator); !errors.Is(err, ErrRoster) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	r := *f.roster
	r.Changes = good[1:]
	if _, err := r.Sign(f.operator); err != nil {
		t.Error(err)
	}
}
