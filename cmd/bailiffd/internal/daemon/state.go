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

// stateName is the daemon's one file: bans in effect, history, pardons, addresses allowed at run time, how far the journal was read,
// and what is counted up to there (units/doc/state-file.md).
const stateName = "state"

// stateMode lets the group bailiff read the file.
const stateMode = 0o640

// maxState bounds the size of a file that is read, so that a wrong one does not fill the memory. 100,000 bans take 3 MB.
const maxState = 1 << 30

// savedState is what the state folder contained at the start.
type savedState struct {
	state   *state.State // empty if missing or damaged
	at      time.Time    // when it was written
	missing bool
	damaged error // why the file cannot be read
}

// lost reports whether the state has to be rebuilt.
func (s *savedState) lost() bool { return s.missing || s.damaged != nil }

// loadState reads the state file. It changes nothing: a damaged file is renamed once the rebuilt state is saved.
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
		s.damaged = fmt.Errorf("%s: %d bytes, more than %d", path, st.Size(), maxState)
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

// keepDamaged is how many damaged state files are kept.
const keepDamaged = 5

// replaceDamaged saves a rebuilt state and keeps the damaged file under a name with the time in it. The damaged file gets its second
// name when the new state is on disk, so a crash in between loses neither; the next start rebuilds again.
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
		return "", fmt.Errorf("keep the damaged state file: %w", err)
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
			return name, nil // an earlier start was killed in the middle
		}
	}
	aside = path + ".damaged-" + now.UTC().Format("20060102T150405.000000Z")
	if err := os.Link(path, aside); err != nil {
		// A file system without hard links. If the daemon is killed before the new file is in place, the next start finds none,
		// and rebuilds it as well.
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
