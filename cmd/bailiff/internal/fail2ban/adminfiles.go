package fail2ban

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
)

// adminFile reports whether a file was written by the administrator, not shipped with fail2ban.
func (im *importer) adminFile(file string) bool {
	rel, err := filepath.Rel(im.root, file)
	if err != nil || strings.HasPrefix(rel, "..") || strings.HasSuffix(rel, ".local") {
		return true
	}
	dir, base := filepath.Split(rel)
	switch dir {
	case "":
		return base != "jail.conf" && base != "fail2ban.conf" && !strings.HasPrefix(base, "paths-")
	case "jail.d/":
		return base != "defaults-debian.conf" && base != "00-firewalld.conf" && base != "00-systemd.conf"
	case "filter.d/":
		return !slices.Contains(stock, strings.TrimSuffix(base, ".conf")) || im.lacksSignature(file, base)
	case "action.d/":
		kind, _ := classify(strings.TrimSuffix(base, ".conf"))
		return kind == actionOther && !strings.HasSuffix(base, "-common.conf")
	}
	return true
}

// lacksSignature reports whether a filter that has the name of a shipped one never mentions fail2ban, as nearly all shipped
// ones do. Administrators wrote filters such as vaultwarden and traefik-auth long before fail2ban shipped them.
func (im *importer) lacksSignature(file, base string) bool {
	if slices.Contains([]string{"apache-common.conf", "botsearch-common.conf", "common.conf", "slapd.conf", "squirrelmail.conf"}, base) {
		return false
	}
	own, ok := im.signed[file]
	if !ok {
		data, err := os.ReadFile(file)
		own = err == nil && !bytes.Contains(bytes.ToLower(data), []byte("fail2ban"))
		im.signed[file] = own
	}
	return own
}

// editedFiles returns the configuration files of a Debian package that differ from the package's, according to dpkg's
// database (dpkg-query(1), Conffiles). It is nil without that database.
func editedFiles(status, pkg string) map[string]bool {
	f, err := os.Open(status)
	if err != nil {
		return nil
	}
	defer f.Close()
	edited := make(map[string]bool)
	in, files := false, false
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, ini.MaxFile)
	for sc.Scan() {
		line := sc.Text()
		switch {
		case strings.HasPrefix(line, "Package: "):
			in, files = line == "Package: "+pkg, false
		case !strings.HasPrefix(line, " "):
			files = in && line == "Conffiles:"
		case files:
			w := strings.Fields(line)
			if len(w) < 2 {
				continue
			}
			if data, err := os.ReadFile(w[0]); err == nil && fmt.Sprintf("%x", md5.Sum(data)) != w[1] {
				edited[w[0]] = true
			}
		}
	}
	return edited
}
