package credential

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Names are those that systemd gives to the files of folders, and to credentials of their own.
func TestRead(t *testing.T) {
	dir, folder := t.TempDir(), Folder{Path: "/etc/bailiff/credentials", Then: "restart it"}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	for name, text := range map[string]string{"bailiff_blocklist.de": "plain\n", "bailiff-key_webhook": "encrypted\r\n", "own": "own", "bailiff_own2": "own2", "bailiff_empty": "\n", "bailiff_both": "first", "bailiff-key_both": "second"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"bailiff_blocklist.de": "plain", "bailiff_webhook": "encrypted", "own": "own", "own2": "own2", "bailiff_both": "first"} {
		if b, err := folder.Read(name); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if _, err := folder.Read("bailiff_abuseipdb"); err == nil || !strings.Contains(err.Error(), "write it to /etc/bailiff/credentials/abuseipdb and") {
		t.Error(err)
	}
	for _, bad := range []string{"", "..", "../own", "bailiff_empty", "/etc/passwd"} {
		if b, err := folder.Read(bad); err == nil {
			t.Errorf("%s: %q", bad, b)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "own"), 0o404); err != nil {
		t.Fatal(err)
	}
	if _, err := folder.Read("own"); err == nil || !strings.Contains(err.Error(), "readable by everybody") {
		t.Error(err)
	}
}
