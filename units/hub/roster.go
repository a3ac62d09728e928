package hub

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"bailiff/policy/fleet"
)

// Subject is the subject of the signed roster: the payload is Sealed.Payload, the signature is in the header SignatureHeader.
const Subject = "roster"

// SignatureHeader is the header of a message that holds its signature, base64. The last value counts: a host can add others.
const SignatureHeader = "Bailiff-Signature"

// MaxRoster is the largest payload of a roster, in bytes. fleet.MaxHosts hosts take 1 MB.
const MaxRoster = 2 << 20

// Roster lists the hosts of a fleet. No other host is trusted (any more).
type Roster struct {
	Version int                   `json:"version"` // 1
	Fleet   string                `json:"fleet"`
	Serial  uint64                `json:"serial"` // greater with each change; a host never goes back
	Made    time.Time             `json:"made"`
	Servers []string              `json:"servers"`           // tls://HOST:PORT: where the hub is from now on
	CA      string                `json:"ca"`                // PEM; the only CAs trusted for servers
	Changes []Sealed              `json:"changes,omitempty"` // of the operators, the latest MaxChanges: see Trust
	Hosts   map[string]RosterHost `json:"hosts"`
	Allow   []Allowed             `json:"allow,omitempty"` // what no host bans
}

// Allowed is a prefix that an operator never wants to be banned.
type Allowed struct {
	Prefix  netip.Prefix `json:"prefix"`
	Until   *time.Time   `json:"until,omitempty"` // missing: forever
	By      string       `json:"by"`              // operator
	Comment string       `json:"comment,omitempty"`
}

// Fleet returns the form that policy has.
func (a *Allowed) Fleet() fleet.Allowed {
	x := fleet.Allowed{Prefix: a.Prefix, Until: fleet.Forever, By: a.By, Comment: a.Comment}
	if a.Until != nil {
		x.Until = a.Until.UnixMicro()
	}
	return x
}

// RosterHost is what the fleet knows of a host.
type RosterHost struct {
	Group string `json:"group"`
	Keys  []Key  `json:"keys"` // public signing keys; two while one is being replaced
}

// Sealed is a signed roster, or a signed change of the operators.
type Sealed struct {
	Payload   []byte `json:"payload"`   // JSON
	Signature []byte `json:"signature"` // ed25519, by an operator's key
}

// Errors of rosters that are not accepted.
var (
	ErrRosterSignature = errors.New("the roster is not signed by an operator of this fleet")
	ErrRoster          = errors.New("the roster is not as expected")
	ErrOperators       = errors.New("the roster does not follow from the operators who are known here")
)

// Groups returns each host's group, as fleet.Rules has them.
func (r *Roster) Groups() map[string]string {
	m := make(map[string]string, len(r.Hosts))
	for name, h := range r.Hosts {
		m[name] = h.Group
	}
	return m
}

// Sign checks a roster and signs it.
func (r *Roster) Sign(operator ed25519.PrivateKey) (*Sealed, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if len(data) > MaxRoster {
		return nil, fmt.Errorf("the roster has %d bytes, more than %d", len(data), MaxRoster)
	}
	return &Sealed{Payload: data, Signature: ed25519.Sign(operator, signed(data))}, nil
}

// signed returns the bytes to sign. The prefix keeps a signature from being valid for something else.
func signed(payload []byte) []byte { return append([]byte("bailiff roster 1\x00"), payload...) }

// Peek reads a roster without checking its signature.
func (s *Sealed) Peek() (*Roster, error) {
	r := new(Roster)
	if len(s.Payload) > MaxRoster {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrRoster, len(s.Payload), MaxRoster)
	}
	if err := decode(s.Payload, r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRoster, err)
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	if again, err := json.Marshal(r); err != nil || !bytes.Equal(again, s.Payload) { // a name twice, say
		return nil, fmt.Errorf("%w: not in the form that Sign writes", ErrRoster)
	}
	return r, nil
}

func (r *Roster) check() error {
	switch {
	case r.Version != version:
		return fmt.Errorf("%w: version %d, not %d", ErrRoster, r.Version, version)
	case !fleet.ValidHost(r.Fleet):
		return fmt.Errorf("%w: %q is not the name of a fleet", ErrRoster, r.Fleet)
	case r.Serial == 0:
		return fmt.Errorf("%w: no serial number", ErrRoster)
	case len(r.Hosts) > fleet.MaxHosts:
		return fmt.Errorf("%w: %d hosts, more than %d", ErrRoster, len(r.Hosts), fleet.MaxHosts)
	}
	if err := checkHub(r.Servers, r.CA); err != nil {
		return fmt.Errorf("%w: %w", ErrRoster, err)
	}
	if err := checkChanges(r.Changes); err != nil {
		return err
	}
	if len(r.Allow) > fleet.MaxAllowed {
		return fmt.Errorf("%w: %d allowed prefixes, more than %d", ErrRoster, len(r.Allow), fleet.MaxAllowed)
	}
	for i := range r.Allow {
		if a := r.Allow[i].Fleet(); a.Check() != nil {
			return fmt.Errorf("%w: %w", ErrRoster, a.Check())
		}
	}
	for name, h := range r.Hosts {
		if !fleet.ValidHost(name) || !fleet.ValidHost(h.Group) {
			return fmt.Errorf("%w: host %q with group %q: names are 1 to 64 letters, digits, - and _", ErrRoster, name, h.Group)
		}
		if len(h.Keys) == 0 || len(h.Keys) > maxKeys {
			return fmt.Errorf("%w: host %s has %d keys, not 1 to %d", ErrRoster, name, len(h.Keys), maxKeys)
		}
		for _, k := range h.Keys {
			if err := k.check("host " + name); err != nil {
				return fmt.Errorf("%w: %w", ErrRoster, err)
			}
		}
	}
	return nil
}
