package fleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/cmd/bailiff/internal/settings"
	"bailiff/cmd/bailiff/internal/text"
	"bailiff/units/control"
	"bailiff/units/hub"
	"bailiff/units/manager"
)

const (
	agentUnit = "bailiff-fleet.service"

	// fragment makes this host trust the hosts of the roster.
	fragment = settings.Dir + "/bailiff.d/60-fleet.yaml"
	madeBy   = "# Written by bailiff fleet join; bailiff fleet leave removes it. Limits: bailiff.yaml(5), FLEET.\n"

	// joinWait is how long join waits for the connection to the hub. The unit needs two or three seconds.
	joinWait = 30 * time.Second
)

func joinCommand() *cli.Command {
	c := cli.New("join", "FILE", "make this host a member of the fleet whose operator made the file").WithSocket(control.DefaultPath)
	wait := c.Flags.Duration("wait", joinWait, "`TIME` to wait for the connection to the hub")
	plain := c.Flags.Bool("plain", false, "do not encrypt this host's keys with systemd-creds(1)")
	return c.Does(func(e *cli.Env, args []string) error {
		m, err := hub.ReadMember(args[0])
		if err != nil {
			return err
		}
		if err := errNotRoot(); err != nil {
			return err
		}
		return join(e, args[0], m, *wait, *plain)
	})
}

// join installs the file of a host. A failure before the daemon has the new configuration leaves everything as it was.
func join(e *cli.Env, file string, m *hub.Member, wait time.Duration, plain bool) error {
	daemon := control.Dial(e.Socket)
	if _, err := daemon.Fleet(e.Ctx); err != nil {
		return fmt.Errorf("a host shares bans while its daemon runs: %w", err)
	}
	if old, err := installed(e.Ctx); err == nil && (old.Fleet != m.Fleet || old.Host != m.Host) {
		return cli.WithHint(fmt.Errorf("this host is %s of fleet %s", old.Host, old.Fleet), "first bailiff fleet leave")
	}
	if st, err := os.Stat(file); err == nil && st.Mode().Perm()&0o077 != 0 {
		e.Notef("other users could read %s, which holds this host's keys", file)
	}
	undo, notEncrypted, err := installMember(e.Ctx, m, plain)
	if err != nil {
		return err
	}
	if _, err := daemon.Reload(e.Ctx); err != nil {
		return errors.Join(err, undo())
	}
	if c, err := settings.Load(""); err == nil && !c.Fleet.Roster {
		e.Notef("fleet.hosts is set elsewhere in the configuration, so the fleet's hosts are not believed: bailiff config")
	}
	kept := encryptedFile + ", encrypted"
	if plain || notEncrypted != nil {
		kept = hub.MemberFile
	}
	if notEncrypted != nil {
		e.Notef("this host's keys are kept unencrypted in %s, which only root can read: %v", kept, notEncrypted)
	}
	began := time.Now()
	for _, args := range [][]string{{"daemon-reload"}, {"enable", agentUnit}, {"restart", agentUnit}} { // a running one has the old file
		if err := systemctl(e.Ctx, args...); err != nil {
			return cli.WithHint(err, "journalctl -u %s; once it is corrected: systemctl restart %s", agentUnit, agentUnit)
		}
	}
	server, err := cli.Waiting(e, "the hub", func() (string, error) { return connected(e.Ctx, daemon, began, wait) })
	if err != nil {
		return cli.WithHint(fmt.Errorf("%s runs, but it is not connected to the hub yet: %w", agentUnit, err),
			"it goes on trying: bailiff fleet status. The fleet's hub must have its new files (bailiff fleet hub), and this host must reach it")
	}
	e.Printf("host %s (group %s) has joined fleet %s, connected to %s\n", m.Host, m.Group, m.Fleet, text.Clean(server))
	if abs, err := filepath.Abs(file); err == nil && abs != hub.MemberFile {
		e.Printf("%s is installed as %s; remove it, since it holds this host's keys\n", file, kept)
	}
	return nil
}

// connected waits until bailiff-fleet, started since, says that it is connected, and returns the server's address.
func connected(ctx context.Context, daemon *control.Client, since time.Time, wait time.Duration) (string, error) {
	end := time.Now().Add(wait)
	why := errors.New("it has not reported to the daemon")
	for {
		s, err := daemon.Fleet(ctx)
		if err != nil {
			return "", err
		}
		if a := s.Agent; a != nil && a.Heard.After(since) {
			if a.Hub != "" {
				return a.Hub, nil
			}
			if a.Error != "" {
				why = errors.New(text.Clean(a.Error))
			}
		}
		if state, err := manager.Stopped(ctx, agentUnit); err == nil && state != "" {
			return "", fmt.Errorf("the unit is %s: journalctl -u %s", state, agentUnit)
		}
		if time.Now().After(end) {
			return "", why
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func leaveCommand() *cli.Command {
	c := cli.New("leave", "", "end this host's membership in a fleet: bans of others end here").WithSocket(control.DefaultPath)
	return c.Does(func(e *cli.Env, _ []string) error {
		if err := errNotRoot(); err != nil {
			return err
		}
		m, err := installed(e.Ctx)
		if errors.Is(err, fs.ErrNotExist) {
			return cli.WithHint(errors.New("this host belongs to no fleet"), "bailiff fleet join FILE makes it a member of one")
		}
		if err := systemctl(e.Ctx, "disable", "--now", agentUnit); err != nil {
			return err
		}
		if err := putMember(nil); err != nil {
			return err
		}
		if err := systemctl(e.Ctx, "daemon-reload"); err != nil {
			return err
		}
		if _, err := control.Dial(e.Socket).Reload(e.Ctx); err != nil {
			return fmt.Errorf("the files are removed, but the daemon still uses them: %w", err)
		}
		if m != nil {
			e.Printf("this host is no longer part of fleet %s\n", m.Fleet)
			e.Printf("its bans stay with the others until they end; to end them now, and its keys: bailiff fleet revoke DIR %s, where the fleet is kept\n", m.Host)
		} else {
			e.Printf("this host is no longer part of a fleet (its file cannot be read: %v)\n", err)
		}
		return nil
	})
}
