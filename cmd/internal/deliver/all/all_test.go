package all

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Names are those that systemd gives to the files of folders, and to credentials of their own.
func TestSecret(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	for name, text := range map[string]string{"bailiff_blocklist.de": "plain\n", "bailiff-key_webhook": "encrypted\r\n", "own": "own", "bailiff_own2": "own2", "bailiff_empty": "\n", "bailiff_both": "first", "bailiff-key_both": "second"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"bailiff_blocklist.de": "plain", "bailiff_webhook": "encrypted", "own": "own", "own2": "own2", "bailiff_both": "first"} {
		if b, err := Secret(name); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if _, err := Secret("bailiff_abuseipdb"); err == nil || !strings.Contains(err.Error(), "put it into /etc/bailiff/credentials/abuseipdb and") {
		t.Error(err)
	}
	for _, bad := range []string{"", "..", "../own", "bailiff_empty", "/etc/passwd"} {
		if b, err := Secret(bad); err == nil {
			t.Errorf("%s: %q", bad, b)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "own"), 0o404); err != nil {
		t.Fatal(err)
	}
	if _, err := Secret("own"); err == nil || !strings.Contains(err.Error(), "everybody can read it") {
		t.Error(err)
	}
}
