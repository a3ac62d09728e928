package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"bailiff/policy/ledger"
)

// stateName is the one file that the daemon keeps: bans in force, history, pardons, and how far the journal was read.
const stateName = "ledger"

// maxState bounds what is read of it. 100,000 bans are 3 MB; the bound keeps a wrong file from filling the memory.
const maxState = 1 << 30

// savedState is what the state folder held at start.
type savedState struct {
	ledger  *ledger.Ledger
	fresh   bool   // there was none, or it was damaged
	aside   string // where a damaged one is now
	damaged error  // why it could not be read
}

// loadState reads the ledger. A missing file is a new, empty ledger. A damaged one is set aside under a name with the time
// in it, so that nothing is lost; the caller rebuilds from the audit trail.
func loadState(dir string, now time.Time) (s savedState, err error) {
	path := filepath.Join(dir, stateName)
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return savedState{ledger: ledger.New(), fresh: true}, nil
	}
	if err != nil {
		return s, err
	}
	var data []byte
	if st.Size() > maxState {
		s.damaged = fmt.Errorf("%s: has %d bytes, more than %d", path, st.Size(), maxState)
	} else if data, err = os.ReadFile(path); err != nil {
		return s, err
	} else if s.ledger, err = ledger.Decode(data); err == nil {
		return s, nil
	} else {
		s.damaged = fmt.Errorf("%s: %w", path, err)
	}
	aside := path + ".damaged-" + now.UTC().Format("20060102T150405Z")
	for i := 2; ; i++ {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		}
		aside = fmt.Sprintf("%s.damaged-%s-%d", path, now.UTC().Format("20060102T150405Z"), i)
	}
	if err := os.Rename(path, aside); err != nil {
		return s, fmt.Errorf("set the damaged ledger aside: %w", err)
	}
	s.ledger, s.fresh, s.aside = ledger.New(), true, aside
	return s, nil
}

// saveState puts a snapshot in place so that after a crash at any moment either the old or the new one is there, whole:
// temporary file, fsync, rename, fsync of the directory.
func saveState(dir string, snapshot []byte) error {
	path := filepath.Join(dir, stateName)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(snapshot)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
