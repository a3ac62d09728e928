package jail

// The Shift methods are called when the clock was set. They move all times by this many microseconds, so that everything is as long ago as
// before.
//
// Bans keep their announced end. Logins are remembered for days, so they are not moved either.

// Shift moves all failures. Tallies of the slow window move by whole buckets.
func (c *Counter) Shift(by int64) {
	for _, t := range []*table{&c.prefixes, &c.aggregates} {
		for i := range t.len() {
			e := t.at(i)
			if !e.used() {
				continue
			}
			e.newest += by
			for n := e.head; n != 0; n = t.node(n).next {
				switch x := t.node(n); {
				case !x.tally:
					x.at += by
				case c.width > 0:
					newest := uint16(uint64(x.at)>>(buckets*bucketBits)) + uint16(c.bucket(by+c.width/2))
					x.at = x.at&countMask | int64(uint64(newest)<<(buckets*bucketBits))
				}
			}
		}
	}
	c.prefixes.round, c.prefixes.pressed, c.aggregates.round = sweepRound{}, sweepRound{}, sweepRound{}
}

// Shift moves the attempts whose outcome is not known yet.
func (p *Pending) Shift(by int64) {
	for _, a := range p.queue {
		a.At += by
	}
}

// Shift moves the time after which connections are forgotten, and the attempts that wait for an address.
func (c *Connections) Shift(by int64) {
	c.turned += by
	for _, m := range c.waiting {
		for k, a := range m {
			a.At += by
			m[k] = a
		}
	}
}

// Shift moves the first failures of all bursts.
func (b *Bursts) Shift(by int64) {
	for id, x := range b.m {
		x.at += by
		b.m[id] = x
	}
}

// Shift moves the failures on all accounts.
func (a *Accounts) Shift(by int64) {
	for _, x := range a.order {
		for i := range x.places {
			p := &x.places[i]
			p.last += by
			for k := range p.fails {
				p.fails[k].at += by
			}
		}
	}
	for i := range a.singles {
		if s := &a.singles[i]; s.name != 0 {
			s.first.at += by
		}
	}
}

// Shift moves the latest failures of all parts of networks.
func (n *Networks) Shift(by int64) {
	for _, parts := range n.m {
		for i := range parts {
			parts[i].at += by
		}
	}
}
