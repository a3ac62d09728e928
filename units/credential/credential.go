// Package credential reads secrets that systemd passes to a unit (systemd.exec(5), LoadCredential=): single ones, and the files of a
// folder that the unit passes with the id bailiff, or bailiff-key for encrypted files. Start reading at Folder.
package credential

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxSecret is the largest size of a credential, in bytes.
const maxSecret = 64 << 10

// Folder is a folder of credentials that a unit passes.
type Folder struct {
	Path string // for errors: where a missing one is written to
	Then string // and what has to be done after that
}

// Read reads a credential: NAME, or the file NAME of the folder. Errors contain nothing of it.
func (f Folder) Read(name string) ([]byte, error) {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return nil, fmt.Errorf("credential %s: systemd passed no credentials (LoadCredential= in the unit)", name)
	}
	if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return nil, fmt.Errorf("credential %q: not a name", name)
	}
	short := strings.TrimPrefix(name, "bailiff_")
	for _, file := range []string{name, "bailiff_" + short, "bailiff-key_" + short} {
		b, err := read(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("credential %s: %w", name, err)
		}
		return b, nil
	}
	return nil, fmt.Errorf("credential %s: missing: write it to %s/%s and %s", name, f.Path, short, f.Then)
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case st.Mode()&0o007 != 0: // systemd's access list shows in the group's mode
		return nil, fmt.Errorf("readable by everybody (mode %04o)", st.Mode().Perm())
	case st.Size() > maxSecret:
		return nil, fmt.Errorf("has %d bytes, more than %d", st.Size(), maxSecret)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret))
	if err != nil {
		return nil, err
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if len(b) == 0 {
		return nil, errors.New("is empty")
	}
	return b, nil
}
