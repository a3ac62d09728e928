package importer

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/fail2ban"
	"bailiff/cmd/bailiff/internal/reports"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/policy/config"
	"bailiff/policy/diag"
)

// printImport prints the report: jails first, then the administrator's settings. Settings from fail2ban's own files and
// those that were carried over unchanged are shown only with verbose.
func printImport(e *cli.Env, r *importResult, c *config.Config, dry, verbose bool) {
	if dry {
		for _, file := range r.Files {
			e.Printf("# ---- %s (%s)\n%s\n", file.Path, file.State, file.Content)
		}
	}
	for _, j := range r.Jails {
		if j.As == "" {
			e.Printf("jail %s: not carried over: %s\n", text.Clean(j.Name), text.Clean(j.Why))
			continue
		}
		line := "jail " + j.As + ": filter " + j.Filter + text.With(" in mode ", j.Mode)
		if j.Translated {
			line += fmt.Sprintf(", translated: %d of %s", j.Taken, diag.Count(j.Of, "expression"))
		}
		if j.Why != "" {
			line += " (" + text.Clean(j.Why) + ")"
		}
		e.Printf("%s\n", line)
	}
	const own, stock = true, false
	hidden := 0
	for _, sec := range []struct {
		title    string
		verbose  bool
		admin    bool
		outcomes []string
	}{
		{"Not carried over", false, own, []string{fail2ban.Lost}},
		{"Carried over, but not quite the same", false, own, []string{fail2ban.Changed}},
		{"Not carried over, from fail2ban's own files", false, stock, []string{fail2ban.Lost}},
		{"No longer needed", false, own, []string{fail2ban.NotNeeded, fail2ban.Unused}},
		{"Carried over", true, own, []string{fail2ban.Carried, fail2ban.Part, fail2ban.Replaced}},
		{"Not quite the same, from fail2ban's own files", true, stock, []string{fail2ban.Changed}},
		{"Carried over, from fail2ban's own files", true, stock, []string{fail2ban.Carried, fail2ban.Part, fail2ban.Replaced}},
		{"No longer needed, from fail2ban's own files", true, stock, []string{fail2ban.NotNeeded, fail2ban.Unused}},
	} {
		these := slices.DeleteFunc(slices.Clone(r.Settings), func(s *fail2ban.Setting) bool {
			return s.Admin != sec.admin || !slices.Contains(sec.outcomes, s.Outcome)
		})
		if sec.verbose && !verbose {
			hidden += len(these)
			continue
		}
		if len(these) > 0 {
			e.Printf("\n%s:\n", sec.title)
		}
		for _, s := range these {
			printSetting(e, s)
		}
	}
	if hidden > 0 {
		e.Printf("\n%s carried over unchanged or from fail2ban's own files: --verbose shows them\n", diag.Count(hidden, "setting"))
	}
	if len(r.Notes) > 0 {
		e.Printf("\nNotes:\n")
		for _, n := range r.Notes {
			e.Printf("  %s\n", text.Clean(n))
		}
	}
	if b := r.Bans; b != nil {
		e.Printf("\n%s taken over from %s, %d already there\n", diag.Count(b.Taken, "ban"), b.Database, b.Kept)
		for _, p := range b.Problems {
			e.Printf("  %s\n", text.Clean(p))
		}
	}
	if dry {
		return
	}
	e.Printf("\n")
	written := false
	for _, file := range r.Files {
		switch file.State {
		case "differs":
			e.Printf("not replaced: %s\n", file.Path)
		case "same":
			e.Printf("unchanged: %s\n", file.Path)
		default:
			written = true
			e.Printf("written: %s\n", file.Path)
		}
	}
	if written && r.Bans == nil {
		printNext(e, r.To, c)
	}
}

func printNext(e *cli.Env, to string, c *config.Config) {
	at := ""
	if filepath.Clean(to) != settings.Dir {
		at = " --config " + to
	}
	steps := [][]string{
		{"  bailiff check" + at, "checks the configuration as the daemon does"},
		{"  bailiff replay" + at + " --since 2d", "shows which addresses would have been banned"},
	}
	if i := slices.IndexFunc(c.Jails, func(j config.Jail) bool { return j.Enabled && !strings.HasPrefix(j.Filter.File, "builtin/") }); i >= 0 {
		steps = append(steps, []string{"  bailiff match" + at + " " + c.Jails[i].Filter.Name + " FILE", "tests lines of a log against a filter"})
	}
	if at == "" {
		steps = append(steps, []string{"  systemctl enable --now bailiff && bailiff reload", "applies it"})
		if slices.ContainsFunc(c.Report.Destinations, func(d config.Destination) bool { return d.Enabled && reports.Mailed(&d) }) {
			steps = append(steps, []string{"  bailiff report setup", "allows reports to be sent by this host's mail system"})
		}
		steps = append(steps, []string{"  systemctl disable --now fail2ban && bailiff import --bans", "takes over its bans"})
	}
	e.Printf("\nNext:\n")
	e.Table(steps)
}

func printSetting(e *cli.Env, s *fail2ban.Setting) {
	at := s.File
	if s.Line > 0 {
		at = fmt.Sprintf("%s:%d", s.File, s.Line)
	}
	outcome := s.Why
	switch {
	case s.Outcome == fail2ban.Replaced:
		outcome = "overridden in " + s.To
	case s.Outcome == fail2ban.Part:
		outcome = "used by " + s.To
	case s.To != "":
		outcome = s.To + text.With(": ", outcome)
	}
	what := ""
	if s.Option != "" {
		value := strings.Join(strings.Fields(s.Value), " ")
		if len(value) > 60 {
			value = strings.ToValidUTF8(value[:60], "") + "…"
		}
		what = fmt.Sprintf(" [%s] %s = %s", s.Section, s.Option, value)
	}
	e.Printf("  %s:%s\n    %s\n", text.Clean(at), text.Clean(what), text.Clean(outcome))
	if s.Hint != "" {
		e.Printf("    hint: %s\n", text.Clean(s.Hint))
	}
}
