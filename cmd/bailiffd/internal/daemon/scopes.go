package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"bailiff/firewall"
	"bailiff/policy/config"
	"bailiff/policy/fleet"
	"bailiff/policy/state"
)

// scopes are the lists of ports that bans may block, with their names in the firewall: those of the enabled jails, and those of bans from
// an earlier configuration.
type scopes struct {
	list  []firewall.Scope
	names map[string]string // text (state.Ban.Scope, one list of ports) → name
}

func newScopes(c *config.Config, led *state.State, carry bool) scopes {
	s := scopes{list: []firewall.Scope{{}}, names: map[string]string{"": ""}}
	for _, j := range c.Jails {
		if j.Enabled {
			s.add(j.Name, config.ScopeText(j.Ports))
		}
	}
	if c.Fleet.Some() {
		s.list = append(s.list, firewall.Scope{Name: fleet.Scope})
	}
	if carry {
		s.list = append(s.list, carryScopes(c)...)
	}
	if led != nil {
		for _, text := range led.Scopes() {
			for _, one := range strings.Split(text, ";") {
				sum := sha256.Sum256([]byte(one))
				s.add("p-"+hex.EncodeToString(sum[:4]), one)
			}
		}
	}
	return s
}

// add gives a list of ports a name, unless it has one. A text that is not a list of ports means all traffic.
func (s *scopes) add(name, text string) {
	if _, ok := s.names[text]; ok {
		return
	}
	ports, err := config.ParseScope(text)
	if err != nil {
		s.names[text] = ""
		return
	}
	s.names[text] = name
	scope := firewall.Scope{Name: name}
	for _, p := range ports {
		scope.Ports = append(scope.Ports, firewall.Port{Proto: p.Proto, From: p.From, To: p.To})
	}
	s.list = append(s.list, scope)
}

// of returns the names of the firewall's scopes that a ban's scope consists of.
func (s *scopes) of(text string) []string {
	if text == "" {
		return all
	}
	var l []string
	for _, one := range strings.Split(text, ";") {
		l = append(l, s.names[one])
	}
	return l
}

var all = []string{""}

// text is the scope of the bans in the firewall's set for the scope name.
func (s *scopes) text(name string) string {
	for text, n := range s.names {
		if n == name {
			return text
		}
	}
	return ""
}
