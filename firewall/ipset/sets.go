package ipset

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/internal/nfrule"
	"bailiff/firewall/internal/sets"

	"golang.org/x/sys/unix"
)

const (
	// releaseLimit is how long the kernel may take to release a set after the last rule that refers to it was deleted. It
	// does so in the background (nf_tables_trans_destroy_work), after an RCU grace period.
	releaseLimit = 2 * time.Second
	releaseTick  = 5 * time.Millisecond
)

// ensureSets creates the sets that do not exist, replaces those that are too small, and names them.
func (b *Backend) ensureSets(ctx context.Context, f *found, wanted map[*set]sets.Elements) (repaired []string, err error) {
	for _, s := range b.sets {
		switch h := f.headers[s.name]; {
		case h == nil:
			err = b.kernel.create(ctx, s.name, s.family, hashSize(len(wanted[s])))
		case h.maxelem < maxElem:
			err = b.enlarge(ctx, f, s, wanted[s])
		default:
			continue
		}
		if err != nil {
			return repaired, err
		}
		repaired = append(repaired, "set "+s.name)
	}
	return repaired, nil
}

// enlarge replaces a set that was created for fewer elements than ours, for example by an earlier version or ipset restore. A new set is
// filled and then swapped with the old one, under the rules that refer to it, so that all bans stay in effect.
func (b *Backend) enlarge(ctx context.Context, f *found, s *set, want sets.Elements) error {
	tmp, now := setName(s.family, "."), time.Now() // no scope has this name
	if f.headers[tmp] != nil {                     // from a daemon that was killed
		if err := b.destroy(ctx, tmp); err != nil {
			return err
		}
	}
	if err := b.kernel.create(ctx, tmp, s.family, hashSize(len(want))); err != nil {
		return err
	}
	timeout := func(e sets.Element) uint32 { return b.deadlines.Remaining(want[e], now) }
	err := b.kernel.add(ctx, tmp, slices.Collect(maps.Keys(want)), timeout, func([]sets.Element) {})
	if err == nil {
		err = b.kernel.swap(ctx, s.name, tmp)
	}
	return errors.Join(err, b.destroy(ctx, tmp))
}

// hashSize returns the number of buckets with which a set holds n elements without resizing: a power of two, at least 64. The kernel's
// buckets hold up to twelve elements.
func hashSize(n int) uint32 {
	size := uint32(64)
	for int(size) < n/4 {
		size *= 2
	}
	return size
}

// fill adds the wanted elements to the sets, and returns the unexpected ones found in them. Correct elements are not touched.
func (b *Backend) fill(ctx context.Context, f *found, wanted map[*set]sets.Elements, ch *firewall.Change) (unexpected map[*set][]sets.Element, err error) {
	unexpected = make(map[*set][]sets.Element)
	for _, s := range b.sets {
		now, want := time.Now(), wanted[s]
		s.elements = make(sets.Elements, len(want))
		if f.headers[s.name] != nil {
			if s.elements, err = b.elements(ctx, s, len(want), now); err != nil {
				return unexpected, err
			}
		}
		diff := b.deadlines.Compare(want, s.elements, now)
		if err := b.add(ctx, s, slices.Concat(diff.Missing, diff.WrongTimeout), want); err != nil {
			return unexpected, err
		}
		if len(diff.Unexpected) > 0 {
			unexpected[s] = diff.Unexpected
		}
		diff.Count(ch)
	}
	return unexpected, nil
}

// elements reads the elements of a set.
func (b *Backend) elements(ctx context.Context, s *set, about int, now time.Time) (sets.Elements, error) {
	have := make(sets.Elements, about)
	err := b.kernel.dump(ctx, s.name, func(e sets.Element, left uint32) {
		have[e] = b.deadlines.FromKernel(left, now)
	})
	return have, err
}

// add adds elements, or replaces their timeouts, by the deadlines in want.
func (b *Backend) add(ctx context.Context, s *set, list []sets.Element, want sets.Elements) error {
	now := time.Now()
	timeout := func(e sets.Element) uint32 { return b.deadlines.Remaining(want[e], now) }
	return b.kernel.add(ctx, s.name, list, timeout, func(done []sets.Element) {
		for _, e := range done {
			s.elements[e] = want[e]
		}
	})
}

func (b *Backend) remove(ctx context.Context, s *set, list []sets.Element) error {
	return b.kernel.remove(ctx, s.name, list, func(done []sets.Element) {
		for _, e := range done {
			delete(s.elements, e)
		}
	})
}

// removeUnused removes sets of ours whose scopes no longer exist. A set to which somebody's rule refers cannot be destroyed, so it is
// emptied.
func (b *Backend) removeUnused(ctx context.Context, headers map[string]*header) error {
	for name, h := range headers {
		if !b.unused(name) || h.foreign(h.family) != "" {
			continue
		}
		if err := b.kernel.flush(ctx, name); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		if err := b.destroy(ctx, name); err != nil && !errors.Is(err, errBusy) {
			return err
		}
	}
	return nil
}

// unused reports whether a set has one of our names, but belongs to no current scope.
func (b *Backend) unused(set string) bool {
	for _, f := range nfrule.Families {
		if own := setName(f, ""); set != own && !strings.HasPrefix(set, own+"-") {
			continue
		}
		for _, s := range b.sets {
			if s.name == set {
				return false
			}
		}
		return true
	}
	return false
}

// destroy destroys a set. It waits for rules that were deleted a moment ago to release it.
func (b *Backend) destroy(ctx context.Context, name string) error {
	tick := time.NewTicker(releaseTick)
	defer tick.Stop()
	for end := time.Now().Add(releaseLimit); ; {
		err := b.kernel.destroy(ctx, name)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, errBusy) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
