// Package firewall defines Backend: it applies, verifies, inspects and removes a set of bans on this host. The implementations
// are firewalld, ipset, nftables, and dryrun, which only remembers bans. Package firewalltest is the suite that each of them
// passes; package conn closes connections that a ban leaves open.
//
// Package firewall decides nothing and knows no jails. Start reading at Backend.
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

// Scope says which traffic of a banned prefix is blocked. A scope without Ports blocks everything. Backends build set names
// from Name: at most 16 bytes of [a-z0-9-], or "" for the scope that blocks everything.
type Scope struct {
	Name  string
	Ports []Port
}

// Ban is one element of the wanted set: traffic of Scope from Prefix is blocked until Until.
type Ban struct {
	Prefix netip.Prefix // masked, never an IPv4-mapped IPv6 prefix
	Scope  string       // a Scope's Name
	Until  time.Time    // zero: forever
}

// Key identifies a ban. A backend holds each key once.
type Key struct {
	Prefix netip.Prefix
	Scope  string
}

// Key returns the key of b.
func (b Ban) Key() Key { return Key{b.Prefix, b.Scope} }

// Over reports whether the ban has ended.
func (b Ban) Over(now time.Time) bool { return !b.Until.IsZero() && !b.Until.After(now) }

// Change is what Reconcile changed.
type Change struct {
	Added, Removed, Refreshed int      // elements
	Repaired                  []string // rules, chains and sets that were rebuilt, by name; empty when only elements changed
	Initial                   bool     // nothing of ours existed before (first start, reboot), so Repaired is no alarm
}

// Backend blocks packets by one of the host's firewalls. Its methods are called from one goroutine at a time, except Watch and
// DropCounters, which may run beside all others. No method blocks longer than its context allows. Every error names the set,
// rule or element concerned.
type Backend interface {
	// Name is the word used in the configuration and in status: "ipset", "nftables", "firewalld", "dryrun".
	Name() string

	// Reconcile makes the host block exactly what want holds: it creates what is missing, removes what is not wanted, and
	// repairs the rules that refer to the sets. A second call with the same bans changes nothing. An object of our name that
	// is not ours is left untouched and returned as a *ForeignError.
	Reconcile(ctx context.Context, want []Ban) (Change, error)

	// Add adds bans in one batch. A ban that exists gets the new Until; one that is over is removed. After an error, any
	// number of them may be in effect: reconcile.
	Add(ctx context.Context, bans []Ban) error

	// Remove removes bans in one batch. It is not an error if one does not exist.
	Remove(ctx context.Context, keys []Key) error

	// Verify checks, as cheaply as it can, whether rules and sets are as the last Reconcile, Add or Remove left them. It changes nothing,
	// except that the firewalld backend, which has no timeouts, removes bans that are over. A nil error means that all bans are in effect.
	Verify(ctx context.Context) error

	// Inspect compares everything of ours on the host, elements included, with what Reconcile(want) would leave. It changes
	// nothing. A foreign object is part of the answer, not an error.
	Inspect(ctx context.Context, want []Ban) (*Inspection, error)

	// RemoveForeign removes the objects that make Reconcile fail with a *ForeignError, and returns their names. It may
	// remove some of ours as well, so a Reconcile must follow.
	RemoveForeign(ctx context.Context) ([]string, error)

	// List returns the bans that the host holds now.
	List(ctx context.Context) ([]Ban, error)

	// Watch calls changed whenever our rules or sets may have changed, usually within milliseconds; the caller then calls Verify. It
	// returns when ctx is done, or with the error that ended it.
	Watch(ctx context.Context, changed func()) error

	// DropCounters reads how much our rules have blocked, by set; nil if the host does not count.
	DropCounters(ctx context.Context) ([]DropCounter, error)

	// Empty removes all bans when the daemon stops. Sets and rules may stay where removing them would disturb others.
	Empty(ctx context.Context) error

	// Cleanup removes all our rules and sets from the host. A foreign object stays and is returned as a *ForeignError. The
	// error is ErrAbsent or an *UnsupportedError where the host cannot hold anything of ours.
	Cleanup(ctx context.Context) error

	// Close closes sockets. All bans stay in effect.
	Close() error
}

// ErrNotReady is the error of Add, Remove and Verify before the first Reconcile has succeeded.
var ErrNotReady = errors.New("firewall: not reconciled yet")

// ErrAbsent means that the program behind a backend is not running, so none of the backend's bans are in effect.
var ErrAbsent = errors.New("is not running")

// ForeignError says that an object with a name we need was not made by us, or was changed since.
type ForeignError struct {
	Name string // of the set, table or chain
	Why  string // how it differs from ours
}

func (e *ForeignError) Error() string { return e.Name + ": exists, but is not ours: " + e.Why }

// UnsupportedError says that this host lacks something that a backend needs: a kernel module, a privilege, a newer firewalld.
type UnsupportedError struct {
	What string // what is missing
	Hint string // for the operator
	Err  error  // the answer that showed it
}

func (e *UnsupportedError) Error() string { return "this host lacks " + e.What + ": " + e.Err.Error() }

func (e *UnsupportedError) Unwrap() error { return e.Err }
