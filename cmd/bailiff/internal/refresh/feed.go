package refresh

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"bailiff/cmd/internal/geo"
	"bailiff/policy/allow"
	"bailiff/policy/blocklist"
	"bailiff/policy/config"
	"bailiff/policy/prefix"
	"bailiff/units/credential"
	"bailiff/units/published"
)

// kind is what the lists of a command have in common.
type kind struct {
	verb  string // of the command
	noun  string // of a list
	key   string // in the configuration
	dir   string
	size  int64         // of a download in bytes, after decompression
	time  time.Duration // that it may take
	feeds func(*config.Config, published.Store) []feed
}

// feed is one list: what it is, and what of it has been fetched.
type feed interface {
	conf() *allow.Published
	held() (n int, err error)                       // entries of the list in use; an error if there is none that passes its checks
	prepare(*http.Request) (secret bool, err error) // completes a request; secret: it carries a key
	parse(url string, body []byte) error            // adds what a URL holds to the new list
	check(former int) error                         // decides on the new list; former is the number of entries in use, 0 for any
	count() int                                     // distinct entries of the new list
	same() bool                                     // the new list is the one in use
	write(published.State) error                    // puts the new list in place
}

// The longest list that is commonly allowed, a cloud provider's, has 2 MiB.
var allowLists = &kind{verb: "allow", noun: "allow list", key: "allow.lists", dir: published.AllowDir, size: 8 << 20, time: 30 * time.Second,
	feeds: func(c *config.Config, s published.Store) (l []feed) {
		for i := range c.Allow.Lists {
			l = append(l, &allowFeed{p: &c.Allow.Lists[i], store: s})
		}
		return l
	}}

var blockLists = &kind{verb: "lists", noun: "block list", key: "lists", dir: published.BlockDir, size: blocklist.MaxSize, time: 2 * time.Minute,
	feeds: func(c *config.Config, s published.Store) (l []feed) {
		for i := range c.Lists {
			l = append(l, &blockFeed{l: &c.Lists[i], store: s})
		}
		return l
	}}

// allowFeed is an allow list.
type allowFeed struct {
	p        *allow.Published
	store    published.Store
	old, new []allow.Entry
}

func (f *allowFeed) conf() *allow.Published { return f.p }

func (f *allowFeed) held() (n int, err error) {
	f.old, err = f.store.Read(f.p)
	return allow.Distinct(f.old), err
}

func (f *allowFeed) prepare(*http.Request) (bool, error) { return false, nil }

func (f *allowFeed) parse(url string, body []byte) error {
	entries, err := f.p.Parse(url, body)
	f.new = append(f.new, entries...)
	return err
}

func (f *allowFeed) check(former int) error { return f.p.Accept(f.new, former) }

func (f *allowFeed) count() int { return allow.Distinct(f.new) }

// same compares entries without their line numbers.
func (f *allowFeed) same() bool {
	return slices.EqualFunc(f.new, f.old, func(a, b allow.Entry) bool {
		return a.Prefix == b.Prefix && a.Until.Equal(b.Until) && a.Comment == b.Comment
	})
}

func (f *allowFeed) write(st published.State) error { return f.store.Write(f.p, f.new, st) }

// blockFeed is a block list.
type blockFeed struct {
	l       *blocklist.List
	store   published.Store
	new     []netip.Prefix
	leftOut int // prefixes that touch private addresses

	databases *blocklist.Selection // of a list of that format
}

func (f *blockFeed) conf() *allow.Published { return &f.l.Published }

func (f *blockFeed) held() (int, error) { return f.store.Count(f.l) }

// keys are the credentials of bailiff-lists-refresh.service.
var keys = credential.Folder{Path: "/etc/bailiff/credentials", Then: "pass it to bailiff-lists-refresh.service, as bailiff.yaml(5) shows under LISTS"}

func (f *blockFeed) prepare(req *http.Request) (secret bool, err error) {
	if f.l.Accept != "" {
		req.Header.Set("Accept", f.l.Accept)
	}
	if f.l.Credential == "" {
		return false, nil
	}
	key, err := keys.Read(f.l.Credential)
	if err != nil {
		return false, err
	}
	if len(key) > 4096 || bytes.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
		return false, fmt.Errorf("credential %s: is not a key: one line of ASCII", f.l.Credential)
	}
	req.Header.Set(f.l.KeyHeader, string(key))
	return true, nil
}

func (f *blockFeed) parse(url string, body []byte) error {
	if f.l.Format == blocklist.FormatMMDB {
		return f.parseDatabase(url, body)
	}
	all, err := f.l.Parse(url, body)
	if err != nil {
		return err
	}
	for _, p := range all {
		keep, err := f.l.Judge(p)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", url, err)
		case keep:
			f.new = append(f.new, p)
		default:
			f.leftOut++
		}
	}
	f.new = prefix.Compact(f.new)
	return nil
}

func (f *blockFeed) parseDatabase(url string, body []byte) error {
	if f.databases == nil {
		f.databases = blocklist.NewSelection(f.l)
	}
	err := error(nil)
	if path, ok := filePath(url); ok { // which get has not read
		err = geo.NetworksOf(path, f.databases.Add)
	} else {
		err = geo.Networks(body, f.databases.Add)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	f.new, f.leftOut = f.databases.Prefixes() // of all so far
	return nil
}

// mapped reports whether parse reads a file itself: databases are larger than what fits into the memory.
func mapped(f feed) bool {
	b, ok := f.(*blockFeed)
	return ok && b.l.Format == blocklist.FormatMMDB
}

func (f *blockFeed) check(former int) error {
	if f.databases != nil {
		named := 0
		if former > 0 {
			named = f.store.ReadState(f.l.Name).Named
		}
		if err := f.databases.Check(named); err != nil {
			return err
		}
	}
	return f.l.Check(len(f.new), former)
}

func (f *blockFeed) count() int { return len(f.new) }

func (f *blockFeed) same() bool { return f.store.Same(f.l, f.new) }

func (f *blockFeed) write(st published.State) error {
	st.LeftOut, st.Named = f.leftOut, 0
	if f.databases != nil {
		st.Named = f.databases.Named()
	}
	return f.store.WriteBlock(f.l, f.new, st)
}
