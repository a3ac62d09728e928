package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/units/atomicfile"
	"bailiff/units/systemd"
)

// mailSystems are those whose needs are known. What msmtp asks for, bailiff-report has as it is.
var mailSystems = []string{"postfix", "exim", "opensmtpd", "sendmail", "msmtp"}

// setup is what `bailiff report setup` was asked for.
type setup struct {
	root, config, system string
	dry                  bool
}

// Where the parts are installed. The names stay, so that a change of the mail system replaces what was for the last one.
const (
	dropIn   = "/etc/systemd/system/bailiff-report.service.d/50-mail.conf"
	fragment = "/etc/bailiff/bailiff.d/50-mail-system.yaml"

	// madeBy begins our files; others are left alone.
	madeBy = "# Installed by bailiff report setup.\n"
)

// reportSetup finds out which mail system the host has, and gives bailiff-report's unit what that asks for.
func (e *env) reportSetup(s setup) error {
	system, why := s.system, "as asked for"
	if system != "" && !slices.Contains(mailSystems, system) {
		return usagef("report setup: %q is none of %s", system, strings.Join(mailSystems, ", "))
	}
	if system == "" {
		var err error
		if system, why, err = s.find(); err != nil {
			return err
		}
		if system == "" {
			fmt.Fprintln(e.out, why)
			return nil
		}
	}
	fmt.Fprintf(e.out, "mail system: %s (%s)\n", system, why)
	if system == "postfix" || system == "sendmail" {
		if err := s.queue(system); err != nil {
			return err
		}
	}
	changed := false
	for _, f := range []struct{ to, ext string }{{dropIn, ".conf"}, {fragment, ".yaml"}} {
		text, err := fs.ReadFile(systemd.Mail, "mail/"+system+f.ext)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			text = append([]byte(madeBy), text...)
		}
		did, err := e.place(filepath.Join(s.root, f.to), text, s.dry)
		if err != nil {
			return err
		}
		changed = changed || did
	}
	switch {
	case !changed:
		fmt.Fprintln(e.out, "nothing to change")
		return nil
	case s.dry || s.root != "":
		return nil
	}
	// A host that systemd did not boot has no service to restart.
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		for _, args := range [][]string{{"daemon-reload"}, {"try-restart", "bailiff-report.service"}} {
			if out, err := exec.CommandContext(e.ctx, "systemctl", args...).CombinedOutput(); err != nil {
				return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, clean(strings.TrimSpace(string(out))))
			}
		}
	}
	fmt.Fprintln(e.out, "try it: bailiff report test DESTINATION")
	return nil
}

// place makes a file what it shall be, nil for none, and says whether that is a change.
func (e *env) place(file string, text []byte, dry bool) (bool, error) {
	old, err := os.ReadFile(file)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, err
	case err == nil && !bytes.HasPrefix(old, []byte(madeBy)):
		if text == nil {
			return false, nil
		}
		return false, fmt.Errorf("%s is there already, and bailiff did not make it: take it away, or leave it if it does what is needed", file)
	case err != nil && text == nil, err == nil && text != nil && bytes.Equal(old, text):
		return false, nil
	case text == nil:
		fmt.Fprintf(e.out, "remove %s\n", file)
		if dry {
			return true, nil
		}
		return true, os.Remove(file)
	}
	fmt.Fprintf(e.out, "write %s:\n", file)
	for line := range strings.Lines(string(text)) {
		fmt.Fprint(e.out, "  ", line)
	}
	if dry {
		return true, nil
	}
	if err := makeFolder(filepath.Dir(file)); err != nil {
		return false, err
	}
	return true, atomicfile.Write(file, text, 0o644)
}

// find tells the mail system by the program that mails are handed to. Every one of them calls it sendmail; what lies behind the
// name, and beside it, tells them apart. No system means that there is nothing to do.
func (s *setup) find() (system, why string, err error) {
	name := "/usr/sbin/sendmail"
	if s.config != "" || s.root == "" {
		c, err := loadConfig(s.config)
		if err != nil {
			return "", "", err
		}
		name = c.Report.Sendmail.Path
		if ours, err := os.ReadFile(filepath.Join(s.root, fragment)); c.Report.Sendmail.SMTP != "" && (err != nil || !bytes.HasPrefix(ours, []byte(madeBy))) {
			return "", "mails go over SMTP to " + c.Report.Sendmail.SMTP + ": nothing to set up", nil
		}
	}
	program, err := s.resolve(name)
	if err != nil {
		return "", "", fmt.Errorf("%w (install a mail system, name its sendmail in report.sendmail.path, or its server in report.sendmail.smtp)", err)
	}
	why = name
	if program != name {
		why += " is " + program
	}
	base := path.Base(program)
	has := func(files ...string) bool {
		return slices.ContainsFunc(files, func(f string) bool {
			_, err := os.Stat(filepath.Join(s.root, f))
			return err == nil
		})
	}
	switch {
	case strings.HasPrefix(base, "exim"):
		return "exim", why, nil
	case strings.HasPrefix(base, "msmtp"):
		return "msmtp", why, nil
	case base == "smtpctl":
		return "opensmtpd", why, nil
	case base == "sendmail.postfix":
		return "postfix", why, nil
	case base == "sendmail.sendmail", base == "sendmail-msp", strings.Contains(program, "/sm.bin/"):
		return "sendmail", why, nil
	case base == "sendmail" && has("/usr/sbin/postdrop", "/usr/libexec/postfix/postdrop", "/usr/local/sbin/postdrop"):
		return "postfix", why + ", with postdrop beside it", nil
	case base == "sendmail" && has("/etc/mail/submit.cf"):
		return "sendmail", why + ", with /etc/mail/submit.cf", nil
	}
	return "", "", fmt.Errorf("%s: this mail system is not known here (say --mail %s if it is one of them, or name its server in report.sendmail.smtp)", why, strings.Join(mailSystems, ", --mail "))
}

// resolve follows symbolic links as they are within root: /usr/sbin/sendmail is often one of several.
func (s *setup) resolve(name string) (string, error) {
	for range 10 {
		st, err := os.Lstat(filepath.Join(s.root, name))
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("there is no %s", name)
		}
		if err != nil {
			return "", err
		}
		if st.Mode()&fs.ModeSymlink == 0 {
			return name, nil
		}
		to, err := os.Readlink(filepath.Join(s.root, name))
		if err != nil {
			return "", err
		}
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(name), to)
		}
		name = path.Clean(to)
	}
	return "", fmt.Errorf("%s: too many symbolic links", name)
}

// queue makes sure that the folder is there that the drop-in opens: without it the unit would not start.
func (s *setup) queue(system string) error {
	folder := map[string]string{"postfix": "/var/spool/postfix/maildrop", "sendmail": "/var/spool/mqueue-client"}[system]
	if st, err := os.Stat(filepath.Join(s.root, folder)); err != nil || !st.IsDir() {
		return fmt.Errorf("%s has no %s here (it makes it when it is started for the first time; where its queue is elsewhere, write a drop-in like %s.conf in /usr/lib/bailiff/mail by hand)", system, folder, system)
	}
	return nil
}
