package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/units/manager"
)

// checkResult is what `bailiff check --json` prints.
type checkResult struct {
	OK      bool         `json:"ok"`
	Files   []string     `json:"files"`
	Jails   []string     `json:"jails"` // that are on
	Notices []string     `json:"notices"`
	Errors  []checkError `json:"errors"`
}

type checkError struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Path   string `json:"path,omitempty"`
	Error  string `json:"error"`
	Hint   string `json:"hint,omitempty"`
}

func runCheck(e *env, args []string) error {
	f := e.flags("check")
	conf := f.String("config", "", "this `file`, or what this folder holds, in place of the installed configuration")
	asJSON := f.Bool("json", false, "print JSON")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if err := want("check", rest, 0, 0); err != nil {
		return err
	}
	var c *config.Config
	if *conf == "" {
		c, err = loadAs(&config.Loader{}, daemonFiles())
	} else {
		c, err = loadConfig(*conf)
	}
	if err == nil {
		err = errors.Join(selfTests(c), e.checkTemplates(c))
	}
	r := checkResult{OK: err == nil, Files: []string{}, Jails: []string{}, Notices: []string{}, Errors: faults(err)}
	if c != nil {
		r.Files, r.Notices = append(r.Files, c.Files...), append(r.Notices, c.Notices...)
		for _, j := range c.Jails {
			if j.Enabled {
				r.Jails = append(r.Jails, j.Name)
			}
		}
	}
	auto := 0
	if c != nil {
		auto = len(slices.DeleteFunc(slices.Clone(c.Jails), func(j config.Jail) bool { return !j.Enabled || !j.Auto }))
		r.Notices = append(r.Notices, e.hostNotices(c, *conf == "")...)
	}
	if *asJSON {
		if err := printJSON(e.out, r); err != nil {
			return err
		}
		if !r.OK {
			return errSilent
		}
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range r.Notices {
		fmt.Fprintf(e.err, "note: %s\n", n)
	}
	files := "no file, so the defaults"
	if len(r.Files) > 0 {
		files = plural(len(r.Files), "file")
	}
	if n := len(c.Allow.Entries); n > 0 {
		files += fmt.Sprintf(", %d in the allow list", n)
	}
	fmt.Fprintf(e.out, "the configuration is good: %s, %s on, %d more where the host has their service\n", files, plural(len(r.Jails)-auto, "jail"), auto)
	return nil
}

// hostNotices says what on this host keeps a good configuration from working as it is meant. installed: it is the one
// that the daemon reads.
func (e *env) hostNotices(c *config.Config, installed bool) (notes []string) {
	var names []string
	watched := func(j *config.Jail) bool {
		return j.Enabled && (!j.Auto || !strings.HasPrefix(j.Filter.File, "builtin/")) && len(trustedUnits(j)) > 0
	}
	for i := range c.Jails {
		if j := &c.Jails[i]; watched(j) {
			names = append(names, trustedUnits(j)...)
		}
	}
	slices.Sort(names)
	have, err := manager.Find(e.ctx, slices.Compact(names))
	for i := range c.Jails {
		j := &c.Jails[i]
		if err == nil && watched(j) && !slices.ContainsFunc(trustedUnits(j), func(u string) bool { return have[u] != "" }) {
			notes = append(notes, fmt.Sprintf("jail %s: no unit on this host writes its entries (looked for %s)", j.Name, strings.Join(trustedUnits(j), ", ")))
		}
	}
	var off []string
	for i := range c.Jails {
		j := &c.Jails[i]
		if f := j.Filter; f != nil && !j.Enabled && !f.Off && f.Name == j.Name && !slices.ContainsFunc(c.Jails, func(o config.Jail) bool { return o.Enabled && o.Filter.Name == f.Name }) {
			off = append(off, j.Name)
		}
	}
	if len(off) > 0 {
		notes = append(notes, "switched off by the configuration: "+strings.Join(off, ", "))
	}
	if !installed {
		return notes
	}
	if exec.CommandContext(e.ctx, "systemctl", "--quiet", "is-active", "fail2ban.service").Run() == nil {
		notes = append(notes, "fail2ban.service runs, too, and bans by its own rules: systemctl disable --now fail2ban")
	}
	for i := range c.Report.Destinations {
		d := &c.Report.Destinations[i]
		if !d.Enabled {
			continue
		}
		if _, err := os.Stat(dropIn); mailed(d) && c.Report.Sendmail.SMTP == "" && errors.Is(err, fs.ErrNotExist) {
			s := setup{}
			if system, why, err := s.find(); err != nil {
				notes = append(notes, fmt.Sprintf("report.destinations.%s: mails cannot be sent: %v", d.Name, err))
			} else if system != "" && system != "msmtp" {
				notes = append(notes, fmt.Sprintf("report.destinations.%s: mails need bailiff report setup first (mail system: %s, %s)", d.Name, system, why))
			}
			break
		}
	}
	for i := range c.Report.Destinations {
		d := &c.Report.Destinations[i]
		name := strings.TrimPrefix(d.CredentialName(), "bailiff_")
		if !d.Enabled || d.CredentialName() == "" || d.Credential != "" || os.Geteuid() != 0 {
			continue
		}
		if !slices.ContainsFunc([]string{"credentials", "credentials.encrypted"}, func(dir string) bool {
			_, err := os.Stat(filepath.Join(etc, dir, name))
			return err == nil
		}) {
			notes = append(notes, fmt.Sprintf("report.destinations.%s: its key is missing: %s/credentials/%s (bailiff-report(8), KEYS)", d.Name, etc, name))
		}
	}
	return notes
}

// trustedUnits are the units and slices whose entries a jail looks at.
func trustedUnits(j *config.Jail) []string {
	t := j.Filter.Trust()
	return slices.Concat(t.Units, t.Slices)
}

// mailed says whether reports to a destination go out by mail.
func mailed(d *config.Destination) bool {
	return d.Type == config.TypeMail || d.Type == config.TypeXARF || d.Type == config.TypeBlocklist && d.Method == "mail"
}

// selfTests runs the test lines that stand in the filters of the jails that are on.
func selfTests(c *config.Config) error {
	var errs []error
	done := map[string]bool{}
	for _, j := range c.Jails {
		if j.Enabled && !done[j.Filter.File] {
			done[j.Filter.File] = true
			errs = append(errs, j.Filter.SelfTest()...)
		}
	}
	return errors.Join(errs...)
}

// faults takes joined errors apart, each with its place.
func faults(err error) []checkError {
	l := []checkError{}
	for _, y := range diag.Errors(err) {
		l = append(l, checkError{y.File, y.Line, y.Col, y.Path, y.Text, y.Hint})
	}
	return l
}
