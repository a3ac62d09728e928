package firewalld

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Dir is where firewalld keeps its permanent configuration.
const Dir = "/etc/firewalld"

// Traces lists files of ours in firewalld's permanent configuration below dir: sets and the policy; and the .old copies that
// firewalld keeps of what was removed.
func Traces(dir string) (files, old []string, err error) {
	for _, pattern := range []string{"ipsets/bailiff4-*", "ipsets/bailiff6-*", "policies/" + policyName + ".xml*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, nil, err
		}
		for _, f := range found {
			data, err := os.ReadFile(f)
			switch {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				return nil, nil, err
			case !strings.Contains(string(data), mark):
			case strings.HasSuffix(f, ".xml.old"):
				old = append(old, f)
			case strings.HasSuffix(f, ".xml"):
				files = append(files, f)
			}
		}
	}
	return files, old, nil
}
