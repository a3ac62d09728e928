package main

import (
	"bailiff/policy"
	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/operator"
	"bailiff/policy/state"
	"bailiff/units/allowlists"
	"bailiff/units/operators"
)

// judge is the policy as the daemon has it over a past journal: with the configured allow list, the published lists as
// this host has them now, and operators spared while the journal says that they were logged in. What differs is in
// bailiff(1): logind's word on sessions, run-time entries, and the addresses of the host itself, since the journal may be
// another's. The same journal is always judged the same.
type judge struct {
	*policy.Engine
	allowed []allow.Entry
	ops     *operator.Tracker // nil: nobody is spared
}

func newJudge(c *config.Config) (*judge, error) {
	eng, err := policy.NewSeeded(c, state.New(), 1)
	if err != nil {
		return nil, err
	}
	j := &judge{Engine: eng}
	// A list that is not believed here is not in the daemon either, which tells of it.
	published, _ := allowlists.Store{Dir: allowlists.DefaultDir}.ReadAll(c.Allow.Lists)
	j.allowed = append(append(j.allowed, c.Allow.Entries...), published...)
	if c.Allow.Operators.Enabled {
		if j.ops, err = operators.New(c.Allow.Operators); err != nil {
			return nil, err
		}
	}
	j.settle(0)
	return j, nil
}

func (j *judge) settle(now int64) {
	entries := j.allowed
	if j.ops != nil {
		entries = append(entries[:len(entries):len(entries)], j.ops.Entries()...)
	}
	j.SetAllow(allow.NewList(entries), now)
}

// Matchers returns what is to be read.
func (j *judge) Matchers() []*filter.Matcher {
	ms := j.Engine.Matchers()
	if j.ops != nil {
		ms = append(ms, j.ops.Matcher())
	}
	return ms
}

// Entry judges an entry.
func (j *judge) Entry(e *filter.Entry, ref jail.Ref) *policy.Outcome {
	if j.ops != nil {
		if j.ops.Entry(e); j.ops.Due(e.Realtime) {
			j.settle(e.Realtime)
		}
	}
	return j.Engine.Entry(e, ref)
}

// Expire forgets what is over, as Engine.Expire does.
func (j *judge) Expire(now, read int64) []state.Ban {
	if j.ops != nil {
		if j.ops.Expire(read); j.ops.Stale() {
			j.settle(read)
		}
	}
	return j.Engine.Expire(now, read)
}
