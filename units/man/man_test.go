// Package man holds the manual pages, and tests that they compile and that the completions work. cmd/bailiff generates the parts on
// commands and options, and tests that both know all of them.
package man

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPagesCompile(t *testing.T) {
	bin, err := exec.LookPath("scdoc")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("scdoc is needed: %v", err)
		}
		t.Skipf("scdoc is not installed: %v", err)
	}
	pages, err := filepath.Glob("*.scd")
	if err != nil || len(pages) < 3 {
		t.Fatalf("pages: %v, %v", pages, err)
	}
	for _, p := range pages {
		cmd := exec.Command(bin)
		cmd.Stdin = strings.NewReader(read(t, p))
		var out, said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &said
		if err := cmd.Run(); err != nil || said.Len() > 0 || !strings.Contains(out.String(), ".TH ") {
			t.Errorf("%s: %v\n%s", p, err, said.String())
		}
	}
}

// TestPageKnowsEveryKind compares the ids of the page with those of the code.
func TestPageKnowsEveryKind(t *testing.T) {
	page := read(t, "bailiffd.8.scd")
	ids := regexp.MustCompile(`"([0-9a-f]{32})"`).FindAllStringSubmatch(read(t, "../../journal/audit/kind.go"), -1)
	if len(ids) < 15 {
		t.Fatalf("%d ids in the source", len(ids))
	}
	for _, m := range ids {
		if !strings.Contains(page, m[1]) {
			t.Errorf("bailiffd.8: no %s", m[1])
		}
	}
	if n := len(regexp.MustCompile(`\b[0-9a-f]{32}\b`).FindAllString(page, -1)); n != len(ids) {
		t.Errorf("bailiffd.8 has %d ids, the code %d", n, len(ids))
	}
}

func TestShellsTakeTheCompletions(t *testing.T) {
	tried := 0
	for shell, file := range map[string]string{"bash": "bailiff.bash", "zsh": "_bailiff", "fish": "bailiff.fish"} {
		bin, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("%s is not installed", shell)
			continue
		}
		tried++
		if out, err := exec.Command(bin, "-n", "../completion/"+file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
	if tried == 0 {
		t.Skip("none of the three shells is installed")
	}
}

// TestBash has bash complete: commands, options, and what is banned, an IPv6 prefix included.
func TestBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skipf("bash is not installed: %v", err)
	}
	dir := t.TempDir()
	script := "#!/bin/sh\nprintf '%s\\n' '[{\"id\":\"1\",\"prefix\":\"192.0.2.7/32\"},{\"id\":\"2\",\"prefix\":\"198.51.100.0/24\"}]'\n"
	if err := os.WriteFile(filepath.Join(dir, "bailiff"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for words, want := range map[string]string{
		"bailiff ba":              "bans ban",
		"bailiff replay --f":      "--failures --file",
		"bailiff unban 192":       "192.0.2.7/32",
		"bailiff why ":            "192.0.2.7/32 198.51.100.0/24",
		"bailiff version --":      "--json",
		"bailiff ban --jail x --": "--for --force --jail --json --reason --socket",
		"bailiff allow r":         "remove refresh",
		"bailiff allow add --c":   "--comment",
		"bailiff report --":       "",
		"bailiff nonsense --":     "",
	} {
		cmd := exec.Command(bash, "-c", `source ../completion/bailiff.bash; IFS=' ' read -ra COMP_WORDS <<<"$1"; [[ $1 == *' ' ]] && COMP_WORDS+=(''); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _bailiff; echo "${COMPREPLY[*]}"`, "bash", words)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", words, got, err, want)
		}
	}
}
