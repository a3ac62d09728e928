// Package geo tells the country and the autonomous system of addresses from databases that lie on the host: MaxMind's
// GeoLite2 and GeoIP2, DB-IP's, and others in that format (.mmdb). It asks nobody over the network, decides nothing, and
// is no part of the daemon. Start with Open.
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

// Folders are where the packages of distributions and geoipupdate put databases.
var Folders = []string{"/usr/share/GeoIP", "/var/lib/GeoIP"}

// maxKnown bounds the records that are remembered; databases of cities have millions.
const maxKnown = 1 << 16

// DB is what was found. Either part may be missing.
type DB struct {
	country, system part
}

type part struct {
	file  string
	r     *maxminddb.Reader
	built uint
	known map[uintptr]string
}

// Open looks through files and folders, Folders when none is given, for a database of countries or cities and one of
// autonomous systems; the newest of each kind is taken. That there is none is no error. A file that cannot be read is one,
// and so is a path given that does not exist; what else was found can be used all the same.
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
			if files, err = filepath.Glob(filepath.Join(quote(p), "*.mmdb")); err != nil {
				errs = append(errs, err)
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

// quote makes a path stand for itself in a pattern.
func quote(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

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
	*p = part{file, r, r.Metadata.BuildEpoch, make(map[uintptr]string)}
	return nil
}

// Close gives the databases back.
func (d *DB) Close() {
	for _, p := range [2]*part{&d.country, &d.system} {
		if p.r != nil {
			p.r.Close()
		}
	}
}

// Files are the databases in use: of countries and of autonomous systems; empty where there is none.
func (d *DB) Files() (country, system string) { return d.country.file, d.system.file }

// Country is the ISO 3166 code of where an address is, DE say; empty if that is not known.
func (d *DB) Country(a netip.Addr) string {
	return d.country.find(a, func(r maxminddb.Result) string {
		var rec struct {
			Country struct {
				Code string `maxminddb:"iso_code"`
			} `maxminddb:"country"`
			Registered struct {
				Code string `maxminddb:"iso_code"`
			} `maxminddb:"registered_country"`
		}
		if r.Decode(&rec) != nil {
			return ""
		}
		if rec.Country.Code != "" {
			return rec.Country.Code
		}
		return rec.Registered.Code
	})
}

// System is the autonomous system that an address belongs to, with its name: "AS64496 Example"; empty if that is not known.
// The name is the database's.
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

func (p *part) find(a netip.Addr, decode func(maxminddb.Result) string) string {
	if p.r == nil {
		return ""
	}
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
