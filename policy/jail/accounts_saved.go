package jail

import (
	"encoding/binary"
	"slices"

	"bailiff/policy/codec"
)

// Append appends what is counted.
func (a *Accounts) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, a.random)
	b = binary.AppendUvarint(b, uint64(len(a.order)))
	for _, acc := range a.order {
		b = binary.LittleEndian.AppendUint64(b, acc.name)
		b = binary.AppendUvarint(b, uint64(len(acc.places)))
		for _, x := range acc.places {
			b = x.key.Append(b)
			b = binary.AppendVarint(b, x.last)
			b = binary.AppendUvarint(b, uint64(len(x.fails)))
			for _, f := range x.fails {
				b = appendAccountFailure(b, &f)
			}
		}
	}
	n := 0
	for i := range a.singles {
		if a.singles[i].name != 0 {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for i := range a.singles {
		if s := &a.singles[i]; s.name != 0 {
			b = binary.LittleEndian.AppendUint64(b, s.name)
			b = appendAccountFailure(b, &s.first)
		}
	}
	return b
}

func appendAccountFailure(b []byte, f *accountFailure) []byte {
	b = f.from.Append(b)
	b = binary.AppendVarint(b, f.at)
	b = binary.AppendUvarint(b, uint64(f.jail))
	if f.further {
		return append(b, f.attempts|furtherBit)
	}
	return append(b, f.attempts)
}

// furtherBit of a saved number of attempts says that they are further ones. Attempts are at most maxAttempts.
const furtherBit = 0x80

func restoreAccountFailure(d *codec.Decoder, jails int) accountFailure {
	f := accountFailure{from: d.Key(), ref: NoRef, at: d.Time(), jail: d.Uint16(), attempts: d.Byte()}
	f.attempts, f.further = f.attempts&^furtherBit, f.attempts&furtherBit != 0
	if int(f.jail) >= jails || f.attempts == 0 {
		d.Fail("a failure out of range")
	}
	return f
}

// RestoreAccounts makes one of what Append wrote and has it go on under o. jails is how many there are.
func RestoreAccounts(b []byte, o AccountOptions, seed uint64, jails int) (*Accounts, error) {
	d := codec.NewDecoder(b)
	a := NewAccounts(AccountOptions{FindTime: 1, Addresses: 1, Limit: max(o.Limit, leastAccounts)}, seed) // replaced below
	a.random = d.Fixed64()
	for n := d.Length(9); n > 0 && d.OK(); n-- {
		acc := &account{name: d.Fixed64(), index: len(a.order)}
		if a.m[acc.name] != nil || acc.name == 0 {
			d.Fail("an account out of range")
		}
		for n := d.Length(3); n > 0 && d.OK(); n-- {
			x := place{key: d.Key(), last: d.Time()}
			if len(acc.places) >= maxPlaces || slices.ContainsFunc(acc.places, func(o place) bool { return o.key == x.key }) {
				d.Fail("too many addresses of an account")
			}
			for n := d.Length(5); n > 0 && d.OK(); n-- {
				f := restoreAccountFailure(d, jails)
				if placeOf(f.from) != x.key {
					d.Fail("a failure out of range")
				}
				x.fails = append(x.fails, f)
			}
			acc.places = append(acc.places, x)
		}
		if d.OK() {
			a.m[acc.name] = acc
			a.order = append(a.order, acc)
			a.pairs += len(acc.places)
		}
	}
	for n := d.Length(14); n > 0 && d.OK(); n-- {
		name := d.Fixed64()
		x := a.single(name)
		if x.name == name || name == 0 {
			d.Fail("an account out of range")
		}
		*x = single{name, restoreAccountFailure(d, jails)}
	}
	if err := d.End(); err != nil {
		return nil, err
	}
	a.Configure(o)
	return a, nil
}
