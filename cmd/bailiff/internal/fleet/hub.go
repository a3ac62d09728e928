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
	"strconv"
	"strings"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/units/atomicfile"
	"bailiff/units/hub"
)

const (
	natsUnit   = "nats-server.service"
	natsGroup  = "nats" // of the unit
	dropInFile = "/etc/systemd/system/" + natsUnit + ".d/bailiff-hub.conf"
	confName   = "nats-server.conf"
	dropInName = "bailiff-hub.conf"
)

// hubFiles are a server's, besides the drop-in.
var hubFiles = []string{confName, "hub.crt", "hub.key", "ca.crt", "admin.json"}

func hubCommand() *cli.Command {
	return cli.New("hub", "FOLDER", "install what fleet init wrote for a server on this host, and start or reload nats-server").Does(func(e *cli.Env, args []string) error {
		if err := errNotRoot(); err != nil {
			return err
		}
		return installHub(e, args[0])
	})
}

// installHub checks the files of a server with nats-server itself before it replaces the installed ones.
func installHub(e *cli.Env, dir string) error {
	files := map[string][]byte{}
	for _, name := range append([]string{dropInName}, hubFiles...) {
		data, err := atomicfile.Read(filepath.Join(dir, name), maxInventory, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return cli.WithHint(fmt.Errorf("%s is not the folder of a server: there is no %s", dir, name), "it is one of those that bailiff fleet init and add wrote to DIR/%s", serversDir)
		}
		if err != nil {
			return err
		}
		files[name] = data
	}
	admin, err := hub.ReadAdmin(filepath.Join(dir, "admin.json"))
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
	said, err := stream(e.Ctx, "10s", filepath.Join(hubDir, "admin.json"))
	switch {
	case err == nil:
		e.Printf("%s\n", said)
		return nil
	case admin.Replicas > 1:
		e.Notef("it does not answer yet (%v): most of the hub's %d servers must run first", err, admin.Replicas)
		return nil
	}
	return cli.WithHint(fmt.Errorf("the hub does not answer: %w", err), "journalctl -u %s", natsUnit)
}

// stream has bailiff-fleet make the hub's streams and store the roster of an Admin file, and returns what it said.
func stream(ctx context.Context, wait, admin string) (string, error) {
	out, err := exec.CommandContext(ctx, "bailiff-fleet", "stream", "--wait", wait, "--admin", admin).CombinedOutput()
	said := text.Clean(strings.TrimSpace(string(out)))
	if err != nil && said != "" {
		err = errors.New(strings.TrimPrefix(said, "bailiff-fleet: "))
	}
	return said, err
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

// startHub reloads nats-server if only hosts have changed, since connections stay then, and else restarts it.
func startHub(ctx context.Context, before, after []byte, newUnit bool) error {
	accounts := func(conf []byte) string { head, _, _ := bytes.Cut(conf, []byte("\naccounts {")); return string(head) }
	how := "restart"
	if !newUnit && accounts(before) == accounts(after) {
		how = "reload-or-restart"
	}
	for _, args := range [][]string{{"daemon-reload"}, {"enable", natsUnit}, {how, natsUnit}} {
		if err := systemctl(ctx, args...); err != nil {
			return cli.WithHint(err, "journalctl -u %s", natsUnit)
		}
	}
	return nil
}

func systemctl(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, text.Clean(strings.TrimSpace(string(out))))
	}
	return nil
}
