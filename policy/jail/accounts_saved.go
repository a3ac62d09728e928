package jail

import (
	"math"
	"slices"

	"bailiff/policy/codec"
)

// Stream writes or reads what is counted. jails is how many there are.
func (a *Accounts) Stream(s *codec.Stream, jails int) {
	s.Fixed64(&a.random)
	codec.Each(s, len(a.order), 9, slices.Values(a.order), func(p **account) {
		if s.Reading {
			*p = &account{index: len(a.order)}
		}
		acc := *p
		s.Fixed64(&acc.name)
		s.Check(acc.name != 0 && a.m[acc.name] == nil, "an account out of range")
		codec.List(s, &acc.places, 3, func(x *place) {
			s.Key(&x.key)
			s.Time(&x.last)
			s.Check(!s.Reading || len(acc.places) < maxPlaces && acc.find(x.key) < 0, "too many addresses of an account")
			codec.List(s, &x.fails, 5, func(f *accountFailure) {
				f.stream(s, jails)
				s.Check(placeOf(f.from) == x.key, "a failure out of range")
			})
		})
	}, func(acc *account) {
		a.m[acc.name] = acc
		a.order = append(a.order, acc)
		a.pairs += len(acc.places)
	})
	known := slices.DeleteFunc(slices.Clone(a.singles), func(x single) bool { return x.name == 0 })
	codec.Each(s, len(known), 14, slices.Values(known), func(x *single) {
		s.Fixed64(&x.name)
		x.first.stream(s, jails)
	}, func(x single) {
		d := a.single(x.name)
		s.Check(x.name != 0 && d.name != x.name, "an account out of range")
		*d = x
	})
	if s.Reading {
		a.Configure(a.o)
	}
}

// furtherBit of a saved number of attempts says that they are further ones. Attempts are at most maxAttempts.
const furtherBit = 0x80

func (f *accountFailure) stream(s *codec.Stream, jails int) {
	s.Key(&f.from)
	s.Time(&f.at)
	codec.Number(s, &f.jail, math.MaxUint16)
	attempts := f.attempts
	if f.further {
		attempts |= furtherBit
	}
	s.Byte(&attempts)
	if s.Reading {
		f.ref, f.attempts, f.further = NoRef, attempts&^furtherBit, attempts&furtherBit != 0
	}
	s.Check(int(f.jail) < jails && f.attempts > 0, "a failure out of range")
}
