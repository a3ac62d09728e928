// Package firewall keeps attackers' packets out of the host. It is told what should be banned and makes it so; it decides
// nothing and knows no jails. firewall.go holds the contract that every backend fulfils and that the test in contract/
// proves on the real kernel; ipset/ and dryrun/ are backends.
package firewall

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Port is a range of destination ports of one protocol. From == To for a single port.
type Port struct {
	Proto    string // "tcp" or "udp"
	From, To uint16
}

// Scope says which traffic of a banned prefix is stopped. The zero Ports mean everything. Names are short words
// ([a-z0-9-], at most 16 bytes, "" for the scope of everything): backends make set names from them.
type Scope struct {
	Name  string
	Ports []Port
}

// Ban is one element of the wanted set: traffic of Scope from Prefix is stopped until Until.
type Ban struct {
	Prefix netip.Prefix // masked, never an IPv4-mapped IPv6 prefix
	Scope  string       // a Scope's Name
	Until  time.Time    // zero: for ever
}

// Key identifies an element. A set holds each key once; a second Add with the same key sets Until anew.
type Key struct {
	Prefix netip.Prefix
	Scope  string
}

// Key returns what b is identified by.
func (b Ban) Key() Key { return Key{b.Prefix, b.Scope} }

// Change is what Reconcile found different from what was wanted and made right.
type Change struct {
	Added, Removed, Refreshed int      // elements
	Repaired                  []string // rules, chains and sets that had to be made anew, by name, for the audit entry; empty when only elements changed
	First                     bool     // nothing of ours was there before (first start, reboot), so Repaired is no alarm
}

// Backend is one way of stopping packets. All methods are called from one goroutine at a time. No method blocks longer
// than its context; every error names the set, rule or element it is about.
type Backend interface {
	// Name is the word used in the configuration and in status: "ipset", "nftables", "firewalld", "dryrun".
	Name() string

	// Reconcile makes the host stop exactly what want holds: creates what is missing, removes what is too much, and
	// verifies that the rules which refer to the sets stand. It may be called at any time, and twice in a row changes
	// nothing the second time. Something of the same name that is not ours is an error (*ForeignError), left untouched.
	Reconcile(ctx context.Context, want []Ban) (Change, error)

	// Add puts elements in, in one batch. An element that is there already gets the new Until. On error none, some
	// or all of them may be in: reconcile.
	Add(ctx context.Context, bans []Ban) error

	// Remove takes elements out, in one batch. One that is not there is no error.
	Remove(ctx context.Context, keys []Key) error

	// Verify looks whether rules and sets stand as Reconcile left them, cheaply: it reads no elements but counts.
	// It changes nothing. A nil error means that bans are in effect.
	Verify(ctx context.Context) error

	// Inspect compares all that the host holds of ours, elements included, with what Reconcile(want) would leave. It
	// changes nothing, and costs what a Reconcile costs that finds nothing to do. What is foreign is part of the answer and
	// no error.
	Inspect(ctx context.Context, want []Ban) (*Inspection, error)

	// Evict takes away what Reconcile fails at with a *ForeignError, and names it: an operator has said that nobody
	// needs it. Ours may go with it; Reconcile brings that back, and is to follow.
	Evict(ctx context.Context) ([]string, error)

	// List returns the elements that the host holds now.
	List(ctx context.Context) ([]Ban, error)

	// Cleanup takes rules and sets of ours off the host.
	Cleanup(ctx context.Context) error

	// Close gives up sockets. It leaves all bans standing.
	Close() error
}

// ErrAbsent says that the program that a backend works through does not run, so nothing of the backend is in force.
var ErrAbsent = errors.New("is not running")

// ForeignError says that a name we need is taken by something that we did not make, or that was changed since.
type ForeignError struct {
	Name string // of the set, table or chain
	Why  string // what is different from ours
}

func (e *ForeignError) Error() string { return e.Name + ": exists, but is not ours: " + e.Why }

// UnsupportedError says that this host lacks something a backend needs: a part of the kernel, a right, a newer firewalld.
type UnsupportedError struct {
	What string // what is missing
	Hint string // the way out, for the operator
	Err  error  // the answer that told
}

func (e *UnsupportedError) Error() string { return "this host lacks " + e.What + ": " + e.Err.Error() }

func (e *UnsupportedError) Unwrap() error { return e.Err }
