package agent

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/units/atomicfile"
	"bailiff/units/control"
	"bailiff/units/hub"
)

// rosterName is the file in the state folder that keeps the newest roster. If the hub loses it, removed hosts still stay out.
const rosterName = "roster"

// roster is the list of hosts in use. It is never changed.
type roster struct {
	trust   *hub.Trust // who may sign the next one
	servers []string   // of the hub
	ca      string
	serial  uint64            // the next one's is greater
	groups  map[string]string // nil: the hub has not sent a list yet
	keys    map[string][]ed25519.PublicKey
	allow   []control.FleetAllowed
}

// of returns the keys of a host.
func (r *roster) of(host string) []ed25519.PublicKey { return r.keys[host] }

func newRoster(r *hub.Roster, t *hub.Trust) *roster {
	x := &roster{trust: t, servers: r.Servers, ca: r.CA, serial: r.Serial, groups: r.Groups(), keys: make(map[string][]ed25519.PublicKey, len(r.Hosts))}
	for name, h := range r.Hosts {
		for _, k := range h.Keys {
			x.keys[name] = append(x.keys[name], k.Public())
		}
	}
	for _, a := range r.Allow {
		x.allow = append(x.allow, control.FleetAllowed{Prefix: a.Prefix.String(), Until: a.Until, By: a.By, Comment: a.Comment})
	}
	return x
}

// loadRoster loads the saved roster, unless the host has got a newer member file since. Without it, only the hub and the operators are
// known, from the member file.
func (a *Agent) loadRoster() {
	m := a.Member
	a.roster.Store(&roster{trust: &m.Trust, servers: m.Servers, ca: m.CA, serial: m.Serial - 1})
	if a.State == "" {
		return
	}
	data, err := atomicfile.Read(filepath.Join(a.State, rosterName), 2*hub.MaxRoster, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var s hub.Sealed
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err == nil {
		if old, err := s.Peek(); err == nil && old.Serial < m.Serial {
			return
		}
		r, trust, e := m.Trust.Open(m.Fleet, &s)
		if err = e; err == nil {
			a.roster.Store(newRoster(r, trust))
			return
		}
	}
	a.Log(fmt.Sprintf("the roster in %s is not used: %v", filepath.Join(a.State, rosterName), err))
}

// takeRoster accepts a roster from the hub if it is newer and signed by an operator (hub.Trust.Open). It reports whether it did.
func (a *Agent) takeRoster(m *stored) bool {
	signature, err := base64.StdEncoding.DecodeString(m.signature)
	s := hub.Sealed{Payload: m.payload, Signature: signature}
	old := a.roster.Load()
	var r *hub.Roster
	var trust *hub.Trust
	if err == nil {
		r, trust, err = old.trust.Open(a.Member.Fleet, &s)
	}
	if err != nil {
		a.rejected.Add(1)
		a.rosterErr.set(fmt.Errorf("the hub's roster is not accepted: %w", err))
		return false
	}
	a.rosterErr.set(nil)
	if r.Serial <= old.serial {
		return false
	}
	x := newRoster(r, trust)
	a.roster.Store(x)
	a.Log(fmt.Sprintf("roster %d: %d hosts", r.Serial, len(r.Hosts)))
	if trust.Number != old.trust.Number {
		a.Log("the operators of the fleet are now " + names(trust.Operators))
	}
	if a.State != "" {
		data, err := json.Marshal(&s)
		if err == nil {
			err = atomicfile.Write(filepath.Join(a.State, rosterName), data, 0o600)
		}
		if err != nil {
			a.Log(fmt.Sprintf("the roster cannot be kept: %v", err))
		}
	}
	signal(a.newRoster)
	if x.ca != old.ca || !slices.Equal(x.servers, old.servers) {
		a.Log("the hub's servers are now " + strings.Join(x.servers, ", "))
		a.link.move(a.roster.Load)
	}
	return true
}

func names(l []hub.Operator) string {
	var names []string
	for _, o := range l {
		names = append(names, o.Name)
	}
	return strings.Join(names, ", ")
}
