package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts below run this very command as "bailiff".
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bailiff": main})
}

// TestScripts runs testdata/*.txtar: what a user types, and stdout, stderr and exit status of it.
func TestScripts(t *testing.T) {
	// This command runs bailiff-report, which is a program of its own.
	reporter := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", reporter, "bailiff/cmd/bailiff-report").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			alone, _, _ := strings.Cut(e.Getenv("PATH"), string(os.PathListSeparator))
			e.Setenv("ALONE", alone) // the folder of this command: without bailiff-report, even where it is installed
			e.Setenv("PATH", reporter+string(os.PathListSeparator)+e.Getenv("PATH"))
			return nil
		},
	})
}
