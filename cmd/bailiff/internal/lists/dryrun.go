package lists

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/past"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/journal"
	"bailiff/journal/evidence"
	"bailiff/policy"
	"bailiff/policy/blocklist"
	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/policy/filter"
	"bailiff/units/published"
)

const (
	// sinceDefault is how far back this host's journal is read without --since.
	sinceDefault = "7d"

	// maxAddrs bounds the addresses that are remembered, some 100 MB. Later ones are not compared, and the result says so.
	maxAddrs = 1 << 20

	// maxShown is how many addresses with logins are named.
	maxShown = 20
)

// held is how many of something there were, and how many of these a list holds.
type held struct {
	Held int `json:"held"`
	All  int `json:"all"`
}

// tried is what a list would have stopped. bailiff(1) documents the keys, which do not change.
type tried struct {
	List       string    `json:"list"`
	Holds      string    `json:"holds,omitempty"` // countries and systems that it takes from a database
	Mode       string    `json:"mode"`
	Since      time.Time `json:"since"` // zero: from the first entry
	Entries    int       `json:"entries"`
	Addresses  held      `json:"addresses"` // that failed to log in, or attacked otherwise
	Failures   held      `json:"failures"`  // their attempts
	Banned     held      `json:"banned"`    // addresses that were banned
	LoggedIn   held      `json:"logged_in"` // addresses from which a login succeeded
	Logins     held      `json:"logins"`
	Who        []who     `json:"who"`        // of the held ones that logged in, at most 20
	Allowed    int       `json:"allowed"`    // held ones that logged in and are allowed: they would have passed
	Incomplete bool      `json:"incomplete"` // there were more addresses than can be remembered

	jails []string // that the list is for; none: all
}

// who is an address that a list holds and from which a login succeeded.
type who struct {
	Address string `json:"address"`
	Jail    string `json:"jail"`
	Logins  int    `json:"logins"`
	Allowed bool   `json:"allowed"`
}

// seen is what an address did in a jail.
type seen struct {
	jail             string
	failures, logins int
	banned           bool
}

func dryRun() *cli.Command {
	c := cli.New("dry-run", "LIST…", "show what lists would have stopped in the past: attackers and logins; lists --dry-run is the same").WithJSON()
	in := past.Options(c, sinceDefault)
	conf := settings.Option(c)
	dir := c.Flags.String("lists", published.BlockDir, "read the lists in this `FOLDER`")
	c.Flags.Bool("dry-run", false, "the same as the word dry-run")
	return c.Does(func(e *cli.Env, args []string) error {
		if err := in.Resolve("lists dry-run", time.Now()); err != nil {
			return err
		}
		conf, err := settings.Load(*conf)
		if err != nil {
			return err
		}
		var chosen []*blocklist.List
		for _, name := range args {
			l, err := find(conf, published.Store{Dir: *dir}, name)
			if err != nil {
				return err
			}
			chosen = append(chosen, l)
		}
		r, err := newReader(conf)
		if err != nil {
			return err
		}
		if err := r.read(e, in); err != nil {
			return err
		}
		for _, l := range chosen {
			t, err := r.try(published.Store{Dir: *dir}, l)
			if err != nil {
				return err
			}
			if t.Since = in.Since; e.JSON {
				err = cli.WriteJSON(e.Out, t)
			} else {
				t.print(e)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// find returns a list of the configuration that has been fetched.
func find(c *config.Config, s published.Store, name string) (*blocklist.List, error) {
	i := slices.IndexFunc(c.Lists, func(l blocklist.List) bool { return l.Name == name })
	if i < 0 {
		return nil, cli.Usagef("lists dry-run: the configuration has no list %q; write lists: {%s: {mode: log}}, which stops nothing", name, name)
	}
	if _, err := s.Count(&c.Lists[i]); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list %s has not been fetched: systemctl start bailiff-lists-refresh.service", name)
	} else if err != nil {
		return nil, err
	}
	return &c.Lists[i], nil
}

// reader remembers what addresses did.
type reader struct {
	eng   *past.Engine
	addrs map[netip.Addr][]seen
	full  bool
	until int64 // time of the last entry
}

func newReader(c *config.Config) (*reader, error) {
	eng, err := past.NewEngine(c)
	return &reader{eng: eng, addrs: make(map[netip.Addr][]seen)}, err
}

func (r *reader) read(e *cli.Env, in *past.Input) error {
	o := journal.Options{Matches: evidence.Matches(r.eng.Matchers()), Fields: evidence.Fields, MaxValue: evidence.MaxValue}
	tick := func(at int64) string {
		r.eng.Expire(at, at)
		return diag.Count(len(r.addrs), "address")
	}
	var fe filter.Entry
	err := in.Each(e, o, tick, func(entry *journal.Entry) error {
		evidence.Convert(entry, &fe)
		r.until = fe.Realtime
		r.outcome(r.eng.Entry(&fe, 0))
		return nil
	})
	if err == nil {
		r.outcome(r.eng.Finish())
	}
	return err
}

func (r *reader) outcome(out *policy.Outcome) {
	for i := range out.Failures {
		if s := r.of(out.Failures[i].Addr, out.Failures[i].Jail); s != nil {
			s.failures += out.Failures[i].Attempts
		}
	}
	for i := range out.Bans {
		if s := r.of(out.Bans[i].Addr, out.Bans[i].Jail); s != nil {
			s.banned = true
		}
	}
	for i := range out.Logins {
		if s := r.of(out.Logins[i].Addr, out.Logins[i].Jail); s != nil {
			s.logins++
		}
	}
}

func (r *reader) of(a netip.Addr, jail string) *seen {
	l := r.addrs[a]
	i := slices.IndexFunc(l, func(s seen) bool { return s.jail == jail })
	if i < 0 {
		if !a.IsValid() || len(l) == 0 && len(r.addrs) >= maxAddrs {
			r.full = r.full || a.IsValid()
			return nil
		}
		i, l = len(l), append(l, seen{jail: jail})
		r.addrs[a] = l
	}
	return &l[i]
}

// try compares the addresses with a list. Both are sorted, so the list is read once and not kept.
func (r *reader) try(s published.Store, l *blocklist.List) (*tried, error) {
	t := &tried{List: l.Name, Holds: l.Selects(), Mode: l.Mode, Who: []who{}, Incomplete: r.full}
	if l.Ports == blocklist.PortsJails || l.Mode == blocklist.ModeDouble {
		t.jails = l.Jails
	}
	rest := slices.SortedFunc(maps.Keys(r.addrs), netip.Addr.Compare)
	for _, a := range rest {
		t.count(r, a, false)
	}
	b, err := s.OpenBlock(l)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	err = b.Each(func(p netip.Prefix) error {
		t.Entries++
		for len(rest) > 0 && rest[0].Compare(p.Addr()) < 0 {
			rest = rest[1:]
		}
		for len(rest) > 0 && p.Contains(rest[0]) {
			t.count(r, rest[0], true)
			rest = rest[1:]
		}
		return nil
	})
	slices.SortStableFunc(t.Who, func(a, b who) int { return b.Logins - a.Logins })
	t.Who = t.Who[:min(len(t.Who), maxShown)]
	return t, err
}

// count adds an address that the list holds, or one of all.
func (t *tried) count(r *reader, a netip.Addr, isHeld bool) {
	var s seen
	for _, x := range r.addrs[a] {
		if len(t.jails) > 0 && !slices.Contains(t.jails, x.jail) {
			continue
		}
		s.failures, s.logins, s.banned = s.failures+x.failures, s.logins+x.logins, s.banned || x.banned
		if x.logins > 0 {
			s.jail = x.jail
		}
	}
	add := func(h *held, n int) {
		if isHeld {
			h.Held += n
		} else {
			h.All += n
		}
	}
	if s.failures > 0 {
		add(&t.Addresses, 1)
		add(&t.Failures, s.failures)
	}
	if s.banned {
		add(&t.Banned, 1)
	}
	if s.logins == 0 {
		return
	}
	add(&t.LoggedIn, 1)
	add(&t.Logins, s.logins)
	if isHeld {
		_, allowed := r.eng.Allow().Contains(a, r.until)
		if allowed {
			t.Allowed++
		}
		t.Who = append(t.Who, who{a.String(), s.jail, s.logins, allowed})
	}
}

func (t *tried) print(e *cli.Env) {
	since := "in all entries"
	if !t.Since.IsZero() {
		since = "since " + text.Time(t.Since)
	}
	did := "it would have stopped"
	if t.Mode == blocklist.ModeDouble {
		did = "it would have had the failures weigh double of"
	}
	e.Printf("%s: %s; %s %s\n", t.List+text.With(", ", t.Holds), diag.Count(t.Entries, "entry"), since, did)
	share := func(h held) string {
		if h.All == 0 {
			return "none of 0"
		}
		return fmt.Sprintf("%d of %d (%.1f %%)", h.Held, h.All, 100*float64(h.Held)/float64(h.All))
	}
	e.Table([][]string{
		{"  attackers", share(t.Addresses), "addresses, with " + share(t.Failures) + " failures"},
		{"  banned", share(t.Banned), "addresses that are or would have been banned"},
		{"  logins", share(t.LoggedIn), "addresses that logged in, with " + share(t.Logins) + " logins"},
	})
	for _, w := range t.Who {
		note := ""
		if w.Allowed {
			note = "; allowed here, so it passes"
		}
		e.Printf("    %s logged in %s (%s)%s\n", w.Address, text.Times(w.Logins), text.Clean(w.Jail), note)
	}
	if n := t.LoggedIn.Held - len(t.Who); n > 0 {
		e.Printf("    and %d more\n", n)
	}
	if t.Incomplete {
		e.Printf("  More than %d addresses were seen; the later ones are not compared.\n", maxAddrs)
	}
}
