package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"bailiff/policy"
	"bailiff/policy/blocklist"
	"bailiff/units/atomicfile"
	"bailiff/units/published"

	"golang.org/x/sys/unix"
)

// fit decides whether a list on disk may take effect at all. Unlike one that fails its checks, a list that is not fit leaves no former
// version in effect: it was made for another configuration, is for jails that are not enabled, or would lock an operator out.
func (w *blockWorker) fit(h *blockHeld) error {
	c := w.want.closes[h.conf.Name]
	if c.none {
		return errors.New("no jail that it is for is enabled")
	}
	b, err := w.store.OpenBlock(h.conf)
	if errors.Is(err, published.ErrOther) {
		return err
	}
	if err != nil {
		return nil // loading reports it and keeps the former version
	}
	defer b.Close()
	if !isSource(h.conf) || !c.ssh {
		return nil
	}
	if overlaps(w.want.allow)(h.barred) && !overlaps(w.want.operators)(h.barred) {
		h.barred = netip.Prefix{} // allowed by now, even without a session
	}
	if now := fmt.Sprint(versionOf(h.file, h.conf), w.want.operators); !h.barred.IsValid() && now != h.checked {
		inside := overlaps(w.want.operators)
		_ = b.Each(func(p netip.Prefix) error { // a list that is not in order is not loaded
			if inside(p) {
				h.barred = p
				return errFound
			}
			return nil
		})
		for _, o := range w.want.operators {
			if h.barred.IsValid() && h.barred.Overlaps(o) {
				h.barred = o
			}
		}
		h.checked = now
	}
	if h.barred.IsValid() {
		return fmt.Errorf("holds %s, from where an operator was logged in: add it to allow.addresses, or name the jails that the list is for, and reload", h.barred.Addr())
	}
	return nil
}

// barredName is the file that records which lists would lock an operator out: after a restart, sessions are known too late.
const barredName = "lists.json"

// barredList is a list that would lock an operator out.
type barredList struct {
	For     string       `json:"for"` // what the list is for; a change means a new check
	Address netip.Prefix `json:"address"`
}

// barredLists are the barred lists, on disk.
type barredLists struct {
	path   string
	known  map[string]barredList // by name, as of the start
	saved  string
	failed bool // to save
}

func loadBarred(dir string) (b barredLists) {
	b.path = filepath.Join(dir, barredName)
	data, err := atomicfile.Read(b.path, 1<<20, unix.O_NOFOLLOW)
	if err == nil && json.Unmarshal(data, &b.known) == nil {
		b.saved = string(data)
	}
	return b
}

func purpose(l *blocklist.List) string {
	return fmt.Sprint(l.Selects(), ", ports ", l.Ports, " ", l.Jails)
}

// of returns an address that a list would have locked out before the start.
func (b *barredLists) of(l *blocklist.List) netip.Prefix {
	if x := b.known[l.Name]; x.For == purpose(l) {
		return x.Address
	}
	return netip.Prefix{}
}

// save writes the file if it has changed, which is rare. It returns the first of several errors in a row.
func (b *barredLists) save(held map[string]*blockHeld) error {
	if b.known != nil {
		return nil // no configuration yet
	}
	m := make(map[string]barredList)
	for name, h := range held {
		if h.barred.IsValid() {
			m[name] = barredList{purpose(h.conf), h.barred}
		}
	}
	data, err := json.Marshal(m)
	if err != nil || string(data) == b.saved || len(m) == 0 && b.saved == "" {
		return err
	}
	failed := b.failed
	if err := atomicfile.Write(b.path, data, 0o600); err != nil {
		if b.failed = true; failed {
			return nil
		}
		return err
	}
	b.saved, b.failed = string(data), false
	return nil
}

// setDouble passes on to the engine which addresses count double. Lists that are no longer configured as they were when the worker read them
// are left out at once: the worker may be busy with another list for a long time.
func (d *daemon) setDouble(l []policy.Double) {
	d.double = l
	var wanted []policy.Double
	for _, x := range l {
		if slices.ContainsFunc(d.conf.Lists, func(c blocklist.List) bool { return reflect.DeepEqual(c, x.List) }) {
			wanted = append(wanted, x)
		}
	}
	d.eng.SetDouble(wanted)
}

// loadDouble reads the lists with mode double, and passes them on.
func (w *blockWorker) loadDouble(now time.Time) {
	var l []policy.Double
	for i := range w.want.lists {
		conf := &w.want.lists[i]
		h := w.held[conf.Name]
		if conf.Mode != blocklist.ModeDouble {
			h.set, h.setVersion = nil, ""
			continue
		}
		w.readDouble(h, now)
		if h.set != nil {
			l = append(l, policy.Double{List: *conf, Set: h.set})
		}
	}
	select {
	case <-w.double:
	default:
	}
	w.double <- l
}

func (w *blockWorker) readDouble(h *blockHeld, now time.Time) {
	version := ""
	if h.file != nil {
		version = versionOf(h.file, h.conf)
	}
	if version == h.setVersion && h.set != nil {
		return
	}
	before := h.rejected
	set, err := w.store.Set(h.conf)
	h.rejected, h.allowed = "", 0
	switch {
	case errors.Is(err, fs.ErrNotExist): // not fetched yet
		h.set, h.entries = nil, 0
	case err != nil:
		if errors.Is(err, published.ErrOther) {
			h.set = nil
		}
		if h.entries = h.set.Len(); err.Error() != before {
			w.noteRejected(h.conf.Name, err.Error(), published.Keeping(h.entries))
		}
		h.rejected = err.Error()
	default:
		h.set, h.setVersion, h.entries, h.loaded = set, version, set.Len(), now
		w.noteLoaded(h)
	}
}
