package agent

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"bailiff/units/atomicfile"
	"bailiff/units/control"
	"bailiff/units/hub"
)

// rosterName is the file in the state folder that keeps the newest roster: the hub may lose it, and with it that a host is
// believed no more.
const rosterName = "roster"

// roster is the list of hosts in use. It is never changed.
type roster struct {
	serial uint64
	groups map[string]string
	keys   map[string][]ed25519.PublicKey
	allow  []control.FleetAllowed
}

// of returns the keys of a host.
func (r *roster) of(host string) []ed25519.PublicKey { return r.keys[host] }

func newRoster(r *hub.Roster) *roster {
	x := &roster{serial: r.Serial, groups: r.Groups(), keys: make(map[string][]ed25519.PublicKey, len(r.Hosts))}
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

// loadRoster takes the newer one of the member file's roster and the file's.
func (a *Agent) loadRoster() error {
	r, err := a.Member.Open(&a.Member.Roster)
	if err != nil {
		return err
	}
	a.roster.Store(newRoster(r))
	if a.State == "" {
		return nil
	}
	data, err := atomicfile.Read(filepath.Join(a.State, rosterName), 2*hub.MaxRoster, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var s hub.Sealed
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err == nil {
		if r, err = a.Member.Open(&s); err == nil {
			if r.Serial > a.roster.Load().serial {
				a.roster.Store(newRoster(r))
			}
			return nil
		}
	}
	a.Log(fmt.Sprintf("the roster in %s is not used: %v", filepath.Join(a.State, rosterName), err))
	return nil
}

// takeRoster takes a roster from the hub if it is signed by an operator and newer. It reports whether it is.
func (a *Agent) takeRoster(m *stored) bool {
	signature, err := base64.StdEncoding.DecodeString(m.signature)
	s := hub.Sealed{Payload: m.payload, Signature: signature}
	var r *hub.Roster
	if err == nil {
		r, err = a.Member.Open(&s)
	}
	if err != nil {
		a.rejected.Add(1)
		a.rosterErr.set(fmt.Errorf("the hub's roster is not accepted: %w", err))
		return false
	}
	a.rosterErr.set(nil)
	if r.Serial <= a.roster.Load().serial {
		return false
	}
	a.roster.Store(newRoster(r))
	a.Log(fmt.Sprintf("roster %d: %d hosts", r.Serial, len(r.Hosts)))
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
	return true
}
