// Package rdap reads answers of RDAP servers about IP networks (RFC 9083, with jCard contacts of RFC 7095), and bootstrap files,
// which say which server knows which network (RFC 9224). It makes no connections: package registry does.
//
// Answers are not trusted: everything in them is checked or made safe. Start reading at ParseNetwork.
package rdap

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bailiff/cmd/bailiff-report/internal/registry/whois"
	"bailiff/cmd/bailiff-report/internal/report"
	"bailiff/cmd/bailiff-report/internal/safetext"
)

const (
	maxDepth    = 4   // of entities in entities: real answers have two or three
	maxEntities = 200 // of one answer
	maxRemarks  = 40  // lines
)

// network is what is read of an answer. Parts in another form are ignored, since registries differ.
type network struct {
	Class    string          `json:"objectClassName"`
	Handle   string          `json:"handle"`
	Start    string          `json:"startAddress"`
	End      string          `json:"endAddress"`
	Name     string          `json:"name"`
	Type     string          `json:"type"`
	Country  string          `json:"country"`
	Parent   string          `json:"parentHandle"`
	CIDRs    []cidr          `json:"cidr0_cidrs"`
	Entities json.RawMessage `json:"entities"`
	Remarks  json.RawMessage `json:"remarks"`
	Events   json.RawMessage `json:"events"`
	Code     int             `json:"errorCode"`
	Title    string          `json:"title"`
}

type cidr struct {
	V4     string `json:"v4prefix"`
	V6     string `json:"v6prefix"`
	Length int    `json:"length"`
}

type entity struct {
	Handle   string          `json:"handle"`
	Roles    []string        `json:"roles"`
	VCard    json.RawMessage `json:"vcardArray"`
	Entities json.RawMessage `json:"entities"`
}

type remark struct {
	Title string   `json:"title"`
	Lines []string `json:"description"`
}

type event struct {
	Action string `json:"eventAction"`
	Date   string `json:"eventDate"`
}

// items reads a list and leaves out elements in another form.
func items[T any](data json.RawMessage) (all []T) {
	var raw []json.RawMessage
	if len(data) == 0 || json.Unmarshal(data, &raw) != nil {
		return nil
	}
	for _, r := range raw[:min(len(raw), maxEntities)] {
		var v T
		if json.Unmarshal(r, &v) == nil {
			all = append(all, v)
		}
	}
	return all
}

// ParseNetwork reads the answer to a question about addr. It does not set Source and Asked. An error means that the answer is not
// about addr.
func ParseNetwork(data []byte, addr netip.Addr) (*report.Whois, error) {
	var n network
	var form *json.UnmarshalTypeError
	if err := json.Unmarshal(data, &n); err != nil && !errors.As(err, &form) {
		return nil, fmt.Errorf("not an RDAP answer: %w", err)
	}
	if n.Code != 0 {
		return nil, fmt.Errorf("error %d: %s", n.Code, safetext.Line(n.Title, 100))
	}
	w := &report.Whois{Network: n.block(addr.Unmap()), Name: safetext.Line(n.Name, 100)}
	if !w.Network.IsValid() {
		return nil, fmt.Errorf("the answer is about %q to %q, not about %s", safetext.Line(n.Start, 50), safetext.Line(n.End, 50), addr)
	}
	if c := strings.ToUpper(strings.TrimSpace(n.Country)); len(c) == 2 && strings.Trim(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" {
		w.Country = c
	}
	var p people
	p.walk(n.Entities)
	w.Holder, w.Abuse = p.holder(), p.abuse()
	w.Text = n.text(w)
	return w, nil
}

// block returns the network that contains addr: a CIDR block of the answer, or the largest one in the answer's range.
func (n *network) block(addr netip.Addr) (best netip.Prefix) {
	for _, c := range n.CIDRs {
		a, err := netip.ParseAddr(c.V4 + c.V6)
		if err != nil || a.Zone() != "" {
			continue
		}
		if p, err := a.Prefix(c.Length); err == nil && p.Contains(addr) && p.Bits() >= best.Bits() {
			best = p
		}
	}
	if best.IsValid() {
		return best
	}
	// LACNIC has been seen to write a prefix as the first address.
	start, _, _ := strings.Cut(n.Start, "/")
	last, _, _ := strings.Cut(n.End, "/")
	from, err := netip.ParseAddr(start)
	to, err2 := netip.ParseAddr(last)
	if err != nil || err2 != nil {
		return netip.Prefix{}
	}
	return whois.Block(from, to, addr)
}

// text is the answer for people, in the form of whois.
func (n *network) text(w *report.Whois) string {
	var b strings.Builder
	line := func(key, value string) {
		if value = safetext.Line(value, 300); value != "" {
			fmt.Fprintf(&b, "%-12s %s\n", key+":", value)
		}
	}
	line("network", w.Network.String())
	if n.Start != "" && n.End != "" {
		line("range", n.Start+" - "+n.End)
	}
	line("name", w.Name)
	line("handle", n.Handle)
	line("parent", n.Parent)
	line("type", n.Type)
	line("holder", w.Holder)
	line("country", w.Country)
	line("abuse", strings.Join(w.Abuse, ", "))
	for i, e := range items[event](n.Events) {
		if i < 10 {
			line(safetext.Line(e.Action, 20), e.Date)
		}
	}
	left := maxRemarks
	for _, r := range items[remark](n.Remarks) {
		key := strings.ToLower(safetext.Line(r.Title, 20))
		if key != "description" {
			key = "remarks"
		}
		for _, l := range r.Lines {
			if left--; left >= 0 {
				line(key, l)
			}
		}
	}
	return safetext.Block(b.String())
}

// people are the contacts of an answer, the outer ones first.
type people []contact

type contact struct {
	roles []string
	depth int
	name  string
	kind  string
	mails []string
}

func (p *people) walk(of json.RawMessage) {
	type at struct {
		list  json.RawMessage
		depth int
		abuse bool
	}
	for queue := []at{{of, 0, false}}; len(queue) > 0; queue = queue[1:] {
		q := queue[0]
		for _, e := range items[entity](q.list) {
			if len(*p) == maxEntities {
				return
			}
			c := contact{depth: q.depth}
			for _, r := range e.Roles {
				c.roles = append(c.roles, strings.ToLower(r))
			}
			// A contact of an abuse contact is an abuse contact: some registries nest the person in the role.
			abuse := q.abuse || slices.Contains(c.roles, "abuse")
			if abuse {
				c.roles = append(c.roles, "abuse")
			}
			c.card(e.VCard)
			*p = append(*p, c)
			if q.depth+1 < maxDepth && len(e.Entities) > 0 {
				queue = append(queue, at{e.Entities, q.depth + 1, abuse})
			}
		}
	}
}

// card reads a jCard: ["vcard", [[name, {parameters}, type, value…], …]].
func (c *contact) card(data json.RawMessage) {
	var outer []json.RawMessage
	if len(data) == 0 || json.Unmarshal(data, &outer) != nil || len(outer) != 2 {
		return
	}
	for _, prop := range items[[]json.RawMessage](outer[1]) {
		var name, value string
		if len(prop) < 4 || json.Unmarshal(prop[0], &name) != nil || json.Unmarshal(prop[3], &value) != nil {
			continue
		}
		switch strings.ToLower(name) {
		case "fn":
			c.name = safetext.Line(value, 100)
		case "kind":
			c.kind = strings.ToLower(value)
		case "email":
			c.mails = whois.Contacts(c.mails, value)
		}
	}
}

// abuse returns the addresses of the abuse contacts nearest to the network. Those nested in an organization are for all of its
// networks.
func (p people) abuse() (all []string) {
	depth := -1
	for _, c := range p {
		if len(c.mails) == 0 || !slices.Contains(c.roles, "abuse") || depth >= 0 && c.depth > depth {
			continue
		}
		depth = c.depth
		for _, m := range c.mails {
			all = whois.Contacts(all, m)
		}
	}
	return all
}

// holder returns the registrant, an organization if there is one: RIPE lists maintainers as registrants, too.
func (p people) holder() string {
	for _, org := range []bool{true, false} {
		for _, c := range p {
			if c.name != "" && slices.Contains(c.roles, "registrant") && (c.kind == "org" || !org) {
				return c.name
			}
		}
	}
	return ""
}
