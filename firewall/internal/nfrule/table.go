package nfrule

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"bailiff/firewall"
	"bailiff/firewall/internal/request"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// chainName is the name of the only chain in a table of ours. It is at prerouting, before connection tracking, so no rule that accepts
// established connections comes before it.
const chainName = "prerouting"

// TableWant describes our tables in an Inspection.
const TableWant = "chain " + chainName + " at prerouting, priority raw"

// NewTable returns a table of ours.
func NewTable(family uint8, name string) *nftables.Table {
	return &nftables.Table{Name: name, Family: nftables.TableFamily(family)}
}

// Name returns a table's name as nft writes it: "inet bailiff".
func Name(t *nftables.Table) string {
	switch t.Family {
	case nftables.TableFamilyIPv4:
		return "ip " + t.Name
	case nftables.TableFamilyIPv6:
		return "ip6 " + t.Name
	}
	return "inet " + t.Name
}

// Chain returns our chain in t.
func Chain(t *nftables.Table) *nftables.Chain {
	accept := nftables.ChainPolicyAccept
	return &nftables.Chain{
		Name: chainName, Table: t, Type: nftables.ChainTypeFilter, Policy: &accept,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
	}
}

// Replace creates t with an empty chain of ours in c's transaction, whatever t holds now.
func Replace(c *nftables.Conn, t *nftables.Table) *nftables.Chain {
	c.AddTable(t) // adding a table that exists is not an error, but deleting one that does not exist is
	c.DelTable(t)
	c.AddTable(t)
	return c.AddChain(Chain(t))
}

// Delete removes t from the host, if it exists.
func Delete(ctx context.Context, t *nftables.Table) error {
	c, err := Open(ctx, 0)
	if err == nil {
		c.DelTable(t)
		err = c.Flush()
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("table %s: delete: %w", Name(t), err)
	}
	return nil
}

// Table is what the kernel holds under the name of a table of ours.
type Table struct {
	Rules []*nftables.Rule // of our chain
	Sets  []*nftables.Set

	problem string // what is wrong, apart from rules
}

// ReadTable reads t from the kernel; nil means that it does not exist. If it holds anything that is not ours, the error is a
// *firewall.ForeignError; the caller must check the sets.
func ReadTable(ctx context.Context, t *nftables.Table) (*Table, error) {
	name := "table " + Name(t)
	fail := func(err error) (*Table, error) { return nil, fmt.Errorf("%s: read: %w", name, err) }
	foreign := func(format string, args ...any) (*Table, error) {
		return nil, &firewall.ForeignError{Name: name, Why: fmt.Sprintf(format, args...)}
	}
	c, err := Open(ctx, 0)
	if err != nil {
		return fail(err)
	}
	found, err := c.ListTableOfFamily(t.Name, t.Family)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP): // nfnetlink has no such subsystem, or no such family
		return nil, Unsupported(err)
	case err != nil:
		return fail(err)
	}
	chains, err := c.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return fail(err)
	}
	var chain *nftables.Chain
	for _, ch := range chains {
		switch {
		case ch.Table.Name != t.Name:
		case ch.Name != chainName:
			return foreign("holds chain %s", ch.Name)
		default:
			chain = ch
		}
	}
	objects, err := c.GetObjects(t)
	if err != nil {
		return fail(err)
	}
	if len(objects) > 0 {
		return foreign("holds %d objects", len(objects))
	}
	have := &Table{}
	if have.Sets, err = c.GetSets(t); err != nil {
		return fail(err)
	}
	if chain == nil {
		have.problem = "has no chain"
		return have, nil
	}
	if have.Rules, err = c.GetRules(t, chain); err != nil {
		return fail(err)
	}
	for _, r := range have.Rules {
		if _, ours := CommentOf(r); !ours {
			return foreign("chain %s holds a rule without our mark (handle %d)", chainName, r.Handle)
		}
	}
	switch problem := chainProblem(chain); {
	case problem != "" && len(have.Rules) == 0:
		return foreign("chain %s %s", chainName, problem)
	case problem != "":
		have.problem = "chain " + problem
	case found.Flags != 0:
		have.problem = "is dormant"
	}
	return have, nil
}

// chainProblem says how a chain differs from ours; "" when it does not.
func chainProblem(c *nftables.Chain) string {
	switch {
	case c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookPrerouting || c.Priority == nil ||
		*c.Priority != *nftables.ChainPriorityRaw || c.Type != nftables.ChainTypeFilter:
		return "is not at prerouting, priority raw"
	case c.Policy != nil && *c.Policy != nftables.ChainPolicyAccept:
		return "drops everything"
	}
	return ""
}

// Broken returns what is wrong with an existing table, apart from its rules and sets, so that it must be replaced; "" if nothing is.
func (t *Table) Broken() string { return t.problem }

// Problem returns how a table, which may be nil, differs from one with the wanted rules; "" if it does not.
func (t *Table) Problem(want []Rule) string {
	switch {
	case t == nil:
		return "is gone"
	case t.problem != "":
		return t.problem
	case len(t.Rules) != len(want):
		return fmt.Sprintf("holds %d rules, want %d", len(t.Rules), len(want))
	}
	for i, r := range t.Rules {
		if text, _ := CommentOf(r); text != want[i].Comment || !same(r.Exprs, want[i].Exprs) {
			return fmt.Sprintf("rule %d (%s) is not as we made it", i+1, text)
		}
	}
	return ""
}

// Open returns a connection that gives up when ctx is done. room is for transactions of up to this many bytes; 0 is the default. The
// connection opens a socket for each call.
func Open(ctx context.Context, room int) (*nftables.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		if room > 0 { // a transaction is one datagram; with CAP_NET_ADMIN it may be longer than net.core.wmem_max
			if err := c.SetWriteBuffer(room); err != nil {
				return err
			}
		}
		return c.SetDeadline(request.Deadline(ctx))
	}))
}

// Generation returns a number that increases with every nftables transaction in this network namespace.
func Generation(ctx context.Context) (gen uint32, err error) {
	c := request.New(unix.NETLINK_NETFILTER)
	defer c.Close()
	err = c.Do(ctx, request.Netfilter(unix.NFNL_SUBSYS_NFTABLES, unix.NFT_MSG_GETGEN, unix.AF_UNSPEC, 0, nil), func(_ netlink.HeaderType, data []byte) {
		for typ, v := range request.NetfilterAttributes(data) {
			if typ == unix.NFTA_GEN_ID && len(v) == 4 {
				gen = binary.BigEndian.Uint32(v)
			}
		}
	})
	switch {
	case errors.Is(err, unix.EINVAL):
		return 0, Unsupported(err)
	case err != nil:
		return 0, fmt.Errorf("nftables: read the generation: %w", err)
	}
	return gen, nil
}

// Unsupported returns the error for a kernel without nftables.
func Unsupported(err error) error {
	return &firewall.UnsupportedError{What: "nftables", Hint: "load the kernel module nf_tables, or write backend: firewalld", Err: err}
}

// RejectUnsupported returns the error for a kernel that cannot reject at prerouting.
func RejectUnsupported(err error) error {
	return &firewall.UnsupportedError{What: "reject at prerouting", Hint: "write block: drop, or use Linux 5.9 or newer", Err: err}
}
