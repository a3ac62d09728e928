package published

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/diag"
)

// Watch holds the lists that are in use and notices changes on disk. It compares file times only when asked, at a cost of a
// microsecond per list and without wake-ups of its own. It is not safe for concurrent use.
type Watch struct {
	store Store
	lists map[string]*list
}

// list is a list in use.
type list struct {
	conf            allow.Published
	file, stateFile os.FileInfo // as read last; nil: there was none
	unread          bool        // reading it failed: it is tried each time, since nothing in file changes with its mode or its disk
	entries         []allow.Entry
	state           State
	rejected        string // why the file on disk is not used
}

// Note is something that happened to a list.
type Note struct {
	Name    string
	Text    string
	Refused bool // a new version was rejected; else one is in use
}

// NewWatch returns a Watch without any lists.
func NewWatch(s Store) *Watch { return &Watch{s, make(map[string]*list)} }

// Update reads lists that have changed on disk and forgets those that are not configured any more. changed means that Entries
// returns something else now.
func (w *Watch) Update(lists []allow.Published) (notes []Note, changed bool) {
	named := make(map[string]bool, len(lists))
	for i := range lists {
		p := &lists[i]
		named[p.Name] = true
		h := w.lists[p.Name]
		if h == nil {
			h = &list{}
			w.lists[p.Name] = h
		}
		other := h.conf.MinPrefix4 != p.MinPrefix4 || h.conf.MinPrefix6 != p.MinPrefix6
		h.conf = *p
		if st, same := Unchanged(w.store.File(p.Name), h.file); !same || other || h.unread {
			h.file = st
			n, ok := h.read(w.store)
			changed = changed || ok
			if n.Text != "" {
				notes = append(notes, n)
			}
		}
		if st, same := Unchanged(w.store.StateFile(p.Name), h.stateFile); !same {
			h.stateFile = st
			before := h.state.Refused
			h.state = w.store.ReadState(p.Name)
			if h.state.Refused != "" && h.state.Refused != before {
				notes = append(notes, Note{p.Name, fmt.Sprintf("allow list %s: new version rejected: %s; %s", p.Name, h.state.Refused, h.keeping()), true})
			}
		}
	}
	for name, h := range w.lists {
		if !named[name] {
			delete(w.lists, name)
			changed = changed || len(h.entries) > 0
		}
	}
	return notes, changed
}

// Unchanged reports whether a file is still the one that was read.
func Unchanged(name string, was os.FileInfo) (os.FileInfo, bool) {
	st, err := os.Lstat(name)
	if err != nil {
		return nil, was == nil
	}
	return st, was != nil && os.SameFile(st, was) && st.Size() == was.Size() && st.ModTime().Equal(was.ModTime())
}

func (h *list) read(s Store) (n Note, changed bool) {
	n.Name = h.conf.Name
	entries, err := s.Read(&h.conf)
	var unread *fs.PathError
	before := h.unread
	h.unread = errors.As(err, &unread) && !errors.Is(err, fs.ErrNotExist)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// It was removed on purpose: a list that cannot be fetched stays.
		h.rejected, changed, h.entries = "", len(h.entries) > 0, nil
		if changed {
			n.Text = fmt.Sprintf("allow list %s: %s is gone", n.Name, s.File(n.Name))
		}
	case h.unread && before && h.rejected == err.Error(): // reported before
	case err != nil:
		h.rejected = err.Error()
		n.Text, n.Refused = fmt.Sprintf("allow list %s: not used: %s; %s", n.Name, plain(h.rejected), h.keeping()), true
	default:
		h.rejected, h.entries, changed = "", entries, true
		n.Text = fmt.Sprintf("allow list %s: %s", n.Name, diag.Count(allow.Distinct(entries), "entry"))
	}
	return n, changed
}

// keeping says what is used instead of a rejected list.
func (h *list) keeping() string { return Keeping(allow.Distinct(h.entries)) }

// Entries returns the entries of all lists in use.
func (w *Watch) Entries() (all []allow.Entry) {
	for _, h := range w.lists {
		all = append(all, h.entries...)
	}
	return all
}

// Files returns the lists by file name, which is the origin of their entries.
func (w *Watch) Files() map[string]allow.Published {
	m := make(map[string]allow.Published, len(w.lists))
	for _, h := range w.lists {
		m[w.store.File(h.conf.Name)] = h.conf
	}
	return m
}

// List is a list as status shows it.
type List struct {
	Name    string
	Entries int // in use
	State
}

// Status returns the given lists, in that order.
func (w *Watch) Status(lists []allow.Published) []List {
	l := make([]List, 0, len(lists))
	for _, p := range lists {
		if h := w.lists[p.Name]; h != nil {
			l = append(l, List{p.Name, allow.Distinct(h.entries), h.state})
		}
	}
	return l
}

// Problems returns what an operator should know about the given lists, in that order.
func (w *Watch) Problems(lists []allow.Published, now time.Time) (l []string) {
	for i := range lists {
		h := w.lists[lists[i].Name]
		if h == nil {
			continue
		}
		text := Problem(&lists[i], h.state, h.file != nil, h.rejected, h.keeping(), "bailiff-allow-refresh.timer", now)
		if text != "" {
			l = append(l, "allow list "+lists[i].Name+": "+text)
		}
	}
	return l
}

// Problem says what an operator should know about a list; "" when all is well. have: it is on disk; rejected: why what is on disk is
// not used; keeping: what is used instead; timer: the unit that fetches it.
func Problem(p *allow.Published, st State, have bool, rejected, keeping, timer string, now time.Time) string {
	hint := "systemctl enable --now " + timer
	// A source may be unreachable for three rounds before that is a problem. The timer itself may be disabled.
	late := 3*p.Interval + 3*time.Hour
	switch {
	case rejected != "":
		return "not used: " + plain(rejected) + "; " + keeping
	case st.Refused != "":
		return "new version rejected: " + st.Refused + "; " + keeping
	case st.Failed != "" && now.Sub(st.Good) > late:
		return "cannot be fetched: " + st.Failed + "; " + keeping
	case st.Checked.IsZero() && !have:
		return "never fetched: " + hint
	case st.Failed != "" && !have:
		return "cannot be fetched: " + st.Failed
	case !st.Checked.IsZero() && now.Sub(st.Checked) > late:
		return "not checked since " + st.Checked.UTC().Format(time.RFC3339) + ": " + hint
	}
	return ""
}

// Keeping says what is used instead of a list that was rejected.
func Keeping(entries int) string {
	if entries == 0 {
		return "there is no previous list"
	}
	return fmt.Sprintf("keeping the previous list (%s)", diag.Count(entries, "entry"))
}
