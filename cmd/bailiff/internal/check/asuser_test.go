package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/units/configdir"
)

// TestReadAsDaemon: root can read every file; what counts is what the daemon can.
func TestReadAsDaemon(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can act as another user")
	}
	for _, c := range []struct {
		name   string
		mode   os.FileMode // of what stands there
		path   string
		broken string // what is said; "": all is well
	}{
		{"all is open", 0o644, "etc/bailiff/bailiff.d/10-mine.yaml", ""},
		{"a closed file", 0o600, "etc/bailiff/bailiff.d/10-mine.yaml", "bailiff.d/10-mine.yaml: cannot be read: permission denied|chmod 0644 "},
		{"a closed folder", 0o700, "etc/bailiff/bailiff.d", "bailiff.d: cannot be read: permission denied|chmod 0755 "},
		{"a closed main folder", 0o700, "etc/bailiff", "permission denied|chmod 0755 "},
		{"a closed list", 0o600, "etc/bailiff/allow.d/mine.list", "allow.d/mine.list: cannot be read: permission denied|chmod 0644 "},
		{"a closed folder of lists", 0o700, "etc/bailiff/allow.d", "allow.d: cannot be read: permission denied|chmod 0755 "},
		{"a closed filter", 0o600, "etc/bailiff/filters.d/mine.yaml", "filters.d/mine.yaml: cannot be read: permission denied|chmod 0644 "},
	} {
		root := t.TempDir()
		for dir := root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for name, text := range map[string]string{
			"bailiff.d/10-mine.yaml": "defaults: {max_retry: 4}\njails: {mine: {}}\n",
			"allow.d/mine.list":      "192.0.2.1\n",
			"filters.d/mine.yaml":    "name: mine\ntrust: {units: [mine.service], uid: 0}\npatterns: [{name: a, text: 'no <addr>'}]\ntests: [{line: 'no 192.0.2.1', address: 192.0.2.1}]\n",
		} {
			file := filepath.Join(root, "etc/bailiff", name)
			if err := settings.MakeFolder(filepath.Dir(file)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Join(root, c.path), c.mode); err != nil {
			t.Fatal(err)
		}
		conf, err := loadAs(&configdir.Loader{Root: root}, &fileUser{uid: 65534, gid: 65534, groups: []int{65534}})
		if (err == nil) != (c.broken == "") {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if err == nil {
			if len(conf.Allow.Entries) == 0 {
				t.Errorf("%s: the list was not read", c.name)
			}
			continue
		}
		text := ""
		for _, f := range settings.Faults(err) {
			text += f.File + ": " + f.Error + " " + f.Hint + "\n"
		}
		for _, want := range strings.Split(c.broken, "|") {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q does not say %q", c.name, text, want)
			}
		}
	}
}
