package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"bailiff/policy"
	"bailiff/policy/blocklist"
	"bailiff/units/published"
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
		return nil // loading it says so, and keeps the former version
	}
	defer b.Close()
	if !isSource(h.conf) || !c.ssh {
		return nil
	}
	if now := fmt.Sprint(versionOf(h.file, h.conf), w.want.operators); !h.barred.IsValid() && now != h.checked {
		inside := overlaps(w.want.operators)
		_ = b.Each(func(p netip.Prefix) error { // one that is not in order is not loaded
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

// loadDouble reads the lists whose addresses fail double, and passes them on.
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
			l = append(l, policy.Double{Jails: conf.Jails, Set: h.set})
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
