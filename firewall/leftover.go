package firewall

import (
	"context"
	"errors"
	"slices"
)

// RemoveLeftovers removes what an unused backend has left on the host, and reports whether there was anything.
func RemoveLeftovers(ctx context.Context, be Backend) (found bool, err error) {
	in, err := be.Inspect(ctx, nil)
	if err != nil {
		return false, ignoreAbsent(err)
	}
	ours := func(o Object) bool { return o.Present && !o.Foreign }
	if !slices.ContainsFunc(in.Objects, ours) && !slices.ContainsFunc(in.Sets, func(s Set) bool { return ours(s.Object) }) {
		return false, nil
	}
	return true, Remove(ctx, be)
}

// Remove calls Cleanup of a backend that is no longer in use. It is not an error if the host cannot hold anything of ours, or
// if only foreign objects are left.
func Remove(ctx context.Context, be Backend) error { return ignoreAbsent(be.Cleanup(ctx)) }

func ignoreAbsent(err error) error {
	var lack *UnsupportedError
	var foreign *ForeignError
	if errors.As(err, &lack) || errors.As(err, &foreign) || errors.Is(err, ErrAbsent) {
		return nil
	}
	return err
}
