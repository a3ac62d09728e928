package past

import (
	"bailiff/policy"
	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/operator"
	"bailiff/policy/state"
	"bailiff/units/operators"
	"bailiff/units/published"
)

// Engine is the policy over a past journal, as the daemon has it: with the configured allow list, the published lists
// that this host has now, and operators trusted while the journal shows that they were logged in. bailiff(1) documents
// what differs: logind's knowledge of sessions, run-time entries, and the host's own addresses, since the journal may be
// another host's. The same journal always leads to the same decisions.
type Engine struct {
	*policy.Engine
	allowed []allow.Entry
	ops     *operator.Tracker // nil: operators are not trusted
}

// NewEngine makes the engine of a configuration.
func NewEngine(c *config.Config) (*Engine, error) {
	inner, err := policy.NewSeeded(c, state.New(), 1)
	if err != nil {
		return nil, err
	}
	g := &Engine{Engine: inner}
	g.SetDouble(published.Store{Dir: published.BlockDir}.Doubles(c.Lists))
	// A published list that fails its checks is ignored here as in the daemon, which reports it.
	published, _ := published.Store{Dir: published.AllowDir}.ReadAll(c.Allow.Lists)
	g.allowed = append(append(g.allowed, c.Allow.Entries...), published...)
	if c.Allow.Operators.Enabled {
		if g.ops, err = operators.New(c.Allow.Operators); err != nil {
			return nil, err
		}
	}
	g.updateAllowed(0)
	return g, nil
}

func (g *Engine) updateAllowed(now int64) {
	entries := g.allowed
	if g.ops != nil {
		entries = append(entries[:len(entries):len(entries)], g.ops.Entries()...)
	}
	g.SetAllow(allow.NewList(entries), now, nil)
}

// Matchers select the entries that have to be read.
func (g *Engine) Matchers() []*filter.Matcher {
	ms := g.Engine.Matchers()
	if g.ops != nil {
		ms = append(ms, g.ops.Matcher())
	}
	return ms
}

// Entry decides about an entry. The result is valid until the next call.
func (g *Engine) Entry(e *filter.Entry, ref jail.Ref) *policy.Outcome {
	if g.ops != nil {
		if g.ops.Entry(e); g.ops.Due(e.Realtime) {
			g.updateAllowed(e.Realtime)
		}
	}
	return g.Engine.Entry(e, ref)
}

// Expire drops what is over, as Engine.Expire of package policy does.
func (g *Engine) Expire(now, read int64) []state.Ban {
	if g.ops != nil {
		if g.ops.Expire(read); g.ops.Stale() {
			g.updateAllowed(read)
		}
	}
	return g.Engine.Expire(now, read)
}
