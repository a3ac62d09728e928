package allowlists

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"bailiff/policy/allow"
)

// Watch holds the lists that the daemon believes, and notices when others take their place: it looks at the files' times
// whenever it is asked to, which costs a microsecond each and, on the daemon's own tick, no wake-up. One goroutine uses it.
type Watch struct {
	store Store
	held  map[string]*held
}

// held is a list as it is believed.
type held struct {
	conf        allow.Published
	list, state os.FileInfo // as read last; nil: there was none
	entries     []allow.Entry
	is          State
	bad         string // why what lies there is not believed
}

// Note is something that happened to a list.
type Note struct {
	Name    string
	Text    string
	Refused bool // a new list is not believed; else one is
}

// NewWatch makes a Watch that holds nothing yet.
func NewWatch(s Store) *Watch { return &Watch{s, make(map[string]*held)} }

// Look compares what lies in the folder with what is held. changed says that Entries are others now.
func (w *Watch) Look(lists []allow.Published) (notes []Note, changed bool) {
	named := make(map[string]bool, len(lists))
	for i := range lists {
		p := &lists[i]
		named[p.Name] = true
		h := w.held[p.Name]
		if h == nil {
			h = &held{}
			w.held[p.Name] = h
		}
		other := h.conf.MinPrefix4 != p.MinPrefix4 || h.conf.MinPrefix6 != p.MinPrefix6
		h.conf = *p
		if st, same := look(w.store.File(p.Name), h.list); !same || other {
			h.list = st
			n, ok := h.read(w.store)
			changed = changed || ok
			if n.Text != "" {
				notes = append(notes, n)
			}
		}
		if st, same := look(w.store.state(p.Name), h.state); !same {
			h.state = st
			before := h.is.Refused
			h.is = w.store.ReadState(p.Name)
			if h.is.Refused != "" && h.is.Refused != before {
				notes = append(notes, Note{p.Name, fmt.Sprintf("allow list %s: a new one was refused: %s; %s", p.Name, h.is.Refused, h.stays()), true})
			}
		}
	}
	for name, h := range w.held {
		if !named[name] {
			delete(w.held, name)
			changed = changed || len(h.entries) > 0
		}
	}
	return notes, changed
}

// look tells whether a file is still the one that was read.
func look(name string, was os.FileInfo) (os.FileInfo, bool) {
	st, err := os.Lstat(name)
	if err != nil {
		return nil, was == nil
	}
	return st, was != nil && os.SameFile(st, was) && st.Size() == was.Size() && st.ModTime().Equal(was.ModTime())
}

func (h *held) read(s Store) (n Note, changed bool) {
	n.Name = h.conf.Name
	entries, err := s.Read(&h.conf)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Whoever took it away wants it gone. (A list that could not be fetched stays.)
		h.bad, changed, h.entries = "", len(h.entries) > 0, nil
		if changed {
			n.Text = fmt.Sprintf("allow list %s: %s is gone", n.Name, s.File(n.Name))
		}
	case err != nil:
		h.bad = err.Error()
		n.Text, n.Refused = fmt.Sprintf("allow list %s: not believed: %s; %s", n.Name, plain(h.bad), h.stays()), true
	default:
		h.bad, h.entries, changed = "", entries, true
		n.Text = fmt.Sprintf("allow list %s: %s", n.Name, allow.Count(allow.Distinct(entries)))
	}
	return n, changed
}

// stays says what is believed instead.
func (h *held) stays() string {
	if len(h.entries) == 0 {
		return "there is none before it"
	}
	return fmt.Sprintf("the one before stays (%s)", allow.Count(allow.Distinct(h.entries)))
}

// Entries returns what all lists allow.
func (w *Watch) Entries() (all []allow.Entry) {
	for _, h := range w.held {
		all = append(all, h.entries...)
	}
	return all
}

// Files returns the lists by the files that hold them, which are the origins of their entries.
func (w *Watch) Files() map[string]allow.Published {
	m := make(map[string]allow.Published, len(w.held))
	for _, h := range w.held {
		m[w.store.File(h.conf.Name)] = h.conf
	}
	return m
}

// List is a list as status shows it.
type List struct {
	Name    string
	Entries int // that are believed
	State
}

// Status returns the lists in their order.
func (w *Watch) Status(lists []allow.Published) []List {
	l := make([]List, 0, len(lists))
	for _, p := range lists {
		if h := w.held[p.Name]; h != nil {
			l = append(l, List{p.Name, allow.Distinct(h.entries), h.is})
		}
	}
	return l
}

const hintTimer = "systemctl enable --now bailiff-allow-refresh.timer"

// Problems tells what an operator should know of the lists, in their order.
func (w *Watch) Problems(lists []allow.Published, now time.Time) (l []string) {
	for _, p := range lists {
		h := w.held[p.Name]
		if h == nil {
			continue
		}
		// A source may be away for some rounds before anybody need look at it; the timer itself may be off.
		late := 3*p.Interval + 3*time.Hour
		text := ""
		switch {
		case h.bad != "":
			text = "is not believed: " + plain(h.bad) + "; " + h.stays()
		case h.is.Refused != "":
			text = "a new one was refused: " + h.is.Refused + "; " + h.stays()
		case h.is.Failed != "" && now.Sub(h.is.Good) > late:
			text = "cannot be fetched: " + h.is.Failed + "; " + h.stays()
		case h.is.Checked.IsZero() && h.list == nil:
			text = "was never fetched: " + hintTimer
		case h.is.Failed != "" && h.list == nil:
			text = "cannot be fetched: " + h.is.Failed
		case !h.is.Checked.IsZero() && now.Sub(h.is.Checked) > late:
			text = "was not looked at since " + h.is.Checked.UTC().Format(time.RFC3339) + ": " + hintTimer
		}
		if text != "" {
			l = append(l, "allow list "+p.Name+": "+text)
		}
	}
	return l
}
