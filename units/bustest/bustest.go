// Package bustest starts message buses for tests.
package bustest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// config lets every user own every name and send everything, which is more than a system bus permits.
const config = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=%PATH%</listen><auth>EXTERNAL</auth>
<policy context="default"><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/><allow user="*"/></policy></busconfig>`

// Start starts a real message bus with its files in dir. It returns the bus's address and a function that ends the bus, as does the end
// of the test. Another bus with the same address may then be started in the same folder. Without dbus-daemon the test is skipped.
func Start(t *testing.T, dir string) (address string, stop func()) {
	t.Helper()
	bin, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skipf("dbus-daemon is not installed: %v", err)
	}
	sock, conf := filepath.Join(dir, "bus"), filepath.Join(dir, "bus.conf")
	os.Remove(sock)
	if err := os.WriteFile(conf, []byte(strings.ReplaceAll(config, "%PATH%", sock)), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "--config-file="+conf, "--nofork", "--print-address")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	t.Cleanup(stop)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return "unix:path=" + sock, stop
}
