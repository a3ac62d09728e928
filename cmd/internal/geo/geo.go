// Package geo looks up the country and the autonomous system of addresses in databases on this host: MaxMind's GeoLite2 and
// GeoIP2, DB-IP's, IPinfo's, and others in that format (.mmdb). It uses no network. Start reading with Open; Networks is for lists that
// are made from a database.
package geo

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Folders are where distributions and geoipupdate put databases.
var Folders = []string{"/usr/share/GeoIP", "/var/lib/GeoIP"}

// maxKnown bounds the number of cached records; databases of cities have millions.
const maxKnown = 1 << 16

// DB is the databases that were found. Either may be missing.
type DB struct {
	country, system part
}

type part struct {
	file  string
	r     *maxminddb.Reader
	built uint
	cut   bool // the file has become shorter
	known map[uintptr]string
}

// Open searches files and folders, Folders if none is given, for the newest database of countries or cities, and of autonomous systems. It
// is no error if there is none. A file that cannot be read, or a given path that does not exist, is an error, but the DB can be used for
// the databases that were found.
func Open(paths ...string) (*DB, error) {
	d := &DB{}
	var errs []error
	given := len(paths) > 0
	if !given {
		paths = Folders
	}
	for _, p := range paths {
		st, err := os.Stat(p)
		if err != nil {
			if given || !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
			continue
		}
		files := []string{p}
		if st.IsDir() {
			if files, err = fs.Glob(os.DirFS(p), "*.mmdb"); err != nil {
				errs = append(errs, err)
			}
			for i := range files {
				files[i] = filepath.Join(p, files[i])
			}
		}
		for _, f := range files {
			if err := d.take(f); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", f, err))
			}
		}
	}
	return d, errors.Join(errs...)
}

// take uses a database if it is newer than the one in use.
func (d *DB) take(file string) error {
	r, err := maxminddb.Open(file)
	if err != nil {
		return err
	}
	var p *part
	switch t := strings.ToLower(r.Metadata.DatabaseType); {
	case strings.Contains(t, "country"), strings.Contains(t, "city"):
		p = &d.country
	case strings.Contains(t, "asn"), strings.Contains(t, "isp"):
		p = &d.system
	}
	if p == nil || p.r != nil && p.built >= r.Metadata.BuildEpoch {
		return r.Close()
	}
	if p.r != nil {
		p.r.Close()
	}
	*p = part{file: file, r: r, built: r.Metadata.BuildEpoch, known: make(map[uintptr]string)}
	return nil
}

// Close closes the databases.
func (d *DB) Close() {
	for _, p := range [2]*part{&d.country, &d.system} {
		if p.r != nil {
			p.r.Close()
		}
	}
}

// Files are the databases in use, of countries and of autonomous systems; empty if there is none.
func (d *DB) Files() (country, system string) { return d.country.file, d.system.file }

// Country is the ISO 3166 code of an address, such as "DE"; empty if it is unknown.
func (d *DB) Country(a netip.Addr) string {
	return d.country.find(a, func(r maxminddb.Result) string {
		x, _ := placeOf(r)
		return x.country
	})
}

// System is the autonomous system of an address with its name in the database, "AS64496 Example"; empty if it is unknown.
func (d *DB) System(a netip.Addr) string {
	return d.system.find(a, func(r maxminddb.Result) string {
		var rec struct {
			Number uint   `maxminddb:"autonomous_system_number"`
			Name   string `maxminddb:"autonomous_system_organization"`
		}
		if r.Decode(&rec) != nil || rec.Number == 0 {
			return ""
		}
		return strings.TrimSpace(fmt.Sprintf("AS%d %s", rec.Number, rec.Name))
	})
}

// find looks up an address and decodes its record, once for each record.
func (p *part) find(a netip.Addr, decode func(maxminddb.Result) string) (s string) {
	if p.r == nil || p.cut {
		return ""
	}
	if p.cut = guarded(func() { s = p.look(a, decode) }); p.cut {
		return ""
	}
	return s
}

func (p *part) look(a netip.Addr, decode func(maxminddb.Result) string) string {
	r := p.r.Lookup(a)
	if !r.Found() {
		return ""
	}
	s, ok := p.known[r.Offset()]
	if !ok {
		if len(p.known) >= maxKnown {
			clear(p.known)
		}
		s = decode(r)
		p.known[r.Offset()] = s
	}
	return s
}
