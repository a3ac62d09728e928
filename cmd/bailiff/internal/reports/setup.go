package reports

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

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/config"
	"bailiff/units/atomicfile"
	"bailiff/units/systemd"
)

// mailSystems are those that can be set up. msmtp needs nothing.
var mailSystems = []string{"postfix", "exim", "opensmtpd", "sendmail", "msmtp"}

// setup is what `bailiff report setup` is asked for.
type setup struct {
	root, config, system string
	dry                  bool
}

// Where the parts are installed, whatever the mail system: a change of it replaces the parts of the previous one.
const (
	dropIn   = "/etc/systemd/system/bailiff-report.service.d/50-mail.conf"
	fragment = "/etc/bailiff/bailiff.d/50-mail-system.yaml"

	// madeBy begins the files of setup; others are left alone.
	madeBy = "# Installed by bailiff report setup.\n"
)

func setupCommand() *cli.Command {
	c := cli.New("setup", "", "prepare bailiff-report for this host's mail system")
	s := setup{}
	c.Flags.BoolVar(&s.dry, "dry-run", false, "show what would be changed, and change nothing")
	c.Flags.StringVar(&s.root, "root", "", "the host's file system is in this `FOLDER`; no service is restarted")
	c.Flags.StringVar(&s.system, "mail", "", "use this mail `SYSTEM` instead of the one found: "+strings.Join(mailSystems, ", "))
	conf := settings.Option(c)
	return c.Does(func(e *cli.Env, _ []string) error {
		s.config = *conf
		return s.run(e)
	})
}

// run finds the host's mail system and installs what bailiff-report's unit needs for it.
func (s *setup) run(e *cli.Env) error {
	system, why := s.system, "by --mail"
	if system != "" && !slices.Contains(mailSystems, system) {
		return cli.Usagef("report setup: %q is not one of %s", system, strings.Join(mailSystems, ", "))
	}
	if system == "" {
		var err error
		if system, why, err = s.find(); err != nil {
			return err
		}
		if system == "" {
			e.Printf("%s\n", why)
			return nil
		}
	}
	e.Printf("mail system: %s (%s)\n", system, why)
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
		did, err := place(e, filepath.Join(s.root, f.to), text, s.dry)
		if err != nil {
			return err
		}
		changed = changed || did
	}
	switch {
	case !changed:
		e.Printf("nothing to change\n")
		return nil
	case s.dry || s.root != "":
		return nil
	}
	// A host that was not booted by systemd, a container say, has no service to restart.
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		for _, args := range [][]string{{"daemon-reload"}, {"try-restart", "bailiff-report.service"}} {
			if out, err := exec.CommandContext(e.Ctx, "systemctl", args...).CombinedOutput(); err != nil {
				return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, text.Clean(strings.TrimSpace(string(out))))
			}
		}
	}
	e.Printf("try it: bailiff report test DESTINATION\n")
	return nil
}

// place writes a file, or removes it if text is nil, and reports whether that is a change.
func place(e *cli.Env, file string, text []byte, dry bool) (bool, error) {
	old, err := os.ReadFile(file)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, err
	case err == nil && !bytes.HasPrefix(old, []byte(madeBy)):
		if text == nil {
			return false, nil
		}
		return false, fmt.Errorf("%s exists and was not made by bailiff: remove it, or keep it if it does what is needed", file)
	case err != nil && text == nil, err == nil && text != nil && bytes.Equal(old, text):
		return false, nil
	case text == nil:
		e.Printf("remove %s\n", file)
		if dry {
			return true, nil
		}
		return true, os.Remove(file)
	}
	e.Printf("write %s:\n", file)
	for line := range strings.Lines(string(text)) {
		e.Printf("  %s", line)
	}
	if dry {
		return true, nil
	}
	if err := settings.MakeFolder(filepath.Dir(file)); err != nil {
		return false, err
	}
	return true, atomicfile.Write(file, text, 0o644)
}

// find recognises the mail system by the program that mails are handed to. All of them call it sendmail; the target of
// that link, and the files beside it, tell them apart. An empty system means that there is nothing to do.
func (s *setup) find() (system, why string, err error) {
	name := "/usr/sbin/sendmail"
	if s.config != "" || s.root == "" {
		c, err := settings.Load(s.config)
		if err != nil {
			return "", "", err
		}
		name = c.Report.Sendmail.Path
		if ours, err := os.ReadFile(filepath.Join(s.root, fragment)); c.Report.Sendmail.SMTP != "" && (err != nil || !bytes.HasPrefix(ours, []byte(madeBy))) {
			return "", "mails go by SMTP to " + c.Report.Sendmail.SMTP + ": nothing to set up", nil
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
	return "", "", fmt.Errorf("%s: unknown mail system (give --mail %s if it is one of them, or name its server in report.sendmail.smtp)", why, strings.Join(mailSystems, ", --mail "))
}

// resolve follows symbolic links within root; /usr/sbin/sendmail is often one.
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

// queue checks that the folder exists to which the drop-in gives access: without it the unit would not start.
func (s *setup) queue(system string) error {
	folder := map[string]string{"postfix": "/var/spool/postfix/maildrop", "sendmail": "/var/spool/mqueue-client"}[system]
	if st, err := os.Stat(filepath.Join(s.root, folder)); err != nil || !st.IsDir() {
		return fmt.Errorf("%s has no %s here (its first start creates it; if its queue is elsewhere, write a drop-in like %s.conf in /usr/lib/bailiff/mail)", system, folder, system)
	}
	return nil
}

// Mailed reports whether reports to a destination are sent by mail.
func Mailed(d *config.Destination) bool {
	return d.Type == config.TypeMail || d.Type == config.TypeXARF || d.Type == config.TypeBlocklist && d.Method == "mail"
}

// MailNotices say what this host lacks for reports by mail.
func MailNotices(c *config.Config) (notes []string) {
	i := slices.IndexFunc(c.Report.Destinations, func(d config.Destination) bool { return d.Enabled && Mailed(&d) })
	if _, err := os.Stat(dropIn); i < 0 || c.Report.Sendmail.SMTP != "" || !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	name := c.Report.Destinations[i].Name
	s := setup{}
	system, why, err := s.find()
	switch {
	case err != nil:
		notes = append(notes, fmt.Sprintf("report.destinations.%s: mails cannot be sent: %v", name, err))
	case system != "" && system != "msmtp":
		notes = append(notes, fmt.Sprintf("report.destinations.%s: mails need bailiff report setup first (mail system: %s, %s)", name, system, why))
	}
	return notes
}
