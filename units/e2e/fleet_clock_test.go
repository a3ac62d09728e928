package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// clockPrograms builds bailiffd and bailiff-fleet with a clock that is CLOCK_AHEAD seconds ahead, and returns a folder that holds them
// below clockFolder. Hosts share the clock of the machine and may not set it; only Go's time.Now is changed in these programs. Timers and
// the kernel's clocks are as they are, as on a host whose clock was set.
func clockPrograms(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	now, err := os.ReadFile(filepath.Join(source, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	head := []byte("func Now() Time {\n\tsec, nsec, mono := ")
	at := bytes.Index(now, head)
	if at < 0 {
		t.Fatal("this version of Go has another time.Now")
	}
	end := at + len(head) + bytes.IndexByte(now[at+len(head):], '\n')
	now = append(append(now[:end:end], "\n\tsec += ahead"...), now[end:]...)
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(source, "time.go"): write("time.go", now),
		filepath.Join(source, "ahead.go"): write("ahead.go", []byte(`package time

import "syscall"

var ahead = func() (n int64) {
	s, _ := syscall.Getenv("CLOCK_AHEAD")
	for _, c := range []byte(s) {
		if c != '-' {
			n = 10*n + int64(c-'0')
		}
	}
	if s != "" && s[0] == '-' {
		n = -n
	}
	return n
}()
`)),
	}})
	if err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(dir, "tree")
	cmd := exec.Command("go", "build", "-overlay", write("overlay.json", overlay), "-tags", "nethttpomithttp2", "-o", tree+clockFolder+"/", "./cmd/bailiffd", "./cmd/bailiff-fleet")
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return tree
}

// setClock is a script that restarts the programs of a host with their clock the given number of seconds ahead.
func setClock(ahead int) string {
	s := "for p in bailiff:bailiffd bailiff-fleet:bailiff-fleet; do d=/etc/systemd/system/${p%:*}.service.d; mkdir -p $d\n"
	if ahead == 0 {
		s += "rm -f $d/96-clock.conf; done\n"
	} else {
		s += fmt.Sprintf("printf '[Service]\\nEnvironment=CLOCK_AHEAD=%d\\nExecStart=\\nExecStart=%s/%%s\\n' ${p#*:} >$d/96-clock.conf; done\n", ahead, clockFolder)
	}
	return s + "systemctl daemon-reload; systemctl restart bailiff.service bailiff-fleet.service"
}
