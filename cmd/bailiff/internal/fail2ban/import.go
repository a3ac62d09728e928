// Package fail2ban translates fail2ban's configuration (jail.conf(5), versions 0.9 to 1.1) to bailiff's: jails, filters,
// allow lists and destinations of reports. It reports what it could not carry over.
//
// It runs nothing that it reads, resolves no host names and writes no files: the caller checks the result with the
// configuration loader and writes it. The semantics are those of fail2ban's readers.
//
// Start reading at Import. Package ini reads the files as fail2ban does, package regex rewrites its regular expressions,
// translate.go combines them into filters that pass the loader's tests. Package db reads the bans in the database.
package fail2ban

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/fail2ban/ini"
)

// Folder is the default folder of fail2ban's configuration.
const Folder = "/etc/fail2ban"

// File is a file to write. Path is relative to bailiff's configuration folder.
type File struct {
	Path string
	Data []byte
}

// Result is a translated configuration.
type Result struct {
	Report   Report
	Files    []File            // the configuration, then the filters and the allow list that it needs
	Database string            // path of fail2ban's database; empty: there is none
	Jails    map[string]string // bailiff's names of jails by fail2ban's
	Blocks   map[string]bool   // the jails that fail2ban runs → whether they block addresses, not only report or accept them

	banTimes map[string]float64
}

// BanTime is the duration of bans in one of fail2ban's jails, in seconds. Negative: the bans never end.
func (r *Result) BanTime(jail string) float64 {
	if t, ok := r.banTimes[jail]; ok {
		return t
	}
	return r.banTimes["DEFAULT"]
}

// version is the value of %(fail2ban_version)s, which fail2ban's files use in the name of a user agent only.
const version = "1.1.0"

type importer struct {
	root        string
	outcomes    map[*ini.Option][]outcome
	settings    []*Setting
	notes       []string
	problems    []ini.Problem
	jails       *ini.Tree
	result      *Result
	definitions map[string]*ini.Tree

	signed           map[string]bool // filter files → whether they do not mention fail2ban
	edited           map[string]bool // files of the package that the administrator edited
	defaults         thresholds
	output           []*jailConfig
	names            map[string]bool // names of jails in use
	allowed          []allowed
	filters          map[string]*translation
	backends         map[string][]string // values of firewall.backend → jails that used them
	destinations     destinations
	escalation       escalation
	reject           []string // jails that answered with a reject
	defaultBlock     []string // jails with fail2ban's default for blocktype
	chains           []*ini.Option
	self             string
	disabledJails    []disabledJail
	disabledBuiltins []string // built-in jails to disable
}

type thresholds struct {
	find, ban string
	retry     int
}

// jailConfig is a jail to write.
type jailConfig struct {
	name, filter, mode, enabled string
	thresholds                  // empty or 0: the default
	ports                       []string
	trust                       trust // in addition to the filter's
	observe                     bool
	comments                    []string
}

func newImporter(root string) *importer {
	return &importer{
		root: root, outcomes: make(map[*ini.Option][]outcome), notes: []string{}, definitions: make(map[string]*ini.Tree), names: make(map[string]bool),
		signed: make(map[string]bool), filters: make(map[string]*translation), backends: make(map[string][]string),
		result: &Result{Report: Report{From: root, Jails: []JailReport{}}, Jails: make(map[string]string), Blocks: make(map[string]bool), banTimes: map[string]float64{"DEFAULT": 600}}, // fail2ban's own default
	}
}

// read reads a file below the root, with the files that override it and those that they include.
func (im *importer) read(name string) *ini.Tree {
	r := &ini.Reader{Tree: ini.NewTree(im.root)}
	r.Tree.Vars["fail2ban_version"], r.Tree.Vars["fail2ban_confpath"] = version, im.root
	r.ReadAll(name)
	im.problems = append(im.problems, r.Problems...)
	return r.Tree
}

// Import reads fail2ban's configuration in a folder. It fails only if the folder cannot be read or holds no configuration;
// errors in single files are in the report.
func Import(root string) (*Result, error) {
	root = filepath.Clean(root)
	if st, err := os.Stat(root); err != nil {
		return nil, err
	} else if !st.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", root)
	}
	im := newImporter(root)
	if root == Folder {
		im.edited = editedFiles("/var/lib/dpkg/status", "fail2ban")
	}
	im.jails = im.read("jail")
	if len(im.jails.Files) == 0 {
		return nil, fmt.Errorf("no jail.conf and no jail.local in %s", root)
	}
	im.defaults = im.times("DEFAULT", "defaults")
	for _, name := range im.jails.Order {
		if name == "DEFAULT" || name == "INCLUDES" || name == "Definition" {
			continue
		}
		im.importJail(name)
	}
	im.disableBuiltins()
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

// value returns an option of a jail with all references resolved. An error is recorded as the option's outcome.
func (im *importer) value(sec, name string) (string, *ini.Option) {
	v, o, err := im.jails.Value(sec, name, nil)
	if err != nil {
		why := err.Error()
		if sec != "DEFAULT" {
			why = "jail " + sec + ": " + why
		}
		im.lost(im.findReference(sec, name, err), why, "")
		return "", im.jails.Get(sec, name)
	}
	return v, o
}

// findReference returns the option that contains an undefined reference.
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

// finish completes the report and builds the files.
func (im *importer) finish() {
	im.reportChains()
	for _, p := range im.problems {
		im.settings = append(im.settings, &Setting{File: p.File, Line: p.Line, Outcome: Lost, Why: mask("", p.Text), Admin: true})
	}
	on := make(map[string]bool)
	for _, j := range im.result.Report.Jails {
		on[j.Name] = true
	}
	for _, o := range im.jails.Assigned {
		switch {
		case o.Section == "INCLUDES":
			im.carried(o, "the named files were read")
		case o.Section != "DEFAULT" && !on[o.Section] && !im.adminFile(o.File):
			continue // a shipped jail that is not in use
		}
		im.closeOption(o)
	}
	for _, name := range slices.Sorted(maps.Keys(im.definitions)) {
		for _, o := range im.definitions[name].Assigned {
			if o.Section == "INCLUDES" || !im.adminFile(o.File) && len(im.outcomes[o]) == 0 {
				continue
			}
			im.closeOption(o)
		}
	}
	im.write()
	slices.SortStableFunc(im.settings, func(x, y *Setting) int {
		return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line))
	})
	im.result.Report.Settings, im.result.Report.Notes = im.settings, im.notes
}
