package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"bailiff/cmd/bailiff/internal/cli"
)

var update = flag.Bool("update", false, "write the files that are made from the list of commands")

// TestGenerated holds the completions and the manual page to the list of commands.
func TestGenerated(t *testing.T) {
	const folder, page = "../../units/completion", "../../units/man/bailiff.1.scd"
	manual, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"synopsis": synopsis(commands()), "options": optionTables(commands())} {
		if manual, err = replacePart(manual, name, text); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string][]byte{
		filepath.Join(folder, "bailiff.bash"): bashCompletion(commands()),
		filepath.Join(folder, "_bailiff"):     zshCompletion(commands()),
		filepath.Join(folder, "bailiff.fish"): fishCompletion(commands()),
		page:                                  manual,
	} {
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		} else if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is out of date (%v): go generate ./cmd/bailiff", file, err)
		}
	}
}

// TestManualPage: every command has an entry.
func TestManualPage(t *testing.T) {
	manual, err := os.ReadFile("../../units/man/bailiff.1.scd")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range leaves(commands()) {
		words := strings.Fields(c.FullName())
		if !regexp.MustCompile(`(?m)^\*` + strings.Join(words, `(\*\]? \[?\*| )`) + `\*`).Match(manual) {
			t.Errorf("no entry for %s", c.FullName())
		}
	}
}

// TestOptions: an option of several verbs of a group takes a value in all of them or in none, so that the verb can be found after it; and
// placeholders are in capitals.
func TestOptions(t *testing.T) {
	for _, c := range commands() {
		boolean := map[string]bool{}
		for _, v := range leaves([]*cli.Command{c}) {
			v.Flags.VisitAll(func(f *flag.Flag) {
				if is, ok := boolean[f.Name]; ok && is != cli.Boolean(f) {
					t.Errorf("%s: --%s takes a value in some verbs only", c.Name, f.Name)
				}
				boolean[f.Name] = cli.Boolean(f)
				if p := cli.Placeholder(f); p != strings.ToUpper(p) || !cli.Boolean(f) && p == "" {
					t.Errorf("%s: --%s: placeholder %q", v.FullName(), f.Name, p)
				}
			})
		}
	}
}

// TestFromFail2ban: commands that fail2ban users type out of habit lead to ours.
func TestFromFail2ban(t *testing.T) {
	for typed, want := range map[string]string{
		"banip 192.0.2.1":                "bailiff ban 192.0.2.1",
		"unbanip 192.0.2.1":              "bailiff unban 192.0.2.1",
		"status sshd":                    "bailiff bans --jail sshd",
		"unban all":                      "bailiff unban --all",
		"banned":                         "bailiff bans",
		"reload sshd":                    "bailiff reload",
		"restart":                        "systemctl restart bailiff",
		"stop":                           "systemctl stop bailiff",
		"ping":                           "systemctl is-active bailiff",
		"get sshd banip":                 "bailiff bans --jail sshd",
		"get sshd ignoreip":              "bailiff allow",
		"get sshd failregex":             "bailiff filter show sshd",
		"get sshd bantime":               "bailiff config",
		"set sshd banip 192.0.2.1":       "bailiff ban --jail sshd 192.0.2.1",
		"set sshd unbanip 192.0.2.1":     "bailiff unban --jail sshd 192.0.2.1",
		"set sshd addignoreip 192.0.2.1": "bailiff allow 192.0.2.1",
		"set sshd bantime 600":           "a setting in /etc/bailiff/bailiff.d",
		"-t":                             "bailiff check",
		"frobnicate":                     "",
	} {
		got := fromFail2ban(strings.Fields(typed))
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", typed, got, want)
		}
	}
}

// TestUnknownVerb: a group names its verbs, and the command that was meant.
func TestUnknownVerb(t *testing.T) {
	for typed, want := range map[string]string{
		"fleet why 192.0.2.1": "bailiff: fleet: unknown command \"why\", expected status, init, add, rotate, revoke, servers, key, operator, allow, publish, hub, join or leave (bailiff fleet -h)\nhint: bailiff why ADDRESS: explain why an address is banned, counted or allowed\n",
		"firewall statu":      "bailiff: firewall: unknown command \"statu\", expected status, verify, repair or remove (bailiff firewall -h)\n",
		"lists bans":          "bailiff: lists: unknown command \"bans\", expected status, dry-run or refresh (bailiff lists -h)\nhint: bailiff bans [ADDRESS]: list the bans in effect\n",
	} {
		var out bytes.Buffer
		e := &cli.Env{Ctx: t.Context(), Out: &out, Err: &out}
		if status := cli.Main(e, commands(), fromFail2ban, strings.Fields(typed)); status != cli.WrongUsage || out.String() != want {
			t.Errorf("%s: status %d\n%s", typed, status, &out)
		}
	}
}

// leaves are the commands of a list with groups replaced by their verbs.
func leaves(commands []*cli.Command) (all []*cli.Command) {
	for _, c := range commands {
		if len(c.Verbs) > 0 {
			all = append(all, c.Verbs...)
		} else {
			all = append(all, c)
		}
	}
	return all
}

// repeatable reports whether an option may be given several times.
func repeatable(f *flag.Flag) bool { return strings.HasSuffix(f.Usage, cli.Repeatable) }
