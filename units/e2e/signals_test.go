package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/units/control"
	"bailiff/units/packaging"
)

// forge does what any local user can do: for ten seconds, it sends each of the daemon's bus connections every signal that could be mistaken
// for one from firewalld, logind or the bus. It prints the number of rounds.
const forge = `
names=$(busctl list --no-pager --unique --no-legend | awk -v p=$(systemctl show -P MainPID bailiff.service) '$2==p{print $1}')
test -n "$names"
export names
setpriv --reuid=65534 --regid=65534 --clear-groups -- sh -euc '
f=org.fedoraproject.FirewallD1; fp=/org/fedoraproject/FirewallD1; b=org.freedesktop.DBus; l=org.freedesktop.login1
n=0; end=$(($(date +%s) + 10))
while test $(date +%s) -lt $end; do
	for d in $names; do
		send() { dbus-send --system --type=signal --dest=$d "$@"; }
		for owner in "" :1.1; do
			send / x.y.z string: string: string:$owner
			send /org/freedesktop/DBus $b.NameOwnerChanged string:$f string: string:$owner
			send /org/freedesktop/DBus $b.NameOwnerChanged string:$l string: string:$owner
		done
		for s in Reloaded PanicModeEnabled PanicModeDisabled policy.PolicyUpdated zone.ZoneUpdated; do send $fp $f.$s; done
		send $fp $f.DefaultZoneChanged string:drop
		send $fp $f.ipset.EntryAdded string:bailiff4-0 string:192.0.2.66
		send $fp $f.ipset.EntryRemoved string:bailiff4-0 string:198.51.100.10
		send /org/freedesktop/login1 $l.Manager.SessionNew string:c1 objpath:/x
		send /org/freedesktop/DBus/Local $b.Local.Disconnected 2>/dev/null || :
	done
	n=$((n + 1))
done
echo $n'`

// TestSignals: signals from a local user change nothing and are not reported as facts, with and without firewalld. On the same host, a
// start with another backend leaves nothing of the previous one in effect.
func TestSignals(t *testing.T) {
	suites, tree, load := wanted(t)
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			v := boot(t, suite, tree, load, firewalldHost...)
			v.sh(t, `systemctl stop firewalld.service; systemctl enable -q --now bailiff.service`)
			v.active(t)
			t.Run("without-firewalld", func(t *testing.T) { v.unmoved(t, "ipset") })
			v.sh(t, `systemctl start firewalld.service`)
			v.takesOver(t, "firewalld")
			t.Run("with-firewalld", func(t *testing.T) { v.unmoved(t, "firewalld") })
			t.Run("leftovers", v.leftovers)
			t.Run("auto", v.auto)
			t.Run("uninstall", func(t *testing.T) { v.uninstall(t, tree) })
		})
	}
}

// takesOver waits until a backend is in force.
func (v *victim) takesOver(t *testing.T, backend string) {
	t.Helper()
	eventually(t, func() error {
		if s := ask[control.Status](v, t, "status"); s.Firewall.Backend != backend || !s.Firewall.OK {
			return fmt.Errorf("want %s; firewall: %+v", backend, s.Firewall)
		}
		return nil
	})
}

// unmoved forges signals while a banned address tries to get in and another one earns its ban.
func (v *victim) unmoved(t *testing.T, backend string) {
	v.takesOver(t, backend)
	banned, late := netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("198.51.100.40")
	if backend == "firewalld" {
		late = netip.MustParseAddr("198.51.100.41")
		v.sh(t, `firewall-cmd -q --add-port=9999/tcp`) // at run time only: a reload drops it
	}
	v.sh(t, `bailiff ban --json `+banned.String())
	eventually(t, func() error { return v.keptOut(banned, 22) })
	before := ask[control.Status](v, t, "status")
	cursor := strings.TrimSpace(v.sh(t, `journalctl -q -n 0 --show-cursor | sed -n 's/^-- cursor: //p'`))

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	forged := make(chan string, 1)
	go func() {
		defer stop()
		out, err := v.Sh(ctx, forge)
		if err != nil {
			out = err.Error() + ": " + out
		}
		forged <- out
	}()
	v.fails(t, late, 5)
	tries, in := 0, 0
	for ctx.Err() == nil {
		tries++
		if c, err := v.Dial(banned, 22, 50*time.Millisecond); err == nil {
			in++
			c.Close()
		}
	}
	out := strings.TrimSpace(<-forged)
	if strings.Trim(out, "0123456789") != "" || out == "0" {
		t.Fatalf("signals could not be sent: %s", out)
	}
	if in > 0 || tries < 20 {
		t.Errorf("a banned address got in %d times in %d tries", in, tries)
	}
	t.Logf("%s, %s: %s rounds of signals, %d tries of a banned address", v.suite, backend, out, tries)
	eventually(t, func() error { return v.keptOut(late, 22) })
	if out := v.sh(t, `ipset list; nft list ruleset`); !strings.Contains(out, late.String()) {
		t.Errorf("%s is not in the kernel:\n%s", late, out)
	}

	after := ask[control.Status](v, t, "status")
	if after.Firewall.Backend != backend || !after.Firewall.OK || after.Firewall.Repaired != before.Firewall.Repaired || len(after.Problems) > 0 {
		t.Errorf("before %+v, after %+v, problems %q", before.Firewall, after.Firewall, after.Problems)
	}
	wrote := slices.DeleteFunc(v.entries(t, "_SYSTEMD_UNIT=bailiff.service", "--after-cursor="+cursor), func(e map[string]string) bool {
		return strings.HasPrefix(e["MESSAGE"], "ban "+late.String())
	})
	for _, e := range wrote[:min(3, len(wrote))] {
		t.Errorf("the daemon wrote %d entries besides the ban, among them: %s", len(wrote), e["MESSAGE"])
	}
	if backend == "firewalld" {
		if out := v.sh(t, `firewall-cmd --query-port=9999/tcp || :`); out != "yes\n" {
			t.Errorf("firewalld was reloaded: the port that was opened at run time: %s", out)
		}
	}
	v.sh(t, `bailiff unban `+banned.String())
}

// auto does not choose ipset where nftables.service loads the ruleset, whether it is enabled or only started.
func (v *victim) auto(t *testing.T) {
	v.sh(t, `systemctl stop firewalld.service`)
	for _, c := range []struct{ script, backend string }{
		{`systemctl restart bailiff.service`, "ipset"},
		{`systemctl enable -q nftables.service; systemctl restart bailiff.service`, "nftables"},
		{`systemctl disable -q nftables.service; systemctl start nftables.service; systemctl restart bailiff.service`, "nftables"},
		{`systemctl stop nftables.service; systemctl restart bailiff.service`, "ipset"},
		{`systemctl start firewalld.service`, "firewalld"},
	} {
		v.sh(t, c.script)
		v.takesOver(t, c.backend)
	}
}

// uninstall runs what `make uninstall` runs, under each backend: no ban, no rule and no file of the program stays.
func (v *victim) uninstall(t *testing.T, tree string) {
	list, err := packaging.Files("../packaging/files")
	if err != nil {
		t.Fatal(err)
	}
	copies := map[string]string{"units/packaging/install.sh": "install.sh", "units/packaging/files": "files"}
	for _, f := range list {
		if strings.HasPrefix(f.Source, "units/systemd/") {
			copies[f.Source] = f.Source // the installer reads them to learn what it has to stop
		}
	}
	for from, to := range copies {
		text, err := os.ReadFile(filepath.Join("../..", from))
		if err == nil {
			err = v.WriteFile("/root/installer/"+to, text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	v.sh(t, `mkdir /root/installer/bin`)
	a := netip.MustParseAddr("198.51.100.60")
	for _, backend := range []string{"firewalld", "nftables", "ipset"} {
		v.put(t, "20-firewall.yaml", "firewall: {backend: "+backend+"}\n")
		v.sh(t, `systemctl enable -q --now bailiff.service; systemctl restart bailiff.service`)
		v.takesOver(t, backend)
		v.sh(t, `bailiff ban --json `+a.String())
		eventually(t, func() error { return v.keptOut(a, 22) })
		out := v.sh(t, `sh /root/installer/install.sh remove`)
		if err := v.letIn(a, 22); err != nil {
			t.Errorf("%s, after uninstalling: %v\n%s", backend, err, out)
		}
		if left := v.sh(t, `nft list ruleset 2>/dev/null | grep bailiff || :; ipset list -n | grep bailiff || :; firewall-cmd --get-policies | grep -o bailiff || :
			firewall-cmd --permanent --get-ipsets | grep -o bailiff || :; getent passwd | grep bailiff || :; getent group | grep bailiff || :
			find /etc /usr /run -xdev -name '*bailiff*' ! -path '/etc/bailiff*' ! -path '/run/systemd/*'`); left != "" {
			t.Errorf("%s, left:\n%s\nit said\n%s", backend, left, out)
		}
		if err := v.Install(t.Context(), tree); err != nil {
			t.Fatal(err)
		}
		v.sh(t, `systemd-sysusers; systemctl daemon-reload; systemctl try-restart polkit.service || :`)
	}
}

// leftovers restarts the daemon with one backend after another. What the previous one made is removed, so that an address whose ban is
// lifted gets in.
func (v *victim) leftovers(t *testing.T) {
	a := netip.MustParseAddr("198.51.100.50")
	traces := map[string]string{
		"nftables":  `nft list tables | grep -q '^table inet bailiff$'`,
		"ipset":     `ipset list -n | grep -q ^bailiff`,
		"firewalld": `firewall-cmd --get-ipsets --permanent | grep -q bailiff`,
	}
	former := ""
	for _, backend := range []string{"nftables", "firewalld", "ipset", "nftables", "ipset", "firewalld"} {
		v.put(t, "20-firewall.yaml", "firewall: {backend: "+backend+"}\n")
		v.sh(t, `systemctl restart bailiff.service`)
		v.takesOver(t, backend)
		v.sh(t, `bailiff ban --json `+a.String())
		eventually(t, func() error { return v.keptOut(a, 22) })
		eventually(t, func() error {
			for other, trace := range traces {
				if out := v.sh(t, trace+` && echo there || echo gone`); (out == "there\n") != (other == backend) {
					return fmt.Errorf("after %q, under %s: of %s all is %s", former, backend, other, out)
				}
			}
			return nil
		})
		v.sh(t, `bailiff unban `+a.String())
		eventually(t, func() error { return v.letIn(a, 22) })
		former = backend
	}
	v.sh(t, `rm /etc/bailiff/bailiff.d/20-firewall.yaml; systemctl restart bailiff.service`)
}
