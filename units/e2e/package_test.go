package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestPackage installs the Debian package with apt from a signed repository and purges it; upgrades to it, under attack, from
// the release before, and goes back to that; removes and reinstalls it; and then does the same with the rpm and Arch's package.
func TestPackage(t *testing.T) {
	suites, _, load := wanted(t, "bookworm", "trixie", "forky")
	last, now := packages(t, pastReleases(t)[0], ""), packages(t, "", "+1")
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			p := packageHost(t, suite, load)
			p.steps(t, []step{
				{"image", func(t *testing.T) { p.offer(t, now); p.image(t) }},
				{"first ban", p.firstBan},
				{"purge", p.purge},
				{"upgrade", func(t *testing.T) { p.upgradeFrom(t, last, now) }},
				{"rejected", p.rejected},
				{"downgrade", func(t *testing.T) { p.downgrade(t, last, now) }},
				{"remove", p.remove},
				{"purge after upgrades", p.purge},
				{"rpm", func(t *testing.T) { p.rpm(t, last, now) }},
				{"arch", func(t *testing.T) { p.arch(t, now) }},
			})
		})
	}
}

// TestUpgrades upgrades, under attack, from the package of each release so far, and goes back. BAILIFF_UPGRADES=1 asks for it:
// each release has to be built.
func TestUpgrades(t *testing.T) {
	if os.Getenv("BAILIFF_UPGRADES") == "" {
		t.Skip("builds every release: run make upgrades")
	}
	suites, _, load := wanted(t, "trixie")
	now := packages(t, "", "+1")
	for _, ref := range pastReleases(t) {
		last := packages(t, ref, "")
		for _, suite := range suites {
			t.Run(suite+"/"+ref, func(t *testing.T) {
				p := packageHost(t, suite, load)
				p.steps(t, []step{
					{"upgrade", func(t *testing.T) { p.upgradeFrom(t, last, now) }},
					{"downgrade", func(t *testing.T) { p.downgrade(t, last, now) }},
					{"purge", p.purge},
				})
			})
		}
	}
}

type step struct {
	name string
	run  func(*testing.T)
}

// steps runs steps that build on each other.
func (p *packaged) steps(t *testing.T, l []step) {
	for _, s := range l {
		if !t.Run(s.name, s.run) {
			return
		}
	}
}

func packageHost(t *testing.T, suite, load string) *packaged {
	t.Helper()
	v := boot(t, suite, "", load, mailHosts[0].packages...)
	return &packaged{banned: sourceN(100), proof: &proof{victim: v, backend: "ipset", wave: 100, rate: 25, rand: rand.New(rand.NewPCG(1, 1)), done: map[string]int{}}}
}

// pastReleases returns the releases from which an upgrade is possible, newest first: the tags, and the first commit that built packages.
func pastReleases(t *testing.T) []string {
	t.Helper()
	git := func(args ...string) []string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", "../.."}, args...)...).Output()
		if err != nil {
			t.Fatalf("git %q: %v", args, err)
		}
		return strings.Fields(string(out))
	}
	refs := git("tag", "--list", "v*", "--merged", "HEAD~", "--sort", "-version:refname")
	refs = append(refs, git("log", "--diff-filter=A", "--format=%h", "--", "units/packaging/dist/main.go")...)
	if len(refs) == 0 {
		t.Fatal("git knows no commit that packages could be built from: is this a shallow clone?")
	}
	return refs
}

// packages builds packages of a release, or of this tree if ref is empty, whose version ends in suffix, and a signed repository
// of them.
func packages(t *testing.T, ref, suffix string) string {
	t.Helper()
	home, out, top := t.TempDir(), t.TempDir(), "../.."
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = top
		cmd.Env = append(os.Environ(), "GNUPGHOME="+home)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, text)
		}
	}
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() })
	run("gpg", "--batch", "--passphrase", "", "--quick-generate-key", "bailiff test", "rsa2048", "sign", "1d")
	build := []string{"go", "run", "./units/packaging/dist", "-arch", "amd64", "-formats", "deb,rpm,archlinux", "-sign", "bailiff test", "-out", out}
	if ref != "" {
		dir := t.TempDir()
		run("git", "clone", "-q", "--no-checkout", ".", dir)
		top = dir
		run("git", "checkout", "-q", ref)
	}
	if suffix != "" {
		build = append(build, "-suffix", suffix)
	}
	run(build...)
	return out
}

// packaged is a host on which packages are installed.
type packaged struct {
	*proof
	banned netip.Addr // the last one
}

// ban has the next address attack until it is banned. The last one would be banned by a fresh installation at its start, for what it did
// before: that is in the journal.
func (p *packaged) ban(t *testing.T) {
	t.Helper()
	p.banned = p.banned.Next()
	p.fails(t, p.banned, 5)
	p.bansInKernel(t, p.banned)
}

// offer puts a repository, and the other packages, onto the host and makes it apt's only one: the host has no network.
func (p *packaged) offer(t *testing.T, dist string) {
	t.Helper()
	p.sh(t, `rm -rf /srv/dist; mkdir -p /srv/dist`)
	for _, pattern := range []string{"apt/*", "*.rpm", "*.pkg.tar.zst"} {
		files, err := filepath.Glob(filepath.Join(dist, pattern))
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(dist, f)
			if err == nil {
				err = p.WriteFile("/srv/dist/"+name, data, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	// apt refuses an index that is older than the one it has.
	p.sh(t, `rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/*
		echo 'deb [signed-by=/srv/dist/apt/bailiff.gpg] file:/srv/dist/apt ./' >/etc/apt/sources.list
		apt-get update 2>&1 | { ! grep '^[WE]:'; }`)
}

const aptInstall = `DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends `

// image installs the package into a folder in which no systemd runs, as the builder of an image does.
func (p *packaged) image(t *testing.T) {
	p.sh(t, `mkdir -p /run/image; mount -t tmpfs tmpfs /run/image; mkdir /run/image/upper /run/image/work /run/image/root
		mount -t overlay overlay -o lowerdir=/,upperdir=/run/image/upper,workdir=/run/image/work /run/image/root
		chroot /run/image/root dpkg -i /srv/dist/apt/bailiff_*_amd64.deb`)
	for _, f := range []string{"etc/systemd/system/multi-user.target.wants/bailiff.service", "etc/systemd/system/sockets.target.wants/bailiff.socket"} {
		p.sh(t, `test -L /run/image/root/`+f)
	}
	p.sh(t, `grep -q ^bailiff-report: /run/image/root/etc/passwd; chroot /run/image/root dpkg --purge bailiff
		test -z "$(find /run/image/upper -name '*bailiff*' ! -path '*/var/lib/dpkg/*' ! -path '*/var/log/*' ! -type c)"
		umount /run/image/root /run/image`)
}

// firstBan is what the package is for: apt install, an attack, a ban. No file is edited.
func (p *packaged) firstBan(t *testing.T) {
	p.sh(t, `systemctl reset-failed; systemd-run -q --unit fail2ban.service sleep infinity`) // apt names the way from it
	begin := time.Now()
	out := p.sh(t, aptInstall+`bailiff`)
	p.ban(t)
	t.Logf("%s: apt install to the first ban: %.1f s", p.suite, time.Since(begin).Seconds())
	if p.sh(t, `systemctl stop fail2ban.service`); strings.Count(out, "bailiff import") != 1 {
		t.Errorf("apt says nothing of fail2ban, which runs, or too much:\n%s", out)
	}
	if out := p.sh(t, `systemctl is-enabled bailiff.service bailiff.socket bailiff-allow-refresh.timer || :`); out != "enabled\nenabled\ndisabled\n" {
		t.Errorf("enabled: %q", out)
	}
	if out := p.sh(t, `systemctl --failed --no-legend --plain; dpkg --verify bailiff | grep -v '/usr/share/\(doc\|man\)' || :`); out != "" {
		t.Errorf("failed units, changed files:\n%s", out)
	}
	p.sh(t, `man -w bailiff >/dev/null 2>&1 || test ! -e /usr/bin/man`)
}

// upgradeFrom installs a past release, has an address banned, and upgrades.
func (p *packaged) upgradeFrom(t *testing.T, last, now string) {
	p.offer(t, last)
	p.sh(t, `systemctl reset-failed; `+aptInstall+`bailiff`)
	p.ban(t)
	p.upgrade(t, now)
}

// upgrade installs the next version while two hundred addresses attack: each attempt counts once, each ban is made and
// reported once, and no packet of a banned address gets through meanwhile.
func (p *packaged) upgrade(t *testing.T, dist string) {
	p.reporterLog(t)
	p.sh(t, postfixSetup)
	p.sendsBy(t, "postfix")
	p.put(t, "50-report.yaml", `
report:
  host: mail.example.test
  sender: bailiff@mail.example.test
  lookup: {rdap: false, whois: false, contacts: none}
  destinations:
    admin: {type: mail, to: root}
`)
	p.sh(t, `bailiff reload; systemctl try-restart bailiff-report.service`)
	p.offer(t, dist)
	since := p.now(t)
	var tries, through atomic.Int64
	over := make(chan struct{})
	how := make(chan string, 10) // ways in which tries got through
	var dials sync.WaitGroup
	p.underAttack(t, func(t *testing.T) {
		for range 20 { // one begins every 50 ms or so, and waits for a second
			dials.Add(1)
			go func() {
				defer dials.Done()
				for {
					select {
					case <-over:
						return
					default:
					}
					tries.Add(1)
					began := time.Now()
					c, err := p.Dial(p.banned, 22, time.Second)
					if err == nil {
						c.Close()
					}
					if timedOut(err) {
						continue
					}
					through.Add(1)
					select {
					case how <- fmt.Sprintf("%s, after %s: %v", began.Format("15:04:05.000"), time.Since(began), err):
					default:
					}
				}
			}()
		}
		time.Sleep(2 * time.Second)
		p.sh(t, aptInstall+`bailiff`)
		time.Sleep(2 * time.Second)
	})
	close(over)
	dials.Wait()
	p.check(t, since, "upgrade")
	t.Logf("%s: %d tries of a banned address during the upgrade, %d got through", p.suite, tries.Load(), through.Load())
	if tries.Load() < 20 {
		t.Error("too few to tell")
	}
	close(how)
	for h := range how {
		t.Error("the ban had a gap: ", h)
	}
	if out := p.sh(t, `dpkg-query -W -f '${Version}' bailiff; systemctl show -P NRestarts bailiff.service`); !strings.HasSuffix(out, "+10\n") {
		t.Errorf("version and restarts: %q", out)
	}
}

// rejected upgrades with a configuration that the new version does not accept, with keys of versions before 1.0: the running daemon goes
// on, and apt's output names file, line and the new key.
func (p *packaged) rejected(t *testing.T) {
	p.put(t, "99-old.yaml", "# before 1.0\nlimits: {tracked: 1000}\n")
	pid := p.sh(t, `systemctl show -P MainPID bailiff.service`)
	out := p.sh(t, aptInstall+`--reinstall bailiff 2>&1`)
	if !strings.Contains(out, "99-old.yaml:2") || !strings.Contains(out, "max_tracked") || !strings.Contains(out, "keeps running") {
		t.Errorf("apt does not say what is wrong:\n%s", out)
	}
	if now := p.sh(t, `systemctl show -P MainPID bailiff.service`); now != pid {
		t.Errorf("the daemon was restarted: %s, before %s", now, pid)
	}
	p.sh(t, `rm /etc/bailiff/bailiff.d/99-old.yaml; systemctl restart bailiff.service`)
	p.active(t)
}

// downgrade goes back to the release before and forward again. Both versions start, and bans stay.
func (p *packaged) downgrade(t *testing.T, last, now string) {
	bans := p.bansInForce(t)
	for _, dist := range []string{last, now} {
		p.offer(t, dist)
		p.sh(t, `systemctl reset-failed; `+aptInstall+`--allow-downgrades bailiff=$(dpkg-deb -f /srv/dist/apt/bailiff_*_amd64.deb Version)`)
		p.active(t)
		p.bansInKernel(t, p.banned)
		if n := p.bansInForce(t); n != bans {
			t.Errorf("%s: %d bans in force, want %d", p.sh(t, `bailiff version`), n, bans)
		}
	}
}

// remove removes bans and services, and keeps configuration and state for the next installation.
func (p *packaged) remove(t *testing.T) {
	p.sh(t, `DEBIAN_FRONTEND=noninteractive apt-get remove -y bailiff`)
	if err := p.letIn(p.banned, 22); err != nil {
		t.Errorf("after the package was removed: %v", err)
	}
	if out := p.sh(t, `ipset list -n | grep bailiff || :; nft list tables 2>/dev/null | grep bailiff || :; pgrep -l bailiff || :; ls -A /run | grep bailiff || :`); out != "" {
		t.Errorf("left after removal:\n%s", out)
	}
	p.sh(t, `test -e /etc/bailiff/bailiff.d/50-report.yaml; systemctl reset-failed; `+aptInstall+`bailiff`)
	p.active(t)
	p.bansInKernel(t, p.banned)
}

// purge leaves nothing, not even of a unit that only the administrator enabled.
func (p *packaged) purge(t *testing.T) {
	p.sh(t, `systemctl enable -q bailiff-allow-refresh.timer; DEBIAN_FRONTEND=noninteractive apt-get purge -y bailiff`)
	p.clean(t)
}

func (p *packaged) clean(t *testing.T) {
	t.Helper()
	if out := p.sh(t, `getent passwd | grep ^bailiff || :; getent group | grep ^bailiff || :; ipset list -n | grep bailiff || :
		find /etc /usr /var /run /opt /root -xdev -name '*bailiff*' ! -path '/var/lib/dpkg/*' ! -path '/var/lib/apt/*' ! -path '/var/log/*' ! -path '/run/systemd/*' ! -path '/var/lib/rpm/*'`); out != "" {
		t.Errorf("left:\n%s", out)
	}
	if out := p.sh(t, `systemctl --failed --no-legend --plain`); out != "" {
		t.Errorf("failed units:\n%s", out)
	}
}

// rpm runs the rpm's scripts on a real host. Presets decide what is enabled; Debian has none, which systemd takes for "enable".
func (p *packaged) rpm(t *testing.T, last, now string) {
	p.offer(t, now)
	p.sh(t, `mkdir -p /run/keys; rpmkeys --dbpath /run/keys --import /srv/dist/apt/bailiff.asc; rpmkeys --dbpath /run/keys -K /srv/dist/bailiff-*.x86_64.rpm`)
	out := p.sh(t, `mkdir -p /etc/systemd/system-preset; echo 'disable bailiff*' >/etc/systemd/system-preset/10-bailiff.preset
		rpm -i --nodeps /srv/dist/bailiff-*.x86_64.rpm
		systemctl is-enabled bailiff.service || :; systemctl is-active bailiff.socket || :
		rpm -e bailiff >/dev/null; rm /etc/systemd/system-preset/10-bailiff.preset`)
	if out != "disabled\ninactive\n" {
		t.Errorf("with presets that disable it: %q", out)
	}
	p.foreign(t, last, now, `rpm -i --nodeps /srv/dist/bailiff-*.x86_64.rpm`, `rpm -U --nodeps /srv/dist/bailiff-*.x86_64.rpm`, `rpm -e bailiff`)
}

// foreign installs, upgrades and removes a package by another distribution's package manager.
func (p *packaged) foreign(t *testing.T, last, now, install, upgrade, remove string) {
	t.Helper()
	p.offer(t, last)
	p.sh(t, `systemctl reset-failed; `+install)
	p.active(t)
	p.ban(t)
	p.offer(t, now)
	before := p.sh(t, `systemctl show -P MainPID bailiff.service`)
	p.sh(t, upgrade)
	p.active(t)
	if !p.inKernel(t, p.banned) {
		t.Error("the ban is lost after an upgrade")
	}
	if after := p.sh(t, `systemctl show -P MainPID bailiff.service`); after == before {
		t.Error("the upgrade did not restart the daemon")
	}
	p.sh(t, remove+`; rm -rf /etc/bailiff /var/lib/bailiff /var/lib/bailiff-*; for u in $(getent passwd | sed -n 's/^\(bailiff[^:]*\):.*/\1/p'); do userdel $u; done`)
	p.clean(t)
	if err := p.letIn(p.banned, 22); err != nil {
		t.Errorf("after the package was removed: %v", err)
	}
}

// arch runs the scripts of Arch's package, which leave enabling and restarting to the administrator and say so.
func (p *packaged) arch(t *testing.T, now string) {
	p.offer(t, now)
	const pacman = `pacman --config /run/pacman.conf --noconfirm `
	p.sh(t, `printf '[options]\nLocalFileSigLevel = Optional\n' >/run/pacman.conf # as Arch has it
		mkdir -p /var/lib/pacman; mount --bind /usr/bin/bash /usr/bin/dash`) // Arch's sh is bash, and nfpm counts on that
	p.sh(t, `systemctl reset-failed; `+pacman+`--nodeps --nodeps -U /srv/dist/bailiff-*-x86_64.pkg.tar.zst 2>&1 | grep 'systemctl enable --now bailiff'
		systemctl enable -q --now bailiff.service`)
	p.active(t)
	p.ban(t)
	p.sh(t, pacman+`--nodeps --nodeps -U /srv/dist/bailiff-*-x86_64.pkg.tar.zst 2>&1 | grep 'systemctl try-restart bailiff.service'; pacman --config /run/pacman.conf -Qkk bailiff`)
	if !p.inKernel(t, p.banned) {
		t.Error("the ban is lost after an upgrade")
	}
	p.sh(t, pacman+`-R bailiff; umount -l /usr/bin/dash; rm -rf /var/lib/pacman /etc/bailiff /var/lib/bailiff /var/lib/bailiff-*
		for u in $(getent passwd | sed -n 's/^\(bailiff[^:]*\):.*/\1/p'); do userdel $u; done`)
	p.clean(t)
}
