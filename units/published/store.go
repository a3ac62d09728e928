// Package published keeps address lists that others publish, in a folder for each kind: allow lists, and block lists. Commands that
// may use the network write them (`bailiff allow refresh`, `bailiff lists refresh`); the daemon and `bailiff replay` read them. A reader
// checks each list against the configuration again, so an attacker who controls the process that fetches lists cannot allow or block
// wider prefixes than are configured. The package never fetches anything.
//
// NAME.list is an address list with comments about its origin. NAME.json is the result of the last fetch. Each file is replaced as a
// whole.
//
// Start reading at Store; Watch is the daemon's view of allow lists, Block reads a block list piece by piece.
package published

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/blocklist"
	"bailiff/policy/diag"
	"bailiff/units/atomicfile"

	"golang.org/x/sys/unix"
)

// The state folders of bailiff-allow-refresh.service and bailiff-lists-refresh.service.
const (
	AllowDir = "/var/lib/bailiff-allow"
	BlockDir = "/var/lib/bailiff-lists"
)

// Store is a folder of lists.
type Store struct{ Dir string }

// State is the result of the last fetch of a list. Texts are for people.
type State struct {
	Checked time.Time `json:"checked"`            // when the source was last asked, whatever the result
	Good    time.Time `json:"good"`               // when it last confirmed the list in use: sent it, or said that it has not changed
	Fetched time.Time `json:"fetched"`            // when the list in use was fetched
	Count   int       `json:"count"`              // distinct entries in it
	LeftOut int       `json:"left_out,omitempty"` // entries left out of a block list: private addresses
	Named   int       `json:"named,omitempty"`    // networks in a database for what the list names
	Refused string    `json:"refused"`            // why the last version was rejected; "" if it was accepted
	Failed  string    `json:"failed"`             // why the source could not be asked; "" if it could
	Sources []Source  `json:"sources"`
}

// Source holds what a URL returned for asking it later whether the list has changed.
type Source struct {
	URL      string `json:"url"`
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"`
}

const (
	maxState = 64 << 10 // bytes
	maxText  = 500      // bytes of a text in a State
	fileMode = 0o644    // the daemon, another user, reads the files; nothing in them is secret
)

// File is the path of a list.
func (s Store) File(name string) string { return filepath.Join(s.Dir, name+".list") }

// StateFile is the path of the result of a list's last fetch.
func (s Store) StateFile(name string) string { return filepath.Join(s.Dir, name+".json") }

// Read returns a list that meets the configuration. The error for a missing one is fs.ErrNotExist.
func (s Store) Read(p *allow.Published) ([]allow.Entry, error) {
	data, err := atomicfile.Read(s.File(p.Name), allow.MaxFileSize, unix.O_NOFOLLOW) // another user may write to the folder
	if err != nil {
		return nil, err
	}
	entries, err := allow.ParseFile(s.File(p.Name), bytes.NewReader(data))
	if err != nil {
		return nil, diag.Errors(err)[0] // the first of many suffices
	}
	if err := p.Check(entries); err != nil {
		return nil, fmt.Errorf("%s: %w", s.File(p.Name), err)
	}
	return entries, nil
}

// ReadAll returns the entries of several lists, without those that are missing, and the errors of the others.
func (s Store) ReadAll(ps []allow.Published) (all []allow.Entry, err error) {
	var errs []error
	for i := range ps {
		entries, err := s.Read(&ps[i])
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		all = append(all, entries...)
	}
	return all, errors.Join(errs...)
}

// ReadState returns the result of the last fetch; the zero State if the file is missing or damaged.
func (s Store) ReadState(name string) State {
	data, err := atomicfile.Read(s.StateFile(name), maxState, unix.O_NOFOLLOW)
	var st State
	if err != nil || json.Unmarshal(data, &st) != nil {
		return State{}
	}
	st.Refused, st.Failed = plain(st.Refused), plain(st.Failed)
	return st
}

// plain shortens a text and replaces characters that could forge another line.
func plain(s string) string { return diag.Line(s, maxText) }

// Write replaces an allow list, and then the result of its fetch.
func (s Store) Write(p *allow.Published, entries []allow.Entry, st State) error {
	return s.write(p, "allow", st, func(b *bytes.Buffer) {
		for _, e := range entries {
			b.WriteString(e.String())
			if e.Comment != "" {
				b.WriteString(" # " + plain(e.Comment))
			}
			b.WriteByte('\n')
		}
	})
}

// WriteBlock replaces a block list, and then the result of its fetch. The prefixes must be as prefix.Compact returns them.
func (s Store) WriteBlock(l *blocklist.List, prefixes []netip.Prefix, st State) error {
	return s.write(&l.Published, "lists", st, func(b *bytes.Buffer) {
		if text := l.Selects(); text != "" {
			b.WriteString(selects + text + "\n")
		}
		for _, x := range prefixes {
			b.Write(append(x.AppendTo(b.AvailableBuffer()), '\n'))
		}
	})
}

// write replaces the file of a list that a command fetches, and then the result of the fetch.
func (s Store) write(p *allow.Published, command string, st State, entries func(*bytes.Buffer)) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Written by bailiff %s refresh. Changes will be overwritten.\n# list: %s\n", command, p.Name)
	for _, u := range p.URLs {
		fmt.Fprintf(&b, "# from: %s\n", plain(u))
	}
	fmt.Fprintf(&b, "# fetched: %s\n# entries: %d\n", st.Fetched.UTC().Format(time.RFC3339), st.Count)
	entries(&b)
	if err := atomicfile.Write(s.File(p.Name), b.Bytes(), fileMode); err != nil {
		return err
	}
	return s.WriteState(p.Name, st)
}

// WriteState replaces the result of a list's last fetch.
func (s Store) WriteState(name string, st State) error {
	st.Refused, st.Failed = plain(st.Refused), plain(st.Failed)
	data, err := json.Marshal(st)
	if err != nil {
		return err
	}
	return atomicfile.Write(s.StateFile(name), append(data, '\n'), fileMode)
}
