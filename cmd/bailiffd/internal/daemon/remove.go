package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/blocklists"
	"bailiff/firewall/firewalld"
	"bailiff/firewall/ipset"
	"bailiff/firewall/nftables"
)

// removeLimit bounds the whole removal: firewalld takes seconds for a reload on a slow host.
const removeLimit = 2 * time.Minute

// removal is what has been removed so far.
type removal struct{ firewall.Removal }

// removeRules removes bailiff's rules and sets from every firewall, in use or not, and writes what they were. bailiff firewall remove calls
// it when no daemon runs: a running one would put everything back.
func removeRules(ctx context.Context, out io.Writer, force bool) error {
	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	r := removal{firewall.Removal{Removed: []firewall.RemovedObject{}, Left: []firewall.RemovedObject{}}}
	everything := []firewall.Scope{{}}
	clean := func(be firewall.Backend, err error) error {
		if err != nil {
			return err
		}
		return r.clean(ctx, be, force)
	}
	errs := []error{
		clean(ipset.New(ipset.Options{Scopes: everything})),
		clean(nftables.New(nftables.Options{Scopes: everything})),
		r.cleanLists(ctx, force),
		r.cleanFirewalld(ctx, force), // last: it may not answer
	}
	for _, l := range [][]firewall.RemovedObject{r.Removed, r.Left} {
		slices.SortStableFunc(l, func(x, y firewall.RemovedObject) int {
			return cmp.Or(cmp.Compare(x.Backend, y.Backend), cmp.Compare(x.Name, y.Name))
		})
	}
	return errors.Join(append(errs, json.NewEncoder(out).Encode(r.Removal))...)
}

// clean removes what a backend has on the host, and notes what it was.
func (r *removal) clean(ctx context.Context, be firewall.Backend, force bool) error {
	defer be.Close()
	before, err := be.Inspect(ctx, nil)
	var unsupported *firewall.UnsupportedError
	switch {
	case errors.As(err, &unsupported): // then it holds nothing
		return nil
	case err != nil:
		return err
	}
	if force {
		if _, err := be.RemoveForeign(ctx); err != nil {
			return err
		}
	}
	err = be.Cleanup(ctx)
	var foreign *firewall.ForeignError
	if err != nil && !errors.As(err, &foreign) {
		return err
	}
	after, err := be.Inspect(ctx, nil)
	if err != nil {
		return err
	}
	left := present(after)
	for name := range present(before) {
		if _, still := left[name]; !still {
			r.Removed = append(r.Removed, firewall.RemovedObject{Backend: be.Name(), Name: name})
		}
	}
	for name, p := range left {
		why := "is still there"
		if p.Foreign {
			why = p.Problem + "; --force removes it"
		}
		r.Left = append(r.Left, firewall.RemovedObject{Backend: be.Name(), Name: name, Why: why})
	}
	return nil
}

// present are the parts and sets that exist, by name.
func present(in *firewall.Inspection) map[string]firewall.Object {
	m := map[string]firewall.Object{}
	for _, p := range in.Objects {
		if p.Present {
			m[p.Name] = p
		}
	}
	for _, s := range in.Sets {
		if s.Present {
			m["set "+s.Name] = s.Object
		}
	}
	return m
}

// cleanLists removes the table of block lists.
func (r *removal) cleanLists(ctx context.Context, force bool) error {
	t := blocklists.New()
	found, err := t.Remove(ctx)
	var foreign *firewall.ForeignError
	var unsupported *firewall.UnsupportedError
	switch {
	case errors.As(err, &unsupported): // then it holds nothing
		return nil
	case errors.As(err, &foreign) && force:
		if found, err = true, t.RemoveForeign(ctx); err != nil {
			return err
		}
	case errors.As(err, &foreign):
		r.Left = append(r.Left, firewall.RemovedObject{Backend: "block lists", Name: "table " + t.Name(), Why: foreign.Why + "; --force removes it"})
		return nil
	case err != nil:
		return err
	}
	if found {
		r.Removed = append(r.Removed, firewall.RemovedObject{Backend: "block lists", Name: "table " + t.Name()})
	}
	return nil
}

// cleanFirewalld removes everything from firewalld, and the copies of it that firewalld keeps as .old files.
func (r *removal) cleanFirewalld(ctx context.Context, force bool) error {
	files, _, err := firewalld.Traces(firewalld.Dir)
	if err != nil {
		return err
	}
	runs, err := firewalld.Running(ctx)
	if err != nil || !runs { // without a bus it does not run
		for _, f := range files {
			r.Left = append(r.Left, firewall.RemovedObject{Backend: "firewalld", Name: f, Why: "firewalld is not running; start it and repeat this command"})
		}
		return nil
	}
	be, err := firewalld.New(firewalld.Options{Scopes: []firewall.Scope{{}}})
	if err != nil {
		return err
	}
	if err := r.clean(ctx, be, force); err != nil {
		return err
	}
	_, old, err := firewalld.Traces(firewalld.Dir)
	for _, f := range old {
		if e := os.Remove(f); e != nil {
			err = errors.Join(err, e)
			continue
		}
		r.Removed = append(r.Removed, firewall.RemovedObject{Backend: "firewalld", Name: f})
	}
	return err
}
