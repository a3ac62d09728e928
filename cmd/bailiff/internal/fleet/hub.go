package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/units/atomicfile"
	"bailiff/units/hub"
)

const (
	hubDir   = "/etc/bailiff-hub"     // of a server's files
	storeDir = "/var/lib/bailiff-hub" // of its messages

	natsUnit   = "nats-server.service"
	natsGroup  = "nats" // of the unit
	keepUnit   = "bailiff-hub.service"
	dropInFile = "/etc/systemd/system/" + natsUnit + ".d/bailiff-hub.conf"
	confName   = "nats-server.conf"
	dropInName = "bailiff-hub.conf"
	adminName  = "admin.json"
)

// hubFiles are a server's, besides the drop-in.
var hubFiles = []string{confName, "hub.crt", "hub.key", "ca.crt", adminName}

func hubCommand() *cli.Command {
	c := cli.New("hub", "[FOLDER]", "install what fleet init wrote for a server on this host, and start or reload nats-server")
	remove := c.Flags.Bool("remove", false, "remove the hub from this host: stop nats-server and remove its files")
	return c.Does(func(e *cli.Env, args []string) error {
		switch {
		case *remove && len(args) > 0:
			return cli.Usagef("unexpected argument %q: --remove takes none", args[0])
		case !*remove && len(args) == 0:
			return cli.Usagef("missing FOLDER")
		}
		if err := errNotRoot(); err != nil {
			return err
		}
		if *remove {
			return removeHub(e)
		}
		return installHub(e, args[0])
	})
}

// removeHub undoes installHub.
func removeHub(e *cli.Env) error {
	if _, err := os.Stat(hubDir); errors.Is(err, fs.ErrNotExist) {
		return errors.New("this host is not a hub server")
	}
	if err := systemctl(e.Ctx, "disable", "--now", natsUnit); err != nil {
		return err
	}
	if err := errors.Join(remove(dropInFile), os.RemoveAll(storeDir), os.RemoveAll(hubDir)); err != nil {
		return err
	}
	_ = os.Remove(filepath.Dir(dropInFile)) // unless others have files there
	if err := systemctl(e.Ctx, "daemon-reload"); err != nil {
		return err
	}
	e.Printf("this host is no longer a hub server\n")
	return nil
}

// installHub checks the files of a server with nats-server itself before it replaces the installed ones.
func installHub(e *cli.Env, dir string) error {
	files := map[string][]byte{}
	for _, name := range append([]string{dropInName}, hubFiles...) {
		data, err := atomicfile.Read(filepath.Join(dir, name), maxInventory, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return cli.WithHint(fmt.Errorf("%s is not the folder of a server: there is no %s", dir, name), "bailiff fleet init and add write these folders to DIR/%s", serversDir)
		}
		if err != nil {
			return err
		}
		files[name] = data
	}
	admin, err := hub.ReadAdmin(filepath.Join(dir, adminName))
	if err != nil {
		return err
	}
	group, err := user.LookupGroup(natsGroup)
	if _, missing := exec.LookPath("nats-server"); err != nil || missing != nil {
		return cli.WithHint(errors.New("nats-server is not installed"), "apt-get install nats-server")
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return err
	}
	if err := tryHub(e.Ctx, dir, files[confName]); err != nil {
		return err
	}
	before, _ := os.ReadFile(filepath.Join(hubDir, confName))
	newUnit, err := placeHub(files, gid)
	if err != nil {
		return err
	}
	if err := startHub(e.Ctx, before, files[confName], newUnit); err != nil {
		return err
	}
	e.Printf("%s runs with the files of fleet %s in %s\n", natsUnit, admin.Fleet, hubDir)
	said, err := stream(e.Ctx, "10s", filepath.Join(hubDir, adminName))
	switch {
	case err == nil:
		e.Printf("%s\n", said)
		return nil
	case admin.Replicas > 1:
		e.Notef("it does not answer yet (%v): most of the hub's %d servers must run first; %s tries until they do", err, admin.Replicas, keepUnit)
		return nil
	}
	return cli.WithHint(fmt.Errorf("the hub does not answer: %w", err), "journalctl -u %s", natsUnit)
}

// stream has bailiff-fleet make the hub's streams and store the roster of an Admin file, and returns what it said.
func stream(ctx context.Context, wait, admin string) (string, error) {
	out, err := exec.CommandContext(ctx, "bailiff-fleet", "stream", "--wait", wait, "--admin", admin).CombinedOutput()
	said := text.Clean(strings.TrimSpace(string(out)))
	if err != nil && said != "" {
		err = &streamError{strings.TrimPrefix(said, "bailiff-fleet: "), err}
	}
	return said, err
}

// streamError is what bailiff-fleet said before it failed, and how it ended.
type streamError struct {
	said  string
	ended error
}

func (e *streamError) Error() string { return e.said }
func (e *streamError) Unwrap() error { return e.ended }

// notReady reports whether the hub may do later what it was asked for: its servers have not found each other, or one has just started.
func notReady(err error) bool {
	var ended *exec.ExitError
	return errors.As(err, &ended) && ended.ExitCode() == hub.ExitNotReady
}

// tryHub has nats-server check a configuration whose files lie in dir.
func tryHub(ctx context.Context, dir string, conf []byte) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", "bailiff-hub-*.conf")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(bytes.ReplaceAll(conf, []byte(`"`+hubDir+`/`), []byte(`"`+dir+`/`)))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "nats-server", "-t", "-c", f.Name()).CombinedOutput(); err != nil {
		return cli.WithHint(fmt.Errorf("nats-server refuses the configuration: %s", text.Clean(strings.TrimSpace(string(out)))), "it needs nats-server 2.10 or later: nats-server --version")
	}
	return nil
}

// placeHub installs the files, for root and the unit's group only, and reports whether the unit has changed.
func placeHub(files map[string][]byte, gid int) (newUnit bool, err error) {
	if err := settings.MakeFolder(filepath.Dir(dropInFile)); err != nil {
		return false, err
	}
	if err := os.MkdirAll(hubDir, 0o750); err != nil {
		return false, err
	}
	if err := errors.Join(os.Chown(hubDir, 0, gid), os.Chmod(hubDir, 0o750)); err != nil {
		return false, err
	}
	for _, name := range hubFiles {
		if err := placeFor(filepath.Join(hubDir, name), files[name], gid); err != nil {
			return false, err
		}
	}
	if old, err := os.ReadFile(dropInFile); err == nil && bytes.Equal(old, files[dropInName]) {
		return false, nil
	}
	return true, atomicfile.Write(dropInFile, files[dropInName], 0o644)
}

// placeFor writes a file that a group may read.
func placeFor(name string, data []byte, gid int) error {
	f, err := atomicfile.Create(name, secretMode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = errors.Join(f.Chown(0, gid), f.Chmod(0o640))
	}
	if err == nil {
		err = f.Commit()
	}
	return errors.Join(err, f.Close())
}

// startHub reloads nats-server if only hosts have changed, which keeps connections, and otherwise restarts it.
func startHub(ctx context.Context, before, after []byte, newUnit bool) error {
	accounts := func(conf []byte) string { head, _, _ := bytes.Cut(conf, []byte("\naccounts {")); return string(head) }
	how := "restart"
	if !newUnit && accounts(before) == accounts(after) {
		how = "reload-or-restart"
	}
	if before != nil && servers(before) != servers(after) {
		// State shared with the former servers is useless with these, and hosts send again what the hub held.
		if err := systemctl(ctx, "stop", natsUnit); err != nil {
			return err
		}
		if err := emptyStore(); err != nil {
			return err
		}
	}
	// If nats-server is only reloaded, the other unit still has the old files.
	for _, args := range [][]string{{"daemon-reload"}, {"enable", natsUnit}, {how, natsUnit}, {"restart", "--no-block", keepUnit}} {
		if err := systemctl(ctx, args...); err != nil {
			return cli.WithHint(err, "journalctl -u %s", natsUnit)
		}
	}
	return nil
}

var routePassword = regexp.MustCompile(`hub:[0-9a-f]+@|password: "[0-9a-f]+"`)

// servers returns what a configuration says about the hub's servers, without their password.
func servers(conf []byte) string {
	_, cluster, _ := bytes.Cut(conf, []byte("\ncluster {"))
	cluster, _, _ = bytes.Cut(cluster, []byte("\naccounts {"))
	return string(routePassword.ReplaceAll(cluster, nil))
}

// emptyStore removes what nats-server has stored.
func emptyStore() error {
	l, err := os.ReadDir(storeDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range l {
		err = errors.Join(err, os.RemoveAll(filepath.Join(storeDir, e.Name())))
	}
	return err
}

func systemctl(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, text.Clean(strings.TrimSpace(string(out))))
	}
	return nil
}

// dropIn makes nats-server.service a server of the hub. bailiff-hub.service makes the streams, stores the roster and keeps
// both, which one of several servers can do only when most of them run.
const dropIn = `# Written by bailiff fleet: this server is a hub of bailiff-fleet(7).
[Unit]
StartLimitIntervalSec=0
Wants=` + keepUnit + `

[Service]
ExecStart=
ExecStart=nats-server -c ` + hubDir + `/nats-server.conf
Restart=always
RestartSec=100ms
LimitNOFILE=65536
StateDirectory=bailiff-hub
StateDirectoryMode=0700
UMask=0077
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
`
