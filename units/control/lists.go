package control

import (
	"context"
	"time"
)

// BlockLists are the published block lists of the configuration.
type BlockLists struct {
	Lists []BlockList `json:"lists"`
	Error string      `json:"error,omitempty"` // why none can be put into effect
}

// BlockList is a published block list. Its entries are no bans.
type BlockList struct {
	Name     string     `json:"name"`
	Sources  []string   `json:"sources"`             // URLs
	Holds    string     `json:"holds,omitempty"`     // countries and systems that it takes from a database
	Mode     string     `json:"mode"`                // drop; log: its packets are counted and pass; double: they pass, and failures from there count double
	Ports    string     `json:"ports"`               // jails, or all
	Jails    []string   `json:"jails,omitempty"`     // that it is for; none: all
	Entries  int        `json:"entries"`             // prefixes in effect
	LeftOut  int        `json:"left_out,omitempty"`  // entries of the source that touch private addresses
	Allowed  int        `json:"allowed,omitempty"`   // entries in effect for addresses that were allowed here when the list was loaded; they pass
	Fetched  *time.Time `json:"fetched,omitempty"`   // when the version on disk was fetched
	Good     *time.Time `json:"confirmed,omitempty"` // when its source last sent or confirmed it
	Checked  *time.Time `json:"checked,omitempty"`   // when its source was last asked
	Loaded   *time.Time `json:"loaded,omitempty"`    // when it was put into effect, since the start
	Refused  string     `json:"refused,omitempty"`   // why its latest version was refused
	Failed   string     `json:"failed,omitempty"`    // why it could not be fetched
	Rejected string     `json:"rejected,omitempty"`  // why what is on disk is not in effect
	Packets  *uint64    `json:"packets,omitempty"`   // that it has stopped, or counted, since its rules were made
	Bytes    *uint64    `json:"bytes,omitempty"`
}

// BlockHolding is a block list that holds an address. What is allowed here passes nevertheless.
type BlockHolding struct {
	List   string   `json:"list"`
	Holds  string   `json:"holds,omitempty"` // as BlockList has it
	Prefix string   `json:"prefix"`          // of the list
	Mode   string   `json:"mode"`
	Ports  string   `json:"ports"`
	Jails  []string `json:"jails,omitempty"`
}

// BlockLists returns the published block lists.
func (c *Client) BlockLists(ctx context.Context) (*BlockLists, error) {
	return get[BlockLists](ctx, c, "/v1/lists", nil)
}
