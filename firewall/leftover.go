package firewall

import (
	"context"
	"errors"
	"slices"
)

// RemoveLeftovers removes what a backend that is not in use has on the host, and says whether there was anything of ours.
func RemoveLeftovers(ctx context.Context, be Backend) (found bool, err error) {
	in, err := be.Inspect(ctx, nil)
	if err != nil {
		return false, ignoreAbsent(err)
	}
	ours := func(p Part) bool { return p.Present && !p.Foreign }
	if !slices.ContainsFunc(in.Parts, ours) && !slices.ContainsFunc(in.Sets, func(s Set) bool { return ours(s.Part) }) {
		return false, nil
	}
	return true, Remove(ctx, be)
}

// Remove is a backend's Cleanup, for one that is not in use any more. That there is nothing of ours is no error: what it works
// through does not run, the host lacks it, or what stands there is foreign.
func Remove(ctx context.Context, be Backend) error { return ignoreAbsent(be.Cleanup(ctx)) }

func ignoreAbsent(err error) error {
	var lack *UnsupportedError
	var foreign *ForeignError
	if errors.As(err, &lack) || errors.As(err, &foreign) || errors.Is(err, ErrAbsent) {
		return nil
	}
	return err
}
