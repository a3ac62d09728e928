// Package allowlists keeps published address lists in a folder. `bailiff allow refresh`, which has the network, writes there;
// the daemon and `bailiff replay` read. The daemon believes a list no more than the configuration says: it checks each
// again, so who takes over the process that fetches can allow nothing wider than what is configured.
//
// NAME.list is an address list as any other (allow.ParseFile), with comments that say where it comes from. NAME.json says
// how the last look at the source went. Each is put in place whole, by renaming.
//
// Start reading at Store; Watch is the daemon's view of it.
package allowlists

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/diag"
	"bailiff/units/atomicfile"
)

// DefaultDir is the state folder of bailiff-allow-refresh.service.
const DefaultDir = "/var/lib/bailiff-allow"

// Store is a folder of lists.
type Store struct{ Dir string }

// State is how the last look at a list's source went. Texts are for people.
type State struct {
	Checked time.Time `json:"checked"` // when the source was asked last, whatever the answer
	Good    time.Time `json:"good"`    // when it last said what is in force: sent it, or said that it has not changed
	Fetched time.Time `json:"fetched"` // when the list in force came
	Count   int       `json:"count"`   // distinct entries of that
	Refused string    `json:"refused"` // why the last list was refused; "" when it was taken
	Failed  string    `json:"failed"`  // why the source could not be asked; "" when it could
	Sources []Source  `json:"sources"`
}

// Source is what one URL said of itself, for asking whether it has changed.
type Source struct {
	URL      string `json:"url"`
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"`
}

const (
	maxState = 64 << 10 // bytes
	maxText  = 500      // bytes of a text in it
	fileMode = 0o644    // the daemon, another user, reads the files; nothing in them is secret
)

// File is where a list lies.
func (s Store) File(name string) string { return filepath.Join(s.Dir, name+".list") }

func (s Store) state(name string) string { return filepath.Join(s.Dir, name+".json") }

// Read returns a list that may be believed. A missing one is fs.ErrNotExist.
func (s Store) Read(p *allow.Published) ([]allow.Entry, error) {
	data, err := read(s.File(p.Name), allow.MaxFileSize)
	if err != nil {
		return nil, err
	}
	entries, err := allow.ParseFile(s.File(p.Name), bytes.NewReader(data))
	if err != nil {
		return nil, diag.Errors(err)[0] // the others are of the same cut
	}
	if err := p.Check(entries); err != nil {
		return nil, fmt.Errorf("%s: %w", s.File(p.Name), err)
	}
	return entries, nil
}

// ReadAll returns what may be believed of several lists, passing over those that are missing, and errors for the others.
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

// ReadState returns what is known of a list's source; a missing or damaged file is an empty State.
func (s Store) ReadState(name string) State {
	data, err := read(s.state(name), maxState)
	var st State
	if err != nil || json.Unmarshal(data, &st) != nil {
		return State{}
	}
	st.Refused, st.Failed = plain(st.Refused), plain(st.Failed)
	return st
}

// plain cuts a text, and takes away what could forge another line.
func plain(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// read reads a regular file of at most that many bytes, never through a link, and never waiting for a pipe.
func read(name string, most int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s: has more than %d bytes", name, most)
	}
	return data, err
}

// Write puts a list in place, and then what is known of its source.
func (s Store) Write(p *allow.Published, entries []allow.Entry, st State) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# bailiff allow refresh wrote this list, and writes it anew; changes are lost.\n# list: %s\n", p.Name)
	for _, u := range p.URLs {
		fmt.Fprintf(&b, "# from: %s\n", plain(u))
	}
	fmt.Fprintf(&b, "# fetched: %s\n# entries: %d\n", st.Fetched.UTC().Format(time.RFC3339), st.Count)
	for _, e := range entries {
		b.WriteString(e.String())
		if e.Comment != "" {
			b.WriteString(" # " + plain(e.Comment))
		}
		b.WriteByte('\n')
	}
	if err := atomicfile.Write(s.File(p.Name), b.Bytes(), fileMode); err != nil {
		return err
	}
	return s.WriteState(p.Name, st)
}

// WriteState puts down what is known of a list's source.
func (s Store) WriteState(name string, st State) error {
	st.Refused, st.Failed = plain(st.Refused), plain(st.Failed)
	data, err := json.Marshal(st)
	if err != nil {
		return err
	}
	return atomicfile.Write(s.state(name), append(data, '\n'), fileMode)
}
