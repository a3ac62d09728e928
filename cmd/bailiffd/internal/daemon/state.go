package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"bailiff/policy/state"
	"bailiff/units/atomicfile"
)

// stateName is the one file that the daemon keeps: bans in force, history, pardons, and how far the journal was read.
const stateName = "state"

// stateMode lets the group bailiff read it, for backups.
const stateMode = 0o640

// maxState bounds what is read of it. 100,000 bans are 3 MB; the bound keeps a wrong file from filling the memory.
const maxState = 1 << 30

// savedState is what the state folder held at start.
type savedState struct {
	state   *state.State // empty where missing or damaged
	at      time.Time    // when it was written
	missing bool
	damaged error // why the file cannot be read
}

// lost says that the state is to be rebuilt.
func (s *savedState) lost() bool { return s.missing || s.damaged != nil }

// loadState reads the state file. It changes nothing: a damaged file is set aside once the rebuilt state is saved.
func loadState(dir string) (s savedState, err error) {
	path := filepath.Join(dir, stateName)
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return savedState{state: state.New(), missing: true}, nil
	}
	if err != nil {
		return s, err
	}
	s.at = st.ModTime()
	var data []byte
	if st.Size() > maxState {
		s.damaged = fmt.Errorf("%s: has %d bytes, more than %d", path, st.Size(), maxState)
	} else if data, err = os.ReadFile(path); err != nil {
		return s, err
	} else if s.state, err = state.Decode(data); err != nil {
		s.damaged = fmt.Errorf("%s: %w", path, err)
	}
	if s.damaged != nil {
		s.state = state.New()
	}
	return s, nil
}

// saveState replaces the state file.
func saveState(dir string, snapshot []byte) error {
	return atomicfile.Write(filepath.Join(dir, stateName), snapshot, stateMode)
}

// keepDamaged is how many damaged state files are kept: the newest.
const keepDamaged = 5

// replaceDamaged saves a rebuilt state and keeps the damaged file under a name with the time in it. The damaged file gets
// its second name only when the new state is on disk, so a crash in between loses neither; the next start rebuilds again.
func replaceDamaged(dir string, snapshot []byte, now time.Time) (aside string, err error) {
	f, err := atomicfile.Create(filepath.Join(dir, stateName), stateMode)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.Write(snapshot); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	if aside, err = setAside(dir, now); err != nil {
		return "", fmt.Errorf("set the damaged state file aside: %w", err)
	}
	return aside, f.Commit()
}

func setAside(dir string, now time.Time) (aside string, err error) {
	path := filepath.Join(dir, stateName)
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	old, _ := filepath.Glob(path + ".damaged-*")
	for _, name := range old {
		if o, err := os.Stat(name); err == nil && os.SameFile(o, st) {
			return name, nil // a start before this one was killed in the middle
		}
	}
	aside = path + ".damaged-" + now.UTC().Format("20060102T150405.000000Z")
	if err := os.Link(path, aside); err != nil {
		// A file system without hard links. Killed before the new one is in place, the next start finds no state file, and
		// rebuilds it as well.
		if err := os.Rename(path, aside); err != nil {
			return "", err
		}
	}
	slices.Sort(old)
	for i := 0; i+keepDamaged <= len(old); i++ {
		os.Remove(old[i])
	}
	return aside, nil
}
