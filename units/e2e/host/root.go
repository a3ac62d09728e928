package host

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Suites are the Debian releases that a root can be made of, oldest first.
var Suites = []string{"bullseye", "bookworm", "trixie", "forky"}

// packages is all that a host under attack needs. libpam-systemd must be named: minbase takes no recommendations.
var packages = []string{
	"systemd", "systemd-sysv", "libpam-systemd", "libnss-systemd", "dbus", // a real systemd host
	"openssh-server", "openssh-client", // what is attacked, and what attacks
	"iproute2", "ipset", "nftables", "procps", // to look at it from outside of bailiff
	"bsdutils", "curl", // logger; and curl, for the control socket
}

// setup configures a fresh root from inside of it: accounts, sshd, journald, no timers.
//
//go:embed setup.sh
var setup string

// Root returns a directory with a configured Debian root of the given release, to be used as the lower layer of an overlay
// and never written to. It is made by mmdebstrap when the cache has none: under $BAILIFF_E2E_CACHE, or
// $XDG_CACHE_HOME/bailiff-e2e, or /var/cache/bailiff-e2e. Its name holds a hash of all that it is made from. extra are
// packages beyond the usual ones.
func Root(ctx context.Context, suite string, progress io.Writer, extra ...string) (string, error) {
	return root(ctx, suite, progress, setup, extra...)
}

// root copies what bare made, adds the extra packages and configures it: most of a release is the same for all tests.
func root(ctx context.Context, suite string, progress io.Writer, setup string, extra ...string) (string, error) {
	name := cacheName(suite, append(slices.Clone(packages), extra...), setup)
	return cached(ctx, name, progress, func(ctx context.Context, part string) error {
		from, err := bare(ctx, suite, progress)
		if err != nil {
			return err
		}
		args := []string{"--quiet", "--variant=custom", "--skip=update", "--setup-hook=cp -a --reflink=auto '" + from + "/.' \"$1\""}
		if len(extra) > 0 { // the lists are those of bare, which may be old
			apt := "chroot \"$1\" apt-get "
			install := apt + "install --yes -qq " + strings.Join(extra, " ")
			args = append(args, "--customize-hook="+install+" || { "+apt+"update -qq && "+install+"; }")
		}
		if err := build(ctx, nil, "mmdebstrap", append(args, suite, part)...); err != nil {
			return err
		}
		return build(ctx, strings.NewReader(setup), "chroot", part, "/bin/sh", "-eu")
	})
}

// bare returns a root of a release with the usual packages, and with the lists of all others, before it is configured.
func bare(ctx context.Context, suite string, progress io.Writer) (string, error) {
	return cached(ctx, cacheName(suite, packages, "bare"), progress, func(ctx context.Context, part string) error {
		args := []string{"--quiet", "--variant=minbase", "--include=" + strings.Join(packages, ","), "--skip=cleanup/apt/lists", "--dpkgopt=force-unsafe-io"}
		if suite == "forky" {
			args = append(args, `--aptopt=Acquire::Check-Valid-Until "false"`) // mirrors of a release to be may lag behind
		}
		for _, p := range []string{"/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"} {
			args = append(args, "--dpkgopt=path-exclude="+p)
		}
		return build(ctx, nil, "mmdebstrap", append(args, suite, part)...)
	})
}

// cacheName names a root after its release and a hash of all that it is made from.
func cacheName(suite string, packages []string, setup string) string {
	sum := sha256.Sum256([]byte(suite + "\n" + strings.Join(packages, ",") + "\n" + setup))
	return suite + "-" + hex.EncodeToString(sum[:6])
}

// cached returns the directory of that name in the cache. When there is none, fill makes it, under another name until it is
// whole. Two test runs at once build it once.
func cached(ctx context.Context, name string, progress io.Writer, fill func(ctx context.Context, part string) error) (string, error) {
	dir := filepath.Join(cacheDir(), name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("root cache: %w", err)
	}
	unlock, err := lock(ctx, dir+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}

	begin := time.Now()
	fmt.Fprintf(progress, "building a Debian root in %s (about a minute, once)\n", dir)
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return "", fmt.Errorf("root cache: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	if err := fill(ctx, part); err != nil {
		return "", err
	}
	if err := os.Rename(part, dir); err != nil {
		return "", fmt.Errorf("root cache: %w", err)
	}
	fmt.Fprintf(progress, "built %s in %.0f s\n", name, time.Since(begin).Seconds())
	return dir, nil
}

func cacheDir() string {
	if d := os.Getenv("BAILIFF_E2E_CACHE"); d != "" {
		return d
	}
	if d := os.Getenv("XDG_CACHE_HOME"); d != "" {
		return filepath.Join(d, "bailiff-e2e")
	}
	return "/var/cache/bailiff-e2e"
}

// build runs one step of making a root; its output is shown only when it fails.
func build(ctx context.Context, stdin io.Reader, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = stdin
	// With the system's own programs: another python3, which filters 60 packages, may be slow to start.
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, args[len(args)-1], err, tail(out, 20))
	}
	return nil
}

// lock takes an exclusive lock on a file, which ends with the process at the latest.
func lock(ctx context.Context, path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("root cache: %w", err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func tail(out []byte, n int) string {
	lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
