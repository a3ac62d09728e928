// Package fail2ban reads the configuration and the database of fail2ban (jail.conf(5), versions 0.9 to 1.1) and says it in
// bailiff's terms: which jails, filters, allow lists and bans, and what cannot be said.
//
// It never runs anything that it reads, resolves no name, and writes nothing: that is for whoever asked, who has the loader
// judge the result first. Semantics are those of fail2ban's readers; the code is our own.
//
// Start reading at Import. ini.go and interpolate.go read files as fail2ban does, pyre.go its regular expressions,
// translate.go makes filters of them; bans.go and sqlite.go read the database.
package fail2ban

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
)

// Folder is where fail2ban's configuration lies.
const Folder = "/etc/fail2ban"

// File is a file to write, its path relative to bailiff's folder.
type File struct {
	Path string
	Data []byte
}

// Result is what an import comes to.
type Result struct {
	Report   Report
	Files    []File
	Database string            // fail2ban's; empty: it keeps none
	Jails    map[string]string // ours by fail2ban's names, for the bans in the database

	banTimes map[string]float64
}

// BanTime is how long fail2ban's bans in a jail lasted, in seconds; negative: without end.
func (r *Result) BanTime(jail string) float64 {
	if t, ok := r.banTimes[jail]; ok {
		return t
	}
	return r.banTimes["DEFAULT"]
}

// version is what %(fail2ban_version)s stands for: it is used for an agent's name alone.
const version = "1.1.0"

type importer struct {
	root string
	importLog
	problems    []ini.Problem
	jails       *ini.Tree
	result      *Result
	definitions map[string]*ini.Tree

	signed           map[string]bool // filter files: they do not say that they are fail2ban's
	edited           map[string]bool // files of the package that were changed in place
	defaults         thresholds
	output           []*jailConfig
	names            map[string]bool // of ours that are taken
	allowed          []allowed
	filters          map[string]*translation
	backends         map[string][]string // firewall.backend words → jails
	reports          reports
	escalation       escalation
	reject           []string // jails that reject
	defaultBlock     []string // jails of which it is not said
	chains           []*ini.Option
	self             string
	disabledBuiltins []string // of ours that the administrator switched off
}

type thresholds struct {
	find, ban string
	retry     int
}

// jailConfig is one of ours to write.
type jailConfig struct {
	name, filter, mode, enabled string
	thresholds                  // empty: the default
	ports                       []string
	trust                       trust // besides the filter's own
	observe                     bool
	comments                    []string
}

// Import reads the configuration in a folder. An error is one of the folder as a whole; what is wrong with single files is
// in the report.
func Import(root string) (*Result, error) {
	root = filepath.Clean(root)
	if st, err := os.Stat(root); err != nil {
		return nil, err
	} else if !st.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", root)
	}
	im := &importer{
		root: root, jails: ini.NewTree(root), definitions: make(map[string]*ini.Tree), names: make(map[string]bool),
		filters: make(map[string]*translation), backends: make(map[string][]string),
		result: &Result{Jails: make(map[string]string), banTimes: map[string]float64{"DEFAULT": 600}}, // fail2ban's own default
	}
	im.adminFile = im.isAdminFile
	if root == Folder {
		im.edited = editedFiles("/var/lib/dpkg/status", "fail2ban")
	}
	im.jails.Vars["fail2ban_version"], im.jails.Vars["fail2ban_confpath"] = version, root
	r := &ini.Reader{Tree: im.jails}
	r.ReadAll("jail")
	im.problems = append(im.problems, r.Problems...)
	if len(im.jails.Files) == 0 {
		return nil, fmt.Errorf("%s holds no jail.conf and no jail.local", root)
	}
	im.defaultTimes()
	for _, name := range im.jails.Order {
		if name == "DEFAULT" || name == "INCLUDES" || name == "Definition" {
			continue
		}
		im.importJail(name)
	}
	im.escalate()
	im.daemonConfig()
	for _, name := range im.jails.Order {
		if v, _, err := im.jails.Value(name, "bantime", nil); err == nil {
			if sec, err := seconds(v); err == nil {
				im.result.banTimes[name] = sec
			}
		}
	}
	im.finish()
	return im.result, nil
}

// value returns a resolved option of a jail; a fault of it is told once.
func (im *importer) value(sec, name string) (string, *ini.Option) {
	v, o, err := im.jails.Value(sec, name, nil)
	if err != nil {
		why := err.Error()
		if sec != "DEFAULT" {
			why = "jail " + sec + ": it " + why
		}
		im.lost(im.findReference(sec, name, err), why, "")
		return "", im.jails.Get(sec, name)
	}
	return v, o
}

// findReference is the option in which a reference stands that leads nowhere.
func (im *importer) findReference(sec, name string, err error) *ini.Option {
	at := im.jails.Get(sec, name)
	var ref ini.UndefinedError
	if !errors.As(err, &ref) || strings.Contains(at.Value, string(ref)) {
		return at
	}
	for _, o := range im.jails.Assigned {
		if (o.Section == sec || o.Section == "DEFAULT") && o == im.jails.Get(sec, o.Name) && strings.Contains(o.Value, string(ref)) {
			return o
		}
	}
	return at
}

// finish closes the account and writes the files.
func (im *importer) finish() {
	im.reportChains()
	for _, p := range im.problems {
		im.settings = append(im.settings, Setting{File: p.File, Line: p.Line, Outcome: Lost, Why: p.Text, Admin: true})
	}
	on := make(map[string]bool)
	for _, j := range im.result.Report.Jails {
		on[j.Name] = true
	}
	for _, o := range im.jails.Assigned {
		switch {
		case o.Section == "INCLUDES":
			im.carried(o, "the files named were read")
		case o.Section != "DEFAULT" && !on[o.Section] && !im.adminFile(o.File):
			continue // a jail that fail2ban ships and nobody uses
		}
		im.closeOption(o)
	}
	for _, name := range sortedKeys(im.definitions) {
		for _, o := range im.definitions[name].Assigned {
			if o.Section == "INCLUDES" || !im.adminFile(o.File) && len(im.outcomes[o]) == 0 {
				continue
			}
			im.closeOption(o)
		}
	}
	im.write()
	rep := &im.result.Report
	rep.From = im.root
	rep.Settings, rep.Notes = im.sorted(), im.notes
	if rep.Jails == nil {
		rep.Jails = []JailReport{}
	}
	if rep.Notes == nil {
		rep.Notes = []string{}
	}
}

func sortedKeys[T any](m map[string]T) []string {
	l := make([]string, 0, len(m))
	for k := range m {
		l = append(l, k)
	}
	slices.Sort(l)
	return l
}
