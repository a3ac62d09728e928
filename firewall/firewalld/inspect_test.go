package firewalld

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Our files below /etc/firewalld are recognized by name and mark; similarly named files of others are not ours.
func TestTraces(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"ipsets/bailiff4-0.xml":          "<ipset><description>bailiff: banned addresses</description></ipset>",
		"ipsets/bailiff6-sshd-1.xml.old": "<ipset><description>bailiff: banned addresses</description></ipset>",
		"ipsets/bailiff4-mine.xml":       "<ipset><description>mine</description></ipset>",
		"ipsets/other.xml":               "<ipset><description>bailiff: no</description></ipset>",
		"policies/bailiff.xml":           "<policy><description>bailiff: keeps</description></policy>",
		"policies/bailiff.xml.old":       "<policy><description>mine</description></policy>",
		"policies/bailiff.xml.rpmsave":   "<policy><description>bailiff: keeps</description></policy>",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, old, err := Traces(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{dir + "/ipsets/bailiff4-0.xml", dir + "/policies/bailiff.xml"}; !slices.Equal(files, want) {
		t.Errorf("files %q, want %q", files, want)
	}
	if want := []string{dir + "/ipsets/bailiff6-sshd-1.xml.old"}; !slices.Equal(old, want) {
		t.Errorf("copies %q, want %q", old, want)
	}
	if files, old, err := Traces(filepath.Join(dir, "none")); len(files)+len(old) > 0 || err != nil {
		t.Errorf("without firewalld: %q, %q, %v", files, old, err)
	}
}
